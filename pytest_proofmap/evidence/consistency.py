"""Whether the parts of an artifact name each other rightly, so that nobody who reads it need ask again."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from pytest_proofmap.evidence.models import Criterion, Objective, Sample

__all__ = ["Sampled", "find_inconsistency"]


@dataclass(slots=True)
class Sampled:
    """What samples are of: no more than must be remembered of millions of them."""

    runtimes: set[tuple[str, str]] = field(default_factory=set)
    """Criterion and runtime."""
    cases: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Cases by criterion."""
    last: dict[str, int] = field(default_factory=dict)
    """The highest number of a sample, by criterion."""

    def add(self, sample: Sample) -> None:
        """Take in a sample."""
        criterion = sys.intern(sample.criterion)
        self.runtimes.add((criterion, sys.intern(sample.runtime)))
        self.cases[criterion].add(sys.intern(sample.case))
        self.last[criterion] = max(sample.sample, self.last.get(criterion, 0))


class _Reference(NamedTuple):
    place: str
    name: str


def find_inconsistency(
    objectives: Sequence[Objective],
    criteria: Sequence[Criterion],
    runtimes: Collection[str],
    sampled: Sampled,
) -> str | None:
    """Return what a part of some evidence names that is not there, or what is there twice; None if all is well.

    Args:
        objectives: The objectives.
        criteria: The criteria.
        runtimes: Names of the runtimes.
        sampled: What the samples are of.
    """
    names, ids = [each.name for each in objectives], [each.id for each in criteria]
    for kind, found in (("objective", names), ("criterion", ids)):
        if len(set(found)) < len(found):
            return f"the {kind} {next(each for each in found if found.count(each) > 1)!r} is there twice"
    # Without criteria nothing is decided, and the samples are read for their calls alone.
    seen = sorted(sampled.runtimes) if criteria else []
    owners = (_Reference(f"criterion {each.id!r}", each.objective) for each in criteria)
    tested = (_Reference("a sample", criterion) for criterion, _ in seen)
    used = (_Reference("a sample", runtime) for _, runtime in seen)
    checks: tuple[tuple[str, Collection[str], Iterable[_Reference]], ...] = (
        ("objective", set(names), owners),
        ("criterion", set(ids), chain(_criteria_named(objectives), tested)),
        ("runtime", set(runtimes), chain(_runtimes_named(objectives, criteria), used)),
    )
    for kind, known, references in checks:
        for reference in references:
            if reference.name not in known:
                return f"{reference.place} names the {kind} {reference.name!r}, which is not there"
    return _strayed(objectives, criteria) or _outsider(objectives, criteria) or _never_collected(criteria, sampled)


def _never_collected(criteria: Iterable[Criterion], sampled: Sampled) -> str | None:
    """Return a sample that no run of a criterion's collected cases can hold: it would be counted all the same."""
    for criterion in criteria:
        phantoms = sampled.cases[criterion.id].difference(criterion.collected)
        if phantoms:
            more = f" and {len(phantoms) - 1} more" if len(phantoms) > 1 else ""
            return (
                f"a sample is of the case {min(phantoms)!r}{more} of {criterion.id!r}, which was not among its "
                f"{len(criterion.collected)} collected cases"
            )
        if sampled.last.get(criterion.id, 0) >= criterion.bar.samples:
            return (
                f"a sample of {criterion.id!r} has the number {sampled.last[criterion.id]}, where each case is "
                f"sampled {criterion.bar.samples} times, counted from 0"
            )
    return None


def _outsider(objectives: Iterable[Objective], criteria: Sequence[Criterion]) -> str | None:
    """Return what verdicts, recommendations or criteria say of a runtime that their objective does not have."""
    for objective in objectives:
        members = {objective.baseline, *objective.challengers}
        own = [each for each in criteria if each.objective == objective.name]
        named = {verdict.runtime for verdict in objective.verdicts}
        named |= {name for found in objective.recommendations for name in found.chain}
        named |= {name for each in own for name in (*each.challengers, *(cell.runtime for cell in each.cells))}
        if named - members:
            return (
                f"objective {objective.name!r} speaks of {min(named - members)!r}, which is not among its runtimes"
            )
    return None


def _strayed(objectives: Iterable[Objective], criteria: Iterable[Criterion]) -> str | None:
    """Return a criterion that its objective does not list, or the reverse."""
    listed = {(each.name, criterion) for each in objectives for criterion in each.criteria}
    owned = {(each.objective, each.id) for each in criteria}
    stray = next(iter(sorted(listed ^ owned)), None)
    return (
        None if stray is None else f"objective {stray[0]!r} and criterion {stray[1]!r} do not both name each other"
    )


def _criteria_named(objectives: Iterable[Objective]) -> Iterator[_Reference]:
    for objective in objectives:
        for name in objective.criteria:
            yield _Reference(f"objective {objective.name!r}", name)


def _runtimes_named(objectives: Iterable[Objective], criteria: Iterable[Criterion]) -> Iterator[_Reference]:
    for objective in objectives:
        chains = (name for recommendation in objective.recommendations for name in recommendation.chain)
        verdicts = (verdict.runtime for verdict in objective.verdicts)
        for name in (objective.baseline, *objective.challengers, *verdicts, *chains):
            yield _Reference(f"objective {objective.name!r}", name)
    for criterion in criteria:
        for name in (*criterion.challengers, *(cell.runtime for cell in criterion.cells)):
            yield _Reference(f"criterion {criterion.id!r}", name)
