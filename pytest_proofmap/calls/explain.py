"""Why a request is a miss: its key's ingredients beside those of the nearest stored request."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pytest_proofmap.calls.request import Request
from pytest_proofmap.text import canonical_json

__all__ = ["Ingredient", "StoredRequest", "compare", "message_changes", "nearest"]

_SETTINGS = ("api_base", "params", "tools", "response_format", "sample")
_WORDS_COMPARED = 4_000
_CONTEXT_WORDS = 5


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request that has a stored answer."""

    key: str
    request: Request
    place: str
    """Where the answer lies, in words."""


@dataclass(frozen=True, slots=True)
class Ingredient:
    """One ingredient of a key, asked and stored."""

    name: str
    asked: Any
    stored: Any

    @property
    def is_same(self) -> bool:
        """Whether it is the same on both sides."""
        return canonical_json(self.asked) == canonical_json(self.stored)


def compare(asked: Request, stored: Request) -> list[Ingredient]:
    """Return the ingredients of both keys, in the order of a recording."""
    ours, theirs = asked.content(), stored.content()
    return [Ingredient(name, ours[name], theirs[name]) for name in ours]


def nearest(asked: Request, stored: Iterable[StoredRequest]) -> StoredRequest | None:
    """Return the stored request that comes nearest to one that was asked.

    The words that their messages have in common count most, then the model, then the other ingredients.
    """
    words, content = _words(asked), asked.content()
    best: StoredRequest | None = None
    best_score = -1.0
    for candidate in stored:
        other = candidate.request
        theirs = other.content()
        score = 0.5 * (asked.model == other.model) + sum(
            0.1 * (content[name] == theirs[name]) for name in _SETTINGS
        )
        # The words are what takes time: count them only where they can still decide.
        if score + 1.1 > best_score:
            score += 1.1 if asked.messages == other.messages else _overlap(words, _words(other))
        if score > best_score:
            best, best_score = candidate, score
    return best


def message_changes(asked: Request, stored: Request) -> list[str]:
    """Return one line for each place at which the messages differ, with a few words around it.

    What is only stored stands in ``[-...-]``, what is only asked in ``{+...+}``.
    """
    lines: list[str] = []
    for number in range(max(len(asked.messages), len(stored.messages))):
        ours = asked.messages[number] if number < len(asked.messages) else None
        theirs = stored.messages[number] if number < len(stored.messages) else None
        if ours == theirs:
            continue
        if ours is None or theirs is None:
            side, message = ("stored", theirs) if ours is None else ("asked", ours)
            lines.append(f"message {number + 1} is only {side}: {_shorten(_text(message))}")
            continue
        name = f"message {number + 1} ({ours.get('role')})"
        if ours.get("role") != theirs.get("role"):
            lines.append(f"{name}: the role is {theirs.get('role')!r} in the stored one")
        lines += [f"{name}: {change}" for change in _word_changes(_text(theirs), _text(ours))]
    return lines


def _word_changes(old: str, new: str) -> list[str]:
    before, after = old.split()[:_WORDS_COMPARED], new.split()[:_WORDS_COMPARED]
    if before == after:
        return [_character_change(old, new)] if old != new else []
    changes = []
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=len(before) > 500)
    for operation, start, end, new_start, new_end in matcher.get_opcodes():
        if operation != "equal":
            lead, trail = before[max(0, start - _CONTEXT_WORDS) : start], before[end : end + _CONTEXT_WORDS]
            removed, added = " ".join(before[start:end]), " ".join(after[new_start:new_end])
            marked = [f"[-{_shorten(removed)}-]"] * bool(removed) + [f"{{+{_shorten(added)}+}}"] * bool(added)
            changes.append(" ".join(["…", *lead, *marked, *trail, "…"]))
    return changes


def _character_change(old: str, new: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    window = slice(max(0, at - 20), at + 20)
    return f"differs from character {at} on: stored {old[window]!r}, asked {new[window]!r}"


def _text(message: dict[str, Any] | None) -> str:
    if message is None:
        return ""
    rest = {name: value for name, value in message.items() if name not in ("role", "content")}
    content = message.get("content")
    text = content if isinstance(content, str) else canonical_json(content)
    return f"{text} {canonical_json(rest)}" if rest else text


def _words(request: Request) -> set[str]:
    return set(re.findall(r"\w+", " ".join(_text(message) for message in request.messages)[:20_000]))


def _overlap(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0


def _shorten(text: str, limit: int = 160) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"
