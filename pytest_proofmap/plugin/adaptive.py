"""Adaptive sampling: challengers are asked in waves, and no further once the rule has decided.

Tests that share no fixtures of a module, class or package form one block, all others the block of that scope.
Within its block each criterion's tests run in this order: the baseline on all cases, then the challengers case by
case in the random order, wave after wave. Where one wave of all criteria has run, the rule looks, and tests of
challengers that it has decided on are skipped: neither their calls nor their bodies run.

Where the order of a criterion's tests is not ours (they are spread over workers of xdist, or over several blocks),
only what no further case can change stops a challenger: a failure where every case must pass, and futility.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest
from _pytest.scope import Scope

from pytest_proofmap.calls.request import SampleId
from pytest_proofmap.calls.sample import SampleRecord
from pytest_proofmap.decide.adaptive import Stop, case_order, follows_rule, stop_of, wave_ends
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.stats.paired import Memo
from pytest_proofmap.decide.tally import CriterionTally
from pytest_proofmap.errors import MarkerError
from pytest_proofmap.evidence.models import AdaptiveSampling
from pytest_proofmap.plugin.criteria import CriteriaRegistry
from pytest_proofmap.plugin.marks import CriterionPlan
from pytest_proofmap.prefetch.scopes import outermost_scope

__all__ = ["AdaptiveSampler"]


@dataclass(slots=True)
class Course:
    """How far the sampling of one criterion has come."""

    criterion: str
    plan: CriterionPlan
    order: list[str]
    """The cases that take part, in their random order."""
    slices: dict[str, str | None]
    """Slice of each case."""
    ordered: bool
    """Whether its tests run in our order."""
    rounds: dict[str, int] = field(default_factory=dict)
    """Wave of each case, from 1."""
    rows: list[Observation] = field(default_factory=list)
    stops: dict[tuple[str | None, str], Stop] = field(default_factory=dict)
    """What challengers stopped as, by slice (None: on all cases) and name."""
    news: bool = False
    """Whether something came in that may stop a challenger where the order is not ours."""

    def decided(self, case: str, challenger: str) -> bool:
        """Return whether a challenger needs not be asked a case: everything that it counts for is decided."""
        own, whole = self.slices[case], self.stops.get((None, challenger))
        if whole is None:
            return False
        if own is None:
            return True
        stop = self.stops.get((own, challenger))
        if stop == "insufficient" and whole == "qualified":
            # One runtime for everything hangs on what every slice loses: unless another slice has settled that,
            # this one is asked to its end.
            return any(
                at is not None and name == challenger and found == "not_qualified"
                for (at, name), found in self.stops.items()
            )
        return stop is not None

    def asked(self, challenger: str) -> int:
        """Return how many cases a challenger was asked."""
        return len({row.case for row in self.rows if row.runtime == challenger and not row.spared})

    def look(self, memo: Memo) -> None:
        """Let the rule look at what came in."""
        if all(self.decided(case, challenger) for challenger in self.plan.challengers for case in self.order):
            return
        counted = CriterionTally(self.criterion, self.order)
        for row in self.rows:
            counted.add(row)
        challengers = self.plan.challengers
        slices = sorted({name for name in self.slices.values() if name is not None})
        for slice_name in (None, *slices):
            sharing = 1 if slice_name is None or self.plan.slices == "each" else len(slices)
            cases = [case for case in self.order if slice_name is None or self.slices[case] == slice_name]
            for challenger in challengers:
                if (slice_name, challenger) in self.stops:
                    continue
                stop = stop_of(
                    self.plan.bar,
                    counted,
                    cases,
                    self.plan.baseline,
                    challenger,
                    len(challengers) * sharing,
                    early=self.ordered,
                    memo=memo,
                )
                if stop is not None:
                    self.stops[slice_name, challenger] = stop


@dataclass(slots=True)
class Block:
    """Tests that may be put in order among each other."""

    courses: list[Course] = field(default_factory=list)
    round: int = 1
    """The wave that is open: first waves need not wait for the baseline."""


class AdaptiveSampler:
    """Says which tests of challengers need not run.

    Args:
        registry: The criteria of the session.
        seed: What the random order of the cases comes from, beside their names.
        spread: Whether the tests are spread over several processes.
    """

    def __init__(self, registry: CriteriaRegistry, seed: int, *, spread: bool) -> None:
        self._registry = registry
        self._seed = seed
        self._spread = spread
        self._courses: dict[str, Course] = {}
        self._blocks: dict[str, Block] = {}
        self._memo: dict[str, float] = {}

    @property
    def orders_all(self) -> bool:
        """Whether the tests of all criteria run in our order."""
        return all(course.ordered for course in self._courses.values())

    def sampling_of(self, criterion: str) -> AdaptiveSampling | None:
        """Return what the artifact says of a criterion's sampling."""
        course = self._courses.get(criterion)
        return AdaptiveSampling(seed=self._seed, early=course.ordered) if course is not None else None

    def arrange(self, items: list[pytest.Item]) -> None:
        """Plan the waves, and put the tests of each block in order where that is ours."""
        places: defaultdict[Hashable, list[int]] = defaultdict(list)
        samples: dict[int, SampleId] = {}
        blocks_of: defaultdict[str, set[Hashable]] = defaultdict(set)
        cases_of: defaultdict[str, set[str]] = defaultdict(set)
        for index, item in enumerate(items):
            sample = self._registry.identify(item)
            if sample is None:
                continue
            self._refuse_looks(sample)
            if not follows_rule(self._registry.plan_of(sample).bar):
                continue
            samples[index] = sample
            block = _block_of(item)
            blocks_of[sample.criterion].add(block)
            places[block].append(index)
            cases_of[sample.criterion].add(sample.case)
        for criterion, blocks in blocks_of.items():
            ordered = len(blocks) == 1 and not self._spread
            self._courses[criterion] = self._course(criterion, cases_of[criterion], ordered=ordered)
        if self._spread:
            return
        for indices in places.values():
            ours = [index for index in indices if self._courses[samples[index].criterion].ordered]
            block = Block([self._courses[name] for name in dict.fromkeys(samples[i].criterion for i in ours)])
            for course in block.courses:
                self._blocks[course.criterion] = block
            in_order = [items[index] for index in self._sorted(ours, samples)]
            for index, item in zip(ours, in_order, strict=True):
                items[index] = item

    def _refuse_looks(self, sample: SampleId) -> None:
        """Refuse a criterion with several looks: stopping early and looking again would share the error twice.

        Raises:
            MarkerError: The criterion has several looks.
        """
        looks = self._registry.plan_of(sample).looks
        if looks != 1:
            raise MarkerError(
                f"{sample.criterion}: looks={looks!r} does not go with --proofmap-adaptive, whose early stops are "
                "looks of their own. Leave the option out, or set looks=1."
            )

    def reach(self, item: pytest.Item) -> None:
        """Say that an item is next to run: where it begins a wave, the rule looks first."""
        sample = self._registry.identify(item)
        course = self._courses.get(sample.criterion) if sample is not None else None
        if sample is None or course is None:
            return
        if not course.ordered:
            if course.news:
                course.news = False
                course.look(self._memo)
            return
        block = self._blocks[course.criterion]
        number = self._round(sample)
        if number > block.round:
            block.round = number
            for neighbour in block.courses:
                neighbour.look(self._memo)

    def gate(self, item: pytest.Item) -> Literal["now", "later", "never"]:
        """Return whether an item's calls may be made now, only after a look, or never."""
        sample = self._registry.identify(item)
        course = self._courses.get(sample.criterion) if sample is not None else None
        if sample is None or course is None:
            return "now"
        if self._needless(sample, course):
            return "never"
        return "later" if course.ordered and self._round(sample) > self._blocks[course.criterion].round else "now"

    def spare(self, record: SampleRecord) -> None:
        """Skip a test that need not run.

        Raises:
            pytest.skip.Exception: It is not needed.
        """
        course = self._courses.get(record.id.criterion)
        if course is not None and self._needless(record.id, course):
            record.not_sampled = True
            asked = course.asked(record.id.runtime)
            raise pytest.skip.Exception(
                f"adaptive: decided after {asked} of {len(course.order)} cases", _use_item_location=True
            )

    def take(self, record: SampleRecord) -> None:
        """Take in what came of a test."""
        course = self._courses.get(record.id.criterion)
        if course is None or record.outcome is None:
            return
        sample = record.id
        keys = [call.key for call in record.calls if call.auxiliary is None]
        course.rows.append(
            Observation(
                sample.criterion,
                sample.case,
                sample.slice,
                sample.runtime,
                sample.sample,
                record.outcome,
                request_digest=",".join(keys) or None,
                spared=record.not_sampled,
            )
        )
        course.news = course.news or not (record.not_sampled or record.outcome == "passed")

    def _course(self, criterion: str, cases: set[str], *, ordered: bool) -> Course:
        collected = self._registry.criteria[criterion]
        plan = collected.plan
        order = [case for case in case_order(self._seed, criterion, collected.cases) if case in cases]
        course = Course(criterion, plan, order, collected.slices, ordered)
        start = 0
        for number, end in enumerate(wave_ends(plan.bar, len(plan.challengers), len(order)), start=1):
            course.rounds.update(dict.fromkeys(order[start:end], number))
            start = end
        return course

    def _round(self, sample: SampleId) -> int:
        """Return the wave of a sample; the baseline's come before the first."""
        return 0 if sample.role == "baseline" else self._courses[sample.criterion].rounds[sample.case]

    def _sorted(self, indices: Iterable[int], samples: dict[int, SampleId]) -> Sequence[int]:
        """Return the items of a block in the order in which they run."""
        place = {
            (name, case): (which, number)
            for which, (name, course) in enumerate(self._courses.items())
            for number, case in enumerate(course.order)
        }

        def turn(index: int) -> tuple[int, tuple[int, int], int]:
            sample = samples[index]
            return self._round(sample), place[sample.criterion, sample.case], index

        return sorted(indices, key=turn)

    @staticmethod
    def _needless(sample: SampleId, course: Course) -> bool:
        return sample.role == "challenger" and course.decided(sample.case, sample.runtime)


def _block_of(item: pytest.Item) -> Hashable:
    """Return what a test shares with those that may come between its neighbours and itself."""
    assert isinstance(item, pytest.Function)
    callspec = item.callspec
    # pytest has ordered tests so that each parameter of a wider scope is set up once, by these two fields. A test
    # that came between would have it set up again:
    # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/fixtures.py#L310
    shared = sorted(
        (name, callspec.indices[name])
        for name, scope in callspec._arg2scope.items()
        if scope is not Scope.Function and name in callspec.indices
    )
    return outermost_scope(item), tuple(shared)
