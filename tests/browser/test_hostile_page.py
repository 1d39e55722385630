"""What models, tests and names contain stays text: nothing of it runs, and nothing of it misleads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opened_page import OpenedPage
from pages import edited, write_page
from stored_evidence import decided

from pytest_proofmap.report.html.cases import INFORMATIVE_CHARACTERS

OpenPage = Callable[..., OpenedPage]

SCRIPTS = (
    "</script><script>window.pwned = 1</script>"
    "<img src=x onerror='window.pwned = 2'><svg onload='window.pwned = 3'>"
    "<style>body { display: none }</style><base href='http://192.0.2.1/'>"
    "<meta http-equiv=refresh content='0;url=http://192.0.2.1/'><!-- <![CDATA[ "
    "{{ 7 * 7 }} ${7 * 7} javascript:window.pwned=4"
)
DIRECTION = "safe\u202etxt.exe\u2066 \u200fleft"
TERMINAL = "\x1b[31mred\x1b]8;;http://192.0.2.1\x07link\x00\x9b2J"
BROKEN = "half \ud83d a pair \udc00, \ufffe, \x7f"
HOSTILE = f"{SCRIPTS}\n{DIRECTION}\n{TERMINAL}\n{BROKEN}"


def poisoned(content: dict[str, Any]) -> None:
    """Put hostile text wherever a model, a test or a person can put text."""
    line = HOSTILE.replace("\n", " ")
    for sample in content["samples"]:
        sample["case"] = f"{sample['case']} {line}"
        sample["message"] = sample["message"] and HOSTILE
        for call in sample["calls"]:
            call["text"] = HOSTILE + call["text"]
            call["model"] = line
            call["tool_calls"] = [{"function": {"name": line, "arguments": HOSTILE}}]
            content["requests"][call["key"]] = {"messages": [{"role": line, "content": HOSTILE}], "params": {}}
    for criterion in content["criteria"]:
        criterion["collected"] = [f"{case} {line}" for case in criterion["collected"]]
    for runtime in content["runtimes"].values():
        runtime["model"] = line
        runtime["params"] = {line: line}
    content["prompts"] = {
        line: {line: {"file": line, "sha256": "0" * 64, "messages": [{"role": line, "content": HOSTILE}]}}
    }
    content["run"]["complete"] = False
    content["run"]["incomplete_reasons"] = [line]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose every text is hostile."""
    evidence = decided(
        {"tests/test_a.py::test_<script>alert(1)</script>": {"base": "P" * 12, "mini": "P" * 10 + "FE"}},
        slices=("language=<b>fr</b>", 'language="><script>window.pwned=5</script>'),
        latency_s=0.5,
    )
    return write_page(tmp_path_factory.mktemp("page") / "report.html", edited(evidence, poisoned))


def test_nothing_runs(open_page: OpenPage, report: Path) -> None:
    """No script, style, picture or address of the texts comes to life, in the page or in an opened case."""
    page = open_page(report)
    for row in range(2):
        page.page.locator(".cases button.case").nth(row).click()
        page.page.locator(".detail .sides").last.wait_for()
    assert page.page.evaluate("window.pwned") is None
    assert page.page.locator("img, base, iframe, object, embed").count() == 0
    assert page.page.locator("meta[http-equiv=refresh]").count() == 0
    assert page.page.evaluate("[...document.querySelectorAll('style')].length") == 1
    assert page.page.locator("main").is_visible()
    assert not page.page.locator("a[href]:not([href^='#'])").count()


def test_hidden_characters_are_seen(open_page: OpenPage, report: Path) -> None:
    """Marks of direction, control characters and broken pairs are written out, everywhere."""
    page = open_page(report)
    page.page.locator(".cases button.case").first.click()
    page.page.locator(".detail .sides").last.wait_for()
    seen = page.page.evaluate("document.body.innerText")
    assert "safe\\u202etxt.exe\\u2066" in seen
    assert "\\u001b[31mred" in seen
    assert "half \\ud83d a pair \\udc00" in seen
    everything = page.page.evaluate("document.querySelector('main').textContent + document.title")
    assert not set(everything) & set("\u202e\u2066\u200f\x1b\x00\x9b\x7f")


def test_the_search_takes_any_text(open_page: OpenPage, report: Path) -> None:
    """Quotes, brackets and backslashes in a search are what they are."""
    page = open_page(report)
    page.search("content='0;url=http://192.0.2.1/'><!-- <![CDATA[ {{ 7 * 7 }} ${7 * 7}")
    assert len(page.listed()) == 2
    page.search('\\"')
    assert page.listed() == []


def test_an_address_can_inject_nothing(open_page: OpenPage, report: Path) -> None:
    """Names that no run has, and markup, in the address are shown as text or not at all."""
    place = "#criterion=%3Cimg%20src%3Dx%20onerror%3Dpwned%3D6%3E&runtime=%22%3E%3Cscript%3E&case=%7B&show=zzz"
    page = open_page(report, place)
    assert page.page.evaluate("window.pwned") is None
    assert page.listed() == []


def test_a_long_answer_is_cut_and_says_so(open_page: OpenPage, tmp_path: Path) -> None:
    """An answer of 10 MB leaves the page small, and the page says how much more there is."""
    size = 10_000_000

    def lengthened(content: dict[str, Any]) -> None:
        content["samples"][-1]["calls"][0]["text"] = "x" * size
        content["samples"][-1]["message"] = "y" * size

    evidence = decided({"tests/test_a.py::test_long": {"base": "PPPP", "mini": "PPPF"}})
    path = write_page(tmp_path / "report.html", edited(evidence, lengthened))
    assert path.stat().st_size < 1_000_000
    page = open_page(path)
    page.page.locator(".cases button.case").first.click()
    page.page.locator(".detail .sides").last.wait_for()
    assert f"{size - INFORMATIVE_CHARACTERS:,} more characters are in the artifact" in page.shown(".detail")
