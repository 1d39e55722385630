"""The page of two runs: what flipped, what moved, and a runtime's old answer beside its new one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from opened_page import OpenedPage
from pages import edited, with_requests
from stored_evidence import decided

from pytest_proofmap.cli import main
from pytest_proofmap.evidence.models import Evidence

CRITERION = "tests/test_a.py::test_label"


def another_run(content: dict[str, Any]) -> None:
    """Give a run its own id and answers."""
    with_requests(content)
    content["run"]["id"] = "later"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two runs between which a challenger lost its verdict."""
    folder = tmp_path_factory.mktemp("page")
    old = edited(decided({CRITERION: {"base": "P" * 60, "mini": "P" * 59 + "F"}}), with_requests)
    new = edited(decided({CRITERION: {"base": "P" * 60, "mini": "P" * 35 + "F" * 24 + "P"}}), another_run)
    for name, evidence in (("old", old), ("new", new)):
        (folder / f"{name}.json").write_text(as_json(evidence), encoding="utf-8")
    arguments = ["diff", str(folder / "old.json"), str(folder / "new.json"), "--html"]
    invoked = CliRunner().invoke(main, arguments)
    assert invoked.exit_code == 0, invoked.output
    assert invoked.output == f"report written to {folder / 'new.diff.html'}\n"
    return folder / "new.diff.html"


def as_json(evidence: Evidence) -> str:
    """Return an artifact as it is stored."""
    return evidence.model_dump_json(by_alias=True)


def test_what_changed_comes_first(open_page: Callable[..., OpenedPage], comparison: Path) -> None:
    """Flips are told before the decisions, and the cell says what its verdict was."""
    page = open_page(comparison)
    headings = page.page.locator("h2").all_inner_texts()
    assert headings[:2] == ["What changed", "Decisions"]
    assert "mini qualified → not qualified" in page.shown("section:has(#changes)")
    cell = page.page.locator("tr.criterion td[data-runtime=mini]").inner_text()
    assert "not qualified" in cell
    assert "was qualified" in cell


def test_the_old_answer_stands_beside_the_new_one(open_page: Callable[..., OpenedPage], comparison: Path) -> None:
    """A flipped case opens with what the same runtime said before."""
    page = open_page(comparison)
    page.choose("show", "that flipped")
    listed = page.listed()
    assert "✗ change for the worse test_label[c35] mini" in listed
    page.page.locator(".cases button.case", has_text="c35").click()
    page.page.locator(".detail .sides").last.wait_for()
    old, new = page.page.locator(".side").all()
    assert "OLD: mini" in old.inner_text()
    assert "✓ passed" in old.inner_text()
    assert old.locator("del").all_inner_texts() == ["yes"]
    assert "NEW: mini" in new.inner_text()
    assert new.locator("ins").all_inner_texts() == ["no"]
    assert page.page.get_by_label("Beside").locator("option").all_inner_texts() == [
        "nothing",
        "NEW: base",
        "OLD: base",
        "OLD: mini",
    ]


def test_a_change_for_the_better_is_a_flip_too(open_page: Callable[..., OpenedPage], comparison: Path) -> None:
    """A case that failed before and passes now is told apart from one that got worse."""
    page = open_page(comparison, "#show=flips")
    assert "✓ change for the better test_label[c59] mini" in page.listed()


def test_only_flips_between_the_runs_are_flips(open_page: Callable[..., OpenedPage], tmp_path: Path) -> None:
    """The matrix and the list agree: what differs from the baseline in both runs alike has not flipped."""
    alike, moved = "tests/test_a.py::test_alike", "tests/test_a.py::test_moved"
    runs = {
        "old": ({alike: {"base": "PPP", "mini": "PPF"}, moved: {"base": "FPP", "mini": "PPP"}}, with_requests),
        "new": ({alike: {"base": "PPP", "mini": "PPF"}, moved: {"base": "FPP", "mini": "FPP"}}, another_run),
    }
    for name, (outcomes, edit) in runs.items():
        evidence = edited(decided(outcomes, objective="titles"), edit)
        (tmp_path / f"{name}.json").write_text(as_json(evidence), encoding="utf-8")
    CliRunner().invoke(main, ["diff", str(tmp_path / "old.json"), str(tmp_path / "new.json"), "--html"])
    page = open_page(tmp_path / "new.diff.html", "#show=flips")
    assert page.listed() == ["✗ change for the worse test_moved[c0] mini"]
    assert page.rows() == ["test_moved"]
