"""Text from outside that is safe to print."""

from __future__ import annotations

import pytest

from pytest_proofmap.visible import visible


@pytest.mark.parametrize("text", ["plain", "a\tb", "é ü 中文", "👩\u200d💻", "e\u0301", "[red]&<b>"])
def test_ordinary_text_stays(text: str) -> None:
    """Letters of every script, joined emoji and marks are no danger."""
    assert visible(text) == text


@pytest.mark.parametrize(
    "character", ["\x1b", "\r", "\x00", "\x9b", "\x7f", "\u202e", "\u2066", "\u2028", "\ud800"]
)
def test_what_a_terminal_obeys_is_escaped(character: str) -> None:
    """What would move the cursor, turn the text around or not encode is written out."""
    shown = visible(f"a{character}b")
    assert shown == "a" + character.encode("unicode_escape").decode() + "b"
    assert shown.isascii()
