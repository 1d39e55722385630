"""Which process of this machine is making which call.

A claim is a lock on one byte of a file, at a place that follows from the call's key. The system gives it back when
its process ends, however it ends, so that nothing is left behind and nobody waits for the dead.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import struct
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["CLAIMS_NAME", "Claims", "Holder"]

CLAIMS_NAME = "claims.lock"

_fcntl: Any = import_module("fcntl") if os.name == "posix" else None
_HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN)
_PROBE = 2**62
"""A place beyond those of all keys."""


class Holder(NamedTuple):
    """A process that has claimed a call."""

    process: int
    is_stopped: bool
    """Whether somebody has suspended it (SIGSTOP, Ctrl-Z), so that nothing comes of the call until it goes on."""


class Claims:
    """The claims of this process on the calls of a cache folder.

    Where the system has no such locks every claim is granted: a call may then be made by each process.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / CLAIMS_NAME
        self._mutex = threading.Lock()
        self._file: int | None = None
        self.unusable: str | None = None
        """Why calls cannot be claimed here, once that has shown; each claim is then granted."""

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
        with self._mutex:
            try:
                file = self._open()
            except OSError as error:
                # The same EACCES that says of a lock that another process holds it says here that nobody can.
                self.unusable = f"{self._path.name} cannot be opened: {error.strerror or error}"
                return True
            try:
                _fcntl.lockf(file, _fcntl.LOCK_EX | _fcntl.LOCK_NB, 1, _place(key))
            except OSError as error:
                # What else goes wrong here goes wrong with the answers as well, and is reported there.
                return error.errno not in _HELD_BY_ANOTHER
        return True

    def holder(self, key: str) -> Holder | None:
        """Return the process that has claimed the call of a key; None: nobody, or it cannot be told here."""
        if not sys.platform.startswith("linux") or sys.maxsize < 2**32:
            return None
        # struct flock of 64-bit Linux: man 2 fcntl
        asked = struct.pack("hhqqi", _fcntl.F_WRLCK, os.SEEK_SET, _place(key), 1, 0)
        try:
            with self._mutex:
                answer = _fcntl.fcntl(self._open(), _fcntl.F_GETLK, asked)
        except OSError:
            return None
        kind, _, _, _, process = struct.unpack("hhqqi", answer)
        return None if kind == _fcntl.F_UNLCK or process <= 0 else Holder(process, _is_stopped(process))

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


def _is_stopped(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    # The state follows the name, which may hold anything: man 5 proc_pid_stat
    return status.rpartition(")")[2].split()[:1] in (["T"], ["t"])


def _place(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 2
