"""What fails a run, found again in its artifact."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pytest_proofmap.approve.gate import check_routes
from pytest_proofmap.approve.lock import read_lock
from pytest_proofmap.approve.models import route_parts
from pytest_proofmap.approve.staleness import EvidenceFingerprints
from pytest_proofmap.decide.coverage import selected_samples, whole_criteria
from pytest_proofmap.decide.observation import observe
from pytest_proofmap.decide.served import foreign_in
from pytest_proofmap.evidence.models import Evidence
from pytest_proofmap.run.findings import Finding, findings_of
from pytest_proofmap.run.miss import Miss

__all__ = ["lock_findings", "stored_findings"]


def stored_findings(
    evidence: Evidence, *, strict: str | None, left_out: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Return what fails the run of an artifact.

    Args:
        evidence: The decided artifact.
        strict: The option that demands that every challenger qualifies; None: nothing does.
        left_out: Challengers that this demand does not concern.
    """
    misses = [miss for sample in evidence.samples if (miss := Miss.of(sample)) is not None]
    foreign = foreign_in(evidence, observe(evidence.samples))
    return tuple(
        findings_of(evidence.criteria, evidence.objectives, misses, foreign, strict=strict, left_out=left_out)
    )


def lock_findings(
    evidence: Evidence, path: Path, *, strict: bool, objectives: Collection[str] = ()
) -> tuple[list[Finding], list[str]]:
    """Return what an artifact says against the approved routes: what fails, and what only warns.

    Args:
        evidence: The decided artifact.
        path: The lock.
        strict: Whether thin evidence on an approved primary fails too.
        objectives: The objectives that were chosen from the artifact; none: all.

    Raises:
        LockError: The lock cannot be read or was edited by hand.
    """
    lock = read_lock(path)
    if objectives:
        chosen = {name: route for name, route in lock.routes.items() if route_parts(name)[0] in objectives}
        lock = lock.model_copy(update={"routes": chosen})
    found = list(
        check_routes(
            lock,
            evidence.objectives,
            evidence.criteria,
            EvidenceFingerprints(evidence),
            whole=whole_criteria(evidence.run, evidence.criteria, evidence.objectives, selected_samples(evidence)),
            strict=strict,
        )
    )
    failing = [Finding(each.text, each.next_step) for each in found if each.fails]
    return failing, [f"{each.text} ({each.next_step})" for each in found if not each.fails]
