"""What adaptive sampling concludes from outcomes: when a challenger stops, and what its verdict rests on.

Verdicts are computed from the outcomes and the order of the cases alone, so that deciding anew on stored
evidence follows the same rule: what was left out is never taken for a sample of fixed size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.adaptive import (
    Bets,
    Stop,
    case_order,
    follows_rule,
    margin_rule,
    margin_stop,
    p_unsafe_adaptive,
    p_worse_adaptive,
)
from pytest_proofmap.decide.bars import LEAST_BASELINE_RATE, Assessment, assess, baseline_rate
from pytest_proofmap.decide.paired import GAMMA, Memo, p_unsafe_paired
from pytest_proofmap.decide.reasons import Reason
from pytest_proofmap.decide.tally import CaseTally, CriterionTally, View
from pytest_proofmap.decide.wording import count
from pytest_proofmap.evidence.models import Bar, Criterion

__all__ = [
    "CaseOrder",
    "assess_adaptively",
    "is_futile",
    "order_of",
    "place_bets",
    "share_spent_early",
    "stop_of",
]


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
    bar: Bar, view: View, order: CaseOrder, found: Assessment, challengers: int, memo: Memo | None = None
) -> bool:
    """Return whether cases were left out and agreement on all of them would not qualify a challenger."""
    if found.blocks or found.pairs is None or not _is_margin(bar):
        return False
    table = found.pairs.safe_flips
    rule = margin_rule(bar, challengers, len(view.cases), early=order.early)
    left = len(view.cases) - len(view.asked(found.challenger).cases)
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


def _is_whole(found: CaseTally | None, bar: Bar) -> bool:
    """Return whether all samples of a case are there."""
    return found is not None and len(found) >= bar.samples
