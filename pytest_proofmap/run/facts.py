"""What the process that decides must know of the criteria, also when workers collected them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pytest_proofmap.config import Configuration, ObjectiveConfig
from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence.fingerprint import (
    bar_fingerprint,
    case_digest,
    cases_fingerprint,
    criterion_fingerprint,
)
from pytest_proofmap.evidence.models import AdaptiveSampling, Criterion, Looks, Objective, SlicesRule
from pytest_proofmap.evidence.source import UNKNOWN_SOURCE, SourceFingerprints
from pytest_proofmap.run.criteria import CollectedCriterion, CriteriaRegistry

__all__ = ["CriterionFacts", "facts_of", "objectives_of"]


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

    @property
    def expected_samples(self) -> int:
        """How many samples a whole run holds."""
        return len(self.criterion.collected) * len(self.runtimes) * self.criterion.bar.samples


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
                challengers=list(dict.fromkeys(each for fact in members for each in fact.challengers)),
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
