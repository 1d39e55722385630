"""From a test's reports to the outcome of a sample, and from the outcome to what pytest shows.

=============  ==============================  =====================================
sample         baseline                        challenger
=============  ==============================  =====================================
``passed``     passed                          passed
``failed``     failed, or UNMET when the bar   UNMET: xfailed, letter ``u``
               takes a miss as data
``error``      failed                          UNAVAILABLE: skipped, letter ``U``
``skipped``    skipped                         skipped
=============  ==============================  =====================================

A failing fixture of the project stays pytest's own error for every role; its sample counts as ``error``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from pytest_proofmap.errors import BudgetError, CallError, ProofmapError, ReplayMissError, StoreError
from pytest_proofmap.evidence.models import Bar
from pytest_proofmap.run.sample import SampleRecord
from pytest_proofmap.runtime.redaction import Redactor
from pytest_proofmap.visible import visible

__all__ = [
    "SHOWN_ATTRIBUTE",
    "Shown",
    "Wording",
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


def observe_setup(record: SampleRecord, call: pytest.CallInfo[None], wording: Wording) -> None:
    """Take the outcome from a test's setup, where that has decided it."""
    if call.excinfo is None:
        return
    error = call.excinfo.value
    if isinstance(error, pytest.skip.Exception):
        # What adaptive sampling says is ProofMap's own.
        message = wording.own(str(error.msg)) if record.spared else wording.reason(error)
        record.outcome, record.message = "skipped", message
    elif isinstance(error, pytest.xfail.Exception):
        record.outcome, record.message = "skipped", wording.reason(error, "not run: ")
    elif isinstance(record.error, BudgetError):
        record.outcome, record.message = "skipped", wording.own(record.error.message)
    elif isinstance(error, CallError):
        record.outcome, record.message = "error", wording.error(error)
    elif isinstance(error, ProofmapError) and not isinstance(error, StoreError):
        record.outcome, record.message = "failed", wording.error(error)
    else:
        record.outcome, record.message = "error", wording.failure(error, "setup failed: ")
        record.fixture_failed = True


def observe_call(record: SampleRecord, call: pytest.CallInfo[None], wording: Wording) -> None:
    """Take the outcome from a test's body, or from one of its subtests while the body runs."""
    error = call.excinfo.value if call.excinfo is not None else None
    if error is None and not record.running and record.error is None and record.subtest_failure is None:
        record.outcome = "passed"
        return
    if record.running:
        if error is not None and not isinstance(error, pytest.skip.Exception):
            record.subtest_failure = record.subtest_failure or wording.failure(error)
        return
    if isinstance(record.error, BudgetError):
        record.outcome, record.message = "skipped", wording.own(record.error.message)
        return
    unusable = record.error or (error if isinstance(error, CallError | StoreError) else None)
    if unusable is not None:
        record.outcome, record.message = "error", wording.error(unusable)
    elif isinstance(error, pytest.skip.Exception):
        record.outcome, record.message = "skipped", wording.reason(error)
    elif error is not None:
        record.outcome, record.message = "failed", wording.failure(error)
    elif record.subtest_failure is not None:
        record.outcome, record.message = "failed", record.subtest_failure


def show(report: pytest.TestReport, record: SampleRecord, bar: Bar) -> None:
    """Change a report so that pytest shows a miss that is evidence, and no broken build."""
    shown = _show(report, record, bar)
    if shown is not None:
        setattr(report, SHOWN_ATTRIBUTE, shown)


def _show(report: pytest.TestReport, record: SampleRecord, bar: Bar) -> Shown | None:
    challenger = record.id.role == "challenger"
    if record.running:
        if report.failed and (challenger or takes_misses_as_data(bar)):
            _as_xfailed(report, record.subtest_failure or "")
        return None
    if record.fixture_failed:
        return None
    if isinstance(record.error, BudgetError):
        _as_skipped(report, record.message)
        return None
    if record.outcome == "skipped" and isinstance(report.longrepr, tuple):
        _say_as_kept(report, record.message)
    if record.outcome == "error":
        if not challenger:
            if not report.failed:
                report.outcome = "failed"
                report.longrepr = f"the call gave no usable answer, and the test went on: {record.message}"
            return None
        _as_skipped(report, record.message)
        return "unavailable"
    if record.outcome == "failed" and (challenger or takes_misses_as_data(bar)):
        if hasattr(report, "wasxfail"):
            return None
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
    """Reorder the skipped reports, as pytest's ``-rs`` shows them all under the word of the first one."""
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
