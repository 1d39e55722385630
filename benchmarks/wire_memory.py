"""Watches how much memory a tree of processes holds, by Linux's /proc."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from types import TracebackType

__all__ = ["TreeMemory"]

INTERVAL_S = 0.1
KILOBYTES = 1024


class TreeMemory:
    """Samples this process's descendants while it is entered, less those that it is told to leave out.

    Resident sizes are added up, so pages that processes share count once for each.

    Args:
        excluded: Process ids whose trees are left out.
    """

    def __init__(self, excluded: set[int]) -> None:
        self.tree_mb = 0.0
        """Largest sum of the resident sizes at one time."""
        self.first_mb = 0.0
        """Largest resident size of the direct child alone."""
        self.processes = 0
        """Most processes at one time."""
        self._excluded = excluded
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> TreeMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL_S):
            direct = [child for child in _children(os.getpid()) if child not in self._excluded]
            tree = [each for child in direct for each in _descendants(child)]
            self.processes = max(self.processes, len(tree))
            self.tree_mb = max(self.tree_mb, sum(_status_mb(each, "VmRSS") for each in tree))
            self.first_mb = max([self.first_mb, *(_status_mb(child, "VmHWM") for child in direct)])


def _descendants(process: int) -> list[int]:
    return [process, *(each for child in _children(process) for each in _descendants(child))]


def _children(process: int) -> list[int]:
    found: list[int] = []
    # A process or thread may end while it is looked at.
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _status_mb(process: int, field: str) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / KILOBYTES
    return 0.0
