"""Writing to the cache with diskcache, in text alone.

diskcache pickles what it does not know, reads pickles that it finds, and deletes files that a row names.
A cache folder may come from a CI cache or a colleague, so none of that may happen here.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import DBNAME

from pytest_proofmap.errors import UnusableEntryError

__all__ = ["LOCK_TIMEOUT_S", "TextDisk", "open_cache"]

LOCK_TIMEOUT_S = 4.0
"""How long a write waits for another process at a time, in seconds."""

_SETTINGS = {
    # Paid answers are never evicted: neither by age nor by size.
    "eviction_policy": "none",
    "cull_limit": 0,
    "size_limit": 2**62,
    "statistics": 0,
    "tag_index": 0,
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 2**9,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,
    "sqlite_synchronous": 1,
    # Every value lies in the database itself, so that a write is one transaction.
    "disk_min_file_size": 2**62,
    "disk_pickle_protocol": 0,
}


class TextDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Serialization of diskcache that knows text keys and text values, and refuses everything else."""

    def put(self, key: object) -> tuple[str, bool]:
        """Return the database form of a key."""
        if type(key) is not str:
            raise TypeError(f"a key of the cache is a str, not {key!r}")
        return key, True

    def get(self, key: object, raw: object) -> str:
        """Return a key from its database form; a pickled key is refused unread."""
        if not raw or type(key) is not str:
            raise UnusableEntryError("a key of the cache is not text")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, str]:
        """Return the database form of a value."""
        if type(value) is not str or read:
            raise TypeError(f"a value of the cache is a str, not {type(value).__name__}")
        return 0, diskcache.core.MODE_RAW, None, value

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> str:
        """Return a value from its database form; a pickle or a file beside the database is refused unread."""
        if mode != diskcache.core.MODE_RAW or filename is not None or type(value) is not str or read:
            raise UnusableEntryError("a value of the cache is not text")
        return value

    def remove(self, file_path: str) -> None:
        """Remove nothing: the cache has no value files, and a row may name any path."""


class TextCache(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """A cache that leaves nothing open when it cannot be opened."""

    def __init__(self, directory: str) -> None:
        try:
            # Every setting is given, so that none is taken over from the database.
            super().__init__(directory, timeout=LOCK_TIMEOUT_S, disk=TextDisk, **_SETTINGS)
        except BaseException:
            self.close()
            raise

    def keep_later(self, key: str, text: str, stored_at: float) -> None:
        """Store a text as of a time, unless a later one is there.

        diskcache always takes the time of now, so this goes through the statements that its own methods go through
        (https://github.com/grantjenks/python-diskcache/blob/v5.6.3/diskcache/core.py#L641).
        """
        stored = self._sql("SELECT store_time, value FROM Cache WHERE key = ? AND raw = 1", (key,)).fetchall()
        if stored and stored[0][1] and stored[0][0] >= stored_at:
            return
        self.set(key, text)
        self._sql("UPDATE Cache SET store_time = ? WHERE key = ? AND raw = 1", (stored_at, key))


def open_cache(directory: Path) -> Any:
    """Open a database for writing, and create it where it is missing.

    Raises:
        sqlite3.OperationalError: Another process keeps it locked.
    """
    path = directory / DBNAME
    if path.exists():
        # diskcache would try for a minute by itself before it said so:
        # https://github.com/grantjenks/python-diskcache/blob/v5.6.3/diskcache/core.py
        with contextlib.closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None)) as probe:
            probe.execute("BEGIN IMMEDIATE")
            probe.execute("ROLLBACK")
    return TextCache(str(directory))
