"""A socket to a call service, and its address."""

from __future__ import annotations

import contextlib

# Plugins that block the network replace socket.socket or its methods later; this module keeps what it found.
import socket as socket_module
from typing import IO, Any

from pytest_proofmap.run.wire import encode

__all__ = ["Link", "connect"]

_SOCKET = socket_module.socket
_connect = socket_module.socket.connect


class Link:
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


def connect(address: str) -> Link:
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
        link = Link(socket, address)
        link.send(encode({"op": "hello", "token": token}))
    except OSError:
        socket.close()
        raise
    return link
