"""Writing the text summary of an artifact to standard output."""

from __future__ import annotations

import os
import shutil
import sys

import click

from pytest_proofmap.report.page import Page
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.text import TITLE, render

__all__ = ["print_summary", "this_page"]


def print_summary(summary: Summary, verbosity: int) -> None:
    """Print the summary that pytest shows at the end of a run."""
    page = this_page()
    click.echo(page.rule(TITLE), color=page.colour)
    for line in render(summary, page, verbosity=verbosity):
        click.echo(line, color=page.colour)


def this_page() -> Page:
    """Return the page that standard output is.

    A pipe has no width of its own: it gets 80 columns, or what ``COLUMNS`` says.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    return Page(shutil.get_terminal_size((80, 24)).columns, encoding, _wants_colour())


def _wants_colour() -> bool:
    """Follow ``NO_COLOR`` and ``FORCE_COLOR``, else colour a terminal that can show it."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
