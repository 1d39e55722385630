"""Verdicts on an objective: the conjunction of its criteria.

A challenger must be acceptable on every criterion, so the p-value of the objective is the largest of its
criteria (an intersection-union test needs no correction for them); several challengers are then corrected
for by Holm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.multiplicity import holm
from pytest_proofmap.decide.verdict import Judged
from pytest_proofmap.decide.wording import count
from pytest_proofmap.evidence.models import Bar, Objective, ObjectiveVerdict, Status

__all__ = ["CriterionVerdicts", "judge_objective"]


class CriterionVerdicts(NamedTuple):
    """One criterion's judged challengers, by slice and runtime."""

    id: str
    bar: Bar
    sliced: bool
    judged: Mapping[tuple[str | None, str], Judged]

    def on(self, slice_name: str | None, challenger: str) -> Judged | None:
        """Return the verdict that counts towards a slice: without slices of its own, that on all cases."""
        return self.judged.get((slice_name if self.sliced else None, challenger))


def judge_objective(
    objective: Objective, criteria: Sequence[CriterionVerdicts], slice_name: str | None
) -> list[ObjectiveVerdict]:
    """Judge an objective's challengers on one slice (None: on all cases)."""
    alpha = 1.0 - criteria[0].bar.confidence if criteria else 0.05
    observed = alpha >= 1.0
    found = [
        {criterion.id: criterion.on(slice_name, challenger) for criterion in criteria}
        for challenger in objective.challengers
    ]
    p_values = [
        max((1.0 if one is None else one.assessment.family_p for one in row.values()), default=1.0)
        for row in found
    ]
    adjusted = holm(p_values)
    verdicts = []
    for challenger, row, p_unsafe, p_adjusted in zip(
        objective.challengers, found, p_values, adjusted, strict=True
    ):
        status, reason = _verdict(row, 1.0 if observed else p_adjusted, alpha, len(objective.challengers))
        verdicts.append(
            ObjectiveVerdict(
                runtime=challenger,
                slice=slice_name,
                status=status,
                reason=reason,
                p_unsafe=None if observed else p_unsafe,
                p_adjusted=None if observed else p_adjusted,
            )
        )
    return verdicts


def _verdict(
    row: Mapping[str, Judged | None], p_adjusted: float, alpha: float, challengers: int
) -> tuple[Status, str]:
    """Return the status of a challenger on all criteria, and why."""
    if not row:
        return "insufficient", "the objective has no criterion"
    by_status: dict[Status, list[str]] = {"not_qualified": [], "insufficient": [], "qualified": []}
    reasons = {}
    for criterion, judged in row.items():
        status = "insufficient" if judged is None or judged.cell.status is None else judged.cell.status
        by_status[status].append(criterion)
        reasons[criterion] = "it has no evidence there" if judged is None else judged.cell.reason
    for status in ("not_qualified", "insufficient"):
        if by_status[status]:
            return status, _reason(by_status[status], reasons, len(row))
    if p_adjusted <= alpha:
        return "qualified", _reason(by_status["qualified"], reasons, len(row))
    return "insufficient", (
        f"each of its {count(len(row), 'criterion', 'criteria')} qualifies alone, but together, corrected "
        f"for {count(challengers, 'challenger')}, they reach p = {p_adjusted:.3f} and need p ≤ {alpha:.3g}: "
        "the weakest evidence of a challenger counts for all of it"
    )


def _reason(which: Sequence[str], reasons: Mapping[str, str], total: int) -> str:
    """Return the reason of the criteria that settle it; the only criterion needs no name."""
    if total == 1:
        return reasons[which[0]]
    if len(which) == total and len(which) > 1:
        lead = f"on all {total} criteria"
    else:
        lead = f"on {len(which)} of {total} criteria"
    return f"{lead}; {which[0].rpartition('::')[2]}: {reasons[which[0]]}"
