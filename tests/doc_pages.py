"""Reads the code blocks of a Markdown page, with the notes before them that say how to run them.

A note is an HTML comment directly above a block: ``file: PATH`` (the block is that file of the page's project),
``exit: N`` (the exit status of the block's last command) or ``not run: REASON``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "Command", "blocks", "commands", "shows"]

BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[a-z ]+): (?P<value>[^\n]+?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    page: Path
    line: int
    language: str
    text: str
    note: str | None
    value: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a console block and the lines that the page shows below it."""

    text: str
    shown: list[str]


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, found.start("language")) + 1,
            language=found["language"],
            text=re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
            note=found["note"],
            value=found["value"] or "",
        )
        for found in BLOCK.finditer(text)
    ]


def commands(block: Block) -> list[Command]:
    """Return the commands of a console block: each starts with ``$``, what follows is its output."""
    found: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], []))
        elif line.strip():
            assert found, f"{block}: output before any command"
            found[-1].shown.append(line)
    return found


def shows(output: list[str], expected: list[str]) -> str | None:
    """Return the first expected line that the output lacks, or None.

    The lines must follow each other in this order; a line ``...`` stands for any number of lines, ``...`` at the
    end of a line for its rest, and durations count as equal.
    """
    lines = iter([_timeless(line) for line in output])
    for line in expected:
        if line.strip() == "...":
            continue
        start, is_cut = _timeless(line.removesuffix("...")), line.endswith("...")
        if not any(each.startswith(start) if is_cut else each == start for each in lines):
            return line
    return None


def _timeless(line: str) -> str:
    # pytest fills its last line with as many signs as the duration leaves room for.
    line = re.sub(r"\d+\.\d\ds( \(\d+:\d\d:\d\d\))?", "0.00s", line.rstrip())
    return re.sub(r"={3,}", "===", line)
