"""Why a verdict is what it is: a stable code for tools beside the words for people, and what blocks a verdict.

A *block* says that no verdict is possible whatever the figures show. Those that follow from a challenger's own
outcomes are found while it is assessed (``bars``); whoever knows of another (a test that is broken, a model that
was not the one that answered) hands it to :func:`pytest_proofmap.decide.decision.decide`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

__all__ = ["Block", "Reason", "ReasonCode", "blocks_on"]

ReasonCode = Literal[
    # Verdicts.
    "qualified",
    "observed",
    "failed_cases",
    "worse",
    "below_rate",
    "too_few_cases",
    "none_at_this_rate",
    "errors",
    "futile",
    "slices_together",
    "looks_used_up",
    "criteria_together",
    "no_criterion",
    # Blocks.
    "no_cases",
    "not_run",
    "missing_outcomes",
    "reference_missing",
    "reference_unusable",
    "adaptive_left_out",
    "tests_broken",
    "served_model",
    # The baseline's own cells.
    "baseline",
    "baseline_below_bar",
    # Recommendations.
    "promoted",
    "sensitive",
    "none_qualified",
    "slice_objection",
    "above_ceiling",
    "ceiling_unverified",
    "gain_unknown",
    "gain_unproven",
    "no_gain",
]
"""What a reason says, for tools: codes are added and never change their meaning."""


class Reason(NamedTuple):
    """A reason for tools and for people."""

    code: ReasonCode
    text: str


class Block(NamedTuple):
    """Why no verdict is possible on some challengers, whatever the figures show."""

    code: ReasonCode
    text: str
    criterion: str | None = None
    """The criterion that it concerns; None: every criterion."""
    runtime: str | None = None
    """The challenger that it concerns; None or the baseline: every challenger, as all are compared with it."""

    @property
    def reason(self) -> Reason:
        """The reason of the verdicts that it blocks."""
        return Reason(self.code, self.text)


def blocks_on(blocks: Iterable[Block], criterion: str, challenger: str, baseline: str) -> list[Reason]:
    """Return what blocks the verdict on a challenger of a criterion, in the given order."""
    return [
        block.reason
        for block in blocks
        if block.criterion in (None, criterion) and block.runtime in (None, challenger, baseline)
    ]
