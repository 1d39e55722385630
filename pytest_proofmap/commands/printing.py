"""What the commands print on: the page that standard output is."""

from __future__ import annotations

import os
import shutil
import sys

import click

from pytest_proofmap.report.page import Page

__all__ = ["say", "this_page"]


def say(text: str = "", *, err: bool = False, end: str = "\n") -> None:
    """Print a text of one line or more, in characters that the terminal can show and will not obey."""
    page = this_page()
    click.echo("\n".join(map(page.text, text.split("\n"))) + end, err=err, nl=False)


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
