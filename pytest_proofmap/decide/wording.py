"""Verdicts in words: what was seen, what it excludes, and what it leaves open."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.bars import Assessment, absolute_rate, has_margin, is_observed, loss_bound
from pytest_proofmap.decide.reasons import Reason, ReasonCode
from pytest_proofmap.decide.stats.binomial import all_pass_bound, lower_bound
from pytest_proofmap.evidence.models import Bar, CellLook, Criterion, Needs, Objective, SlicesRule

__all__ = [
    "Family",
    "assumptions",
    "count",
    "figure",
    "insufficient_reason",
    "is_even",
    "look_text",
    "name_cases",
    "not_qualified_reason",
    "observed_loss",
    "percent",
    "points",
    "put_back_text",
    "qualified_reason",
    "restarts_text",
]

_RESEMBLANCE = "These verdicts assume that the cases resemble production and that no prompt was tuned on them."
_SLICES: dict[SlicesRule, str] = {
    "fdr": "Of the slices that move to a challenger, at most {error} are expected to be wrong.",
    "all": "The stated confidence holds for all slices of an objective together.",
    "each": (
        "Each slice is decided by itself (slices = each): the stated confidence holds per slice, not for all "
        "together, and of sets of 12 slices one in three holds an error."
    ),
}
_SECOND_LOOK = (
    "Adding cases after a look at the verdict is a second look and adds to the error, unless looks were planned."
)


def assumptions(
    objectives: Iterable[Objective], criteria: Iterable[Criterion], *, everything: bool = False
) -> list[str]:
    """Return what the verdicts rest on, as far as it bears on them.

    Args:
        objectives: The decided objectives.
        criteria: Their criteria, for the confidence.
        everything: Whether to say of what bears on nothing here too.
    """
    verdicts = [(objective, verdict) for objective in objectives for verdict in objective.verdicts]
    parts = [_RESEMBLANCE]
    confidence = min(
        (criterion.bar.confidence for criterion in criteria if criterion.bar.confidence), default=0.95
    )
    rules = {objective.slices_rule for objective, verdict in verdicts if verdict.slice is not None}
    for rule in ("fdr", "all", "each"):
        if rule in rules:
            parts.append(_SLICES[rule].format(error=percent(1.0 - confidence)))
    if everything or any(verdict.status == "insufficient" for _, verdict in verdicts):
        parts.append(_SECOND_LOOK)
    return parts


_NAMED = 3


def percent(rate: float) -> str:
    """Return a rate in per cent with the digits that tell it from its neighbours."""
    value = 100.0 * rate
    return f"{value:.0f} %" if abs(value - round(value)) < 0.005 else f"{value:.1f} %"


def points(difference: float) -> str:
    """Return a difference of rates in points."""
    value = 100.0 * difference
    return f"{value:.1f}" if abs(value - round(value, 1)) < 1e-9 else f"{value:.2f}"


def figure(ratio: float) -> str:
    """Return a ratio with the digits that matter."""
    if not math.isfinite(ratio):
        return "∞"
    if ratio >= 9.95:
        return f"{ratio:,.0f}"
    return f"{ratio:.1f}" if ratio >= 1.05 else f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def is_even(ratio: float) -> bool:
    """Return whether a ratio is as good as 1: it would be printed as 1.0."""
    return 0.95 < ratio < 1.05


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun in the right form."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def name_cases(cases: Sequence[str]) -> str:
    """Return the first few cases by name and how many more there are."""
    named = ", ".join(case or "the only case" for case in cases[:_NAMED])
    rest = len(cases) - _NAMED
    return f"{named} and {rest} more" if rest > 0 else named


class Family(NamedTuple):
    """What a challenger shares the error with, and what is left for it."""

    baseline: str
    challengers: int
    slices: int
    """How many slices share the error; 1 where each is decided by itself."""
    alpha: float
    level: float
    """What the adjusted p-value must not exceed."""
    next_level: float
    """The raw p-value that would do, after correction."""

    @property
    def sharing(self) -> int:
        """How many challengers and slices share the error."""
        return self.challengers * self.slices


def qualified_reason(bar: Bar, assessment: Assessment, baseline: str) -> Reason:
    """Return why a challenger qualifies."""
    counts = assessment.counts
    rate = absolute_rate(bar)
    parts = []
    if is_observed(bar):
        return Reason("observed", f"observed: {_observed(bar, assessment, baseline)}")
    if has_margin(bar) and bar.margin is not None:
        parts.append(
            f"no worse than {baseline} by more than {points(bar.margin)} points ({_confidence(bar)}): "
            f"{_disagreement(assessment)} in {count(_pairs(assessment), 'case')}"
        )
    if rate == 1.0:
        parts.append(f"{counts.passed}/{counts.total} cases pass{_bound(bar, counts.total)}")
    elif rate is not None:
        low = lower_bound(counts.passed, counts.total, 1.0 - bar.confidence)
        parts.append(
            f"at least {percent(rate)} of the cases pass ({_confidence(bar)}): "
            f"{counts.passed}/{counts.total} passed, so at least {_rounded_down(low)} do"
        )
    return Reason("qualified", "; ".join(parts) + _missing(assessment))


def not_qualified_reason(bar: Bar, assessment: Assessment, baseline: str) -> Reason:
    """Return why a challenger is not acceptable, with the cases that show it."""
    counts = assessment.counts
    failed = f"{counts.failed} of {count(counts.total, 'case')} fail: {name_cases(assessment.failed_cases)}"
    if assessment.hard_failure:
        return Reason("failed_cases", failed)
    if is_observed(bar):
        regressed = assessment.pairs.regressed if assessment.pairs and has_margin(bar) else assessment.failed_cases
        names = f": {name_cases(regressed)}" if regressed else ""
        return Reason("observed", f"observed: {_observed(bar, assessment, baseline)}{names}")
    rate = absolute_rate(bar)
    below = None
    if rate is not None and rate < 1.0:
        below = f"fewer than {percent(rate)} of the cases pass ({_confidence(bar)}): {failed}"
    if has_margin(bar) and bar.margin is not None and assessment.pairs is not None:
        worse = (
            f"worse than {baseline} by more than {points(bar.margin)} points ({_confidence(bar)}): "
            f"{_disagreement(assessment)} in {count(_pairs(assessment), 'case')}: "
            f"{name_cases(assessment.pairs.regressed)}"
        )
        if below is None or not _falls_below(assessment, rate):
            return Reason("worse", worse)
    return Reason("below_rate", below or failed)


def insufficient_reason(
    bar: Bar, assessment: Assessment, family: Family, needs: Needs | None, level: float
) -> Reason:
    """Return why there is no verdict yet, and what would bring one.

    Args:
        bar: The criterion's bar.
        assessment: What was assessed.
        family: What it shares the error with.
        needs: Additional cases for a verdict.
        level: The p-value that would do, after correction for several challengers and slices.
    """
    if assessment.blocks:
        return assessment.blocks[0]
    counts = assessment.counts
    rate = absolute_rate(bar)
    parts = []
    if rate == 1.0:
        parts.append(f"{counts.passed}/{counts.total} cases pass{_bound(bar, counts.total)}")
    elif rate is not None:
        low = lower_bound(counts.passed, counts.total, level)
        parts.append(
            f"{counts.passed}/{counts.total} passed, which leaves a pass rate of {_rounded_down(low)} "
            f"possible ({percent(rate)} is asked for)"
        )
    if has_margin(bar) and bar.margin is not None and assessment.pairs is not None:
        parts.append(_open_loss(bar.margin, assessment, level))
    text = "; ".join(parts)
    code: ReasonCode = "too_few_cases"
    if needs is None:
        return Reason("too_few_cases", text + _missing(assessment))
    if needs.rerun:
        # What errors left open is no question of further cases.
        text += f"; rerun the {count(needs.rerun, 'error')}"
        if needs.best == 0 == needs.typical:
            return Reason("errors", text + _missing(assessment))
        if needs.best:
            text += f"; {needs.best} further cases would do, if all agree" + _shared(family)
    elif needs.best is not None:
        total = (assessment.pairs.total if has_margin(bar) and assessment.pairs else counts.total) + needs.best
        if has_margin(bar):
            text += f"; {total} would, if all {'others ' if _disagrees(assessment) else ''}agree"
        else:
            text += f"; {total} would do, if all {'others ' if counts.failed else ''}pass"
        text += _shared(family)
    if needs.typical is None:
        code = "none_at_this_rate"
        text += "; none at this rate"
    return Reason(code, text + _missing(assessment))


def look_text(look: CellLook) -> str:
    """Return which of several looks a verdict is, with what was changed or refused."""
    planned = "open looks" if look.planned == "open" else f"{look.planned} planned looks"
    text = f"look {look.number} of {planned}, {count(look.cases, 'case')}"
    if look.restarts:
        text += f", {restarts_text(look.restarts)}"
    if look.put_back:
        text += f"; {put_back_text(look.put_back)}"
    if look.refused:
        text += (
            f"; {count(len(look.refused), 'new case')} refused: the last look was taken, and its verdict stands"
        )
    return text


def put_back_text(looks: int) -> str:
    """Return how many looks an older history had forgotten, in words."""
    were = "was" if looks == 1 else "were"
    return f"{count(looks, 'look')} {were} missing from the history and counted all the same"


def restarts_text(restarts: int) -> str:
    """Return how often looks began anew, in words."""
    times = "once" if restarts == 1 else f"{restarts} times"
    return f"restarted {times} (a changed bar, prompt, criterion or runtime is a new question)"


def _shared(family: Family) -> str:
    """Return what a challenger shares the error with, in brackets."""
    parts = []
    if family.challengers > 1:
        parts.append(f"one of {family.challengers} challengers")
    if family.slices > 1:
        parts.append(f"one of {family.slices} slices")
    return f" ({', '.join(parts)})" if parts else ""


def _falls_below(assessment: Assessment, rate: float | None) -> bool:
    """Return whether it is the absolute part of a double bar that is missed."""
    return (
        rate is not None
        and assessment.counts.passed < rate * assessment.counts.total
        and bool(assessment.failed_cases)
    )


def _observed(bar: Bar, assessment: Assessment, baseline: str) -> str:
    """Return the observed rates that decide when no confidence is asked for."""
    counts = assessment.counts
    parts = []
    rate = absolute_rate(bar)
    if rate is not None:
        parts.append(f"{counts.passed}/{counts.total} cases pass, {percent(rate)} is asked for")
    if has_margin(bar) and bar.margin is not None and assessment.pairs is not None:
        table = assessment.pairs.safe_mean
        difference = (table.improvements - table.regressions) / table.pairs
        sign = "+" if difference > 0 else "−" if difference < 0 else "±"
        parts.append(
            f"{sign}{points(abs(difference))} points against {baseline}, −{points(bar.margin)} is tolerated: "
            f"{_disagreement(assessment)} in {count(_pairs(assessment), 'case')}"
        )
    return "; ".join(parts) + _missing(assessment)


def observed_loss(bar: Bar, assessment: Assessment) -> str | None:
    """Return what was lost beyond what the bar tolerates, as observed and whatever chance may explain, or None."""
    counts, rate = assessment.counts, absolute_rate(bar)
    if has_margin(bar) and bar.margin is not None and assessment.pairs is not None:
        table = assessment.pairs.safe
        loss = (table.regressions - table.improvements) / max(1, table.pairs)
        if loss > bar.margin + 1e-9:
            return (
                f"it loses {points(loss)} points, more than the margin of {points(bar.margin)} "
                f"({_disagreement(assessment)} in {count(_pairs(assessment), 'case')})"
            )
    if rate is not None and counts.passed < rate * counts.total - 1e-9:
        return f"it passes {counts.passed}/{counts.total}, below {percent(rate)},"
    return None


def _open_loss(margin: float, assessment: Assessment, level: float) -> str:
    """Return which loss the pairs leave possible: more than the margin, or there would be a verdict."""
    assert assessment.pairs is not None
    table = assessment.pairs.safe_flips
    loss = max(loss_bound(*assessment.pairs.safe_mean, margin, level, assessment.p_unsafe), margin)
    value = 100.0 * loss
    digits = next((d for d in (0, 1, 2) if round(value, d) > 100.0 * margin + 1e-9), None)
    size = f"{value:.{digits}f}-point" if digits is not None else f"{points(margin)}-point"
    n = table.pairs
    if not _disagrees(assessment) and not assessment.counts.missing:
        return f"{n}/{n} agree, but {count(n, 'case')} cannot exclude a {size} loss"
    return f"{_disagreement(assessment)} in {count(n, 'case')} cannot exclude a {size} loss"


def _disagrees(assessment: Assessment) -> bool:
    """Return whether any pair counts as a regression or an improvement."""
    if assessment.pairs is None:
        return False
    table = assessment.pairs.safe_mean
    return bool(table.regressions or table.improvements)


def _disagreement(assessment: Assessment) -> str:
    """Return how many cases got worse and better."""
    assert assessment.pairs is not None
    regressions, improvements = len(assessment.pairs.regressed), len(assessment.pairs.improved)
    return f"{count(regressions, 'regression')}, {count(improvements, 'improvement')}"


def _pairs(assessment: Assessment) -> int:
    """Return the number of pairs."""
    return assessment.pairs.total if assessment.pairs else 0


def _missing(assessment: Assessment) -> str:
    """Return the warning that cases without an outcome counted against the challenger."""
    pairs = assessment.pairs
    missing = _pairs(assessment) - pairs.compared if pairs else assessment.counts.missing
    missing = max(missing, assessment.counts.missing)
    if not missing:
        return ""
    return f"; {count(missing, 'case')} without an outcome counted against it"


def _bound(bar: Bar, n: int) -> str:
    """Return the failure rate that all-passing cases exclude."""
    if n == 0:
        return ""
    alpha = 1.0 - bar.confidence if bar.confidence else 0.05
    bound = 100.0 * all_pass_bound(n, alpha)
    return f", which excludes failure rates above {bound:.1f} % ({100 * (1 - alpha):.3g} %)"


def _confidence(bar: Bar) -> str:
    """Return the confidence in per cent."""
    return f"{100.0 * bar.confidence:.3g} %"


def _rounded_down(rate: float) -> str:
    """Return a lower bound so rounded that it never claims more than was shown."""
    return f"{math.floor(1000.0 * rate + 1e-9) / 10.0:.1f} %"
