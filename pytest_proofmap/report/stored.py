"""What fails a run, found again in its artifact."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from pytest_proofmap.approve.gate import check_routes
from pytest_proofmap.approve.lock import read_lock
from pytest_proofmap.approve.models import route_parts
from pytest_proofmap.approve.staleness import EvidenceFingerprints
from pytest_proofmap.decide.coverage import whole_criteria
from pytest_proofmap.evidence.models import Evidence
from pytest_proofmap.run.findings import (
    Finding,
    baseline_findings,
    decision_findings,
    replay_findings,
    strict_findings,
)
from pytest_proofmap.run.miss import Miss

__all__ = ["failing_baselines", "lock_findings", "stored_findings"]


def stored_findings(
    evidence: Evidence, *, strict: str | None, left_out: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Return what fails the run of an artifact beyond its tests.

    Args:
        evidence: The decided artifact.
        strict: The option that demands that every challenger qualifies; None: nothing does.
        left_out: Challengers that this demand does not concern.
    """
    findings = [
        *decision_findings(evidence.objectives),
        *replay_findings(_errors(evidence)),
        *baseline_findings(evidence.criteria),
    ]
    if strict is not None:
        shown = (
            objective.model_copy(
                update={"verdicts": [each for each in objective.verdicts if each.runtime not in left_out]}
            )
            for objective in evidence.objectives
        )
        findings += strict_findings(shown, strict)
    return tuple(findings)


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
            whole=whole_criteria(evidence.run, evidence.criteria, evidence.objectives),
            strict=strict,
        )
    )
    failing = [Finding(each.text, each.next_step) for each in found if each.fails]
    return failing, [f"{each.text} ({each.next_step})" for each in found if not each.fails]


def failing_baselines(evidence: Evidence) -> Iterator[Finding]:
    """Yield the criteria on which the baseline's own tests failed where every case must pass."""
    for criterion in evidence.criteria:
        bar = criterion.bar
        if bar.kind != "all_pass" or not bar.baseline_must_pass:
            continue
        for cell in criterion.cells:
            if cell.role == "baseline" and cell.slice is None and cell.failed:
                yield Finding(
                    f"the baseline {cell.runtime} does not pass every case of {criterion.id}: "
                    f"{cell.passed} of {cell.cases - cell.skipped} cases passed",
                    "mend the baseline or the criterion, or decide with another bar: --margin, --min-pass-rate",
                )


def _errors(evidence: Evidence) -> Iterator[Miss]:
    for sample in evidence.samples:
        if sample.outcome == "error" and sample.calls:
            error = sample.calls[-1].error
            yield Miss(
                sample.criterion,
                sample.case,
                sample.slice,
                sample.runtime,
                sample.sample,
                sample.outcome,
                sample.message,
                error.class_ if error else None,
                "",
            )
