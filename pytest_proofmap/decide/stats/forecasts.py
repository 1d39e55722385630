"""How many more cases a verdict takes: the least possible number, and the number to expect.

The *best* number supposes that every further case agrees. The *typical* number supposes that the rates seen so far
go on, drawn a little towards no difference: of n pairs with b regressions and c improvements, the difference is
taken to be (c - b) / (n + 2) and the share of discordant pairs (b + c + 1) / (n + 2). It is the least number of
*further* cases that, added to those at hand, reach the verdict with a probability of 80 %. The fresh sample of
Lachenbruch's formula ((z_a sqrt(V0) + z_b sqrt(V1)) / (margin + difference))^2 (Lachenbruch P.A. 1992, On the
sample size for studies based upon McNemar's test, Statistics in Medicine 11:1521-1525, with Tango's variance under
the hypothesis) is only where the search for it begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate

from pytest_proofmap.decide.stats.binomial import binomial_at_most, normal_quantile
from pytest_proofmap.decide.stats.paired import EXACT_LIMIT, GAMMA, Memo, p_unsafe_paired
from pytest_proofmap.decide.stats.tango import null_variance, tango_z

__all__ = ["MOST", "best_all_pass", "best_margin", "best_min_pass_rate", "more_margin", "more_min_pass_rate"]

POWER = 0.8
"""The probability with which the typical number of further cases reaches the verdict."""

MOST = 100_000
"""Beyond so many cases a forecast is none."""

_AIM = POWER + 0.03
"""What the search asks for: the score's edges are a little more generous than the exact test's."""

_ENOUGH = 0.015
"""So much above the wanted power nobody looks for a smaller number."""

_KNOWN = 40
"""From so many pairs on the table at hand tells how the test differs from the score."""

_FEW = 12.0
"""Up to so many discordant further pairs their distribution is summed; above it is taken as normal."""


def best_all_pass(max_failure_rate: float, level: float) -> int | None:
    """Return the smallest number of passing cases that excludes the failure rate at the level; None: too many."""
    if max_failure_rate >= 1.0:
        return 1
    cases = _agreeing(max_failure_rate, level)
    if cases is None:
        return None
    while (1.0 - max_failure_rate) ** cases > level:
        cases += 1
    return cases


def _agreeing(rate: float, level: float) -> int | None:
    """Return the least n with (1 - rate)^n <= level, to within rounding; None beyond :data:`MOST`."""
    exact = math.log(level) / math.log1p(-rate) - 1e-9
    return max(1, math.ceil(exact)) if exact <= MOST else None


def best_min_pass_rate(failures: int, cases: int, min_pass_rate: float, level: float) -> int | None:
    """Return the smallest number of cases, from ``cases`` on, that meets the bar with no further failure."""
    rate = 1.0 - min_pass_rate

    def holds(n: int) -> bool:
        return binomial_at_most(failures, n, rate) <= level

    return _first(holds, max(cases, failures + 1))


def more_min_pass_rate(failures: int, cases: int, min_pass_rate: float, level: float) -> int | None:
    """Return how many further cases reach the bar in 80 % if the failure rate goes on; None when none do."""
    tolerated = 1.0 - min_pass_rate
    seen = (failures + 1.0) / (cases + 2.0)
    if seen >= tolerated:
        return None

    def power(more: int) -> float:
        allowed = _allowed_failures(cases + more, tolerated, level)
        return binomial_at_most(allowed - failures, more, seen)

    reach = normal_quantile(1.0 - level) * math.sqrt(tolerated * (1.0 - tolerated))
    reach += normal_quantile(POWER) * math.sqrt(seen * (1.0 - seen))
    return _least_powerful(power, (reach / (tolerated - seen)) ** 2 - cases)


def _allowed_failures(cases: int, tolerated: float, level: float) -> int:
    """Return the largest number of failures that still meets the bar; -1 when none does."""
    low, high = -1, cases
    while low < high:
        middle = (low + high + 1) // 2
        if binomial_at_most(middle, cases, tolerated) <= level:
            low = middle
        else:
            high = middle - 1
    return low


def best_margin(
    b: float, c: float, pairs: int, margin: float, level: float, memo: Memo | None = None, gamma: float = GAMMA
) -> int | None:
    """Return the smallest number of pairs, from ``pairs`` on, that proves the margin if the others agree.

    The score statistic finds the place; exact p-values settle it.
    """
    floor = max(1, pairs, math.ceil(b + c))
    target = normal_quantile(1.0 - level)
    if b == 0 == c and level > gamma:
        guess = _agreeing(margin, level - gamma)
    else:
        guess = _first(lambda n: tango_z(b, c, n, -margin) >= target, floor)
    if guess is None:
        return None

    def p_value(n: int) -> float:
        return p_unsafe_paired(b, c, n, margin, memo, gamma)

    def step(n: int, p: float) -> float:
        # The exact and the score statistic differ by about a constant near here: shift the target by it.
        shift = target - normal_quantile(1.0 - p) if 0.0 < p < 1.0 else 0.5
        slope = tango_z(b, c, n + 1, -margin) - tango_z(b, c, n, -margin)
        return shift / slope if slope > 0.0 else 1.0

    low, high = floor - 1, MOST + 1
    n = max(floor, min(guess, MOST))
    while high - low > 1:
        p = p_value(n)
        if p <= level:
            high = n
        else:
            low = n
        if high - low <= 1:
            break
        move = step(n, p)
        n += math.ceil(move) if move > 0.0 else min(-1, math.ceil(move))
        if not low < n < high:
            n = low + 1 if n <= low else high - 1
    return high if high <= MOST else None


def more_margin(
    b: float,
    c: float,
    pairs: int,
    margin: float,
    level: float,
    memo: Memo | None = None,
    gamma: float = GAMMA,
) -> int | None:
    """Return how many further pairs prove the margin in 80 % if the rates go on; None when none do.

    Args:
        b: Regressions so far.
        c: Improvements so far.
        pairs: Pairs so far.
        margin: The tolerated loss of pass rate.
        level: The p-value that would do.
        memo: Where p-values are kept.
        gamma: The share of the error that pays for restricting the nuisance parameter.
    """
    difference, discordant = (c - b) / (pairs + 2.0), (b + c + 1.0) / (pairs + 2.0)
    if margin + difference <= 0.0:
        return None
    scale = (pairs + 2.0, b + 0.5, c + 0.5)
    reach = normal_quantile(1.0 - level) * math.sqrt(null_variance(scale[1], scale[2], scale[0], -margin))
    reach += normal_quantile(POWER) * math.sqrt(max(0.0, discordant - difference * difference))
    guess = (reach / (margin + difference)) ** 2 - pairs
    if guess > MOST:
        return None
    expected = max(1, math.ceil(guess))
    # How much the test itself asks for beyond the score is found where the verdict is expected.
    target = _target(b, c, pairs, margin, level, expected, memo, gamma)
    return _least_powerful(lambda more: top_up_power(b, c, pairs, margin, target, more), expected)


def top_up_power(b: float, c: float, pairs: int, margin: float, target: float, more: int) -> float:
    """Return how likely the score reaches a target with further pairs, at the rates seen so far."""
    difference, discordant = (c - b) / (pairs + 2.0), (b + c + 1.0) / (pairs + 2.0)
    regress, improve = max(0.0, 0.5 * (discordant - difference)), max(0.0, 0.5 * (discordant + difference))
    total = pairs + more
    if more * discordant > _FEW:
        gained = more * difference
        expected = (b + more * regress, c + more * improve)
        needed = target * math.sqrt(total * null_variance(*expected, total, -margin)) - total * margin
        spread = math.sqrt(more * (discordant - difference * difference))
        return 0.5 * math.erfc((needed - 0.5 - (c - b) - gained) / spread / math.sqrt(2.0))
    # Few of many: the two counts are as good as independent.
    below = list(accumulate(_counts(more, regress)))
    power, edge = 0.0, -1
    for improved, weight in enumerate(_counts(more, improve)):
        while edge < len(below) - 1 and tango_z(b + edge + 1, c + improved, total, -margin) >= target:
            edge += 1
        if edge >= 0:
            power += weight * below[edge]
    return power


def _counts(cases: int, rate: float) -> list[float]:
    """Return the probabilities of 0, 1, 2, ... among so many cases, as far as they matter."""
    if rate <= 0.0:
        return [1.0]
    odds = rate / (1.0 - rate)
    probability = math.exp(cases * math.log1p(-rate))
    counts = [probability]
    most = min(cases, int(cases * rate + 6.0 * math.sqrt(cases * rate) + 6.0))
    for i in range(most):
        probability *= (cases - i) / (i + 1) * odds
        counts.append(probability)
    return counts


def _target(
    b: float, c: float, pairs: int, margin: float, level: float, more: int, memo: Memo | None, gamma: float
) -> float:
    """Return the score that the test asks for at a number of further pairs, about where it is expected to be."""
    asked = normal_quantile(1.0 - level)
    total = pairs + more
    discordant = b + c + more * (b + c + 1.0) / (pairs + 2.0)
    # The table with so many discordant pairs whose score comes closest to what is asked for.
    spread = math.sqrt(total * null_variance(discordant / 2.0, discordant / 2.0, total, -margin))
    difference = min(discordant, max(-discordant, asked * spread - total * margin))
    regressions = max(0, round((discordant - difference) / 2.0))
    improvements = max(0, round((discordant + difference) / 2.0))
    if total > EXACT_LIMIT:
        return asked + 1.0 / spread
    if pairs >= _KNOWN:
        # How far test and score are apart is known of the table at hand, and shrinks with the root of the pairs.
        p = p_unsafe_paired(b, c, pairs, margin, memo, gamma)
        if 0.0 < p < 1.0:
            apart = tango_z(b, c, pairs, -margin) - normal_quantile(1.0 - p)
            return asked + apart * math.sqrt(pairs / total)
    if regressions + improvements > total:
        return asked
    p = p_unsafe_paired(regressions, improvements, total, margin, memo, gamma)
    if not 0.0 < p < 1.0:
        return asked
    return asked + tango_z(regressions, improvements, total, -margin) - normal_quantile(1.0 - p)


def _least_powerful(power: Callable[[int], float], guess: float) -> int | None:
    """Return about the least number of further cases with the wanted power, which holds at the number returned.

    The deviate of the power grows about as the root of the number: two points tell where to look next.
    """
    wanted = normal_quantile(_AIM)
    low, high = 0, MOST + 1
    n, before = min(MOST, max(1, math.ceil(guess))), None
    while True:
        reached = power(n)
        if reached >= _AIM:
            high = n
            if reached <= _AIM + _ENOUGH:
                return n
        else:
            low = n
        if high - low <= max(1, low // 50):
            return high if high <= MOST else None
        here = (math.sqrt(n), normal_quantile(min(1.0 - 1e-9, max(1e-9, reached))))
        slope = (here[1] - before[1]) / (here[0] - before[0]) if before and before[0] != here[0] else 0.0
        before = here
        if slope > 0.0:
            n = math.ceil(max(0.0, here[0] + (wanted - here[1]) / slope) ** 2)
        else:
            n = math.ceil(1.25 * n) + 1 if reached < _AIM else int(0.8 * n)
        if not low < n < high:
            n = (low + high) // 2 if high <= MOST else min(MOST, 2 * low + 1)


def _first(holds: Callable[[int], bool], start: int) -> int | None:
    """Return the first n from start on at which a rule that stays true becomes true."""
    if holds(start):
        return start
    low, step = start, 1
    while not holds(low + step):
        low += step
        step *= 2
        if low > MOST:
            return None
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
