"""Verdicts on the challengers of one criterion and slice, and the baseline's own cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pytest_proofmap.decide.bars import (
    LEAST_BASELINE_RATE,
    Assessment,
    absolute_rate,
    assess,
    has_margin,
    is_observed,
)
from pytest_proofmap.decide.binomial import clopper_pearson
from pytest_proofmap.decide.multiplicity import holm, holm_level
from pytest_proofmap.decide.needs import (
    best_all_pass,
    best_margin,
    best_min_pass_rate,
    typical_margin,
    typical_min_pass_rate,
)
from pytest_proofmap.decide.paired import Memo
from pytest_proofmap.decide.ratios import latency_figures
from pytest_proofmap.decide.repeated import pass_hat_k
from pytest_proofmap.decide.stopping import CaseOrder, assess_adaptively, is_futile, share_spent_early
from pytest_proofmap.decide.tally import View, answered_latencies
from pytest_proofmap.decide.wording import (
    count,
    insufficient_reason,
    name_cases,
    not_qualified_reason,
    percent,
    qualified_reason,
)
from pytest_proofmap.evidence.models import AdaptiveCell, Bar, Cell, Latency, Needs, Role, Status

__all__ = ["Judged", "baseline_meets_bar", "judge"]


class Judged(NamedTuple):
    """A challenger's cell and what it follows from."""

    cell: Cell
    assessment: Assessment


def judge(
    bar: Bar,
    view: View,
    slice_name: str | None,
    baseline: str,
    challengers: Sequence[str],
    memo: Memo | None = None,
    order: CaseOrder | None = None,
) -> tuple[Cell, list[Judged]]:
    """Judge all challengers of a criterion on one slice.

    Args:
        bar: The criterion's bar.
        view: Its cases on the slice.
        slice_name: The slice; None: all cases.
        baseline: Name of the baseline.
        challengers: The whole family that the mark names, whoever of it was run.
        memo: Where p-values are kept.
        order: The order of the cases when sampling was adaptive; None: every case was asked.

    Returns:
        The baseline's cell, and the challengers' in their order.
    """
    if order is None:
        found = [assess(bar, view, challenger, baseline, memo) for challenger in challengers]
    else:
        found = [
            assess_adaptively(bar, view, order, challenger, baseline, len(challengers), memo)
            for challenger in challengers
        ]
    adjusted = holm([one.family_p for one in found])
    alpha = 1.0 - bar.confidence
    level = holm_level(adjusted, alpha)
    if order is not None:
        level *= 1.0 - share_spent_early(bar, view, order, len(challengers))
    judged = []
    for one, p_adjusted in zip(found, adjusted, strict=True):
        status = _status(bar, one, p_adjusted, alpha)
        needs = None
        if status == "qualified":
            reason = qualified_reason(bar, one, baseline)
        elif status == "not_qualified":
            reason = not_qualified_reason(bar, one, baseline)
        else:
            needs = _needs(bar, one, level, memo)
            reason = insufficient_reason(bar, one, baseline, needs, level, len(challengers))
        adaptive = None
        if order is not None:
            adaptive = AdaptiveCell(asked=len(view.asked(one.challenger).cases), cases=len(view.cases))
            left = adaptive.cases - adaptive.asked
            if status == "insufficient" and is_futile(bar, view, order, one, len(challengers), memo):
                reason = f"not even agreement on the other {count(left, 'case')} would qualify it: {reason}"
            if left:
                reason += f"; adaptive: decided after {adaptive.asked} of {count(adaptive.cases, 'case')}"
        observed = is_observed(bar)
        cell = _cell(bar, view, slice_name, one.challenger, "challenger", status, reason).model_copy(
            update={
                "p_unsafe": one.p_unsafe,
                "p_worse": one.p_worse,
                "p_adjusted": None if observed else p_adjusted,
                "regressions": None if one.pairs is None else len(one.pairs.regressed),
                "improvements": None if one.pairs is None else len(one.pairs.improved),
                "needs": needs,
                "adaptive": adaptive,
            }
        )
        judged.append(Judged(cell, one))
    return _baseline_cell(bar, view, slice_name, baseline), judged


def _status(bar: Bar, found: Assessment, p_adjusted: float, alpha: float) -> Status:
    """Return the verdict: the first rule that applies."""
    if found.hard_failure:
        return "not_qualified"
    if found.block:
        return "insufficient"
    if is_observed(bar):
        return "qualified" if found.observed else "not_qualified"
    if p_adjusted <= alpha:
        return "qualified"
    if found.p_worse is not None and found.p_worse <= alpha:
        return "not_qualified"
    return "insufficient"


def _needs(bar: Bar, found: Assessment, level: float, memo: Memo | None) -> Needs | None:
    """Return how many additional cases a verdict takes, or None when cases are not what is missing."""
    if found.block or is_observed(bar):
        return None
    counts = found.counts
    best, typical = 0, 0
    reachable = expected = True
    rate = absolute_rate(bar)
    if rate == 1.0 and bar.max_failure_rate is not None:
        missing = best_all_pass(bar.max_failure_rate, level) - counts.total
        best, typical = max(best, missing), max(typical, missing)
    elif rate is not None and rate < 1.0:
        failures = counts.failed + counts.missing
        least = best_min_pass_rate(failures, counts.total, rate, level)
        likely = typical_min_pass_rate(failures, counts.total, rate, level)
        reachable, expected = least is not None, likely is not None
        best = max(best, (least or 0) - counts.total)
        typical = max(typical, (likely or 0) - counts.total)
    if has_margin(bar) and bar.margin is not None and found.pairs is not None:
        cases = found.pairs.total
        for table in dict.fromkeys((found.pairs.safe_mean, found.pairs.safe_flips)):
            least = best_margin(*table, bar.margin, level, memo)
            likely = typical_margin(*table, bar.margin, level)
            reachable = reachable and least is not None
            # Averaging makes a case count for more than one, and does so for further cases too.
            weight = table.pairs / cases
            best = max(best, math.ceil(((least or 0) - table.pairs) / weight - 1e-9))
            typical = max(typical, math.ceil((likely - table.pairs) / weight - 1e-9))
    if not reachable:
        return Needs(best=None, typical=None)
    return Needs(best=best, typical=max(best, typical) if expected else None)


def _cell(
    bar: Bar,
    view: View,
    slice_name: str | None,
    runtime: str,
    role: Role,
    status: Status | None,
    reason: str,
) -> Cell:
    """Return a cell with its counts, rates, cost and latency."""
    samples, skipped = view.samples(runtime), view.skipped(runtime)
    present = [one for one in view.column(runtime).cases if one is not None]
    if view.plain(runtime):
        outcomes = view.found(runtime)
    else:
        outcomes = [view.unit(group, runtime).found for group in view.groups(runtime)]
    passed, failed, errors = (outcomes.count(outcome) for outcome in ("passed", "failed", "error"))
    ran = passed + failed + errors
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
        skipped=skipped,
        pass_rate=passed / ran if ran else None,
        interval=clopper_pearson(passed, ran, bar.confidence or 0.95) if ran else None,
        reason=reason,
        cost_usd=math.fsum(costs) if costs and len(costs) == len(samples) else None,
        latency_s=Latency(**latency_figures(answered_latencies(samples))._asdict()),
        pass_hat_k=pass_hat_k((one.passed, len(one.rows)) for one in present) if repeated else None,
    )


def _baseline_cell(bar: Bar, view: View, slice_name: str | None, baseline: str) -> Cell:
    """Return the baseline's cell, which says whether it meets the bar itself."""
    cell = _cell(bar, view, slice_name, baseline, "baseline", None, "")
    found = zip(view.cases, view.found(baseline), strict=True)
    failed = [case for case, outcome in found if outcome == "failed"]
    if cell.pass_rate is None:
        reason = "it has no outcome on any of the cases"
    else:
        reason = f"{cell.passed}/{cell.cases - cell.skipped} cases pass"
        if failed:
            reason += f"; it fails {name_cases(failed)}"
        if has_margin(bar) and cell.pass_rate < LEAST_BASELINE_RATE:
            reason += "; not a usable reference"
        elif not baseline_meets_bar(bar, cell):
            rate = absolute_rate(bar)
            reason += f"; its own bar is {percent(1.0 if rate is None else rate)}"
    return cell.model_copy(update={"reason": reason})


def baseline_meets_bar(bar: Bar, cell: Cell) -> bool:
    """Return whether a baseline meets its own bar by its observed rate.

    Under a margin alone that means that it is a usable reference at all. No outcome meets no bar.
    """
    if cell.pass_rate is None:
        return False
    rate = absolute_rate(bar)
    if rate is not None and cell.pass_rate < rate - 1e-9:
        return False
    return not has_margin(bar) or cell.pass_rate >= LEAST_BASELINE_RATE
