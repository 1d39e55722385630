"""The one entry: from observations to verdicts and recommendations.

Is it the prompt or the model? Paired differences between runtimes that differ in one of the two alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Literal, NamedTuple

from pytest_proofmap.decide.adaptive import order_of
from pytest_proofmap.decide.looks import (
    History,
    LookKey,
    LookState,
    Taken,
    hypothesis_of,
    recorded,
    take_look,
)
from pytest_proofmap.decide.observation import Observation, observe
from pytest_proofmap.decide.pairing import answered_pairs
from pytest_proofmap.decide.reasons import Block, Reason, blocks_on
from pytest_proofmap.decide.recommend import recommend
from pytest_proofmap.decide.served import foreign_in
from pytest_proofmap.decide.stats.multiplicity import DEFAULT_RULE
from pytest_proofmap.decide.stats.paired import Memo
from pytest_proofmap.decide.stats.tango import tango_interval
from pytest_proofmap.decide.tally import CriterionTally, View, broken_test, tally
from pytest_proofmap.decide.verdict import CriterionVerdicts, judge, judge_objective
from pytest_proofmap.evidence.models import AttributedDifference, Criterion, Evidence, Objective, RuntimeInfo

__all__ = ["Decision", "attribute", "decide", "decide_evidence", "is_decided"]


_ALL_PAIRS = 8
"""Up to so many runtimes all pairs are compared, beyond it those with the baseline."""

Axis = Literal["prompt", "model"]


def attribute(
    tally: CriterionTally,
    names: Sequence[str],
    runtimes: Mapping[str, RuntimeInfo],
    confidence: float,
) -> list[AttributedDifference]:
    """Compare all pairs of a criterion's runtimes that differ along one axis alone. No verdict hangs on it.

    Args:
        tally: What was observed of the criterion.
        names: The baseline, then the challengers.
        runtimes: The runtimes as configured.
        confidence: Two-sided confidence of the intervals (0: 0.95).
    """
    known = [name for name in names if name in runtimes and tally.runtimes.get(name)]
    differences = []
    for first, second in combinations(known, 2):
        # All pairs of many runtimes would be more than anyone reads.
        if first != names[0] and len(known) > _ALL_PAIRS:
            continue
        axis = _axis(runtimes[first], runtimes[second])
        if axis is None:
            continue
        for slice_name in (None, *tally.slices()):
            difference = _difference(tally, slice_name, first, second, axis, confidence or 0.95)
            if difference is not None:
                differences.append(difference)
    return differences


def _axis(runtime_info: RuntimeInfo, other: RuntimeInfo) -> Axis | None:
    """Return the only axis along which two runtimes differ, or None when there is not exactly one."""
    if runtime_info.params != other.params:
        return None
    same_model = (runtime_info.model, runtime_info.provider, runtime_info.api_base) == (
        other.model,
        other.provider,
        other.api_base,
    )
    if same_model == (runtime_info.variant == other.variant):
        return None
    return "prompt" if same_model else "model"


def _difference(
    tally: CriterionTally,
    slice_name: str | None,
    first: str,
    second: str,
    axis: Axis,
    confidence: float,
) -> AttributedDifference | None:
    """Return the paired difference on the cases that both have an outcome for, or None without any."""
    table, pairs = answered_pairs(tally.view(slice_name), first, second)
    if not pairs:
        return None
    low, high = tango_interval(*table, confidence)
    return AttributedDifference(
        axis=axis,
        slice=slice_name,
        from_runtime=first,
        to_runtime=second,
        difference=(table.improvements - table.regressions) / table.pairs,
        interval=(low, high),
        pairs=pairs,
    )


class Decision(NamedTuple):
    """The criteria and objectives with everything decided filled in."""

    criteria: list[Criterion]
    objectives: list[Objective]
    history: History = MappingProxyType({})
    """What looks have seen after this one; empty where there is one look."""


def decide(
    criteria: Sequence[Criterion],
    objectives: Sequence[Objective],
    runtimes: Mapping[str, RuntimeInfo],
    observations: Iterable[Observation],
    *,
    memo: Memo | None = None,
    blocks: Sequence[Block] = (),
    history: History | None = None,
    seen: History = MappingProxyType({}),
) -> Decision:
    """Decide on all challengers of all criteria and objectives.

    No fault in here loses what was observed: an objective that cannot be decided says so in ``decision_error``,
    has no verdicts, and leaves the others alone.

    Args:
        criteria: The criteria with their bars; what they hold of earlier decisions is replaced.
        objectives: The objectives with their baseline and challengers; likewise.
        runtimes: The runtimes as configured.
        observations: What was observed, in any order.
        memo: Where p-values are kept, such as between runs; None: only within this process.
        blocks: What blocks verdicts, beside what the observations say.
        history: What earlier looks have seen; None: decide by the looks that the criteria's cells hold.
        seen: What else is known of earlier looks, whether or not the history holds it.

    Returns:
        The criteria with cells and attribution, and the objectives with verdicts and recommendations, in the
        order they came in.
    """
    try:
        tallies = tally(observations, {criterion.id: criterion.collected for criterion in criteria})
    except Exception as error:
        return Decision(
            [_undecided_criterion(criterion) for criterion in criteria],
            [_undecided_objective(objective, error) for objective in objectives],
        )
    criteria_decided: dict[str, Criterion] = {}
    objectives_decided: list[Objective] = []
    taken: dict[LookKey, LookState] = {}
    by_objective: defaultdict[str, list[Criterion]] = defaultdict(list)
    for criterion in criteria:
        by_objective[criterion.objective].append(criterion)
    for objective in objectives:
        members = by_objective[objective.name]
        try:
            decision = _decide_objective(objective, members, tallies, runtimes, memo, blocks, history, seen)
        except Exception as error:
            decision = Decision(
                [_undecided_criterion(criterion) for criterion in members],
                [_undecided_objective(objective, error)],
            )
        criteria_decided.update({criterion.id: criterion for criterion in decision.criteria})
        objectives_decided += decision.objectives
        taken.update(decision.history)
    return Decision([criteria_decided[criterion.id] for criterion in criteria], objectives_decided, taken)


def decide_evidence(evidence: Evidence, *, memo: Memo | None = None, blocks: Sequence[Block] = ()) -> Evidence:
    """Return an artifact with its decisions made anew from its samples and bars, without any call."""
    repeated = {criterion.id for criterion in evidence.criteria if criterion.bar.samples > 1}
    observations = observe(evidence.samples, repeated)
    foreign = [answers.block for answers in foreign_in(evidence, observations)]
    decision = decide(
        evidence.criteria,
        evidence.objectives,
        evidence.runtimes,
        observations,
        memo=memo,
        blocks=[*blocks, *foreign],
    )
    return evidence.model_copy(update={"criteria": decision.criteria, "objectives": decision.objectives})


def is_decided(evidence: Evidence) -> bool:
    """Return whether an artifact holds verdicts, or says why it has none."""
    return any(criterion.cells for criterion in evidence.criteria) or any(
        objective.decision_error is not None for objective in evidence.objectives
    )


def _undecided_criterion(criterion: Criterion) -> Criterion:
    return criterion.model_copy(update={"cells": [], "attribution": [], "broken": None})


def _tests_broken(broken: str | None) -> list[Reason]:
    return [] if broken is None else [Reason("tests_broken", f"the test seems broken: {broken}")]


def _undecided_objective(objective: Objective, error: Exception) -> Objective:
    """Return an objective that could not be decided, with what went wrong and where."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    # Not by the module traceback: it reads source files for their lines.
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is not None:
        code = frame.tb_frame.f_code
        name = code.co_filename.replace("\\", "/").rpartition("/")[2]
        text += f" ({name}, line {frame.tb_lineno}, in {code.co_name})"
    return objective.model_copy(update={"verdicts": [], "recommendations": [], "decision_error": text})


def _decide_objective(
    objective: Objective,
    criteria: Sequence[Criterion],
    tallies: Mapping[str, CriterionTally],
    runtimes: Mapping[str, RuntimeInfo],
    memo: Memo | None,
    blocks: Sequence[Block],
    history: History | None,
    seen: History,
) -> Decision:
    """Judge an objective's criteria, then the objective itself on all cases and on each slice, and recommend."""
    rule = objective.slices_rule or DEFAULT_RULE
    decided, verdicts = [], []
    after: dict[LookKey, LookState] = {}
    for criterion in criteria:
        counted = tallies[criterion.id]
        broken = broken_test(counted, objective.baseline)
        names = criterion.challengers or objective.challengers
        slices = counted.slices()
        views = {name: counted.view(name) for name in (None, *slices)}
        looks = _looks(criterion, objective, names, views, runtimes, history, seen)
        if history is not None:
            after.update({LookKey(criterion.id, *on): taken.state for on, taken in looks.items()})
        found = judge(
            criterion.bar,
            views,
            objective.baseline,
            names,
            rule,
            memo=memo,
            order=order_of(criterion),
            blocks={
                name: [*_tests_broken(broken), *blocks_on(blocks, criterion.id, name, objective.baseline)]
                for name in names
            },
            looks=looks,
        )
        verdicts.append(CriterionVerdicts(criterion.id, criterion.bar, bool(slices), found.judged))
        differences = attribute(counted, (objective.baseline, *names), runtimes, criterion.bar.confidence)
        update = {"cells": found.cells, "attribution": differences, "broken": broken}
        decided.append(criterion.model_copy(update=update))
    listed = [criterion for criterion in verdicts if criterion.id in objective.criteria]
    slices = sorted({name for criterion in listed for name in tallies[criterion.id].slices()})
    together = judge_objective(objective, listed, slices)
    recommendations = []
    for name in (None, *slices):
        of_criteria = [tallies[criterion.id].view(name if criterion.sliced else None) for criterion in listed]
        recommendations.append(recommend(objective, listed, together, name, of_criteria, runtimes))
    return Decision(
        decided,
        [
            objective.model_copy(
                update={
                    "verdicts": [verdict for name in (None, *slices) for verdict in together.by_slice[name]],
                    "recommendations": recommendations,
                    "slices_rule": rule,
                    "decision_error": None,
                }
            )
        ],
        after,
    )


def _looks(
    criterion: Criterion,
    objective: Objective,
    challengers: Sequence[str],
    views: Mapping[str | None, View],
    runtimes: Mapping[str, RuntimeInfo],
    history: History | None,
    seen: History,
) -> dict[tuple[str | None, str], Taken]:
    """Return by slice and challenger which of several looks this is; nothing where there is one."""
    mode = objective.looks
    if mode is None or mode == 1:
        return {}
    baseline, margin = objective.baseline, criterion.bar.margin
    stored = {(cell.slice, cell.runtime): cell.look for cell in criterion.cells}
    looks = {}
    for name, view in views.items():
        for challenger in challengers:
            if history is None:
                looks[name, challenger] = recorded(
                    stored.get((name, challenger)), mode, view, baseline, challenger, margin
                )
                continue
            hypothesis = hypothesis_of(criterion, objective, challenger, runtimes)
            key = LookKey(criterion.id, name, challenger)
            looks[name, challenger] = take_look(
                history.get(key), mode, hypothesis, view, baseline, challenger, margin, seen.get(key)
            )
    return looks
