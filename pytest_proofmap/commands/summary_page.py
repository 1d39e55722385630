"""Writing the text summary of an artifact to standard output."""

from __future__ import annotations

import click

from pytest_proofmap.commands.printing import this_page
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.text import TITLE, render

__all__ = ["print_summary", "this_page"]


def print_summary(summary: Summary, verbosity: int) -> None:
    """Print the summary that pytest shows at the end of a run."""
    page = this_page()
    click.echo(page.rule(TITLE), color=page.colour)
    for line in render(summary, page, verbosity=verbosity):
        click.echo(line, color=page.colour)
