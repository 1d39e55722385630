"""The report as its readers use it: from a decision to the failing answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opened_page import OpenedPage
from pages import edited, two_objectives, write_page
from stored_evidence import decided

OpenPage = Callable[..., OpenedPage]

LABEL = "tests%2Ftest_a.py%3A%3Atest_label"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with two objectives, two slices and three runtimes."""
    return write_page(tmp_path_factory.mktemp("page") / "report.html", two_objectives(decided))


def test_the_decisions_come_first(open_page: OpenPage, report: Path) -> None:
    """The page opens with what can move, the chain and the reason; slices that stay are the traffic that stays."""
    page = open_page(report)
    assert page.shown("h1") == "0 of 2 objectives can move to a challenger"
    assert "→ move to mini" in page.shown(".decisions tbody tr:first-child")
    assert page.shown(".decisions tbody tr:first-child .chain") == "mini then base"
    assert "unproven on 2 of 2 slices" in page.shown(".decisions tbody tr:first-child")
    assert page.page.title().startswith("0 of 2 objectives")


def test_the_failing_answer_is_two_clicks_away(open_page: OpenPage, report: Path) -> None:
    """A red cell opens its failing cases, and a case its prompt and both answers."""
    page = open_page(report)
    page.page.locator("td[data-runtime=haiku][data-status=not_qualified] a").first.click()
    page.settle()
    assert page.listed()[0] == "✗ regression test_label[c40] haiku"
    assert "39 regressions" in page.shown("#case-list [role=status]").replace("39 of them", "39")
    page.page.locator(".cases button").first.click()
    assert "Is c40 a ticket?" in page.shown(".detail .messages")
    baseline, challenger = page.page.locator(".side").all()
    assert "Baseline: base" in baseline.inner_text()
    assert baseline.locator("del").all_inner_texts() == ["yes"]
    assert challenger.locator("ins").all_inner_texts() == ["no"]
    assert "assert 'no' == 'yes' in c40" in challenger.inner_text()
    assert "100 in, 100 out" in challenger.inner_text()
    assert "0.50 s" in challenger.inner_text()


def test_a_link_shows_the_same_after_a_reload(open_page: OpenPage, report: Path) -> None:
    """The address of an opened case opens it again, with its filters."""
    page = open_page(report)
    page.choose("show", "that flipped")
    page.page.locator("td[data-runtime=haiku][data-status=not_qualified] a").first.click()
    page.settle()
    page.page.locator(".cases button").nth(2).click()
    address = page.page.evaluate("location.hash")
    detail = page.shown(".detail")
    page.page.reload()
    page.settle()
    page.page.locator(".detail .sides").last.wait_for()
    assert page.page.evaluate("location.hash") == address
    assert page.shown(".detail") == detail
    assert page.page.locator(".matrix [aria-current=true]").count() == 1


def test_a_case_far_down_the_list_opens_from_its_link(open_page: OpenPage, report: Path) -> None:
    """A linked case is listed and opened also when it is not among the first."""
    case = f"%5B%22{LABEL}%22%2C%22c79%22%2C%22haiku%22%5D"
    page = open_page(report, f"#criterion={LABEL}&runtime=haiku&case={case}")
    page.page.locator(".detail .sides").last.wait_for()
    assert "Is c79 a ticket?" in page.shown(".detail .messages")


def test_going_back_takes_a_step_back(open_page: OpenPage, report: Path) -> None:
    """The browser's own way back undoes the last choice."""
    page = open_page(report)
    everything = len(page.listed())
    page.page.locator("td[data-runtime=mini] a").first.click()
    page.settle()
    assert {row.split()[-1] for row in page.listed()} == {"mini"}
    page.page.go_back()
    page.settle()
    assert len(page.listed()) == everything


def test_filters_narrow_the_matrix_and_the_cases(open_page: OpenPage, report: Path) -> None:
    """Runtime, slice, verdict and flips each leave what they name."""
    page = open_page(report)
    assert page.columns() == ["base", "mini", "haiku"]
    page.choose("runtime", "mini")
    assert page.columns() == ["base", "mini"]
    assert {row.split()[-1] for row in page.listed()} == {"mini"}
    page.page.locator("#clear").click()
    page.settle()
    page.choose("verdict", "not qualified")
    assert page.rows() == ["test_label"]
    page.page.locator("#clear").click()
    page.settle()
    page.choose("slice", "language=fr")
    assert page.rows() == ["test_label", "language=fr", "test_reply", "language=fr"]
    page.page.locator("#clear").click()
    page.settle()
    page.choose("show", "that flipped")
    assert {row.split()[1] for row in page.listed()} == {"regression"}
    assert page.rows() == ["test_label"]
    page.choose("show", "all")
    assert page.shown("#case-list [role=status]").startswith("276 cases")


def test_a_filter_that_leaves_nothing_says_so(open_page: OpenPage, report: Path) -> None:
    """An empty matrix and an empty list are explained."""
    page = open_page(report, "#runtime=mini&verdict=not_qualified")
    assert page.shown("#no-rows") == "No criterion matches these filters."
    assert page.shown("#case-list [role=status]") == "0 failing cases"


def test_a_verdict_of_a_slice_is_found(open_page: OpenPage, tmp_path: Path) -> None:
    """What only a slice has is shown below its criterion, and no case of another slice is listed for it."""
    mini = "".join("F" if number in (1, 3) else "P" for number in range(80))
    outcomes = {"tests/test_a.py::test_label": {"base": "P" * 80, "mini": mini}}
    bar = {"kind": "all_pass", "margin": None}
    evidence = decided(outcomes, slices=("language=fr", "language=en"), bar=bar)
    page = open_page(write_page(tmp_path / "report.html", evidence), "#show=all")
    page.choose("verdict", "qualified")
    assert page.rows() == ["test_label", "language=fr"]
    assert {row.split()[1] for row in page.listed()} == {"passes"}
    assert page.shown("#case-list [role=status]") == "40 cases"
    page.choose("slice", "language=en")
    assert page.rows() == []
    assert page.listed() == []
    page.choose("verdict", "not qualified")
    assert page.rows() == ["test_label", "language=en"]
    page.choose("slice", "language=fr")
    assert page.rows() == []
    assert page.listed() == []
    page.choose("slice", "language=en")
    assert page.shown("#case-list [role=status]") == "40 cases, 2 of them regressions"


def test_both_fail_only_where_both_failed(open_page: OpenPage, tmp_path: Path) -> None:
    """Beside a baseline that was once unavailable, and never failed, a failure is a regression, as in the cell."""

    def repeated(content: dict[str, Any]) -> None:
        samples = content["samples"]
        again = [{**sample, "sample": 1} for sample in samples]
        again[0].update(outcome="error", message="APIConnectionError: refused")
        content["samples"] = [*samples, *again]
        content["criteria"][0]["bar"]["samples"] = 2

    outcomes = {"tests/test_a.py::test_label": {"base": "PPF", "mini": "FFF"}}
    page = open_page(write_page(tmp_path / "report.html", edited(decided(outcomes), repeated)))
    assert page.listed() == [
        "✗ regression test_label[c0] mini",
        "✗ regression test_label[c1] mini",
        "✗ both fail test_label[c2] mini",
        "✗ baseline fails test_label[c2] base",
        "? unavailable test_label[c0] base",
    ]
    assert page.shown("#case-list [role=status]") == "5 failing cases, 2 of them regressions, 1 unavailable"
    assert "−2" in page.shown("tr.criterion td[data-runtime=mini] .flips")
    page.page.locator(".cases button").nth(0).click()
    page.page.locator(".detail .side").last.wait_for()
    baseline, challenger = page.page.locator(".side").all()
    assert "passed · sample 1; 1 of 2 passed" in baseline.inner_text()
    assert "failed · sample 1; 0 of 2 passed" in challenger.inner_text()


def test_the_search_finds_names_messages_prompts_and_answers(open_page: OpenPage, report: Path) -> None:
    """A search leaves the cases that hold the words, wherever they stand."""
    page = open_page(report)
    page.search("c79 a ticket")
    assert {row.split()[-2] for row in page.listed()} == {"test_label[c79]"}
    page.search("answer for c41 is")
    assert page.listed() == ["✗ regression test_label[c41] haiku"]
    page.search("REFUSED")
    assert page.listed() == ["? unavailable test_reply[c3] haiku", "? unavailable test_reply[c4] haiku"]
    page.search("nowhere")
    assert page.listed() == []


def test_more_cases_are_shown_on_demand(open_page: OpenPage, report: Path) -> None:
    """A long list starts with its most telling part."""
    page = open_page(report)
    first = len(page.listed())
    page.page.locator("button.more").click()
    assert len(page.listed()) > first


def test_slices_unfold(open_page: OpenPage, report: Path) -> None:
    """A criterion's slices are behind a button that says whether they are shown."""
    page = open_page(report)
    assert page.rows() == ["test_label", "test_reply"]
    button = page.page.locator("button.fold").first
    assert button.get_attribute("aria-expanded") == "false"
    button.click()
    assert page.rows() == ["test_label", "language=en", "language=fr", "test_reply"]
    assert button.get_attribute("aria-expanded") == "true"


def test_everything_is_reached_by_keyboard(open_page: OpenPage, report: Path) -> None:
    """Tab and Enter lead from the top of the page to a failing answer."""
    page = open_page(report, viewport={"width": 800, "height": 600})
    keyboard = page.page.keyboard

    def tab_to(selector: str) -> None:
        for _ in range(60):
            keyboard.press("Tab")
            if page.page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"{selector} is not reached by Tab")

    tab_to("td[data-runtime=haiku][data-status=not_qualified] a")
    keyboard.press("Enter")
    page.settle()
    assert page.page.evaluate("document.activeElement.id") == "cases"
    heading, bar = (page.page.locator(each).bounding_box() for each in ("#cases", "#filters"))
    assert heading["y"] >= bar["y"] + bar["height"]
    tab_to("button.case")
    keyboard.press("Enter")
    page.page.locator(".detail .sides").last.wait_for()
    assert page.page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"


def test_another_answer_can_stand_beside(open_page: OpenPage, report: Path) -> None:
    """A challenger's answer is compared with any other runtime's, with or without marks."""
    page = open_page(report, f"#criterion={LABEL}&runtime=haiku")
    page.page.locator(".cases button").first.click()
    page.page.get_by_label("Beside").select_option(label="Challenger: mini")
    assert "Challenger: mini" in page.page.locator(".side").first.inner_text()
    assert page.page.locator("ins").count()
    page.page.get_by_label("mark what differs in similar answers").uncheck()
    assert not page.page.locator("ins, del").count()


def test_answers_with_little_in_common_are_not_marked(open_page: OpenPage, tmp_path: Path) -> None:
    """Where nearly every word would be marked, none is."""

    def unlike(content: dict[str, Any]) -> None:
        content["samples"][-1]["calls"][0]["text"] = "Something else altogether, in many other words"

    evidence = edited(decided({"tests/test_a.py::test_label": {"base": "PPPP", "mini": "PPPF"}}), unlike)
    page = open_page(write_page(tmp_path / "report.html", evidence))
    page.page.locator(".cases button").first.click()
    page.page.locator(".detail .side").last.wait_for()
    assert not page.page.locator("ins, del").count()


def test_light_and_dark(open_page: OpenPage, report: Path) -> None:
    """The page follows the system, and a choice of the reader's outlives a reload."""
    ground = "getComputedStyle(document.body).backgroundColor"
    page = open_page(report, color_scheme="light")
    assert page.page.evaluate(ground) == "rgb(255, 255, 255)"
    page.page.emulate_media(color_scheme="dark")
    assert page.page.evaluate(ground) == "rgb(13, 17, 23)"
    page.page.locator("#theme").click()
    assert page.page.evaluate(ground) == "rgb(255, 255, 255)"
    page.page.reload()
    page.settle()
    assert page.page.evaluate(ground) == "rgb(255, 255, 255)"
    assert page.shown("#theme") == "Dark"


def test_the_charts_show_every_runtime(open_page: OpenPage, report: Path) -> None:
    """Both charts name the runtimes, say in words what they show, and follow the choice of objective."""
    page = open_page(report)
    page.page.locator("#pareto svg").wait_for()
    names = page.page.locator("#pareto .point-name").all_text_contents()
    assert sorted(names) == ["base", "haiku", "mini"]
    described = page.page.locator("#pareto svg").get_attribute("aria-label")
    assert described is not None
    assert re.search(r"mini: 97\.8 % at \$0\.20", described)
    assert page.page.locator("#latency .row").count() == 3
    assert "mini: median 0.50 s, p95 0.50 s" in str(page.page.locator("#latency svg").get_attribute("aria-label"))
    page.page.locator("#chart-of").select_option(label="reply")
    assert "mini: median 0.50 s, maximum" in str(page.page.locator("#latency svg").get_attribute("aria-label"))
    assert "mini: 100 % at $0.20 (73–100 %)" in str(page.page.locator("#pareto svg").get_attribute("aria-label"))


def test_names_stay_beside_their_marks(open_page: OpenPage, tmp_path: Path) -> None:
    """Among many runtimes only those with room are named, within the picture, and the rest are counted."""
    outcomes = {"base": "P" * 20, **{f"runtime-{number}": "P" * 19 + "F" for number in range(40)}}
    page = open_page(write_page(tmp_path / "report.html", decided({"tests/test_a.py::test_label": outcomes})))
    page.page.locator("#pareto svg").wait_for()
    marks = page.page.locator("#pareto .point")
    names = page.page.locator("#pareto .point-name")
    assert marks.count() == 41
    assert "base" in names.all_text_contents()
    assert names.count() < 41
    assert page.shown("#pareto p") == f"{41 - names.count()} more without room for their names: point at a mark."
    assert marks.locator("title").count() == 41
    picture = page.page.locator("#pareto svg").bounding_box()
    assert all(each.bounding_box()["y"] < picture["y"] + picture["height"] - 40 for each in names.all())


def test_it_fits_a_phone(open_page: OpenPage, report: Path) -> None:
    """On a narrow screen nothing but tables scrolls sideways, and a case still opens."""
    page = open_page(report, viewport={"width": 360, "height": 740})
    page.page.locator("td[data-runtime=haiku][data-status=not_qualified] a").first.click()
    page.settle()
    page.page.locator(".cases button").first.click()
    page.page.locator(".detail .sides").last.wait_for()
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_it_prints_what_matters(open_page: OpenPage, report: Path) -> None:
    """On paper the controls are gone and the verdicts are there."""
    page = open_page(report)
    page.page.emulate_media(media="print")
    assert not page.page.locator("#filters").is_visible()
    assert not page.page.locator("#theme").is_visible()
    assert page.page.locator(".decisions").is_visible()
    assert page.page.locator(".matrix").is_visible()


def test_without_scripts_the_decisions_are_there(open_page: OpenPage, report: Path) -> None:
    """Decisions, verdicts and facts need no JavaScript."""
    page = open_page(report, java_script_enabled=False)
    assert "move to mini" in page.shown(".decisions")
    assert "not qualified" in page.shown(".matrix")
    assert page.page.locator("noscript").is_visible()
    assert not page.page.locator("#filters").is_visible()
