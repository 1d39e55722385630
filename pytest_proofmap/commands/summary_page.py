"""Writing the text summary of an artifact to standard output."""

from __future__ import annotations

import click

from pytest_proofmap.commands.printing import this_page
from pytest_proofmap.report.text import TITLE, render
from pytest_proofmap.report.view import View

__all__ = ["print_summary", "this_page"]


def print_summary(view: View, verbosity: int) -> None:
    """Print the summary that pytest shows at the end of a run."""
    page = this_page()
    click.echo(page.rule(TITLE), color=page.colour)
    for line in render(view, page, verbosity=verbosity):
        click.echo(line, color=page.colour)
