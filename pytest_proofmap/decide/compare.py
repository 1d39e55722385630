"""How two artifacts differ: what each covers, and how pass rates, cost and latency of the same runtimes moved.

A pass rate is compared case by case on the cases that a runtime answered in both artifacts: the exact test of
McNemar says whether more cases changed sides one way than chance explains, Tango's score interval how far the rate
moved. Cost is a ratio of totals over the same cases, latency the median of the ratios case by case. Each measure
spends its error of 5 % once over all of its lines.

pytest numbers cases that have no text of their own (``ticket0``, ``ticket1``), so that one put in front renames
all behind it. Two cases are the same where their parametrized values are, or else the requests that they made;
only what has neither in common with any other is matched by its name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from pytest_proofmap.decide.economics import Ratio, compare
from pytest_proofmap.decide.observation import observe
from pytest_proofmap.decide.pairing import answered_pairs, pair
from pytest_proofmap.decide.stats.binomial import Interval, binomial_at_least
from pytest_proofmap.decide.stats.tango import tango_interval
from pytest_proofmap.decide.tally import CriterionTally, PairedTable, View
from pytest_proofmap.evidence.fingerprints import changed_parts, criterion_parts
from pytest_proofmap.evidence.models import Criterion, Evidence, Objective, RunInfo, Sample

__all__ = [
    "ALPHA",
    "Gap",
    "RateDrift",
    "RatioDrift",
    "gaps",
    "measured_twice",
    "named_as_in",
    "rate_drifts",
    "ratio_drifts",
    "selected_samples",
    "whole_criteria",
]


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
    """New divided by old: above 1 is costlier or slower; None when it is unknown."""
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
    single = sum(len(moves) for moves in compared.values() if len(moves) > 1)
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

    tables = [on_criterion.table for on_criterion in found.values()]
    return _Compared(
        PairedTable(
            sum(table.regressions for table in tables),
            sum(table.improvements for table in tables),
            sum(table.pairs for table in tables),
        ),
        sum(on_criterion.cases for on_criterion in found.values()),
        sum(on_criterion.old for on_criterion in found.values()),
        sum(on_criterion.new for on_criterion in found.values()),
        named(lambda on_criterion: on_criterion.regressed),
        named(lambda on_criterion: on_criterion.improved),
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
    counts = Counter(trait for of_case in traits.values() for trait in of_case)
    return {trait: case for case, of_case in traits.items() for trait in of_case if counts[trait] == 1}


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
