"""The slim rows that decisions are made from, and how samples of the artifact become such rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from typing import NamedTuple

from pytest_proofmap.evidence.models import Call, Outcome, Sample

__all__ = ["Observation", "observe"]


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
        calls = [call for call in sample.calls if call.runtime is None]
        rows.append(
            Observation(
                sample.criterion,
                sample.case,
                sample.slice,
                sample.runtime,
                sample.sample,
                sample.outcome,
                _cost(calls),
                _latency(sample, calls),
                calls[0].key if len(calls) == 1 else ",".join(call.key for call in calls) or None,
                _answers(calls) if sample.criterion in repeated else None,
                max((call.concurrency for call in calls if call.concurrency is not None), default=None),
                sample.spared,
            )
        )
    return rows


def _cost(calls: list[Call]) -> float | None:
    """Return what the calls cost together; a call that never got an answer is free."""
    total = 0.0
    for call in calls:
        if call.cost_usd is not None:
            total += call.cost_usd
        elif call.error is None or call.input_tokens is not None:
            return None
    return total


def _latency(sample: Sample, calls: list[Call]) -> float | None:
    """Return the sample's latency, or the sum of its calls' where an older artifact does not hold it."""
    if sample.latency_s is not None or not calls:
        return sample.latency_s
    total = 0.0
    for call in calls:
        if call.latency_s is None:
            return None
        total += call.latency_s
    return total


def _answers(calls: list[Call]) -> str | None:
    """Return a digest of the answers of a sample, or None when one is missing."""
    if not calls or any(call.error is not None for call in calls):
        return None
    content = json.dumps([[call.text, call.tool_calls] for call in calls], sort_keys=True, default=str)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
