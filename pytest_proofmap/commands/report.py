"""``proofmap report``: show a stored artifact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

__all__ = ["report"]


@click.command()
@click.argument("evidence", type=click.Path(path_type=Path))
@click.option("--text", "form", flag_value="text", help="The summary that pytest prints at the end of a run.")
@click.option("-v", "--verbose", count=True, help="More cases, all slices and reasons; -vv: every case.")
@click.option("-q", "--quiet", is_flag=True, help="Totals, recommendations and findings only.")
def report(evidence: Path, form: str | None, verbose: int, quiet: bool) -> None:
    """Show the artifact EVIDENCE as it was decided.

    An artifact without verdicts is decided first, by its own bars.
    """
    from pytest_proofmap.commands.summary_page import print_summary
    from pytest_proofmap.decide.decision import decide_evidence
    from pytest_proofmap.evidence.artifact import read_evidence
    from pytest_proofmap.report.next_steps import command
    from pytest_proofmap.report.stored import stored_findings
    from pytest_proofmap.report.summary import summarize_evidence

    if form is None:
        raise click.UsageError("Say in which form to show it: --text.")
    stored = read_evidence(evidence)
    if not any(criterion.cells for criterion in stored.criteria):
        stored = decide_evidence(stored)
    summary = replace(
        summarize_evidence(stored),
        findings=stored_findings(stored, strict="--proofmap-strict" if stored.run.strict else None),
        next_steps=(command("proofmap", "decide", evidence, "--help"),),
    )
    print_summary(summary, -1 if quiet else verbose)
