"""Answers to keep and find again."""

from __future__ import annotations

from typing import Any

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.request import Request

__all__ = ["answer_of", "request_of"]


def request_of(text: str = "hello", **changes: Any) -> Request:
    """Return a request with one user message."""
    settings: dict[str, Any] = {"model": "openai/gpt-4o", "params": {"temperature": 0}, **changes}
    return Request(messages=[{"role": "user", "content": text}], **settings)


def answer_of(request: Request, text: str = "yes", **changes: Any) -> Answer:
    """Return an answer to a request."""
    message = {"role": "assistant", "content": text}
    response = {
        "model": "gpt-4o",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }
    settings: dict[str, Any] = {"latency_s": 0.5, "made_at": "2026-01-02T03:04:05Z", **changes}
    return Answer(request=request.content(), response=response, **settings)
