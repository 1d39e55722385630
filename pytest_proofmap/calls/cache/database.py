"""One database of the cache.

diskcache writes it; reading goes straight to SQLite, so that a run that finds every answer neither imports
diskcache nor waits for it to open, changes nothing on disk, and works in a directory that cannot be written.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pytest_proofmap.errors import UnusableEntryError

__all__ = [
    "DATABASE_NAME",
    "CacheDatabase",
    "DamagedDatabaseError",
    "DatabaseRow",
    "WriteFailedError",
    "is_full",
    "is_unsuitable",
]

DATABASE_NAME = "cache.db"
_SIDE_FILES = ("-wal", "-shm")
_OVERFLOW, _SET_ASIDE = "overflow-", "set-aside-"

_fcntl: Any = import_module("fcntl") if os.name == "posix" else None

# What diskcache writes, and the tables, triggers and settings that it makes, none of it documented:
# https://github.com/grantjenks/python-diskcache/blob/v5.6.3/diskcache/core.py#L43-L75 and #L420-L600
_MODE_TEXT_IN_ROW = 1
_SELECT = "SELECT mode, filename, value FROM Cache WHERE key = ? AND raw = 1"
_SELECT_ROWS = "SELECT key, raw, mode, filename, value, store_time FROM Cache WHERE rowid"
_KNOWN_OBJECTS = frozenset(
    {
        ("table", "Cache"),
        ("table", "Settings"),
        ("index", "sqlite_autoindex_Settings_1"),
        ("index", "Cache_key_raw"),
        ("index", "Cache_expire_time"),
        ("trigger", "Settings_count_insert"),
        ("trigger", "Settings_count_delete"),
        ("trigger", "Settings_size_insert"),
        ("trigger", "Settings_size_update"),
        ("trigger", "Settings_size_delete"),
    }
)
_KNOWN_SETTINGS = frozenset(
    {
        "count",
        "cull_limit",
        "disk_min_file_size",
        "disk_pickle_protocol",
        "eviction_policy",
        "hits",
        "misses",
        "size",
        "size_limit",
        "sqlite_auto_vacuum",
        "sqlite_cache_size",
        "sqlite_journal_mode",
        "sqlite_mmap_size",
        "sqlite_synchronous",
        "statistics",
        "tag_index",
    }
)
_NEEDED_OBJECTS = frozenset({("table", "Cache"), ("index", "Cache_key_raw")})
_READER_PRAGMAS = (
    "PRAGMA query_only = 1",
    "PRAGMA trusted_schema = 0",
    # Read a file that was cut short as far as it goes; nothing can be written through this connection.
    "PRAGMA writable_schema = 1",
)
_WINDOW = 256
_SMALLEST_ROW = 64
"""No entry takes fewer bytes."""

_UNSUITABLE = ("disk i/o error", "locking protocol")
"""What SQLite says where files cannot be locked or mapped, or where the disk has a fault."""

WriteFailure = Literal["full", "readonly", "locked", "unsuitable"]


class DamagedDatabaseError(Exception):
    """The database cannot be read or written as it should be."""


class WriteFailedError(Exception):
    """A write failed for a reason outside the database.

    Attributes:
        kind: ``full``: the disk; ``readonly``: the place cannot be written; ``locked``: another process;
            ``unsuitable``: SQLite cannot lock files or share memory there.
    """

    def __init__(self, kind: WriteFailure, cause: BaseException) -> None:
        super().__init__(str(cause) or type(cause).__name__)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class DatabaseRow:
    """One entry of a database."""

    key: str
    text: bytes
    """The stored answer as JSON; empty for an entry that is not text."""
    stored_at: float
    """When it was written, in seconds since the epoch."""


class CacheDatabase:
    """One database of the cache, safe to use from several threads and after a fork.

    Args:
        directory: The folder of the database.
        readonly: Never write, not even what SQLite keeps for itself when the folder can't be written.
    """

    def __init__(self, directory: Path, *, readonly: bool = False) -> None:
        self.directory = directory
        self._path = os.fspath(directory / DATABASE_NAME)
        self._readonly = readonly
        self._lock = threading.Lock()
        self._write_lock = threading.RLock()
        self._reader: sqlite3.Connection | None = None
        self._reader_pid = 0
        self._reader_inode: int | None = None
        self._writer: Any = None
        self._writer_inode: int | None = None
        self._is_alone = False

    def read(self, key: str) -> bytes | None:
        """Return the text of a key, or None.

        Raises:
            UnusableEntryError: The entry is not text.
            DamagedDatabaseError: The database cannot be read here.
        """
        with self._lock:
            row = self._read_row(key)
        if row is None:
            return None
        mode, filename, value = row
        if mode != _MODE_TEXT_IN_ROW or filename is not None or type(value) is not bytes:
            raise UnusableEntryError(key)
        return value

    def rows(self) -> Iterator[DatabaseRow]:
        """Yield every entry that can be read, in the order of writing.

        Raises:
            DamagedDatabaseError: At the end, when there are entries that could not be read.
        """
        damage: DamagedDatabaseError | None = None
        for first in range(1, self._last_rowid() + 1, _WINDOW):
            try:
                rows = self._query(f"{_SELECT_ROWS} BETWEEN ? AND ? ORDER BY rowid", first, first + _WINDOW - 1)
            except DamagedDatabaseError as error:
                damage, rows = error, []
                for rowid in range(first, first + _WINDOW):
                    with contextlib.suppress(DamagedDatabaseError):
                        # A range of one would step on to the next row, which may lie in a damaged page.
                        rows += self._query(f"{_SELECT_ROWS} = ?", rowid)
            yield from map(_database_row, rows)
        if damage is not None:
            raise damage

    def write(self, key: str, text: str) -> None:
        """Write an entry, in one transaction.

        Raises:
            WriteFailedError: The disk is full, the place is read-only or the database stays locked.
            DamagedDatabaseError: The database cannot be written.
        """
        inode = None
        # Another process may set the file aside while this one writes: what it carries over may be without this.
        while inode is None or _inode(self._path) != inode:
            with self._writing() as writer:
                inode = self._writer_inode
                writer.set(key, text)

    def merge(self, folder: Path) -> None:
        """Take in the database of an overflow, in one transaction; of two answers to a key the later one stays.

        Then the folder is set aside: nothing of it is deleted, and what could not be read of it is still there.

        Raises:
            WriteFailedError: The disk is full, the place is read-only or the database stays locked.
            DamagedDatabaseError: The database cannot be written.
        """
        with self.alone(), self._writing() as writer:
            if not folder.exists():  # Another process was quicker.
                return
            with (
                contextlib.closing(CacheDatabase(folder, readonly=True)) as overflow,
                writer.transact(),
                # What cannot be read comes at the end, after what can.
                contextlib.suppress(DamagedDatabaseError),
            ):
                for row in overflow.rows():
                    if row.text:
                        writer.keep_later(row.key, row.text.decode("utf-8", "replace"), row.stored_at)
            os.rename(folder, set_aside_name(folder))

    def delete(self, keys: Collection[str]) -> None:
        """Delete entries, in one transaction.

        Raises:
            WriteFailedError: The disk is full, the place is read-only or the database stays locked.
            DamagedDatabaseError: The database cannot be written.
        """
        with self._writing() as writer, writer.transact():
            for key in keys:
                writer.delete(key)

    def open_writer(self) -> None:
        """Open the database for writing, and create it where it is missing.

        Raises:
            WriteFailedError: The disk is full, the place is read-only or the database stays locked.
            DamagedDatabaseError: The database cannot be written.
        """
        with self._writing():
            pass

    def close(self) -> None:
        """Close the reader, and the calling thread's connection for writing."""
        with self._lock:
            reader, self._reader = self._reader, None
            # A connection taken over by a fork belongs to the parent.
            if reader is not None and self._reader_pid == os.getpid():
                reader.close()
        if self._writer is not None:
            self._writer.close()

    def size(self) -> int:
        """Return how many bytes the database takes on disk."""
        names = (DATABASE_NAME, f"{DATABASE_NAME}-wal")
        return sum(path.stat().st_size for name in names if (path := self.directory / name).is_file())

    def make_overflow(self) -> None:
        """Move the file that was found damaged, with its side files, to an overflow, unless another process has.

        Connections of other processes go with it: SQLite knows a file by its inode, and leaves the side files of
        one that has moved alone when it is closed (``databaseIsUnmoved`` in
        https://sqlite.org/src/file/src/pager.c).

        Raises:
            WriteFailedError: It cannot be moved.
        """
        with self.alone():
            if _inode(self._path) not in {self._reader_inode, self._writer_inode} - {None}:
                return
            self.close()
            self._drop_writer()
            try:
                folder = next_overflow(self.directory)
                folder.mkdir()
                os.rename(self._path, folder / DATABASE_NAME)
                _move_side_files(self.directory, folder)
            except OSError as error:
                raise WriteFailedError("readonly", error) from error

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other process, and other stores of this one, from creating, moving or merging databases."""
        with self._write_lock, contextlib.ExitStack() as stack:
            if not self._is_alone and _fcntl is not None:
                # A folder can be locked like a file, and needs no other one for it.
                with contextlib.suppress(OSError):
                    descriptor = os.open(self.directory, os.O_RDONLY)
                    stack.callback(os.close, descriptor)
                    _fcntl.flock(descriptor, _fcntl.LOCK_EX)
                self._is_alone = True
                stack.callback(setattr, self, "_is_alone", False)
            yield

    def _read_row(self, key: str) -> tuple[Any, ...] | None:
        """Return mode, file name and value of a key."""
        reader = self._reader_now()
        if reader is None:
            return None
        try:
            row: tuple[Any, ...] | None = reader.execute(_SELECT, (key,)).fetchone()
        except sqlite3.DatabaseError as error:
            raise DamagedDatabaseError(str(error)) from error
        return row

    def _reader_now(self) -> sqlite3.Connection | None:
        inode = _inode(self._path)
        is_mine = self._reader is not None and self._reader_pid == os.getpid()
        if is_mine and inode in (None, self._reader_inode):
            return self._reader
        if inode is None:
            return None
        if is_mine and self._reader is not None:
            self._reader.close()
            self._reader = None
        self._reader_inode = inode
        reader = self._connect()
        try:
            is_complete = _objects(reader) >= _NEEDED_OBJECTS
        except sqlite3.DatabaseError as error:
            reader.close()
            raise DamagedDatabaseError(str(error)) from error
        if not is_complete:
            # Another process is just creating it, or was stopped while it did.
            reader.close()
            return None
        self._reader, self._reader_pid = reader, os.getpid()
        return reader

    def _connect(self) -> sqlite3.Connection:
        # In a folder that can be written SQLite needs its usual side files, and "rw" removes them at the end
        # where "ro" leaves them behind; "rw" never creates a database. In a folder that cannot be written
        # nobody else writes either, which is what "immutable" promises (https://www.sqlite.org/uri.html).
        mode = "mode=rw" if os.access(self.directory, os.W_OK) else "mode=ro&immutable=1"
        location = f"file:{quote(os.path.abspath(self._path))}?{mode}"
        try:
            reader = sqlite3.connect(
                location, uri=True, timeout=60.0, isolation_level=None, check_same_thread=False
            )
        except sqlite3.DatabaseError as error:
            raise DamagedDatabaseError(str(error)) from error
        reader.text_factory = bytes
        try:
            for pragma in _READER_PRAGMAS:
                reader.execute(pragma)
        except sqlite3.DatabaseError as error:
            reader.close()
            raise DamagedDatabaseError(str(error)) from error
        return reader

    def _last_rowid(self) -> int:
        """Return the last row's number, or one beyond it where that cannot be read.

        Raises:
            DamagedDatabaseError: It cannot be opened.
        """
        with self._lock:
            self._reader_now()
        for source in ("Cache", "Cache INDEXED BY Cache_key_raw"):
            with contextlib.suppress(DamagedDatabaseError):
                ((last,),) = self._query(f"SELECT max(rowid) FROM {source}") or [(0,)]
                return last or 0
        return self.size() // _SMALLEST_ROW

    def _query(self, statement: str, *arguments: int) -> list[tuple[Any, ...]]:
        with self._lock:
            reader = self._reader_now()
            if reader is None:
                return []
            try:
                return reader.execute(statement, arguments).fetchall()
            except sqlite3.DatabaseError as error:
                raise DamagedDatabaseError(str(error)) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Any]:
        if self._readonly:
            raise RuntimeError(f"the cache {os.fspath(self.directory)!r} was opened for reading only")
        import diskcache

        try:
            with self._write_lock:
                if self._writer is not None and _inode(self._path) != self._writer_inode:
                    # Someone removed the folder: what is written to a file without a name is lost.
                    self._drop_writer()
                if self._writer is None:
                    self._open_writer()
                yield self._writer
        # A write that fails in the middle leaves diskcache's transaction open: the next one starts afresh.
        except diskcache.Timeout as error:
            self._drop_writer()
            raise _classify(error, self.directory) from error
        except (sqlite3.Error, sqlite3.Warning, OSError, ValueError, TypeError, AttributeError) as error:
            self._drop_writer()
            raise _classify(error, self.directory) from error

    def _open_writer(self) -> None:
        from pytest_proofmap.calls.cache.text_disk import open_cache

        self.directory.mkdir(parents=True, exist_ok=True)
        with self.alone():
            self._writer_inode = _inode(self._path)
            if self._writer_inode is None:
                # A process that was killed while it moved the old file has left these behind, and SQLite deletes
                # the log of a file that is new (pagerOpenWalIfPresent in https://sqlite.org/src/file/src/pager.c).
                for folder in overflows(self.directory)[:1]:
                    _move_side_files(self.directory, folder)
            else:
                with self._lock, contextlib.closing(self._connect()) as reader:
                    _require_own(reader)
            self._writer = open_cache(self.directory)
            self._writer_inode = _inode(self._path)

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(sqlite3.Error):
                writer.close()


def overflows(directory: Path) -> list[Path]:
    """Return the folders of databases that are to be merged into the one of a folder, the newest first.

    Earlier versions wrote answers to them where they found the database damaged. This one moves the damaged
    database to one, so that a process that is killed before it has carried it over leaves it to the next.
    """
    folders = _numbered(directory, _OVERFLOW)
    return [folders[number] for number in sorted(folders, reverse=True)]


def next_overflow(directory: Path) -> Path:
    """Return the folder that a damaged database is moved to."""
    number = max((0, *_numbered(directory, _OVERFLOW), *_numbered(directory, _SET_ASIDE))) + 1
    return directory / f"{_OVERFLOW}{number}"


def set_aside_name(overflow: Path) -> Path:
    """Return where an overflow goes when it has been merged: under its own number, or else the next free one."""
    number, taken = int(overflow.name.removeprefix(_OVERFLOW)), _numbered(overflow.parent, _SET_ASIDE)
    return overflow.with_name(f"{_SET_ASIDE}{max(taken) + 1 if number in taken else number}")


def _numbered(directory: Path, prefix: str) -> dict[int, Path]:
    """Return the folders that are named by a prefix and a number."""
    try:
        names = [name for name in os.listdir(directory) if re.fullmatch(rf"{prefix}[1-9][0-9]{{0,8}}", name)]
    except OSError:
        return {}
    return {int(name.removeprefix(prefix)): directory / name for name in names}


def _move_side_files(directory: Path, folder: Path) -> None:
    for suffix in _SIDE_FILES:
        source, target = (place / f"{DATABASE_NAME}{suffix}" for place in (directory, folder))
        if os.path.exists(source) and not os.path.exists(target):
            os.rename(source, target)


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _database_row(row: tuple[Any, ...]) -> DatabaseRow:
    key, raw, mode, filename, value, stored_at = row
    is_text = raw == 1 and mode == _MODE_TEXT_IN_ROW and filename is None
    return DatabaseRow(
        key.decode("utf-8", "replace") if type(key) is bytes else repr(key),
        value if is_text and type(key) is bytes and type(value) is bytes else b"",
        stored_at if isinstance(stored_at, float) else 0.0,
    )


def _objects(reader: sqlite3.Connection) -> set[tuple[str, str]]:
    rows = reader.execute("SELECT type, name FROM sqlite_master")
    return {(kind.decode(), name.decode("utf-8", "replace")) for kind, name in rows}


def _require_own(reader: sqlite3.Connection) -> None:
    """Raise DamagedDatabaseError when a database holds what the cache never writes.

    diskcache obeys what it finds: a setting becomes an attribute or a pragma, whatever its name, and
    triggers run with every write.
    """
    objects = _objects(reader)
    if foreign := objects - _KNOWN_OBJECTS:
        raise DamagedDatabaseError(f"it holds {sorted(foreign)[0]!r}, which is not the cache's")
    if ("table", "Settings") not in objects:
        return
    for name, value in reader.execute("SELECT key, value FROM Settings"):
        is_known = type(name) is bytes and name.decode("ascii", "replace") in _KNOWN_SETTINGS
        if not is_known or not (isinstance(value, int) or value in (b"none", b"wal")):
            raise DamagedDatabaseError(f"it holds the setting {name!r} = {value!r}, which is not the cache's")


def _classify(error: BaseException, directory: Path) -> WriteFailedError | DamagedDatabaseError:
    # diskcache hides the reason behind a Timeout ("from None", core.py#L730 of v5.6.3) or a failed ROLLBACK; the
    # chain still has it in __context__.
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    texts = [str(cause).lower() for cause in chain]
    if any(" full" in text or "no space left" in text for text in texts):
        return WriteFailedError("full", chain[-1])
    if any(words in text for text in texts for words in _UNSUITABLE):
        return WriteFailedError("full" if is_full(directory) else "unsuitable", chain[-1])
    if any(words in text for text in texts for words in ("readonly", "read-only", "unable to open")):
        return WriteFailedError("readonly", chain[-1])
    if any("locked" in text for text in texts):
        return WriteFailedError("locked", chain[-1])
    if isinstance(error, OSError):
        return WriteFailedError("readonly", error)
    return DamagedDatabaseError(str(chain[-1]))


def is_unsuitable(error: DamagedDatabaseError) -> bool:
    """Return whether what could not be read is the place, and not the database."""
    return any(words in str(error).lower() for words in (*_UNSUITABLE, "database is locked"))


def is_full(directory: Path) -> bool:
    """Return whether less than 1 MiB is left on the disk of a folder."""
    try:
        return shutil.disk_usage(directory).free < 2**20
    except OSError:
        return False
