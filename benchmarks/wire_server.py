"""A chat-completions server on loopback that costs as little processor time as it can.

Beside the tests' ``fake_provider`` because of that: where the clients are measured that share its cores, one that
reads JSON and keeps a ledger would be most of what is measured.

``python benchmarks/wire_server.py --latency 0.2`` prints its address and serves until standard input ends;
then it prints how many requests it answered and how many it held at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import sys
import threading
import time

__all__ = ["main"]

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CASE = re.compile(rb"case (\d+)")
MODEL = re.compile(rb'"model": ?"([^"]*)"')
RATE_LIMITED = b'{"error": {"message": "Rate limit reached.", "type": "requests", "code": "rate_limit_exceeded"}}'
COMPLETION = (
    b'{"id": "chatcmpl-1", "object": "chat.completion", "created": 1767225600, "model": "%s", "choices": '
    b'[{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "the answer is %s"}}], '
    b'"usage": {"prompt_tokens": 80, "completion_tokens": 20, "total_tokens": 100}}'
)


class Tally:
    """What the server has done, and how it is to behave."""

    def __init__(self, latency_s: float, fault_every: int) -> None:
        self.latency_s = latency_s
        self.fault_every = fault_every
        self.requests = 0
        self.rate_limited = 0
        self.at_once = 0
        self.most_at_once = 0


class Connection(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection."""

    def __init__(self, tally: Tally, loop: asyncio.AbstractEventLoop) -> None:
        self._tally = tally
        self._loop = loop
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget where to answer."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Take whole requests off what has arrived."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(self._buffer, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            self._take(body)

    def _take(self, body: bytes) -> None:
        tally = self._tally
        tally.requests += 1
        tally.at_once += 1
        tally.most_at_once = max(tally.most_at_once, tally.at_once)
        if tally.fault_every and tally.requests % tally.fault_every == 0:
            tally.rate_limited += 1
            head = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n"
            self._reply(head, RATE_LIMITED)
            return
        model, case = MODEL.search(body), CASE.search(body)
        answer = COMPLETION % (model[1] if model else b"", case[1] if case else b"")
        self._loop.call_later(tally.latency_s, self._reply, b"HTTP/1.1 200 OK\r\n", answer)

    def _reply(self, head: bytes, body: bytes) -> None:
        self._tally.at_once -= 1
        if self._transport is not None:
            fields = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            self._transport.write(head + fields + body)


async def _serve(tally: Tally) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = await loop.create_server(lambda: Connection(tally, loop), sock=listener, backlog=2048)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)

    def wait_for_end() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    await over.wait()
    server.close()


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--fault-every", type=int, default=0, help="answer one in so many requests with 429")
    arguments = parser.parse_args()
    tally = Tally(arguments.latency, arguments.fault_every)
    asyncio.run(_serve(tally))
    figures = {
        "requests": tally.requests,
        "rate_limited": tally.rate_limited,
        "most_at_once": tally.most_at_once,
        "cpu_s": round(time.process_time(), 2),
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
