"""Verdicts on the challengers of one criterion and slice, and the baseline's own cell.

Verdicts on an objective: the conjunction of its criteria.

A challenger must be acceptable on every criterion, so the p-value of the objective is the largest of its
criteria (an intersection-union test needs no correction for them); several challengers and slices are then
corrected for as on a criterion.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from pytest_proofmap.decide.adaptive import CaseOrder, assess_adaptively, is_futile, share_spent_early
from pytest_proofmap.decide.bars import (
    LEAST_BASELINE_RATE,
    Assessment,
    absolute_rate,
    assess,
    baseline_rate,
    has_margin,
    is_observed,
)
from pytest_proofmap.decide.economics import latency_figures
from pytest_proofmap.decide.looks import Taken, at_look, is_last
from pytest_proofmap.decide.reasons import Reason, ReasonCode
from pytest_proofmap.decide.stats.binomial import binomial_at_most, clopper_pearson
from pytest_proofmap.decide.stats.forecasts import (
    best_all_pass,
    best_margin,
    best_min_pass_rate,
    more_margin,
    more_min_pass_rate,
)
from pytest_proofmap.decide.stats.multiplicity import DEFAULT_RULE, correct, holm
from pytest_proofmap.decide.stats.paired import Memo, gamma_of, p_unsafe_paired
from pytest_proofmap.decide.tally import PairedTable, View, answered_latencies, pass_hat_k
from pytest_proofmap.decide.wording import (
    Family,
    count,
    insufficient_reason,
    look_text,
    name_cases,
    not_qualified_reason,
    percent,
    qualified_reason,
)
from pytest_proofmap.evidence.models import (
    AdaptiveCell,
    Bar,
    Cell,
    Latency,
    Needs,
    Objective,
    ObjectiveVerdict,
    Role,
    SlicesRule,
    Status,
)

__all__ = ["CriterionVerdicts", "ObjectiveVerdicts", "baseline_meets_bar", "judge", "judge_objective"]


class Judged(NamedTuple):
    """A challenger's cell and what it follows from."""

    cell: Cell
    assessment: Assessment
    reason: Reason
    """Of the cell."""


class Verdicts(NamedTuple):
    """The verdicts on one criterion."""

    cells: list[Cell]
    """By slice, the baseline's first."""
    judged: dict[tuple[str | None, str], Judged]
    """The challengers by slice and name."""


def judge(
    bar: Bar,
    views: Mapping[str | None, View],
    baseline: str,
    challengers: Sequence[str],
    rule: SlicesRule = DEFAULT_RULE,
    *,
    memo: Memo | None = None,
    order: CaseOrder | None = None,
    blocks: Mapping[str, Sequence[Reason]] = MappingProxyType({}),
    looks: Mapping[tuple[str | None, str], Taken] = MappingProxyType({}),
) -> Verdicts:
    """Judge all challengers of a criterion on all cases and on each slice.

    Args:
        bar: The criterion's bar.
        views: The criterion's cases, under None all of them, under each slice its own.
        baseline: Name of the baseline.
        challengers: The whole family that the mark names, whoever of it was run.
        rule: How slices are corrected for each other.
        memo: Where p-values are kept.
        order: The order of the cases when sampling was adaptive; None: every case was asked.
        blocks: What blocks the verdicts on a challenger, beside what its outcomes say.
        looks: By slice and challenger which of several looks this is; none: the only one.
    """
    task = _Task(bar, views, baseline, challengers, memo, order, blocks, looks)
    slices = [name for name in views if name is not None]
    whole, parts = _judge_family(task, [None], "each"), _judge_family(task, slices, rule)
    return Verdicts([*whole.cells, *parts.cells], {**whole.judged, **parts.judged})


class _Task(NamedTuple):
    """What there is to judge."""

    bar: Bar
    views: Mapping[str | None, View]
    baseline: str
    challengers: Sequence[str]
    memo: Memo | None
    order: CaseOrder | None
    blocks: Mapping[str, Sequence[Reason]]
    looks: Mapping[tuple[str | None, str], Taken]

    def assess(self, name: str | None, challenger: str, sharing: int, gamma: float) -> Assessment:
        """Assess a challenger, whether every case was asked or sampling was adaptive."""
        own = self.blocks.get(challenger, ())
        view, taken = self.views[name], self.looks.get((name, challenger))
        if taken is not None and taken.look.refused:
            refused = set(taken.look.refused)
            view = View(view.tallies, [case for case in view.observed if case not in refused])
        if self.order is None:
            found = assess(self.bar, view, challenger, self.baseline, self.memo, gamma=gamma, blocks=own)
            return found if taken is None else at_look(self.bar, found, taken.look)
        return assess_adaptively(
            self.bar,
            view,
            self.order,
            challenger,
            self.baseline,
            sharing,
            self.memo,
            gamma=gamma,
            blocks=own,
        )


def _judge_family(task: _Task, names: Sequence[str | None], rule: SlicesRule) -> Verdicts:
    """Judge the challengers on slices that are corrected for each other (None: all cases)."""
    alpha = 1.0 - task.bar.confidence
    slices = 1 if rule == "each" else len(names)
    sharing = len(task.challengers) * slices
    gamma = gamma_of(alpha, len(task.challengers), slices)
    found = [
        _lift([task.assess(name, challenger, sharing, gamma) for challenger in task.challengers], alpha)
        for name in names
    ]
    correction = correct([[judged.family_p for judged in row] for row in found], alpha, rule)
    verdicts = Verdicts([], {})
    for name, row, adjusted, next_level in zip(
        names, found, correction.adjusted, correction.next_level, strict=True
    ):
        verdicts.cells.append(_baseline_cell(task.bar, task.views[name], name, task.baseline))
        family = Family(task.baseline, len(task.challengers), slices, alpha, correction.level, next_level)
        for assessment, p_adjusted in zip(row, adjusted, strict=True):
            judged = _judge_one(task, name, assessment, p_adjusted, family)
            verdicts.cells.append(judged.cell)
            verdicts.judged[name, assessment.challenger] = judged
    return verdicts


def _lift(assessments: list[Assessment], alpha: float) -> list[Assessment]:
    """Return the assessments, an unusable baseline blocking only those that are not shown to be better than it."""
    adjusted = holm([1.0 if judged.p_better is None else judged.p_better for judged in assessments])
    return [
        judged if judged.p_better is None else judged.lifted() if p <= alpha else judged.without_figures()
        for judged, p in zip(assessments, adjusted, strict=True)
    ]


def _judge_one(
    task: _Task, slice_name: str | None, assessment: Assessment, p_adjusted: float, family: Family
) -> Judged:
    """Return a challenger's cell with its verdict and the reason for it."""
    bar, order, memo, view = task.bar, task.order, task.memo, task.views[slice_name]
    level = family.next_level
    if order is not None:
        level *= 1.0 - share_spent_early(bar, view, order, family.sharing)
    status = _status(bar, assessment, p_adjusted, family)
    needs = None
    taken = task.looks.get((slice_name, assessment.challenger))
    look = None if taken is None else taken.look
    if look is not None and look.planned != "open":
        # What further cases need, they need at the next look.
        level /= 2.0 ** (look.number + 1)
    gamma = gamma_of(family.alpha, family.challengers, family.slices)
    if status == "qualified":
        reason = qualified_reason(bar, assessment, family.baseline)
    elif status == "not_qualified":
        reason = not_qualified_reason(bar, assessment, family.baseline)
    else:
        # After the last look nothing is needed any more, and how far open bets are is no number of cases.
        foreseen = look is None or (look.planned != "open" and not is_last(look))
        needs = _needs(bar, assessment, level, memo, gamma) if foreseen else None
        reason = insufficient_reason(bar, assessment, family, needs, level)
        if p_adjusted <= family.alpha and not assessment.blocks:
            reason = reason._replace(code="slices_together")
        elif look is not None and is_last(look) and not assessment.blocks:
            reason = reason._replace(code="looks_used_up")
    if look is not None and not assessment.blocks:
        reason = reason._replace(text=f"{reason.text}; {look_text(look)}")
    adaptive = None
    if order is not None:
        adaptive = AdaptiveCell(asked=len(view.asked(assessment.challenger).cases), cases=len(view.cases))
        left = adaptive.cases - adaptive.asked
        text = reason.text
        if status == "insufficient" and is_futile(bar, view, order, assessment, family.sharing, memo):
            others = count(left, "case")
            reason = Reason("futile", f"not even agreement on the other {others} would qualify it: {text}")
        if left:
            decided = f"; adaptive: decided after {adaptive.asked} of {count(adaptive.cases, 'case')}"
            reason = reason._replace(text=reason.text + decided)
    observed = is_observed(bar)
    cell = _cell(bar, view, slice_name, assessment.challenger, "challenger", status, reason).model_copy(
        update={
            "p_unsafe": assessment.p_unsafe,
            "p_worse": assessment.p_worse,
            "p_adjusted": None if observed else p_adjusted,
            "level": None if observed else family.level,
            "regressions": None if assessment.pairs is None else len(assessment.pairs.regressed),
            "improvements": None if assessment.pairs is None else len(assessment.pairs.improved),
            "needs": needs,
            "adaptive": adaptive,
            "look": look,
        }
    )
    return Judged(cell, assessment, reason)


def _status(bar: Bar, assessment: Assessment, p_adjusted: float, family: Family) -> Status:
    """Return the verdict: the first rule that applies."""
    if assessment.hard_failure:
        return "not_qualified"
    if assessment.blocks:
        return "insufficient"
    if is_observed(bar):
        return "qualified" if assessment.observed else "not_qualified"
    if p_adjusted <= family.level:
        return "qualified"
    if assessment.is_worse(family.alpha):
        return "not_qualified"
    return "insufficient"


def _needs(bar: Bar, assessment: Assessment, level: float, memo: Memo | None, gamma: float) -> Needs | None:
    """Return how many additional cases a verdict takes, or None when cases are not what is missing.

    Cases without an outcome are to be asked again: what further cases are needed is told from the others, as if
    those came out alike.
    """
    if assessment.blocks or is_observed(bar):
        return None
    forecasts = [
        *_absolute_forecast(bar, assessment, level),
        *_margin_forecasts(bar, assessment, level, memo, gamma),
    ]
    bests, typicals = [forecast.best for forecast in forecasts], [forecast.typical for forecast in forecasts]
    best = None if None in bests else max((cases for cases in bests if cases is not None), default=0)
    typical = None if None in typicals else max((cases for cases in typicals if cases is not None), default=0)
    rerun = _without_outcome(bar, assessment)
    if rerun and best == 0:
        # The missing outcomes alone may bring the verdict: what is needed beyond them is told once they are there.
        return Needs(best=0, typical=0, rerun=rerun)
    return Needs(
        best=best,
        typical=None if best is None or typical is None else max(best, typical),
        rerun=rerun or None,
    )


class _Forecast(NamedTuple):
    """How many additional cases one part of a bar takes; None: none would do."""

    best: int | None
    typical: int | None


def _without_outcome(bar: Bar, assessment: Assessment) -> int:
    """Return how many cases lack an outcome that the verdict hangs on."""
    pairs = assessment.pairs
    missing = pairs.total - pairs.compared if pairs is not None and has_margin(bar) else 0
    return max(missing, assessment.counts.missing if absolute_rate(bar) is not None else 0)


def _absolute_forecast(bar: Bar, assessment: Assessment, level: float) -> Iterator[_Forecast]:
    """Yield what a pass rate takes."""
    counts, rate = assessment.counts, absolute_rate(bar)
    if rate is None or (rate == 1.0 and bar.max_failure_rate is None):
        return
    if rate == 1.0:
        assert bar.max_failure_rate is not None
        least = best_all_pass(bar.max_failure_rate, level)
        missing = None if least is None else max(0, least - counts.total)
        yield _Forecast(missing, missing)
        return
    answered = counts.passed + counts.failed
    if binomial_at_most(counts.failed, answered, 1.0 - rate) <= level:
        yield _Forecast(0, 0)
        return
    best = best_min_pass_rate(counts.failed, answered, rate, level)
    more = more_min_pass_rate(counts.failed, answered, rate, level)
    yield _Forecast(
        None if best is None else max(0, best - counts.total),
        None if more is None else max(0, more - counts.missing),
    )


def _margin_forecasts(
    bar: Bar, assessment: Assessment, level: float, memo: Memo | None, gamma: float
) -> Iterator[_Forecast]:
    """Yield what a margin takes, on each table that must hold."""
    pairs, margin = assessment.pairs, bar.margin
    if not has_margin(bar) or margin is None or pairs is None:
        return
    missing = pairs.total - pairs.compared
    for table in dict.fromkeys(pairs.answered):
        if not table.pairs:
            table = PairedTable(0, 0, 0)
        elif p_unsafe_paired(*table, margin, memo, gamma) <= level:
            yield _Forecast(0, 0)
            continue
        best = best_margin(*table, margin, level, memo, gamma)
        more = more_margin(*table, margin, level, memo, gamma)
        # Averaging makes a case count for more than one, and does so for further cases too.
        weight = table.pairs / pairs.compared if pairs.compared else 1.0
        yield _Forecast(
            None if best is None else max(0, math.ceil((best - table.pairs) / weight - 1e-9) - missing),
            None if more is None else max(0, math.ceil(more / weight - 1e-9) - missing),
        )


def _cell(
    bar: Bar,
    view: View,
    slice_name: str | None,
    runtime: str,
    role: Role,
    status: Status | None,
    reason: Reason,
) -> Cell:
    """Return a cell with its counts, rates, cost and latency."""
    samples, skipped = view.samples(runtime), view.skipped(runtime)
    present = [case for case in view.column(runtime).cases if case is not None]
    if view.plain(runtime):
        outcomes = view.found(runtime)
    else:
        outcomes = [view.unit(group, runtime).found for group in view.groups(runtime)]
    passed, failed, errors = (outcomes.count(outcome) for outcome in ("passed", "failed", "error"))
    ran = passed + failed + errors
    broken = 0
    if errors and any(row.error_kind == "test" for row in samples):
        units = (view.unit(group, runtime) for group in view.groups(runtime))
        broken = sum(unit.found == "error" and unit.is_broken for unit in units)
    repeated = bar.samples > 1 or len(samples) > len(present)
    costs = [row.cost_usd for row in samples if row.cost_usd is not None]
    return Cell(
        runtime=runtime,
        role=role,
        slice=slice_name,
        status=status,
        cases=ran + skipped,
        passed=passed,
        failed=failed,
        errors=errors,
        test_errors=broken or None,
        skipped=skipped,
        pass_rate=passed / ran if ran else None,
        interval=clopper_pearson(passed, ran, bar.confidence or 0.95) if ran else None,
        reason=reason.text,
        reason_code=reason.code,
        cost_usd=math.fsum(costs) if costs and len(costs) == len(samples) else None,
        latency_s=Latency(**latency_figures(answered_latencies(samples))._asdict()),
        pass_hat_k=pass_hat_k((case.passed, len(case.rows)) for case in present) if repeated else None,
    )


def _baseline_cell(bar: Bar, view: View, slice_name: str | None, baseline: str) -> Cell:
    """Return the baseline's cell, which says whether it meets the bar itself."""
    cell = _cell(bar, view, slice_name, baseline, "baseline", None, Reason("baseline", ""))
    found = zip(view.cases, view.found(baseline), strict=True)
    failed = [case for case, outcome in found if outcome == "failed"]
    code: ReasonCode = "baseline"
    if cell.pass_rate is None:
        code, text = "no_cases", "it has no outcome on any of the cases"
    else:
        text = f"{cell.passed}/{cell.cases - cell.skipped} cases pass"
        if failed:
            text += f"; it fails {name_cases(failed)}"
        if cell.errors:
            text += f"; it gave an error on {count(cell.errors, 'case')}"
        rate = baseline_rate(view, baseline)
        if has_margin(bar) and (rate is None or rate < LEAST_BASELINE_RATE):
            code = "reference_missing" if rate is None else "reference_unusable"
            text += "; it is no reference for a margin"
        elif not baseline_meets_bar(bar, cell):
            code = "baseline_below_bar"
            needed = absolute_rate(bar)
            text += f"; its own bar is {percent(1.0 if needed is None else needed)}"
    return cell.model_copy(update={"reason": text, "reason_code": code})


def baseline_meets_bar(bar: Bar, cell: Cell) -> bool:
    """Return whether a baseline meets its own bar by its observed rate.

    Under a margin alone that means that it is a usable reference at all. No outcome meets no bar.
    """
    if cell.pass_rate is None:
        return False
    rate = absolute_rate(bar)
    if rate is not None and cell.pass_rate < rate - 1e-9:
        return False
    answered = 1.0 - cell.errors / max(1, cell.cases - cell.skipped)
    return not has_margin(bar) or (answered > 0.0 and cell.pass_rate >= LEAST_BASELINE_RATE * answered)


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
        [
            {criterion.id: criterion.on(name, challenger) for criterion in criteria}
            for challenger in objective.challengers
        ]
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
    return max((1.0 if judged is None else judged.assessment.family_p for judged in row.values()), default=1.0)


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
