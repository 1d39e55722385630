"""What a run came to: its decided evidence, and what fails it. Every report and exit status starts from here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_proofmap.decide.compare import selected_samples, whole_criteria
from pytest_proofmap.decide.observation import Observation, observe
from pytest_proofmap.decide.served import foreign_in
from pytest_proofmap.evidence.ages import answers_of, told_of_run
from pytest_proofmap.evidence.models import Criterion, Evidence, Objective, RunInfo, Totals
from pytest_proofmap.lock.file import read_lock
from pytest_proofmap.lock.gate import check_routes
from pytest_proofmap.lock.models import route_parts
from pytest_proofmap.lock.staleness import EvidenceFingerprints
from pytest_proofmap.report.findings import Finding, findings_of
from pytest_proofmap.report.nonpasses import Miss

__all__ = ["Result", "lock_findings", "result_of_evidence"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to, whether it just ended or is stored."""

    run: RunInfo
    totals: Totals
    criteria: Sequence[Criterion]
    objectives: Sequence[Objective]
    observations: Sequence[Observation]
    nonpasses: Sequence[Miss]
    """The samples that did not pass."""
    estimated: frozenset[str]
    """Runtimes whose token counts were estimated."""
    warnings: Sequence[str] = ()
    findings: Sequence[Finding] = ()
    """What fails the run."""


def result_of_evidence(evidence: Evidence, *, strict: str | None = None, excluded: Collection[str] = ()) -> Result:
    """Return what a stored run came to.

    Args:
        evidence: The decided artifact.
        strict: The option that demands that every challenger qualifies; None: nothing does.
        excluded: Challengers that this demand does not concern.
    """
    rows = observe(evidence.samples)
    nonpasses = [miss for sample in evidence.samples if (miss := Miss.of(sample)) is not None]
    return Result(
        run=evidence.run,
        totals=evidence.totals,
        criteria=evidence.criteria,
        objectives=evidence.objectives,
        observations=rows,
        nonpasses=nonpasses,
        # A judge's counts are not those of the runtime that it judges.
        estimated=frozenset(
            sample.runtime
            for sample in evidence.samples
            if any(call.usage_estimated for call in sample.calls if call.runtime is None)
        ),
        warnings=tuple(told_of_run(answers_of(evidence), evidence.run)),
        findings=tuple(
            findings_of(
                evidence.criteria,
                evidence.objectives,
                nonpasses,
                foreign_in(evidence, rows),
                strict=strict,
                left_out=excluded,
            )
        ),
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
    checks = list(
        check_routes(
            lock,
            evidence.objectives,
            evidence.criteria,
            EvidenceFingerprints(evidence),
            whole=whole_criteria(evidence.run, evidence.criteria, evidence.objectives, selected_samples(evidence)),
            strict=strict,
        )
    )
    failing = [Finding(check.text, check.next_step) for check in checks if check.fails]
    return failing, [f"{check.text} ({check.next_step})" for check in checks if not check.fails]
