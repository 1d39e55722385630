"""The figures behind the page's charts: cost against pass rate, and how latency is distributed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pytest_proofmap.decide.binomial import clopper_pearson
from pytest_proofmap.decide.observation import Observation, observe
from pytest_proofmap.decide.ratios import CASES_FOR_P95, order_statistic
from pytest_proofmap.evidence.models import Criterion, Evidence, Objective
from pytest_proofmap.report.figures import RuntimeFigures, runtime_figures
from pytest_proofmap.report.wording import SIGNS, WORDS

__all__ = ["chart_data"]

_QUANTILES = {"p25": 0.25, "p50": 0.5, "p75": 0.75}
_ENDS = (0.05, 0.95)


class _Rates(NamedTuple):
    """Cases of a runtime over some criteria."""

    passed: int
    cases: int


def chart_data(evidence: Evidence) -> list[dict[str, Any]]:
    """Return for all objectives together, and for each, what a chart shows of every runtime."""
    rows = observe(evidence.samples)
    charts = []
    if len(evidence.objectives) > 1:
        charts.append(_chart("all objectives", rows, evidence.criteria, evidence.objectives))
    by_criterion: defaultdict[str, list[Observation]] = defaultdict(list)
    for row in rows:
        by_criterion[row.criterion].append(row)
    for objective in evidence.objectives:
        own = [criterion for criterion in evidence.criteria if criterion.id in objective.criteria]
        of_own = [row for criterion in own for row in by_criterion[criterion.id]]
        charts.append(_chart(objective.name, of_own, own, [objective]))
    return [chart for chart in charts if chart["points"]]


def _chart(
    name: str, rows: Sequence[Observation], criteria: Sequence[Criterion], objectives: Sequence[Objective]
) -> dict[str, Any]:
    rates = _rates(criteria)
    latencies = _latencies(rows)
    single = objectives[0] if len(objectives) == 1 else None
    statuses = {each.runtime: each.status for each in single.verdicts if each.slice is None} if single else {}
    points = []
    for figures in runtime_figures(rows, criteria, objectives):
        rate = rates.get(figures.runtime)
        if rate is None or not rate.cases:
            continue
        status = statuses.get(figures.runtime)
        points.append(
            {
                **_point(figures, rate),
                "status": f"{SIGNS[status]} {WORDS[status]}" if status else None,
                "latency": _distribution(latencies[figures.runtime]),
            }
        )
    return {"name": name, "points": points}


def _point(figures: RuntimeFigures, rate: _Rates) -> dict[str, Any]:
    interval = clopper_pearson(rate.passed, rate.cases, 0.95)
    return {
        "runtime": figures.runtime,
        "baseline": figures.is_baseline,
        "passed": rate.passed,
        "cases": rate.cases,
        "rate": rate.passed / rate.cases,
        "low": interval.low,
        "high": interval.high,
        "cost": figures.cost_per_1k_usd,
    }


def _rates(criteria: Iterable[Criterion]) -> Mapping[str, _Rates]:
    rates: dict[str, _Rates] = {}
    for criterion in criteria:
        for cell in criterion.cells:
            if cell.slice is None:
                passed, cases = rates.get(cell.runtime, _Rates(0, 0))
                rates[cell.runtime] = _Rates(passed + cell.passed, cases + cell.cases - cell.skipped)
    return rates


def _latencies(rows: Iterable[Observation]) -> defaultdict[str, list[float]]:
    latencies: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.latency_s is not None and row.outcome != "error":
            latencies[row.runtime].append(row.latency_s)
    return latencies


def _distribution(values: list[float]) -> dict[str, Any] | None:
    if not values:
        return None
    ordered = sorted(values)
    quantiles = {name: order_statistic(ordered, share) for name, share in _QUANTILES.items()}
    # Of few latencies nothing can be said of the ends but what they are.
    few = len(ordered) < CASES_FOR_P95
    low, high = (ordered[0], ordered[-1]) if few else (order_statistic(ordered, each) for each in _ENDS)
    return {"n": len(ordered), "few": few, "low": low, "high": high, **quantiles}
