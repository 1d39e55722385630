"""What only pytest knows of a project: bars, cases, and the runtimes that hooks give. Nothing is called.

A pytest of its own collects the tests, with this module as a plugin that writes what was found. It is imported
without pytest by the command that starts the other one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

__all__ = ["collect"]


class Collected(NamedTuple):
    """The fingerprints that a collection found."""

    criteria: dict[str, str]
    """By id, whole."""
    runtimes: dict[str, str]
    """Of the runtimes that ``pytest_proofmap_runtimes`` gave, by name."""


def collect(rootdir: Path) -> Collected:
    """Have a pytest of its own collect all tests of a project.

    Raises:
        EvidenceError: pytest cannot collect the tests.
    """
    from pytest_proofmap.errors import EvidenceError

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "collected.json"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-p", "proofmap", "--proofmap", "--collect-only", "-q"),
                *("-p", "no:cacheprovider", "-p", "pytest_proofmap.plugin.collected"),
            ],
            cwd=rootdir,
            env={**os.environ, "PROOFMAP_COLLECTED": str(target)},
            capture_output=True,
            text=True,
            check=False,
        )
        if not target.exists():
            last = "\n".join(done.stdout.splitlines()[-8:] + done.stderr.splitlines()[-4:])
            raise EvidenceError(f"pytest could not collect the tests (pytest --proofmap --collect-only):\n{last}")
        found = json.loads(target.read_text(encoding="utf-8"))
        return Collected(found["criteria"], found["runtimes"])
