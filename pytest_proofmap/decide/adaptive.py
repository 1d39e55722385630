"""When to stop asking before all cases are done, without paying for it in false promotions.

Cases come in a random order, and the paired differences of a challenger (each in [-1, 1]) are bet on: one
family of bets wins when the challenger is no worse than the margin, the other when it is worse. Under the
hypothesis that a family bets against, its wealth is a nonnegative supermartingale that starts at 1, so that by
Ville's inequality it ever reaches 1/p with probability at most p, whenever one looks (Waudby-Smith & Ramdas 2024,
Estimating means of bounded random variables by betting, JRSS B 86:1-27). A fifth of the error is spent on
qualifying early, the rest on the exact test at the end, and nothing early where the cases are too few for it to
pay.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from functools import lru_cache
from operator import add
from typing import Literal, NamedTuple

from pytest_proofmap.decide.bars import is_observed
from pytest_proofmap.decide.paired import Memo, p_unsafe_paired
from pytest_proofmap.evidence.models import Bar

__all__ = [
    "EARLY_SHARE",
    "WORTH_SAVING",
    "Bets",
    "MarginRule",
    "Stop",
    "Wealth",
    "agreement_to_qualify",
    "case_order",
    "follows_rule",
    "margin_rule",
    "margin_stop",
    "p_unsafe_adaptive",
    "p_worse_adaptive",
    "wave_ends",
]

EARLY_SHARE = 0.2
"""The share of alpha that is spent on qualifying early, where that can save enough cases."""

WORTH_SAVING = 0.25
"""The least share of the cases that agreement on all of them must save for anything to be spent early."""

Stop = Literal["qualified", "not_qualified", "insufficient"]
"""What a challenger stopped as."""

_BETS = 20
_MIDPOINTS = tuple((i + 0.5) / _BETS for i in range(_BETS))
_MOST = 10_000_000

_FIRST_WAVE, _LEAST_STEP, _GROWTH = 16, 8, 1.25
_FIRST_ALL_PASS_WAVE = 4


class Wealth(NamedTuple):
    """What bets have come to, in logarithms."""

    acceptable: tuple[float, ...]
    """Of each bet that the challenger is acceptable."""
    worse: tuple[float, ...]
    """Of each bet that it is worse."""
    most_acceptable: float
    """The greatest wealth so far of the first together."""
    most_worse: float


class Bets:
    """The bets on one challenger so far, in logarithms, so that no number of cases overflows or vanishes.

    Args:
        margin: The tolerated loss of pass rate, in (0, 1).
        wealth: What the bets had come to before; None: they begin.
    """

    def __init__(self, margin: float, wealth: Wealth | None = None) -> None:
        self.margin = margin
        self.pairs = 0
        self.regressions = 0
        """Cases whose pass share fell by half or more, missing outcomes counted as such."""
        self.improvements = 0
        self.most_acceptable = 0.0
        """Logarithm of the greatest wealth so far of betting that the challenger is acceptable."""
        self.most_worse = 0.0
        """Logarithm of the greatest wealth so far of betting that it is worse."""
        self._up_wealth = [math.log(weight) for weight, _ in _stakes_on_acceptable(margin)]
        self._down_wealth = [math.log(weight) for weight, _ in _stakes_on_worse(margin)]
        if wealth is not None:
            self._up_wealth, self._down_wealth = list(wealth.acceptable), list(wealth.worse)
            self.most_acceptable, self.most_worse = wealth.most_acceptable, wealth.most_worse

    @property
    def wealth(self) -> Wealth:
        """What the bets have come to, to go on from."""
        return Wealth(tuple(self._up_wealth), tuple(self._down_wealth), self.most_acceptable, self.most_worse)

    def add(self, safe: float, worse: float) -> None:
        """Bet on one more case.

        Args:
            safe: The challenger's pass share minus the baseline's, missing outcomes counted against it.
            worse: The same difference, missing outcomes counted for it.
        """
        self.pairs += 1
        self.regressions += safe <= -0.5 + 1e-9
        self.improvements += safe >= 0.5 - 1e-9
        up, down = safe + self.margin, worse + self.margin
        self._up_wealth = list(map(add, self._up_wealth, _growth(self.margin, up, True)))
        self._down_wealth = list(map(add, self._down_wealth, _growth(self.margin, down, False)))
        # Only a gain can bring a family of bets to a new height.
        if up > 0.0:
            self.most_acceptable = max(self.most_acceptable, self.log_acceptable)
        if down < 0.0:
            self.most_worse = max(self.most_worse, self.log_worse)

    @property
    def log_acceptable(self) -> float:
        """Logarithm of the present wealth of betting that the challenger is acceptable."""
        return _log_sum(self._up_wealth)

    @property
    def log_worse(self) -> float:
        """Logarithm of the present wealth of betting that it is worse."""
        return _log_sum(self._down_wealth)


class MarginRule(NamedTuple):
    """What decides when a challenger under a margin has been asked enough."""

    margin: float
    challengers: int
    """How many challengers share the error."""
    alpha: float
    """The error, 1 - confidence."""
    early_share: float
    """The share of alpha that is spent on qualifying early; 0: nobody qualifies before the end."""

    @property
    def final_level(self) -> float:
        """The exact p-value that certainly qualifies at the end."""
        return (1.0 - self.early_share) * self.alpha / self.challengers


def follows_rule(bar: Bar) -> bool:
    """Return whether sampling under a bar can be adaptive: every case must pass, or a margin alone holds."""
    if bar.kind == "all_pass":
        return True
    return bar.kind == "margin" and not is_observed(bar) and bar.margin is not None and bar.margin < 1.0


def margin_rule(bar: Bar, challengers: int, cases: int, *, early: bool = True) -> MarginRule:
    """Return the rule for a margin bar and a number of cases.

    Where not even agreement on all cases would save a quarter of them, nothing is spent early: the test at the end
    is then that of fixed sampling.

    Args:
        bar: A bar with a margin.
        challengers: How many challengers share the error.
        cases: How many cases there are, asked or not.
        early: False where the order of cases is not known, so that no one may qualify early.
    """
    assert bar.margin is not None
    challengers = max(1, challengers)
    alpha = 1.0 - bar.confidence
    pays = agreement_to_qualify(bar.margin, challengers, alpha) <= (1.0 - WORTH_SAVING) * cases
    return MarginRule(bar.margin, challengers, alpha, EARLY_SHARE if early and pays else 0.0)


@lru_cache(maxsize=256)
def agreement_to_qualify(margin: float, challengers: int, alpha: float) -> int:
    """Return after how many cases, all of which agree, a challenger qualifies early."""
    target = math.log(challengers / (EARLY_SHARE * alpha))
    stakes = _stakes_on_acceptable(margin)

    def wealth(cases: int) -> float:
        return _log_sum([math.log(weight) + cases * math.log1p(stake * margin) for weight, stake in stakes])

    low, high = 0, 1
    while wealth(high) < target and high < _MOST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if wealth(middle) < target:
            low = middle
        else:
            high = middle
    return high


def margin_stop(rule: MarginRule, bets: Bets, left: int, improvable: int, memo: Memo | None = None) -> Stop | None:
    """Return what a challenger under a margin stops as, or None when further cases may tell.

    Args:
        rule: The rule.
        bets: The bets on the challenger so far.
        left: Cases that it was not asked yet.
        improvable: How many of these the baseline failed: on the others the best possible is to agree.
        memo: Where p-values are kept.
    """
    # The same products as in the correction of the final verdict, so that rounding cannot part the two.
    if rule.challengers * p_unsafe_adaptive(rule, bets, None) <= rule.alpha:
        return "qualified"
    if p_worse_adaptive(bets) <= rule.alpha:
        return "not_qualified"
    best = bets.improvements + improvable
    p = p_unsafe_paired(bets.regressions, best, bets.pairs + left, rule.margin, memo)
    return "insufficient" if p > rule.final_level else None


def p_unsafe_adaptive(rule: MarginRule, bets: Bets, p_exact: float | None) -> float:
    """Return the p-value of "the challenger is worse by the margin or more" under adaptive sampling.

    The early bets and the exact test at the end share the error, so each p-value is divided by its share and
    the smaller one counts.

    Args:
        rule: The rule.
        bets: The bets on the challenger.
        p_exact: The exact p-value on all cases; None when some were left out.
    """
    p_values = [1.0]
    if rule.early_share > 0.0:
        p_values.append(math.exp(-bets.most_acceptable) / rule.early_share)
    if p_exact is not None:
        p_values.append(p_exact / (1.0 - rule.early_share))
    return min(p_values)


def p_worse_adaptive(bets: Bets) -> float:
    """Return the p-value of "the challenger is worse by at most the margin" under adaptive sampling."""
    return min(1.0, math.exp(-bets.most_worse))


def case_order(seed: int, criterion: str, cases: Iterable[str]) -> list[str]:
    """Return cases in a random order that depends on nothing but the seed and their names."""

    def place(case: str) -> bytes:
        return hashlib.sha256(f"{seed}\n{criterion}\n{case}".encode("utf-8", "surrogatepass")).digest()

    return sorted(cases, key=place)


def wave_ends(bar: Bar, challengers: int, cases: int) -> list[int]:
    """Return after how many cases the rule looks: a schedule that no outcome and no machine changes.

    Waves grow, so that there are few of them, and one ends where agreement on all cases qualifies.

    Args:
        bar: A bar that follows the rule.
        challengers: How many challengers share the error.
        cases: How many cases there are.
    """
    ends: set[int] = set()
    if bar.kind == "margin" and bar.margin is not None:
        end = _FIRST_WAVE
        while end < cases:
            ends.add(end)
            end = max(end + _LEAST_STEP, int(end * _GROWTH))
        rule = margin_rule(bar, challengers, cases)
        if rule.early_share:
            qualified = agreement_to_qualify(rule.margin, rule.challengers, rule.alpha)
            ends = {each for each in ends if abs(each - qualified) >= _LEAST_STEP} | {qualified}
    else:
        end = _FIRST_ALL_PASS_WAVE
        while end < cases:
            ends.add(end)
            end *= 2
    return [*sorted(ends), cases]


@lru_cache(maxsize=256)
def _stakes_on_acceptable(margin: float) -> tuple[tuple[float, float], ...]:
    """Return weight and stake of each bet that the challenger is acceptable, from timid to all it has."""
    timid = tuple((0.8 / _BETS, u / (1.0 - margin)) for u in _MIDPOINTS)
    return (*timid, (0.2, 1.0 / (1.0 - margin)))


@lru_cache(maxsize=256)
def _stakes_on_worse(margin: float) -> tuple[tuple[float, float], ...]:
    """Return weight and stake of each bet that the challenger is worse."""
    return tuple((1.0 / _BETS, -u / (1.0 + margin)) for u in _MIDPOINTS)


@lru_cache(maxsize=4_096)
def _growth(margin: float, gain: float, acceptable: bool) -> tuple[float, ...]:
    """Return what a case adds to the logarithm of each bet's wealth."""
    stakes = _stakes_on_acceptable(margin) if acceptable else _stakes_on_worse(margin)
    changes = (stake * gain for _, stake in stakes)
    return tuple(math.log1p(change) if change > -1.0 + 1e-12 else -math.inf for change in changes)


def _log_sum(logs: list[float]) -> float:
    """Return the logarithm of a sum from the logarithms of its terms."""
    most = max(logs)
    if most == -math.inf:
        return most
    return most + math.log(math.fsum(math.exp(each - most) for each in logs))
