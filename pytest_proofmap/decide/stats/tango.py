"""Tango's score statistic for the difference of two paired rates.

Tango T. (1998), Equivalence test and confidence interval for the difference in proportions for the
paired-sample design, Statistics in Medicine 17:891-908. Of n pairs, b are regressions (only the baseline
passed) and c are improvements (only the challenger passed); the difference is (c - b) / n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from pytest_proofmap.decide.stats.binomial import Interval, normal_quantile

__all__ = ["null_variance", "tango_bound", "tango_interval", "tango_z"]


def null_variance(b: float, c: float, n: float, d0: float) -> float:
    """Return the variance of one pair's difference at the likeliest rates whose difference is ``d0``."""
    linear = -(b + c) + (2.0 * n - c + b) * d0
    constant = -b * d0 * (1.0 - d0)
    root = math.sqrt(max(0.0, linear * linear - 8.0 * n * constant))
    regress = (root - linear) / (4.0 * n)
    return max(0.0, 2.0 * regress + d0 * (1.0 - d0))


def tango_z(b: float, c: float, n: float, d0: float) -> float:
    """Return the score statistic of b regressions and c improvements in n pairs at the difference ``d0``."""
    return _statistic(b, c, n)(d0)


def _statistic(b: float, c: float, n: float) -> Callable[[float], float]:
    """Return the score statistic of a table as a function of the difference.

    It holds ``null_variance`` written out: bounds ask for it at some twenty differences each.
    """
    net, discordant, slope = c - b, b + c, 2.0 * n - c + b
    four_n, eight_n = 4.0 * n, 8.0 * n
    sqrt = math.sqrt

    def z(d0: float) -> float:
        linear = slope * d0 - discordant
        square = linear * linear - eight_n * (-b * d0 * (1.0 - d0))
        regress = ((sqrt(square) if square > 0.0 else 0.0) - linear) / four_n
        variance = 2.0 * regress + d0 * (1.0 - d0)
        distance = net - n * d0
        deviation = sqrt(n * variance) if variance > 0.0 else 0.0
        if deviation < 1e-12:
            # No variance is left under the hypothesis: any distance from it is infinitely surprising.
            return 0.0 if abs(distance) < 1e-9 else math.copysign(math.inf, distance)
        return distance / deviation

    return z


@lru_cache(maxsize=65_536)
def tango_interval(b: float, c: float, n: float, confidence: float = 0.95) -> Interval:
    """Return the two-sided score interval of the difference (c - b) / n."""
    if n <= 0:
        return Interval(-1.0, 1.0)
    limit = normal_quantile(0.5 + confidence / 2.0)
    estimate = (c - b) / n
    low = -1.0 if b >= n else tango_bound(b, c, n, limit, -1.0, estimate)
    high = 1.0 if c >= n else tango_bound(b, c, n, -limit, estimate, 1.0)
    return Interval(low, high)


def tango_bound(b: float, c: float, n: float, target: float, low: float, high: float) -> float:
    """Return the difference between low and high at which the statistic, which falls, equals the target.

    An end that it does not get beyond is returned itself. By Ridders' method (1979, IEEE Transactions on Circuits
    and Systems 26:979-980), which halves the bracket at least and doubles the digits at best; by halving alone
    while an end is infinite.
    """
    statistic = _statistic(b, c, n)
    above, below = statistic(low) - target, statistic(high) - target
    if above <= 0.0 or below >= 0.0:
        return low if above <= 0.0 else high
    found = math.inf
    while high - low >= 1e-10:
        middle = 0.5 * (low + high)
        value = statistic(middle) - target
        if math.isinf(above) or math.isinf(below) or math.isinf(value) or value == 0.0:
            points = [(middle, value)]
        else:
            root = middle + (middle - low) * value / math.sqrt(value * value - above * below)
            if abs(root - found) < 1e-11:
                return root
            found = root
            points = sorted([(middle, value), (root, statistic(root) - target)])
        for point, at_point in points:
            if at_point > 0.0:
                low, above = point, at_point
            else:
                high, below = point, at_point
                break
    return 0.5 * (low + high)
