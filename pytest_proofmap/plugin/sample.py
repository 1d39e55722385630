"""The record of one sample while its test runs: the calls it made and what came of them.

Where the artifact is to hold no texts, what stands in for a text says how long it is and carries its SHA-256, so
that equal texts stay equal: decisions that compare answers come out as before, and shards of one run still agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pytest_proofmap.calls.answer import NO_USAGE, Answer, Usage
from pytest_proofmap.calls.request import Request
from pytest_proofmap.errors import CallError
from pytest_proofmap.evidence.models import ErrorKind, Outcome, PromptRef, Role, Source
from pytest_proofmap.prefetch.suspension import DryRun

__all__ = ["CallRecord", "Ending", "PaidCall", "SampleId", "SampleRecord", "messages_left_out"]


def text_left_out(text: str) -> str:
    """Return what stands in for a text; nothing stands in for nothing."""
    if not text:
        return ""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"[left out: {len(text)} characters, sha256 {digest}]"


def messages_left_out(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages of which only the roles are left, one stand-in for all that each says."""
    return [{"role": message.get("role"), "content": text_left_out(_said(message))} for message in messages]


def answer_left_out(text: str, tool_calls: list[Any] | None) -> str:
    """Return one stand-in for an answer's text and its tool calls."""
    return text_left_out(f"{text}\n{_json(tool_calls)}" if tool_calls else text)


def _said(message: dict[str, Any]) -> str:
    rest = {name: value for name, value in message.items() if name not in ("role", "content")}
    content = message.get("content")
    text = content if isinstance(content, str) else _json(content) if content is not None else ""
    return f"{text}\n{_json(rest)}" if rest else text


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


class PaidCall(NamedTuple):
    """A call that one process made and got an answer for; plain values only, because execnet carries it."""

    key: str
    cost_usd: float | None
    """None when it is unknown."""
    criterion: str
    case: str
    runtime: str
    """The runtime of the sample that asked first."""

    @property
    def asked_for(self) -> str:
        """The sample that asked first, in words."""
        case = f"[{self.case}]" if self.case else ""
        return f"{self.criterion}{case} on {self.runtime}"


@dataclass(frozen=True, slots=True)
class SampleId:
    """Which sample a test item is."""

    criterion: str
    case: str
    slice: str | None
    runtime: str
    role: Role
    sample: int


@dataclass(slots=True)
class CallRecord:
    """One call of a sample."""

    key: str
    request: Request
    auxiliary: str | None
    """Name of the runtime of an auxiliary call; None for the runtime under test."""
    round: int
    """Calls that were under way together share a round."""
    prompt: PromptRef | None = None
    source: Source = "live"
    attempts: int = 0
    answer: Answer | None = None
    usage: Usage = NO_USAGE
    billed: Mapping[str, float] | None = None
    """How much of what else is billed, by name."""
    cost_usd: float | None = None
    error: CallError | None = None
    waiters: int = 0
    """How many of the test's threads and tasks wait for it now."""

    @property
    def done(self) -> bool:
        """Whether the call has its answer or its failure."""
        return self.answer is not None or self.error is not None

    def outcome(self) -> Answer:
        """Return the answer of a finished call.

        Raises:
            CallError: The call gave no usable answer.
        """
        if self.error is not None:
            raise self.error
        assert self.answer is not None
        return self.answer

    @property
    def text(self) -> str:
        """The answer's text; empty without an answer."""
        return self.answer.text if self.answer else ""

    @property
    def tool_calls(self) -> list[Any] | None:
        """The answer's tool calls in OpenAI format, or None."""
        return self.answer.tool_calls if self.answer else None

    @property
    def model(self) -> str:
        """The model that served the answer, or that was asked where none came."""
        return (self.answer.model if self.answer else None) or self.request.model

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped; None without an answer."""
        return self.answer.finish_reason if self.answer else None

    @property
    def input_tokens(self) -> int | None:
        """Input tokens of the answer; None when unknown."""
        return self.usage.input_tokens

    @property
    def latency_s(self) -> float | None:
        """Duration of the real call in seconds; None when unknown."""
        return self.answer.latency_s if self.answer else None

    @property
    def concurrency(self) -> int | None:
        """How many calls to the provider were under way; None when unknown."""
        return self.answer.concurrency if self.answer else None

    def content(self, *, texts: bool = True) -> dict[str, Any]:
        """Return what the artifact holds: the fields of :class:`pytest_proofmap.evidence.models.Call`.

        Args:
            texts: Whether the answer's text, its tool calls and a failure's message are kept.
        """
        answer, usage, error = self.answer, self.usage, self.error
        failure = {"class": error.error_class, "message": error.message if texts else ""} if error else None
        return {
            "key": self.key,
            "prompt": self.prompt,
            "source": self.source,
            "attempts": self.attempts,
            "error": failure,
            "model": self.model,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cached_input_tokens": usage.cached_input_tokens,
            "cost_usd": self.cost_usd,
            "latency_s": self.latency_s,
            "finish_reason": self.finish_reason,
            "text": self.text if texts else answer_left_out(self.text, self.tool_calls),
            "tool_calls": self.tool_calls if texts else None,
            "runtime": self.auxiliary,
            "concurrency": self.concurrency,
            "usage_estimated": answer.usage_estimated if answer else False,
            **({"made_at": answer.made_at} if answer and answer.made_at else {}),
            **({"billed": dict(self.billed)} if self.billed else {}),
        }


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
    spared: bool = False
    """True when adaptive sampling had decided before: the test was skipped."""
    fixture_failed: bool = False
    """True when a fixture of the project failed: pytest reports that as usual."""
    dry_run: DryRun | None = None
    """The dry run that this record is of; None when the test runs for real."""
    asked_in_dry_run: bool = False
    """Whether a dry run of the test asked the runtime under test, whatever the real run then does."""
    unkept: str | None = None
    """Why an answer that it used could not be kept, when that is so."""
    awaited: list[Future[Any]] = field(default_factory=list)
    """The answers that the real run had to wait for."""
    _pending: int = 0
    _round: int = -1
    _has_failed: bool = False

    def begin(self, key: str, request: Request, *, auxiliary: str | None, prompt: PromptRef | None) -> CallRecord:
        """Start to record a call; the same request again is the same call."""
        for call in self.calls:
            if call.key == key and call.auxiliary == auxiliary:
                return call
        if self._pending == 0:
            self._round += 1
        self._pending += 1
        call = CallRecord(key, request, auxiliary, self._round, prompt)
        self.calls.append(call)
        return call

    def finish(
        self,
        call: CallRecord,
        answer: Answer,
        usage: Usage,
        *,
        source: Source,
        cost_usd: float | None,
        billed: Mapping[str, float] | None = None,
    ) -> None:
        """Give a call its answer."""
        if not call.done:
            self._pending -= 1
            call.answer, call.usage, call.source, call.cost_usd = answer, usage, source, cost_usd
            call.attempts, call.billed = answer.attempts, billed

    def fail(self, call: CallRecord, error: CallError, *, attempts: int) -> None:
        """Say that a call gave no usable answer."""
        if not call.done:
            self._pending -= 1
            call.error, call.attempts = error, attempts
            self._has_failed = True

    def position(self, call: CallRecord) -> int:
        """Return how many other calls the sample began before a call."""
        return next(position for position, known in enumerate(self.calls) if known is call)

    @property
    def asks(self) -> bool:
        """Whether the sample asked the runtime under test."""
        return any(call.auxiliary is None for call in self.calls)

    def withdraw(self, call: CallRecord) -> None:
        """Forget a call that the test gave up waiting for: what comes of it is no part of the sample."""
        self._pending -= 1
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
            latency = call.answer.latency_s if call.answer else None
            if latency is None:
                return None
            slowest[call.round] = max(latency, slowest.get(call.round, 0.0))
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
            "spared": self.spared,
            **{name: value for name, value in added.items() if value is not None},
        }
