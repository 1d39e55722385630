"""What commands print and write: pages to standard output or a file, summaries, and records as JSON.

Named tuples become objects, intervals pairs, and models what they are stored as.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from pytest_proofmap.decide.stats.binomial import Interval
from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.files import write_whole
from pytest_proofmap.report.page import Page
from pytest_proofmap.report.text import TITLE, render
from pytest_proofmap.report.view import View

__all__ = ["print_json", "print_summary", "say", "this_page", "write_report"]


def print_json(content: Mapping[str, Any]) -> None:
    """Print records as JSON."""
    click.echo(json.dumps(plain(content), indent=2, ensure_ascii=True))


def plain(value: Any) -> Any:
    """Return a value with nothing but what JSON has."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, tuple) and hasattr(value, "_asdict") and not isinstance(value, Interval):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


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


def write_report(output: Path | None, parts: Iterable[str]) -> None:
    """Write a report and say where; ``-`` and None are standard output.

    Raises:
        EvidenceError: The file cannot be written.
    """
    if output is None or str(output) == "-":
        # Bytes: a report is UTF-8 wherever it is piped to.
        for part in parts:
            sys.stdout.buffer.write(part.encode())
        return
    try:
        with write_whole(output) as file:
            for part in parts:
                file.write(part)
    except OSError as error:
        raise EvidenceError(
            f"cannot write {str(output)!r}: {error.strerror or error}. Choose another place with --output."
        ) from None
    click.echo(f"report written to {output}")


def print_summary(view: View, verbosity: int) -> None:
    """Print the summary that pytest shows at the end of a run."""
    page = this_page()
    click.echo(page.rule(TITLE), color=page.colour)
    for line in render(view, page, verbosity=verbosity):
        click.echo(line, color=page.colour)
