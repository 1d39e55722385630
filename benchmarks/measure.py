"""Runs commands in processes of their own and compares what they took."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Command", "Comparison", "Usage", "compare", "run"]

MEGABYTE = 2**20
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Command:
    """A command to measure."""

    arguments: Sequence[str]
    folder: Path
    expected_line: str
    """What the last line of its output must hold, so that nothing is measured that did not do the work."""


@dataclass(frozen=True)
class Usage:
    """What one run of a command took."""

    wall_s: float
    cpu_s: float
    """User and system time together."""
    peak_mb: float
    """Largest resident size, in MiB."""


@dataclass(frozen=True)
class Comparison:
    """Two commands, run in turn."""

    base: list[Usage]
    other: list[Usage]

    def ratio(self, field: str) -> float:
        """Return the median over the pairs of other / base."""
        pairs = zip(self.other, self.base, strict=True)
        return statistics.median(getattr(other, field) / getattr(base, field) for other, base in pairs)

    def difference(self, field: str) -> float:
        """Return the median over the pairs of other - base."""
        pairs = zip(self.other, self.base, strict=True)
        return statistics.median(getattr(other, field) - getattr(base, field) for other, base in pairs)

    def typical(self, field: str) -> tuple[float, float]:
        """Return the medians of base and other."""
        base, other = ([getattr(each, field) for each in side] for side in (self.base, self.other))
        return statistics.median(base), statistics.median(other)


def compare(base: Command, other: Command, pairs: int) -> Comparison:
    """Run two commands in turn, each once without being counted, then ``pairs`` times.

    Which of the two goes first changes from pair to pair.
    """
    run(base)
    run(other)
    usages: tuple[list[Usage], list[Usage]] = ([], [])
    for pair in range(pairs):
        for side in (0, 1) if pair % 2 == 0 else (1, 0):
            usages[side].append(run((base, other)[side]))
    return Comparison(*usages)


def run(command: Command) -> Usage:
    """Run a command and return what it took.

    Raises:
        RuntimeError: It failed, or did not do what was expected.
    """
    output = command.folder / "output.txt"
    began = time.perf_counter()
    with output.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command.arguments,
            cwd=command.folder,
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    text = output.read_text(encoding="utf-8").strip()
    last_line = text.rpartition("\n")[2]
    if process.returncode != 0 or command.expected_line not in last_line:
        raise RuntimeError(
            f"{' '.join(command.arguments)} in {command.folder} ended with {process.returncode}; its last line "
            f"should hold {command.expected_line!r}:\n{text[-2000:]}"
        )
    return Usage(
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mb=usage.ru_maxrss * MAXRSS_UNIT / MEGABYTE,
    )


def environment(outer: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which no third-party plugin is loaded and bytecode is kept."""
    dropped = ("PYTEST_", "PYTHONDONTWRITEBYTECODE", "COV_", "GITHUB_")
    kept = {name: value for name, value in outer.items() if not name.startswith(dropped)}
    return {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "80"}
