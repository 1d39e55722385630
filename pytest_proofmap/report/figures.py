"""What the runtimes cost and how long they took, over everything that was observed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.economics import cost_per_1k_usd
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.ratios import LatencyFigures, latency_figures
from pytest_proofmap.decide.tally import answered_latencies
from pytest_proofmap.evidence.models import Criterion, Objective

__all__ = ["RuntimeFigures", "runtime_figures"]


class RuntimeFigures(NamedTuple):
    """One runtime's cost and latency in a run."""

    runtime: str
    is_baseline: bool
    samples: int
    cost_usd: float | None
    """Cost of all its samples, or None when a price is unknown."""
    cost_per_1k_usd: float | None
    """Cost of 1,000 cases, answered once each."""
    cost_ratio: float | None
    """Cost of the baseline over the same cases divided by its own: above 1 is cheaper."""
    latency: LatencyFigures
    estimated: bool
    """True when token counts, and so the cost, were estimated."""


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
        spending = by_case[row.runtime].setdefault((row.criterion, row.case), _Spending())
        spending.add(row)
        rows[row.runtime].append(row)
    objective_of = {objective.name: objective for objective in objectives}
    baseline_of = {
        criterion.id: objective_of[criterion.objective].baseline
        for criterion in criteria
        if criterion.objective in objective_of
    }
    baselines = dict.fromkeys(objective.baseline for objective in objectives)
    names = dict.fromkeys((*baselines, *(name for each in objectives for name in each.challengers)))
    figures = [
        _figures(name, by_case, rows[name], baseline_of, name in baselines, name in estimated)
        for name in names
        if name in by_case
    ]
    return sorted(figures, key=lambda one: (not one.is_baseline, _or_last(one.cost_per_1k_usd)))


def _figures(
    name: str,
    by_case: dict[str, dict[tuple[str, str], _Spending]],
    rows: list[Observation],
    baseline_of: dict[str, str],
    is_baseline: bool,
    estimated: bool,
) -> RuntimeFigures:
    own = by_case[name]
    known = all(one.known for one in own.values())
    cost = math.fsum(one.cost for one in own.values()) if known else None
    return RuntimeFigures(
        runtime=name,
        is_baseline=is_baseline,
        samples=sum(one.samples for one in own.values()),
        cost_usd=cost,
        cost_per_1k_usd=cost_per_1k_usd(rows),
        cost_ratio=_ratio(name, by_case, baseline_of),
        latency=latency_figures(answered_latencies(rows)),
        estimated=estimated,
    )


def _ratio(
    name: str, by_case: dict[str, dict[tuple[str, str], _Spending]], baseline_of: dict[str, str]
) -> float | None:
    """Return baseline's cost over challenger's on the cases that both answered; None when it is unknown."""
    ours = theirs = 0.0
    for place, own in by_case[name].items():
        baseline = baseline_of.get(place[0], name)
        other = by_case.get(baseline, {}).get(place)
        if baseline == name or other is None or not (own.answers and other.answers):
            continue
        if not (own.known and other.known):
            return None
        theirs += own.cost / own.answers
        ours += other.cost / other.answers
    return ours / theirs if ours > 0 and theirs > 0 else None


def _or_last(cost: float | None) -> float:
    return math.inf if cost is None else cost
