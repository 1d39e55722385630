"""Cases of two runtimes, paired."""

from __future__ import annotations

from typing import NamedTuple

from pytest_proofmap.decide.tally import (
    CasePair,
    OutcomeBits,
    PairedTable,
    View,
    flip_table,
    mean_table,
    share_table,
)

__all__ = ["Pairs", "answered_pairs", "pair"]


class Pairs(NamedTuple):
    """The paired tables of a challenger and the baseline."""

    regressed: tuple[str, ...]
    """Cases that the baseline passed and the challenger failed."""
    improved: tuple[str, ...]
    compared: int
    """Pairs in which both sides have an outcome."""
    safe_mean: PairedTable
    """The tables for asking "is it acceptable?", missing outcomes counted against it."""
    safe_flips: PairedTable
    answered: tuple[PairedTable, PairedTable]
    """The same two tables of the pairs in which both sides have an outcome."""
    safe: PairedTable
    """The same question's table of the differences in pass share on the cases alone, without correction."""
    worse: PairedTable
    """The table for asking "is it worse?", missing outcomes counted for it: fractional and on the cases alone."""

    @property
    def total(self) -> int:
        """All pairs, those with a missing outcome included."""
        return self.safe_flips.pairs


def pair(view: View, baseline: str, challenger: str) -> Pairs:
    """Pair a challenger with the baseline on the cases of a view."""
    if view.plain(baseline) and view.plain(challenger):
        return _pair_plain(view, baseline, challenger)
    safe: list[CasePair] = []
    worse: list[CasePair] = []
    answered: list[CasePair] = []
    regressed: list[str] = []
    improved: list[str] = []
    compared = 0
    for group in view.groups(baseline, challenger):
        ours, theirs = view.unit(group, baseline), view.unit(group, challenger)
        sizes = (view.independent(group, baseline), view.independent(group, challenger))
        safe.append(CasePair(ours.share(True), theirs.share(False), *sizes))
        worse.append(CasePair(ours.share(False), theirs.share(True), *sizes))
        before, after = ours.answered_share(), theirs.answered_share()
        if before is not None and after is not None:
            compared += 1
            answered.append(CasePair(before, after, *sizes))
            if after - before <= -0.5 + 1e-9:
                regressed.append(group[0])
            elif after - before >= 0.5 - 1e-9:
                improved.append(group[0])
    return Pairs(
        tuple(regressed),
        tuple(improved),
        compared,
        mean_table(safe),
        flip_table(safe),
        (mean_table(answered), flip_table(answered)),
        share_table(safe),
        share_table(worse),
    )


def _pair_plain(view: View, baseline: str, challenger: str) -> Pairs:
    """Pair single samples."""
    ours, theirs = view.bits(baseline), view.bits(challenger)
    n = len(view.cases)
    every = (1 << n) - 1
    regressed, improved = ours.passed & theirs.failed, ours.failed & theirs.passed
    known = _answered(ours, theirs)
    # What is unknown is taken against the answer that is asked for.
    lost = every & ~ours.failed & ~theirs.passed
    safe = PairedTable(lost.bit_count(), improved.bit_count(), n)
    gained = every & ~ours.passed & ~theirs.failed
    worse = PairedTable(regressed.bit_count(), gained.bit_count(), n)
    return Pairs(
        view.cases_at(regressed),
        view.cases_at(improved),
        known.pairs,
        safe,
        safe,
        (known, known),
        safe,
        worse,
    )


def _answered(ours: OutcomeBits, theirs: OutcomeBits) -> PairedTable:
    """Return the table of the cases that both have an outcome for."""
    both = (ours.passed | ours.failed) & (theirs.passed | theirs.failed)
    regressed, improved = ours.passed & theirs.failed, ours.failed & theirs.passed
    return PairedTable(regressed.bit_count(), improved.bit_count(), both.bit_count())


def answered_pairs(view: View, first: str, second: str) -> tuple[PairedTable, int]:
    """Return the table of the cases that two runtimes both have an outcome for, and how many these are."""
    if view.plain(first) and view.plain(second):
        table = _answered(view.bits(first), view.bits(second))
        return table, table.pairs
    pairs = []
    for group in view.groups(first, second):
        before = view.unit(group, first).answered_share()
        after = view.unit(group, second).answered_share()
        if before is not None and after is not None:
            sizes = (view.independent(group, first), view.independent(group, second))
            pairs.append(CasePair(before, after, *sizes))
    return mean_table(pairs), len(pairs)
