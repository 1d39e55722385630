"""What a runtime costs and how long it takes beside the baseline, over the same cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median as middle
from typing import NamedTuple

from pytest_proofmap.decide.ratios import (
    CASES_FOR_P95,
    LatencyFigures,
    Ratio,
    cost_ratio,
    latency_figures,
    speed_up,
)
from pytest_proofmap.decide.tally import View, answered_latencies

__all__ = ["Economics", "compare", "own_figures"]

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
    # A call without an answer is free, which makes no case cheaper.
    answered = [row for row in rows if row.outcome != "error" or row.cost_usd]
    costs = [row.cost_usd for row in answered if row.cost_usd is not None]
    per_1k = 1000.0 * math.fsum(costs) / len(costs) if answered and len(costs) == len(answered) else None
    return OwnFigures(per_1k, latency_figures(answered_latencies(rows)))


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
        for ours, theirs in zip(view.column(baseline).cases, view.column(challenger).cases, strict=True):
            if ours is None or theirs is None:
                continue
            before, after = ours.figures, theirs.figures
            if before.latency_s is not None and after.latency_s is not None:
                latencies.append((before.latency_s, after.latency_s))
                concurrencies[0].extend(before.concurrencies)
                concurrencies[1].extend(after.concurrencies)
            if not (before.answered and after.answered):
                continue
            if before.cost_usd is None or after.cost_usd is None:
                prices_known = False
            else:
                costs.append((before.cost_usd, after.cost_usd))
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
