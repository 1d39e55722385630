"""The slim rows that decisions are made from, and how samples of the artifact become such rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pytest_proofmap.evidence.models import ErrorKind, Outcome, Sample

__all__ = ["Observation", "data_error_of", "observation_of", "observe"]


class ObservedCall(Protocol):
    """A call of the runtime under test: while it is recorded, or as the artifact holds it."""

    @property
    def key(self) -> str:
        """Key of its request."""

    @property
    def cost_usd(self) -> float | None:
        """What it cost; None when unknown."""

    @property
    def error(self) -> object | None:
        """Why it gave no usable answer, or None."""

    @property
    def input_tokens(self) -> int | None:
        """Input tokens of its answer; None when unknown."""

    @property
    def latency_s(self) -> float | None:
        """Its duration in seconds; None when unknown."""

    @property
    def concurrency(self) -> int | None:
        """How many calls to the provider were under way; None when unknown."""

    @property
    def model(self) -> str | None:
        """The model that served the answer, or that was asked where none came."""

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped; None for a refusal."""

    @property
    def text(self) -> str:
        """The answer's text."""

    @property
    def tool_calls(self) -> list[Any] | None:
        """The answer's tool calls in OpenAI format."""


class Observation(NamedTuple):
    """What one sample contributes to a decision."""

    criterion: str
    case: str
    slice: str | None
    runtime: str
    sample: int
    outcome: Outcome
    cost_usd: float | None = None
    """Cost of the sample's calls on the runtime under test; None when a price is unknown."""
    latency_s: float | None = None
    """From first request to last answer, in seconds; None when unknown."""
    request_digest: str | None = None
    """What was asked: equal digests on one runtime are one request; None when nothing was."""
    answer_digest: str | None = None
    """What was answered, byte for byte; None when it does not matter or nothing was."""
    concurrency: int | None = None
    """How many calls to the provider were under way; None when unknown."""
    spared: bool = False
    """Skipped because adaptive sampling had decided before: it says nothing of the runtime."""
    error_kind: ErrorKind | None = None
    """Whose an ``error`` is; None for other outcomes, and where an older artifact does not tell."""
    data_error: str | None = None
    """How the test broke on an answer of which it could make no sense; None when it did not."""
    served: str | None = None
    """The models that the answers name, one a line; None where there is none."""


def observe(samples: Iterable[Sample], repeated: Collection[str] = ()) -> list[Observation]:
    """Return the artifact's samples as observations.

    Args:
        samples: The samples as the artifact holds them.
        repeated: Ids of the criteria that are sampled more than once a case. Only there do the answers
            matter, so that only theirs are digested.

    Returns:
        One observation per sample, in the same order.
    """
    rows = []
    for sample in samples:
        identity = (sample.criterion, sample.case, sample.slice, sample.runtime, sample.sample)
        calls = [call for call in sample.calls if call.runtime is None]
        latency_s, repeats = _latency(sample, calls), sample.criterion in repeated
        rows.append(
            observation_of(
                identity,
                sample.outcome,
                calls,
                latency_s,
                repeated=repeats,
                spared=sample.spared,
                error_kind=sample.error_kind,
                data_error=data_error_of(sample.exception, sample.raised_at) if sample.data_error else None,
            )
        )
    return rows


def data_error_of(exception: str | None, raised_at: str | None) -> str:
    """Return how a test broke on an answer, in words: the class of the exception, and where it was raised."""
    return f"{exception or 'an exception'}{f' at {raised_at}' if raised_at else ''}"


def observation_of(
    identity: tuple[str, str, str | None, str, int],
    outcome: Outcome,
    calls: Sequence[ObservedCall],
    latency_s: float | None,
    *,
    repeated: bool,
    spared: bool,
    error_kind: ErrorKind | None = None,
    data_error: str | None = None,
) -> Observation:
    """Return a sample as an observation.

    Args:
        identity: Criterion, case, slice, runtime and index of the sample.
        outcome: What came of it.
        calls: Its calls on the runtime under test.
        latency_s: Its latency in seconds.
        repeated: Whether its criterion is sampled more than once a case.
        spared: Whether it was skipped because adaptive sampling had decided before.
        error_kind: Whose an error is.
        data_error: How the test broke on an answer, if it did.
    """
    only = calls[0] if len(calls) == 1 else None
    return Observation(
        *identity,
        outcome,
        _cost(calls),
        latency_s,
        only.key if only else ",".join(call.key for call in calls) or None,
        _answers(calls) if repeated else None,
        only.concurrency if only else max((call.concurrency or 0 for call in calls), default=0) or None,
        spared,
        error_kind,
        data_error,
        "\n".join(call.model for call in calls if call.model and _is_answer(call)) or None,
    )


def unvaried_samples(
    observations: Iterable[Observation], temperatures: Mapping[str, object]
) -> list[tuple[str, str, int, int]]:
    """Return where repeated samples are byte-identical on every case although nothing asks for that.

    Args:
        observations: What was observed; the answers are known where a criterion is sampled more than once a case.
        temperatures: The temperature of each runtime; None: the model's default.

    Returns:
        Criterion, runtime, cases and samples a case, for each runtime whose temperature is not 0.
    """
    answers: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in observations:
        if row.answer_digest is not None and temperatures.get(row.runtime) != 0:
            cases = answers.setdefault((row.criterion, row.runtime), {})
            cases.setdefault(row.case, []).append(row.answer_digest)
    found = []
    for (criterion, runtime), cases in answers.items():
        samples = min(len(digests) for digests in cases.values())
        if samples > 1 and all(len(set(digests)) == 1 for digests in cases.values()):
            found.append((criterion, runtime, len(cases), samples))
    return found


def _is_answer(call: ObservedCall) -> bool:
    """Whether a model answered: of a refusal nobody knows who made it."""
    return call.error is None and bool(call.finish_reason or call.text or call.tool_calls)


def _cost(calls: Sequence[ObservedCall]) -> float | None:
    """Return what the calls cost together; a call that never got an answer is free."""
    total = 0.0
    for call in calls:
        if call.cost_usd is not None:
            total += call.cost_usd
        elif call.error is None or call.input_tokens is not None:
            return None
    return total


def _latency(sample: Sample, calls: Sequence[ObservedCall]) -> float | None:
    """Return the sample's latency, or the sum of its calls' where an older artifact does not hold it."""
    if sample.latency_s is not None or not calls:
        return sample.latency_s
    total = 0.0
    for call in calls:
        if call.latency_s is None:
            return None
        total += call.latency_s
    return total


def _answers(calls: Sequence[ObservedCall]) -> str | None:
    """Return a digest of the answers of a sample, or None when one is missing."""
    if not calls or any(call.error is not None for call in calls):
        return None
    content = json.dumps([[call.text, call.tool_calls] for call in calls], sort_keys=True, default=str)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
