"""Prompts and answers of some cases, as a block of the page carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_proofmap.evidence.models import Call, RecordedRequest, Sample
from pytest_proofmap.report.html.carried import TEXT_CHARACTERS, shortened, to_json

__all__ = ["TELLING_CHARACTERS", "BlockTexts", "Requests"]

TELLING_CHARACTERS = 200_000
"""As much of one text as the page carries of a case that failed or flipped: more of it no page can show."""

Requests = tuple[Mapping[str, RecordedRequest], Mapping[str, RecordedRequest]]
"""The requests of the run, and of the one that it is compared with."""


class BlockTexts:
    """The texts of a block, each request once.

    Args:
        requests: What was asked, by key.
        telling: Whether the cases failed or flipped, so that their texts are carried at length.
    """

    def __init__(self, requests: Requests, *, telling: bool) -> None:
        self.size = 0
        """Bytes of JSON so far."""
        self._requests = requests
        self._limit = TELLING_CHARACTERS if telling else TEXT_CHARACTERS
        self._cases: dict[int, Any] = {}
        self._prompts: list[Any] = []
        self._numbers: dict[bytes, int] = {}

    def add(self, number: int, columns: Sequence[Sequence[tuple[bool, Sample]]]) -> None:
        """Add a case.

        Args:
            number: Where the case stands in its criterion's index.
            columns: Its samples by runtime, each with whether it is of the run that this one is compared with.
        """
        content = [[self._sample(sample, is_before) for is_before, sample in column] for column in columns]
        self._cases[number] = content
        self.size += len(to_json(content))

    def data(self) -> dict[str, Any]:
        """Return what the page unpacks."""
        return {"prompts": self._prompts, "cases": self._cases}

    def _sample(self, sample: Sample, is_before: bool) -> dict[str, Any]:
        return {
            "outcome": "spared" if sample.spared else "broken" if sample.error_kind == "test" else sample.outcome,
            "message": shortened(sample.message, self._limit),
            "latency": sample.latency_s,
            "calls": [self._call(call, is_before) for call in sample.calls],
        }

    def _call(self, call: Call, is_before: bool) -> dict[str, Any]:
        facts = {
            "prompt": self._prompt(self._requests[is_before].get(call.key)),
            "package": f"{call.prompt.name} ({call.prompt.variant or 'default'})" if call.prompt else None,
            "runtime": call.runtime,
            "model": call.model,
            "source": call.source,
            "attempts": call.attempts,
            "error": f"{call.error.class_}: {call.error.message}" if call.error else None,
            "input": call.input_tokens,
            "output": call.output_tokens,
            "cached": call.cached_input_tokens,
            "estimated": call.usage_estimated,
            "cost": call.cost_usd,
            "latency": call.latency_s,
            "finish": call.finish_reason,
            "text": shortened(call.text, self._limit),
            "tools": shortened(call.tool_calls, self._limit),
        }
        # Not a matter of equality: the first prompt is number 0.
        said = ((name, value) for name, value in facts.items() if value is not None and value is not False)
        return {name: value for name, value in said if value != ""}

    def _prompt(self, request: RecordedRequest | None) -> int | None:
        """Return where a request stands among those of the block, and take it up when it is new."""
        if request is None:
            return None
        parts = {
            "messages": request.messages,
            "tools": request.tools,
            "response_format": request.response_format,
            "params": request.params,
        }
        content = {name: shortened(value, self._limit) for name, value in parts.items() if value}
        text = to_json(content)
        known = self._numbers.get(text)
        if known is None:
            known = self._numbers[text] = len(self._prompts)
            self._prompts.append(content)
            self.size += len(text)
        return known
