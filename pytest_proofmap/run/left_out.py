"""Prompts and answers, named by their content where the artifact is to hold none of them.

What stands in for a text says how long it is and carries its SHA-256, so that equal texts stay equal: decisions
that compare answers come out as before, and shards of one run still agree.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = ["answer_left_out", "messages_left_out", "text_left_out"]


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
