"""Text from outside that is safe to print."""

from __future__ import annotations

import pytest

from pytest_proofmap.text import visible, visible_lines


@pytest.mark.parametrize("text", ["plain", "a\tb", "é ü 中文", "👩\u200d💻", "e\u0301", "[red]&<b>"])
def test_ordinary_text_stays(text: str) -> None:
    """Letters of every script, joined emoji and marks are no danger."""
    assert visible(text) == text


@pytest.mark.parametrize(
    "character", ["\x1b", "\r", "\x00", "\x9b", "\x7f", "\u202e", "\u2066", "\u2028", "\ud800", "\u200b", "\ufeff"]
)
def test_what_a_terminal_obeys_is_escaped(character: str) -> None:
    """What would move the cursor, turn the text around or not encode is written out."""
    shown = visible(f"a{character}b")
    assert shown == "a" + character.encode("unicode_escape").decode() + "b"
    assert shown.isascii()


def test_lines_stay_lines() -> None:
    """A text of several lines keeps them, and a carriage return is none."""
    assert visible_lines("a\n\tb\rc") == "a\n\tb\\rc"


@pytest.mark.parametrize("sequence", ["\x1b[0m", "\x1b[39;49;00m", "\x1b[1;31m", "\x1b[94m", "\x1b[m"])
def test_colours_stay_where_pytest_paints(sequence: str) -> None:
    """Sequences that only colour stay when they are asked for."""
    assert visible_lines(f"{sequence}a", colours=True) == f"{sequence}a"
    assert visible_lines(f"{sequence}a") == f"\\x1b{sequence[1:]}a"


@pytest.mark.parametrize(
    "sequence", ["\x1b[2J", "\x1b[8m", "\x1b[31;8m", "\x1b[5m", "\x1b]8;;u\x1b\\", "\x1b[1A", "\x9b31m"]
)
def test_nothing_but_colours_stays(sequence: str) -> None:
    """What hides, blinks, links or moves the cursor is escaped even then."""
    assert not {"\x1b", "\x9b"} & set(visible_lines(sequence, colours=True))
