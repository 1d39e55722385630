"""The record of one sample while its test runs: what it asked, and what came of it.

:meth:`SampleRecord.ask` is where all who ask on a sample's behalf meet: the fixture ``runtime``, and whatever else
sends requests for a test. It answers at once or says what is on its way; how to wait for that is up to the asker.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pytest_proofmap.calls.outcome import CallOutcome, CallRecord
from pytest_proofmap.calls.request import Request, SampleId
from pytest_proofmap.errors import CallError
from pytest_proofmap.evidence.models import ErrorKind, Outcome, PromptRef

if TYPE_CHECKING:
    from pytest_proofmap.calls.lookup import Lookup
    from pytest_proofmap.config import RuntimeConfig

__all__ = ["Ending", "Gate", "Pending", "SampleRecord"]


class Gate(Protocol):
    """What the requests of a sample pass that is not to send all of them; a dry run is one."""

    @property
    def pending(self) -> list[Future[CallOutcome]]:
        """The answers that the sample waits for; grows."""

    def meet(self) -> None:
        """Note that the sample asks for something, whether or not it is there."""

    def admit(self, key: str, position: int) -> None:
        """Let a request pass whose answer is not there, or raise.

        Args:
            key: The request's key.
            position: How many other requests the sample made before it.
        """


class Ending(NamedTuple):
    """What a sample, or one of its subtests, came to."""

    outcome: Outcome
    message: str = ""
    kind: ErrorKind | None = None
    """Whose the error is; None for other outcomes."""
    exception: str | None = None
    """Class of the exception that settled it; None: none did."""
    raised_at: str | None = None
    """Where in the project that was raised: file and line."""
    data_error: bool = False
    """Whether a test could make no sense of an answer, and failed by that and no assertion."""


@dataclass(slots=True)
class SampleRecord:
    """One sample in the making."""

    id: SampleId
    lookup: Lookup | None = None
    """What answers its requests."""
    gate: Gate | None = None
    """What its requests pass; None when the test runs for real, and all are sent."""
    calls: list[CallRecord] = field(default_factory=list)
    outcome: Outcome | None = None
    message: str = ""
    error_kind: ErrorKind | None = None
    exception: str | None = None
    raised_at: str | None = None
    data_error: bool = False
    xfailed: bool = False
    """True when the project expected the failure, so that pytest shows the test as xfailed."""
    running: bool = False
    """True while the test's body runs: a report made meanwhile is that of a subtest."""
    subtest: Ending | None = None
    """What the latest subtest that did not pass came to."""
    subtests: Ending | None = None
    """The worst that a subtest came to: an error, else a failure; the first of its kind."""
    own_errors: list[Exception] = field(default_factory=list)
    """What ProofMap itself raised in a call of the test, beside failed calls and the refusals of the runtime
    under test: never a miss of the model."""
    not_sampled: bool = False
    """True when adaptive sampling had decided before: the test was skipped."""
    fixture_failed: bool = False
    """True when a fixture of the project failed: pytest reports that as usual."""
    asked_in_dry_run: bool = False
    """Whether a dry run of the test asked the runtime under test, whatever the real run then does."""
    unsaved: str | None = None
    """Why an answer that it used could not be saved, when that is so."""
    has_waited: bool = False
    """Whether the real run had to wait for an answer."""
    _unfinished: int = 0
    _round: int = -1
    _has_failed: bool = False

    def ask(
        self,
        request: Request,
        runtime: RuntimeConfig,
        transport: dict[str, Any],
        *,
        auxiliary: bool = False,
        prompt: PromptRef | None = None,
    ) -> CallOutcome | Pending:
        """Ask a runtime, on behalf of the sample.

        Args:
            request: What to ask.
            runtime: Whom to ask.
            transport: Parameters of the call that are none of the model's.
            auxiliary: Whether the answer is no evidence for the runtime under test.
            prompt: The prompt package that the request was rendered from.

        Returns:
            What came of it, or what is on its way.

        Raises:
            RequestError: The request cannot be sent.
            BaseException: What the gate raises for a request that must not be sent.
        """
        return self.answer(self.begin(request, runtime, auxiliary=auxiliary, prompt=prompt), runtime, transport)

    def begin(
        self, request: Request, runtime: RuntimeConfig, *, auxiliary: bool, prompt: PromptRef | None
    ) -> CallRecord:
        """Do the first half of :meth:`ask`: calls that are begun before the first is answered are one round.

        Raises:
            RequestError: The request cannot be sent.
        """
        assert self.lookup is not None
        request, key = self.lookup.identify(request, runtime)
        with self.lookup.lock:
            return self.add(key, request, auxiliary=runtime.name if auxiliary else None, prompt=prompt)

    def answer(self, call: CallRecord, runtime: RuntimeConfig, transport: dict[str, Any]) -> CallOutcome | Pending:
        """Do the second half of :meth:`ask`: look the answer up, and ask the model where there is none.

        Raises:
            BaseException: What the gate raises for a request that must not be sent.
        """
        lookup, gate = self.lookup, self.gate
        assert lookup is not None
        with lookup.lock:
            if call.is_done:
                return call.outcome
            if gate is not None:
                gate.meet()
            outcome = self._find(call, runtime)
            if outcome is not None:
                return outcome
            if gate is not None:
                gate.admit(call.key, self.position(call))
            future = lookup.submit(call, runtime, transport, self.id)
            if gate is not None:
                gate.pending.append(future)
            else:
                self.has_waited = True
            return Pending(self, call, runtime, future)

    def _find(self, call: CallRecord, runtime: RuntimeConfig) -> CallOutcome | None:
        """Finish a call from what is known, if that is enough."""
        assert self.lookup is not None
        # A dry run need not know better: where the environment differs each time it would ask without end.
        outcome = self.lookup.find(call, runtime, self.id, trusts_failures=self.gate is not None)
        if outcome is not None:
            self.finish(call, outcome)
        return outcome

    def add(self, key: str, request: Request, *, auxiliary: str | None, prompt: PromptRef | None) -> CallRecord:
        """Start to record a call; the same request again is the same call."""
        for call in self.calls:
            if call.key == key and call.auxiliary == auxiliary:
                return call
        if self._unfinished == 0:
            self._round += 1
        self._unfinished += 1
        call = CallRecord(key, request, auxiliary, self._round, prompt)
        self.calls.append(call)
        return call

    def finish(self, call: CallRecord, outcome: CallOutcome) -> None:
        """Say what came of a call."""
        if call.is_done:
            return
        call.outcome = outcome
        self._unfinished -= 1
        if outcome.answer is None:
            self._has_failed = True
        elif outcome.failure is not None:
            self.unsaved = outcome.failure.message

    def position(self, call: CallRecord) -> int:
        """Return how many other calls the sample began before a call."""
        return next(position for position, known in enumerate(self.calls) if known is call)

    @property
    def asks(self) -> bool:
        """Whether the sample asked the runtime under test."""
        return any(call.auxiliary is None for call in self.calls)

    def withdraw(self, call: CallRecord) -> None:
        """Forget a call that the test gave up waiting for: what comes of it is no part of the sample."""
        self._unfinished -= 1
        self.calls.remove(call)

    @property
    def failed_call(self) -> CallRecord | None:
        """The first call that gave no usable answer, those of the runtime under test before auxiliary ones."""
        if not self._has_failed:
            return None
        failed = [call for call in self.calls if call.error is not None]
        return next((call for call in failed if call.auxiliary is None), failed[0] if failed else None)

    @property
    def error(self) -> CallError | None:
        """Why a call gave no usable answer, also when the test swallowed the exception."""
        failed = self.failed_call
        return failed.error if failed is not None else None

    @property
    def answered(self) -> bool:
        """Whether a call of the runtime under test has ended in an answer or a refusal."""
        return any(call.auxiliary is None and call.answer is not None for call in self.calls)

    def end(self, ending: Ending) -> None:
        """Take what the sample came to."""
        self.outcome, self.message, self.error_kind, self.exception, self.raised_at, self.data_error = ending

    def latency_s(self) -> float | None:
        """Return the time from the first request to the last answer, in seconds.

        Calls of one round ran side by side, so the slowest counts; rounds ran one after another. None when
        a call's latency is unknown or the sample made no call.
        """
        slowest: dict[int, float] = {}
        for call in self.calls:
            if call.auxiliary is not None:
                continue
            latency_s = call.latency_s
            if latency_s is None:
                return None
            slowest[call.round] = max(latency_s, slowest.get(call.round, 0.0))
        return sum(slowest.values()) if slowest else None

    def content(self, *, texts: bool = True) -> dict[str, Any]:
        """Return what the artifact holds: the fields of :class:`pytest_proofmap.evidence.models.Sample`.

        A sample without an outcome was not run to its end.

        Args:
            texts: Whether what was answered is kept.
        """
        id = self.id
        added: dict[str, Any] = {}
        if self.outcome in ("failed", "error"):
            added = {
                "error_kind": self.error_kind,
                "exception": self.exception,
                "raised_at": self.raised_at,
                "data_error": self.data_error or None,
                "xfailed": self.xfailed or None,
            }
        return {
            "criterion": id.criterion,
            "case": id.case,
            "slice": id.slice,
            "runtime": id.runtime,
            "role": id.role,
            "sample": id.sample,
            "outcome": self.outcome or "error",
            "message": self.message,
            "calls": [call.content(texts=texts) for call in self.calls],
            "latency_s": self.latency_s(),
            "spared": self.not_sampled,
            **{name: value for name, value in added.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class Pending:
    """A call whose answer is on its way.

    Who asked waits for :attr:`future` in its own way, within :meth:`waited_for`, and then takes the outcome.
    """

    sample: SampleRecord
    call: CallRecord
    runtime: RuntimeConfig
    future: Future[CallOutcome]

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """Take the call out of its sample when all who waited for it have given up."""
        call, lookup = self.call, self.sample.lookup
        assert lookup is not None
        with lookup.lock:
            call.waiters += 1
        try:
            yield
        finally:
            with lookup.lock:
                call.waiters -= 1
                if not call.is_done and not call.waiters and self.sample.gate is None:
                    self.sample.withdraw(call)

    def take(self) -> CallOutcome:
        """Return what came of the call, now that it is there."""
        sample, call, lookup = self.sample, self.call, self.sample.lookup
        assert lookup is not None
        outcome = self.future.result()
        with lookup.lock:
            lookup.take(call.key, outcome)
            if not call.is_done and sample._find(call, self.runtime) is None:
                # Asked under what the test has changed since: it is this call's failure all the same.
                sample.finish(call, outcome)
            return call.outcome
