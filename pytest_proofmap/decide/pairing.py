"""Cases of two runtimes, paired."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from pytest_proofmap.decide.repeated import CasePair, PairedTable, flip_table, mean_table, share_table
from pytest_proofmap.decide.tally import View

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
    """Pair single samples, by counting combinations of outcomes."""
    ours, theirs = view.found(baseline), view.found(challenger)
    seen = Counter(zip(ours, theirs, strict=True))
    n = len(ours)
    unknown = ("error", "missing")
    safe = [0, 0]
    worse = [0, 0]
    compared = 0
    for (before, after), number in seen.items():
        if before not in unknown and after not in unknown:
            compared += number
        # What is unknown is taken against the answer that is asked for.
        passes = (before != "failed", after == "passed")
        safe[0] += number * (passes[0] and not passes[1])
        safe[1] += number * (passes[1] and not passes[0])
        passes = (before == "passed", after != "failed")
        worse[0] += number * (passes[0] and not passes[1])
        worse[1] += number * (passes[1] and not passes[0])
    pairs = list(zip(view.cases, ours, theirs, strict=True))
    safe_table, worse_table = PairedTable(safe[0], safe[1], n), PairedTable(worse[0], worse[1], n)
    regressed = tuple(case for case, before, after in pairs if after == "failed" and before == "passed")
    improved = tuple(case for case, before, after in pairs if after == "passed" and before == "failed")
    known = PairedTable(len(regressed), len(improved), compared)
    return Pairs(
        regressed,
        improved,
        compared,
        safe_table,
        safe_table,
        (known, known),
        safe_table,
        worse_table,
    )


def answered_pairs(view: View, first: str, second: str) -> tuple[PairedTable, int]:
    """Return the table of the cases that two runtimes both have an outcome for, and how many these are."""
    if view.plain(first) and view.plain(second):
        seen = Counter(zip(view.found(first), view.found(second), strict=True))
        regressions, improvements = seen["passed", "failed"], seen["failed", "passed"]
        n = regressions + improvements + seen["passed", "passed"] + seen["failed", "failed"]
        return PairedTable(regressions, improvements, n), n
    pairs = []
    for group in view.groups(first, second):
        before = view.unit(group, first).answered_share()
        after = view.unit(group, second).answered_share()
        if before is not None and after is not None:
            sizes = (view.independent(group, first), view.independent(group, second))
            pairs.append(CasePair(before, after, *sizes))
    return mean_table(pairs), len(pairs)
