"""P-values for "worse than the baseline by at most a margin", from paired cases.

Up to 400 pairs the test is exact and unconditional: tables are ordered by Tango's score statistic (1998),
and the p-value is the largest tail probability over the nuisance parameter, which the data restrict
beforehand to a Clopper-Pearson interval at confidence 1 - gamma (Berger R.L. & Boos D.D. 1994, P values
maximized over a confidence set for the nuisance parameter, JASA 89:1012-1016). Above 800 pairs the score
statistic is taken with a continuity correction of one pair, which is the more careful of the two; in between the
one passes over into the other, so that no number of pairs is a step.

With regressions b and improvements c swapped and the sign of the margin turned, the same test asks the
opposite question, so that both p-values come from one function.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, MutableMapping
from functools import lru_cache

from pytest_proofmap.decide.stats.binomial import beta_quantile, binomial_at_most
from pytest_proofmap.decide.stats.tango import null_variance, tango_z

__all__ = ["EXACT_LIMIT", "GAMMA", "SCORE_LIMIT", "Memo", "gamma_of", "p_unsafe_paired", "p_worse_paired"]

GAMMA = 0.0005
"""The largest share of the error that pays for restricting the nuisance parameter (Berger and Boos)."""


def gamma_of(alpha: float, challengers: int, slices: int = 1) -> float:
    """Return the share of the error that pays for restricting the nuisance parameter.

    It is added to each p-value, so that where many challengers and slices share the error it must stay small
    beside what is left for each.

    Args:
        alpha: The error.
        challengers: How many challengers share it.
        slices: How many slices share it.
    """
    return min(GAMMA, alpha / (100.0 * max(1, slices) * max(1, challengers)))


EXACT_LIMIT = 400
"""Up to so many pairs the test is exact."""

SCORE_LIMIT = 800
"""From so many pairs on it is the score statistic's alone."""

Memo = MutableMapping[str, float]
"""Where p-values are kept between runs: any mapping from a text key to a number."""

_TIE = 1e-7
_GRID = 20


def p_unsafe_paired(
    b: float, c: float, n: int, margin: float, memo: Memo | None = None, gamma: float = GAMMA
) -> float:
    """Return the p-value of "the challenger is worse by the margin or more".

    Args:
        b: Regressions; fractional when cases were sampled more than once.
        c: Improvements.
        n: Pairs.
        margin: The tolerated loss of pass rate, in [0, 1]; 0 asks whether the challenger is better.
        memo: Where to look the value up and keep it.
        gamma: The share of the error that pays for restricting the nuisance parameter.

    Returns:
        A small number when the data speak for "no worse than the margin"; 1.0 when there are no pairs.
    """
    return _remembered(b, c, n, margin, memo, gamma)


def p_worse_paired(
    b: float, c: float, n: int, margin: float, memo: Memo | None = None, gamma: float = GAMMA
) -> float:
    """Return the p-value of "the challenger is worse by at most the margin": small when it is truly worse."""
    return _remembered(c, b, n, -margin, memo, gamma)


def _remembered(b: float, c: float, n: int, delta: float, memo: Memo | None, gamma: float) -> float:
    """Look the p-value up by its table, and compute and keep it when it is new."""
    if n <= 0:
        return 1.0
    # What averaging leaves of a whole number is one: the same table must have the same value and key.
    b, c = round(b, 9), round(c, 9)
    if memo is None or n >= SCORE_LIMIT:
        return _p_value(b, c, n, delta, gamma)
    key = f"tango-bb-2:{b:.12g},{c:.12g},{n},{delta:.12g},{gamma:.12g}"
    found = memo.get(key)
    if found is None:
        found = memo[key] = _p_value(b, c, n, delta, gamma)
    return found


@lru_cache(maxsize=65_536)
def _p_value(b: float, c: float, n: int, delta: float, gamma: float) -> float:
    """Return the p-value of "P(improve) - P(regress) <= -delta" for a delta of either sign."""
    if delta == 0.0 and b + c == 0.0:
        return 1.0
    if abs(delta) >= 1.0:
        # Read from old artifacts. Nothing but "every pair regresses" is that much worse.
        return gamma if delta > 0.0 and b < n else 1.0
    if n >= SCORE_LIMIT:
        return _score_p_value(b, c, n, delta)
    exact = _exact_p_value(b, c, n, delta, gamma)
    if n <= EXACT_LIMIT:
        return exact
    # By the square: past the border the score's value, mostly the larger one, comes in so slowly that more
    # agreement does not count for less.
    share = ((n - EXACT_LIMIT) / (SCORE_LIMIT - EXACT_LIMIT)) ** 2
    return exact + share * (_score_p_value(b, c, n, delta) - exact)


def _score_p_value(b: float, c: float, n: int, delta: float) -> float:
    """Return the p-value of the score statistic with a continuity correction."""
    deviation = math.sqrt(n * null_variance(b, c, n, -delta))
    distance = c - b + n * delta - 1.0
    if deviation < 1e-12:
        return 0.0 if distance > 0.0 else 1.0
    return 0.5 * math.erfc(distance / deviation / math.sqrt(2.0))


def _exact_p_value(b: float, c: float, n: int, delta: float, gamma: float) -> float:
    """Return the largest tail probability over what the data leave possible of the nuisance parameter."""
    z = tango_z(b, c, n, -delta)
    low, high = _improvement_range(b + c, n, delta, gamma)
    tail = _Tail(n, delta, z - _TIE, low, high)
    return min(1.0, _largest(tail, low, high, *_possible_range(delta), enough=1.0 - gamma) + gamma)


@lru_cache(maxsize=65_536)
def _disagreement_range(discordant: float, n: int, gamma: float) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of the share of discordant pairs at confidence 1 - gamma."""
    low = beta_quantile(gamma / 2.0, discordant, n - discordant + 1.0) if discordant > 0 else 0.0
    high = beta_quantile(1.0 - gamma / 2.0, discordant + 1.0, n - discordant) if discordant < n else 1.0
    return low, high


def _possible_range(delta: float) -> tuple[float, float]:
    """Return the rates of improvement that leave all rates of a table between 0 and 1."""
    return max(0.0, -delta), max(0.0, (1.0 - delta) / 2.0)


def _improvement_range(discordant: float, n: int, delta: float, gamma: float) -> tuple[float, float]:
    """Return the rates of improvement to search, at which the rate of regression is that rate plus delta."""
    low, high = _disagreement_range(discordant, n, gamma)
    floor, ceiling = _possible_range(delta)

    def clip(rate: float) -> float:
        return min(max(rate, floor), ceiling)

    return clip((low - delta) / 2.0), clip((high - delta) / 2.0)


@lru_cache(maxsize=512)
def _log_factorials(n: int) -> list[float]:
    """Return the logarithms of 0! to n!."""
    return [math.lgamma(i + 1.0) for i in range(n + 1)]


@lru_cache(maxsize=512)
def _growths(n: int) -> list[float]:
    """Return by what the binomial coefficient of n grows from each number to the next."""
    return [(n - i) / (i + 1) for i in range(n)]


_NEGLIGIBLE = 1e-17
"""A probability that changes no sum of others by more than rounding does."""


class _Tail:
    """The probability of all tables at least as extreme, as a function of the rate of improvement.

    For every number of improvements the tables that count are those with at most ``edges`` regressions, so
    the tail is a sum of binomial probabilities times binomial distribution functions. Going up in
    improvements, both arguments of the distribution function move by one step at a time and only ever add
    positive terms. What these steps are is found once for all rates.
    """

    def __init__(self, n: int, delta: float, z: float, low: float, high: float) -> None:
        """Find the edges of the tail for all improvements that matter between two rates."""
        self.n = n
        self.delta = delta
        self.log_factorial = _log_factorials(n)
        self.first = self._window(low)[0]
        last = self._window(high)[1]
        self.edges = self._find_edges(z, last)
        self.empty = bisect_left(self.edges, 0)
        self.falls, self.rises = self._find_changes()

    def _window(self, rate: float) -> tuple[int, int]:
        """Return the range of improvements that holds all but about a billionth of the probability."""
        mean = self.n * rate
        reach = 6.0 * math.sqrt(mean * (1.0 - rate))
        return max(0, int(mean - reach)), min(self.n, int(mean + reach + 9.0))

    def _find_edges(self, z: float, last: int) -> list[int]:
        """Return per number of improvements the largest number of regressions that is still as extreme."""
        n, d0 = self.n, -self.delta
        edges = []
        edge = self._first_edge(z)
        sqrt = math.sqrt
        shift, product = n * d0, d0 * (1.0 - d0)
        four_n, eight_n, slope = 4.0 * n, 8.0 * n, 2.0 * n * d0
        for c in range(self.first, last + 1):
            most = n - c
            if edge > most:
                edge = most
            while edge < most:
                b = edge + 1
                linear = -(b + c) + slope + (b - c) * d0
                square = linear * linear + eight_n * b * product
                regress = ((sqrt(square) if square > 0.0 else 0.0) - linear) / four_n
                variance = n * (2.0 * regress + product)
                distance = c - b - shift
                # The statistic is only divided out where there is a variance to divide by.
                inside = distance >= z * sqrt(variance) if variance > 1e-20 else tango_z(b, c, n, d0) >= z
                if not inside:
                    break
                edge = b
            edges.append(edge)
        return edges

    def _first_edge(self, z: float) -> int:
        """Return the edge at the first number of improvements by halving, as the statistic falls with b."""
        low, high = -1, self.n - self.first
        while low < high:
            middle = (low + high + 1) // 2
            if tango_z(middle, self.first, self.n, -self.delta) >= z:
                low = middle
            else:
                high = middle - 1
        return low

    def _find_changes(self) -> tuple[list[float], list[tuple[float, ...]]]:
        """Return by what the binomial coefficient at the edge changes at each further improvement.

        First because there is one pair less for regressions, then for each regression by which the edge moves on.
        """
        n, first = self.n, self.first
        falls, rises = [], []
        for m, k, target in zip(range(n - first, 0, -1), self.edges, self.edges[1:], strict=False):
            falls.append((m - k) / m)
            # An edge that is the whole range stays so, and nothing more is added.
            rises.append(tuple([(m - 1 - i) / (i + 1) for i in range(k, target)]) if target > k >= 0 else ())
        return falls, rises

    def __call__(self, rate: float) -> float:
        """Return the tail probability at a rate of improvement."""
        n, edges, first = self.n, self.edges, self.first
        regress = max(0.0, rate + self.delta)
        share = min(1.0, regress / (1.0 - rate)) if rate < 1.0 else 1.0
        if rate <= 0.0:
            return binomial_at_most(edges[0], n, share)
        low, high = self._window(rate)
        low = max(low, first + self.empty)
        high = min(high, first + len(edges) - 1)
        if share <= 0.0 or share >= 1.0:
            return self._degenerate(share, low, high, rate)
        log_share, log_keep = math.log(share), math.log1p(-share)
        mass = 0.0
        while low <= high:
            k, m = edges[low - first], n - low
            mass = self._mass(k, m, log_share, log_keep)
            # Left of the mode the mass only grows from here on.
            if mass > _NEGLIGIBLE or k >= m * share:
                break
            low += 1
        else:
            return 0.0
        keep, odds = 1.0 - share, rate / (1.0 - rate)
        share_odds, pair_less = share / keep, 1.0 / keep
        weight = self._mass(low, n, math.log(rate), math.log1p(-rate))
        below = self._at_most(k, m, mass, share_odds)
        total = weight * below
        span = slice(low - first, high - first)
        steps = zip(_growths(n)[low:high], self.falls[span], self.rises[span], strict=True)
        for growth, fall, rises in steps:
            weight *= growth * odds
            mass *= fall * pair_less
            below += share * mass
            for rise in rises:
                mass *= rise * share_odds
                below += mass
            total += weight * below
            if mass < _NEGLIGIBLE:
                # The edge has left nothing out: it is right of the mode, and moves away from it.
                break
        for growth, _, _ in steps:
            weight *= growth * odds
            total += weight * below
        return total

    @staticmethod
    def _at_most(k: int, m: int, mass: float, odds: float) -> float:
        """Return the probability of at most k regressions among m pairs, given that of exactly k."""
        if k >= m:
            return 1.0
        if k < 0:
            return 0.0
        term, total = mass, 0.0
        if k < (m + 1) * odds / (1.0 + odds):
            # Left of the mode the terms only fall on the way down.
            while k >= 0 and term > _NEGLIGIBLE:
                total += term
                term *= k / ((m - k + 1) * odds)
                k -= 1
            return total
        while k < m and term > _NEGLIGIBLE:
            term *= (m - k) / (k + 1) * odds
            k += 1
            total += term
        return 1.0 - total

    def _mass(self, k: int, m: int, log_share: float, log_keep: float) -> float:
        """Return the binomial probability of exactly k among m pairs."""
        if k < 0 or k > m:
            return 0.0
        factorial = self.log_factorial
        return math.exp(factorial[m] - factorial[k] - factorial[m - k] + k * log_share + (m - k) * log_keep)

    def _degenerate(self, share: float, low: int, high: int, rate: float) -> float:
        """Return the tail when every pair that does not improve regresses, or none does."""
        total, odds = 0.0, rate / (1.0 - rate)
        weight = self._mass(low, self.n, math.log(rate), math.log1p(-rate)) if low <= high else 0.0
        for c in range(low, high + 1):
            edge = self.edges[c - self.first]
            if edge >= (self.n - c if share >= 1.0 else 0):
                total += weight
            weight *= (self.n - c) / (c + 1) * odds
        return total


def _largest(
    function: Callable[[float], float], low: float, high: float, floor: float, ceiling: float, enough: float
) -> float:
    """Return the largest value between low and high: a grid, then a search around its best local maxima.

    The grid is even in the arcsine of the square root of the rate's place between floor and ceiling, where rates
    of the table vanish: on this scale a binomial tail is equally smooth everywhere. A value that is enough to make
    the p-value 1 ends the search.
    """
    best = function(0.5 * (low + high))
    if best >= enough or high - low < 1e-12:
        return best
    width = ceiling - floor
    start, stop = (math.asin(math.sqrt(min(1.0, (rate - floor) / width))) for rate in (low, high))

    def at(angle: float) -> float:
        return function(min(high, max(low, floor + width * math.sin(angle) ** 2)))

    angles = [start + (stop - start) * i / _GRID for i in range(_GRID + 1)]
    values = []
    for angle in angles:
        value = at(angle)
        if value >= enough:
            return value
        values.append(value)
    best = max(best, *values)
    for i, value in enumerate(values):
        left, right = values[max(0, i - 1)], values[min(_GRID, i + 1)]
        # A peak far below another can't overtake it between two points of the grid.
        if value < max(left, right) or value < 0.8 * best:
            continue
        best = max(best, _climb(at, angles, values, i))
    return best


def _climb(at: Callable[[float], float], angles: list[float], values: list[float], i: int) -> float:
    """Return the maximum near the i-th point of the grid, by parabolas through the best three points."""
    if i in (0, _GRID):
        # At an end the maximum is the end itself unless the function first rises away from it.
        inner = 1 if i == 0 else _GRID - 1
        x = 0.98 * angles[i] + 0.02 * angles[inner]
        y = at(x)
        if y <= values[i]:
            return values[i]
        (a, fa), (c, fc) = sorted([(angles[i], values[i]), (angles[inner], values[inner])])
        b, fb = x, y
    else:
        a, b, c = angles[i - 1 : i + 2]
        fa, fb, fc = values[i - 1 : i + 2]
    for _ in range(12):
        before, after = (b - a) * (fb - fc), (b - c) * (fb - fa)
        curvature = 2.0 * (before - after)
        x = b - ((b - a) * before - (b - c) * after) / curvature if curvature else b
        if not a < x < c or abs(x - b) < 1e-3 * (c - a):
            # Too near to learn from: look into the wider side instead.
            x = b + 0.1 * ((c - b) if c - b > b - a else (a - b))
        y = at(x)
        change, step = abs(y - fb), abs(x - b) / (c - a)
        if y >= fb:
            if x < b:
                c, fc = b, fb
            else:
                a, fa = b, fb
            b, fb = x, y
        elif x < b:
            a, fa = x, y
        else:
            c, fc = x, y
        # Two equal values far apart have the peak between them.
        if change < 1e-8 and step < 0.01:
            break
    return fb
