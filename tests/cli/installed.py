"""The installed script ``proofmap``, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pytest_proofmap.evidence.models import Evidence

__all__ = ["SCRIPT", "as_json", "proofmap", "store", "words"]

SCRIPT = Path(sys.executable).with_name("proofmap")
SECONDS = 60


def proofmap(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script, without a terminal, and return what it said."""
    plain = {
        name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")
    }
    return subprocess.run(
        [SCRIPT, *map(str, arguments)],
        env={**plain, "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


def store(evidence: Evidence, path: Path) -> Path:
    """Write evidence to a file."""
    path.write_text(evidence.model_dump_json(by_alias=True), encoding="utf-8")
    return path


def words(*arguments: str | Path, status: int = 0) -> str:
    """Return what a command printed, in one line, having checked that it fits and how it ended."""
    done = proofmap(*arguments)
    assert (done.returncode, done.stderr) == (status, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    return " ".join(done.stdout.split())


def as_json(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    """Return what a command with ``--json`` printed, having checked how it ended."""
    done = proofmap(*arguments, "--json")
    assert (done.returncode, done.stderr) == (status, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
