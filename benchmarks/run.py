"""Measures what ProofMap adds to pytest's own time and memory: ``python benchmarks/run.py``.

Exit status: 0 every figure keeps its limit, 1 one does not.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from measure import Command, Comparison, compare
from workloads import write_plain_project, write_qualifying_project

PYTEST = (sys.executable, "-m", "pytest", "-q")
PLUGIN = ("-p", "pytest_proofmap.plugin")
SAMPLES = 5_000
TESTS = 10_000


@dataclass(frozen=True)
class Figure:
    """One measured figure and its limit."""

    name: str
    value: float
    limit: float
    unit: str

    @property
    def kept(self) -> bool:
        """Whether the limit is kept."""
        return self.value <= self.limit

    def __str__(self) -> str:
        verdict = "ok" if self.kept else "OVER"
        return f"  {self.name:<44} {self.value:8.3f}{self.unit:<4} limit {self.limit:g}{self.unit:<4} {verdict}"


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=7, help="runs of each side (default: %(default)s)")
    parser.add_argument("only", nargs="*", choices=[[], "cached", "recorded", "unused"], help="default: all")
    arguments = parser.parse_args()
    chosen = arguments.only or ["cached", "recorded", "unused"]
    print(
        f"Python {platform.python_version()}, pytest {metadata.version('pytest')}, "
        f"pytest-proofmap {metadata.version('pytest-proofmap')}, {arguments.pairs} pairs"
    )
    kept = True
    with tempfile.TemporaryDirectory(prefix="proofmap-benchmark-") as folder:
        for name in chosen:
            for figure in MEASURES[name](Path(folder), arguments.pairs):
                print(figure, flush=True)
                kept = kept and figure.kept
    return 0 if kept else 1


def measure_cached(folder: Path, pairs: int) -> Iterator[Figure]:
    """Samples from the response cache, against as many trivial tests."""
    return _measure_replay(folder, pairs, recorded=False)


def measure_recorded(folder: Path, pairs: int) -> Iterator[Figure]:
    """Samples from committed recordings, against as many trivial tests."""
    return _measure_replay(folder, pairs, recorded=True)


def measure_unused(folder: Path, pairs: int) -> Iterator[Figure]:
    """The plugin in a run without marked tests, against a run in which it is not loaded."""
    write_plain_project(folder / "trivial", TESTS)
    passed = f"{TESTS} passed"
    comparison = compare(
        Command((*PYTEST, "-p", "no:proofmap"), folder / "trivial", passed),
        Command((*PYTEST, *PLUGIN), folder / "trivial", passed),
        pairs,
    )
    _show(f"{TESTS:,} trivial tests: without the plugin, and with it unused", comparison)
    yield Figure("CPU time, ratio", comparison.ratio("cpu_s"), 1.02, "x")
    yield Figure("wall-clock time, ratio", comparison.ratio("wall_s"), 1.02, "x")


def _measure_replay(folder: Path, pairs: int, *, recorded: bool) -> Iterator[Figure]:
    kind = "recorded" if recorded else "cached"
    plain, qualifying = folder / f"plain-{kind}", folder / kind
    write_plain_project(plain, SAMPLES)
    write_qualifying_project(qualifying, SAMPLES, recorded=recorded)
    passed = f"{SAMPLES} passed"
    comparison = compare(
        Command(PYTEST, plain, passed),
        Command((*PYTEST, *PLUGIN, "--proofmap"), qualifying, passed),
        pairs,
    )
    _show(f"{SAMPLES:,} trivial tests, and {SAMPLES:,} {kind} samples", comparison)
    yield Figure("wall-clock time, ratio", comparison.ratio("wall_s"), 1.5, "x")
    yield Figure("CPU time, ratio", comparison.ratio("cpu_s"), 1.5, "x")
    yield Figure("peak memory, difference", comparison.difference("peak_mb"), 100.0, " MB")


def _show(title: str, comparison: Comparison) -> None:
    print(title)
    for field, unit in (("wall_s", "s"), ("cpu_s", "s CPU"), ("peak_mb", "MB")):
        base, other = comparison.typical(field)
        print(f"  {base:8.2f} {unit:<6} {other:8.2f} {unit}")


MEASURES = {"cached": measure_cached, "recorded": measure_recorded, "unused": measure_unused}

if __name__ == "__main__":
    sys.exit(main())
