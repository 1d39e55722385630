"""What a runtime costs and how long it takes beside the baseline, over the same cases: ratios, with intervals."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from statistics import median as middle
from typing import NamedTuple

from pytest_proofmap.decide.observation import Observation, observe
from pytest_proofmap.decide.stats.binomial import (
    Interval,
    binomial_at_most,
    normal_quantile,
    student_t_quantile,
)
from pytest_proofmap.decide.tally import View, answered_latencies
from pytest_proofmap.evidence.models import Evidence

__all__ = [
    "CASES_FOR_P95",
    "Economics",
    "LatencyFigures",
    "Ratio",
    "RouteCosts",
    "compare",
    "cost_per_1k_usd",
    "cost_ratio",
    "latency_figures",
    "order_statistic",
    "own_figures",
    "speed_up",
]


CASES_FOR_P95 = 59
"""From this many values on the largest bounds the 95th percentile with 95 % confidence."""

_CASES_FOR_MEDIAN = 6


class Ratio(NamedTuple):
    """A ratio of baseline to challenger (above 1 is better) and how sure it is."""

    estimate: float
    interval: Interval | None
    """None when there are too few cases for one."""
    cases: int
    largest_share: float = 0.0
    """The largest share that a single case has of either total."""


class LatencyFigures(NamedTuple):
    """Order statistics of a list of latencies, in seconds."""

    p50: float | None
    p95: float | None
    max: float | None
    n: int


def cost_ratio(baseline: Sequence[float], challenger: Sequence[float], confidence: float = 0.95) -> Ratio | None:
    """Return the ratio of total costs over the same cases, with a jackknife-t interval on its logarithm.

    Args:
        baseline: Cost of each case on the baseline.
        challenger: Cost of the same cases, in the same order, on the challenger.
        confidence: Two-sided confidence of the interval.

    Returns:
        The ratio, or None when a total is zero or there is no case.
    """
    n = len(baseline)
    if n != len(challenger):
        raise ValueError(
            f"{n} baseline costs and {len(challenger)} challenger costs: they must be of the same cases"
        )
    total_baseline, total_challenger = math.fsum(baseline), math.fsum(challenger)
    if n == 0 or total_baseline <= 0.0 or total_challenger <= 0.0:
        return None
    share = max(max(baseline) / total_baseline, max(challenger) / total_challenger)
    estimate = total_baseline / total_challenger
    return Ratio(estimate, _jackknife(baseline, challenger, confidence), n, share)


def _jackknife(baseline: Sequence[float], challenger: Sequence[float], confidence: float) -> Interval | None:
    """Return the jackknife-t interval of the ratio of totals, or None when one case is a whole total."""
    n = len(baseline)
    if n < 2:
        return None
    total_baseline, total_challenger = math.fsum(baseline), math.fsum(challenger)
    left_out = []
    for b, c in zip(baseline, challenger, strict=True):
        rest_baseline, rest_challenger = total_baseline - b, total_challenger - c
        # A remainder that is only rounding would give a meaningless logarithm.
        if rest_baseline <= 1e-12 * total_baseline or rest_challenger <= 1e-12 * total_challenger:
            return None
        left_out.append(math.log(rest_baseline / rest_challenger))
    centre = math.fsum(left_out) / n
    error = math.sqrt((n - 1) / n * math.fsum((value - centre) ** 2 for value in left_out))
    reach = student_t_quantile(0.5 + min(confidence, 0.999_999) / 2.0, n - 1) * error
    middle = math.log(total_baseline / total_challenger)
    return Interval(math.exp(middle - reach), math.exp(min(700.0, middle + reach)))


def speed_up(baseline: Sequence[float], challenger: Sequence[float], confidence: float = 0.95) -> Ratio | None:
    """Return the median of the per-case latency ratios, with an order-statistic interval from six on."""
    ratios = sorted(b / c for b, c in zip(baseline, challenger, strict=True) if b > 0.0 and c > 0.0)
    n = len(ratios)
    if n == 0:
        return None
    interval = None
    if n >= _CASES_FOR_MEDIAN:
        rank = _median_rank(n, (1.0 - confidence) / 2.0)
        if rank > 0:
            interval = Interval(ratios[rank - 1], ratios[n - rank])
    return Ratio(median(ratios), interval, n)


@lru_cache(maxsize=4_096)
def _median_rank(n: int, tail: float) -> int:
    """Return the largest rank from either end that lies beyond the median with at most the tail's chance."""
    rank = max(0, int(n / 2.0 + normal_quantile(tail) * math.sqrt(n) / 2.0))
    while binomial_at_most(rank, n, 0.5) <= tail:
        rank += 1
    while rank > 0 and binomial_at_most(rank - 1, n, 0.5) > tail:
        rank -= 1
    return rank


def median(values: Sequence[float]) -> float:
    """Return the median of sorted values."""
    n = len(values)
    return values[n // 2] if n % 2 else 0.5 * (values[n // 2 - 1] + values[n // 2])


def order_statistic(values: Sequence[float], quantile: float) -> float:
    """Return the smallest of the sorted values that at least the given share of them does not exceed."""
    return values[max(0, math.ceil(quantile * len(values) - 1e-9) - 1)]


def latency_figures(values: Sequence[float]) -> LatencyFigures:
    """Return median, 95th percentile (from 59 values on), maximum and number of latencies."""
    ordered = sorted(values)
    if not ordered:
        return LatencyFigures(None, None, None, 0)
    p95 = order_statistic(ordered, 0.95) if len(ordered) >= CASES_FOR_P95 else None
    return LatencyFigures(order_statistic(ordered, 0.5), p95, ordered[-1], len(ordered))


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
