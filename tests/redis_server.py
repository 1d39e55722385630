"""A real Redis or Valkey server on loopback for tests; they are skipped, with the reason, where there is none."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

redis = pytest.importorskip("redis", reason="needs the extra 'redis': pip install 'pytest-proofmap[redis]'")

__all__ = ["RedisServer", "StartRedis", "redis_server"]

PROGRAMS = ("redis-server", "valkey-server")
SECONDS = 10
STARTS = 3


class RedisServer:
    """A running server with a database of its own."""

    def __init__(self, program: str, folder: Path, options: tuple[str, ...], password: str | None) -> None:
        self.password = password
        self._command = [program, "--dir", str(folder), "--save", "", "--bind", "127.0.0.1", *options]
        if password is not None:
            self._command += ["--requirepass", password]
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        """The URL without a password."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> Any:
        """A client of the server."""
        return redis.Redis(port=self.port, password=self.password, socket_timeout=SECONDS)

    def start(self) -> None:
        """Start the server, on the port that it had before."""
        for _ in range(STARTS):
            port = self.port or _free_port()
            process = subprocess.Popen(
                [*self._command, "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert process.stdout is not None
            # Somebody else may have taken the port meanwhile; then the output ends.
            if any("eady to accept connections" in line for line in process.stdout):
                self.port, self._process = port, process
                return
            process.stdout.close()
            process.wait(SECONDS)
        raise AssertionError("the Redis server did not start")

    def stop(self) -> None:
        """End the server, with everything that it holds."""
        if self._process is not None:
            assert self._process.stdout is not None
            self._process.kill()
            self._process.wait(SECONDS)
            self._process.stdout.close()
            self._process = None


StartRedis = Callable[..., RedisServer]
"""Starts a server with options of its command line, and perhaps a ``password``."""


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartRedis]:
    """Start servers that end with the test."""
    running: list[RedisServer] = []

    def start(*options: str, password: str | None = None) -> RedisServer:
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            pytest.skip("no redis-server in PATH: apt-get install redis-server")
        running.append(RedisServer(program, tmp_path_factory.mktemp("redis"), options, password))
        return running[-1]

    yield start
    for server in running:
        server.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
