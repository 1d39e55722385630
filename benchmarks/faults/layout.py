"""Where the campaigns find the tests' servers, and how they run ProofMap in processes of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

__all__ = ["ROOT", "environment", "pytest_command", "table"]

_HIDDEN = ("ANTHROPIC_", "COV_", "GITHUB_", "LITELLM_", "OPENAI_", "PYTEST_")


def environment(**more: str) -> dict[str, str]:
    """Return an environment without the outer run's options, keys and endpoints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)}
    return {
        **kept,
        "NO_PROXY": "127.0.0.1,localhost",
        "OPENAI_API_KEY": "none",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "COLUMNS": "120",
        **more,
    }


def pytest_command(*arguments: str) -> list[str]:
    """Return the command of a qualifying run without any plugin but ProofMap."""
    return [
        *(sys.executable, "-m", "pytest", "-p", "proofmap", "-p", "no:cacheprovider"),
        *("--proofmap", "-q", "--no-header", *arguments),
    ]


def table(titles: list[str], rows: list[list[object]]) -> str:
    """Return a Markdown table whose first column is text and whose others are figures."""
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
