"""What fails a run, told from its evidence: old and new, of a model and of a broken test."""

from __future__ import annotations

from typing import Any

import pytest
from stored_evidence import undecided

from pytest_proofmap.calls.limits import CIRCUIT_FAILURES, Limits
from pytest_proofmap.calls.outcome import AttemptError
from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.evidence.models import Evidence, Sample
from pytest_proofmap.plugin.reports import estimated_in
from pytest_proofmap.report.result import result_of_evidence
from pytest_proofmap.report.view import view_of_evidence

ALL_PASS = {"kind": "all_pass", "margin": None, "min_pass_rate": 1.0}
TEST = "t.py::test_x"


def evidence(base: str, mini: str, bar: dict[str, Any] | None = None, **changes: Any) -> Evidence:
    """Return decided evidence; changes by runtime and letter (``base_E``) are of the samples with that outcome."""
    letters = {"P": "passed", "F": "failed", "E": "error"}
    settings: dict[str, Any] = {"bar": bar} if bar else {}
    stored = undecided({TEST: {"base": base, "mini": mini}}, **settings)

    def changed(sample: Sample) -> Sample:
        for name, update in changes.items():
            runtime, _, letter = name.partition("_")
            if (sample.runtime, sample.outcome) == (runtime, letters[letter]):
                return sample.model_copy(update=update)
        return sample

    return decide_evidence(stored.model_copy(update={"samples": [changed(each) for each in stored.samples]}))


def texts(found: Evidence) -> list[str]:
    """Return the findings' texts."""
    return [finding.text for finding in result_of_evidence(found).findings]


def broken(message: str, **more: Any) -> dict[str, Any]:
    """Return what a broken test has for its samples."""
    return {"error_kind": "test", "message": message, "exception": message.partition(":")[0], "calls": [], **more}


def status(found: Evidence) -> str:
    """Return the verdict on the challenger."""
    return found.objectives[0].verdicts[0].status


def test_older_evidence_tells_no_kind_of_error() -> None:
    """Errors without a kind were unavailability: green for a challenger, and for a baseline a finding."""
    assert texts(evidence("P" * 60, "P" * 59 + "E")) == []
    [text] = texts(evidence("P" * 59 + "E", "P" * 60))
    assert text == "the baseline base was unavailable in 1 test: APIConnectionError: refused"


def test_a_server_that_is_down_is_one_finding() -> None:
    """Calls that found no server, and those that were then not made, are told once, with what to do."""
    down = "APIConnectionError: no server answers at http://127.0.0.1:1/v1 (refused)"
    limits = Limits(1, {}, clock=lambda: 0.0)
    for _ in range(CIRCUIT_FAILURES):
        limits.failed("openai", down)
    closed = f"ProviderUnavailableError: {limits.provider('openai').closed}"
    found = evidence("E" * 12, "P" * 12)
    messages = iter([closed] * 7 + [down] * 5)
    samples = [
        each.model_copy(update={"message": next(messages)}) if each.outcome == "error" else each
        for each in found.samples
    ]
    [finding] = result_of_evidence(found.model_copy(update={"samples": samples})).findings
    assert finding.text == f"the baseline base was unavailable in 12 tests: {down}"
    assert "start that server" in finding.next_step


def test_the_reason_of_a_failure_is_the_last_word_on_it() -> None:
    """What is said of a failed attempt after it was made is said wherever it is repeated."""
    error = AttemptError("APIConnectionError", "refused")
    error.message = "no server answers at http://127.0.0.1:1/v1 (refused)"
    assert str(error) == f"APIConnectionError: {error.message}"


def test_each_cause_is_one_finding() -> None:
    """Tests that broke by one message, or by one class at one line, are one finding with their number."""
    found = evidence(
        "P" * 10 + "E" * 5,
        "P" * 10 + "E" * 5,
        base_E=broken("OSError: file 1", raised_at="t.py:7"),
        mini_E=broken("OSError: file 2", raised_at="t.py:7"),
    )
    assert texts(found) == [f"10 tests broke by OSError: file 1 (t.py:7), such as {TEST}[c10-base]"]
    [finding] = result_of_evidence(found).findings
    assert finding.next_step.endswith("where the model causes it, name it a miss: qualify(miss=[OSError])")
    apart = evidence("E", "E", base_E=broken("OSError: a"), mini_E=broken("OSError: b"))
    assert len(texts(apart)) == 2
    together = evidence(
        "E",
        "E",
        base_E=broken("NameError: a", raised_at="t.py:7"),
        mini_E=broken("NameError: a", raised_at="t.py:9"),
    )
    [finding] = result_of_evidence(together).findings
    assert finding.text.startswith("2 tests broke by NameError: a (t.py:7)")
    assert "qualify(miss" not in finding.next_step


def test_what_was_expected_is_no_finding() -> None:
    """Under ``xfail`` neither a baseline's miss nor a broken test fails anything."""
    assert len(texts(evidence("PPF", "PPP", ALL_PASS))) == 1
    assert texts(evidence("PPF", "PPP", ALL_PASS, base_F={"xfailed": True})) == []
    assert texts(evidence("PPE", "PPP", base_E=broken("NameError: x", xfailed=True))) == []


def test_the_ways_to_ask() -> None:
    """A sample that never asked is told what to do, and another thing where a dry run had asked."""
    for message, words in (
        ("never asked: it passed without a finished call on its runtime", "qualify(calls='optional')"),
        ("never asked: the dry run asked its runtime, the real run did not", "keep no answer"),
    ):
        [finding] = result_of_evidence(evidence("PPP", "PPE", mini_E=broken(message))).findings
        assert finding.text == f"1 test {message}: {TEST}[c2-mini]"
        assert words in finding.next_step


@pytest.mark.parametrize("bar", [None, ALL_PASS, {"kind": "min_pass_rate", "margin": None, "min_pass_rate": 0.5}])
def test_a_broken_test_disqualifies_nobody(bar: dict[str, Any] | None) -> None:
    """However many tests broke, the challenger is not disqualified, nor qualified where that is all there is."""
    found = evidence("P" * 30, "E" * 30, bar, mini_E=broken("NameError: x"))
    assert status(found) == "insufficient"
    cell = next(each for each in found.criteria[0].cells if each.runtime == "mini")
    assert (cell.errors, cell.test_errors) == (30, 30)
    assert "test_errors" not in found.criteria[0].cells[0].model_dump()


DATA = {"exception": "KeyError", "raised_at": "t.py:7", "data_error": True, "message": "KeyError: 'x'"}


@pytest.mark.parametrize("bar", [None, ALL_PASS, {"kind": "min_pass_rate", "margin": None, "min_pass_rate": 0.2}])
@pytest.mark.parametrize(("base", "is_broken"), [("P" * 6 + "F" * 6, True), ("P" * 7 + "F" * 5, False)])
def test_a_test_that_breaks_on_half_of_the_baselines_answers(
    bar: dict[str, Any] | None, base: str, is_broken: bool
) -> None:
    """It seems broken, decides on nobody whatever the bar, and fails the run with class and line."""
    found = evidence(base, "F" * 12, bar, base_F=DATA, mini_F=DATA)
    text = "KeyError at t.py:7 in 6 of the 12 cases of base"
    assert found.criteria[0].broken == (text if is_broken else None)
    assert (f"the test {TEST} seems broken: {text}" in texts(found)) == is_broken
    verdict = found.objectives[0].verdicts[0]
    assert (verdict.reason == f"the test seems broken: {text}") == is_broken
    if is_broken:
        assert (verdict.status, verdict.reason_code) == ("insufficient", "tests_broken")
    asserted = evidence(base, "F" * 12, bar)
    assert asserted.criteria[0].broken is None


def test_the_headline_counts_the_findings() -> None:
    """The headline of a page counts what fails the run, no more and no less."""
    found = evidence("PPPPE", "PPPPP")
    view = view_of_evidence(found)
    assert [finding.text for finding in view.findings] == texts(found)
    assert view.headline.text.endswith("; 1 finding fails the run")


def test_a_judges_estimate_is_not_the_runtimes() -> None:
    """A runtime's costs are no estimates because its judge's are."""
    stored = undecided({TEST: {"base": "PP", "mini": "PP"}})
    estimated = [
        each.model_copy(
            update={
                "calls": [
                    *each.calls,
                    each.calls[0].model_copy(update={"runtime": "judge", "usage_estimated": True}),
                ]
            }
        )
        for each in stored.samples
    ]
    names = {"base", "mini"}
    assert estimated_in((each.model_dump_json(by_alias=True) for each in estimated), names) == set()
    own = [
        each.model_copy(update={"calls": [each.calls[0].model_copy(update={"usage_estimated": True})]})
        for each in stored.samples
        if each.runtime == "mini"
    ]
    assert estimated_in((each.model_dump_json(by_alias=True) for each in own), names) == {"mini"}
