"""A table whose columns are no wider than what is in them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["GAP", "grid"]

GAP = 2
"""Columns between two columns of a table."""


def grid(
    headers: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], align: Sequence[str]
) -> list[str]:
    """Return the lines of a table.

    Args:
        headers: Header of each column, of one line or more.
        rows: The cells, perhaps painted.
        widths: Columns that each column takes at most, without the paint.
        align: ``left`` or ``right`` for each column.
    """
    # The import takes some milliseconds that a run without a summary need not pay.
    from tabulate import tabulate

    # As header rows of their own: tabulate would make each column two wider than its header.
    split = [header.split("\n") for header in headers]
    height = max(map(len, split))
    above = [[lines[i] if i < len(lines) else "" for lines in split] for i in range(height)]
    table = tabulate(
        [*above, ["-" * width for width in widths], *rows],
        tablefmt="plain",
        colalign=align,
        disable_numparse=True,
        preserve_whitespace=True,
    )
    return [line.rstrip() for line in table.splitlines()]
