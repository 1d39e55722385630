"""On which day each cached answer was last used, so that the unused ones can be pruned.

It is kept apart from the answers, and written once at the end of a run, so that reading an answer stays
free of writes.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

__all__ = ["UsageLog"]

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
