"""The page: characters, widths, wrapping and colour."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_proofmap.report.page import Page, fitted_table, width_of

SIGNS = "✓ ✗ → × ≥ … − –"


def test_ascii_stand_ins() -> None:
    """Every character of ours has a stand-in where the encoding lacks it; others are escaped."""
    page = Page(encoding="ascii")
    assert page.text(SIGNS) == "+ x -> x >= ... - -"
    assert page.text("für") == r"f\xfcr"
    assert Page(encoding="latin-1").text("× für ✓") == "× für +"


def test_control_characters_are_shown_and_not_sent() -> None:
    """A model's answer can't move the cursor or change colours."""
    assert Page().text("a\x1b[31mb\nc") == r"a\x1b[31mb c"


def test_a_lone_surrogate_is_escaped() -> None:
    """Text that no encoding can hold does not crash the summary."""
    assert Page().text("a\ud800") == r"a\ud800"


def test_wide_characters_take_two_columns() -> None:
    """Widths are those of a terminal."""
    assert width_of("日本") == 4
    assert Page().shorten("日本語の文章", 7) == "日本語…"


def test_shortening_in_the_middle_keeps_both_ends() -> None:
    """A long name keeps its beginning and its end."""
    assert Page().shorten_middle("test_a_very_long_name_indeed", 12) == "test_a…ndeed"
    assert Page(encoding="ascii").shorten_middle("test_a_very_long_name_indeed", 12) == "test_...deed"
    assert Page().shorten_middle("short", 12) == "short"


@pytest.mark.parametrize("colour", [True, False])
def test_paint(colour: bool) -> None:
    """Without colour nothing is added to a text."""
    painted = Page(colour=colour).paint("yes", "green", "bold")
    assert painted == ("\x1b[32m\x1b[1myes\x1b[0m" if colour else "yes")


@given(st.text(), st.integers(30, 90), st.sampled_from(["utf-8", "ascii", "cp1252"]))
def test_wrapped_lines_fit_and_can_be_written(text: str, width: int, encoding: str) -> None:
    """Whatever a text holds, its lines fit into the page and its encoding."""
    page = Page(width, encoding)
    for line in page.wrap(text, "- ", "    "):
        assert width_of(line) <= width
        line.encode(encoding)


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126)), st.integers(4, 40))
def test_shortened_texts_fit(text: str, width: int) -> None:
    """Both ways of shortening keep within the width."""
    for encoding in ("utf-8", "ascii"):
        page = Page(encoding=encoding)
        assert width_of(page.shorten(text, width)) <= width
        assert width_of(page.shorten_middle(text, width)) <= width


def test_flow_keeps_parts_whole() -> None:
    """Parts go to the next line whole, and only one wider than a line is broken."""
    assert Page(30).flow(["x" * 20, "a b c d e f", "y" * 33], "> ", "  ") == [
        "> " + "x" * 20,
        "  a b c d e f",
        "  " + "y" * 28,
        "  " + "y" * 5,
    ]


def test_numbers_stay_with_what_they_count() -> None:
    """A line does not end in a number that belongs to the next word or sign."""
    assert Page(30).wrap("confident for sure, at all (95 %) of 12 cases") == [
        "confident for sure, at all",
        "(95 %) of 12 cases",
    ]


@pytest.mark.parametrize("width", range(30, 60))
def test_the_first_column_of_a_table_gives_way(width: int) -> None:
    """Names are shortened as far as they can be told apart, figures never; where that fails there is no table."""
    rows = [["a-runtime-with-a-rather-long-name", "$0.0018", "11× cheaper"], ["mini", "$12", "the same"]]
    lines = fitted_table(["runtime", "list\ncost", "vs baseline"], rows, ["left", "right", "left"], Page(width))
    assert (lines is None) == (width < 12 + 2 + 7 + 2 + 11)
    for line in lines or ():
        assert width_of(line) <= width
    assert lines is None or all(figure in "\n".join(lines) for row in rows for figure in row[1:])
