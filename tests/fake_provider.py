"""A chat-completions server on loopback whose models behave as a test scripts them.

It speaks enough HTTP/1.1 for real clients: keep-alive, content length, no chunks but broken ones. One thread runs
its event loop. What it saw and sent is in a ledger. What a plan does to an attempt follows from the request and
from how often it came before, never from the order in which requests arrive: two runs meet the same faults.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from types import TracebackType
from typing import Any, Literal

__all__ = [
    "CAMPAIGN",
    "CHARGED",
    "HARMLESS",
    "FakeProvider",
    "Fault",
    "Key",
    "Ledger",
    "Plan",
    "ReceivedRequest",
    "Script",
    "chance",
    "echoing",
]

Fault = Literal[
    # Answered with an error.
    "rate_limit",
    "rate_limit_retry_after",
    "server_error",
    "bad_gateway",
    "unavailable",
    "unauthorized",
    "forbidden",
    "not_found",
    "bad_request",
    "content_policy",
    "context_window",
    "echo_authorization",
    "redirect",
    # Not answered.
    "reset",
    "closed",
    "hang",
    # Answered with what is no answer.
    "html",
    "half_json",
    "no_choices",
    "empty_choices",
    "error_object",
    "error_object_500",
    "error_object_429",
    "too_long",
    "too_deep",
    # The answer breaks off, or comes whole in an odd way.
    "cut_body",
    "cut_chunks",
    "endless_drip",
    "slow_drip",
    "wrong_type",
    "late",
]
"""A way in which an attempt goes wrong, or only oddly."""

CAMPAIGN: tuple[Fault, ...] = (
    *("rate_limit", "rate_limit_retry_after", "server_error", "bad_gateway", "unavailable", "reset", "closed"),
    *("cut_body", "cut_chunks", "half_json", "empty_choices", "error_object", "html", "hang"),
    *("endless_drip", "slow_drip", "wrong_type", "late"),
)
"""What another attempt may mend: the faults of the campaigns."""
HARMLESS: frozenset[Fault] = frozenset({"slow_drip", "wrong_type", "late"})
"""The answer arrives whole, in an odd way."""
CHARGED: frozenset[Fault] = frozenset({"cut_body", "cut_chunks", "half_json", "endless_drip"})
"""The model had answered, so a provider charges for it, but the answer did not arrive whole."""

_ERRORS: dict[str, tuple[int, str, str | None]] = {
    "rate_limit": (429, "Rate limit reached, please slow down.", "rate_limit_exceeded"),
    "rate_limit_retry_after": (429, "Rate limit reached, please slow down.", "rate_limit_exceeded"),
    "server_error": (500, "The server had an error while processing your request.", None),
    "unavailable": (503, "The engine is currently overloaded.", None),
    "unauthorized": (401, "Incorrect API key provided.", "invalid_api_key"),
    "forbidden": (403, "This key may not use the model.", None),
    "not_found": (404, "The model does not exist.", "model_not_found"),
    "bad_request": (400, "Unrecognized request argument supplied: frobnicate", None),
    "content_policy": (
        400,
        "Your request was rejected as a result of our safety system.",
        "content_policy_violation",
    ),
    "context_window": (
        400,
        "This model's maximum context length is 100 tokens. However, your messages resulted in 4000 tokens.",
        "context_length_exceeded",
    ),
}
_PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
_RETRY_AFTER = ("0", "1", "0.5", "date", "soon", "-3", "nan")
_ODD_TYPES = (
    "text/html",
    "text/plain; charset=iso-8859-1",
    "application/octet-stream",
    "application/problem+json",
    "",
)
_JSON = "application/json"
_PIECES = 8
_DRIP_S = 0.03
_LATE_S = 0.6

DEFAULT_USAGE: Mapping[str, Any] = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}

Key = tuple[str, str]
"""Model and last message of a request."""

Plan = Callable[[str, str, int], "Fault | None"]
"""What happens to an attempt, from model, last message and the attempt's number (from 0)."""


def chance(*of: object) -> float:
    """Return a number in [0, 1) that follows from what it is given."""
    digest = hashlib.sha256("\0".join(map(str, of)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass
class Ledger:
    """What the provider saw and sent."""

    attempts: Counter[Key] = field(default_factory=Counter)
    """How often each request arrived."""
    paid: Counter[Key] = field(default_factory=Counter)
    """How often each request was answered whole."""
    charged: Counter[Key] = field(default_factory=Counter)
    """How often an answer of each request was begun or mangled, so that the model had answered."""


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it arrived."""

    model: str
    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float
    """Time of its arrival by the monotonic clock."""

    @property
    def prompt(self) -> str:
        """The last message."""
        messages = self.body.get("messages")
        return str(messages[-1].get("content")) if messages else ""

    @property
    def key(self) -> Key:
        """What the ledger knows it by."""
        return self.model, self.prompt


@dataclass
class Script:
    """How one model behaves."""

    text: str | Callable[[ReceivedRequest], str] = "ok"
    """The answer, or what makes it."""
    latency_s: float = 0.0
    """Delay before each response."""
    usage: Mapping[str, Any] | None = field(default_factory=lambda: DEFAULT_USAGE)
    """Reported usage; None reports none."""
    finish_reason: str = "stop"
    tool_calls: list[dict[str, Any]] | None = None
    served_model: str | None = None
    """The model named in the response, if it is another."""
    faults: list[Fault] = field(default_factory=list)
    """The first requests fail in these ways, in order."""
    always: Fault | None = None
    """Every request that ``faults`` leaves over fails in this way."""
    plan: Plan | None = None
    """What happens to each attempt that ``faults`` and ``always`` leave over."""
    parallel: int | None = None
    """More requests than this at once are answered with 429."""
    retry_after: str | None = None
    """Value of the ``Retry-After`` header of 429 and 503."""
    message: str | None = None
    """Replaces the message of an error."""
    reply: tuple[int, object] | Callable[[ReceivedRequest], tuple[int, object]] | None = None
    """Status and JSON body of every response, or what makes them."""

    def __post_init__(self) -> None:
        """Take the faults for its own: they are used up."""
        self.faults = list(self.faults)


class FakeProvider:
    """A running server; use it as a context manager.

    Args:
        default: How the models behave that no script names.
        keep_requests: Whether all requests are kept for :meth:`received`.
    """

    def __init__(self, *, default: Script | None = None, keep_requests: bool = True) -> None:
        self.requests: list[ReceivedRequest] = []
        self.count = 0
        self.most_at_once = 0
        self.ledger = Ledger()
        self._default = default or Script()
        self._keep = keep_requests
        self._scripts: dict[str, Script] = {}
        self._connections: set[_Connection] = set()
        self._in_flight: Counter[str] = Counter()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._serves = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="fake-provider", daemon=True)
        self._thread.start()
        # A server that is closed before it serves would leave its port open.
        assert self._serves.wait(timeout=10)

    @property
    def url(self) -> str:
        """The ``api_base`` of the server."""
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, model: str, **behaviour: Any) -> None:
        """Say how a model behaves from now on.

        Args:
            model: Name as it arrives, without LiteLLM's provider prefix.
            **behaviour: Fields of :class:`Script`.
        """
        self._scripts[model] = Script(**behaviour)

    def follow(self, plan: Plan | None) -> None:
        """Let the models that no script names follow a plan from now on, with a new ledger."""
        # Attempts under way stay in the ledger that they began in.
        self.ledger = Ledger()
        self._default.plan = plan

    def received(self, model: str) -> list[ReceivedRequest]:
        """Return the requests for one model, in order of arrival."""
        return [request for request in self.requests if request.model == model]

    def close(self) -> None:
        """Stop serving, cut the connections and join the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=10)

    def __enter__(self) -> FakeProvider:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            self._loop.create_server(lambda: _Connection(self), sock=self._listener)
        )
        self._serves.set()
        try:
            self._loop.run_forever()
        finally:
            server.close()
            for connection in tuple(self._connections):
                connection.close()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

    def _take(self, connection: _Connection, path: str, headers: dict[str, str], raw: bytes) -> None:
        body: dict[str, Any] = json.loads(raw) if raw else {}
        request = ReceivedRequest(str(body.get("model")), path, body, headers, time.monotonic())
        self.count += 1
        if self._keep:
            self.requests.append(request)
        script = self._scripts.get(request.model, self._default)
        self._in_flight[request.model] += 1
        at_once = self._in_flight[request.model]
        self.most_at_once = max(self.most_at_once, at_once)
        exchange = _Exchange(self.ledger, connection, script, request)
        if exchange.fault is None and script.parallel is not None and at_once > script.parallel:
            exchange.fault = "rate_limit"
        latency_s = script.latency_s + (exchange.chance("late") * _LATE_S if exchange.fault == "late" else 0)
        if latency_s and exchange.fault != "hang":
            self._loop.call_later(latency_s, self._reply, exchange)
        else:
            self._reply(exchange)

    def _reply(self, exchange: _Exchange) -> None:
        self._in_flight[exchange.request.model] -= 1
        exchange.reply()


def echoing(latency_s: float) -> FakeProvider:
    """Return a server whose answers name what they answer, and which keeps a ledger instead of the requests."""
    script = Script(text=lambda request: f"answer to {request.prompt}", latency_s=latency_s)
    return FakeProvider(default=script, keep_requests=False)


class _Exchange:
    """One attempt and what is sent for it."""

    def __init__(self, ledger: Ledger, connection: _Connection, script: Script, request: ReceivedRequest) -> None:
        self.request = request
        self._ledger = ledger
        self._connection = connection
        self._script = script
        self._key = request.key
        self._attempt = ledger.attempts[self._key]
        ledger.attempts[self._key] += 1
        self.fault: Fault | None
        if script.faults:
            self.fault = script.faults.pop(0)
        elif script.always is None and script.plan is not None:
            self.fault = script.plan(*self._key, self._attempt)
        else:
            self.fault = script.always

    def chance(self, *of: object) -> float:
        """Return a number in [0, 1) that follows from the attempt."""
        return chance(*of, *self._key, self._attempt)

    def reply(self) -> None:
        """Send what the fault leaves of the answer."""
        fault, connection = self.fault, self._connection
        if fault == "hang" or not connection.is_open:
            return
        if fault == "reset":
            connection.reset()
        elif fault == "closed":
            connection.close()
        elif fault == "redirect":
            connection.send(307, b"", extra={"Location": self._script.message or ""})
        elif fault in ("html", "bad_gateway"):
            connection.send(502 if fault == "bad_gateway" else 200, _PAGE, "text/html")
        elif fault == "echo_authorization":
            sent = self.request.headers.get("authorization", "")
            self._fail(400, f"Cannot serve the request sent with Authorization: {sent}", None)
        elif fault in _ERRORS:
            self._fail(*_ERRORS[fault])
        elif fault is not None and fault.startswith("error_object"):
            code = fault.removeprefix("error_object").lstrip("_") or None
            connection.send_json(200, {"error": {"message": "upstream trouble", "code": code and int(code)}})
        elif fault is None and self._script.reply is not None:
            reply = self._script.reply
            status, content = reply(self.request) if callable(reply) else reply
            connection.send_json(status, content, self._retry_after(status))
        else:
            self._answer(fault)

    def _answer(self, fault: Fault | None) -> None:
        completion, connection = self._completion(), self._connection
        if fault == "no_choices":
            del completion["choices"]
        elif fault == "empty_choices":
            completion["choices"] = []
        elif fault == "too_long":
            completion["choices"][0]["message"]["content"] = "x" * 2_000_000
        elif fault == "too_deep":
            nested: Any = "x"
            for _ in range(400):
                nested = [nested]
            completion["choices"][0]["message"]["citations"] = nested
        body = _encoded(completion)
        if fault in ("cut_body", "cut_chunks", "half_json"):
            self._cut(fault, body)
        elif fault in ("slow_drip", "endless_drip"):
            connection.write(_head(200, {"Content-Type": _JSON, "Content-Length": str(len(body))}))
            self._drip(body, _PIECES if fault == "slow_drip" else 10_000)
        else:
            connection.send(200, body, self._pick(_ODD_TYPES) if fault == "wrong_type" else _JSON)
            if fault is None or fault in HARMLESS:
                self._ledger.paid[self._key] += 1

    def _cut(self, fault: Fault, body: bytes) -> None:
        self._ledger.charged[self._key] += 1
        some = body[: 1 + int(self.chance("cut") * (len(body) - 1))]
        if fault == "half_json":
            self._connection.send(200, some)
            return
        fields = {"Content-Type": _JSON}
        if fault == "cut_body":
            self._connection.write(_head(200, {**fields, "Content-Length": str(len(body))}) + some)
        else:
            head = _head(200, {**fields, "Transfer-Encoding": "chunked"})
            self._connection.write(head + b"%x\r\n%s\r\n" % (len(some), some))
        self._connection.close()

    def _drip(self, rest: bytes, pieces: int) -> None:
        if not self._connection.is_open:
            # The client gave up on an answer that was being sent.
            self._ledger.charged[self._key] += 1
            return
        length = max(1, len(rest) // pieces)
        self._connection.write(rest[:length])
        if rest[length:]:
            loop = asyncio.get_running_loop()
            loop.call_later(_DRIP_S, self._drip, rest[length:], max(1, pieces - 1))
        else:
            self._ledger.paid[self._key] += 1

    def _fail(self, status: int, message: str, code: str | None) -> None:
        message = self._script.message or message
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self._connection.send_json(status, {"error": error}, self._retry_after(status))

    def _retry_after(self, status: int) -> Mapping[str, str]:
        value = self._pick(_RETRY_AFTER) if self.fault == "rate_limit_retry_after" else self._script.retry_after
        if value == "date":
            value = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=1), usegmt=True)
        return {"Retry-After": value} if value and status in (429, 503) else {}

    def _pick(self, values: tuple[str, ...]) -> str:
        return values[int(self.chance("pick") * len(values))]

    def _completion(self) -> dict[str, Any]:
        script = self._script
        content = script.text(self.request) if callable(script.text) else script.text
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if script.tool_calls:
            message.update(content=None, tool_calls=script.tool_calls)
        completion: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1700000000,
            "model": script.served_model or self.request.model,
            "choices": [{"index": 0, "finish_reason": script.finish_reason, "message": message}],
        }
        if script.usage is not None:
            completion["usage"] = dict(script.usage)
        return completion


class _Connection(asyncio.Protocol):
    """A kept-alive connection, which takes requests and sends what it is given."""

    def __init__(self, provider: FakeProvider) -> None:
        self._provider = provider
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether anybody would read what is sent."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._provider._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._provider._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            lines = head.decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
            }
            length = int(headers.get("content-length", "0"))
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._provider._take(self, lines[0].split(" ")[1], headers, rest[:length])

    def send_json(self, status: int, content: object, extra: Mapping[str, str] | None = None) -> None:
        self.send(status, _encoded(content), extra=extra)

    def send(
        self, status: int, body: bytes, content_type: str = _JSON, extra: Mapping[str, str] | None = None
    ) -> None:
        fields = {"Content-Type": content_type} if content_type else {}
        self.write(_head(status, {**fields, "Content-Length": str(len(body)), **(extra or {})}) + body)

    def write(self, data: bytes) -> None:
        if self._transport is not None and self.is_open:
            self._transport.write(data)

    def reset(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode()


def _encoded(content: object) -> bytes:
    try:
        # Not escaped, so that a client that decodes it in another way than JSON says gets another text.
        return json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(content).encode()
