"""What tables and findings show of a sample that did not pass."""

from __future__ import annotations

from typing import NamedTuple

from pytest_proofmap.evidence.models import Outcome

__all__ = ["Miss"]


class Miss(NamedTuple):
    """A sample that did not pass, as tables show it."""

    criterion: str
    case: str
    slice: str | None
    runtime: str
    sample: int
    outcome: Outcome
    message: str
    error_class: str | None
    """Class of the failure when the outcome is ``error``."""
    answer: str
    """Beginning of the last answer, in one line."""
