"""Writing a report to a file or to standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.whole_file import write_whole

__all__ = ["write_report"]


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
