"""What a runtime costs and how long it takes beside the baseline, over the same cases."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
from pytest_proofmap.decide.tally import CaseTally, CriterionTally

__all__ = ["CaseSet", "Economics", "compare", "own_figures"]

_CONCURRENCY_FACTOR = 1.5


class CaseSet(NamedTuple):
    """Some cases of one criterion."""

    tally: CriterionTally
    cases: Sequence[str]

    def of(self, runtime: str) -> Iterator[CaseTally | None]:
        """Yield what a runtime did on each case, or None where it has no sample that was not skipped."""
        counted = self.tally.runtimes.get(runtime, {})
        for case in self.cases:
            found = counted.get(case)
            yield found if found is not None and found.rows else None


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


def own_figures(cases: Sequence[CaseSet], runtime: str) -> OwnFigures:
    """Return a runtime's own cost and latency over the cases that it was run on."""
    rows = [row for some in cases for found in some.of(runtime) if found is not None for row in found.rows]
    # A call without an answer is free, which makes no case cheaper.
    answered = [row for row in rows if row.outcome != "error" or row.cost_usd]
    costs = [row.cost_usd for row in answered if row.cost_usd is not None]
    per_1k = 1000.0 * math.fsum(costs) / len(costs) if answered and len(costs) == len(answered) else None
    latencies = [row.latency_s for row in rows if row.latency_s is not None and row.outcome != "error"]
    return OwnFigures(per_1k, latency_figures(latencies))


def compare(cases: Sequence[CaseSet], baseline: str, challenger: str, confidence: float) -> Economics:
    """Compare cost and latency over the cases that both were run on.

    Failed answers count with what they cost. A case on which a side has no answer at all is left out of both
    totals: not having answered is not cheap.
    """
    costs: list[tuple[float, float]] = []
    latencies: list[tuple[float, float]] = []
    concurrencies: tuple[list[int], list[int]] = ([], [])
    prices_known = True
    for some in cases:
        for ours, theirs in zip(some.of(baseline), some.of(challenger), strict=True):
            if ours is None or theirs is None:
                continue
            our_latency, our_cost, our_answer = _case_figures(ours)
            their_latency, their_cost, their_answer = _case_figures(theirs)
            if our_latency is not None and their_latency is not None:
                latencies.append((our_latency, their_latency))
                concurrencies[0].extend(ours.concurrencies)
                concurrencies[1].extend(theirs.concurrencies)
            if not (our_answer and their_answer):
                continue
            if our_cost is None or their_cost is None:
                prices_known = False
            else:
                costs.append((our_cost, their_cost))
    two_sided = confidence or 0.95
    cost = None
    if prices_known and costs:
        cost = cost_ratio([pair[0] for pair in costs], [pair[1] for pair in costs], two_sided)
    if not latencies:
        return Economics(cost, None, "no latency is known")
    withheld = _conditions_differ(*concurrencies)
    if withheld:
        return Economics(cost, None, withheld)
    speed = speed_up([pair[0] for pair in latencies], [pair[1] for pair in latencies], two_sided)
    return Economics(cost, speed, None)


class _CaseFigures(NamedTuple):
    """Mean latency and cost of a case's samples, and whether there was anything to pay for."""

    latency: float | None
    cost: float | None
    answered: bool


def _case_figures(counted: CaseTally) -> _CaseFigures:
    """Return what a runtime took for a case."""
    rows = counted.rows
    if len(rows) == 1:
        row = rows[0]
        if row.outcome == "error":
            return _CaseFigures(None, row.cost_usd, bool(row.cost_usd))
        return _CaseFigures(row.latency_s, row.cost_usd, True)
    latencies = counted.latencies
    answered = counted.errors < len(rows) or any(row.cost_usd for row in rows)
    latency = math.fsum(latencies) / len(latencies) if latencies else None
    return _CaseFigures(latency, counted.cost_per_sample, answered)


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
