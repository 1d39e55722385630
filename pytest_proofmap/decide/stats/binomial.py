"""Exact binomial tails and bounds, from the regularised incomplete beta function.

Everything here is the standard library's arithmetic: importing a statistics package costs a test run more
time than all of its verdicts together. Counts may be fractional where that has a meaning (an effective
number of cases), because the beta function interpolates the binomial tails.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

__all__ = [
    "Interval",
    "all_pass_bound",
    "beta_cdf",
    "beta_quantile",
    "binomial_at_least",
    "binomial_at_most",
    "clopper_pearson",
    "lower_bound",
    "normal_quantile",
    "student_t_quantile",
    "upper_bound",
]

_TINY = 1e-300
_MAX_ITERATIONS = 20_000
_NORMAL = NormalDist()


class Interval(NamedTuple):
    """A closed interval of a rate, a difference or a ratio."""

    low: float
    high: float


def normal_quantile(probability: float) -> float:
    """Return the standard normal quantile, infinite at 0 and 1."""
    if probability <= 0.0:
        return -math.inf
    if probability >= 1.0:
        return math.inf
    return _NORMAL.inv_cdf(probability)


def _continued_fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function by Lentz's method."""
    c = 1.0
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    value = d
    for i in range(1, _MAX_ITERATIONS):
        double = a + 2 * i
        even = i * (b - i) * x / ((double - 1.0) * double)
        d = 1.0 + even * d
        d = 1.0 / (d if abs(d) > _TINY else _TINY)
        c = 1.0 + even / c
        c = c if abs(c) > _TINY else _TINY
        value *= d * c
        odd = -(a + i) * (a + b + i) * x / (double * (double + 1.0))
        d = 1.0 + odd * d
        d = 1.0 / (d if abs(d) > _TINY else _TINY)
        c = 1.0 + odd / c
        c = c if abs(c) > _TINY else _TINY
        step = d * c
        value *= step
        if abs(step - 1.0) < 1e-15:
            break
    return value


def beta_cdf(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function, the distribution function of Beta(a, b) at x."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    # The fraction converges quickly only left of the mean; right of it the mirrored one does.
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _continued_fraction(a, b, x) / a
    return 1.0 - front * _continued_fraction(b, a, 1.0 - x) / b


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return x with ``beta_cdf(a, b, x) == probability``, by Halley's steps kept inside a shrinking bracket."""
    if probability <= 0.0:
        return 0.0
    if probability >= 1.0:
        return 1.0
    log_norm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    low, high = 0.0, 1.0
    x = _starting_point(probability, a, b)
    for _ in range(200):
        error = beta_cdf(a, b, x) - probability
        if error > 0.0:
            high = x
        else:
            low = x
        log_density = log_norm + (a - 1.0) * math.log(x) + (b - 1.0) * math.log1p(-x)
        density = math.exp(min(log_density, 700.0))
        if density > _TINY:
            newton = error / density
            bend = newton * ((a - 1.0) / x - (b - 1.0) / (1.0 - x))
            candidate = x - newton / (1.0 - 0.5 * min(1.0, bend))
        else:
            candidate = -1.0
        if not low < candidate < high:
            candidate = 0.5 * (low + high)
        # The error of a step is about the cube of the one before.
        elif abs(candidate - x) <= 1e-5 * min(x, 1.0 - x):
            return candidate
        if candidate in (low, high):
            return candidate
        x = candidate
    return x


def _starting_point(probability: float, a: float, b: float) -> float:
    """Return a first guess at a beta quantile.

    For shapes of 1 and more Carter's approximation on the log-odds (Abramowitz and Stegun 1964, 26.5.22), below
    it the normal approximation.
    """
    quantile = normal_quantile(probability)
    if a >= 1.0 and b >= 1.0:
        ours, theirs = 1.0 / max(1e-9, 2.0 * a - 1.0), 1.0 / max(1e-9, 2.0 * b - 1.0)
        harmonic = 2.0 / (ours + theirs)
        bow = (quantile * quantile - 3.0) / 6.0
        reach = quantile * math.sqrt(max(0.0, harmonic + bow)) / harmonic
        log_odds = math.log(a / b) + 2.0 * (reach + (theirs - ours) * (bow + 5.0 / 6.0 - 2.0 / (3.0 * harmonic)))
    else:
        log_odds = math.log(a / b) + quantile * math.sqrt(1.0 / a + 1.0 / b)
    guess = 1.0 / (1.0 + math.exp(-max(-600.0, min(600.0, log_odds))))
    return guess if 0.0 < guess < 1.0 else min(a / (a + b), math.nextafter(1.0, 0.0))


def binomial_at_most(k: float, n: float, rate: float) -> float:
    """Return P(X <= k) of a binomial count of n at a rate."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    return beta_cdf(n - k, k + 1.0, 1.0 - rate)


def binomial_at_least(k: float, n: float, rate: float) -> float:
    """Return P(X >= k) of a binomial count of n at a rate."""
    if k <= 0:
        return 1.0
    if k > n:
        return 0.0
    return beta_cdf(k, n - k + 1.0, rate)


@lru_cache(maxsize=65_536)
def lower_bound(k: float, n: float, alpha: float) -> float:
    """Return the one-sided Clopper-Pearson lower bound of a rate at confidence ``1 - alpha``."""
    if n <= 0 or k <= 0:
        return 0.0
    if k >= n:
        return float(alpha ** (1.0 / n))
    return beta_quantile(alpha, k, n - k + 1.0)


@lru_cache(maxsize=65_536)
def upper_bound(k: float, n: float, alpha: float) -> float:
    """Return the one-sided Clopper-Pearson upper bound of a rate at confidence ``1 - alpha``."""
    if n <= 0 or k >= n:
        return 1.0
    if k <= 0:
        return 1.0 - float(alpha ** (1.0 / n))
    return beta_quantile(1.0 - alpha, k + 1.0, n - k)


def clopper_pearson(k: float, n: float, confidence: float = 0.95) -> Interval:
    """Return the two-sided Clopper-Pearson interval of the rate k / n (the whole of [0, 1] when n is 0)."""
    tail = (1.0 - confidence) / 2.0
    return Interval(lower_bound(k, n, tail), upper_bound(k, n, tail))


def all_pass_bound(n: int, alpha: float = 0.05) -> float:
    """Return the highest failure rate that n passes out of n leave possible at confidence ``1 - alpha``."""
    return upper_bound(0, n, alpha)


@lru_cache(maxsize=4_096)
def student_t_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t distribution with the given degrees of freedom."""
    if probability == 0.5:
        return 0.0
    if probability < 0.5:
        return -student_t_quantile(1.0 - probability, freedom)
    share = beta_quantile(2.0 * (1.0 - probability), freedom / 2.0, 0.5)
    return math.sqrt(freedom * (1.0 - share) / share)
