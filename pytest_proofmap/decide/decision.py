"""The one entry: from observations to verdicts and recommendations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pytest_proofmap.collector import no_collection
from pytest_proofmap.decide.attribution import attribute
from pytest_proofmap.decide.objective import CriterionVerdicts, judge_objective
from pytest_proofmap.decide.observation import Observation, observe
from pytest_proofmap.decide.paired import Memo
from pytest_proofmap.decide.recommend import recommend
from pytest_proofmap.decide.stopping import order_of
from pytest_proofmap.decide.tally import CriterionTally, tally
from pytest_proofmap.decide.verdict import Judged, judge
from pytest_proofmap.evidence.models import Cell, Criterion, Evidence, Objective, RuntimeInfo

__all__ = ["Decision", "decide", "decide_evidence"]


class Decision(NamedTuple):
    """The criteria and objectives with everything decided filled in."""

    criteria: list[Criterion]
    objectives: list[Objective]


def decide(
    criteria: Sequence[Criterion],
    objectives: Sequence[Objective],
    runtimes: Mapping[str, RuntimeInfo],
    observations: Iterable[Observation],
    *,
    memo: Memo | None = None,
) -> Decision:
    """Decide on all challengers of all criteria and objectives.

    Args:
        criteria: The criteria with their bars; what they hold of earlier decisions is replaced.
        objectives: The objectives with their baseline and challengers; likewise.
        runtimes: The runtimes as configured.
        observations: What was observed, in any order.
        memo: Where p-values are kept, such as between runs; None: only within this process.

    Returns:
        The criteria with cells and attribution, and the objectives with verdicts and recommendations, in the
        order they came in.
    """
    with no_collection():
        return _decide(criteria, objectives, runtimes, observations, memo)


def _decide(
    criteria: Sequence[Criterion],
    objectives: Sequence[Objective],
    runtimes: Mapping[str, RuntimeInfo],
    observations: Iterable[Observation],
    memo: Memo | None,
) -> Decision:
    tallies = tally(observations, {criterion.id: criterion.collected for criterion in criteria})
    by_name = {objective.name: objective for objective in objectives}
    decided: list[Criterion] = []
    verdicts: dict[str, CriterionVerdicts] = {}
    for criterion in criteria:
        objective = by_name[criterion.objective]
        counted = tallies[criterion.id]
        cells, found = _judge_criterion(criterion, objective, counted, memo)
        verdicts[criterion.id] = found
        names = (objective.baseline, *_family(criterion, objective))
        differences = attribute(counted, names, runtimes, criterion.bar.confidence)
        decided.append(criterion.model_copy(update={"cells": cells, "attribution": differences}))
    return Decision(
        decided, [_decide_objective(objective, verdicts, tallies, runtimes) for objective in objectives]
    )


def decide_evidence(evidence: Evidence, *, memo: Memo | None = None) -> Evidence:
    """Return an artifact with its decisions made anew from its samples and bars, without any call."""
    repeated = {criterion.id for criterion in evidence.criteria if criterion.bar.samples > 1}
    decision = decide(
        evidence.criteria,
        evidence.objectives,
        evidence.runtimes,
        observe(evidence.samples, repeated),
        memo=memo,
    )
    return evidence.model_copy(update={"criteria": decision.criteria, "objectives": decision.objectives})


def _family(criterion: Criterion, objective: Objective) -> Sequence[str]:
    """Return the challengers that the criterion's mark names."""
    return criterion.challengers or objective.challengers


def _judge_criterion(
    criterion: Criterion, objective: Objective, counted: CriterionTally, memo: Memo | None
) -> tuple[list[Cell], CriterionVerdicts]:
    """Judge a criterion on all cases and on each of its slices."""
    cells: list[Cell] = []
    judged: dict[tuple[str | None, str], Judged] = {}
    slices = counted.slices()
    order = order_of(criterion)
    for slice_name in (None, *slices):
        baseline, found = judge(
            criterion.bar,
            counted.view(slice_name),
            slice_name,
            objective.baseline,
            _family(criterion, objective),
            memo,
            order,
        )
        cells.append(baseline)
        for one in found:
            cells.append(one.cell)
            judged[slice_name, one.cell.runtime] = one
    return cells, CriterionVerdicts(criterion.id, criterion.bar, bool(slices), judged)


def _decide_objective(
    objective: Objective,
    verdicts: Mapping[str, CriterionVerdicts],
    tallies: Mapping[str, CriterionTally],
    runtimes: Mapping[str, RuntimeInfo],
) -> Objective:
    """Judge an objective on all cases and on each slice of its criteria, and recommend."""
    own = [verdicts[criterion] for criterion in objective.criteria if criterion in verdicts]
    slices = sorted({name for criterion in own for name in tallies[criterion.id].slices()})
    all_verdicts = []
    recommendations = []
    for slice_name in (None, *slices):
        found = judge_objective(objective, own, slice_name)
        all_verdicts += found
        views = [tallies[criterion.id].view(slice_name if criterion.sliced else None) for criterion in own]
        recommendations.append(recommend(objective, own, found, slice_name, views, runtimes))
    return objective.model_copy(update={"verdicts": all_verdicts, "recommendations": recommendations})
