"""A page of plain text: how wide it is, which characters it can show, whether it has colour, and its tables."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["GAP", "Page", "fit_labels", "fitted_table", "table", "width_of"]

GAP = 2
"""Columns between two columns of a table."""

# Nothing may hang on a character that a terminal lacks, so each has a plain stand-in.
_STAND_INS = {
    "✓": "+",
    "✗": "x",
    "→": "->",
    "×": "x",
    "≥": ">=",
    "≤": "<=",
    "…": "...",
    "−": "-",
    "–": "-",
    "±": "+/-",
    "·": "|",
}
# A number stays with what it counts.
_BREAKS = re.compile(r"(?<!\d) (?!%)")
_STYLES = {"bold": 1, "red": 31, "green": 32, "yellow": 33}
LEAST_WIDTH = 30


def width_of(text: str) -> int:
    """Return how many columns a text without control characters takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


@dataclass(frozen=True, slots=True)
class Page:
    """What a text is laid out for.

    Args:
        width: Columns of a line.
        encoding: What the characters must be written in.
        colour: Whether colours may be used.
    """

    width: int = 80
    encoding: str = "utf-8"
    colour: bool = False

    @property
    def columns(self) -> int:
        """Columns that a line may fill; a page too narrow for a table is laid out a little wider."""
        return max(self.width, LEAST_WIDTH)

    def text(self, text: str) -> str:
        """Return a text in characters that the page can show, in one line."""
        if text.isascii() and text.isprintable():
            return text
        return "".join(map(self._character, text))

    def paint(self, text: str, *styles: str) -> str:
        """Return a text in a style where the page has colour."""
        if not self.colour or not styles:
            return text
        codes = "".join(f"\x1b[{_STYLES[style]}m" for style in styles)
        return f"{codes}{text}\x1b[0m"

    def paint_all(self, lines: Iterable[str], *styles: str) -> list[str]:
        """Return lines in a style where the page has colour."""
        return [self.paint(line, *styles) for line in lines]

    def rule(self, title: str) -> str:
        """Return a line across the page with a title in it."""
        title = self.text(title)
        left = max(1, (self.columns - width_of(title) - 2) // 2)
        right = max(1, self.columns - width_of(title) - 2 - left)
        return f"{'=' * left} {title} {'=' * right}"

    def wrap(self, text: str, first: str = "", indent: str = "") -> list[str]:
        """Break a text into lines that fit.

        Args:
            text: The text.
            first: What stands before the first line.
            indent: What stands before the others.
        """
        return self.flow(_BREAKS.split(text), first, indent, gap=" ")

    def flow(self, parts: Sequence[str], first: str = "", indent: str = "", gap: str = "  ") -> list[str]:
        """Put parts into lines that fit; a part is broken only when it is wider than a line.

        Args:
            parts: The parts.
            first: What stands before the first line.
            indent: What stands before the others.
            gap: What stands between two parts of a line.
        """
        lines: list[str] = []
        current, empty = self.text(first), True
        if width_of(current.rstrip()) > self.columns:
            *lines, current = self.wrap(current.rstrip(), "", indent)
            current += " "
        for part in filter(None, map(self.text, parts)):
            before = "" if empty else gap
            if width_of(current) + width_of(before) + width_of(part) > self.columns:
                if not empty or width_of(current) > width_of(indent):
                    lines.append(current.rstrip())
                    current = indent
                *whole, part = self._pieces(part, self.columns - width_of(indent))
                lines += [indent + piece for piece in whole]
                before = ""
            current += before + part
            empty = False
        lines.append(current.rstrip())
        return lines

    def shorten(self, text: str, width: int) -> str:
        """Return the beginning of a text that fits into a number of columns."""
        text = self.text(text)
        if width_of(text) <= width:
            return text
        dots = self.text("…")
        return _head(text, max(0, width - len(dots))).rstrip() + dots

    def shorten_middle(self, text: str, width: int) -> str:
        """Return a name that fits into a number of columns, with its beginning and its end."""
        text = self.text(text)
        if width_of(text) <= width:
            return text
        dots = self.text("…")
        room = max(0, width - len(dots))
        head = _head(text, (room + 1) // 2)
        tail = _head(text[::-1], room - width_of(head))[::-1]
        return head + dots + tail

    def _pieces(self, text: str, width: int) -> list[str]:
        pieces = []
        while width_of(text) > width:
            head = _head(text, max(width, 2))
            # Between words where there are any: text[len(head)] may be the space that ends the last one.
            cut = text.rfind(" ", 1, len(head) + 1)
            head = head if cut < 0 else text[:cut]
            pieces.append(head)
            text = text[len(head) :].lstrip(" ")
        return [*pieces, text]

    def _character(self, character: str) -> str:
        if character in "\t\r\n":
            return " "
        try:
            character.encode(self.encoding)
        except UnicodeEncodeError:
            return _STAND_INS.get(character) or _escape(character)
        return character if character.isprintable() or unicodedata.combining(character) else _escape(character)


def fit_labels(labels: Sequence[str], page: Page, width: int) -> list[str]:
    """Return labels that fit into a number of columns, without the ``test_`` that says nothing."""
    shown = [page.text(label) for label in labels]
    if all(width_of(label) <= width for label in shown):
        return shown
    return [page.shorten_middle(label.removeprefix("test_"), width) for label in shown]


def fitted_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str], page: Page, least: int = 12
) -> list[str] | None:
    """Return a table whose first column gives way to the others; None where the page has no room for that.

    Args:
        headers: Header of each column, of one line or more.
        rows: The cells.
        align: ``left`` or ``right`` for each column.
        page: Where to show it.
        least: Columns that names in the first column need, where they are that long.
    """
    rows = [[page.text(cell) for cell in row] for row in rows]
    widths = [
        max(map(width_of, [*header.split("\n"), *(row[place] for row in rows)]))
        for place, header in enumerate(headers)
    ]
    room = page.columns - sum(widths[1:]) - GAP * (len(widths) - 1)
    if room < min(widths[0], least):
        return None
    widths[0] = min(widths[0], room)
    return table(headers, [[page.shorten_middle(name, room), *cells] for name, *cells in rows], widths, align)


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], align: Sequence[str]
) -> list[str]:
    """Return the lines of a table whose columns are no wider than what is in them.

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
    laid_out = tabulate(
        [*above, ["-" * width for width in widths], *rows],
        tablefmt="plain",
        colalign=align,
        disable_numparse=True,
        preserve_whitespace=True,
    )
    return [line.rstrip() for line in laid_out.splitlines()]


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _head(text: str, width: int) -> str:
    """Return as much of a text's beginning as fits into a number of columns."""
    used = 0
    for position, character in enumerate(text):
        used += width_of(character)
        if used > width:
            return text[:position]
    return text
