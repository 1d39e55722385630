"""How pass rates, cost and latency of the same runtimes moved between two artifacts.

A pass rate is compared case by case on the cases that a runtime answered in both artifacts: the exact test of
McNemar says whether more cases changed sides one way than chance explains, Tango's score interval how far the rate
moved. Cost is a ratio of totals over the same cases, latency the median of the ratios case by case. Each measure
spends its error of 5 % once over all of its lines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from pytest_proofmap.decide.binomial import Interval, binomial_at_least
from pytest_proofmap.decide.economics import compare
from pytest_proofmap.decide.observation import observe
from pytest_proofmap.decide.pairing import answered_pairs, pair
from pytest_proofmap.decide.ratios import Ratio
from pytest_proofmap.decide.repeated import PairedTable
from pytest_proofmap.decide.tally import CriterionTally, View
from pytest_proofmap.decide.tango import tango_interval
from pytest_proofmap.evidence.fingerprint import changed_parts
from pytest_proofmap.evidence.models import Evidence

__all__ = ["ALPHA", "RateDrift", "RatioDrift", "RatioDrifts", "measured_twice", "rate_drifts", "ratio_drifts"]

ALPHA = 0.05
"""The error that each measure (pass rate, cost, latency) may spend over all of its lines."""


_UNCHANGED = 1e-9
_OLD, _NEW = "old", "new"


class RateDrift(NamedTuple):
    """How a runtime's pass rate moved, on the cases that it answered in both artifacts."""

    runtime: str
    criterion: str | None
    """None: over all criteria that both artifacts have."""
    old: float
    new: float
    difference: float
    """New less old."""
    interval: Interval
    """Tango's score interval of the difference."""
    confidence: float
    """Of the interval and of the test."""
    p_value: float
    """Two-sided, of the exact test of McNemar."""
    cases: int
    regressed: tuple[str, ...]
    """Cases that passed and now fail, with their criterion where there are several."""
    improved: tuple[str, ...]
    changed: tuple[str, ...]
    """What is not the same any more: ``runtime``, or the ``source`` or ``cases`` of a criterion."""

    @property
    def beyond_chance(self) -> bool:
        """Whether chance does not explain the difference."""
        return self.p_value <= 1.0 - self.confidence

    @property
    def dropped(self) -> bool:
        """Whether the rate fell, beyond chance."""
        return self.beyond_chance and self.difference < 0.0


class RatioDrift(NamedTuple):
    """How a runtime's cost or latency moved, on the cases that it answered in both artifacts."""

    runtime: str
    ratio: float | None
    """New divided by old: above 1 is dearer or slower; None when it is unknown."""
    interval: Interval | None
    confidence: float
    cases: int
    unknown: str | None = None
    """Why there is no ratio, in words."""

    @property
    def beyond_interval(self) -> bool:
        """Whether the interval excludes that nothing changed."""
        if self.interval is None:
            return False
        return self.interval.low > 1.0 + _UNCHANGED or self.interval.high < 1.0 - _UNCHANGED


class RatioDrifts(NamedTuple):
    """How cost and latency moved."""

    costs: list[RatioDrift]
    latencies: list[RatioDrift]


Measured = dict[str, dict[str, View]]
"""By runtime and criterion the cases of two artifacts, as if the two were two runtimes."""


def measured_twice(old: Evidence, new: Evidence) -> Measured:
    """Return by runtime and criterion the cases of both artifacts, as if the two were two runtimes."""
    ids = [criterion.id for criterion in old.criteria]
    common = {criterion.id for criterion in new.criteria} & set(ids)
    tallies: defaultdict[str, dict[str, CriterionTally]] = defaultdict(dict)
    for label, evidence in ((_OLD, old), (_NEW, new)):
        repeated = {criterion.id for criterion in evidence.criteria if criterion.bar.samples > 1}
        for row in observe(evidence.samples, repeated):
            if row.criterion in common:
                counted = tallies[row.runtime].setdefault(row.criterion, CriterionTally(row.criterion))
                counted.add(row._replace(runtime=label))
    names = dict.fromkeys((*old.runtimes, *new.runtimes))
    return {
        name: {criterion: tallies[name][criterion].view(None) for criterion in ids if criterion in tallies[name]}
        for name in names
        if name in tallies
    }


class _Compared(NamedTuple):
    """The paired outcomes of a runtime on a criterion."""

    table: PairedTable
    cases: int
    old: float
    """Sum of the pass shares of the cases."""
    new: float
    regressed: tuple[str, ...]
    improved: tuple[str, ...]


def rate_drifts(measured: Measured, old: Evidence, new: Evidence) -> list[RateDrift]:
    """Return each runtime's rate over all criteria, then on each where there are several.

    Half of the error is for the rates over all criteria, so that many criteria do not drown them.
    """
    compared = {
        runtime: {criterion: one for criterion, view in views.items() if (one := _compared(view)) is not None}
        for runtime, views in measured.items()
    }
    compared = {runtime: found for runtime, found in compared.items() if found}
    single = sum(len(found) for found in compared.values() if len(found) > 1)
    pooled_level = (ALPHA / 2.0 if single else ALPHA) / max(1, len(compared))
    single_level = ALPHA / 2.0 / max(1, single)
    reconfigured = {
        name
        for name, info in old.runtimes.items()
        if name in new.runtimes and new.runtimes[name].fingerprint != info.fingerprint
    }
    rewritten = _rewritten(old, new)
    rates = []
    for runtime, found in compared.items():
        own = ("runtime",) if runtime in reconfigured else ()
        parts = {part for criterion in found for part in rewritten[criterion]}
        whole = _pooled(found)
        rates.append(_rate(runtime, None, whole, pooled_level, (*own, *sorted(parts))))
        if len(found) > 1:
            rates += [
                _rate(runtime, criterion, one, single_level, (*own, *rewritten[criterion]))
                for criterion, one in found.items()
            ]
    return rates


def _compared(view: View) -> _Compared | None:
    """Return what became of the cases that have an outcome on both sides, or None without any."""
    table, cases = answered_pairs(view, _OLD, _NEW)
    if not cases:
        return None
    before = after = 0.0
    for group in view.groups(_OLD, _NEW):
        ours = view.unit(group, _OLD).answered_share()
        theirs = view.unit(group, _NEW).answered_share()
        if ours is not None and theirs is not None:
            before += ours
            after += theirs
    pairs = pair(view, _OLD, _NEW)
    return _Compared(table, cases, before, after, pairs.regressed, pairs.improved)


def _pooled(found: dict[str, _Compared]) -> _Compared:
    """Return the outcomes over several criteria, the cases named with theirs."""

    def named(pick: Callable[[_Compared], tuple[str, ...]]) -> tuple[str, ...]:
        if len(found) == 1:
            return pick(*found.values())
        return tuple(f"{criterion}[{case}]" for criterion, one in found.items() for case in pick(one))

    tables = [one.table for one in found.values()]
    return _Compared(
        PairedTable(
            sum(table.regressions for table in tables),
            sum(table.improvements for table in tables),
            sum(table.pairs for table in tables),
        ),
        sum(one.cases for one in found.values()),
        sum(one.old for one in found.values()),
        sum(one.new for one in found.values()),
        named(lambda one: one.regressed),
        named(lambda one: one.improved),
    )


def _rate(
    runtime: str, criterion: str | None, found: _Compared, level: float, changed: tuple[str, ...]
) -> RateDrift:
    b, c, n = found.table
    moved = b + c
    p_value = min(1.0, 2.0 * binomial_at_least(max(b, c), moved, 0.5)) if moved else 1.0
    return RateDrift(
        runtime,
        criterion,
        found.old / found.cases,
        found.new / found.cases,
        (found.new - found.old) / found.cases,
        tango_interval(b, c, n, 1.0 - level),
        1.0 - level,
        p_value,
        found.cases,
        found.regressed,
        found.improved,
        changed,
    )


def _rewritten(old: Evidence, new: Evidence) -> dict[str, tuple[str, ...]]:
    """Return by criterion which parts of what its outcomes mean are not the same any more."""
    after = {criterion.id: criterion.fingerprint for criterion in new.criteria}
    return {
        criterion.id: tuple(
            part for part in changed_parts(criterion.fingerprint, after[criterion.id]) if part != "bar"
        )
        for criterion in old.criteria
        if criterion.id in after
    }


def ratio_drifts(measured: Measured) -> RatioDrifts:
    """Return how cost and latency moved for each runtime that answered a case in both artifacts."""
    views = {
        runtime: answered
        for runtime, by_criterion in measured.items()
        if (answered := [view for view in by_criterion.values() if _answered_twice(view)])
    }
    confidence = 1.0 - ALPHA / max(1, len(views))
    moved = RatioDrifts([], [])
    for runtime, answered in views.items():
        found = compare(answered, _NEW, _OLD, confidence)
        moved.costs.append(_ratio(found.cost, runtime, confidence, "a price is unknown, or nothing was paid"))
        # What is withheld there is called a speed-up; here it may be either.
        why = (found.speed_withheld or "no latency is known").removeprefix("the speed-up is withheld: ")
        moved.latencies.append(_ratio(found.speed, runtime, confidence, why))
    return moved


def _answered_twice(view: View) -> bool:
    known = ("passed", "failed")
    return any(
        before in known and after in known
        for before, after in zip(view.found(_OLD), view.found(_NEW), strict=True)
    )


def _ratio(ratio: Ratio | None, runtime: str, confidence: float, unknown: str) -> RatioDrift:
    if ratio is None:
        return RatioDrift(runtime, None, None, confidence, 0, unknown)
    return RatioDrift(runtime, ratio.estimate, ratio.interval, confidence, ratio.cases)
