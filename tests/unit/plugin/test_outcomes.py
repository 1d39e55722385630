"""From what a test raised to the outcome of its sample, and to what pytest shows."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.outcome import CallOutcome
from pytest_proofmap.calls.request import Request, SampleId
from pytest_proofmap.calls.sample import SampleRecord
from pytest_proofmap.errors import (
    CallError,
    PromptError,
    RefusalError,
    ReplayMissError,
    ReplyError,
    RequestError,
    StoreError,
)
from pytest_proofmap.evidence.models import Bar, Role
from pytest_proofmap.plugin.marks import MissRules
from pytest_proofmap.plugin.outcomes import (
    Wording,
    observe_call,
    observe_setup,
    one_line,
    put_plain_skips_first,
    show,
    status,
)

ALL_PASS = Bar(kind="all_pass", min_pass_rate=1.0, max_failure_rate=0.25, margin=None, confidence=0.95, samples=1)
LENIENT = ALL_PASS.model_copy(update={"baseline_must_pass": False})
RATE = ALL_PASS.model_copy(update={"kind": "min_pass_rate", "min_pass_rate": 0.9})

LATE = CallOutcome.failed("TimeoutError", "late")


def record(role: Role = "challenger") -> SampleRecord:
    """Return a sample in the making."""
    return SampleRecord(SampleId("t.py::test", "a", None, "mini", role, 0))


def answered(role: Role = "challenger", *, auxiliary: str | None = None) -> SampleRecord:
    """Return a sample with an answer, of its runtime or of an auxiliary one."""
    sample = record(role)
    request = Request("openai/mini", [{"role": "user", "content": "hi"}], {})
    call = sample.add("k", request, auxiliary=auxiliary, prompt=None)
    response = {"choices": [{"message": {"role": "assistant", "content": "hello"}}]}
    sample.finish(call, CallOutcome(Answer(request.content(), response), source="cache"))
    return sample


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
        (ZeroDivisionError("by zero"), "failed", "ZeroDivisionError: by zero"),
        (TypeError("no"), "failed", "TypeError: no"),
        (AttributeError("no"), "failed", "AttributeError: no"),
        (RefusalError("policy"), "failed", "RefusalError: policy"),
        (PromptError("no such package"), "error", "no such package"),
        (NameError("no"), "error", "NameError: no"),
        (ImportError("no"), "error", "ImportError: no"),
        (OSError("no"), "error", "OSError: no"),
        (RuntimeError("no"), "error", "RuntimeError: no"),
        (SystemExit(1), "error", "SystemExit: 1"),
        (RequestError("no"), "error", "no"),
        (ReplyError("no"), "error", "no"),
        (CallError("TimeoutError", "late"), "error", "TimeoutError: late"),
        (ReplayMissError("ReplayMissError", "no answer"), "error", "no answer"),
        (StoreError("disk full"), "error", "disk full"),
    ],
)
def test_what_a_test_raises(error: BaseException | None, outcome: str, message: str) -> None:
    """Wrong and refused answers are failed; what gave no usable answer, or no answer explains, is an error."""
    sample = answered()
    observe_call(sample, call_info(error), Wording())
    assert (sample.outcome, sample.message) == (outcome, message)


def group(*members: Exception) -> BaseException:
    """Return exceptions as one group, as a ``TaskGroup`` raises them."""
    made: BaseException = vars(builtins)["ExceptionGroup"]("unhandled errors in a TaskGroup", members)
    return made


def chained(error: Exception, cause: Exception) -> Exception:
    """Return an exception as it is raised from another."""
    error.__cause__ = cause
    return error


PYTHON_HAS_GROUPS = sys.version_info >= (3, 11)


@pytest.mark.skipif(not PYTHON_HAS_GROUPS, reason="Python has exception groups from 3.11 on")
def test_a_group_is_what_its_members_are() -> None:
    """A group of misses is a miss; one member that no answer explains makes it the test's error."""
    for members, outcome, exception in (
        ((AssertionError("no"), KeyError("x")), "failed", "KeyError"),
        ((AssertionError("no"), NameError("x")), "error", "NameError"),
        ((AssertionError("no"), group(ValueError("x"), OSError("y"))), "error", "OSError"),
        ((group(AssertionError("no")),), "failed", "AssertionError"),
    ):
        sample = answered()
        observe_call(sample, call_info(group(*members)), Wording())
        assert (sample.outcome, sample.exception) == (outcome, exception)
        assert sample.error_kind == ("test" if outcome == "error" else None)


def test_the_marks_own_misses() -> None:
    """What the mark's ``miss`` names is a miss, its subclasses too, and never one of ProofMap's own errors."""
    rules = MissRules((OSError, Exception))
    for error, outcome in (
        (TimeoutError("slow"), "failed"),
        (NameError("x"), "failed"),
        (PromptError("x"), "error"),
        (StoreError("x"), "error"),
    ):
        sample = answered()
        observe_call(sample, call_info(error), Wording(), rules)
        assert (sample.outcome, sample.data_error) == (outcome, False)


@pytest.mark.parametrize("error", [AssertionError("no"), KeyError("x"), NameError("x"), OSError("x")])
@pytest.mark.parametrize("auxiliary", [None, "judge"])
def test_before_the_runtime_has_answered_nothing_is_a_miss(error: Exception, auxiliary: str | None) -> None:
    """What a test raises before its runtime answered is the test's, also when a judge has answered."""
    sample = record() if auxiliary is None else answered(auxiliary=auxiliary)
    observe_call(sample, call_info(error), Wording(), MissRules((OSError,)))
    assert (sample.outcome, sample.error_kind, sample.exception) == ("error", "test", type(error).__name__)


def test_a_call_under_way_is_no_finished_one() -> None:
    """A call that was begun and given up, such as by ``wait_for``, says nothing of the model."""
    sample = record()
    sample.add("k", Request("openai/mini", [], {}), auxiliary=None, prompt=None)
    observe_call(sample, call_info(TimeoutError()), Wording(), MissRules((TimeoutError,)))
    assert (sample.outcome, sample.error_kind) == ("error", "test")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, "passed"), (AssertionError("no"), "failed"), (KeyError("x"), "failed"), (NameError("x"), "error")],
)
def test_where_calls_are_optional(error: Exception | None, outcome: str) -> None:
    """``calls="optional"`` lets a sample pass and miss without asking; what no answer explains stays an error."""
    sample = record()
    observe_call(sample, call_info(error), Wording(), MissRules((), True))
    assert sample.outcome == outcome


def test_a_sample_that_never_asked_is_no_pass() -> None:
    """A pass without a finished call of its own is the test's error, and says whether a dry run asked."""
    real = record()
    observe_call(real, call_info(None), Wording())
    assert (real.outcome, real.error_kind, real.exception) == ("error", "test", None)
    assert real.message == "never asked: it passed without a finished call on its runtime"
    real.asked_in_dry_run = True
    observe_call(real, call_info(None), Wording())
    assert real.message.startswith("never asked: the dry run asked its runtime, the real run did not")
    judged = answered(auxiliary="judge")
    observe_call(judged, call_info(None), Wording())
    assert judged.message.endswith("(only on judge)")


@pytest.mark.parametrize("raised", [AssertionError("no"), KeyError("x")])
def test_what_proofmap_raised_itself_is_never_a_miss(raised: Exception) -> None:
    """A test that turns ProofMap's own failure into a miss, or goes on without the answer, shows nothing."""
    for own in (RequestError("bad"), RuntimeError("a fault of ours")):
        sample = answered()
        sample.own_errors.append(own)
        observe_call(sample, call_info(raised), Wording())
        assert (sample.outcome, sample.error_kind, sample.exception) == ("error", "test", type(own).__name__)
    sample = answered()
    sample.own_errors.append(RequestError("bad"))
    observe_call(sample, call_info(None), Wording())
    assert sample.outcome == "passed"


def test_a_judges_refusal_is_no_miss_of_the_model() -> None:
    """An auxiliary runtime's refusal is the test's error where the test fails by it, and only there."""
    refusal = RefusalError("policy")
    for raised, outcome in (
        (refusal, "error"),
        (chained(AssertionError("no"), refusal), "error"),
        (AssertionError("no"), "failed"),
    ):
        sample = answered()
        sample.own_errors.append(refusal)
        observe_call(sample, call_info(raised), Wording())
        assert sample.outcome == outcome


def test_whose_error_a_failed_call_is() -> None:
    """A failed call of the runtime under test is its unavailability, an auxiliary runtime's the test's error."""
    for auxiliaries, kind in (([None], "unavailable"), (["judge"], "test"), (["judge", None], "unavailable")):
        sample = answered()
        for number, auxiliary in enumerate(auxiliaries):
            request = Request("openai/mini", [], {})
            call = sample.add(str(number), request, auxiliary=auxiliary, prompt=None)
            sample.finish(call, LATE)
        observe_call(sample, call_info(AssertionError("no")), Wording())
        assert (sample.outcome, sample.error_kind, sample.exception) == ("error", kind, "TimeoutError")


@pytest.mark.parametrize("role", ["baseline", "challenger"])
@pytest.mark.parametrize("error", [None, NameError("x")])
def test_a_broken_test_fails_for_every_role(role: Role, error: Exception | None) -> None:
    """An error of the test fails it whoever answers, and one that passed without asking is made to fail."""
    sample, shown = record(role), report("failed" if error else "passed", "traceback" if error else None)
    observe_call(sample, call_info(error), Wording())
    show(shown, sample, RATE)
    assert (shown.outcome, status(shown)) == ("failed", None)
    assert shown.longrepr == ("traceback" if error else sample.message)


def test_an_expected_break_stays_expected() -> None:
    """Under an ``xfail`` mark a test may break: pytest shows it as expected, and it is no evidence."""
    sample, shown = answered(), report("skipped")
    shown.wasxfail = "known"
    observe_call(sample, call_info(NameError("x")), Wording())
    show(shown, sample, ALL_PASS)
    assert (sample.outcome, sample.error_kind, sample.xfailed) == ("error", "test", True)
    assert (shown.outcome, shown.wasxfail) == ("skipped", "known")


def test_a_broken_subtest_outweighs_a_failing_one() -> None:
    """A subtest that broke makes the sample the test's error, and stays a failure of pytest's."""
    sample = answered()
    sample.running = True
    reports = []
    for error in (AssertionError("first"), NameError("x"), AssertionError("last")):
        observe_call(sample, call_info(error), Wording())
        reports.append(report("failed", "traceback"))
        show(reports[-1], sample, ALL_PASS)
    sample.running = False
    observe_call(sample, call_info(None), Wording())
    assert (sample.outcome, sample.error_kind, sample.message) == ("error", "test", "NameError: x")
    assert [shown.outcome for shown in reports] == ["skipped", "failed", "skipped"]


@pytest.mark.parametrize(("auxiliary", "kind"), [(None, "unavailable"), ("judge", "test")])
def test_a_fixture_that_a_failed_call_breaks(auxiliary: str | None, kind: str) -> None:
    """A fixture that passes a failed call of its runtime on, wrapped or not, is no broken fixture."""
    late = LATE.error
    assert late is not None
    for raised in (late, chained(RuntimeError("no reply"), late)):
        sample = record()
        call = sample.add("k", Request("openai/mini", [], {}), auxiliary=auxiliary, prompt=None)
        sample.finish(call, LATE)
        observe_setup(sample, call_info(raised, "setup"), Wording())
        assert (sample.outcome, sample.error_kind) == ("error", kind)
        assert sample.fixture_failed == (kind == "test")
    sample = record()
    call = sample.add("k", Request("openai/mini", [], {}), auxiliary=None, prompt=None)
    sample.finish(call, LATE)
    observe_setup(sample, call_info(NameError("x"), "setup"), Wording())
    assert (sample.error_kind, sample.fixture_failed) == ("test", True)


def test_where_it_was_raised(tmp_path: Path) -> None:
    """The innermost line of the project is named, for errors and for data errors and not for assertions."""
    module = tmp_path / "helper.py"
    module.write_text("import json\ndef read(text):\n    return json.loads(text)\n")
    names: dict[str, Any] = {}
    exec(compile(module.read_text(), str(module), "exec"), names)
    call = pytest.CallInfo.from_call(lambda: names["read"]("no"), "call")
    sample = answered()
    observe_call(sample, call, Wording(), root=tmp_path)
    assert (sample.outcome, sample.exception, sample.raised_at) == ("failed", "JSONDecodeError", "helper.py:3")
    assert sample.data_error
    asserted = answered()
    observe_call(asserted, call_info(AssertionError("no")), Wording(), root=Path(__file__).parent)
    assert (asserted.exception, asserted.raised_at, asserted.data_error) == ("AssertionError", None, False)


@pytest.mark.parametrize(
    ("function", "outcome"), [(pytest.skip, "skipped"), (pytest.fail, "failed"), (pytest.xfail, "failed")]
)
def test_what_a_test_declares(function: Any, outcome: str) -> None:
    """A skip is a skip; a test that gives up has not passed."""
    sample = answered()
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
        call = sample.add("k", None, auxiliary=None, prompt=None)  # type: ignore[arg-type]  # never looked at
        sample.finish(call, LATE)
        observe_call(sample, call_info(raised), Wording())
        assert (sample.outcome, sample.message) == ("error", "TimeoutError: late")


def test_a_failing_subtest_fails_the_sample() -> None:
    """The first failing subtest gives the sample's reason."""
    sample = answered()
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
    sample, shown = answered(role), report("failed", "traceback")
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
    call = sample.add("k", None, auxiliary=None, prompt=None)  # type: ignore[arg-type]  # never looked at
    sample.finish(call, LATE)
    observe_call(sample, call_info(None), Wording())
    show(shown, sample, ALL_PASS)
    assert shown.failed
    assert "TimeoutError: late" in str(shown.longrepr)


def test_an_xfail_mark_keeps_its_word() -> None:
    """A miss that the project expected is shown as pytest shows it."""
    sample, shown = answered(), report("skipped")
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
