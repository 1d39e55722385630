"""The summary at the end of pytest's output."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_proofmap.report.next_steps import next_steps, run_again
from pytest_proofmap.report.page import Page
from pytest_proofmap.report.run_view import view_of_run
from pytest_proofmap.report.text import TITLE, finding_lines, render

if TYPE_CHECKING:
    import pytest

    from pytest_proofmap.run.session import QualificationSession

__all__ = ["page_of", "write_summary"]


def write_summary(run: QualificationSession, terminalreporter: pytest.TerminalReporter) -> None:
    """Write the summary of a run, or nothing when nothing was marked."""
    from pytest_proofmap.run.finish import RESULT

    result = run.config.stash.get(RESULT, None)
    if result is None and run.notice is not None:
        page = page_of(run.config, terminalreporter)
        terminalreporter.write_sep("=", TITLE)
        for line in [*page.wrap(run.notice, "! ", "  "), page.text(f"next: {run_again(run.config)}")]:
            terminalreporter.write_line(line)
    silent = terminalreporter.no_summary or terminalreporter.verbosity < -1
    if result is None or (silent and not result.findings):
        return
    view = replace(view_of_run(result), next_steps=next_steps(run, result))
    page = page_of(run.config, terminalreporter)
    terminalreporter.write_sep("=", TITLE)
    if silent:
        # A run must not fail without saying why.
        lines = finding_lines(view, page)
    else:
        # A shard has no verdicts to show.
        verbosity = -1 if result.run.shard else terminalreporter.verbosity
        lines = render(view, page, verbosity=verbosity)
    for line in lines:
        terminalreporter.write_line(line)


def page_of(config: pytest.Config, terminalreporter: pytest.TerminalReporter) -> Page:
    """Return the page that pytest writes to."""
    writer = config.get_terminal_writer()
    return Page(writer.fullwidth, _encoding(writer), terminalreporter.hasmarkup)


def _encoding(writer: object) -> str:
    """Return the encoding of what pytest writes to, which has no public name."""
    file = getattr(writer, "_file", None) or sys.stdout
    return getattr(file, "encoding", None) or "ascii"
