"""A chat-completions server on loopback whose models behave as a test scripts them.

It speaks enough HTTP/1.1 for real clients: keep-alive, content length, no chunks. One thread runs its event
loop; ``python tests/fake_provider.py --latency 0.2`` runs it as a process of its own for measurements.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

__all__ = ["FakeProvider", "Fault", "ReceivedRequest", "Script"]

Fault = Literal[
    "rate_limit",
    "server_error",
    "unavailable",
    "unauthorized",
    "forbidden",
    "not_found",
    "bad_request",
    "content_policy",
    "context_window",
    "echo_authorization",
    "html",
    "half_json",
    "no_choices",
    "reset",
    "silence",
    "ok_error",
    "ok_error_500",
    "ok_error_429",
    "redirect",
    "too_long",
    "too_deep",
]
"""A way in which a model fails to answer."""

_ERRORS: dict[str, tuple[int, str, str | None]] = {
    "rate_limit": (429, "Rate limit reached, please slow down.", "rate_limit_exceeded"),
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

DEFAULT_USAGE: Mapping[str, Any] = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it arrived."""

    model: str
    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float
    """Time of its arrival by the monotonic clock."""


@dataclass
class Script:
    """How one model behaves."""

    text: str | Callable[[dict[str, Any]], str] = "ok"
    """The answer, or what makes it from the request's body."""
    latency_s: float = 0.0
    usage: Mapping[str, Any] | None = field(default_factory=lambda: DEFAULT_USAGE)
    finish_reason: str = "stop"
    tool_calls: list[dict[str, Any]] | None = None
    faults: list[Fault] = field(default_factory=list)
    """The first requests fail in these ways, in order."""
    always: Fault | None = None
    """Every request that ``faults`` leaves over fails in this way."""
    retry_after: str | None = None
    """Value of the ``Retry-After`` header of 429 and 503."""
    message: str | None = None
    """Replaces the message of an error."""
    parallel: int | None = None
    """More requests than this at once are answered with 429."""
    served_model: str | None = None
    error: tuple[int, object] | None = None
    """Every request is answered with this status and this JSON body."""


class FakeProvider:
    """A running server; use it as a context manager."""

    def __init__(self, *, default: Script | None = None, keep_requests: bool = True) -> None:
        self.requests: list[ReceivedRequest] = []
        self.count = 0
        self.most_at_once = 0
        self._default = default or Script()
        self._keep = keep_requests
        self._scripts: dict[str, Script] = {}
        self._connections: set[_Connection] = set()
        self._in_flight: dict[str, int] = {}
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

    def script(
        self,
        model: str,
        *,
        text: str | Callable[[dict[str, Any]], str] = "ok",
        latency_s: float = 0.0,
        usage: Mapping[str, Any] | None = DEFAULT_USAGE,
        finish_reason: str = "stop",
        tool_calls: list[dict[str, Any]] | None = None,
        faults: Sequence[Fault] = (),
        always: Fault | None = None,
        retry_after: str | None = None,
        message: str | None = None,
        parallel: int | None = None,
        served_model: str | None = None,
        error: tuple[int, object] | None = None,
    ) -> None:
        """Say how a model behaves from now on; the fields are those of :class:`Script`.

        Args:
            model: Name as it arrives, without LiteLLM's provider prefix.
            text: The answer, or what makes it from the request's body.
            latency_s: Delay before each response.
            usage: Reported usage; None reports none.
            finish_reason: Why the model stopped.
            tool_calls: Tool calls of the answer.
            faults: How the first requests fail, in order.
            always: How every later request fails.
            retry_after: Value of the ``Retry-After`` header of 429 and 503.
            message: Replaces the message of an error.
            parallel: More requests than this at once are answered with 429.
            served_model: The model named in the response.
            error: Status and JSON body of every response.
        """
        self._scripts[model] = Script(
            text=text,
            latency_s=latency_s,
            usage=usage,
            finish_reason=finish_reason,
            tool_calls=tool_calls,
            faults=list(faults),
            always=always,
            retry_after=retry_after,
            message=message,
            parallel=parallel,
            served_model=served_model,
            error=error,
        )

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
                connection.cut()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

    def _answer(self, connection: _Connection, path: str, headers: dict[str, str], raw: bytes) -> None:
        body: dict[str, Any] = json.loads(raw) if raw else {}
        model = str(body.get("model"))
        self.count += 1
        if self._keep:
            self.requests.append(ReceivedRequest(model, path, body, headers, time.monotonic()))
        script = self._scripts.get(model, self._default)
        at_once = self._in_flight[model] = self._in_flight.get(model, 0) + 1
        self.most_at_once = max(self.most_at_once, at_once)
        fault: Fault | None = script.faults.pop(0) if script.faults else script.always
        if fault is None and script.parallel is not None and at_once > script.parallel:
            fault = "rate_limit"
        arguments = (connection, script, fault, model, body, headers)
        if script.latency_s and fault != "silence":
            self._loop.call_later(script.latency_s, self._reply, *arguments)
        else:
            self._reply(*arguments)

    def _reply(
        self,
        connection: _Connection,
        script: Script,
        fault: Fault | None,
        model: str,
        body: dict[str, Any],
        headers: dict[str, str],
    ) -> None:
        self._in_flight[model] -= 1
        if fault == "silence":
            return
        if fault == "reset":
            connection.reset()
        elif fault == "html":
            connection.send(200, b"<html><body>502 Bad Gateway</body></html>", "text/html")
        elif fault == "half_json":
            connection.send(200, b'{"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"ind')
        elif fault == "echo_authorization":
            sent = headers.get("authorization", "")
            connection.send_error(400, f"Cannot serve the request sent with Authorization: {sent}", None)
        elif fault is not None and fault.startswith("ok_error"):
            code = fault.removeprefix("ok_error").lstrip("_") or None
            content = {"error": {"message": "upstream trouble", "code": code and int(code)}}
            connection.send(200, json.dumps(content).encode())
        elif fault == "redirect":
            connection.send(307, b"", extra={"Location": script.message or ""})
        elif fault in ("too_long", "too_deep"):
            completion = _completion(script, model, body)
            nested: Any = "x"
            for _ in range(400 if fault == "too_deep" else 0):
                nested = [nested]
            message = completion["choices"][0]["message"]
            message.update({"citations": nested} if fault == "too_deep" else {"content": "x" * 2_000_000})
            connection.send(200, json.dumps(completion).encode())
        elif fault == "no_choices":
            connection.send(200, json.dumps({"id": "1", "object": "chat.completion", "model": model}).encode())
        elif fault is not None:
            status, message, code = _ERRORS[fault]
            extra = {"Retry-After": script.retry_after} if script.retry_after and status in (429, 503) else {}
            connection.send_error(status, script.message or message, code, extra)
        elif script.error is not None:
            connection.send(script.error[0], json.dumps(script.error[1]).encode())
        else:
            connection.send(200, json.dumps(_completion(script, model, body)).encode())


class _Connection(asyncio.Protocol):
    def __init__(self, provider: FakeProvider) -> None:
        self._provider = provider
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

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
            self._provider._answer(self, lines[0].split(" ")[1], headers, rest[:length])

    def send_error(
        self, status: int, message: str, code: str | None, extra: Mapping[str, str] | None = None
    ) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self.send(status, json.dumps({"error": error}).encode(), extra=extra)

    def send(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        if self._transport is None:
            return
        fields = {"Content-Type": content_type, "Content-Length": str(len(body)), **(extra or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._transport.write(f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode() + body)

    def reset(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _completion(script: Script, model: str, body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": script.text(body) if callable(script.text) else script.text,
    }
    if script.tool_calls:
        message = {"role": "assistant", "content": None, "tool_calls": script.tool_calls}
    completion: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": script.served_model or model,
        "choices": [{"index": 0, "finish_reason": script.finish_reason, "message": message}],
    }
    if script.usage is not None:
        completion["usage"] = dict(script.usage)
    return completion


def main() -> None:
    """Serve until standard input ends, after printing the address."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    arguments = parser.parse_args()
    with FakeProvider(default=Script(latency_s=arguments.latency), keep_requests=False) as provider:
        print(provider.url, flush=True)
        import sys

        sys.stdin.read()
        print(json.dumps({"count": provider.count, "most_at_once": provider.most_at_once}), flush=True)


if __name__ == "__main__":
    main()
