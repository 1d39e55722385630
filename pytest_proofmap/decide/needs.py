"""How many cases a verdict takes: the least possible number, and the number to expect.

The *best* number supposes that every further case agrees. The *typical* number supposes that there is no true
difference, that the disagreement seen so far goes on, and asks for a power of 80 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pytest_proofmap.decide.binomial import binomial_at_most, normal_quantile
from pytest_proofmap.decide.paired import EXACT_LIMIT, GAMMA, Memo, p_unsafe_paired
from pytest_proofmap.decide.tango import null_variance, tango_z

__all__ = [
    "POWER",
    "best_all_pass",
    "best_margin",
    "best_min_pass_rate",
    "typical_margin",
    "typical_min_pass_rate",
]

POWER = 0.8
"""The power that the typical number of cases asks for."""

_MOST = 10_000_000


def best_all_pass(max_failure_rate: float, level: float) -> int:
    """Return the smallest number of passing cases that excludes the failure rate at the level."""
    if max_failure_rate >= 1.0:
        return 1
    cases = max(1, math.ceil(math.log(level) / math.log1p(-max_failure_rate) - 1e-9))
    while (1.0 - max_failure_rate) ** cases > level:
        cases += 1
    return cases


def best_min_pass_rate(failures: int, cases: int, min_pass_rate: float, level: float) -> int | None:
    """Return the smallest number of cases, from ``cases`` on, that meets the bar with no further failure."""
    rate = 1.0 - min_pass_rate

    def holds(n: int) -> bool:
        return binomial_at_most(failures, n, rate) <= level

    return _first(holds, max(cases, failures + 1))


def typical_min_pass_rate(failures: int, cases: int, min_pass_rate: float, level: float) -> int | None:
    """Return the number of cases to expect if the failure rate goes on, or None when it is too high."""
    tolerated = 1.0 - min_pass_rate
    seen = (failures + 1.0) / (cases + 2.0)
    if seen >= tolerated:
        return None
    reach = normal_quantile(1.0 - level) * math.sqrt(tolerated * (1.0 - tolerated))
    reach += normal_quantile(POWER) * math.sqrt(seen * (1.0 - seen))
    return min(_MOST, math.ceil((reach / (tolerated - seen)) ** 2))


def best_margin(
    b: float, c: float, pairs: int, margin: float, level: float, memo: Memo | None = None
) -> int | None:
    """Return the smallest number of pairs, from ``pairs`` on, that proves the margin if the others agree.

    The score statistic finds the place; exact p-values settle it.
    """
    target = normal_quantile(1.0 - level)
    floor = max(1, pairs, math.ceil(b + c))

    def holds(n: int) -> bool:
        return p_unsafe_paired(b, c, n, margin, memo) <= level

    if floor <= EXACT_LIMIT and level > GAMMA:
        if b == 0 == c and margin < 1.0:
            guess = math.ceil(math.log(level - GAMMA) / math.log1p(-margin) - 1e-9)
        else:
            guess = _first(lambda n: tango_z(b, c, n, -margin) >= target, floor) or _MOST
        if guess <= EXACT_LIMIT:
            found = _settle(b, c, margin, level, max(floor, guess), floor, memo)
            if found is not None:
                return found
    return _first(holds, max(floor, EXACT_LIMIT + 1))


def _settle(
    b: float, c: float, margin: float, level: float, guess: int, floor: int, memo: Memo | None
) -> int | None:
    """Return the first n that holds near a guess, or None when none up to the exact limit does."""
    target = normal_quantile(1.0 - level)
    low, high = floor - 1, EXACT_LIMIT + 1
    n = guess
    while high - low > 1:
        p = p_unsafe_paired(b, c, n, margin, memo)
        if p <= level:
            high = n
        else:
            low = n
        if high - low <= 1:
            break
        # The exact and the score statistic differ by about a constant near here: shift the target by it.
        shift = target - normal_quantile(1.0 - p) if 0.0 < p < 1.0 else 0.5
        slope = tango_z(b, c, n + 1, -margin) - tango_z(b, c, n, -margin)
        step = shift / slope if slope > 0.0 else 1.0
        n += math.ceil(step) if step > 0.0 else min(-1, math.ceil(step))
        if not low < n < high:
            n = low + 1 if n <= low else high - 1
    return high if high <= EXACT_LIMIT else None


def typical_margin(b: float, c: float, pairs: int, margin: float, level: float) -> int:
    """Return the number of pairs to expect for the margin if the disagreement seen so far goes on."""
    disagreement = (b + c + 1.0) / (pairs + 2.0)
    if pairs > 0:
        under_null = null_variance(b, c, pairs, -margin)
    else:
        under_null = null_variance(disagreement / 2.0, disagreement / 2.0, 1.0, -margin)
    reach = normal_quantile(1.0 - level) * math.sqrt(under_null)
    reach += normal_quantile(POWER) * math.sqrt(disagreement)
    return min(_MOST, math.ceil((reach / margin) ** 2))


def _first(holds: Callable[[int], bool], start: int) -> int | None:
    """Return the first n from start on at which a rule that stays true becomes true."""
    if holds(start):
        return start
    low, step = start, 1
    while not holds(low + step):
        low += step
        step *= 2
        if low > _MOST:
            return None
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
