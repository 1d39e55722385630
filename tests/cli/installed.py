"""The installed script ``proofmap``, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pytest_proofmap.evidence.models import Evidence

__all__ = ["SCRIPT", "proofmap", "store"]

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
