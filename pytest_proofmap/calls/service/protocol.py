"""What pytest's side and the call service exchange: one JSON object a line, UTF-8, over a socket."""

from __future__ import annotations

import contextlib
import json

# Plugins that block the network replace socket.socket or its methods later; this module keeps what it found.
import socket as socket_module
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from pytest_proofmap.calls.environment import CallEnvironment
from pytest_proofmap.calls.lanes.lane import LiveCall, Pair, Partner
from pytest_proofmap.evidence.models import Price

__all__ = [
    "MAX_LINE",
    "ServiceSettings",
    "ServiceSocket",
    "changes",
    "connect",
    "decode",
    "decode_call",
    "encode",
    "encode_call",
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


def encode_call(
    number: int, call: LiveCall, *, has_hook: bool, environment: dict[str, Any] | None = None
) -> bytes:
    """Return the line that asks for a call.

    The call is a text within it: thousands of them wait their turn, and as objects take five times as much.

    Args:
        number: What the answer will refer to.
        call: What to ask.
        has_hook: Whether the process that asks runs the project's own client for it.
        environment: What differs from the client's environment at its start, as :func:`changes` returned it.
    """
    content = {
        "key": call.key,
        "runtime": call.runtime,
        "request": call.request,
        "transport": call.transport,
        "price": call.price.model_dump() if call.price is not None else None,
        "references": call.references,
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
    line = {"op": "call", "id": number, "provider": call.provider, "has_hook": has_hook, "call": text}
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
    references = tuple(content["references"])
    asked_under = CallEnvironment(environment)
    for name in references:
        asked_under.get(name)  # Looked at when the call was made up: a failure rests on it.
    return LiveCall(
        key=content["key"],
        runtime=content["runtime"],
        provider=message["provider"],
        request=content["request"],
        transport=content["transport"],
        price=Price(**price) if price else None,
        pair=_pair(content.get("pair")),
        environment=asked_under,
        references=references,
    )


def _pair(content: dict[str, Any] | None) -> Pair | None:
    if content is None:
        return None
    partners = (
        Partner(runtime, model, bounds, Price(**price)) for runtime, model, bounds, price in content["partners"]
    )
    return Pair(content["case"], tuple(partners))


_SOCKET = socket_module.socket
_connect = socket_module.socket.connect


class ServiceSocket:
    """A socket to a service that has been told the token."""

    def __init__(self, socket: socket_module.socket, address: str) -> None:
        self.address = address
        self._socket = socket
        self._lines = socket.makefile("rb")

    def send(self, line: bytes) -> None:
        """Send a line.

        Raises:
            OSError: The connection is broken.
        """
        self._socket.sendall(line)

    def lines(self) -> IO[bytes]:
        """Return the lines that come in."""
        return self._lines

    def hang_up(self) -> None:
        """End the conversation; whoever reads the lines reaches their end and closes."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket_module.SHUT_RDWR)

    def close(self) -> None:
        """End the conversation and free the socket."""
        self.hang_up()
        self._lines.close()
        self._socket.close()


def connect(address: str) -> ServiceSocket:
    """Connect to an address.

    Raises:
        OSError: Nobody listens there.
        ValueError: It is no address.
    """
    where, _, token = address.rpartition("#")
    family, _, rest = where.partition(":")
    target: Any
    if family == "unix":
        socket, target = _SOCKET(socket_module.AF_UNIX, socket_module.SOCK_STREAM), rest
    elif family == "tcp":
        host, _, port = rest.rpartition(":")
        socket, target = _SOCKET(socket_module.AF_INET, socket_module.SOCK_STREAM), (host, int(port))
    else:
        raise ValueError(f"not the address of a call service: {where!r}")
    try:
        _connect(socket, target)
        if family == "tcp":
            socket.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_NODELAY, 1)
        service = ServiceSocket(socket, address)
        service.send(encode({"op": "hello", "token": token}))
    except OSError:
        socket.close()
        raise
    return service
