"""``proofmap report``: show a stored artifact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pytest_proofmap.evidence.models import Evidence
    from pytest_proofmap.report.view import View

__all__ = ["report"]


@click.command()
@click.argument("evidence", required=False, type=click.Path(path_type=Path))
@click.option(
    "--text", "form", flag_value="text", help="The summary that pytest prints at the end of a run (default)."
)
@click.option("--md", "form", flag_value="md", help="Markdown, short enough for a pull-request comment.")
@click.option("--html", "form", flag_value="html", help="One HTML page that needs no network.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it; '-' is standard output. Default: standard output, for --html the name of EVIDENCE "
    "with .html.",
)
@click.option("-v", "--verbose", count=True, help="With --text: more cases, slices and reasons; -vv: every case.")
@click.option("-q", "--quiet", is_flag=True, help="With --text: totals, recommendations and findings only.")
def report(evidence: Path | None, form: str | None, output: Path | None, verbose: int, quiet: bool) -> None:
    """Show the artifact EVIDENCE as it was decided; default: that of the last whole run.

    An artifact without verdicts is decided first, by its own bars; one shard of a run has none.
    """
    from pytest_proofmap.cli.inputs import last_whole_run
    from pytest_proofmap.cli.output import write_report
    from pytest_proofmap.decide.decision import decide_evidence, is_decided
    from pytest_proofmap.evidence.artifact import read_evidence

    form = form or "text"
    if form != "text" and (verbose or quiet):
        raise click.UsageError(f"-v and -q are for --text; --{form} shows what there is room for.")
    evidence = evidence or last_whole_run()
    stored = read_evidence(evidence)
    if not stored.run.shard and not is_decided(stored):
        stored = decide_evidence(stored)
    view = _view(stored, evidence)
    if form == "text":
        _show_text(view, -1 if quiet else verbose, output)
    elif form == "md":
        from pytest_proofmap.report.markdown import COMMENT_BYTES, markdown_report

        write_report(output, [markdown_report(view, COMMENT_BYTES)])
    else:
        from pytest_proofmap.evidence.artifact import artifact_sha256
        from pytest_proofmap.report.html.document import html_report

        write_report(
            output or evidence.with_suffix(".html"),
            html_report(stored, view, artifact_sha256=artifact_sha256(evidence)),
        )


def _view(stored: Evidence, path: Path) -> View:
    from pytest_proofmap.report.figures import command
    from pytest_proofmap.report.view import view_of_evidence

    return replace(view_of_evidence(stored), next_steps=(command("proofmap", "decide", path, "--help"),))


def _show_text(view: View, verbosity: int, output: Path | None) -> None:
    from pytest_proofmap.cli.output import print_summary, write_report
    from pytest_proofmap.report.page import Page
    from pytest_proofmap.report.text import render

    if output is None or str(output) == "-":
        print_summary(view, verbosity)
    else:
        write_report(output, (f"{line}\n" for line in render(view, Page(), verbosity=verbosity)))
