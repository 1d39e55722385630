"""The process of a call service, as the process that started it sees it."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_proofmap.errors import CallError, StoreError
from pytest_proofmap.run.link import Link, connect
from pytest_proofmap.run.wire import ServiceSettings, decode, encode
from pytest_proofmap.runtime.redaction import Redactor

__all__ = ["ServiceProcess"]

_LONGEST_SOCKET_PATH = 100
_END_TIMEOUT_S = 10.0
_LOG_LINES = 12


class ServiceProcess:
    """The child process of a service that this process started."""

    def __init__(
        self, settings: ServiceSettings, redactor: Redactor, environment: Mapping[str, str] | None = None
    ) -> None:
        self._redactor = redactor
        self._token = secrets.token_hex(16)
        self._folder = Path(tempfile.mkdtemp(prefix="proofmap-"))
        self._log = (self._folder / "log").open("w+b")
        path = str(self._folder / "calls.sock")
        fits = hasattr(socket, "AF_UNIX") and len(os.fsencode(path)) < _LONGEST_SOCKET_PATH
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest_proofmap.run.service"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_child_environment(environment),
            start_new_session=True,
        )
        self._send_settings(
            {
                "token": self._token,
                "folder": str(self._folder),
                "socket": path if fits else None,
                "store": settings.store,
                "concurrency": settings.concurrency,
                "limits": settings.limits,
                "budget_usd": settings.budget_usd,
                "refresh": settings.refresh,
                "run": settings.run,
                "cwd": os.getcwd(),
            }
        )

    def connect(self) -> Link:
        """Wait until the service is up and connect.

        Raises:
            StoreError: It could not open the store.
            CallError: It did not come up.
        """
        assert self._process.stdout is not None
        with self._process.stdout as output:
            line = output.readline()
        message = decode(line) if line else {}
        if "error" in message:
            raise StoreError(message["error"]["message"])
        if "ready" not in message:
            raise CallError("CallServiceError", self.obituary())
        return connect(f"{message['ready']}#{self._token}")

    def obituary(self) -> str:
        """Return how the service ended, with the last lines that it wrote."""
        try:
            status: object = self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = "none, it still runs but closed its connection"
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").splitlines()[-_LOG_LINES:]
        text = self._redactor.redact("\n".join(lines)).strip()
        said = f" It wrote last:\n{text}" if text else ""
        return (
            f"the process that makes the calls ended (exit status: {status}); what it had answered is "
            f"kept, so that running again only repeats the rest.{said}"
        )

    def end(self) -> None:
        """Cut the lifeline and wait until the process is gone."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        for path in self._folder.glob("*"):
            with contextlib.suppress(OSError):
                path.unlink()
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _send_settings(self, settings: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        # A child that died at once is reported by connect().
        with contextlib.suppress(OSError):
            self._process.stdin.write(encode(settings))
            self._process.stdin.flush()


def _child_environment(environment: Mapping[str, str] | None) -> dict[str, str]:
    child = dict(os.environ if environment is None else environment)
    # What measures or changes pytest's own process has no business in the child.
    for name in ("COV_CORE_SOURCE", "COV_CORE_CONFIG", "COV_CORE_DATAFILE", "PYTHONWARNINGS"):
        child.pop(name, None)
    return child
