"""Two artifacts compared: verdicts, coverage, what was measured, and the models that answered.

What got worse is never netted against what got better.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Literal, NamedTuple

from pytest_proofmap.decide.compare import (
    Gap,
    RateDrift,
    RatioDrift,
    gaps,
    measured_twice,
    rate_drifts,
    ratio_drifts,
)
from pytest_proofmap.evidence.models import Evidence, Status

__all__ = ["ChainChange", "Drift", "Flip", "ServedModels", "compare_evidence"]

Scope = Literal["objective", "criterion"]

_RANK: dict[Status, int] = {"not_qualified": 0, "insufficient": 1, "qualified": 2}


class Flip(NamedTuple):
    """A verdict that is another one now."""

    scope: Scope
    name: str
    slice: str | None
    runtime: str
    old: Status
    new: Status
    reason: str
    """Why the new verdict is what it is."""

    @property
    def is_worse(self) -> bool:
        """Whether the verdict lost: qualified is best, not qualified worst."""
        return _RANK[self.new] < _RANK[self.old]


class ServedModels(NamedTuple):
    """The models that answered for a runtime, with how often, where they are not the same any more."""

    runtime: str
    old: dict[str, int]
    new: dict[str, int]


class ChainChange(NamedTuple):
    """A recommended chain that is another one now."""

    objective: str
    slice: str | None
    old: list[str]
    new: list[str]


class BaselineChange(NamedTuple):
    """An objective whose verdicts compare with another runtime now."""

    objective: str
    old: str
    new: str


class Drift(NamedTuple):
    """All that differs between two artifacts."""

    worse: list[Flip]
    better: list[Flip]
    lost: list[Gap]
    """What the old artifact covers and the new one lacks."""
    added: list[Gap]
    """What the new artifact covers and the old one lacked."""
    rates: list[RateDrift]
    costs: list[RatioDrift]
    latencies: list[RatioDrift]
    served: list[ServedModels]
    chains: list[ChainChange]
    baselines: list[BaselineChange]

    @property
    def is_regression(self) -> bool:
        """Whether a verdict got worse, coverage was lost, or a pass rate dropped beyond chance."""
        return bool(self.worse or self.lost or any(rate.dropped for rate in self.rates))

    @property
    def is_drift(self) -> bool:
        """Whether there is a regression, or anything measured moved beyond its interval."""
        moved = any(ratio.beyond_interval for ratio in (*self.costs, *self.latencies))
        return bool(self.is_regression or moved or self.served or any(rate.beyond_chance for rate in self.rates))


def compare_evidence(old: Evidence, new: Evidence) -> Drift:
    """Compare two decided artifacts."""
    flips = list(_flips(old, new))
    measured = measured_twice(old, new)
    ratios = ratio_drifts(measured)
    return Drift(
        worse=[flip for flip in flips if flip.is_worse],
        better=[flip for flip in flips if not flip.is_worse],
        lost=list(gaps(old, new)),
        added=list(gaps(new, old)),
        rates=rate_drifts(measured, old, new),
        costs=ratios.costs,
        latencies=ratios.latencies,
        served=list(_served(old, new)),
        chains=list(_chains(old, new)),
        baselines=list(_baselines(old, new)),
    )


def _flips(old: Evidence, new: Evidence) -> Iterator[Flip]:
    """Yield the verdicts that both artifacts have and that differ, objectives first."""
    before = {verdict.on: verdict.status for verdict in _verdicts(old)}
    for verdict in _verdicts(new):
        was = before.get(verdict.on, verdict.status)
        if was != verdict.status:
            yield Flip(*verdict.on, was, verdict.status, verdict.reason)


class _Verdict(NamedTuple):
    """A verdict of an objective or of a criterion."""

    on: tuple[Scope, str, str | None, str]
    """Scope, name, slice and runtime."""
    status: Status
    reason: str


def _verdicts(evidence: Evidence) -> Iterator[_Verdict]:
    for objective in evidence.objectives:
        for verdict in objective.verdicts:
            yield _Verdict(
                ("objective", objective.name, verdict.slice, verdict.runtime), verdict.status, verdict.reason
            )
    for criterion in evidence.criteria:
        for cell in criterion.cells:
            if cell.status is not None:
                yield _Verdict(("criterion", criterion.id, cell.slice, cell.runtime), cell.status, cell.reason)


def _served(old: Evidence, new: Evidence) -> Iterator[ServedModels]:
    """Yield the runtimes, judges included, that other models answered for."""
    before, after = _models(old), _models(new)
    for runtime, models in before.items():
        now = after.get(runtime)
        if now and models.keys() != now.keys():
            yield ServedModels(runtime, dict(sorted(models.items())), dict(sorted(now.items())))


def _models(evidence: Evidence) -> dict[str, Counter[str]]:
    models: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sample in evidence.samples:
        for call in sample.calls:
            if call.error is None and call.model is not None:
                models[call.runtime or sample.runtime][call.model] += 1
    return dict(models)


def _chains(old: Evidence, new: Evidence) -> Iterator[ChainChange]:
    before = {
        (objective.name, recommendation.slice): recommendation.chain
        for objective in old.objectives
        for recommendation in objective.recommendations
    }
    for objective in new.objectives:
        for advice in objective.recommendations:
            chain = before.get((objective.name, advice.slice))
            if chain is not None and chain != advice.chain:
                yield ChainChange(objective.name, advice.slice, chain, advice.chain)


def _baselines(old: Evidence, new: Evidence) -> Iterator[BaselineChange]:
    before = {objective.name: objective.baseline for objective in old.objectives}
    for objective in new.objectives:
        baseline = before.get(objective.name, objective.baseline)
        if baseline != objective.baseline:
            yield BaselineChange(objective.name, baseline, objective.baseline)
