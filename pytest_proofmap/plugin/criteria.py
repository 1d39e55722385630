"""The criteria of a session: found while pytest collects, with their cases, slices and fingerprints.

What the process that decides must know of the criteria, also when workers collected them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# What stands for the value where parametrize() is given an empty list; there is no public name for it.
from _pytest.compat import NOTSET
from pydantic import BaseModel, ConfigDict

from pytest_proofmap.calls.request import SampleId
from pytest_proofmap.config import Configuration, ObjectiveConfig
from pytest_proofmap.errors import EvidenceError, MarkerError
from pytest_proofmap.evidence.fingerprints import (
    bar_fingerprint,
    case_digest,
    cases_fingerprint,
    criterion_fingerprint,
    is_slice_value,
    slice_name,
)
from pytest_proofmap.evidence.models import AdaptiveSampling, Criterion, Looks, Objective, Role, SlicesRule
from pytest_proofmap.evidence.source import UNKNOWN_SOURCE, SourceFingerprints
from pytest_proofmap.plugin.marks import CriterionPlan, resolve
from pytest_proofmap.plugin.options import MARK

__all__ = [
    "RUNTIME_FIXTURE",
    "CollectedCriterion",
    "CriteriaRegistry",
    "CriterionFacts",
    "facts_of",
    "objectives_of",
]


RUNTIME_FIXTURE = "runtime"
OWN_FIXTURES = "pytest_proofmap.plugin.fixtures"
"""The module that defines it."""


@dataclass(frozen=True, slots=True)
class RuntimeParam:
    """The value that parametrizes the ``runtime`` fixture."""

    name: str
    role: Role
    sample: int
    id: str


@dataclass(slots=True)
class CollectedCriterion:
    """A marked test function with its cases, before anything was deselected."""

    id: str
    plan: CriterionPlan
    objective: str
    module: str
    """Node id of the test module."""
    cases: dict[str, dict[str, object]]
    """Parametrized values by case id, in the order of collection."""
    slices: dict[str, str | None] = field(default_factory=dict)
    """Slice by case id."""


SAMPLE = pytest.StashKey[SampleId]()
"""Which sample an item is, on ``item.stash``."""


class CriteriaRegistry:
    """All criteria that this process collected.

    Args:
        configuration: The project's configuration.
        runtimes: Runtimes that the command line restricts the run to; None: all.
        samples: The command line's number of samples; None: as marked.
    """

    def __init__(
        self, configuration: Configuration, *, runtimes: tuple[str, ...] | None, samples: int | None
    ) -> None:
        self._configuration = configuration
        self._runtimes = runtimes
        self._samples = samples
        self.criteria: dict[str, CollectedCriterion] = {}

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize a marked test by runtime, last in its id, and register its criterion.

        Raises:
            MarkerError: The mark's arguments are bad, or it does not go with the test.
        """
        definition = metafunc.definition
        marks = list(definition.iter_markers(MARK))
        where = definition.nodeid
        _check_cases(metafunc, where, marked=bool(marks))
        uses_runtime = RUNTIME_FIXTURE in metafunc.fixturenames
        if not marks and not (uses_runtime and _is_ours(metafunc)):
            return
        _check_usage(where, marked=bool(marks), uses_runtime=uses_runtime)
        plan = resolve(marks, self._configuration, samples=self._samples, where=where)
        criterion = _collect(metafunc, plan)
        self._register(criterion)
        params = list(self._params(plan))
        metafunc.parametrize(RUNTIME_FIXTURE, params, ids=[param.id for param in params], indirect=True)

    def identify(self, item: pytest.Item) -> SampleId | None:
        """Return which sample an item is, or None for an item that is not marked."""
        known = item.stash.get(SAMPLE, None)
        if known is not None:
            return known
        callspec = getattr(item, "callspec", None)
        param = callspec.params.get(RUNTIME_FIXTURE) if callspec is not None else None
        if not isinstance(param, RuntimeParam):
            return None
        parent = item.parent
        assert callspec is not None
        assert parent is not None
        criterion = self.criteria[f"{parent.nodeid}::{getattr(item, 'originalname', item.name)}"]
        case = callspec.id[: -len(param.id)].removesuffix("-")
        item.stash[SAMPLE] = sample = SampleId(
            criterion=criterion.id,
            case=case,
            slice=criterion.slices[case],
            runtime=param.name,
            role=param.role,
            sample=param.sample,
        )
        return sample

    def refuse_unqualified(self, items: Iterable[pytest.Item]) -> None:
        """Check that each marked test function was parametrized; methods of ``unittest`` classes never are.

        Raises:
            MarkerError: A test is marked and would run without being qualified.
        """
        for item in items:
            if isinstance(item, pytest.Function) and self.identify(item) is None and item.get_closest_marker(MARK):
                raise MarkerError(
                    f"{item.nodeid}: marked 'qualify', but pytest does not parametrize tests of this kind, so "
                    "nothing would be qualified. Write it as a test function, or in a class that does not derive "
                    "from unittest.TestCase, or remove the mark."
                )

    def plan_of(self, sample: SampleId) -> CriterionPlan:
        """Return the settings of a sample's criterion."""
        return self.criteria[sample.criterion].plan

    def expected(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield (criterion, case, runtime, sample) of every sample that a whole run would hold."""
        for criterion in self.criteria.values():
            for case in criterion.cases:
                for name in criterion.plan.runtimes:
                    for sample in range(criterion.plan.bar.samples):
                        yield criterion.id, case, name, sample

    def runtimes_of(self, plan: CriterionPlan) -> list[str]:
        """Return the runtimes of a criterion that the command line does not leave out."""
        return [name for name in plan.runtimes if self._runtimes is None or name in self._runtimes]

    def _params(self, plan: CriterionPlan) -> Iterator[RuntimeParam]:
        for name in self.runtimes_of(plan):
            role: Role = "baseline" if name == plan.baseline else "challenger"
            for sample in range(plan.bar.samples):
                suffix = f"-s{sample}" if plan.bar.samples > 1 else ""
                yield RuntimeParam(name, role, sample, id=f"{name}{suffix}")

    def _register(self, criterion: CollectedCriterion) -> None:
        for other in self.criteria.values():
            if other.id != criterion.id and other.objective == criterion.objective:
                _check_same_objective(criterion, other)
        self.criteria[criterion.id] = criterion


def _is_ours(metafunc: pytest.Metafunc) -> bool:
    """Return whether ``runtime`` is ProofMap's fixture, and not an argument or a fixture of the project's own.

    Metafunc.fixturenames names both, and nothing public tells what a name stands for:
    https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/python.py#L1303
    """
    if any(RUNTIME_FIXTURE in call.params for call in metafunc._calls):
        return False
    definitions = metafunc.definition._fixtureinfo.name2fixturedefs.get(RUNTIME_FIXTURE, ())
    # The nearest one is the last: https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/fixtures.py#L752
    return bool(definitions) and definitions[-1].func.__module__ == OWN_FIXTURES


def _check_cases(metafunc: pytest.Metafunc, where: str, *, marked: bool) -> None:
    """Check what marks and lists of cases say apart from their values.

    Raises:
        MarkerError: A single case is marked, or a marked test has no case.
    """
    for call in metafunc._calls:
        if any(mark.name == MARK for mark in call.marks):
            raise MarkerError(
                f"{where}: the case {call.id!r} is marked 'qualify' by pytest.param(..., marks=...). "
                "A mark holds for a whole test function: its cases share one bar and the same runtimes. Put the "
                "mark on the function, or write a function of its own for these cases."
            )
        # pytest makes one skipped case of no cases, which only this value tells from others:
        # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/mark/structures.py#L259
        empty = [name for name, value in call.params.items() if value is NOTSET]
        if marked and empty:
            raise MarkerError(
                f"{where}: the list of cases that parametrize() is given for {', '.join(empty)} is empty, so "
                "nothing would be qualified. Give it cases (is their file there, does a filter drop them all?), "
                "or remove the mark."
            )


def _check_usage(where: str, *, marked: bool, uses_runtime: bool) -> None:
    if marked and not uses_runtime:
        raise MarkerError(
            f"{where}: marked 'qualify' but does not use the fixture 'runtime', so nothing would be qualified. "
            "Add 'runtime' to its arguments, or remove the mark."
        )
    if uses_runtime and not marked:
        raise MarkerError(
            f"{where}: uses the fixture 'runtime' but is not marked, so it has no runtimes to run on. "
            "Add @pytest.mark.qualify(...) to the test, its class or its module."
        )


def _collect(metafunc: pytest.Metafunc, plan: CriterionPlan) -> CollectedCriterion:
    definition = metafunc.definition
    where = definition.nodeid
    module = definition.getparent(pytest.Module)
    assert module is not None
    cases = _cases(metafunc, where)
    default = module.path.stem.removeprefix("test_")
    criterion = CollectedCriterion(
        id=where,
        plan=plan,
        objective=plan.objective or default,
        module=module.nodeid,
        cases=cases,
    )
    named: dict[str, tuple[object, ...]] = {}
    for case, values in cases.items():
        name = criterion.slices[case] = _slice(plan.slice_by, values, where)
        if name is not None:
            chosen = tuple(values[argument] for argument in plan.slice_by)
            first = named.setdefault(name, chosen)
            if [*map(type, first)] != [*map(type, chosen)]:
                raise MarkerError(
                    f"{where}: the values {first!r} and {chosen!r} of {', '.join(plan.slice_by)} would be one "
                    f"slice, {name!r}: production could not tell them apart. Give them one type, or other values."
                )
    return criterion


def _cases(metafunc: pytest.Metafunc, where: str) -> dict[str, dict[str, object]]:
    """Return the parametrized values by case id, before ``runtime`` is added.

    pytest offers no public view of the calls that were parametrized so far; its own ids come from here, too:
    https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/python.py#L509
    """
    calls = metafunc._calls
    if not calls:
        return {"": {}}
    cases: dict[str, dict[str, object]] = {}
    for call in calls:
        if call.id in cases:
            raise MarkerError(
                f"{where}: two cases have the id {call.id!r}, so their evidence could not be told apart. "
                "Give parametrize() ids that are unique."
            )
        cases[call.id] = dict(call.params)
    return cases


def _slice(slice_by: Iterable[str], values: dict[str, object], where: str) -> str | None:
    chosen = {}
    for name in slice_by:
        if name not in values:
            raise MarkerError(
                f"{where}: slice_by names {name!r}, which is no parametrized argument of the test. "
                f"Allowed: {', '.join(values) or 'none, as the test is not parametrized'}."
            )
        value = values[name]
        if not is_slice_value(value):
            raise MarkerError(
                f"{where}: slice_by={name!r} has the value {value!r}; a slice is named by a string, whole "
                "number, truth value or enum member."
            )
        chosen[name] = value
    return slice_name(chosen) if chosen else None  # type: ignore[arg-type]  # checked by is_slice_value


def _check_same_objective(criterion: CollectedCriterion, other: CollectedCriterion) -> None:
    name = criterion.objective
    if criterion.plan.objective is None and other.plan.objective is None and criterion.module != other.module:
        raise MarkerError(
            f"{criterion.id}: its objective would be named {name!r} after its module, and so would that of "
            f"{other.module}. Name the objective: qualify(objective=...) in one of the modules."
        )
    for attribute, mine, theirs in (
        ("baseline", criterion.plan.baseline, other.plan.baseline),
        ("confidence", criterion.plan.bar.confidence, other.plan.bar.confidence),
        ("slices", criterion.plan.slices, other.plan.slices),
        ("looks", criterion.plan.looks, other.plan.looks),
    ):
        if mine != theirs:
            raise MarkerError(
                f"{criterion.id}: {attribute} {mine!r} differs from {theirs!r} of {other.id}; all criteria of "
                f"the objective {name!r} share one. Make them equal, or give another objective."
            )
    mine_by, theirs_by = criterion.plan.slice_by, other.plan.slice_by
    if mine_by and theirs_by and set(mine_by) != set(theirs_by):
        raise MarkerError(
            f"{criterion.id}: slice_by {list(mine_by)!r} differs from {list(theirs_by)!r} of {other.id}; "
            f"an objective ({name!r}) has one set of slices. Make them equal, or give another objective."
        )


class CriterionFacts(BaseModel):
    """A criterion before it is decided, with what its mark says of its objective."""

    criterion: Criterion
    baseline: str
    challengers: list[str]
    sensitive: bool
    slices_rule: SlicesRule
    looks: Looks
    slices: dict[str, str | None]
    """Slice of each case."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    @property
    def runtimes(self) -> list[str]:
        """The baseline and the challengers, in this order."""
        return [self.baseline, *self.challengers]


def facts_of(
    registry: CriteriaRegistry,
    rootdir: Path,
    sampling_of: Callable[[str], AdaptiveSampling | None] | None = None,
) -> dict[str, CriterionFacts]:
    """Return the facts of all collected criteria by id.

    Args:
        registry: The criteria.
        rootdir: pytest's root folder.
        sampling_of: Returns how a criterion was sampled; None: every case was asked for.
    """
    sources = SourceFingerprints(rootdir)
    return {
        criterion.id: _facts(criterion, sources, sampling_of(criterion.id) if sampling_of else None)
        for criterion in registry.criteria.values()
    }


def objectives_of(facts: Iterable[CriterionFacts], configuration: Configuration) -> list[Objective]:
    """Return the objectives that the criteria make up, undecided, in the order of collection."""
    grouped: dict[str, list[CriterionFacts]] = {}
    for fact in facts:
        grouped.setdefault(fact.criterion.objective, []).append(fact)
    objectives = []
    for name, members in grouped.items():
        settings = configuration.objectives.get(name, ObjectiveConfig())
        objectives.append(
            Objective(
                name=name,
                baseline=members[0].baseline,
                challengers=list(dict.fromkeys(name for fact in members for name in fact.challengers)),
                sensitive=any(fact.sensitive for fact in members),
                criteria=[fact.criterion.id for fact in members],
                slices_rule=members[0].slices_rule,
                looks=None if members[0].looks == 1 else members[0].looks,
                optimize=settings.optimize,
                p95_latency_s=settings.p95_latency_s,
                max_cost_per_1k_usd=settings.max_cost_per_1k_usd,
            )
        )
    return objectives


def _facts(
    criterion: CollectedCriterion, sources: SourceFingerprints, sampling: AdaptiveSampling | None
) -> CriterionFacts:
    plan = criterion.plan
    try:
        source = sources.of(criterion.id)
    except EvidenceError:
        # What is known of the others must not be lost for it; it cannot be approved.
        source = UNKNOWN_SOURCE
    fingerprint = criterion_fingerprint(
        source=source,
        bar=bar_fingerprint(plan.bar),
        cases=cases_fingerprint(criterion.cases.items()),
    )
    return CriterionFacts(
        criterion=Criterion(
            id=criterion.id,
            objective=criterion.objective,
            fingerprint=fingerprint,
            collected=list(criterion.cases),
            bar=plan.bar,
            challengers=list(plan.challengers),
            adaptive=sampling,
            case_digests={case: case_digest(values) for case, values in criterion.cases.items() if values} or None,
        ),
        baseline=plan.baseline,
        challengers=list(plan.challengers),
        sensitive=plan.sensitive,
        slices_rule=plan.slices,
        looks=plan.looks,
        slices=criterion.slices,
    )
