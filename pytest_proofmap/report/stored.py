"""What fails a run, found again in its artifact."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pytest_proofmap.evidence.models import Evidence
from pytest_proofmap.run.findings import Finding, baseline_findings, replay_findings, strict_findings
from pytest_proofmap.run.miss import Miss

__all__ = ["failing_baselines", "stored_findings"]


def stored_findings(
    evidence: Evidence, *, strict: str | None, left_out: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Return what fails the run of an artifact beyond its tests.

    Args:
        evidence: The decided artifact.
        strict: The option that demands that every challenger qualifies; None: nothing does.
        left_out: Challengers that this demand does not concern.
    """
    findings = [*replay_findings(_errors(evidence)), *baseline_findings(evidence.criteria)]
    if strict is not None:
        shown = (
            objective.model_copy(
                update={"verdicts": [each for each in objective.verdicts if each.runtime not in left_out]}
            )
            for objective in evidence.objectives
        )
        findings += strict_findings(shown, strict)
    return tuple(findings)


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
