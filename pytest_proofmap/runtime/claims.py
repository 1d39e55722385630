"""Which process of this machine is making which call.

A claim is a lock on one byte of a file, at a place that follows from the call's key. The system gives it back when
its process ends, however it ends, so that nothing is left behind and nobody waits for the dead.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["CLAIMS_NAME", "Claims"]

CLAIMS_NAME = "claims.lock"

_fcntl: Any = import_module("fcntl") if os.name == "posix" else None
_HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN)
_PROBE = 2**62
"""A place beyond those of all keys."""


class Claims:
    """The claims of this process on the calls of a cache folder.

    Where the system has no such locks every claim is granted: a call may then be made by each process.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / CLAIMS_NAME
        self._mutex = threading.Lock()
        self._file: int | None = None

    def trouble(self, *, create: bool) -> str | None:
        """Return why files of the folder cannot be locked, or None: they can, or it cannot be told.

        Args:
            create: Make the file that is locked where it is missing.
        """
        if _fcntl is None:
            return None
        flags = os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
        with self._mutex:
            try:
                file = os.open(self._path, flags, 0o666) if self._file is None else self._file
            except OSError:
                # Nobody has written here yet, or nobody can, which is told elsewhere.
                return None
            try:
                # A lock that all may hold at once, so that whatever refuses it is no other process.
                _fcntl.lockf(file, _fcntl.LOCK_SH | _fcntl.LOCK_NB, 1, _PROBE)
                _fcntl.lockf(file, _fcntl.LOCK_UN, 1, _PROBE)
            except OSError as error:
                return error.strerror or str(error)
            finally:
                if file != self._file:
                    os.close(file)
        return None

    def take(self, key: str) -> bool:
        """Claim the call of a key; False: another process has claimed it."""
        if _fcntl is None:
            return True
        try:
            with self._mutex:
                _fcntl.lockf(self._open(), _fcntl.LOCK_EX | _fcntl.LOCK_NB, 1, _place(key))
        except OSError as error:
            # What else goes wrong here goes wrong with the answers as well, and is reported there.
            return error.errno not in _HELD_BY_ANOTHER
        return True

    def give_back(self, key: str) -> None:
        """End the claim on the call of a key, if there is one."""
        with self._mutex:
            if self._file is not None:
                with contextlib.suppress(OSError):
                    _fcntl.lockf(self._file, _fcntl.LOCK_UN, 1, _place(key))

    def close(self) -> None:
        """End all claims."""
        with self._mutex:
            file, self._file = self._file, None
            if file is not None:
                os.close(file)

    def _open(self) -> int:
        # One descriptor for all claims: closing any other one of this file would end them.
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        return self._file


def _place(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 2
