"""Before anything is spent: which criteria cannot reach a verdict with the cases they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pytest_proofmap.decide.bars import absolute_rate, has_margin, is_observed
from pytest_proofmap.decide.stats.forecasts import best_all_pass, best_margin, best_min_pass_rate
from pytest_proofmap.decide.stats.multiplicity import DEFAULT_RULE
from pytest_proofmap.decide.stats.paired import Memo, gamma_of
from pytest_proofmap.decide.wording import count, percent, points
from pytest_proofmap.evidence.models import Bar, SlicesRule

__all__ = ["PlannedCriterion", "cases_needed", "shortfalls"]


class PlannedCriterion(NamedTuple):
    """A criterion as it was collected."""

    id: str
    bar: Bar
    challengers: int
    cases: Mapping[str | None, int]
    """Number of cases by slice; under None: all of them."""
    slices_rule: SlicesRule = DEFAULT_RULE


class Shortfall(NamedTuple):
    """A criterion that cannot qualify a challenger that does no better than its bar asks."""

    criterion: str
    slice: str | None
    cases: int
    needed: int | None
    """The least number of cases that could; None when no number does."""
    text: str


def cases_needed(
    bar: Bar, challengers: int, memo: Memo | None = None, *, slices: int = 1, rule: SlicesRule = "each"
) -> int | None:
    """Return the least number of cases with which a challenger can qualify, if all goes well.

    Args:
        bar: The criterion's bar.
        challengers: How many challengers share the error.
        memo: Where p-values are kept.
        slices: How many slices are decided together.
        rule: How they are corrected for each other. Where all goes well, ``fdr`` selects all of them.

    Returns:
        A number of cases for the hardest place in the correction, that of the first challenger to qualify;
        None when no number of cases would do.
    """
    if is_observed(bar):
        return 1
    alpha = 1.0 - bar.confidence
    level = alpha / (max(1, challengers) * (slices if rule == "all" else 1))
    needed = 1
    rate = absolute_rate(bar)
    if rate == 1.0 and bar.max_failure_rate is not None:
        least = best_all_pass(bar.max_failure_rate, level)
        if least is None:
            return None
        needed = max(needed, least)
    elif rate is not None and rate < 1.0:
        least = best_min_pass_rate(0, 0, rate, level)
        if least is None:
            return None
        needed = max(needed, least)
    if has_margin(bar) and bar.margin is not None:
        gamma = gamma_of(alpha, challengers, 1 if rule == "each" else slices)
        least = best_margin(0, 0, 0, bar.margin, level, memo, gamma)
        if least is None:
            return None
        needed = max(needed, least)
    return needed


def shortfalls(planned: Iterable[PlannedCriterion], memo: Memo | None = None) -> list[Shortfall]:
    """Return where the collected cases cannot reach "qualified", in the order of the criteria.

    With several challengers the last ones to qualify need fewer cases than the first, so a shortfall is
    stated for the first one, which all of them wait for.
    """
    found = []
    for criterion in planned:
        slices = sum(name is not None for name in criterion.cases)
        whole = cases_needed(criterion.bar, criterion.challengers, memo)
        for slice_name, cases in criterion.cases.items():
            needed = whole
            if slice_name is not None:
                rule = criterion.slices_rule
                needed = cases_needed(criterion.bar, criterion.challengers, memo, slices=slices, rule=rule)
            if needed is None or cases < needed:
                text = _text(criterion, slice_name, cases, needed)
                found.append(Shortfall(criterion.id, slice_name, cases, needed, text))
    return found


def _text(criterion: PlannedCriterion, slice_name: str | None, cases: int, needed: int | None) -> str:
    """Return a shortfall in words, with what would mend it."""
    where = criterion.id if slice_name is None else f"{criterion.id} ({slice_name})"
    whom = "the challenger" if criterion.challengers == 1 else f"any of {criterion.challengers} challengers"
    what = f"{count(cases, 'case')} cannot qualify {whom}"
    if needed is None:
        return f"{where}: {what}, and no number of cases would at this bar"
    if has_margin(criterion.bar):
        # One that does better than the baseline may qualify with fewer cases.
        return f"{where}: {what} that only agrees with the baseline, at {_bar(criterion.bar)}; {needed} would"
    return f"{where}: {what} at {_bar(criterion.bar)}; {needed} would, if all pass"


def _bar(bar: Bar) -> str:
    """Return a bar in a few words."""
    parts = []
    rate = absolute_rate(bar)
    if rate == 1.0:
        tolerated = bar.max_failure_rate
        parts.append("an all-pass bar" + (f" with max_failure_rate {tolerated:g}" if tolerated else ""))
    elif rate is not None:
        parts.append(f"min_pass_rate {percent(rate)}")
    if has_margin(bar) and bar.margin is not None:
        parts.append(f"a margin of {points(bar.margin)} points")
    return " and ".join(parts)
