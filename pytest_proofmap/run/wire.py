"""The lines that pytest's side and the call service exchange: one JSON object each, UTF-8."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_proofmap.evidence.models import Price
from pytest_proofmap.run.landing import Landing
from pytest_proofmap.runtime.attempt import LiveCall, Pair, Partner
from pytest_proofmap.runtime.call_environment import CallEnvironment

__all__ = [
    "MAX_LINE",
    "ServiceSettings",
    "changes",
    "decode",
    "decode_call",
    "encode",
    "encode_call",
    "encode_landing",
]

MAX_LINE = 256 * 1024 * 1024
"""Longest line that is read, in bytes: messages may hold pictures."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What the call service is started with."""

    store: dict[str, Any]
    """``{"kind": "disk", "directory": ...}``, ``{"kind": "memory"}`` or ``{"kind": "redis", "url": ...}``."""
    concurrency: int = 32
    """Calls under way at once, all providers together."""
    limits: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By provider: ``rpm``, ``tpm`` and ``concurrency``."""
    budget_usd: float | None = None
    max_response_mb: int = 64
    """The longest response that is read, in MB."""
    refresh: bool = False
    """Call each key once although the store has it."""
    run: str | None = None
    """Id of the run that pays, which is kept with its answers."""


def encode(message: dict[str, Any]) -> bytes:
    """Return a message as a line."""
    # ASCII only, because half a surrogate pair has a JSON escape and no UTF-8 form.
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Return the message of a line.

    Raises:
        ValueError: The line is not a JSON object.
    """
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("a message is a JSON object")
    return message


def encode_call(number: int, call: LiveCall, *, hooked: bool, environment: dict[str, Any] | None = None) -> bytes:
    """Return the line that asks for a call.

    The call is a text within it: thousands of them wait their turn, and as objects take five times as much.

    Args:
        number: What the answer will refer to.
        call: What to ask.
        hooked: Whether the client runs the project's own client for it.
        environment: What differs from the client's environment at its start, as :func:`changes` returned it.
    """
    content = {
        "key": call.key,
        "runtime": call.runtime,
        "request": call.request,
        "transport": call.transport,
        "price": call.price.model_dump() if call.price is not None else None,
    }
    if call.pair is not None:
        content["pair"] = {
            "case": call.pair.case,
            "partners": [
                [partner.runtime, partner.model, partner.bounds, partner.price.model_dump()]
                for partner in call.pair.partners
            ],
        }
    text = json.dumps(content, separators=(",", ":"))
    line = {"op": "call", "id": number, "provider": call.provider, "hooked": hooked, "call": text}
    return encode({**line, "environment": environment} if environment else line)


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, Any]:
    """Return what differs between two environments; empty when nothing does."""
    changed = {name: value for name, value in now.items() if before.get(name) != value}
    removed = [name for name in before if name not in now]
    return {"set": changed, "unset": removed} if changed or removed else {}


def decode_call(message: dict[str, Any], environment: Mapping[str, str]) -> LiveCall:
    """Return the call that a message asks for.

    Args:
        message: The message.
        environment: The client's environment at its start.
    """
    differs = message.get("environment")
    if differs:
        removed = set(differs["unset"])
        kept = {name: value for name, value in environment.items() if name not in removed}
        environment = {**kept, **differs["set"]}
    content = json.loads(message["call"])
    price = content["price"]
    return LiveCall(
        key=content["key"],
        runtime=content["runtime"],
        provider=message["provider"],
        request=content["request"],
        transport=content["transport"],
        price=Price(**price) if price else None,
        pair=_pair(content.get("pair")),
        environment=CallEnvironment(environment),
    )


def _pair(content: dict[str, Any] | None) -> Pair | None:
    if content is None:
        return None
    partners = (
        Partner(runtime, model, bounds, Price(**price)) for runtime, model, bounds, price in content["partners"]
    )
    return Pair(content["case"], tuple(partners))


def encode_landing(number: int, landing: Landing) -> bytes:
    """Return the line that answers a call."""
    answer = landing.answer and landing.answer.content()
    if landing.failure is None:
        return encode(
            {
                "op": "answer",
                "id": number,
                "answer": answer,
                "shared": landing.shared,
                "cost_usd": landing.cost_usd,
            }
        )
    failure = landing.failure
    line = {
        "op": "error",
        "id": number,
        "class": failure.error_class,
        "message": failure.message,
        "attempts": failure.attempts,
        "kind": failure.kind,
        "environment": failure.environment,
    }
    if answer is not None:
        line["answer"] = answer
    return encode(line)
