"""The files that show a run beside its evidence: the HTML page and the Markdown summaries.

They are made from the artifact as it was written, so that what the project took out of it stays out of them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_proofmap.evidence.artifact import artifact_sha256, read_evidence
from pytest_proofmap.report.next_steps import next_steps
from pytest_proofmap.report.view import View, view_of_evidence
from pytest_proofmap.run.findings import Finding
from pytest_proofmap.whole_file import write_whole

if TYPE_CHECKING:
    from pytest_proofmap.evidence.models import Evidence
    from pytest_proofmap.run.finish import RunResult
    from pytest_proofmap.run.session import QualificationSession

__all__ = ["STEP_SUMMARY", "write_report_files"]

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable in which GitHub Actions names the file that a job's page shows."""


def write_report_files(run: QualificationSession, result: RunResult, written: Path) -> None:
    """Write the reports that were asked for; what could not be written is a finding.

    Args:
        run: The run.
        result: What it came to.
        written: The evidence as it was written, which takes the place of the artifact only after this.
    """
    option = run.config.option
    html, markdown = option.proofmap_html, option.proofmap_md
    # A shard has nothing to show: a job's page shows the joined evidence.
    step_summary = None if option.proofmap_shard else os.environ.get(STEP_SUMMARY)
    if not (html or markdown or step_summary):
        return
    evidence = read_evidence(written)
    view = replace(
        view_of_evidence(evidence),
        warnings=tuple(result.warnings),
        findings=tuple(result.findings),
        next_steps=next_steps(run, result),
    )
    folder = run.config.rootpath
    places = ((_write_html, html), (_write_markdown, markdown), (_append_step_summary, step_summary))
    for write, place in places:
        if not place:
            continue
        try:
            write(folder / place, evidence, view, written)
        except OSError as error:
            result.findings.append(
                Finding(
                    f"the report could not be written to {place}: {error.strerror or error}",
                    "make room or choose another place; proofmap report makes it from the evidence",
                )
            )


def _write_html(path: Path, evidence: Evidence, view: View, artifact: Path) -> None:
    from pytest_proofmap.report.html.document import html_report

    _write(path, html_report(evidence, view, artifact_sha256=artifact_sha256(artifact)))


def _write_markdown(path: Path, evidence: Evidence, view: View, artifact: Path) -> None:
    from pytest_proofmap.report.markdown import COMMENT_BYTES, markdown_report

    _write(path, [markdown_report(view, COMMENT_BYTES)])


def _append_step_summary(path: Path, evidence: Evidence, view: View, artifact: Path) -> None:
    from pytest_proofmap.report.markdown import STEP_SUMMARY_BYTES, markdown_report

    # Other commands of the same step may have written to it.
    with path.open("ab+") as file:
        written = file.seek(0, os.SEEK_END)
        file.seek(max(0, written - 1))
        gap = "\n\n" if written and file.read(1) != b"\n" else "\n" if written else ""
        report = markdown_report(view, STEP_SUMMARY_BYTES - written - len(gap))
        if not report:
            raise OSError(errno.EFBIG, f"{written:,} bytes are in it, and GitHub shows no more than 1 MiB")
        file.write((gap + report).encode())


def _write(path: Path, parts: Iterable[str]) -> None:
    with write_whole(path) as file:
        for part in parts:
            file.write(part)
