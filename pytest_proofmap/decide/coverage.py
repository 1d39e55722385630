"""What one artifact covers that another does not: objectives, criteria, slices, runtimes, cases and answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from pytest_proofmap.evidence.models import Criterion, Evidence, Objective, RunInfo, Sample

__all__ = ["Gap", "GapKind", "gaps", "selected_samples", "whole_criteria"]

GapKind = Literal["objective", "criterion", "slice", "runtime", "cases", "answers"]


class Gap(NamedTuple):
    """Something that one artifact covers and the other does not."""

    kind: GapKind
    name: str
    """Of the objective, criterion, slice or runtime; of the criterion for cases and answers."""
    criterion: str | None = None
    """The criterion that lacks a slice or a runtime; None: all that both artifacts have lack it."""
    runtime: str | None = None
    """The runtime that answered."""
    cases: tuple[str, ...] = ()
    unavailable: int = 0
    """How many of the cases were asked and gave no usable answer."""


class _Covered:
    """What the samples of a criterion cover."""

    def __init__(self) -> None:
        self.cases: dict[str, None] = {}
        self.slices: set[str] = set()
        self.answered: defaultdict[str, dict[str, None]] = defaultdict(dict)
        """Cases with an outcome, by runtime."""
        self.spared: defaultdict[str, set[str]] = defaultdict(set)
        """Cases that adaptive sampling left out, by runtime."""
        self.failing: defaultdict[str, set[str]] = defaultdict(set)
        """Cases with an error, by runtime."""

    def add(self, sample: Sample) -> None:
        if sample.spared:
            self.spared[sample.runtime].add(sample.case)
        elif sample.outcome == "error":
            self.failing[sample.runtime].add(sample.case)
        elif sample.outcome != "skipped":
            self.cases[sample.case] = None
            self.answered[sample.runtime][sample.case] = None
            if sample.slice is not None:
                self.slices.add(sample.slice)


def whole_criteria(
    run: RunInfo,
    criteria: Sequence[Criterion],
    objectives: Sequence[Objective],
    selected: Iterable[tuple[str, str]],
) -> set[str]:
    """Return the criteria that a run collected and selected whole: every sample of every case on every runtime.

    Args:
        run: What the run was.
        criteria: Its criteria.
        objectives: Its objectives.
        selected: Criterion and runtime of each sample that was not left out.
    """
    if run.complete:
        return {criterion.id for criterion in criteria}
    roles = {objective.name: objective for objective in objectives}
    counts = Counter(selected)
    return {
        criterion.id
        for criterion in criteria
        if (objective := roles.get(criterion.objective)) is not None
        and all(
            counts[criterion.id, name] >= len(criterion.collected) * criterion.bar.samples
            for name in (objective.baseline, *(criterion.challengers or objective.challengers))
        )
    }


def selected_samples(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Yield criterion and runtime of each sample, without those that the budget left out."""
    for sample in evidence.samples:
        if not any(call.error is not None and call.error.class_ == "BudgetError" for call in sample.calls):
            yield sample.criterion, sample.runtime


def gaps(old: Evidence, new: Evidence) -> Iterator[Gap]:
    """Yield what ``old`` covers and ``new`` lacks; the cases and runtimes of a criterion that is gone go with it.

    A case that adaptive sampling left out is not lost: the rule had decided without it. Of an incomplete run only
    the criteria that it selected whole say what is lost: the rest of it was left out on purpose.
    """
    kept = {objective.name for objective in new.objectives}
    collected = {criterion.id: set(criterion.collected) for criterion in new.criteria}
    if new.run.complete:
        for objective in old.objectives:
            if objective.name not in kept:
                yield Gap("objective", objective.name)
        for criterion in old.criteria:
            if criterion.id not in collected:
                yield Gap("criterion", criterion.id)
    before, after = _covered(old), _covered(new)
    whole = whole_criteria(new.run, new.criteria, new.objectives, selected_samples(new))
    common = [criterion.id for criterion in old.criteria if criterion.id in whole]
    gone = _runtimes(before, common) - _present(after, common)
    for name in sorted(gone):
        yield Gap("runtime", name)
    for criterion_id in common:
        yield from _within(criterion_id, before[criterion_id], after[criterion_id], collected[criterion_id], gone)


def _covered(evidence: Evidence) -> defaultdict[str, _Covered]:
    covered: defaultdict[str, _Covered] = defaultdict(_Covered)
    for sample in evidence.samples:
        covered[sample.criterion].add(sample)
    return covered


def _runtimes(covered: defaultdict[str, _Covered], criteria: list[str]) -> set[str]:
    return {runtime for criterion in criteria for runtime in covered[criterion].answered}


def _present(covered: defaultdict[str, _Covered], criteria: list[str]) -> set[str]:
    """Return the runtimes that were asked at all: one that only gave errors is there, and its answers are lost."""
    return {runtime for criterion in criteria for runtime in _asked(covered[criterion])}


def _asked(covered: _Covered) -> set[str]:
    return {*covered.answered, *covered.failing, *covered.spared}


def _within(
    criterion: str, before: _Covered, after: _Covered, collected: set[str], gone: set[str]
) -> Iterator[Gap]:
    """Yield the gaps of a criterion that both artifacts have."""
    cases = tuple(case for case in before.cases if case not in collected and case not in after.cases)
    if cases:
        yield Gap("cases", criterion, cases=cases)
    for name in sorted(before.slices - after.slices):
        yield Gap("slice", name, criterion)
    for runtime, answered in before.answered.items():
        if runtime in gone:
            continue
        if runtime not in _asked(after):
            yield Gap("runtime", runtime, criterion)
            continue
        has = after.answered[runtime].keys() | after.spared[runtime] | set(cases)
        unanswered = tuple(case for case in answered if case not in has)
        if unanswered:
            failing = sum(case in after.failing[runtime] for case in unanswered)
            yield Gap("answers", criterion, runtime=runtime, cases=unanswered, unavailable=failing)
