"""The campaigns of ``benchmarks/faults``, of which the tests run small versions."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["load"]

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "faults"


def load(name: str) -> Any:
    """Return the module of a campaign."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return import_module(name)
