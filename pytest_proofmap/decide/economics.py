"""What a runtime costs and how long it takes beside the baseline, over the same cases."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median as middle
from typing import NamedTuple

from pytest_proofmap.decide.observation import Observation, observe
from pytest_proofmap.decide.ratios import (
    CASES_FOR_P95,
    LatencyFigures,
    Ratio,
    cost_ratio,
    latency_figures,
    speed_up,
)
from pytest_proofmap.decide.tally import View, answered_latencies
from pytest_proofmap.evidence.models import Evidence

__all__ = ["Economics", "RouteCosts", "compare", "cost_per_1k_usd", "own_figures"]

_CONCURRENCY_FACTOR = 1.5


class OwnFigures(NamedTuple):
    """A runtime's own cost and latency on some cases."""

    cost_per_1k: float | None
    """Cost of 1,000 samples, or None when a price is unknown."""
    latency: LatencyFigures

    @property
    def slow_end(self) -> float | None:
        """The 95th percentile of latency, for which the maximum stands when there are few samples."""
        return self.latency.p95 if self.latency.n >= CASES_FOR_P95 else self.latency.max


class Economics(NamedTuple):
    """A challenger beside the baseline."""

    cost: Ratio | None
    """Cost of the baseline divided by that of the challenger; None when a price is unknown."""
    speed: Ratio | None
    """Median ratio of latency; None when unknown or not comparable."""
    speed_withheld: str | None
    """Why no speed-up is given, in words."""
    free: bool = False
    """Whether the challenger costs nothing where the baseline costs something: no ratio says how much cheaper."""
    cost_withheld: str | None = None
    """Why there is no ratio of costs, in words."""


def own_figures(views: Sequence[View], runtime: str) -> OwnFigures:
    """Return a runtime's own cost and latency over the cases that it was run on."""
    rows = [row for view in views for row in view.samples(runtime)]
    return OwnFigures(cost_per_1k_usd(rows), latency_figures(answered_latencies(rows)))


def cost_per_1k_usd(rows: Iterable[Observation]) -> float | None:
    """Return what 1,000 cases cost, each answered once: the only place that says so, for every page and the lock.

    Each case counts alike, with the mean of its samples. A sample that got no answer and cost nothing makes no
    case cheaper; what failed and was paid counts. None: nothing was answered, or a part of the cost is unknown.
    """
    paid: list[tuple[tuple[str, str], float]] = []
    for row in rows:
        cost, outcome = row.cost_usd, row.outcome
        if outcome == "skipped" or (outcome == "error" and not cost):
            continue
        if cost is None:
            return None
        paid.append(((row.criterion, row.case), cost))
    if not paid:
        return None
    costs = dict(paid)
    if len(costs) < len(paid):
        answers = Counter(place for place, _ in paid)
        costs = dict.fromkeys(costs, 0.0)
        for place, cost in paid:
            costs[place] += cost
        costs = {place: cost / answers[place] for place, cost in costs.items()}
    return 1000.0 * math.fsum(costs.values()) / len(costs)


class RouteCosts:
    """What the runtimes of some evidence cost on its routes."""

    def __init__(self, evidence: Evidence) -> None:
        self._rows: defaultdict[tuple[str, str], list[Observation]] = defaultdict(list)
        self._sliced: set[str] = set()
        for row in observe(evidence.samples):
            self._rows[row.criterion, row.runtime].append(row)
            if row.slice is not None:
                self._sliced.add(row.criterion)

    def per_1k_usd(self, runtime: str, criteria: Iterable[str], slice_name: str | None) -> float | None:
        """Return what 1,000 cases of a route cost; a criterion without slices counts whole towards each."""
        return cost_per_1k_usd(
            row
            for criterion in criteria
            for row in self._rows.get((criterion, runtime), ())
            if slice_name is None or criterion not in self._sliced or row.slice == slice_name
        )


def compare(views: Sequence[View], baseline: str, challenger: str, confidence: float) -> Economics:
    """Compare cost and latency over the cases that both were run on.

    Failed answers count with what they cost. A case on which a side has no answer at all is left out of both
    totals: not having answered is not cheap.
    """
    costs: list[tuple[float, float]] = []
    latencies: list[tuple[float, float]] = []
    concurrencies: tuple[list[int], list[int]] = ([], [])
    prices_known = True
    for view in views:
        for before, after in zip(view.figures(baseline), view.figures(challenger), strict=True):
            if before is None or after is None:
                continue
            our_cost, our_latency, our_answer, our_concurrency = before
            their_cost, their_latency, their_answer, their_concurrency = after
            if our_latency is not None and their_latency is not None:
                latencies.append((our_latency, their_latency))
                concurrencies[0].extend(our_concurrency)
                concurrencies[1].extend(their_concurrency)
            if not (our_answer and their_answer):
                continue
            if our_cost is None or their_cost is None:
                prices_known = False
            else:
                costs.append((our_cost, their_cost))
    two_sided = confidence or 0.95
    known = Economics(None, None, "no latency is known", cost_withheld="its cost or the baseline's is unknown")
    if prices_known and costs:
        totals = math.fsum(pair[0] for pair in costs), math.fsum(pair[1] for pair in costs)
        cost = cost_ratio([pair[0] for pair in costs], [pair[1] for pair in costs], two_sided)
        why = None if cost else "the baseline costs nothing" if totals[0] <= 0.0 else "it costs nothing"
        known = known._replace(cost=cost, free=totals[1] <= 0.0 < totals[0], cost_withheld=why)
    if not latencies:
        return known
    withheld = _conditions_differ(*concurrencies)
    if withheld:
        return known._replace(speed_withheld=withheld)
    speed = speed_up([pair[0] for pair in latencies], [pair[1] for pair in latencies], two_sided)
    return known._replace(speed=speed, speed_withheld=None)


def _conditions_differ(baseline: Sequence[int], challenger: Sequence[int]) -> str | None:
    """Return why two sets of latencies are not comparable, or None when they are."""
    if not baseline and not challenger:
        return None
    if not baseline or not challenger:
        return "the speed-up is withheld: the concurrency of one side is unknown"
    ours, theirs = middle(baseline), middle(challenger)
    if max(ours, theirs) > _CONCURRENCY_FACTOR * max(1, min(ours, theirs)):
        return (
            "the speed-up is withheld: the two sides were measured at different concurrency "
            f"({ours:g} and {theirs:g})"
        )
    return None
