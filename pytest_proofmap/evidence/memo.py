"""P-values kept between runs: a rerun from the cache must not compute them again."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from pytest_proofmap.whole_file import write_whole

__all__ = ["PValueMemo"]

ENTRY_LIMIT = 100_000


class PValueMemo(MutableMapping[str, float]):
    """A file of p-values by what they were computed from; an unreadable file is an empty one.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = False
        self._values: dict[str, float] = {}
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(data, dict):
            self._values = {
                key: value for key, value in data.items() if isinstance(value, float) and 0.0 <= value <= 1.0
            }

    def __getitem__(self, key: str) -> float:
        return self._values[key]

    def __setitem__(self, key: str, value: float) -> None:
        self._values[key] = value
        self._changed = True

    def __delitem__(self, key: str) -> None:
        del self._values[key]
        self._changed = True

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def save(self) -> None:
        """Write the file if anything is new; the oldest values go beyond a hundred thousand.

        Raises:
            OSError: The file cannot be written.
        """
        if self._changed:
            kept = dict(list(self._values.items())[-ENTRY_LIMIT:])
            with write_whole(self._path) as file:
                json.dump(kept, file)
            self._changed = False
