"""Hostile text in Markdown is shown as it is and means nothing."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rendered_markdown import Rendered, render

from pytest_proofmap.report.markdown import clip, clip_middle, code, prose, shown

HOSTILE = [
    "a|b\\|c\\\\|d",
    "`x``y```",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</code></details></td>",
    "<!-- proofmap --><!--",
    "--> text",
    "@octocat and @org/team",
    "#123 owner/repo#4 GH-7 octo@a5c3785ed8d6a35868bc169f07e40e889087fd2e",
    "deadbeef a5c3785 1234567",
    "[x](https://evil.example) ![y](//evil.example/p.png) [z]: https://e.example",
    "https://evil.example www.evil.example WWW.evil.example mailto:me@evil.example me@evil.example",
    "xmpp:foo@bar.baz/txt ftp://x.example",
    "&lt;b&gt; &amp; &#64;x &copy; &#x3c;i>",
    "\x1b[31mred\x1b]8;;https://e.example\x07link\x07",
    "\u202eevil\u2066x\u2069 a\u200bb\ufeff\u00ad\U000e0041",
    "\ud800 lone \udfff",
    "line\nbreak\r\n# heading\n- list\n\n    code\n```\nfence",
    "- x",
    "1. x",
    "2) x",
    "-",
    "7.",
    "-5 x",
    "+ x",
    "> quote",
    "***",
    "--- | ---",
    "$a$ $$b$$ $`c`$",
    ":smile: :+1:",
    "~~gone~~ **bold** _it_ __b__ ^1",
    "[^1] [ ] [x]",
    "{{ x }} {% y %} {+ z +}",
    "  two  blanks\t and a tab ",
    "nul\x00 del\x7f c1\x9b",
    "===",
    "(#1) \"@me\" 'www.x.example', <b>:",
]

MEAN = st.text(
    st.one_of(
        st.sampled_from("|`\\<>&@#[]()!*_~:/.$^{}-+=\"' \n\t1aw\u200b\u202e\x1b;x"),
        st.characters(),
        st.sampled_from(["\ud800"]),
    ),
    max_size=40,
)
WORDS = st.lists(
    st.sampled_from(
        [
            "www.",
            "https://",
            "e.example",
            "@",
            "me",
            "#",
            "12",
            "GH-",
            "<b>",
            "<!--",
            "-->",
            "|",
            "`",
            " ",
            "\\",
            ":x:",
        ]
    ),
    max_size=12,
).map("".join)


def check(page: Rendered, text: str, tags: set[str]) -> None:
    """Check that a page shows a text and nothing else, with these elements and no more."""
    assert page.text.replace("\n", "") == text
    assert set(page.tags) <= tags
    assert set(page.comments) <= {" "}
    assert page.finds == []


@given(MEAN | WORDS)
@pytest.mark.parametrize("write", [code, prose])
def test_any_text_is_shown_and_means_nothing(write: object, text: str) -> None:
    """In a sentence, a list, a table and a summary a page shows just the text."""
    assert callable(write)
    markdown = write(text)
    line = shown(text)
    check(render(f"so: {markdown}"), f"so: {line}".rstrip(), {"p", "code"})
    check(render(f"- {markdown}"), line, {"ul", "li", "code"})
    cells = {"table", "thead", "tbody", "tr", "th", "td", "code"}
    check(render(f"| a | b |\n| --- | --- |\n| {markdown} | z |"), f"ab{line}z", cells)
    check(
        render(f"<details><summary>{markdown}</summary>\n\nz\n\n</details>"),
        f"{line}z",
        {"details", "summary", "p", "code"},
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts(text: str) -> None:
    """The texts that would do most are shown as they are."""
    for write in (code, prose):
        check(render(f"- {write(text)}"), shown(text), {"ul", "li", "code"})
        check(render(f"so: {write(text)}"), f"so: {shown(text)}", {"p", "code"})


@given(st.text(st.characters(codec="utf-8")) | MEAN)
@example("👩‍👩‍👧 می‌خواهم é")
@example("a\u200db")
def test_what_is_invisible_is_written_out(text: str) -> None:
    """What is shown can be encoded, is one line, and differs from the text only where that shows nothing."""
    line = shown(text)
    line.encode()
    assert "\n" not in line
    if text.isprintable() and not any(each in text for each in "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"):
        assert line == " ".join(text.split())


def test_joiners_stay_where_they_shape() -> None:
    """A family of emoji stays one; a joiner that hides between ASCII letters is written out."""
    assert shown("👩\u200d👧") == "👩\u200d👧"
    assert shown("yes\u200d") == "yes\\u200d"
    assert shown("می\u200cخواهم") == "می\u200cخواهم"


def test_plain_sentences_stay_readable() -> None:
    """A verdict's reason is prose, and only names that might mean more are code."""
    text = "12 regressions, 9 improvements in 60 cases cannot exclude a 20-point loss; 84 would"
    assert prose(text) == text.replace("20-point", "<code>20-point</code>")
    assert prose("not enough evidence for gpt-4o (95 %), mini") == (
        "not enough evidence for <code>gpt-4o</code> (95 %), mini"
    )


def test_long_texts_are_clipped() -> None:
    """Messages keep their beginning, names their beginning and end."""
    assert clip("short", 10) == "short"
    assert clip("a" * 20, 10) == "a" * 9 + "…"
    assert clip_middle("a" * 20 + "end", 10) == "aaaaaa…end"
    assert clip(" " * 100 + "x", 10) == "…"


def test_ten_million_characters_take_no_time() -> None:
    """Of a huge message only as much is looked at as is shown."""
    huge = "<\x1b@" * 3_500_000
    started = time.process_time()
    assert len(clip(huge, 240)) == 240
    assert len(clip_middle(huge, 80)) <= 80
    # Looking at each of its characters would take over a second.
    assert time.process_time() - started < 0.5
