"""What pytest shows of a failing test, with nothing in it that a terminal would obey.

Messages of assertions quote answers, and an answer may hold anything. pytest prints it as it is, and workers of
pytest-xdist cannot even send half a surrogate pair.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_proofmap.visible import visible_lines

__all__ = ["make_visible"]


def make_visible(report: pytest.TestReport, *, colours: bool) -> None:
    """Change what a report shows of an exception or a skip.

    Args:
        report: The report.
        colours: Whether pytest paints, and so puts sequences of its own into differences.
    """
    report.longrepr = _visible(report.longrepr, colours)


def _visible(value: Any, colours: bool) -> Any:
    """Return a text, a list of such, or one of pytest's representations, each of their texts visible."""
    if isinstance(value, str):
        return visible_lines(value, colours=colours)
    if type(value) in (list, tuple):
        return type(value)(_visible(each, colours) for each in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            old = getattr(value, field.name)
            new = _visible(old, colours)
            if new != old:
                setattr(value, field.name, new)
    return value
