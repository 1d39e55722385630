"""How much cheaper and how much faster: ratios over the same cases, with intervals, and order statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from pytest_proofmap.decide.binomial import (
    Interval,
    binomial_at_most,
    normal_quantile,
    student_t_quantile,
)

__all__ = [
    "CASES_FOR_P95",
    "LatencyFigures",
    "Ratio",
    "cost_ratio",
    "latency_figures",
    "median",
    "order_statistic",
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
