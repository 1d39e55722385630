"""The Markdown report: what it says first, what it leaves out, and how a page shows it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from rendered_markdown import Rendered, render
from stored_evidence import decided, undecided

from pytest_proofmap.evidence.models import Evidence
from pytest_proofmap.report.markdown import COMMENT_BYTES, MARKER, STEP_SUMMARY_BYTES, markdown_report
from pytest_proofmap.report.result import Finding, result_of_evidence
from pytest_proofmap.report.view import view_of, view_of_evidence

ALL = {"tests/test_a.py::test_x": {"base": "P" * 60, "mini": "P" * 60, "haiku": "P" * 40 + "F" * 20}}
FEW = {"tests/test_a.py::test_x": {"base": "P" * 20, "mini": "P" * 20}}
ALLOWED = {
    *("h3", "h4", "p", "strong", "code", "hr", "br", "ul", "li", "details", "summary"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
EVIL = "<script>alert(1)</script> | `x` @me #12 [a](https://e.example) </td></details> <!-- \u202e\x1b[31m\ud800"


def report(evidence: Evidence, limit: int = COMMENT_BYTES, **changes: Any) -> str:
    """Return the report on an artifact."""
    return markdown_report(replace(view_of_evidence(evidence), **changes), limit)


def check(text: str) -> Rendered:
    """Return a page whose elements are all closed, ours and harmless, and each of whose tables is whole."""
    page = render(text)
    assert set(page.tags) <= ALLOWED
    assert page.finds == []
    assert page.tags["details"] == page.tags["summary"] == len(re.findall("^</details>$", text, re.MULTILINE))
    # A row that is no row of a table would be shown with its bars.
    assert not re.search(r"^\|", page.text, re.MULTILINE)
    return page


def first_line(text: str) -> str:
    """Return the first line that is shown."""
    marker, heading = text.splitlines()[:2]
    assert marker == MARKER
    return heading.removeprefix("### ")


def test_the_verdict_comes_first() -> None:
    """What can move and what that saves, then what fails, in the first line below the marker."""
    assert first_line(report(decided(ALL))) == (
        "✓ ProofMap: 1 of 1 objective can move to a challenger, 10× cheaper"
    )
    assert first_line(report(decided(FEW))) == "ProofMap: 0 of 1 objective can move to a challenger"
    findings = (Finding("a", "b"), Finding("c", "d"))
    assert first_line(report(decided(FEW), findings=findings)).endswith("challenger; 2 findings fail the run")
    assert first_line(report(decided(FEW), findings=findings)).startswith("✗ ProofMap")


def test_a_partial_win_is_told() -> None:
    """What moves on some slices only is told from what moves whole."""
    half = {"t.py::test_x": {"base": "P" * 120, "mini": "PF" * 60}}
    text = report(decided(half, slices=["language=en", "language=fr"]))
    assert first_line(text) == (
        "✓ ProofMap: 0 of 1 objective can move to a challenger, 1 on some slices (1 of 2), 10× cheaper"
    )
    page = check(text)
    assert re.search(r"\nx\nlanguage=en\nmoves\nmini → base\n10× cheaper", page.text)


def test_nothing_decided_is_said() -> None:
    """A shard, and evidence without verdicts, promise nothing."""
    shard = undecided(ALL, run={"shard": True, "complete": False, "incomplete_reasons": ["it is a shard"]})
    text = report(shard)
    assert first_line(text) == "ProofMap: one shard of a run, nothing is decided"
    assert "it is a shard" in check(text).text
    assert "verdicts" not in text
    assert first_line(report(undecided(ALL))) == "ProofMap: nothing is decided"


def test_incomplete_evidence_is_said() -> None:
    """Why the evidence is incomplete stands below the verdict."""
    run = {"complete": False, "incomplete_reasons": [f"reason {each}" for each in "abcdefg"]}
    text = check(report(decided(ALL, run=run))).text
    assert "Incomplete evidence, which cannot be approved: reason a; reason b" in text
    assert "and 2 more" in text


def test_sections_come_by_importance() -> None:
    """Findings, decisions, notes, flips, missing evidence, the matrix, costs; facts and assumptions last."""
    evidence = decided({**ALL, "tests/test_a.py::test_y": FEW["tests/test_a.py::test_x"]})
    text = report(evidence, findings=(Finding("bad", "mend it"),), warnings=("careful",), next_steps=("do | it",))
    page = check(text)
    parts = [
        *("What fails the run (1)", "bad", "next: mend it", "Decisions", "To note", "careful"),
        *("Regressions: 20 cases", "test_x[c40]", "assert 'no' == 'yes' in c40", "Evidence that is missing"),
        *("Every criterion on every runtime", "✗ 40/60 (53–79 %)", "Cost and latency", "next: do", "220 calls"),
        "These verdicts assume",
    ]
    found = [page.text.replace("do | it", "do").find(part) for part in parts]
    assert -1 not in found, parts[found.index(-1)]
    assert found == sorted(found)


def test_sections_without_content_are_left_out() -> None:
    """A run in which all is well has neither findings nor notes, flips or missing evidence."""
    text = report(decided({"t.py::test_x": {"base": "P" * 60, "mini": "P" * 60}}))
    titles = re.findall(r"^(?:#### |<details><summary>)(.*?)(?:</summary>)?$", text, re.MULTILINE)
    assert titles[0] == "Decisions"
    assert not any(title.startswith(("What fails", "Regressions", "Evidence")) for title in titles)
    assert "slice" not in text.split("Every criterion")[0].split("why |")[0]


def test_a_failing_baseline_fails_the_run() -> None:
    """Where the baseline must pass every case, its miss is a finding."""
    bar = {"kind": "all_pass", "margin": None, "min_pass_rate": 1.0}
    text = report(decided({"t.py::test_x": {"base": "PPPF", "mini": "PPPP"}}, bar=bar))
    assert first_line(text).endswith("; 1 finding fails the run")
    assert "1 of 4 cases did not pass" in check(text).text


def test_what_is_unavailable_is_no_failure() -> None:
    """Errors are notes with their reason, apart from regressions."""
    page = check(report(decided({"t.py::test_x": {"base": "P" * 30, "mini": "P" * 20 + "E" * 10}})))
    assert "mini was unavailable in 10 cases (errors, not failures): 10× APIConnectionError: refused" in page.text
    assert "20/30" in page.text
    assert "Regressions" not in page.text


def test_how_many_cases_would_settle_it() -> None:
    """Open verdicts say what would settle them, the nearest first."""
    evidence = decided(
        {f"t.py::test_{n}": {"base": "P" * n, "mini": "P" * n} for n in (12, 20, 16)}, bar={"margin": 0.1}
    )
    page = check(report(evidence))
    part = page.text[page.text.index("Evidence that is missing: 3 open verdicts") :]
    assert part.index("test_20") < part.index("test_16") < part.index("test_12")
    assert re.search(r"test_20\nmini\nneeds ~\d+ more cases\n", part)


def test_many_regressions_are_folded_and_limited() -> None:
    """Of many flips a hundred are named, folded, and how many more there are is said."""
    evidence = decided({"t.py::test_x": {"base": "P" * 300, "mini": "F" * 300}})
    text = report(evidence)
    assert "<details><summary>Regressions: 300 cases that the baseline passes</summary>" in text
    assert "and 200 more regressions" in text
    few = decided({"t.py::test_x": {"base": "P" * 60, "mini": "P" * 57 + "FFF"}})
    assert "#### Regressions: 3 cases that the baseline passes" in report(few)


@pytest.mark.parametrize("limit", [COMMENT_BYTES, 20_000, 6_000, 3_000, 1_500])
def test_a_limit_is_kept_and_said(limit: int) -> None:
    """Within any limit the page is whole, the verdict first, and what was left out is named."""
    outcomes = {
        f"tests/test_m{index}.py::test_criterion_{index}": {
            "base": "P" * 12,
            "mini": "P" * 9 + "FFF",
            "haiku": "P" * 11 + "E",
        }
        for index in range(120)
    }
    findings = [Finding(f"finding {index} | é @me", "mend it") for index in range(40)]
    text = report(decided(outcomes), limit, findings=findings)
    assert 0 < len(text.encode()) <= limit
    check(text)
    assert first_line(text).endswith("40 findings fail the run")
    whole = report(decided(outcomes), 10**9, findings=findings)
    assert ("Left out, for want of room: " in text) == (len(whole.encode()) > limit)
    if limit > 2_000:
        assert "finding <code>0</code>" in text or "finding 0" in text


def test_important_parts_win() -> None:
    """Where room is short the matrix goes before a decision does, and a long part does not starve the next."""
    outcomes = {f"t.py::test_{n}": {"base": "P" * 60, "mini": "P" * 50 + "F" * 10} for n in range(30)}
    text = report(decided(outcomes), 16_000)
    assert text.count("| stays |") == 30
    assert "Regressions" in text
    assert "Left out, for want of room:" in text


def test_without_room_there_is_nothing() -> None:
    """Where not even the verdict fits, nothing is written, and no part of anything."""
    assert report(decided(ALL), 300) == ""
    assert report(decided(ALL), -5) == ""


def test_no_limit_is_above_github_s() -> None:
    """The limits are those of a comment, in characters, and of a step's summary, in bytes."""
    assert COMMENT_BYTES < 65_536
    assert STEP_SUMMARY_BYTES < 1024 * 1024


def test_hostile_names_and_messages_mean_nothing() -> None:
    """No name, message, case id, reason, warning or command makes an element, a link or a mention."""
    evidence = decided(
        {f"t.py::test_{EVIL}": {"base": "P" * 30 + "F", "mini": "P" * 20 + "F" * 9 + "EE"}},
        objective=EVIL,
        slices=[EVIL, "language=fr"],
        run={"id": EVIL, "complete": False, "incomplete_reasons": [EVIL]},
    )
    (criterion,) = evidence.criteria
    cells = [cell.model_copy(update={"reason": EVIL}) for cell in criterion.cells]
    criteria = [criterion.model_copy(update={"cells": cells})]
    view = view_of_evidence(evidence.model_copy(update={"criteria": criteria}))
    hostile = replace(
        view,
        nonpasses=tuple(replace(case, message=EVIL, case=EVIL) for case in view.nonpasses),
        warnings=(EVIL,),
        findings=(Finding(EVIL, EVIL), Finding("- " + EVIL, "1. " + EVIL)),
        next_steps=(EVIL,),
    )
    text = markdown_report(hostile, COMMENT_BYTES)
    text.encode()
    assert "\x1b" not in text
    assert "\u202e" not in text
    page = render(text)
    assert set(page.tags) <= ALLOWED
    assert page.finds == []
    assert set(page.comments) == {" ", " proofmap "}
    assert page.comments[" proofmap "] == 1
    assert page.tags["details"] == text.count("\n</details>\n")
    assert "<script>alert(1)</script>" in page.text


def test_a_run_without_texts_has_no_column_for_them() -> None:
    """Where no message was kept, regressions are named all the same, and nothing stands empty."""
    view = view_of_evidence(decided(ALL))
    silent = replace(view, nonpasses=tuple(replace(case, message="") for case in view.nonpasses))
    text = markdown_report(silent, COMMENT_BYTES)
    assert "\n| runtime | case |\n" in text
    assert "test_x[c40]" in check(text).text


def test_huge_messages_and_names_are_clipped() -> None:
    """Ten megabytes in a message, a reason or a name leave the report small."""
    huge = "<x>@" * 2_500_000
    view = view_of_evidence(decided(ALL))
    cases = tuple(replace(case, message=huge, case=huge) for case in view.nonpasses[:5])
    text = markdown_report(replace(view, nonpasses=cases, warnings=(huge,), next_steps=(huge,)), COMMENT_BYTES)
    assert 3_000 < len(text.encode()) < COMMENT_BYTES
    assert "</details>" in text


def test_left_out_runtimes_are_not_shown() -> None:
    """A runtime that a decision leaves out has no column and no cases."""
    view = view_of(result_of_evidence(decided(ALL)), excluded=["haiku"])
    text = markdown_report(view, COMMENT_BYTES)
    assert "haiku" not in text.replace("then haiku", "")
