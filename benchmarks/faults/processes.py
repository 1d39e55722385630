"""The processes that a campaign started: their children, and whether they are gone. Needs Linux."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

__all__ = ["descendants", "end", "is_alive", "wait_until_gone"]

_LOOK_S = 0.01


def descendants(pid: int) -> list[int]:
    """Return the ids of the processes that a process has started, and that those have."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found + [each for child in found for each in descendants(child)]


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that is dead and not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def wait_until_gone(pids: list[int], timeout_s: float) -> float | None:
    """Wait until processes are gone, and return how long it took; None: some are still there."""
    started = time.monotonic()
    while any(map(is_alive, pids)):
        if time.monotonic() - started > timeout_s:
            return None
        time.sleep(_LOOK_S)
    return time.monotonic() - started


def end(pids: list[int]) -> None:
    """Kill processes by their ids."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
