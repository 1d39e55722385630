"""Observations counted by criterion, runtime and case.

The case is the sampling unit. Cases that asked a runtime for exactly the same thing are one unit there, and a
case whose repeated answers are all the same counts as one sample.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pytest_proofmap.decide.observation import Observation

__all__ = ["CaseTally", "CriterionTally", "Found", "View", "tally"]

Found = Literal["passed", "failed", "error", "missing"]
"""What is known of a unit on a runtime: its outcome, or that there is none."""


class CaseTally:
    """What one runtime did on one case, or on several that are one unit."""

    __slots__ = ("errors", "failed", "passed", "rows", "skipped", "spared")

    def __init__(self) -> None:
        self.passed = self.failed = self.errors = self.skipped = 0
        self.spared = False
        """Whether adaptive sampling left it out."""
        self.rows: list[Observation] = []
        """The samples that were not skipped."""

    def add(self, row: Observation) -> None:
        """Count one more sample."""
        outcome = row.outcome
        if outcome == "passed":
            self.passed += 1
        elif outcome == "failed":
            self.failed += 1
        elif outcome == "error":
            self.errors += 1
        else:
            self.skipped += 1
            self.spared = self.spared or row.spared
            return
        self.rows.append(row)

    @property
    def found(self) -> Found:
        """The unit's outcome: it passes when all its samples pass."""
        if self.failed:
            return "failed"
        if self.errors:
            return "error"
        return "passed" if self.passed else "missing"

    @property
    def request(self) -> tuple[tuple[int, str], ...] | None:
        """All that was asked for, in the order of samples; None when a part is unknown."""
        if len(self.rows) == 1:
            only = self.rows[0]
            return None if only.request_digest is None else ((only.sample, only.request_digest),)
        known = [(row.sample, row.request_digest) for row in self.rows if row.request_digest is not None]
        return tuple(sorted(known)) if known and len(known) == len(self.rows) else None

    @property
    def latencies(self) -> list[float]:
        """Latencies of the samples that have an answer, in seconds."""
        return [row.latency_s for row in self.rows if row.latency_s is not None and row.outcome != "error"]

    @property
    def concurrencies(self) -> list[int]:
        """Concurrency at which the samples with a latency were made."""
        return [row.concurrency for row in self.rows if row.concurrency is not None and row.latency_s is not None]

    @property
    def cost_per_sample(self) -> float | None:
        """Mean cost of a sample, or None when it is unknown."""
        costs = [row.cost_usd for row in self.rows if row.cost_usd is not None]
        return sum(costs) / len(costs) if costs and len(costs) == len(self.rows) else None

    @property
    def independent_samples(self) -> int:
        """Samples that tell something new: one when all answers were byte-identical."""
        answers = {row.answer_digest for row in self.rows if row.outcome != "error"}
        if len(answers) == 1 and None not in answers:
            return 1
        return max(1, len(self.rows))

    def share(self, error_passes: bool) -> float:
        """Return the share of samples that passed; a missing unit counts as errors do."""
        if not self.rows:
            return 1.0 if error_passes else 0.0
        return (self.passed + (self.errors if error_passes else 0)) / len(self.rows)

    def answered_share(self) -> float | None:
        """Return the share of samples with an outcome that passed, or None when there is none."""
        answered = self.passed + self.failed
        return self.passed / answered if answered else None


class CriterionTally:
    """All that was observed of one criterion."""

    def __init__(self, criterion: str, collected: Sequence[str] = ()) -> None:
        """Start with nothing observed.

        Args:
            criterion: Id of the criterion.
            collected: Its case ids in the order of collection.
        """
        self.criterion = criterion
        self.runtimes: dict[str, dict[str, CaseTally]] = {}
        self._slice_of: dict[str, str | None] = dict.fromkeys(collected)
        self._observed: set[str] = set()
        self._views: dict[str | None, View] = {}
        self._repeats: dict[str, dict[str, str]] = {}

    def add(self, row: Observation) -> None:
        """Count one more observation."""
        cases = self.runtimes.get(row.runtime)
        if cases is None:
            cases = self.runtimes[row.runtime] = {}
        case = cases.get(row.case)
        if case is None:
            case = cases[row.case] = CaseTally()
            self._observed.add(row.case)
            if row.slice is not None or row.case not in self._slice_of:
                self._slice_of[row.case] = row.slice
        case.add(row)

    def slices(self) -> list[str]:
        """Return the names of the criterion's slices, sorted; none when it has no slices."""
        return sorted({name for name in self._slice_of.values() if name is not None})

    def view(self, slice_name: str | None) -> View:
        """Return the cases of a slice (None: all cases). Nothing may be added afterwards."""
        view = self._views.get(slice_name)
        if view is None:
            cases = [
                case
                for case, name in self._slice_of.items()
                if case in self._observed and (slice_name is None or name == slice_name)
            ]
            view = self._views[slice_name] = View(self, cases)
        return view

    def of(self, runtime: str, case: str) -> CaseTally | None:
        """Return what a runtime did on a case, or None when it has no sample that was not skipped."""
        found = self.runtimes.get(runtime, {}).get(case)
        return found if found is not None and found.rows else None

    def repeats(self, runtime: str) -> dict[str, str]:
        """Return the cases that repeat an earlier case's request on a runtime, with that case."""
        repeats = self._repeats.get(runtime)
        if repeats is None:
            repeats = self._repeats[runtime] = {}
            counts = self.runtimes.get(runtime, {})
            asked = [row.request_digest for counted in counts.values() for row in counted.rows]
            if len(set(asked)) == len(asked):
                return repeats
            first: dict[tuple[tuple[int, str], ...], str] = {}
            for case, counted in counts.items():
                request = counted.request
                if request is not None and first.setdefault(request, case) is not case:
                    repeats[case] = first[request]
        return repeats


class View:
    """The cases of one slice of a criterion, as units per runtime."""

    def __init__(self, tally: CriterionTally, observed: list[str]) -> None:
        """Keep the observed cases that count: those that some runtime did not skip."""
        self.tally = tally
        self.observed = observed
        runtimes = list(tally.runtimes.values())
        self.cases = [case for case in observed if any(case in cases and cases[case].rows for cases in runtimes)]
        self._found: dict[str, list[Found]] = {}
        self._plain: dict[str, bool] = {}

    def plain(self, runtime: str) -> bool:
        """Return whether every case is a unit of its own with at most one sample on a runtime."""
        plain = self._plain.get(runtime)
        if plain is None:
            counted = self.tally.runtimes.get(runtime, {})
            plain = not self.tally.repeats(runtime) and all(
                len(counted[case].rows) <= 1 for case in self.cases if case in counted
            )
            self._plain[runtime] = plain
        return plain

    def found(self, runtime: str) -> list[Found]:
        """Return what is known of each case on a runtime, in the order of ``cases``."""
        found = self._found.get(runtime)
        if found is None:
            counted = self.tally.runtimes.get(runtime, {})
            found = self._found[runtime] = [
                counted[case].found if case in counted else "missing" for case in self.cases
            ]
        return found

    def groups(self, *runtimes: str) -> list[tuple[str, ...]]:
        """Return the cases in groups that made identical requests on one of the runtimes."""
        repeats = [found for found in (self.tally.repeats(runtime) for runtime in runtimes) if found]
        if not repeats:
            return [(case,) for case in self.cases]
        leader = {case: case for case in self.cases}

        def find(case: str) -> str:
            while leader[case] != case:
                case = leader[case]
            return case

        for found in repeats:
            # The first case of a request may lie in another slice: those that do not are still one unit.
            here: dict[str, str] = {}
            for case in self.cases:
                first = found.get(case, case)
                other = here.setdefault(first, case)
                if other != case:
                    leader[find(case)] = find(other)
        members: dict[str, list[str]] = {}
        for case in self.cases:
            members.setdefault(find(case), []).append(case)
        return [tuple(group) for group in members.values()]

    def asked(self, runtime: str) -> View:
        """Return the view without the cases that adaptive sampling left out on a runtime."""
        counted = self.tally.runtimes.get(runtime, {})
        cases = [case for case in self.observed if case not in counted or not counted[case].spared]
        return self if len(cases) == len(self.observed) else View(self.tally, cases)

    def unit(self, group: tuple[str, ...], runtime: str) -> CaseTally:
        """Return what a runtime did on a group of cases."""
        counted = self.tally.runtimes.get(runtime, {})
        if len(group) == 1:
            return counted.get(group[0]) or CaseTally()
        merged = CaseTally()
        for case in group:
            for row in counted[case].rows if case in counted else ():
                merged.add(row)
        return merged

    def independent(self, group: tuple[str, ...], runtime: str) -> int:
        """Return how many samples of a group tell something new on a runtime."""
        counted = self.tally.runtimes.get(runtime, {})
        return max((counted[case].independent_samples for case in group if case in counted), default=1)


def tally(
    observations: Iterable[Observation], collected: Mapping[str, Sequence[str]]
) -> dict[str, CriterionTally]:
    """Count observations by criterion.

    Args:
        observations: What was observed, in any order.
        collected: Per criterion its case ids in the order of collection.

    Returns:
        A tally for each criterion that was collected or observed.
    """
    tallies = {criterion: CriterionTally(criterion, cases) for criterion, cases in collected.items()}
    rows: defaultdict[str, list[Observation]] = defaultdict(list)
    for row in observations:
        rows[row.criterion].append(row)
    for criterion, found in rows.items():
        counted = tallies.setdefault(criterion, CriterionTally(criterion))
        for row in found:
            counted.add(row)
    return tallies
