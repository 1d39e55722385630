"""The view of a run: each figure that a page prints is the view's, and the same on every page."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any

import pytest
from rendered_markdown import render as render_markdown
from report_states import State, states

from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.evidence.models import CellLook
from pytest_proofmap.plugin.junit import suite_properties
from pytest_proofmap.report.html.document import html_report
from pytest_proofmap.report.markdown import markdown_report
from pytest_proofmap.report.page import Page
from pytest_proofmap.report.text import render
from pytest_proofmap.report.view import View, view_of_evidence

RANGE = re.compile(r"\d+–\d+ %")
STATES = states()


def one_line(text: str) -> str:
    """Return a text whose lines and blanks do not matter."""
    return " ".join(text.split())


class Pages:
    """The pages of a state, as their readers see them."""

    def __init__(self, state: State) -> None:
        self.evidence = decide_evidence(state.evidence) if state.decides else state.evidence
        self.view: View = view_of_evidence(self.evidence)
        # So wide that no line is broken.
        self.text = one_line("\n".join(render(self.view, Page(10_000), verbosity=2)))
        self.short = one_line("\n".join(render(self.view, Page(10_000), verbosity=-1)))
        self.markdown = one_line(render_markdown(markdown_report(self.view, 10_000_000)).text)
        page = "".join(html_report(self.evidence, self.view)).split('<script type="application/json"')[0]
        body = re.sub(r"<style>.*?</style>|<title>.*?</title>", "", page, flags=re.DOTALL)
        self.html = one_line(html.unescape(re.sub(r"<[^>]*>", " ", body)))
        self.all = {"text": self.text, "markdown": self.markdown, "html": self.html}


@pytest.fixture(scope="module", params=STATES, ids=[state.name for state in STATES])
def pages(request: pytest.FixtureRequest) -> Pages:
    """The pages of each state."""
    return Pages(request.param)


def test_pass_rates_have_one_interval(pages: Pages) -> None:
    """Counts stand beside the interval of the evidence, rounded outwards, and no page prints another."""
    rates = [cell.rate for criterion in pages.view.criteria for cell in criterion.cells if cell.rate]
    told = {rate.range for rate in rates}
    for rate in rates:
        low, high = rate.interval
        first, last = map(int, re.findall(r"\d+", rate.range))
        assert first <= 100 * low + 1e-9 < first + 1
        assert last - 1 < 100 * high - 1e-9 <= last
        assert f"{rate.counts} {rate.range}" in pages.text
        assert f"{rate.counts} ({rate.range})" in pages.markdown
        assert f"{rate.counts} {rate.text} interval {rate.range}" in pages.html
    for name, page in pages.all.items():
        assert set(RANGE.findall(page)) <= told, name
        assert ("two-sided interval of the pass rate" in page) == bool(told), name
        assert pages.view.interval_note in page, name
        assert "≥" not in page, name


def test_needs_are_told_alike(pages: Pages) -> None:
    """What would settle an open verdict is the same number in the table of each page."""
    for missing in pages.view.missing:
        assert f"{missing.runtime} {missing.needs_text}" in pages.markdown
        assert f"{missing.runtime} {missing.needs_text}" in pages.html
    told = {missing.needs_text for missing in pages.view.missing}
    for objective in pages.view.objectives:
        if len(objective.criteria) == 1:
            assert {
                standing.needs_text for standing in objective.standings.values() if standing.needs_text
            } <= told
    for route in pages.view.routes:
        plain = not any(standing.status == "qualified" for standing in route.standings)
        for standing in route.standings if plain and not route.is_promoted and not route.is_sensitive else ():
            assert f"{standing.sign} {standing.runtime} {standing.needs_text or ''}".rstrip() in pages.text


def test_costs_are_told_alike(pages: Pages) -> None:
    """What was asked for, spent and listed, and what each runtime costs, is the same on each page."""
    for name, page in pages.all.items():
        assert pages.view.money.line() in page, name
        for runtime in pages.view.runtimes:
            if runtime.cost.usd is None:
                continue
            shown = one_line(f"{runtime.runtime} {runtime.cost.text} {runtime.per_1k.text} {runtime.versus}")
            assert shown.removesuffix(" unknown") in page, name
    assert pages.view.money.line() in pages.short
    for chart in pages.view.charts():
        if len(pages.view.objectives) == 1:
            per_1k = {runtime.runtime: runtime.per_1k.text for runtime in pages.view.runtimes}
            assert all(f" at {per_1k[point['runtime']]} " in point["shown"] for point in chart["points"])


def test_charts_have_the_interval_of_the_cell(pages: Pages) -> None:
    """Where an objective has one criterion its chart shows what the cell shows."""
    charts = {chart["name"]: chart for chart in pages.view.charts()}
    for objective in pages.view.objectives:
        if len(objective.criteria) == 1 and objective.name in charts:
            for point in charts[objective.name]["points"]:
                rate = objective.criteria[0].whole.cells[point["runtime"]].rate
                assert rate is not None
                assert (point["low"], point["high"]) == pytest.approx(rate.interval)
                assert point["shown"].startswith(rate.text)
                assert rate.range in point["shown"]


def test_regressions_are_the_cells(pages: Pages) -> None:
    """Lists of cases, sentences and cells count the same regressions, by the rule of the verdicts."""
    counted: dict[str, list[int]] = {}
    for criterion in pages.evidence.criteria:
        for cell in criterion.cells:
            if cell.slice is None and cell.role == "challenger":
                counted.setdefault(cell.runtime, []).append(cell.regressions or 0)
                named = [
                    case
                    for case in pages.view.regressions
                    if (case.criterion, case.runtime) == (criterion.id, cell.runtime)
                ]
                assert len(named) == (cell.regressions or 0)
                if cell.regressions:
                    assert f"−{cell.regressions}" in pages.html
    for runtime, numbers in counted.items():
        failed = [case for case in pages.view.nonpasses if case.runtime == runtime]
        if sum(numbers) and {case.kind for case in failed} == {"regression"}:
            number = f"{sum(numbers)} case{'s' * (sum(numbers) != 1)}"
            assert f"{runtime} fails {number} that the baseline passes" in pages.text
        elif sum(numbers):
            assert f", {sum(numbers)} of which the baseline passes (regressions)" in pages.text
    total = sum(map(sum, counted.values()))
    assert (f"Regressions: {total} case" in pages.markdown) == bool(total)


def kinds_in(name: str) -> dict[tuple[str, str], str]:
    """Return how cases compare with the baseline in a state, by case and runtime."""
    state = next(state for state in STATES if state.name == name)
    view = view_of_evidence(decide_evidence(state.evidence))
    return {(case, runtime): kind for (_, case, runtime), kind in view.kinds.items()}


def test_a_regression_takes_half_of_the_samples() -> None:
    """Of three samples one that fails is told apart from a case that got worse."""
    assert kinds_in("repeated_samples") == {
        ("c0", "mini"): "partly",
        ("c1", "mini"): "both",
        ("c1", "base"): "baseline",
        ("c2", "mini"): "regression",
        ("c3", "mini"): "regression",
    }


def test_a_request_that_cases_share_counts_once() -> None:
    """What asks for the same as an earlier case is told as such, and is no further regression."""
    kinds = kinds_in("repeated_requests")
    assert {case for (case, runtime), kind in kinds.items() if kind == "regression"} == {"c8", "c10"}
    assert {case for (case, runtime), kind in kinds.items() if kind == "repeated"} == {
        f"c{number}" for number in range(1, 12, 2)
    }


def test_a_case_after_the_last_look_is_no_regression() -> None:
    """What a used-up look refuses is told as such, and counts neither in the cell nor in the lists."""
    evidence = decide_evidence(next(state.evidence for state in STATES if state.name == "a_challenger_moves"))
    look = CellLook(planned=2, number=2, restarts=0, cases=58, refused=["c58", "c59"])
    (criterion,) = evidence.criteria
    cells = [
        cell.model_copy(update={"look": look, "regressions": (cell.regressions or 0) - 2})
        if cell.runtime == "haiku"
        else cell
        for cell in criterion.cells
    ]
    criteria = [criterion.model_copy(update={"cells": cells})]
    view = view_of_evidence(evidence.model_copy(update={"criteria": criteria}))
    assert view.criteria[0].whole.cells["haiku"].regressions == len(view.regressions) == 18
    assert [case.case for case in view.nonpasses if case.kind == "refused"] == ["c58", "c59"]
    text = "\n".join(render(view, Page(), verbosity=2))
    assert "haiku fails 20 cases, 18 of which the baseline passes (regressions)" in text
    assert "test_label[c59] refused after the last look: assert" in text


def test_headline_findings_and_incompleteness_are_one(pages: Pages) -> None:
    """What can move, what fails and why evidence is incomplete are said in the same words."""
    line = pages.view.headline.text
    assert line in pages.markdown
    assert line[1:] in pages.html
    if pages.view.routes:
        assert pages.view.movement in pages.text
    for finding in pages.view.findings:
        assert all(one_line(finding.text) in page for page in pages.all.values())
    if pages.view.incomplete is not None:
        assert all(pages.view.incomplete in page for page in pages.all.values())


def test_a_junit_file_has_the_same_figures(pages: Pages) -> None:
    """What a JUnit file says of a run is what the pages say, as plain numbers."""
    told = {name: str(value) for name, value in suite_properties(pages.view)}
    assert told["proofmap.findings"] == str(len(pages.view.findings))
    assert pages.text.startswith(f"{int(told['proofmap.calls']):,} call")
    for name, amount in (("spent", pages.view.money.spent), ("list", pages.view.money.listed)):
        usd = told.get(f"proofmap.{name}_usd")
        assert amount.text == ("unknown" if usd is None else replace(amount, usd=float(usd)).text)
    for objective in pages.view.objectives:
        for (slice_name, runtime), standing in objective.standings.items():
            where = objective.name if slice_name is None else f"{objective.name}/{slice_name}"
            assert told[f"proofmap.verdict[{where}][{runtime}]"] == standing.status
            assert f"{standing.sign} {standing.word} {runtime} : {one_line(standing.reason)}" in pages.html


def test_verdicts_and_chains_are_those_of_the_evidence(pages: Pages) -> None:
    """The tree leaves nothing out: every cell, verdict and route of the evidence is in it."""
    cells: Any = {
        (each.id, cell.slice, cell.runtime): (cell.status, cell.reason, cell.passed)
        for each in pages.evidence.criteria
        for cell in each.cells
    }
    assert cells == {
        (each.id, row.slice, name): (cell.status, cell.reason, cell.rate.passed if cell.rate else 0)
        for each in pages.view.criteria
        for row in each.rows
        for name, cell in row.cells.items()
    }
    for objective, shown in zip(pages.evidence.objectives, pages.view.objectives, strict=True):
        assert {(each.slice, each.runtime): each.status for each in objective.verdicts} == {
            place: standing.status for place, standing in shown.standings.items()
        }
        assert {each.slice: tuple(each.chain) for each in objective.recommendations} == {
            route.slice: route.chain for route in shown.routes
        }
