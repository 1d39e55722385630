"""The text summary, on evidence with every verdict and with what may be unknown."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
from stored_evidence import decided

from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.evidence.models import Evidence, Recommendation
from pytest_proofmap.report.page import Page, width_of
from pytest_proofmap.report.result import Finding, result_of_evidence
from pytest_proofmap.report.text import render
from pytest_proofmap.report.view import view_of, view_of_evidence

ALL = {"tests/test_a.py::test_x": {"base": "P" * 60, "mini": "P" * 60, "haiku": "P" * 40 + "F" * 20}}
FEW = {"tests/test_a.py::test_x": {"base": "P" * 20, "mini": "P" * 20}}


def lines_of(evidence: Evidence, page: Page | None = None, verbosity: int = 0, **changes: Any) -> list[str]:
    """Return the lines of the summary of an artifact."""
    view = replace(view_of_evidence(evidence), **changes)
    return render(view, page or Page(), verbosity=verbosity)


def text_of(evidence: Evidence, page: Page | None = None, verbosity: int = 0, **changes: Any) -> str:
    """Return the summary with its lines joined by blanks, so that wrapping does not matter."""
    return " ".join(" ".join(lines_of(evidence, page, verbosity, **changes)).split())


def test_totals_line() -> None:
    """One line says how many calls there were, where from, and what they cost."""
    assert lines_of(decided(ALL))[0] == ("180 calls (180 recorded), spent $0, list cost $0.50")


@pytest.mark.parametrize(
    ("encoding", "qualified", "not_qualified"), [("utf-8", "✓", "✗"), ("ascii", "+", "x"), ("cp1252", "+", "x")]
)
def test_signs_survive_without_colour(encoding: str, qualified: str, not_qualified: str) -> None:
    """Each verdict has a sign with its word below the table, in any encoding."""
    text = "\n".join(
        lines_of(decided({**ALL, "tests/test_a.py::test_y": FEW["tests/test_a.py::test_x"]}), Page(80, encoding))
    )
    assert f"{qualified} 60/60" in text
    assert f"{not_qualified} 40/60" in text
    assert "? 20/20" in text
    assert f"{qualified} qualified  {not_qualified} not qualified  ? not enough evidence" in text
    text.encode(encoding)


def test_pass_rate_interval() -> None:
    """Beside the counts stands the interval of the pass rate at the bar's confidence, with what it is."""
    text = text_of(decided(FEW))
    assert "20/20 83–100 %" in text
    assert "n–m %: two-sided interval of the pass rate, at 95 % confidence" in text


def test_recommendation_line() -> None:
    """A promoted route names its chain, what it saves and its regressions."""
    assert "x → mini (then base): 10× cheaper, 0 regressions in 60" in text_of(decided(ALL))


def test_needed_cases_are_named() -> None:
    """A route that stays for want of evidence says how many cases more it takes."""
    assert "x → base (baseline kept): ? mini needs ~" in text_of(decided(FEW))


def test_cases_most_telling_first() -> None:
    """Regressions come before cases that the baseline fails too, with the assertion's reason."""
    both_first = {"t.py::test_x": {"base": "FF" + "P" * 58, "mini": "FF" + "P" * 57 + "F"}}
    lines = lines_of(decided(both_first))
    start = lines.index("mini fails 3 cases, 1 of which the baseline passes (regressions)")
    assert lines[start + 1] == "  test_x[c59] regression: assert 'no' == 'yes' in c59"
    assert lines[start + 2] == "  test_x[c0] baseline fails too: assert 'no' == 'yes' in c0"


@pytest.mark.parametrize(("verbosity", "named"), [(0, 4), (1, 20), (2, 20)])
def test_cases_are_folded(verbosity: int, named: int) -> None:
    """Only so many cases are named, and how many more there are is said."""
    lines = lines_of(decided(ALL), verbosity=verbosity)
    assert sum(line.startswith("  test_x[") for line in lines) == named
    assert ("  and 16 more (-v names more)" in lines) == (named == 4)


def test_criteria_take_turns_among_the_named_cases() -> None:
    """The first few cases come from different criteria."""
    evidence = decided(
        {f"t.py::test_{name}": {"base": "P" * 20, "mini": "F" * 5 + "P" * 15} for name in ("a", "b", "c")}
    )
    lines = [line for line in lines_of(evidence) if line.startswith("  test_") and "[" in line]
    assert [line.split()[0] for line in lines] == ["test_a[c0]:", "test_b[c0]:", "test_c[c0]:", "test_a[c1]:"]


def test_errors_are_not_failures() -> None:
    """Cases without an outcome are counted by reason, apart from failures."""
    text = text_of(decided({"t.py::test_x": {"base": "P" * 30, "mini": "P" * 20 + "E" * 10}}))
    assert "mini was unavailable in 10 cases (errors, not failures) 10× APIConnectionError: refused" in text
    assert "20/30 47–83 % 10U" in text
    assert "U: unavailable, counted as not passed" in text
    assert "mini fails" not in text


def test_a_tests_own_errors_are_no_unavailability() -> None:
    """What broke a test is told among the findings, and counted apart in the table."""
    evidence = decided({"t.py::test_x": {"base": "P" * 30, "mini": "P" * 20 + "E" * 10}})
    update = {"error_kind": "test", "exception": "NameError", "message": "NameError: x", "calls": []}
    samples = [each.model_copy(update=update) if each.outcome == "error" else each for each in evidence.samples]
    text = text_of(decide_evidence(evidence.model_copy(update={"samples": samples})))
    assert "unavailable" not in text
    assert "20/30 47–83 % 10E" in text
    assert "E: the test's own error, no verdict on the model" in text
    assert "This does not hold (1 finding): - 10 tests broke by NameError: x, such as" in text


def test_baseline_misses_are_loud() -> None:
    """The baseline's own misses are named with a sign, and an unusable reference as such."""
    text = text_of(decided({"t.py::test_x": {"base": "F" * 20 + "P" * 10, "mini": "P" * 30}}))
    assert "! the baseline base itself fails 20 of 30 cases: test_x" in text
    assert "! the baseline base is not a usable reference on test_x: 10 of 30 cases passed" in text
    assert "! 10/30" in text


def test_slices_have_rows_and_routes() -> None:
    """A partial win shows in the table and among the recommendations."""
    half = {"t.py::test_x": {"base": "P" * 120, "mini": "PF" * 60}}
    evidence = decided(half, slices=["language=en", "language=fr"])
    lines = lines_of(evidence)
    assert any(
        line.split() == ["language=en", "60/60", "94–100", "%", "✓", "60/60", "94–100", "%"] for line in lines
    )
    assert any(line.split() == ["language=fr", "60/60", "94–100", "%", "✗", "0/60", "0–6", "%"] for line in lines)
    text = text_of(evidence)
    assert "0 of 1 objective can move to a challenger, 1 on some slices (1 of 2)" in text
    assert "x language=en → mini (then base): 10× cheaper" in text


def test_the_headline_counts_the_traffic_that_moves() -> None:
    """Beside slices the objective's own route serves no case that was seen, so its chain alone moves nothing."""
    good = {"t.py::test_x": {"base": "P" * 60, "mini": "P" * 60}}
    evidence = decided(good, slices=["language=en", "language=fr"])
    (objective,) = evidence.objectives
    whole = next(each for each in objective.recommendations if each.slice is None)
    cheap = whole.model_copy(update={"chain": ["mini", "base"], "cost_ratio": 40.0})
    kept = [
        whole.model_copy(update={"slice": name, "chain": ["base"], "cost_ratio": None})
        for name in ("language=en", "language=fr")
    ]
    moved = kept[0].model_copy(update={"chain": ["mini", "base"], "cost_ratio": 10.0})

    def headline(*recommendations: Recommendation) -> str:
        changed = objective.model_copy(update={"recommendations": list(recommendations)})
        return view_of_evidence(evidence.model_copy(update={"objectives": [changed]})).headline.text

    assert headline(cheap, *kept) == "0 of 1 objective can move to a challenger"
    assert headline(cheap, moved, kept[1]) == (
        "0 of 1 objective can move to a challenger, 1 on some slices (1 of 2), 10× cheaper"
    )
    assert headline(cheap, moved, moved) == "1 of 1 objective can move to a challenger, 10× cheaper"


def test_many_slices_are_folded() -> None:
    """Slices that tell nothing of their own are folded away unless asked for."""
    slices = [f"tier={index}" for index in range(12)]
    evidence = decided({"t.py::test_x": {"base": "P" * 120, "mini": "P" * 120}}, slices=slices)
    text = text_of(evidence)
    assert "6 more slices (-v)" in text
    assert "4 more slices (-v shows them)" in text
    verbose = text_of(evidence, verbosity=1)
    assert "more slices" not in verbose
    assert all(f"  {name} " in "\n".join(lines_of(evidence, verbosity=1)) for name in slices)


def test_several_criteria_make_one_objective() -> None:
    """The objective has a row of its own, and its needs are those of the criterion that needs most."""
    evidence = decided(
        {
            "t.py::test_a": {"base": "P" * 60, "mini": "P" * 60},
            "t.py::test_b": {"base": "P" * 20, "mini": "P" * 20},
        },
        objective="job",
    )
    assert any(line.split() == ["=", "job", "?", "all", "2"] for line in lines_of(evidence))
    assert "job → base (baseline kept): ? mini needs ~" in text_of(evidence)


def test_latency() -> None:
    """With fewer than 59 samples the maximum stands in for the 95th percentile; without any nothing does."""
    assert "latency" not in text_of(decided(ALL))
    assert "0.25 s p95 0.25 s (n 60)" in text_of(decided(ALL, latency_s=0.25))
    assert "3 ms max 3 ms (n 20)" in text_of(decided(FEW, latency_s=0.003))


def test_unknown_price() -> None:
    """An unknown price is said, and never a cost of zero."""
    evidence = decided(ALL, unpriced=["mini"])
    assert "spent $0, list cost at least $0.50 (price unknown for 60 answers)" in text_of(evidence)
    assert any(line.split()[:4] == ["mini", "unknown", "unknown", "unknown"] for line in lines_of(evidence))
    assert "→ base (then mini): baseline kept: mini qualifies" in text_of(evidence)


def test_unknown_price_of_live_calls() -> None:
    """What was spent is unknown, and not zero, when nothing that was called has a price."""
    evidence = decided(FEW, unpriced=["base", "mini"], source="live")
    totals = evidence.totals.model_copy(update={"list_usd": 0.0})
    assert "40 calls (40 live), spent unknown criterion" in text_of(evidence.model_copy(update={"totals": totals}))


def test_estimated_usage() -> None:
    """Costs that rest on estimated token counts have a tilde."""
    text = text_of(decided(ALL, estimated=["mini"]))
    assert "list cost ~$0.50 ~ token counts are estimated" in text
    assert any(
        line.split()[:3] == ["mini", "~$0.012", "~$0.20"] for line in lines_of(decided(ALL, estimated=["mini"]))
    )


def test_attribution_needs_a_pair_of_prompts() -> None:
    """Prompt and model are told apart only where two runtimes differ in the prompt alone."""
    text = text_of(decided(ALL, variants={"base": "long", "mini": "short", "haiku": "tiny"}))
    assert "test_x: prompt, base → haiku: −33.3 points (−45.9 to −22.7) in 60 cases" in text
    assert "Prompt or model?" not in text_of(decided(ALL))


def test_incomplete_evidence() -> None:
    """Why evidence is incomplete stands at the top."""
    run = {"complete": False, "incomplete_reasons": ["3 of 180 samples did not run"]}
    assert lines_of(decided(ALL, run=run))[1] == (
        "! incomplete evidence, which cannot be approved: 3 of 180 samples did not run"
    )


def test_end_of_the_summary() -> None:
    """Assumptions, then what fails the run with its mending, then the next command."""
    findings = (Finding("the baseline misses", "mend the baseline"),)
    lines = lines_of(decided(ALL), findings=findings, warnings=("careful",), next_steps=("proofmap schema",))
    assert lines[-5:] == [
        "This does not hold (1 finding):",
        "  - the baseline misses",
        "    next: mend the baseline",
        "",
        "next: proofmap schema",
    ]
    text = " ".join(lines)
    assert text.index("! careful") < text.index("Recommended") < text.index("These verdicts assume")


def test_short_form() -> None:
    """The short form has totals, warnings, recommendations and findings, and no tables."""
    lines = lines_of(
        decided(ALL),
        verbosity=-1,
        warnings=("damaged",),
        findings=(Finding("bad", "mend it"),),
        next_steps=("no",),
    )
    assert len(lines) == 6
    assert lines[1] == "! damaged"
    assert lines[2].startswith("x → mini (then base)")


def test_left_out_runtimes_are_not_shown() -> None:
    """A runtime that a decision leaves out has no column and no cases."""
    view = view_of(result_of_evidence(decided(ALL)), excluded=["haiku"])
    assert "haiku" not in "\n".join(render(view, Page(), verbosity=2)).replace("(then haiku", "")


def test_nothing_run() -> None:
    """Evidence without samples is shown without a crash."""
    evidence = decided(ALL).model_copy(update={"samples": []})
    assert "? not run" in text_of(decided({"t.py::test_x": {"base": "S", "mini": "S"}}))
    assert lines_of(evidence)


@functools.cache
def many_long_names(criteria: int) -> Evidence:
    """Return evidence of so many criteria, all of whose names are long."""
    outcomes = {
        f"tests/deep/test_module_{index % 3}.py::TestClass::test_criterion_with_a_long_name_{index}": {
            "base": "P" * 100 + "F",
            "mini": "P" * 80 + "F" * 21,
            "haiku": "P" * 99 + "EE",
        }
        for index in range(criteria)
    }
    return decided(outcomes, slices=["language=en", "a-rather-long-name=with%20a%20long%20value"], latency_s=2.0)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("verbosity", [-1, 0, 1])
@pytest.mark.parametrize("criteria", [1, 30])
def test_no_line_is_too_long(width: int, encoding: str, verbosity: int, criteria: int) -> None:
    """At every width, one criterion or thirty, nothing runs over the edge."""
    finding = Finding("f " * 99, "s " * 99)
    lines = lines_of(many_long_names(criteria), Page(width, encoding), verbosity, findings=(finding,))
    assert len(lines) > 3
    for line in lines:
        assert width_of(line) <= width, line
        line.encode(encoding)


def test_colour_adds_nothing_to_read() -> None:
    """With the colours taken out, the coloured summary is the plain one."""
    import re

    coloured = lines_of(decided(ALL), Page(colour=True))
    assert any("\x1b[" in line for line in coloured)
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == lines_of(decided(ALL))


def test_skipped_cases_are_counted() -> None:
    """What was judged is told from what was skipped, criterion by criterion."""
    outcomes = {
        "t.py::test_x": {"base": "P" * 13 + "S" * 27, "mini": "P" * 13 + "S" * 27},
        "t.py::test_y": {"base": "P" * 13, "mini": "P" * 12 + "S"},
        "t.py::test_z": {"base": "S", "mini": "S"},
        "t.py::test_all": {"base": "PP", "mini": "PF"},
    }
    text = text_of(decided(outcomes, objective="job"))
    assert "! test_x: of 40 cases 27 were skipped " in text
    assert "! test_y: of 13 cases were skipped: 1 on mini" in text
    assert "! test_z: of 1 case 1 was skipped, so that nothing was judged" in text
    assert "test_all: of" not in text
