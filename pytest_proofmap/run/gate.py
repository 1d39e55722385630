"""The gate of a run: its evidence against the approved routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_proofmap.errors import LockError
from pytest_proofmap.run.findings import Finding

if TYPE_CHECKING:
    from pytest_proofmap.run.finish import RunResult
    from pytest_proofmap.run.session import QualificationSession

__all__ = ["gate"]


def gate(run: QualificationSession, result: RunResult) -> list[Finding]:
    """Return what fails the run because of the lock; what only warns is added to the result's warnings.

    A project without a lock has no gate, nor has a shard: it decides nothing.
    """
    path = run.configuration.lock_path
    if result.run.shard or not path.exists():
        return []
    from pytest_proofmap.approve.gate import check_routes
    from pytest_proofmap.approve.lock import read_lock
    from pytest_proofmap.approve.staleness import Project
    from pytest_proofmap.decide.coverage import whole_criteria

    try:
        lock = read_lock(path)
    except LockError as error:
        return [Finding(str(error), "proofmap verify says what is wrong with the lock")]
    artifact, folder = run.artifact_path, run.config.invocation_params.dir
    shown = str(artifact.relative_to(folder) if artifact.is_relative_to(folder) else artifact)
    # The configuration has taken in what the hooks give.
    project = Project(run.configuration, {each.id: each.fingerprint for each in result.criteria}, from_hooks={})
    # Which samples the budget left out is not among the observations.
    seen = [] if result.recorder.over_budget else result.recorder.observations
    selected = ((row.criterion, row.runtime) for row in seen)
    findings = []
    for found in check_routes(
        lock,
        result.objectives,
        result.criteria,
        project,
        whole=whole_criteria(result.run, result.criteria, result.objectives, selected),
        strict=bool(run.config.option.proofmap_strict),
        evidence=shown if result.run.complete else None,
    ):
        if found.fails:
            findings.append(Finding(found.text, found.next_step))
        else:
            result.warnings.append(f"{found.text} ({found.next_step})")
    return findings
