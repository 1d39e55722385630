"""The cases of two artifacts, matched by what they hold.

pytest numbers cases that have no text of their own (``ticket0``, ``ticket1``), so that one put in front renames
all behind it. Two cases are the same where their parametrized values are, or else the requests that they made;
only what has neither in common with any other is matched by its name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from pytest_proofmap.evidence.fingerprint import criterion_parts
from pytest_proofmap.evidence.models import Criterion, Evidence

__all__ = ["named_as_in"]

Traits = Mapping[str, frozenset[object]]
"""By case, what tells it from others."""


def named_as_in(new: Evidence, old: Evidence) -> Evidence:
    """Return an artifact with each of its cases called what another artifact calls it.

    A case that the other one does not have keeps its name, marked where that is another case's by now.
    """
    later = {criterion.id: criterion for criterion in new.criteria}
    common = [criterion for criterion in old.criteria if criterion.id in later]
    if all(_is_settled(criterion, later[criterion.id]) for criterion in common):
        return old
    asked_before, asked_after = _requests(old), _requests(new)
    names = {
        criterion.id: _names(
            _Cases(criterion, asked_before[criterion.id]), _Cases(later[criterion.id], asked_after[criterion.id])
        )
        for criterion in common
    }
    return old.model_copy(
        update={
            "criteria": [_renamed(criterion, names.get(criterion.id, {})) for criterion in old.criteria],
            "samples": [
                sample
                if (name := names.get(sample.criterion, {}).get(sample.case, sample.case)) == sample.case
                else sample.model_copy(update={"case": name})
                for sample in old.samples
            ],
        }
    )


class _Cases(NamedTuple):
    """The cases of one criterion in one artifact."""

    criterion: Criterion
    requests: Traits

    @property
    def names(self) -> list[str]:
        return self.criterion.collected

    @property
    def contents(self) -> Traits:
        return {case: frozenset([digest]) for case, digest in (self.criterion.case_digests or {}).items()}


def _is_settled(before: Criterion, after: Criterion) -> bool:
    """Return whether all cases are the same under the same names."""
    return criterion_parts(before.fingerprint).get("cases") == criterion_parts(after.fingerprint).get("cases")


def _names(before: _Cases, after: _Cases) -> dict[str, str]:
    """Return what the cases of one artifact are called in the other."""
    found: dict[str, str] = {}
    for earlier, later in ((before.contents, after.contents), (before.requests, after.requests)):
        taken = set(found.values())
        open_before = {case: traits for case, traits in earlier.items() if case not in found}
        open_after = {case: traits for case, traits in later.items() if case not in taken}
        found |= _matched(open_before, open_after)
    taken = set(found.values())
    known = set(after.names)
    for case in before.names:
        if case not in found and case in known - taken:
            found[case] = case
            taken.add(case)
    for case in before.names:
        if case not in found:
            name = case
            while name in known or name in taken:
                name += " (before)"
            found[case] = name
            taken.add(name)
    return found


def _matched(before: Traits, after: Traits) -> dict[str, str]:
    """Return the pairs of cases that have in common what no other case of either side has."""
    ours, theirs = _owners(before), _owners(after)
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for trait in ours.keys() & theirs.keys():
        votes[ours[trait]][theirs[trait]] += 1
    pairs: dict[str, str] = {}
    taken: set[str] = set()
    for case in before:
        for other, _ in votes[case].most_common():
            if other not in taken:
                pairs[case] = other
                taken.add(other)
                break
    return pairs


def _owners(traits: Traits) -> dict[object, str]:
    """Return the one case that has each trait; what several have tells none of them."""
    counts = Counter(trait for each in traits.values() for trait in each)
    return {trait: case for case, each in traits.items() for trait in each if counts[trait] == 1}


def _requests(evidence: Evidence) -> defaultdict[str, Traits]:
    """Return by criterion and case what was asked of each runtime under test."""
    asked: defaultdict[str, defaultdict[str, set[object]]] = defaultdict(lambda: defaultdict(set))
    for sample in evidence.samples:
        asked[sample.criterion][sample.case].update(
            (sample.runtime, sample.sample, call.key) for call in sample.calls if call.runtime is None
        )
    found: defaultdict[str, Traits] = defaultdict(dict)
    for criterion, cases in asked.items():
        found[criterion] = {case: frozenset(keys) for case, keys in cases.items()}
    return found


def _renamed(criterion: Criterion, names: Mapping[str, str]) -> Criterion:
    digests = criterion.case_digests
    return criterion.model_copy(
        update={
            "collected": [names.get(case, case) for case in criterion.collected],
            "case_digests": digests and {names.get(case, case): digest for case, digest in digests.items()},
        }
    )
