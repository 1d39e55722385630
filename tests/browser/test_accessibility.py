"""axe finds nothing to object to, in any state of the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opened_page import OpenedPage
from pages import two_objectives, write_page
from stored_evidence import decided

LABEL = "tests%2Ftest_a.py%3A%3Atest_label"
CASE = f"#criterion={LABEL}&runtime=haiku&case=%5B%22{LABEL}%22%2C%22c41%22%2C%22haiku%22%5D"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with two objectives, two slices and three runtimes."""
    return write_page(tmp_path_factory.mktemp("page") / "report.html", two_objectives(decided))


def violations(page: OpenedPage) -> list[str]:
    """Return what axe objects to, with the first place of each."""
    axe = pytest.importorskip("axe_playwright_python")
    script = Path(axe.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    # The page's policy allows no foreign script in the page: axe runs beside it.
    found: dict[str, Any] = page.page.evaluate(
        f"async (rules) => {{ {script}; return await axe.run({{ runOnly: rules }}); }}", RULES
    )
    assert found["passes"]
    return [
        f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]} ({len(each['nodes'])})"
        for each in found["violations"]
    ]


@pytest.mark.parametrize(
    ("scheme", "width", "place"),
    [
        pytest.param("light", 1280, "", marks=pytest.mark.nightly),
        pytest.param("dark", 360, "", marks=pytest.mark.nightly),
        ("dark", 1280, CASE),
        ("light", 360, CASE),
    ],
    ids=["page", "page-dark-phone", "case-dark", "case-phone"],
)
def test_nothing_is_out_of_reach(
    open_page: Callable[..., OpenedPage], report: Path, scheme: str, width: int, place: str
) -> None:
    """The page and an opened case, light and dark, wide and narrow, keep the rules of WCAG 2.2 AA."""
    page = open_page(report, place, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.page.locator("#pareto svg").wait_for()
    if place:
        page.page.locator(".detail .sides").last.wait_for()
    assert violations(page) == []
