"""What a run cost, and what its runtimes cost and how long they took: in tables, in charts, and if followed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_proofmap.decide.economics import CASES_FOR_P95, cost_per_1k_usd, latency_figures, order_statistic
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.tally import answered_latencies
from pytest_proofmap.decide.wording import count
from pytest_proofmap.evidence.models import Criterion, Objective, Totals
from pytest_proofmap.report.figures import Amount, Delay, Gain, PassRate, money, seconds

__all__ = ["Money", "RuntimeFigures", "charts", "money_of", "names_of_runtimes", "runtime_figures", "saving"]

_QUANTILES = {"p25": 0.25, "p50": 0.5, "p75": 0.75}
_ENDS = (0.05, 0.95)

SpentByCase = Mapping[str, Mapping[tuple[str, str], "_Spending"]]


@dataclass(frozen=True, slots=True)
class Money:
    """What a run asked for, and what that cost."""

    calls: int
    sources: tuple[tuple[int, str], ...]
    """How many answers came from where."""
    spent: Amount
    """What this run paid."""
    listed: Amount
    """What the same answers cost when they were made."""
    unpriced: int
    """Answers of unknown price."""
    auxiliary: tuple[tuple[int, str, Amount], ...]
    """By runtime how many of the calls were auxiliary, and what these cost."""

    def line(self, code: str = "{}") -> str:
        """Return all of it in one line, each amount in a form such as ``<code>{}</code>``."""
        text = count(self.calls, "call")
        if self.sources:
            text += f" ({', '.join(f'{number:,} {where}' for number, where in self.sources)})"
        text += f", spent {self.spent.written(code)}"
        if self.listed.text != self.spent.text:
            text += f", list cost {self.listed.written(code)}"
        if self.unpriced and self.listed.usd:
            text += f" (price unknown for {count(self.unpriced, 'answer')})"
        return text

    def auxiliary_lines(self) -> Iterator[str]:
        """Yield what runtimes were asked besides."""
        for calls, name, cost in self.auxiliary:
            priced = "price unknown" if cost.known_usd is None else f"list cost {cost.text}"
            yield f"of these {count(calls, 'auxiliary call')} to {name}, {priced}"


def money_of(totals: Totals, *, estimated: bool) -> Money:
    """Return what a run asked for, and what that cost."""
    unanswered = totals.calls - totals.live - totals.cached - totals.recorded
    counts = {
        "live": totals.live,
        "cached": totals.cached,
        "recorded": totals.recorded,
        "without an answer": max(0, unanswered),
    }
    return Money(
        calls=totals.calls,
        sources=tuple((number, where) for where, number in counts.items() if number),
        # Of unknown price may be what was paid for now, or what was paid for long ago.
        spent=Amount(totals.spent_usd, estimated, at_least=bool(totals.unpriced and totals.live)),
        listed=Amount(totals.list_usd, estimated, at_least=bool(totals.unpriced)),
        unpriced=totals.unpriced,
        auxiliary=tuple(
            (part.calls, name, Amount(part.list_usd, estimated, at_least=bool(part.unpriced)))
            for name, part in totals.auxiliary.items()
        ),
    )


@dataclass(frozen=True, slots=True)
class RuntimeFigures:
    """One runtime's cost and latency in a run."""

    runtime: str
    is_baseline: bool
    samples: int
    cost: Amount
    """Cost of all its samples."""
    per_1k: Amount
    """Cost of 1,000 cases, answered once each."""
    gain: Gain
    """Cost of the baseline over the same cases divided by its own."""
    latency: Delay

    @property
    def versus(self) -> str:
        """How its cost compares with the baseline's."""
        return "(baseline)" if self.is_baseline and self.gain.ratio is None else self.gain.text


class _Spending:
    """What one runtime spent on one case."""

    __slots__ = ("answers", "cost", "known", "samples")

    def __init__(self) -> None:
        self.samples = 0
        self.cost = 0.0
        self.known = True
        self.answers = 0

    def add(self, row: Observation) -> None:
        self.samples += 1
        self.answers += row.outcome != "error" or bool(row.cost_usd)
        if row.cost_usd is None:
            self.known = False
        else:
            self.cost += row.cost_usd


def names_of_runtimes(objectives: Iterable[Objective]) -> list[str]:
    """Return the runtimes of all objectives, baselines first."""
    known = list(objectives)
    baselines = dict.fromkeys(objective.baseline for objective in known)
    challengers = (name for objective in known for name in objective.challengers)
    return list(dict.fromkeys((*baselines, *challengers)))


def runtime_figures(
    observations: Iterable[Observation],
    criteria: Sequence[Criterion],
    objectives: Sequence[Objective],
    estimated: Collection[str] = (),
) -> list[RuntimeFigures]:
    """Return the figures of each runtime, baselines first, then the cheapest first.

    Args:
        observations: What was observed.
        criteria: The criteria of the run.
        objectives: Its objectives, which say who is compared with whom.
        estimated: Runtimes whose token counts were estimated.
    """
    by_case: defaultdict[str, dict[tuple[str, str], _Spending]] = defaultdict(dict)
    rows: defaultdict[str, list[Observation]] = defaultdict(list)
    for row in observations:
        if row.outcome == "skipped":
            continue
        by_case[row.runtime].setdefault((row.criterion, row.case), _Spending()).add(row)
        rows[row.runtime].append(row)
    baseline_by_objective = {objective.name: objective.baseline for objective in objectives}
    baselines = {
        criterion.id: baseline_by_objective[criterion.objective]
        for criterion in criteria
        if criterion.objective in baseline_by_objective
    }
    figures = []
    for name in names_of_runtimes(objectives):
        if name not in by_case:
            continue
        spent = by_case[name].values()
        known = all(spending.known for spending in spent)
        estimate = name in estimated
        figures.append(
            RuntimeFigures(
                runtime=name,
                is_baseline=name in baseline_by_objective.values(),
                samples=sum(spending.samples for spending in spent),
                cost=Amount(math.fsum(spending.cost for spending in spent) if known else None, estimate),
                per_1k=Amount(cost_per_1k_usd(rows[name]), estimate),
                gain=Gain(_ratio(name, by_case, baselines)),
                latency=Delay(latency_figures(answered_latencies(rows[name]))),
            )
        )
    return sorted(figures, key=lambda runtime: (not runtime.is_baseline, _or_last(runtime.per_1k.usd)))


def _ratio(name: str, by_case: SpentByCase, baselines: Mapping[str, str]) -> float | None:
    """Return baseline's cost over challenger's on the cases that both answered; None when it is unknown."""
    ours = theirs = 0.0
    for place, spending in by_case[name].items():
        baseline = baselines.get(place[0], name)
        other = by_case.get(baseline, {}).get(place)
        if baseline == name or other is None or not (spending.answers and other.answers):
            continue
        if not (spending.known and other.known):
            return None
        theirs += spending.cost / spending.answers
        ours += other.cost / other.answers
    return ours / theirs if ours > 0 and theirs > 0 else None


def _or_last(cost: float | None) -> float:
    return math.inf if cost is None else cost


def charts(
    observations: Sequence[Observation],
    criteria: Sequence[Criterion],
    objectives: Sequence[Objective],
    estimated: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Return for all objectives together, and for each, what a chart shows of every runtime."""
    drawn = []
    if len(objectives) > 1:
        drawn.append(_chart("all objectives", observations, criteria, objectives, estimated))
    by_criterion: defaultdict[str, list[Observation]] = defaultdict(list)
    for row in observations:
        by_criterion[row.criterion].append(row)
    for objective in objectives:
        parts = [criterion for criterion in criteria if criterion.id in objective.criteria]
        rows = [row for criterion in parts for row in by_criterion[criterion.id]]
        drawn.append(_chart(objective.name, rows, parts, [objective], estimated))
    return [chart for chart in drawn if chart["points"]]


def _chart(
    name: str,
    rows: Sequence[Observation],
    criteria: Sequence[Criterion],
    objectives: Sequence[Objective],
    estimated: Collection[str],
) -> dict[str, Any]:
    rates = _pooled_rates(criteria)
    latencies: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.latency_s is not None and row.outcome != "error":
            latencies[row.runtime].append(row.latency_s)
    points = []
    for runtime in runtime_figures(rows, criteria, objectives, estimated):
        rate = rates.get(runtime.runtime)
        if rate is None:
            continue
        points.append(
            {
                "runtime": runtime.runtime,
                "baseline": runtime.is_baseline,
                "rate": rate.rate,
                "low": rate.interval[0],
                "high": rate.interval[1],
                "shown": f"{rate.text} at {runtime.per_1k.text} ({rate.range})",
                "cost": runtime.per_1k.usd,
                "latency": _distribution(latencies[runtime.runtime], runtime.latency),
            }
        )
    return {"name": name, "points": points}


def _pooled_rates(criteria: Iterable[Criterion]) -> dict[str, PassRate]:
    """Return the pass rate of each runtime over some criteria, as a cell has it over one."""
    counts: dict[str, tuple[int, int]] = {}
    confidence = 1.0
    for criterion in criteria:
        confidence = min(confidence, criterion.bar.confidence or 0.95)
        for cell in criterion.cells:
            if cell.slice is None:
                passed, ran = counts.get(cell.runtime, (0, 0))
                counts[cell.runtime] = (passed + cell.passed, ran + cell.cases - cell.skipped)
    return {name: PassRate.of(passed, ran, confidence) for name, (passed, ran) in counts.items() if ran}


def _distribution(values: list[float], latency: Delay) -> dict[str, Any] | None:
    if not values:
        return None
    ordered = sorted(values)
    quantiles = {name: order_statistic(ordered, share) for name, share in _QUANTILES.items()}
    # Of few latencies nothing can be said of the ends but what they are.
    few = len(ordered) < CASES_FOR_P95
    low, high = (ordered[0], ordered[-1]) if few else (order_statistic(ordered, share) for share in _ENDS)
    texts = {"median": latency.p50, "slow": seconds(high if few else latency.figures.p95)}
    return {"n": len(ordered), "few": few, "low": low, "high": high, **quantiles, **texts}


def saving(
    observations: Iterable[Observation],
    criteria: Sequence[Criterion],
    objectives: Iterable[Objective],
    *,
    estimated: bool,
) -> str | None:
    """Return what the cases would cost on the recommended primaries; None when a price is unknown.

    An objective with slices counts by its slices. Only samples that both runtimes were asked count: what adaptive
    sampling spared a primary is nothing that it saves.

    Args:
        observations: What was observed.
        criteria: The decided criteria.
        objectives: The decided objectives.
        estimated: Whether token counts, and so costs, are estimates.
    """
    spent: defaultdict[tuple[str, str | None, str], dict[tuple[str, int], float | None]] = defaultdict(dict)
    for row in observations:
        if row.outcome != "skipped":
            spent[row.criterion, row.slice, row.runtime][row.case, row.sample] = row.cost_usd
    present = proposed = 0.0
    for objective in objectives:
        chains = {route.slice: route.chain for route in objective.recommendations if route.chain}
        for criterion in (criterion for criterion in criteria if criterion.id in objective.criteria):
            slices: set[str | None] = {cell.slice for cell in criterion.cells if cell.slice is not None}
            for name in slices or {None}:
                primary = chains.get(name, chains.get(None, [objective.baseline]))[0]
                before = spent.get((criterion.id, name, objective.baseline), {})
                after = spent.get((criterion.id, name, primary), {})
                both = before.keys() & after.keys()
                ours, theirs = (_sum([costs[sample] for sample in both]) for costs in (before, after))
                if ours is None or theirs is None:
                    return None
                present += ours
                proposed += theirs
    if present <= 0.0 or math.isclose(present, proposed):
        return None
    change = 1.0 - proposed / present
    amounts = " → ".join(money(usd, estimated=estimated) for usd in (present, proposed))
    return f"{amounts} for these cases ({'−' if change > 0 else '+'}{abs(change):.0%})"


def _sum(costs: Sequence[float | None]) -> float | None:
    """Return what samples cost together; None when there are none, or a price is unknown."""
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if known and len(known) == len(costs) else None
