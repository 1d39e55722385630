"""The response cache on disk: answers that were paid are kept, whatever happens to the files.

Reading never raises: what cannot be read is a miss, with one warning, and a new answer replaces it. Writing
either keeps the answer or raises. A database that is too damaged to be written is set aside, and what can be
read of it is carried over into a new one.

On which day each cached answer was last used, so that the unused ones can be pruned.

It is kept apart from the answers, and written once at the end of a run, so that reading an answer stays
free of writes.

Which process of this machine is making which call.

A claim is a lock on one byte of a file, at a place that follows from the call's key. The system gives it back when
its process ends, however it ends, so that nothing is left behind and nobody waits for the dead.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sqlite3
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.cache.database import (
    DATABASE_NAME,
    CacheDatabase,
    DamagedDatabaseError,
    WriteFailedError,
    is_full,
    is_unsuitable,
    next_overflow,
    overflows,
    set_aside_name,
)
from pytest_proofmap.errors import StoreError, UnusableEntryError
from pytest_proofmap.files import create_folder, is_closed, private_folder

__all__ = ["CacheEntry", "CallLocks", "DiskStore", "Holder"]


_CREATE = "CREATE TABLE IF NOT EXISTS used (key TEXT PRIMARY KEY, day TEXT NOT NULL) WITHOUT ROWID"
_RECORD = """
INSERT INTO used VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET day = excluded.day WHERE day < excluded.day
"""


class UsageLog:
    """The days of last use, in a small database beside the cache."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "used.db"

    def record(self, keys: Iterable[str], day: date) -> None:
        """Record a use of each key, in one transaction.

        Raises:
            OSError: It could not be recorded.
        """
        with self._changing() as database:
            database.execute(_CREATE)
            database.executemany(_RECORD, ((key, day.isoformat()) for key in keys))

    def forget(self, keys: Iterable[str]) -> None:
        """Drop what is recorded of keys that were deleted; a failure does no harm and is ignored."""
        if os.path.exists(self._path):
            with contextlib.suppress(OSError), self._changing() as database:
                database.executemany("DELETE FROM used WHERE key = ?", ((key,) for key in keys))

    def days(self) -> dict[str, date]:
        """Return the day of last use of each key; empty where nothing readable was recorded."""
        if not os.path.exists(self._path):
            return {}
        try:
            with self._changing() as database:
                rows = database.execute("SELECT key, day FROM used").fetchall()
            return {str(key): date.fromisoformat(day) for key, day in rows}
        except (OSError, ValueError, TypeError):
            return {}

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self._path)) as database, database:
                yield database
        except sqlite3.Error as error:
            raise OSError(str(error)) from error


LOCKS_NAME = "claims.lock"

_fcntl: Any = import_module("fcntl") if os.name == "posix" else None
_HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN)
_PROBE = 2**62
"""A place beyond those of all keys."""


class Holder(NamedTuple):
    """A process that has claimed a call."""

    process: int
    is_stopped: bool
    """Whether somebody has suspended it (SIGSTOP, Ctrl-Z), so that nothing comes of the call until it goes on."""


class CallLocks:
    """The claims of this process on the calls of a cache folder.

    Where the system has no such locks every claim is granted: a call may then be made by each process.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCKS_NAME
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


_LOCK_ATTEMPTS = 15
"""How often a write waits for another process, a minute in all."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One readable answer of the cache."""

    key: str
    answer: Answer
    stored_at: float
    """When it was written, in seconds since the epoch."""
    bytes: int
    """Size of its text in bytes."""


class DiskStore:
    """The cache in a folder, shared by any number of processes and threads.

    Opening it costs next to nothing; what writing needs is opened at the first write, or ahead of it by
    :meth:`prepare_to_write`.

    Args:
        directory: The folder; it is created unless ``readonly``.
        warn: Told what cannot be read, once for each kind of trouble.
        readonly: Only read, also from a folder that cannot be written or does not exist.
        tell: Told at once what a write waits for; None: nobody is.

    Raises:
        StoreError: The folder cannot be written or its files cannot be locked, and ``readonly`` was not asked for.
    """

    def __init__(
        self,
        directory: Path,
        warn: Callable[[str], None],
        *,
        readonly: bool = False,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.directory = directory
        self._warn = warn
        self._tell = tell
        self._warned: set[str] = set()
        self._readonly = readonly
        if is_closed(directory, DATABASE_NAME):
            self.directory = directory = self._stand_in()
        self._call_locks = CallLocks(directory)
        if not readonly:
            self._require_writable()
        self._is_unsuitable = self._is_closed() or self._cannot_be_locked()
        self._database = CacheDatabase(directory, readonly=readonly)
        self._usage = UsageLog(directory)
        if not readonly and overflows(directory):
            self._merge()
        self._has_newer = bool(overflows(directory))
        """Whether there are answers beside the database that could not be merged into it here and now."""

    def get(self, key: str) -> Answer | None:
        """Return the answer of a key, or None; an unreadable entry is a miss and warns once."""
        if self._is_unsuitable:
            return None
        for database in self._databases():
            try:
                text = database.read(key)
                if text is not None:
                    return Answer.from_json(text)
            except (UnusableEntryError, ValueError, RecursionError):
                self._warn_of_entry(key, database)
            except DamagedDatabaseError as error:
                self._warn_of_damage(database, error)
        return None

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; it is on disk when this returns, and a claim on its call has ended.

        Raises:
            StoreError: The answer could not be kept; it was paid, so this must be loud.
        """
        text = answer.to_json()
        self._write(lambda database: database.write(key, text), "A paid answer could not be kept")
        self._call_locks.give_back(key)

    def claim(self, key: str, seconds: float) -> bool:
        """Claim the call of a key, so that no other process of this machine makes it meanwhile.

        Args:
            key: Key of the request.
            seconds: For how long; not needed here, because a claim ends with its process.

        Returns:
            Whether this process has it now; else another one does.
        """
        granted = self._call_locks.take(key)
        if self._call_locks.unusable is not None:
            self._warn_once(
                "claims",
                f"The response cache {str(self.directory)!r}: {self._call_locks.unusable}. Runs at the same time "
                "may make the same call twice.",
            )
        return granted

    def holder(self, key: str) -> Holder | None:
        """Return the process that has claimed the call of a key; None: nobody, or it cannot be told."""
        return self._call_locks.holder(key)

    def give_back(self, key: str) -> None:
        """End the claim on a call that gets no answer here."""
        self._call_locks.give_back(key)

    def prepare_to_write(self) -> None:
        """Open what writing needs, to be called before an answer is paid.

        Raises:
            StoreError: Answers could not be kept.
        """
        self._write(CacheDatabase.open_writer, "No call was made")

    def delete(self, keys: Iterable[str]) -> None:
        """Delete answers for good.

        Raises:
            StoreError: They could not be deleted.
        """
        keys = list(keys)
        self._write(lambda database: database.delete(keys), "Nothing more was deleted")
        self._usage.forget(keys)

    def entries(self) -> Iterator[CacheEntry]:
        """Yield every readable answer, each key once."""
        seen: set[str] = set()
        for database in self._databases():
            try:
                for row in database.rows():
                    if row.key in seen:
                        continue
                    seen.add(row.key)
                    try:
                        answer = Answer.from_json(row.text)
                    except (ValueError, RecursionError):
                        self._warn_of_entry(row.key, database)
                        continue
                    yield CacheEntry(row.key, answer, row.stored_at, len(row.text))
            except DamagedDatabaseError as error:
                self._warn_of_damage(database, error)

    def mark_used(self, keys: Iterable[str], day: date) -> None:
        """Record that a run used these keys, in one transaction; a failure only warns."""
        if self._readonly:
            return
        try:
            self._usage.record(keys, day)
        except OSError as error:
            self._warn_once("usage", f"{self.directory}: cannot record which answers were used: {error}.")

    def last_used(self) -> dict[str, date]:
        """Return the day on which each key was last used by a run, as far as it was recorded."""
        return self._usage.days()

    def size(self) -> int:
        """Return how many bytes the cache takes on disk."""
        return sum(database.size() for database in self._databases())

    def close(self) -> None:
        """Close the files; a thread that wrote closes for itself, and using the store again reopens them."""
        self._database.close()
        self._call_locks.close()

    def _databases(self) -> Iterator[CacheDatabase]:
        """Yield the database, and those that are to be merged into it: another process may be about to."""
        if not self._has_newer:
            yield self._database
        for folder in overflows(self.directory):
            with contextlib.closing(CacheDatabase(folder, readonly=True)) as overflow:
                yield overflow
        if self._has_newer:
            yield self._database

    def _write(self, action: Callable[[CacheDatabase], None], consequence: str) -> None:
        try:
            try:
                self._act(action)
            except DamagedDatabaseError as error:
                if is_full(self.directory):
                    raise WriteFailedError("full", error) from error
                self._warn_of_damage(self._database, error)
                self._database.make_overflow()
                # What is to be written comes first: it may just have been paid.
                self._act(action)
                self._merge()
        except WriteFailedError as error:
            raise self._write_error(error, consequence) from error
        except DamagedDatabaseError as error:
            raise StoreError(
                f"{consequence}: the response cache {str(self.directory)!r} is damaged as soon as it is written "
                f"({error}). Set 'cache_dir' to another disk; what can be read of it stays where it is."
            ) from error

    def _act(self, action: Callable[[CacheDatabase], None]) -> None:
        """Change the database, and wait a minute at most for another process that keeps it locked."""
        for attempt in range(1, _LOCK_ATTEMPTS + 1):
            try:
                return action(self._database)
            except WriteFailedError as error:
                if error.kind != "locked" or attempt == _LOCK_ATTEMPTS:
                    raise
                if attempt == 1 and self._tell is not None:
                    self._tell(
                        f"another process keeps the response cache {str(self.directory)!r} locked: waiting for "
                        "it, a minute at most. If it is stopped, let it go on or end it"
                    )

    def _merge(self) -> None:
        """Merge the databases beside this one into it; where that fails they are read from where they are."""
        try:
            while folders := overflows(self.directory):
                # The oldest first: until the rest is merged, what is beside is read as the later.
                self._write(partial(CacheDatabase.merge, folder=folders[-1]), "What lies beside it was not merged")
        except StoreError as error:
            self._warn_once("merge", str(error))

    def _require_writable(self) -> None:
        try:
            create_folder(self.directory)
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error
        database = self.directory / DATABASE_NAME
        for path in (self.directory, database):
            needed = os.W_OK | os.X_OK if path == self.directory else os.W_OK
            if os.path.exists(path) and not os.access(path, needed):
                raise self._unwritable(f"{path.name!r} is read-only")

    def _stand_in(self) -> Path:
        """Return the folder that answers go to, and come from, where the cache is another user's and closed.

        Raises:
            StoreError: There is none, and answers were to be written.
        """
        try:
            folder = private_folder(self.directory, create=not self._readonly)
        except OSError as error:
            if not self._readonly:
                raise self._unwritable(f"it is another user's, and {error.strerror or error}") from error
            return self.directory
        self._warn_of_closed(
            "Permission denied",
            f"It is another user's: your own answers are kept in {str(folder)!r}. To share them have its owner "
            "open it, or set 'cache_dir' to a folder of your own.",
        )
        return folder

    def _is_closed(self) -> bool:
        """Whether this user may not look into the folder: then all its answers are misses, which is said once."""
        try:
            os.stat(self.directory / DATABASE_NAME)
        except PermissionError as error:
            self._warn_of_closed(
                str(error.strerror),
                "It may be another user's: have its owner open it, or set 'cache_dir' to a folder of your own.",
            )
            return True
        except OSError:
            return False
        return False

    def _warn_of_closed(self, reason: str, advice: str) -> None:
        self._warn_once(
            "closed",
            f"The response cache {str(self.directory)!r} cannot be read ({reason}), so its answers are misses. "
            + advice,
        )

    def _cannot_be_locked(self) -> bool:
        """Whether SQLite cannot work in the folder, which it would find out by waiting a minute for each answer.

        Raises:
            StoreError: It cannot, and answers were to be written.
        """
        trouble = self._call_locks.trouble(create=not self._readonly)
        if trouble is None:
            return False
        if not self._readonly:
            raise self._unsuitable("No call was made", f"its files cannot be locked: {trouble}")
        self._warn_of_unsuitable(trouble)
        return True

    def _unsuitable(self, consequence: str, reason: str) -> StoreError:
        return StoreError(
            f"{consequence}: SQLite cannot work in the response cache {str(self.directory)!r} ({reason}). Folders "
            "on a network often cannot lock files or share memory. Set 'cache_dir' to a folder on a local disk, "
            "share answers through a server with 'cache_url', or run with --proofmap-cache=off (keeps answers for "
            "this run only)."
        )

    def _unwritable(self, reason: str) -> StoreError:
        return StoreError(
            f"The response cache {str(self.directory)!r} cannot be written ({reason}), so answers that are "
            "paid could not be kept. Set 'cache_dir' to a folder that can be written, or run with "
            "--proofmap-cache=replay (reads only, calls nothing) or --proofmap-cache=off (keeps answers for "
            "this run only)."
        )

    def _write_error(self, error: WriteFailedError, consequence: str) -> StoreError:
        where = f"the response cache {str(self.directory)!r}"
        if error.kind == "full":
            return StoreError(
                f"{consequence}: the disk of {where} is full ({error}). Free some space, or set 'cache_dir' "
                "to another disk; what was kept before is safe."
            )
        if error.kind == "locked":
            return StoreError(
                f"{consequence}: another process keeps {where} locked ({error}). End that process and run "
                "again; what was kept before is safe."
            )
        if error.kind == "unsuitable":
            return self._unsuitable(consequence, str(error))
        return StoreError(f"{consequence}. {self._unwritable(str(error))}")

    def _warn_of_entry(self, key: str, database: CacheDatabase) -> None:
        self._warn_once(
            "entry",
            f"The entry {key[:12]!r} of the response cache {str(database.directory)!r} is not an answer that "
            "ProofMap wrote and counts as a miss, as do others like it. A new answer replaces it.",
        )

    def _warn_of_damage(self, database: CacheDatabase, error: DamagedDatabaseError) -> None:
        if is_full(database.directory):
            # SQLite needs some room to read as well; the advice to delete the cache would lose it.
            self._warn_once(
                "full",
                f"The disk of the response cache {str(self.directory)!r} is full, so it cannot be read ({error}) "
                "and its answers are misses. Free some space; what was kept before is safe.",
            )
            return
        if is_unsuitable(error):
            self._warn_of_unsuitable(str(error))
            return
        set_aside = set_aside_name(next_overflow(self.directory))
        self._warn_once(
            "damage",
            f"The response cache {str(database.directory / DATABASE_NAME)!r} is damaged ({error}). What can be "
            "read of it is used, and the rest are misses. When it cannot be written it is set aside as "
            f"{str(set_aside)!r}, and what can be read of it is carried over: nothing needs that folder then.",
        )

    def _warn_of_unsuitable(self, reason: str) -> None:
        self._warn_once(
            "unsuitable",
            f"The response cache {str(self.directory)!r} cannot be read where it is ({reason}), so its answers "
            "are misses; what was kept before is safe. Folders on a network often cannot lock files or share "
            "memory: set 'cache_dir' to a folder on a local disk.",
        )

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(text)
