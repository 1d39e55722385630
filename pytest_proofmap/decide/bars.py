"""One challenger against one bar: what the counts are and how surely they speak for or against it.

A missing outcome never helps the answer that is asked for: when asking "is it acceptable?", an error or a
missing sample of the challenger counts as failed and one of the baseline as passed; when asking "is it
worse?", the other way round. Dropping such cases instead would promote models that fail where it is hard to
answer at all.
"""

from __future__ import annotations

from typing import NamedTuple

from pytest_proofmap.decide.binomial import binomial_at_least, binomial_at_most
from pytest_proofmap.decide.paired import Memo, p_unsafe_paired, p_worse_paired
from pytest_proofmap.decide.pairing import Pairs, pair
from pytest_proofmap.decide.repeated import PairedTable
from pytest_proofmap.decide.tally import View
from pytest_proofmap.evidence.models import Bar

__all__ = [
    "LEAST_BASELINE_RATE",
    "Assessment",
    "Counts",
    "absolute_rate",
    "assess",
    "baseline_rate",
    "has_margin",
    "is_observed",
]

LEAST_BASELINE_RATE = 0.5
"""A baseline that passes less than this share of its cases is no usable reference."""


class Counts(NamedTuple):
    """Units of one runtime that count for an absolute bar."""

    passed: int
    failed: int
    missing: int
    """Errors, and cases that this runtime has no outcome for."""

    @property
    def total(self) -> int:
        """All units, missing ones included."""
        return self.passed + self.failed + self.missing


class Assessment(NamedTuple):
    """Everything that a verdict on one challenger, criterion and slice follows from."""

    challenger: str
    counts: Counts
    pairs: Pairs | None
    """None when the baseline has no outcome at all."""
    failed_cases: tuple[str, ...]
    hard_failure: bool
    """A case failed where every case must pass."""
    block: str | None
    """Why no verdict is possible, in words."""
    p_unsafe: float | None
    p_worse: float | None
    observed: bool | None
    """With confidence 0: whether the observed rate meets the bar (None: it hangs on missing outcomes)."""

    @property
    def family_p(self) -> float:
        """The p-value that takes part in corrections: 1 for whoever can't be accepted anyway."""
        if self.hard_failure or self.block or self.observed is not None:
            return 1.0
        # No failure rate is tolerated and none was seen: nothing is left to chance.
        return 0.0 if self.p_unsafe is None else self.p_unsafe


def is_observed(bar: Bar) -> bool:
    """Return whether the bar decides on the observed rate alone."""
    return bar.confidence == 0


def has_margin(bar: Bar) -> bool:
    """Return whether the bar compares with the baseline."""
    return bar.kind in ("margin", "both") and bar.margin is not None


def absolute_rate(bar: Bar) -> float | None:
    """Return the pass rate that the bar demands whatever the baseline does, or None when it demands none."""
    if bar.kind == "margin":
        return None
    return 1.0 if bar.kind == "all_pass" or bar.min_pass_rate is None else bar.min_pass_rate


def baseline_rate(view: View, baseline: str) -> float | None:
    """Return the baseline's mean share of passed samples, errors as not passed; None without an outcome."""
    found = view.found(baseline)
    if not ("passed" in found or "failed" in found):
        return None
    if view.plain(baseline):
        return found.count("passed") / (len(found) - found.count("missing"))
    units = [view.unit(group, baseline) for group in view.groups(baseline)]
    shares = [unit.share(False) for unit in units if unit.rows]
    return sum(shares) / len(shares)


def assess(
    bar: Bar,
    view: View,
    challenger: str,
    baseline: str,
    memo: Memo | None = None,
    *,
    reference_view: View | None = None,
) -> Assessment:
    """Assess one challenger on the cases of a view, before any correction for several challengers.

    Args:
        bar: The criterion's bar.
        view: The cases that the challenger was asked.
        challenger: Name of the challenger.
        baseline: Name of the baseline.
        memo: Where p-values are kept.
        reference_view: The cases that the baseline was asked, if these are more.
    """
    counts, failed_cases = _count(view, challenger)
    reference = baseline_rate(reference_view or view, baseline)
    pairs = None if reference is None else pair(view, baseline, challenger)
    rate = absolute_rate(bar)
    hard = rate == 1.0 and counts.failed > 0
    not_run = all(found == "missing" for found in view.found(challenger))
    block = _block(bar, counts, not_run, reference, baseline)
    if is_observed(bar):
        observed = None if block else _observed(bar, counts, pairs)
        return Assessment(
            challenger, counts, pairs, failed_cases, hard, block or _undecided(observed), None, None, observed
        )
    unsafe: list[float] = []
    worse: list[float] = []
    if hard:
        unsafe.append(1.0)
    if rate == 1.0 and not hard and bar.max_failure_rate is not None:
        missing = counts.missing > 0
        unsafe.append(1.0 if missing else (1.0 - bar.max_failure_rate) ** counts.total)
    if rate is not None and rate < 1.0:
        unsafe.append(binomial_at_most(counts.failed + counts.missing, counts.total, 1.0 - rate))
        worse.append(binomial_at_least(counts.failed, counts.total, 1.0 - rate))
    if has_margin(bar) and pairs is not None and bar.margin is not None:
        margin = bar.margin
        unsafe += [
            p_unsafe_paired(*table, margin, memo) for table in dict.fromkeys((pairs.safe_mean, pairs.safe_flips))
        ]
        worse.append(
            max(
                p_worse_paired(*table, margin, memo)
                for table in dict.fromkeys((pairs.worse_mean, pairs.worse_flips))
            )
        )
    return Assessment(
        challenger,
        counts,
        pairs,
        failed_cases,
        hard,
        block,
        None if block and not hard else max(unsafe, default=None),
        None if block else min(worse, default=None),
        None,
    )


def _count(view: View, runtime: str) -> tuple[Counts, tuple[str, ...]]:
    """Count units by what they say about an absolute bar, and name the cases that failed."""
    if view.plain(runtime):
        found = view.found(runtime)
        failed = found.count("failed")
        names = (
            tuple(case for case, one in zip(view.cases, found, strict=True) if one == "failed") if failed else ()
        )
        passed = found.count("passed")
        return Counts(passed, failed, len(found) - passed - failed), names
    passed = failed = total = 0
    names = ()
    for group in view.groups(runtime):
        total += 1
        outcome = view.unit(group, runtime).found
        if outcome == "passed":
            passed += 1
        elif outcome == "failed":
            failed += 1
            names += group
    return Counts(passed, failed, total - passed - failed), names


def _block(bar: Bar, counts: Counts, not_run: bool, reference: float | None, baseline: str) -> str | None:
    """Return why no verdict is possible, or None when one is."""
    if counts.total == 0:
        return "no case was run"
    if not_run:
        return "it was not run on any of the cases"
    if has_margin(bar):
        if reference is None:
            return f"the reference is missing: {baseline} has no outcome on any of the cases"
        if reference < LEAST_BASELINE_RATE:
            return f"{baseline} is not a usable reference: it passes only {reference:.0%} of the cases itself"
    if absolute_rate(bar) == 1.0 and counts.failed == 0 and counts.missing > 0:
        return (
            f"{counts.missing} of the {counts.total} cases without an outcome (error or not run), "
            "where all must pass"
        )
    return None


def _undecided(observed: bool | None) -> str | None:
    """Return the block of an observed rate that hangs on missing outcomes."""
    return "the observed rate hangs on cases without an outcome" if observed is None else None


def _observed(bar: Bar, counts: Counts, pairs: Pairs | None) -> bool | None:
    """Return whether the observed rates meet the bar; None when that hangs on missing outcomes."""
    rate = absolute_rate(bar)
    at_worst, at_best = True, True
    if rate is not None:
        needed = rate * counts.total - 1e-9
        at_worst &= counts.passed >= needed
        at_best &= counts.passed + counts.missing >= needed
    if has_margin(bar) and pairs is not None and bar.margin is not None:
        at_worst &= _difference(pairs.safe_mean) >= -bar.margin - 1e-9
        at_best &= _difference(pairs.worse_mean) >= -bar.margin - 1e-9
    if at_worst:
        return True
    return None if at_best else False


def _difference(table: PairedTable) -> float:
    """Return the observed difference in pass rate."""
    return (table.improvements - table.regressions) / table.pairs
