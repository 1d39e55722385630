"""Verdicts on an objective: the conjunction of its criteria.

A challenger must be acceptable on every criterion, so the p-value of the objective is the largest of its
criteria (an intersection-union test needs no correction for them); several challengers and slices are then
corrected for as on a criterion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.multiplicity import DEFAULT_RULE, correct
from pytest_proofmap.decide.reasons import Reason
from pytest_proofmap.decide.verdict import Judged
from pytest_proofmap.decide.wording import Family, count
from pytest_proofmap.evidence.models import Bar, Objective, ObjectiveVerdict, SlicesRule, Status

__all__ = ["CriterionVerdicts", "ObjectiveVerdicts", "judge_objective"]


class CriterionVerdicts(NamedTuple):
    """One criterion's judged challengers, by slice and runtime."""

    id: str
    bar: Bar
    sliced: bool
    judged: Mapping[tuple[str | None, str], Judged]

    def on(self, slice_name: str | None, challenger: str) -> Judged | None:
        """Return the verdict that counts towards a slice: without slices of its own, that on all cases."""
        return self.judged.get((slice_name if self.sliced else None, challenger))


class ObjectiveVerdicts(NamedTuple):
    """The verdicts on an objective, on all cases and on each slice."""

    rule: SlicesRule
    slices: tuple[str, ...]
    by_slice: Mapping[str | None, list[ObjectiveVerdict]]

    def statuses(self, challenger: str) -> dict[str, Status]:
        """Return a challenger's status on each slice."""
        return {
            name: verdict.status
            for name in self.slices
            for verdict in self.by_slice[name]
            if verdict.runtime == challenger
        }


def judge_objective(
    objective: Objective, criteria: Sequence[CriterionVerdicts], slices: Sequence[str]
) -> ObjectiveVerdicts:
    """Judge an objective's challengers on all cases and on each slice of its criteria."""
    alpha = 1.0 - criteria[0].bar.confidence if criteria else 0.05
    rule = objective.slices_rule or DEFAULT_RULE
    by_slice = dict(_judge(objective, criteria, [None], alpha, "each"))
    if slices:
        by_slice.update(_judge(objective, criteria, list(slices), alpha, rule))
    return ObjectiveVerdicts(rule, tuple(slices), by_slice)


def _judge(
    objective: Objective,
    criteria: Sequence[CriterionVerdicts],
    names: Sequence[str | None],
    alpha: float,
    rule: SlicesRule,
) -> Iterator[tuple[str | None, list[ObjectiveVerdict]]]:
    """Yield the verdicts by slice, corrected for each other."""
    rows = [
        [{one.id: one.on(name, challenger) for one in criteria} for challenger in objective.challengers]
        for name in names
    ]
    p_values = [[_largest_p(row) for row in by_challenger] for by_challenger in rows]
    correction = correct(p_values, alpha, rule)
    observed = alpha >= 1.0
    family = Family(
        objective.baseline,
        len(objective.challengers),
        1 if rule == "each" else len(names),
        alpha,
        correction.level,
        correction.level,
    )
    for name, by_challenger, raw, adjusted in zip(names, rows, p_values, correction.adjusted, strict=True):
        verdicts = []
        for challenger, row, p_unsafe, p_adjusted in zip(
            objective.challengers, by_challenger, raw, adjusted, strict=True
        ):
            status, reason = _verdict(row, p_adjusted, family)
            verdicts.append(
                ObjectiveVerdict(
                    runtime=challenger,
                    slice=name,
                    status=status,
                    reason=reason.text,
                    reason_code=reason.code,
                    p_unsafe=None if observed else p_unsafe,
                    p_adjusted=None if observed else p_adjusted,
                    level=None if observed else correction.level,
                )
            )
        yield name, verdicts


def _largest_p(row: Mapping[str, Judged | None]) -> float:
    return max((1.0 if one is None else one.assessment.family_p for one in row.values()), default=1.0)


def _verdict(row: Mapping[str, Judged | None], p_adjusted: float, family: Family) -> tuple[Status, Reason]:
    """Return the status of a challenger on all criteria, and why."""
    if not row:
        return "insufficient", Reason("no_criterion", "the objective has no criterion")
    by_status: dict[Status, list[str]] = {"not_qualified": [], "insufficient": [], "qualified": []}
    reasons: dict[str, Reason] = {}
    for criterion, judged in row.items():
        status = "insufficient" if judged is None or judged.cell.status is None else judged.cell.status
        by_status[status].append(criterion)
        reasons[criterion] = Reason("not_run", "it has no evidence there") if judged is None else judged.reason
    for status in ("not_qualified", "insufficient"):
        if by_status[status]:
            return status, _reason(by_status[status], reasons, len(row))
    # With confidence 0 no p-value takes part: each criterion has decided on its observed rate.
    if family.alpha >= 1.0 or p_adjusted <= family.level:
        return "qualified", _reason(by_status["qualified"], reasons, len(row))
    shared = count(family.challengers, "challenger")
    if family.slices > 1:
        shared += f" on {count(family.slices, 'slice')}"
    return "insufficient", Reason(
        "criteria_together" if len(row) > 1 else "slices_together",
        f"each of its {count(len(row), 'criterion', 'criteria')} qualifies alone, but together, corrected "
        f"for {shared}, they reach p = {p_adjusted:.3f} and need p ≤ {family.level:.3g}: "
        "the weakest evidence of a challenger counts for all of it",
    )


def _reason(which: Sequence[str], reasons: Mapping[str, Reason], total: int) -> Reason:
    """Return the reason of the criteria that settle it; the only criterion needs no name."""
    first = reasons[which[0]]
    if total == 1:
        return first
    if len(which) == total and len(which) > 1:
        lead = f"on all {total} criteria"
    else:
        lead = f"on {len(which)} of {total} criteria"
    return first._replace(text=f"{lead}; {which[0].rpartition('::')[2]}: {first.text}")
