"""Reads the support tickets in ``cases/``: one ticket and what is true about it on each line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

CASES = Path(__file__).parent / "cases"


def tickets(name: str, *fields: str) -> list[ParameterSet]:
    """Read ``cases/<name>.jsonl`` as parameters: the given fields of each line, under the line's id."""
    lines = (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [pytest.param(*(row[field] for field in fields), id=row["id"]) for row in rows]
