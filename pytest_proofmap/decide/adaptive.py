"""When to stop asking before all cases are done, without paying for it in false promotions.

Cases come in a random order, and the paired differences of a challenger (each in [-1, 1]) are bet on: one
family of bets wins when the challenger is no worse than the margin, the other when it is worse. Under the
hypothesis that a family bets against, its wealth is a nonnegative supermartingale that starts at 1, so that by
Ville's inequality it ever reaches 1/p with probability at most p, whenever one looks (Waudby-Smith & Ramdas 2024,
Estimating means of bounded random variables by betting, JRSS B 86:1-27). A fifth of the error is spent on
qualifying early, the rest on the exact test at the end, and nothing early where the cases are too few for it to
pay.

What adaptive sampling concludes from outcomes: when a challenger stops, and what its verdict rests on.

Verdicts are computed from the outcomes and the order of the cases alone, so that deciding anew on stored
evidence follows the same rule: what was left out is never taken for a sample of fixed size.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import add
from typing import Literal, NamedTuple

from pytest_proofmap.decide.bars import LEAST_BASELINE_RATE, Assessment, assess, baseline_rate, is_observed
from pytest_proofmap.decide.reasons import Reason
from pytest_proofmap.decide.stats.paired import GAMMA, Memo, p_unsafe_paired
from pytest_proofmap.decide.tally import CaseTally, CriterionTally, View
from pytest_proofmap.decide.wording import count
from pytest_proofmap.evidence.models import Bar, Criterion

__all__ = [
    "Bets",
    "CaseOrder",
    "MarginRule",
    "Stop",
    "Wealth",
    "agreement_to_qualify",
    "assess_adaptively",
    "case_order",
    "follows_rule",
    "is_futile",
    "margin_rule",
    "margin_stop",
    "order_of",
    "p_unsafe_adaptive",
    "p_worse_adaptive",
    "place_bets",
    "share_spent_early",
    "stop_of",
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
            ends = {end for end in ends if abs(end - qualified) >= _LEAST_STEP} | {qualified}
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
    return most + math.log(math.fsum(math.exp(log - most) for log in logs))


class CaseOrder(NamedTuple):
    """The order in which challengers were asked."""

    cases: Sequence[str]
    """All cases of the criterion."""
    early: bool
    """Whether challengers could qualify early."""


def order_of(criterion: Criterion) -> CaseOrder | None:
    """Return the order of a criterion's cases, or None when its sampling was not adaptive."""
    sampling = criterion.adaptive
    if sampling is None:
        return None
    return CaseOrder(case_order(sampling.seed, criterion.id, criterion.collected), sampling.early)


def share_spent_early(bar: Bar, view: View, order: CaseOrder, challengers: int) -> float:
    """Return the share of alpha that is not left for the end."""
    if bar.kind != "margin" or not follows_rule(bar):
        return 0.0
    return margin_rule(bar, challengers, len(view.cases), early=order.early).early_share


def assess_adaptively(
    bar: Bar,
    view: View,
    order: CaseOrder,
    challenger: str,
    baseline: str,
    challengers: int,
    memo: Memo | None = None,
    *,
    gamma: float = GAMMA,
    blocks: Sequence[Reason] = (),
) -> Assessment:
    """Assess a challenger that may not have been asked all cases of a view.

    Args:
        bar: The criterion's bar, that of the run or another one.
        view: The cases of the slice.
        order: The order in which they came.
        challenger: Name of the challenger.
        baseline: Name of the baseline.
        challengers: How many challengers share the error.
        memo: Where p-values are kept.
        gamma: The share of the error that pays for restricting the nuisance parameter of paired tests.
        blocks: What blocks a verdict beside what the outcomes say.
    """
    asked = view.asked(challenger)
    found = assess(bar, asked, challenger, baseline, memo, reference_view=view, gamma=gamma, blocks=blocks)
    whole = asked is view
    if found.p_better is not None and not whole:
        # Whether it is better than the baseline is a question to all cases.
        return found.without_figures()
    if found.hard_failure or (found.blocks and found.p_better is None) or (whole and not _is_margin(bar)):
        return found
    if not _is_margin(bar):
        left_out = len(view.cases) - len(asked.cases)
        return found._replace(
            blocks=(
                Reason(
                    "adaptive_left_out",
                    f"adaptive sampling left {count(left_out, 'case')} out, and what it asked decides no bar of "
                    "this kind: run it without --proofmap-adaptive",
                ),
            ),
            p_unsafe=None,
            p_worse=None,
            observed=None,
        )
    rule = margin_rule(bar, challengers, len(view.cases), early=order.early)
    if not order.early:
        # Nobody qualified early, so the whole error is left for the end; what stopped before it is undecided.
        return found if whole else found._replace(p_unsafe=1.0, p_worse=1.0)
    bets = place_bets(view, order.cases, baseline, challenger, rule.margin)
    return found._replace(
        p_unsafe=p_unsafe_adaptive(rule, bets, found.p_unsafe if whole else None),
        p_worse=p_worse_adaptive(bets),
    )


def is_futile(
    bar: Bar, view: View, order: CaseOrder, assessment: Assessment, challengers: int, memo: Memo | None = None
) -> bool:
    """Return whether cases were left out and agreement on all of them would not qualify a challenger."""
    if assessment.blocks or assessment.pairs is None or not _is_margin(bar):
        return False
    table = assessment.pairs.safe_flips
    rule = margin_rule(bar, challengers, len(view.cases), early=order.early)
    left = len(view.cases) - len(view.asked(assessment.challenger).cases)
    p = p_unsafe_paired(table.regressions, table.improvements, table.pairs + left, rule.margin, memo)
    return left > 0 and p > rule.final_level


def stop_of(
    bar: Bar,
    counted: CriterionTally,
    cases: Sequence[str],
    baseline: str,
    challenger: str,
    challengers: int,
    *,
    early: bool = True,
    memo: Memo | None = None,
) -> Stop | None:
    """Return what a challenger stops as, or None when further cases may tell.

    Args:
        bar: The criterion's bar, which follows the rule.
        counted: What is known so far: under a margin, all of the baseline's outcomes.
        cases: The cases of one slice, in their random order.
        baseline: Name of the baseline.
        challenger: Name of the challenger.
        challengers: How many challengers share the error.
        early: False where outcomes come in no known order, so that only what is certain stops a challenger.
        memo: Where p-values are kept.
    """
    theirs = counted.runtimes.get(challenger, {})
    if bar.kind == "all_pass":
        # The first failure settles it.
        return "not_qualified" if any(theirs[case].failed for case in cases if case in theirs) else None
    view = counted.among([case for case in cases if case in counted.runtimes.get(baseline, {})])
    rule = margin_rule(bar, challengers, len(cases), early=early)
    asked = {case for case in cases if _is_whole(theirs.get(case), bar)}
    if not early:
        bets = _count_flips(counted, asked, baseline, challenger, bar, rule.margin)
    else:
        reference = baseline_rate(view, baseline)
        if reference is None or reference < LEAST_BASELINE_RATE:
            return "insufficient"
        bets = place_bets(view, cases, baseline, challenger, rule.margin)
    rest = [case for case in cases if case not in asked]
    improvable = sum(1 for case in rest if _share(counted, baseline, case, bar) <= 0.5)
    stop = margin_stop(rule, bets, len(rest), improvable, memo)
    return stop if early or stop == "insufficient" else None


def place_bets(
    view: View,
    order: Iterable[str],
    baseline: str,
    challenger: str,
    margin: float,
    bets: Bets | None = None,
) -> Bets:
    """Return the bets on a challenger over the cases of a view, in their order.

    They end at the first case that it was not asked: which cases come after a gap was chosen by what was seen
    before, so that they are no sample of all cases. A request that was seen before tells nothing new.
    """
    bets = Bets(margin) if bets is None else bets
    ours, theirs = (view.tallies.runtimes.get(name, {}) for name in (baseline, challenger))
    inside = set(view.cases)
    seen: set[object] = set()
    for case in order:
        if case not in inside:
            continue
        before, after = ours.get(case), theirs.get(case)
        if after is None or after.spared:
            break
        requests = {
            (side, found.request)
            for side, found in enumerate((before, after))
            if found is not None and found.request is not None
        }
        if seen & requests:
            continue
        seen |= requests
        before = before or CaseTally()
        bets.add(
            safe=after.share(False) - before.share(True),
            worse=after.share(True) - before.share(False),
        )
    return bets


def _is_margin(bar: Bar) -> bool:
    return bar.kind == "margin" and follows_rule(bar)


def _count_flips(
    counted: CriterionTally, cases: Iterable[str], baseline: str, challenger: str, bar: Bar, margin: float
) -> Bets:
    """Return the regressions and improvements among cases that were asked in no known order, without bets."""
    bets = Bets(margin)
    theirs = counted.runtimes.get(challenger, {})
    for case in cases:
        bets.pairs += 1
        difference = theirs[case].share(False) - _share(counted, baseline, case, bar)
        bets.regressions += difference <= -0.5 + 1e-9
        bets.improvements += difference >= 0.5 - 1e-9
    return bets


def _share(counted: CriterionTally, baseline: str, case: str, bar: Bar) -> float:
    """Return the baseline's share of passes on a case, errors counted as such.

    What is not known yet is taken to be as good as can be for a challenger.
    """
    found = counted.runtimes.get(baseline, {}).get(case)
    return found.share(True) if found is not None and _is_whole(found, bar) else 0.0


def _is_whole(case_tally: CaseTally | None, bar: Bar) -> bool:
    """Return whether all samples of a case are there."""
    return case_tally is not None and len(case_tally) >= bar.samples
