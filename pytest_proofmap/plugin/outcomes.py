"""From a test's reports to the outcome of a sample, and from the outcome to what pytest shows.

=======================  ==============================  =====================================
sample                   baseline                        challenger
=======================  ==============================  =====================================
``passed``               passed                          passed
``failed``               failed, or UNMET when the bar   UNMET: xfailed, letter ``u``
                         takes a miss as data
``error``, unavailable   failed                          UNAVAILABLE: skipped, letter ``U``
``error``, test          failed                          failed
``skipped``              skipped                         skipped
=======================  ==============================  =====================================

An error of the kind ``test`` says nothing of the model: the test broke before the model was asked, or by what no
answer explains, or it passed without asking. A failing fixture of the project is one too, and stays pytest's own
error.

What pytest shows of a failing test, with nothing in it that a terminal would obey.

Messages of assertions quote answers, and an answer may hold anything. pytest prints it as it is, and workers of
pytest-xdist cannot even send half a surrogate pair.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_proofmap.calls.sample import Ending, SampleRecord
from pytest_proofmap.errors import (
    BudgetError,
    CallError,
    ProofmapError,
    RefusalError,
    ReplayMissError,
    StoreError,
)
from pytest_proofmap.evidence.models import Bar
from pytest_proofmap.plugin.marks import MissRules
from pytest_proofmap.redaction import Redactor
from pytest_proofmap.report.result import NEVER_ASKED
from pytest_proofmap.text import visible, visible_lines

__all__ = [
    "Wording",
    "make_visible",
    "observe_call",
    "observe_setup",
    "one_line",
    "put_plain_skips_first",
    "show",
    "status",
]


Shown = Literal["unmet", "unavailable"]
SHOWN_ATTRIBUTE = "proofmap_shown"
"""Attribute of a report that is shown as evidence: how."""

DATA_ERRORS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What a test raises that cannot make sense of an answer."""

MISSES = (AssertionError, pytest.fail.Exception, *DATA_ERRORS)
"""What is a miss of the model once it has answered."""

NO_RULES = MissRules()

MESSAGE_LIMIT = 300
READ_LIMIT = 3 * MESSAGE_LIMIT
"""How much of a message is looked through for secrets: more is never shown, whatever is taken out."""

TEXT_LEFT_OUT = "its text is left out"


class Wording:
    """Words in one line what a test raised, so that it may be kept and shown.

    Args:
        redactor: Takes secrets out.
        texts: Whether messages of tests, models and providers may be kept: they quote prompts and answers.
    """

    def __init__(self, redactor: Redactor | None = None, *, texts: bool = True) -> None:
        self._redactor = redactor
        self._texts = texts

    def own(self, text: str) -> str:
        """Return ProofMap's own words."""
        line = next((part.strip() for part in text.splitlines() if part.strip()), "")
        if self._redactor is not None:
            line = self._redactor.redact(line[:READ_LIMIT])
        return one_line(line)

    def reason(self, error: Any, prefix: str = "") -> str:
        """Return the reason that a test gave itself, for a skip."""
        return self.own(f"{prefix}{error.msg}" if self._texts else f"{prefix}{TEXT_LEFT_OUT}")

    def failure(self, error: BaseException, prefix: str = "") -> str:
        """Return an exception in words."""
        if self._texts:
            return self.own(f"{prefix}{_describe(error)}")
        kind = error.error_class if isinstance(error, CallError) else type(error).__name__
        return self.own(f"{prefix}{kind}: {TEXT_LEFT_OUT}")

    def error(self, error: ProofmapError) -> str:
        """Return one of ProofMap's errors in words, without its class where the message speaks for itself."""
        if self._texts or isinstance(error, BudgetError | ReplayMissError | StoreError):
            return self.own(str(error))
        return self.failure(error)


def observe_setup(
    record: SampleRecord, call: pytest.CallInfo[None], wording: Wording, root: Path | None = None
) -> None:
    """Take the outcome from a test's setup, where that has decided it.

    Args:
        record: The sample.
        call: The setup.
        wording: How what was raised is worded.
        root: The folder of the project.
    """
    if call.excinfo is None:
        return
    error = call.excinfo.value
    failures = [call.error for call in record.calls if call.auxiliary is None and call.error is not None]
    unanswered = next((failure for failure in failures if failure in _chain(error)), None)
    if isinstance(error, pytest.skip.Exception):
        # What adaptive sampling says is ProofMap's own.
        message = wording.own(str(error.msg)) if record.not_sampled else wording.reason(error)
        record.end(Ending("skipped", message))
    elif isinstance(error, pytest.xfail.Exception):
        record.end(Ending("skipped", wording.reason(error, "not run: ")))
    elif isinstance(record.error, BudgetError):
        record.end(Ending("skipped", wording.own(record.error.message)))
    elif unanswered is not None:
        record.end(Ending("error", wording.error(unanswered), "unavailable", unanswered.error_class))
    elif isinstance(error, CallError) and record.error is None:
        record.end(Ending("error", wording.error(error), "unavailable", error.error_class))
    elif isinstance(error, RefusalError) and error not in record.own_errors:
        record.end(Ending("failed", wording.error(error), None, _class_of(error)))
    else:
        record.end(_test_error(error, wording.failure(error, "setup failed: "), root))
        record.fixture_failed = True


def observe_call(
    record: SampleRecord,
    call: pytest.CallInfo[None],
    wording: Wording,
    rules: MissRules = NO_RULES,
    root: Path | None = None,
) -> None:
    """Take the outcome from a test's body, or from one of its subtests while the body runs.

    Args:
        record: The sample.
        call: The body's end, or the subtest's.
        wording: How what was raised is worded.
        rules: What the criterion takes for a miss.
        root: The folder of the project.
    """
    error = call.excinfo.value if call.excinfo is not None else None
    if error is None and record.answered and not record.running and record.error is None and not record.subtests:
        record.outcome = "passed"
        return
    if record.running:
        record.subtest = None
        if error is not None and not isinstance(error, pytest.skip.Exception):
            record.subtest = ending = _ending(record, error, wording, rules, root)
            if record.subtests is None or (ending.outcome, record.subtests.outcome) == ("error", "failed"):
                record.subtests = ending
        return
    if isinstance(record.error, BudgetError):
        record.end(Ending("skipped", wording.own(record.error.message)))
        return
    endings = [] if error is None and record.error is None else [_ending(record, error, wording, rules, root)]
    endings += [] if record.subtests is None else [record.subtests]
    if endings:
        record.end(next((ending for ending in endings if ending.outcome == "error"), endings[0]))
    elif rules.calls_optional:
        record.outcome = "passed"
    else:
        record.end(Ending("error", wording.own(_never_asked(record)), "test"))


def _ending(
    record: SampleRecord, error: BaseException | None, wording: Wording, rules: MissRules, root: Path | None
) -> Ending:
    """Return what a body or a subtest came to that raised, or that swallowed the failure of a call."""
    failed = record.failed_call
    if failed is not None and failed.error is not None:
        kind: Literal["unavailable", "test"] = "unavailable" if failed.auxiliary is None else "test"
        return Ending("error", wording.error(failed.error), kind, failed.error.error_class)
    assert error is not None
    if isinstance(error, pytest.skip.Exception):
        return Ending("skipped", wording.reason(error))
    if isinstance(error, pytest.xfail.Exception):
        return Ending("failed", wording.failure(error))
    own = _own_error(record, error)
    if own is not None:
        return _test_error(own, wording.failure(own), root, raised=error)
    if isinstance(error, CallError):
        return Ending("error", wording.error(error), "unavailable", error.error_class)
    may_miss = record.answered or rules.calls_optional
    causes = list(_causes(error, rules))
    broken = next((cause for cause in causes if not (may_miss and _is_miss(cause, rules))), None)
    if broken is None or isinstance(error, RefusalError):
        senseless = next((cause for cause in causes if _is_data_error(cause, rules)), None)
        cause = senseless or causes[0]
        place = _place(cause, root) if senseless is not None else None
        return Ending("failed", wording.failure(error), None, _class_of(cause), place, senseless is not None)
    before = "before its runtime had answered: " if not may_miss and _is_miss(broken, rules) else ""
    if isinstance(broken, ProofmapError):
        return _test_error(broken, wording.error(broken), root)
    return _test_error(broken, wording.failure(broken, before), root)


def _own_error(record: SampleRecord, error: BaseException) -> Exception | None:
    """Return what ProofMap itself raised and a test's exception rests on, or None.

    A call that ProofMap could not make leaves the test without an answer, and whatever it raises rests on that. An
    auxiliary runtime's refusal is an answer, which the test may have dealt with: that must be in the chain.
    """
    chain = set(map(id, _chain(error)))
    for raised in record.own_errors:
        if not isinstance(raised, RefusalError) or id(raised) in chain:
            return raised
    return None


def _chain(error: BaseException, seen: frozenset[int] = frozenset()) -> Iterator[BaseException]:
    """Yield an exception, what it was raised from or while handling, and the members of groups among these."""
    if id(error) in seen:
        return
    yield error
    seen |= {id(error)}
    for next_one in (error.__cause__, error.__context__, *_members(error)):
        if next_one is not None:
            yield from _chain(next_one, seen)


def _causes(error: BaseException, rules: MissRules) -> Iterator[BaseException]:
    """Yield the exceptions that count: the members of a group, unless the group itself is named as a miss."""
    members = () if isinstance(error, rules.classes) else _members(error)
    if not members:
        yield error
    for member in members:
        yield from _causes(member, rules)


def _members(error: BaseException) -> tuple[BaseException, ...]:
    """Return the members of an exception group: Python's own, or before 3.11 that of the package."""
    if any(base.__name__ == "BaseExceptionGroup" for base in type(error).__mro__):
        members: tuple[BaseException, ...] = error.exceptions  # type: ignore[attr-defined]  # a group has them
        return members
    return ()


def _is_miss(error: BaseException, rules: MissRules) -> bool:
    """Return whether an exception may be the model's doing: no missing fixture is, and no fault of ProofMap."""
    if isinstance(error, ProofmapError | pytest.FixtureLookupError):
        return isinstance(error, RefusalError)
    return isinstance(error, (*MISSES, *rules.classes))


def _is_data_error(error: BaseException, rules: MissRules) -> bool:
    """Return whether a test could make no sense of an answer, where it does not say itself that this is a miss."""
    return isinstance(error, DATA_ERRORS) and not isinstance(error, (AssertionError, RefusalError, *rules.classes))


def _test_error(
    error: BaseException, message: str, root: Path | None, *, raised: BaseException | None = None
) -> Ending:
    """Return the ending of a test that broke."""
    place = _place(error, root) or (_place(raised, root) if raised is not None else None)
    return Ending("error", message, "test", _class_of(error), place)


def _class_of(error: BaseException) -> str:
    return type(error).__name__


def _place(error: BaseException, root: Path | None) -> str | None:
    """Return where in the project an exception was raised: the innermost line of it, and its file."""
    if root is None or error.__traceback__ is None:
        return None
    for entry in reversed(pytest.ExceptionInfo.from_exception(error).traceback):
        path = Path(entry.path)
        if path.is_relative_to(root) and "site-packages" not in path.parts:
            return f"{path.relative_to(root).as_posix()}:{entry.lineno + 1}"
    return None


def _never_asked(record: SampleRecord) -> str:
    if record.asked_in_dry_run and not record.asks:
        return (
            f"{NEVER_ASKED}: the dry run asked its runtime, the real run did not (was the answer kept in a memo?)"
        )
    auxiliary = ", ".join(sorted({call.auxiliary for call in record.calls if call.auxiliary is not None}))
    only = f" (only on {auxiliary})" if auxiliary else ""
    return f"{NEVER_ASKED}: it passed without a finished call on its runtime{only}"


def show(report: pytest.TestReport, record: SampleRecord, bar: Bar) -> None:
    """Change a report so that pytest shows a miss that is evidence, and no broken build."""
    shown = _show(report, record, bar)
    if shown is not None:
        setattr(report, SHOWN_ATTRIBUTE, shown)


def _show(report: pytest.TestReport, record: SampleRecord, bar: Bar) -> Shown | None:
    challenger = record.id.role == "challenger"
    is_data = challenger or takes_misses_as_data(bar)
    if record.running:
        subtest = record.subtest
        if report.failed and subtest is not None and is_data and subtest.kind != "test":
            _as_xfailed(report, subtest.message)
        return None
    if record.fixture_failed:
        return None
    if isinstance(record.error, BudgetError):
        _as_skipped(report, record.message)
        return None
    expected = report.skipped and hasattr(report, "wasxfail")
    if record.outcome == "skipped" and isinstance(report.longrepr, tuple):
        _say_as_kept(report, record.message)
    if record.outcome == "error":
        if record.error_kind == "unavailable" and challenger:
            _as_skipped(report, record.message)
            return "unavailable"
        if record.error_kind == "test" and expected:
            record.xfailed = True
        elif not report.failed:
            _as_failed(report, record)
        return None
    if record.outcome == "failed":
        record.xfailed = expected
        if is_data and not hasattr(report, "wasxfail"):
            _as_xfailed(report, record.message)
            return "unmet"
    return None


def takes_misses_as_data(bar: Bar) -> bool:
    """Return whether a miss of the baseline is data and does not fail its test."""
    return bar.kind != "all_pass" or not bar.baseline_must_pass


def one_line(text: str) -> str:
    """Return the first line that says something, shortened and safe to print."""
    line = visible(next((part.strip() for part in text.splitlines() if part.strip()), ""))
    return line if len(line) <= MESSAGE_LIMIT else f"{line[: MESSAGE_LIMIT - 3]}..."


def _as_skipped(report: pytest.TestReport, message: str) -> None:
    report.outcome = "skipped"
    report.__dict__.pop("wasxfail", None)
    path, line, _ = report.location
    report.longrepr = (path, (line or 0) + 1, message)


def _as_failed(report: pytest.TestReport, record: SampleRecord) -> None:
    report.outcome = "failed"
    report.__dict__.pop("wasxfail", None)
    swallowed = "the call gave no usable answer, and the test went on: "
    report.longrepr = record.message if record.error is None else swallowed + record.message


def _say_as_kept(report: pytest.TestReport, message: str) -> None:
    """Have pytest show a skip's reason as it is kept, where something was taken out of it."""
    assert isinstance(report.longrepr, tuple)
    path, line, reason = report.longrepr
    if one_line(reason.removeprefix("Skipped: ")) != message:
        report.longrepr = (path, line, f"Skipped: {message}")


def _as_xfailed(report: pytest.TestReport, message: str) -> None:
    report.outcome = "skipped"
    report.wasxfail = message


def _describe(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, AssertionError | pytest.fail.Exception):
        return text or "assertion failed"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def put_plain_skips_first(stats: Mapping[str, list[Any]]) -> None:
    """Reorder the skipped reports, as pytest's ``-rs`` shows them all under the word of the first one.

    https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/terminal.py#L1375
    """
    stats.get("skipped", []).sort(key=lambda report: hasattr(report, SHOWN_ATTRIBUTE))


def status(report: pytest.TestReport) -> tuple[str, str, tuple[str, Mapping[str, bool]]] | None:
    """Return pytest's category, letter and word for a report that :func:`show` changed, else None."""
    shown: Shown | None = getattr(report, SHOWN_ATTRIBUTE, None)
    if shown is None:
        return None
    yellow = {"yellow": True}
    if shown == "unmet":
        return "xfailed", "u", ("UNMET", yellow)
    return "skipped", "U", ("UNAVAILABLE", yellow)


def make_visible(report: pytest.TestReport, *, colours: bool) -> None:
    """Change what a report shows of an exception or a skip.

    Args:
        report: The report.
        colours: Whether pytest paints, and so puts sequences of its own into differences.
    """
    report.longrepr = _visible(report.longrepr, colours)


def _visible(value: Any, colours: bool) -> Any:
    """Return a text, a list of such, or one of pytest's representations, each of their texts visible."""
    if isinstance(value, str):
        return visible_lines(value, colours=colours)
    if type(value) in (list, tuple):
        return type(value)(_visible(part, colours) for part in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            old = getattr(value, field.name)
            new = _visible(old, colours)
            if new != old:
                setattr(value, field.name, new)
    return value
