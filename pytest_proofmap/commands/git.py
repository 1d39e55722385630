"""What git knows of the project; without git, nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["ask_git"]

GIT_TIMEOUT_S = 5.0


def ask_git(folder: Path, *arguments: str) -> str | None:
    """Return what git answers in a folder; None when it has no answer, or is not there."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
