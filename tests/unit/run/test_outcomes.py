"""From what a test raised to the outcome of its sample, and to what pytest shows."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_proofmap.errors import CallError, PromptError, RefusalError, ReplayMissError, StoreError
from pytest_proofmap.evidence.models import Bar, Role
from pytest_proofmap.run.criteria import SampleId
from pytest_proofmap.run.outcomes import (
    Wording,
    observe_call,
    observe_setup,
    one_line,
    put_plain_skips_first,
    show,
    status,
)
from pytest_proofmap.run.sample import SampleRecord

ALL_PASS = Bar(kind="all_pass", min_pass_rate=1.0, max_failure_rate=0.25, margin=None, confidence=0.95, samples=1)
LENIENT = ALL_PASS.model_copy(update={"baseline_must_pass": False})
RATE = ALL_PASS.model_copy(update={"kind": "min_pass_rate", "min_pass_rate": 0.9})


def record(role: Role = "challenger") -> SampleRecord:
    """Return a sample in the making."""
    return SampleRecord(SampleId("t.py::test", "a", None, "mini", role, 0))


def call_info(error: BaseException | None, when: Any = "call") -> pytest.CallInfo[None]:
    """Return what pytest knows of a call that raised."""

    def raise_it() -> None:
        if error is not None:
            raise error

    return pytest.CallInfo.from_call(raise_it, when)


def report(outcome: Any, longrepr: Any = None) -> pytest.TestReport:
    """Return pytest's own report of a call."""
    return pytest.TestReport("t.py::test", ("t.py", 3, "test"), {}, outcome, longrepr, "call")


def exception_of(function: Any, message: str) -> BaseException:
    """Return what pytest's imperative functions raise."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # the outcomes are no Exceptions
        function(message)
    return caught.value


@pytest.mark.parametrize(
    ("error", "outcome", "message"),
    [
        (None, "passed", ""),
        (AssertionError("no\nand more"), "failed", "no"),
        (AssertionError(), "failed", "assertion failed"),
        (KeyError("x"), "failed", "KeyError: 'x'"),
        (ValueError(), "failed", "ValueError"),
        (RefusalError("policy"), "failed", "RefusalError: policy"),
        (PromptError("no such package"), "failed", "PromptError: no such package"),
        (CallError("TimeoutError", "late"), "error", "TimeoutError: late"),
        (ReplayMissError("ReplayMissError", "no answer"), "error", "no answer"),
        (StoreError("disk full"), "error", "disk full"),
    ],
)
def test_what_a_test_raises(error: BaseException | None, outcome: str, message: str) -> None:
    """Wrong and refused answers are failed; what gave no usable answer is an error."""
    sample = record()
    observe_call(sample, call_info(error), Wording())
    assert (sample.outcome, sample.message) == (outcome, message)


@pytest.mark.parametrize(
    ("function", "outcome"), [(pytest.skip, "skipped"), (pytest.fail, "failed"), (pytest.xfail, "failed")]
)
def test_what_a_test_declares(function: Any, outcome: str) -> None:
    """A skip is a skip; a test that gives up has not passed."""
    sample = record()
    observe_call(sample, call_info(exception_of(function, "why")), Wording())
    assert (sample.outcome, sample.message.removeprefix("XFailed: ")) == (outcome, "why")


@pytest.mark.parametrize(
    ("error", "outcome", "fixture_failed"),
    [
        (None, None, False),
        (ValueError("broken"), "error", True),
        (AssertionError("broken"), "error", True),
        (CallError("TimeoutError", "late"), "error", False),
        (StoreError("full"), "error", True),
        (RefusalError("policy"), "failed", False),
    ],
)
def test_what_a_fixture_raises(error: BaseException | None, outcome: str | None, fixture_failed: bool) -> None:
    """A call in a fixture counts as the sample's; the project's own fixture failure stays pytest's error."""
    sample = record()
    observe_setup(sample, call_info(error, "setup"), Wording())
    assert (sample.outcome, sample.fixture_failed) == (outcome, fixture_failed)


def test_a_swallowed_call_error_is_still_an_error() -> None:
    """A test cannot hide that the runtime was unavailable, whatever it does next."""
    for raised in (None, AssertionError("no")):
        sample = record()
        call = sample.begin("k", None, auxiliary=None, prompt=None)  # type: ignore[arg-type]  # never looked at
        sample.fail(call, CallError("TimeoutError", "late"), attempts=1)
        observe_call(sample, call_info(raised), Wording())
        assert (sample.outcome, sample.message) == ("error", "TimeoutError: late")


def test_a_failing_subtest_fails_the_sample() -> None:
    """The first failing subtest gives the sample's reason."""
    sample = record()
    sample.running = True
    for error in (None, AssertionError("first"), AssertionError("second")):
        observe_call(sample, call_info(error), Wording())
    sample.running = False
    observe_call(sample, call_info(None), Wording())
    assert (sample.outcome, sample.message) == ("failed", "first")


@pytest.mark.parametrize(
    ("role", "bar", "word"),
    [
        ("challenger", ALL_PASS, "UNMET"),
        ("challenger", RATE, "UNMET"),
        ("baseline", ALL_PASS, None),
        ("baseline", LENIENT, "UNMET"),
        ("baseline", RATE, "UNMET"),
    ],
)
def test_a_miss_as_it_is_shown(role: Role, bar: Bar, word: str | None) -> None:
    """A challenger's miss is UNMET, and so is a baseline's where a miss is data."""
    sample, shown = record(role), report("failed", "traceback")
    observe_call(sample, call_info(AssertionError("no")), Wording())
    show(shown, sample, bar)
    category = status(shown)
    assert (category[2][0] if category else None) == word
    assert shown.failed == (word is None)
    assert getattr(shown, "wasxfail", None) == ("no" if word else None)


@pytest.mark.parametrize(("role", "word"), [("challenger", "UNAVAILABLE"), ("baseline", None)])
def test_an_error_as_it_is_shown(role: Role, word: str | None) -> None:
    """A challenger's error is UNAVAILABLE and skipped-like; a baseline's fails its test."""
    sample, shown = record(role), report("failed", "traceback")
    observe_call(sample, call_info(CallError("TimeoutError", "late")), Wording())
    show(shown, sample, RATE)
    category = status(shown)
    assert (category[2][0] if category else None) == word
    assert (shown.outcome, shown.failed) == (("skipped", False) if word else ("failed", True))
    if word:
        assert shown.longrepr == ("t.py", 4, "TimeoutError: late")


def test_a_hidden_baseline_error_fails_the_test() -> None:
    """A test of the baseline that swallowed the failure fails all the same."""
    sample, shown = record("baseline"), report("passed")
    call = sample.begin("k", None, auxiliary=None, prompt=None)  # type: ignore[arg-type]  # never looked at
    sample.fail(call, CallError("TimeoutError", "late"), attempts=1)
    observe_call(sample, call_info(None), Wording())
    show(shown, sample, ALL_PASS)
    assert shown.failed
    assert "TimeoutError: late" in str(shown.longrepr)


def test_an_xfail_mark_keeps_its_word() -> None:
    """A miss that the project expected is shown as pytest shows it."""
    sample, shown = record(), report("skipped")
    shown.wasxfail = "known"
    observe_call(sample, call_info(AssertionError("no")), Wording())
    show(shown, sample, ALL_PASS)
    assert (sample.outcome, shown.wasxfail, status(shown)) == ("failed", "known", None)


def test_plain_reports_are_left_alone() -> None:
    """What ProofMap did not change, pytest words itself."""
    assert status(report("passed")) is None


def test_plain_skips_come_first() -> None:
    """All skips are worded like the first one, so that one is the project's own."""
    unavailable, plain = report("skipped"), report("skipped")
    sample = record()
    observe_call(sample, call_info(CallError("TimeoutError", "late")), Wording())
    show(unavailable, sample, ALL_PASS)
    stats = {"skipped": [unavailable, plain]}
    put_plain_skips_first(stats)
    assert stats == {"skipped": [plain, unavailable]}
    put_plain_skips_first({})


@pytest.mark.parametrize(
    ("text", "line"),
    [("", ""), ("\n \n  one \ntwo", "one"), ("x" * 301, "x" * 297 + "..."), ("x" * 300, "x" * 300)],
)
def test_one_line(text: str, line: str) -> None:
    """A reason is the first line that says something, of bounded length."""
    assert one_line(text) == line
