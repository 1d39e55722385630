"""A provider on loopback that fails on purpose, and keeps a ledger of what it answered.

What happens to an attempt follows from a seed, the request and how often it came before, never from the order
in which requests arrive: two runs meet the same faults.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any, Literal, get_args

from fake_provider import FakeProvider, Script

__all__ = ["CHARGED", "FAULTS", "HARMLESS", "FaultPlan", "FaultyProvider", "InjectedFault", "Ledger"]

InjectedFault = Literal[
    "rate_limit",
    "rate_limit_retry_after",
    "server_error",
    "bad_gateway",
    "unavailable",
    "reset",
    "closed",
    "cut_body",
    "cut_chunks",
    "half_json",
    "no_choices",
    "error_object",
    "html",
    "hang",
    "endless_drip",
    "slow_drip",
    "wrong_type",
    "late",
]
"""A way in which an attempt goes wrong, or only oddly."""

FAULTS: tuple[InjectedFault, ...] = get_args(InjectedFault)
HARMLESS: frozenset[str] = frozenset({"slow_drip", "wrong_type", "late"})
"""The answer arrives whole, in an odd way."""
CHARGED: frozenset[str] = frozenset({"cut_body", "cut_chunks", "half_json", "endless_drip"})
"""The model had answered, so a provider charges for it, but the answer did not arrive whole."""

_RETRY_AFTER = ("0", "1", "0.5", "date", "soon", "-3", "nan")
_ODD_TYPES = (
    "text/html",
    "text/plain; charset=iso-8859-1",
    "application/octet-stream",
    "application/problem+json",
    "",
)
_PIECES = 8
_DRIP_S = 0.03

Key = tuple[str, str]
"""Model and last message of a request."""


@dataclass
class Ledger:
    """What the provider saw and sent."""

    attempts: Counter[Key] = field(default_factory=Counter)
    """How often each request arrived."""
    paid: Counter[Key] = field(default_factory=Counter)
    """How often each request was answered whole."""
    charged: Counter[Key] = field(default_factory=Counter)
    """How often an answer of each request was begun or mangled, so that the model had answered."""
    faults: Counter[str] = field(default_factory=Counter)
    """How often each fault was injected."""


FaultPlan = Callable[[str, str, int], "InjectedFault | None"]
"""What happens to an attempt, from model, last message and the attempt's number (from 0)."""


def at_rate(seed: int, fault: InjectedFault, rate: float) -> FaultPlan:
    """Return a plan that injects one fault into a share of the attempts."""

    def plan(model: str, prompt: str, attempt: int) -> InjectedFault | None:
        return fault if chance(seed, model, prompt, str(attempt)) < rate else None

    return plan


def chance(*of: object) -> float:
    """Return a number in [0, 1) that follows from what it is given."""
    digest = hashlib.sha256("\0".join(map(str, of)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class FaultyProvider(FakeProvider):
    """A running server; use it as a context manager.

    Args:
        plan: What happens to each attempt.
        answer: The text of an answer, from model and last message.
        latency_s: Delay before each response, or what tells it from model, last message and attempt.
        seen: Called with the number of answers begun so far, after each request.
    """

    def __init__(
        self,
        plan: FaultPlan,
        answer: Callable[[str, str], str],
        *,
        latency_s: float | Callable[[str, str, int], float] = 0.0,
        seen: Callable[[int], None] | None = None,
    ) -> None:
        self.ledger = Ledger()
        self.open = 0
        """Requests that have arrived and are not answered yet."""
        self._plan = plan
        self._text = answer
        self._latency_s = latency_s
        self._seen = seen
        self._lock = threading.Lock()
        super().__init__(default=Script(), keep_requests=False)

    def __enter__(self) -> FaultyProvider:
        return self

    def change(self, plan: FaultPlan) -> None:
        """Follow another plan from now on, with a new ledger."""
        with self._lock:
            self._plan, self.ledger = plan, Ledger()

    def _answer(self, connection: Any, path: str, headers: dict[str, str], raw: bytes) -> None:
        body: dict[str, Any] = json.loads(raw)
        model, prompt = str(body["model"]), str(body["messages"][-1]["content"])
        with self._lock:
            ledger, attempt = self.ledger, self.ledger.attempts[model, prompt]
            ledger.attempts[model, prompt] += 1
            self.count += 1
            self.open += 1
            self.most_at_once = max(self.most_at_once, self.open)
        if self._seen is not None:
            self._seen(self.count)
        fault = self._plan(model, prompt, attempt)
        if fault is not None:
            ledger.faults[fault] += 1
        latency_s = self._latency_s(model, prompt, attempt) if callable(self._latency_s) else self._latency_s
        if fault == "late":
            latency_s += chance("late", model, prompt, attempt) * 0.6
        exchange = _Exchange(self, ledger, connection, (model, prompt), attempt)
        if latency_s:
            self._loop.call_later(latency_s, exchange.reply, fault)
        else:
            exchange.reply(fault)

    def completion(self, model: str, prompt: str) -> bytes:
        """Return the whole answer to a request."""
        message = {"role": "assistant", "content": self._text(model, prompt)}
        content = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1767225600,
            "model": model,
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 80, "completion_tokens": 20, "total_tokens": 100},
        }
        # Not escaped, so that a client that decodes it in another way than JSON says gets another text.
        return json.dumps(content, ensure_ascii=False).encode()


@dataclass
class _Exchange:
    """One attempt and what is sent for it."""

    provider: FaultyProvider
    ledger: Ledger
    connection: Any
    key: Key
    attempt: int

    @property
    def _transport(self) -> asyncio.Transport | None:
        transport: asyncio.Transport | None = self.connection._transport
        return None if transport is None or transport.is_closing() else transport

    def reply(self, fault: InjectedFault | None) -> None:
        """Send what the fault leaves of the answer."""
        self.provider.open -= 1
        if self._transport is None:
            return
        body = self.provider.completion(*self.key)
        if fault is None or fault == "late":
            self._send(200, body)
            self._pay()
        elif fault == "wrong_type":
            self._send(200, body, _pick(_ODD_TYPES, *self.key, self.attempt))
            self._pay()
        elif fault in ("slow_drip", "endless_drip"):
            self._write(_head(200, len(body)))
            self._drip(body, _PIECES if fault == "slow_drip" else 10_000)
        elif fault == "hang":
            return
        elif fault == "reset":
            self._transport.abort()
        elif fault == "closed":
            self._transport.close()
        elif fault in ("cut_body", "cut_chunks", "half_json"):
            self._cut(fault, body)
        else:
            self._fail(fault)

    def _cut(self, fault: InjectedFault, body: bytes) -> None:
        self.ledger.charged[self.key] += 1
        some = body[: 1 + int(chance("cut", *self.key, self.attempt) * (len(body) - 1))]
        if fault == "half_json":
            self._send(200, some)
            return
        if fault == "cut_body":
            self._write(_head(200, len(body)) + some)
        else:
            fields = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
            self._write(_lines(200, fields) + b"%x\r\n%s\r\n" % (len(some), some))
        transport = self._transport
        if transport is not None:
            transport.close()

    def _fail(self, fault: InjectedFault) -> None:
        error = json.dumps({"error": {"message": f"injected: {fault}", "type": "injected", "code": None}}).encode()
        page = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
        if fault == "html":
            self._send(200, page, "text/html")
        elif fault == "bad_gateway":
            self._send(502, page, "text/html")
        elif fault == "no_choices":
            content = {"id": "1", "object": "chat.completion", "created": 0, "model": self.key[0], "choices": []}
            self._send(200, json.dumps(content).encode())
        elif fault == "error_object":
            self._send(200, error)
        elif fault == "rate_limit_retry_after":
            self._send(429, error, extra={"Retry-After": self._retry_after()})
        else:
            status = {"rate_limit": 429, "server_error": 500, "unavailable": 503}[fault]
            self._send(status, error)

    def _retry_after(self) -> str:
        value = _pick(_RETRY_AFTER, "after", *self.key, self.attempt)
        if value != "date":
            return value
        return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=1), usegmt=True)

    def _drip(self, rest: bytes, pieces: int) -> None:
        if self._transport is None:
            # The client gave up on an answer that was being sent.
            self.ledger.charged[self.key] += 1
            return
        length = max(1, len(rest) // pieces)
        self._write(rest[:length])
        rest = rest[length:]
        if not rest:
            self._pay()
            return
        asyncio.get_running_loop().call_later(_DRIP_S, self._drip, rest, max(1, pieces - 1))

    def _pay(self) -> None:
        if self._transport is not None:
            self.ledger.paid[self.key] += 1

    def _send(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self._write(_head(status, len(body), content_type, extra) + body)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None:
            transport.write(data)


def _pick(values: tuple[str, ...], *of: object) -> str:
    return values[int(chance("pick", *of) * len(values))]


def _head(
    status: int, length: int, content_type: str = "application/json", extra: Mapping[str, str] | None = None
) -> bytes:
    fields = {"Content-Type": content_type} if content_type else {}
    return _lines(status, {**fields, "Content-Length": str(length), **(extra or {})})


def _lines(status: int, fields: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Injected\r\n{lines}\r\n".encode()
