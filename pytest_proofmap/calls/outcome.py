"""What came of a call: one record from the lane that made it to the sample that asked.

A lane makes it, the dispatcher adds attempts and cost, the call service sends it, the look-up says where the
answer is from, and the record of the sample's call keeps it, of which the artifact holds what is evidence. What
recordings and the cache hold becomes the same.

Where the artifact is to hold no texts, what stands in for a text says how long it is and carries its SHA-256, so
that equal texts stay equal: decisions that compare answers come out as before, and shards of one run still agree.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from pytest_proofmap.calls.answer import NO_USAGE, NOT_BILLED, Answer, Billed, Usage
from pytest_proofmap.calls.request import Request
from pytest_proofmap.errors import BudgetError, CallError, ReplayMissError, ShortfallError
from pytest_proofmap.evidence.models import PromptRef, Source

__all__ = [
    "LAST_FAILURE",
    "NO_SERVER",
    "AttemptError",
    "CallOutcome",
    "CallRecord",
    "Failure",
    "FailureKind",
    "withheld_messages",
]

NO_SERVER = "no server answers at "
"""How the message of a call begins for which no connection came about; the address follows."""

LAST_FAILURE = "the last one: "
"""What the reason of a call that is not made, because others failed, says before the last of these failures."""

FailureKind = Literal["call", "budget", "shortfall", "store", "circuit", "replay"]
"""``circuit``: not called, because its runtime or its provider was given up before; ``shortfall``: no call is
made at all, because the budget cannot carry the first; ``store``: what is paid cannot be saved; ``replay``: calls
are off."""

_ERRORS: dict[FailureKind, type[CallError]] = {
    "replay": ReplayMissError,
    "budget": BudgetError,
    "shortfall": ShortfallError,
}
"""What is raised for a failure; for every other kind a plain :class:`CallError`."""


class AttemptError(Exception):
    """One attempt gave no answer.

    Attributes:
        error_class: What failed, in LiteLLM's words where they are right.
        message: Redacted message.
        retryable: Whether sending the same request again may help.
        status: HTTP status of the response, if there was one.
        retry_after_s: What the provider asked to wait.
        fatal_for_runtime: Whether every further call of the runtime would fail as well.
        provider_fault: Whether the provider, and not the request, is at fault.
        maybe_paid: Whether the provider may have answered, and charged for, what never arrived.
    """

    def __init__(
        self,
        error_class: str,
        message: str,
        *,
        retryable: bool = False,
        status: int | None = None,
        retry_after_s: float | None = None,
        fatal_for_runtime: bool = False,
        provider_fault: bool = False,
        maybe_paid: bool = False,
    ) -> None:
        super().__init__(error_class, message)
        self.error_class = error_class
        self.message = message
        self.retryable = retryable
        self.status = status
        self.retry_after_s = retry_after_s
        self.fatal_for_runtime = fatal_for_runtime
        self.provider_fault = provider_fault
        self.maybe_paid = maybe_paid

    def __str__(self) -> str:
        return f"{self.error_class}: {self.message}"


@dataclass(frozen=True)
class Failure:
    """Why a call gave no answer that can be used."""

    kind: FailureKind
    error_class: str
    message: str
    attempts: int = 0
    environment: Mapping[str, str | None] = field(default_factory=dict)
    """The variables that it rests on, as they were when it was asked, None for one that was not set: where one of
    them is different, it tells nothing."""
    cause: AttemptError | None = field(default=None, compare=False)
    """What the last attempt met, from the lane to the dispatcher: whether to try again."""

    @cached_property
    def error(self) -> CallError:
        """What a test that asked for it gets to see; the same object each time."""
        return _ERRORS.get(self.kind, CallError)(self.error_class, self.message)

    def holds(self) -> bool:
        """Return whether it would be the same under this process's environment as it is now."""
        return all(os.environ.get(name) == value for name, value in self.environment.items())


class CallOutcome(NamedTuple):
    """What came of a call."""

    answer: Answer | None = None
    failure: Failure | None = None
    """Why there is no answer; beside an answer, which is paid then: why it could not be saved."""
    source: Source = "live"
    """Where this run first got the answer."""
    shared: bool = False
    """The answer was paid for by another call, or was in the store already."""
    cost_usd: float | None = None
    """What the answer costs; None when that is unknown, and from the call service also when it is shared."""
    usage: Usage = NO_USAGE
    """The answer's tokens, once the look-up has read them."""
    billed: Billed = NOT_BILLED
    """What else it is billed by, once the look-up has read it."""

    @classmethod
    def failed(
        cls,
        error_class: str,
        message: str,
        *,
        kind: FailureKind = "call",
        environment: Mapping[str, str | None] | None = None,
    ) -> CallOutcome:
        """Return the outcome of a call that was not made."""
        return cls(failure=Failure(kind, error_class, message, environment=environment or {}))

    @classmethod
    def failed_attempt(cls, error: AttemptError) -> CallOutcome:
        """Return the outcome of an attempt without an answer."""
        return cls(failure=Failure("call", error.error_class, error.message, cause=error))

    @property
    def attempts(self) -> int:
        """How many times the request was sent."""
        if self.answer is not None:
            return self.answer.attempts
        return self.failure.attempts if self.failure is not None else 0

    @property
    def error(self) -> CallError | None:
        """Why the call gave no answer that can be used; None when there is one."""
        return None if self.failure is None or self.answer is not None else self.failure.error

    def require_answer(self) -> Answer:
        """Return the answer.

        Raises:
            CallError: There is none that can be used.
        """
        if self.answer is None:
            assert self.failure is not None
            raise self.failure.error
        return self.answer

    def content(self) -> dict[str, Any]:
        """Return what the call service sends."""
        failure = self.failure
        return {
            "answer": self.answer and self.answer.content(),
            "failure": failure
            and {
                "kind": failure.kind,
                "error_class": failure.error_class,
                "message": failure.message,
                "attempts": failure.attempts,
                "environment": dict(failure.environment),
            },
            "shared": self.shared,
            "cost_usd": self.cost_usd,
        }

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> CallOutcome:
        """Read what :meth:`content` returned."""
        answer, failure = content["answer"], content["failure"]
        return cls(
            answer=None if answer is None else Answer.from_content(answer),
            failure=None if failure is None else Failure(**failure),
            shared=content["shared"],
            cost_usd=content["cost_usd"],
        )


NOTHING = CallOutcome()
"""Of a call of which nothing came yet."""


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
    outcome: CallOutcome = NOTHING
    """What came of it."""
    waiters: int = 0
    """How many of the test's threads and tasks wait for it now."""

    @property
    def is_done(self) -> bool:
        """Whether it has its answer or its failure."""
        return self.outcome is not NOTHING

    @property
    def answer(self) -> Answer | None:
        """The answer, or None."""
        return self.outcome.answer

    @property
    def error(self) -> CallError | None:
        """Why it gave no usable answer, or None."""
        return self.outcome.error

    @property
    def source(self) -> Source:
        """Where this run first got the answer."""
        return self.outcome.source

    @property
    def cost_usd(self) -> float | None:
        """What the answer costs; None when unknown."""
        return self.outcome.cost_usd

    @property
    def text(self) -> str:
        """The answer's text; empty without an answer."""
        answer = self.outcome.answer
        return answer.text if answer else ""

    @property
    def tool_calls(self) -> list[Any] | None:
        """The answer's tool calls in OpenAI format, or None."""
        answer = self.outcome.answer
        return answer.tool_calls if answer else None

    @property
    def model(self) -> str:
        """The model that served the answer, or that was asked where none came."""
        answer = self.outcome.answer
        return (answer.model if answer else None) or self.request.model

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped; None without an answer."""
        answer = self.outcome.answer
        return answer.finish_reason if answer else None

    @property
    def input_tokens(self) -> int | None:
        """Input tokens of the answer; None when unknown."""
        return self.outcome.usage.input_tokens

    @property
    def latency_s(self) -> float | None:
        """Duration of the real call in seconds; None when unknown."""
        answer = self.outcome.answer
        return answer.latency_s if answer else None

    @property
    def concurrency(self) -> int | None:
        """How many calls to the provider were under way; None when unknown."""
        answer = self.outcome.answer
        return answer.concurrency if answer else None

    def content(self, *, texts: bool = True) -> dict[str, Any]:
        """Return what the artifact holds: the fields of :class:`pytest_proofmap.evidence.models.Call`.

        Args:
            texts: Whether the answer's text, its tool calls and a failure's message are kept.
        """
        outcome = self.outcome
        answer, usage, error = outcome.answer, outcome.usage, outcome.error
        failure = {"class": error.error_class, "message": error.message if texts else ""} if error else None
        text, tool_calls = (answer.text, answer.tool_calls) if answer else ("", None)
        return {
            "key": self.key,
            "prompt": self.prompt,
            "source": outcome.source,
            "attempts": outcome.attempts,
            "error": failure,
            "model": (answer.model if answer else None) or self.request.model,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cached_input_tokens": usage.cached_input_tokens,
            "cost_usd": outcome.cost_usd,
            "latency_s": answer.latency_s if answer else None,
            "finish_reason": answer.finish_reason if answer else None,
            "text": text if texts else withheld_answer(text, tool_calls),
            "tool_calls": tool_calls if texts else None,
            "runtime": self.auxiliary,
            "concurrency": answer.concurrency if answer else None,
            "usage_estimated": answer.usage_estimated if answer else False,
            **({"made_at": answer.made_at} if answer and answer.made_at else {}),
            **({"billed": dict(outcome.billed.counts)} if outcome.billed.counts else {}),
        }


def withheld_text(text: str) -> str:
    """Return what stands in for a text; nothing stands in for nothing."""
    if not text:
        return ""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"[left out: {len(text)} characters, sha256 {digest}]"


def withheld_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages of which only the roles are left, one stand-in for all that each says."""
    return [{"role": message.get("role"), "content": withheld_text(_said(message))} for message in messages]


def withheld_answer(text: str, tool_calls: list[Any] | None) -> str:
    """Return one stand-in for an answer's text and its tool calls."""
    return withheld_text(f"{text}\n{_json(tool_calls)}" if tool_calls else text)


def _said(message: dict[str, Any]) -> str:
    rest = {name: value for name, value in message.items() if name not in ("role", "content")}
    content = message.get("content")
    text = content if isinstance(content, str) else _json(content) if content is not None else ""
    return f"{text}\n{_json(rest)}" if rest else text


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
