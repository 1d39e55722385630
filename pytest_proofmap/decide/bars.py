"""One challenger against one bar: what the counts are and how surely they speak for or against it.

A missing outcome never helps the answer that is asked for: when asking "is it acceptable?", an error or a
missing sample of the challenger counts as failed and one of the baseline as passed; when asking "is it
worse?", the other way round. Dropping such cases instead would promote models that fail where it is hard to
answer at all.

The largest loss of pass rate that paired cases leave possible.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.pairing import Pairs, pair
from pytest_proofmap.decide.reasons import Reason
from pytest_proofmap.decide.stats.binomial import binomial_at_least, binomial_at_most, normal_quantile
from pytest_proofmap.decide.stats.paired import EXACT_LIMIT, GAMMA, Memo, p_unsafe_paired, p_worse_paired
from pytest_proofmap.decide.stats.tango import tango_bound, tango_z
from pytest_proofmap.decide.tally import PairedTable, View
from pytest_proofmap.evidence.models import Bar

__all__ = [
    "LEAST_BASELINE_RATE",
    "Assessment",
    "absolute_rate",
    "assess",
    "baseline_rate",
    "has_margin",
    "is_observed",
    "loss_bound",
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
    blocks: tuple[Reason, ...]
    """Why no verdict is possible; the first is what the verdict says."""
    p_unsafe: float | None
    p_worse: float | None
    observed: bool | None
    """With confidence 0: whether the observed rate meets the bar (None: it hangs on missing outcomes)."""
    p_better: float | None
    """Where the baseline is no reference: the p-value of "not better than the baseline"."""
    spent: float = 1.0
    """How many times a p-value counts because looks share the error."""

    @property
    def family_p(self) -> float:
        """The p-value that takes part in corrections: 1 for whoever can't be accepted anyway."""
        if self.hard_failure or self.blocks or self.observed is not None:
            return 1.0
        # No failure rate is tolerated and none was seen: nothing is left to chance.
        return 0.0 if self.p_unsafe is None else min(1.0, self.spent * self.p_unsafe)

    def is_worse(self, alpha: float) -> bool:
        """Return whether it is shown not to be acceptable."""
        return self.p_worse is not None and self.spent * self.p_worse <= alpha

    def without_figures(self) -> Assessment:
        """Return it without p-values: they say nothing where a verdict is blocked."""
        return self._replace(p_unsafe=1.0 if self.hard_failure else None, p_worse=None, p_better=None)

    def lifted(self) -> Assessment:
        """Return it without the block of a baseline that is no reference, of a challenger shown to be better."""
        return self._replace(
            blocks=tuple(block for block in self.blocks if block.code != "reference_unusable"), p_better=None
        )


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
    """Return the baseline's mean share of passed samples over its answered cases; None without an outcome.

    An error is no miss of the baseline: it asks for a rerun and makes nobody an unusable reference.
    """
    reference = _reference(view, baseline)
    return reference.passed / reference.answered if reference.answered else None


class _Reference(NamedTuple):
    """What the baseline did, as a reference."""

    passed: float
    """Sum of the pass shares of the answered cases."""
    answered: int
    errors: int


def _reference(view: View, baseline: str) -> _Reference:
    if view.plain(baseline):
        found = view.found(baseline)
        passed = found.count("passed")
        return _Reference(passed, passed + found.count("failed"), found.count("error"))
    units = [view.unit(group, baseline) for group in view.groups(baseline)]
    shares = [share for unit in units if (share := unit.answered_share()) is not None]
    return _Reference(math.fsum(shares), len(shares), sum(1 for unit in units if unit.rows) - len(shares))


def assess(
    bar: Bar,
    view: View,
    challenger: str,
    baseline: str,
    memo: Memo | None = None,
    *,
    reference_view: View | None = None,
    gamma: float = GAMMA,
    blocks: Sequence[Reason] = (),
) -> Assessment:
    """Assess one challenger on the cases of a view, before any correction for several challengers.

    Args:
        bar: The criterion's bar.
        view: The cases that the challenger was asked.
        challenger: Name of the challenger.
        baseline: Name of the baseline.
        memo: Where p-values are kept.
        reference_view: The cases that the baseline was asked, if these are more.
        gamma: The share of the error that pays for restricting the nuisance parameter of paired tests.
        blocks: What blocks a verdict beside what is found here; it comes first.
    """
    counts, failed_cases = _count(view, challenger)
    reference = _reference(reference_view or view, baseline)
    pairs = pair(view, baseline, challenger) if reference.answered else None
    # What a broken test reports as failed is nobody's failure.
    broken = any(block.code == "tests_broken" for block in blocks)
    hard = absolute_rate(bar) == 1.0 and counts.failed > 0 and not broken
    found = Assessment(challenger, counts, pairs, failed_cases, hard, (), None, None, None, None)
    blocks = (*blocks, *_blocks(bar, view, found, reference, baseline))
    if is_observed(bar):
        observed = None if blocks else _observed(bar, counts, pairs)
        if observed is None and not blocks:
            blocks = (Reason("missing_outcomes", "the observed rate hangs on cases without an outcome"),)
        return found._replace(blocks=tuple(blocks), observed=observed)
    unsafe, worse = _p_values(bar, found, memo, gamma)
    found = found._replace(blocks=tuple(blocks), p_unsafe=unsafe, p_worse=worse)
    if not blocks:
        return found
    if hard or pairs is None or [block.code for block in blocks] != ["reference_unusable"]:
        return found.without_figures()
    tables = dict.fromkeys((pairs.safe_mean, pairs.safe_flips))
    better = max(p_unsafe_paired(*table, 0.0, memo, gamma) for table in tables)
    return found._replace(p_better=better)


def _p_values(
    bar: Bar, assessment: Assessment, memo: Memo | None, gamma: float
) -> tuple[float | None, float | None]:
    """Return the p-values of "not acceptable" and of "acceptable".

    Where two bars must hold, either may fail: the challenger is as unsafe as on the worse of them, and two tests
    for "worse" share the error by Bonferroni's inequality.
    """
    counts, pairs, rate = assessment.counts, assessment.pairs, absolute_rate(bar)
    unsafe: list[float] = []
    worse: list[float] = []
    if assessment.hard_failure:
        unsafe.append(1.0)
    elif rate == 1.0 and bar.max_failure_rate is not None:
        unsafe.append(1.0 if counts.missing else (1.0 - bar.max_failure_rate) ** counts.total)
    if rate is not None and rate < 1.0:
        unsafe.append(binomial_at_most(counts.failed + counts.missing, counts.total, 1.0 - rate))
        worse.append(binomial_at_least(counts.failed, counts.total, 1.0 - rate))
    if has_margin(bar) and pairs is not None and bar.margin is not None:
        unsafe += [
            p_unsafe_paired(*table, bar.margin, memo, gamma)
            for table in dict.fromkeys((pairs.safe_mean, pairs.safe_flips))
        ]
        worse.append(p_worse_paired(*pairs.worse, bar.margin, memo, gamma))
    return (
        max(unsafe, default=None),
        min(1.0, len(worse) * min(worse)) if worse else None,
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


def _blocks(
    bar: Bar, view: View, assessment: Assessment, reference: _Reference, baseline: str
) -> Iterator[Reason]:
    """Yield why no verdict is possible, as far as the outcomes themselves say so."""
    counts = assessment.counts
    if counts.total == 0:
        yield Reason("no_cases", "no case was run")
    elif all(outcome == "missing" for outcome in view.found(assessment.challenger)):
        yield Reason("not_run", "it was not run on any of the cases")
    elif has_margin(bar):
        yield from _reference_blocks(bar, reference, baseline)
    if counts.total and absolute_rate(bar) == 1.0 and counts.failed == 0 and counts.missing > 0:
        yield Reason(
            "missing_outcomes",
            f"{counts.missing} of the {counts.total} cases without an outcome (error or not run), "
            "where all must pass",
        )


def _reference_blocks(bar: Bar, reference: _Reference, baseline: str) -> Iterator[Reason]:
    """Yield what makes the baseline no reference for a margin."""
    assert bar.margin is not None
    errors = f"{reference.errors} case{'s' * (reference.errors != 1)}"
    if not reference.answered:
        text = f"the reference is missing: {baseline} has no outcome on any of the cases"
        if reference.errors:
            text += f" (it gave an error on {errors}: rerun them)"
        yield Reason("reference_missing", text)
    elif reference.passed < LEAST_BASELINE_RATE * reference.answered - 1e-9:
        text = (
            f"the baseline {baseline} passes {reference.passed:.4g} of {reference.answered} and is no reference "
            f"for a margin of {100.0 * bar.margin:g} points"
        )
        if reference.errors:
            text += f"; it gave an error on {errors} more: rerun them"
        yield Reason("reference_unusable", text)


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
        at_best &= _difference(pairs.worse) >= -bar.margin - 1e-9
    if at_worst:
        return True
    return None if at_best else False


def _difference(table: PairedTable) -> float:
    """Return the observed difference in pass rate."""
    return (table.improvements - table.regressions) / table.pairs


def loss_bound(b: float, c: float, n: int, margin: float, level: float, p_unsafe: float | None = None) -> float:
    """Return the loss that b regressions and c improvements in n pairs cannot exclude at the level.

    Without disagreement the exact test can be turned round in closed form. With it the score statistic is,
    after shifting it so that it agrees with the exact p-value at the margin: so the bound is beyond the
    margin exactly when the p-value is above the level.

    Args:
        b: Regressions.
        c: Improvements.
        n: Pairs.
        margin: The tolerated loss.
        level: The p-value that would exclude a loss.
        p_unsafe: The p-value at the margin; None: do not shift.

    Returns:
        A loss in [0, 1].
    """
    if n <= 0:
        return 1.0
    if b == 0 == c and n <= EXACT_LIMIT and level > GAMMA:
        return 1.0 - float((level - GAMMA) ** (1.0 / n))
    target = normal_quantile(1.0 - level)
    if p_unsafe is not None and 0.0 < p_unsafe < 1.0:
        target += tango_z(b, c, n, -margin) - normal_quantile(1.0 - p_unsafe)
    loss = -tango_bound(b, c, n, target, -1.0, 1.0)
    if p_unsafe is not None:
        loss = max(loss, math.nextafter(margin, 1.0)) if p_unsafe > level else min(loss, margin)
    return min(1.0, max(0.0, loss))
