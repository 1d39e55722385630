"""pytest's side of the call service: starts it or joins one, and hands out futures.

There is no event loop here: one reader thread, and a thread for each of the user's own hooks that is running.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.lanes.lane import LiveCall
from pytest_proofmap.calls.outcome import CallOutcome, FailureKind
from pytest_proofmap.calls.request import describe_secret
from pytest_proofmap.calls.service.launcher import ServiceProcess
from pytest_proofmap.calls.service.protocol import (
    ServiceSettings,
    ServiceSocket,
    changes,
    connect,
    decode,
    encode,
    encode_call,
)
from pytest_proofmap.errors import CallError, StoreError
from pytest_proofmap.redaction import Redactor
from pytest_proofmap.text import canonical_json

__all__ = ["FORKED", "Connection", "HookRunner", "settled"]

HookRunner = Callable[[LiveCall], "Answer | None"]
"""Answers a call by the user's own client; None passes it on to LiteLLM. Runs in a thread of its own."""

_START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 10.0
FORKED = (
    "asked in a process that the test has forked: calls from there would be counted by nobody and be in no "
    "evidence. Ask in the test's own process and hand the answers over, or use threads in place of processes."
)

_NOT_SHARED = frozenset({"PYTEST_CURRENT_TEST", "PYTEST_VERSION"})
"""Names that pytest changes at every test and no client reads."""


class Connection:
    """A connection to a call service.

    Use :meth:`start` in the process that owns the run and :meth:`join` in the others.

    What a call takes from the environment is decided when it is asked: each call carries what differs from the
    environment that the connection began with. A connection serves the process that made it and none that a test
    forks from there: what such a process asked would be in nobody's evidence.
    """

    def __init__(self, open_socket: Callable[[], ServiceSocket], redactor: Redactor) -> None:
        self._owner = os.getpid()
        self.notify: Callable[[str], None] | None = None
        """Told, in a thread of the connection, what the run waits for."""
        self._open_socket = open_socket
        self._redactor = redactor
        self._lock = threading.Lock()
        self._socket: ServiceSocket | None = None
        self._queued: list[bytes] = []
        self._pending: dict[int, _Pending] = {}
        self._statuses: list[Future[dict[str, Any]]] = []
        self._next = 0
        self._ended: str | None = None
        self._closing = False
        self._held = _held_environment()
        self._environment = self._last = _decoded(self._held)
        self._differs: dict[str, Any] = {}
        """What differs between the two."""
        self._has_changed = False
        self._ready: Future[str] = Future()
        self._process: ServiceProcess | None = None
        self._reader = threading.Thread(target=self._read, name="proofmap-calls", daemon=True)

    @classmethod
    def start(
        cls, settings: ServiceSettings, redactor: Redactor | None = None, process: ServiceProcess | None = None
    ) -> Connection:
        """Start a call service and connect to it; returns at once, the service comes up meanwhile.

        Args:
            settings: What the service needs to know.
            redactor: Knows the secrets of this process; default: those of the environment.
            process: A process that was started for it before; default: it is started now.
        """
        redactor = redactor or Redactor(os.environ)
        process = process or ServiceProcess()
        process.serve(settings, redactor)
        connection = cls(lambda: process.connect(connection._say), redactor)
        connection._process = process
        connection._begin()
        return connection

    @classmethod
    def join(cls, address: str, redactor: Redactor | None = None) -> Connection:
        """Connect to the service of another process.

        Args:
            address: What that process's :attr:`address` said.
            redactor: Knows the secrets of this process; default: those of the environment.
        """
        connection = cls(lambda: connect(address), redactor or Redactor(os.environ))
        connection._begin()
        return connection

    @property
    def address(self) -> str:
        """Where other processes can join; a secret. Waits until the service is up.

        Raises:
            StoreError: The service could not open the store.
            CallError: The service did not come up.
        """
        return self._ready.result(_START_TIMEOUT_S)

    def submit(self, call: LiveCall, *, hook: HookRunner | None = None) -> Future[CallOutcome]:
        """Ask for a call.

        Args:
            call: What to ask.
            hook: The user's own client, which is asked in place of LiteLLM.

        Returns:
            A future that always gets a result, never an exception, and that cannot be cancelled.
        """
        if os.getpid() != self._owner:
            return settled(CallOutcome.failed("ForkedProcessError", FORKED))
        future: Future[CallOutcome] = Future()
        # The answer is everybody's who asks for it: one of them that is cancelled, as wait_for and gather do, must
        # not take it from the others.
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._ended is not None or self._closing:
                return settled(CallOutcome.failed("CallServiceError", self._ended or "the call service is closed"))
            self._look_at_environment()
            if self._has_changed:
                self._has_changed = False
                origin = self._redactor.secret_in(canonical_json(call.request))
                if origin is not None:
                    return settled(CallOutcome.failed("RequestError", describe_secret(origin)))
            self._next += 1
            run_hook = partial(hook, call) if hook is not None else None
            self._pending[self._next] = _Pending(future, run_hook)
            self._send(encode_call(self._next, call, has_hook=hook is not None, environment=self._differs))
        return future

    @property
    def environment(self) -> Mapping[str, str]:
        """What calls that are asked now are asked under; the same object until something in it changes."""
        with self._lock:
            self._look_at_environment()
            return self._last

    def free(self, case: str, runtime: str) -> None:
        """Tell the service that a runtime needs no money on a case: its answer is there already."""
        with self._lock:
            self._send(encode({"op": "free", "case": case, "runtime": runtime}))

    def status(self) -> Future[dict[str, Any]]:
        """Ask for the service's figures: ``in_flight``, ``waiting``, ``done``, ``spent_usd``, ``providers``.

        The result is empty when the service has ended.
        """
        future: Future[dict[str, Any]] = Future()
        if os.getpid() != self._owner:
            future.set_result({})
            return future
        with self._lock:
            if self._ended is not None or self._closing:
                future.set_result({})
            else:
                self._statuses.append(future)
                self._send(encode({"op": "status"}))
        return future

    def close(self) -> None:
        """Leave the service; the one who started it ends it. What is under way may still be kept.

        In a process that a test has forked this does nothing: the socket is the parent's.
        """
        if os.getpid() != self._owner:
            return
        with self._lock:
            if self._closing:
                return
            self._closing = True
            service = self._socket
        if service is not None:
            if self._process is not None:
                with contextlib.suppress(OSError):
                    service.send(encode({"op": "bye"}))
            service.hang_up()
        if self._process is not None:
            self._process.end()
        if self._reader.is_alive() and threading.current_thread() is not self._reader:
            self._reader.join(_END_TIMEOUT_S)
        self._end("the call service was closed")

    def _begin(self) -> None:
        """Tell the service first of all what it must not repeat, then whatever is asked."""
        secrets, declared = sorted(self._redactor.values), sorted(self._redactor.declared)
        self._queued.append(encode({"op": "hide", "secrets": secrets, "declared": declared}))
        self._queued.append(encode({"op": "environment", "variables": self._environment}))
        self._reader.start()

    def _look_at_environment(self) -> None:
        """Take in what a test has changed in the environment, such as a key."""
        held = _held_environment()
        if held == self._held:
            return
        self._has_changed = True
        self._held = held
        self._last = _decoded(held)
        self._differs = changes(self._environment, self._last)
        self._redactor.add_environment(self._differs.get("set", {}))

    def _send(self, line: bytes) -> None:
        """Send a line, or keep it until the service is up; the caller holds the lock."""
        if self._socket is None:
            self._queued.append(line)
        else:
            # A broken connection is noticed, and reported, by the reader.
            with contextlib.suppress(OSError):
                self._socket.send(line)

    def _read(self) -> None:
        try:
            service = self._open_socket()
            with self._lock:
                for line in self._queued:
                    service.send(line)
                self._queued.clear()
                self._socket = service
                if self._closing:
                    service.hang_up()
            self._ready.set_result(service.address)
            with contextlib.closing(service):
                for line in service.lines():
                    self._take(decode(line))
            reason = self._obituary()
        except StoreError as error:
            self._ready.set_exception(error)
            self._end(str(error), "store")
        except CallError as error:
            self._end(error.message)
        except Exception as error:
            # Whatever it is: calls whose future never gets a result would hang the run.
            self._end(f"the call service cannot be reached: {error}")
        else:
            self._end(reason)

    def _obituary(self) -> str:
        """Return why there is no service any more."""
        if self._closing:
            return "the call service was closed"
        return self._process.obituary() if self._process else "the call service ended the connection"

    def _say(self, text: str) -> None:
        if self.notify is not None:
            self.notify(text)

    def _take(self, message: dict[str, Any]) -> None:
        op = message.get("op")
        if op == "notice":
            self._say(message["text"])
            return
        if op == "status":
            with self._lock:
                future = self._statuses.pop(0) if self._statuses else None
            if future is not None:
                future.set_result(message)
            return
        number = message["id"]
        if op == "attempt":
            with self._lock:
                pending = self._pending.get(number)
            if pending is not None:
                # The service's limits bound how many there are; a pool's threads would be waited for at exit.
                name = f"proofmap-hook-{number}"
                threading.Thread(target=self._run_hook, args=(number, pending), name=name, daemon=True).start()
            return
        with self._lock:
            pending = self._pending.pop(number, None)
        if pending is not None:
            pending.future.set_result(CallOutcome.from_content(message))

    def _run_hook(self, number: int, pending: _Pending) -> None:
        """Run the user's hook and send what it gave."""
        message: dict[str, Any] = {"op": "result", "id": number, "answer": None, "error": None}
        try:
            answer = pending.hook() if pending.hook is not None else None
            line = encode({**message, "answer": answer and answer.content()})
        except CallError as error:
            line = encode({**message, "error": {"class": error.error_class, "message": error.message}})
        except BaseException as error:
            # Whatever it is, the sample's outcome tells it; a thread has nobody else to raise it to.
            line = encode({**message, "error": {"class": type(error).__name__, "message": str(error)}})
        with self._lock:
            self._send(line)

    def _end(self, reason: str, kind: FailureKind = "call") -> None:
        """Give every call that is still open its failure."""
        with self._lock:
            if self._ended is None:
                self._ended = reason
            pending, self._pending = self._pending, {}
            statuses, self._statuses = self._statuses, []
            if not self._ready.done():
                self._ready.set_exception(CallError("CallServiceError", reason))
        error_class = "StoreError" if kind == "store" else "CallServiceError"
        for call in pending.values():
            call.future.set_result(CallOutcome.failed(error_class, reason, kind=kind))
        for status in statuses:
            status.set_result({})


class _Pending(NamedTuple):
    future: Future[CallOutcome]
    hook: Callable[[], Answer | None] | None


def _held_environment() -> dict[Any, Any]:
    """Return a copy of the environment as Python holds it inside: this is asked before every call."""
    # Through os.environ itself every name and value would be decoded: https://github.com/python/cpython/blob/3.13/Lib/os.py
    held: dict[Any, Any] = dict(getattr(os.environ, "_data", os.environ))
    for name in _NOT_SHARED:
        held.pop(name, None)
        held.pop(name.encode(), None)
    return held


def _decoded(held: dict[Any, Any]) -> dict[str, str]:
    return {os.fsdecode(name): os.fsdecode(value) for name, value in held.items()}


def settled(outcome: CallOutcome) -> Future[CallOutcome]:
    """Return a future of what is known already."""
    future: Future[CallOutcome] = Future()
    future.set_result(outcome)
    return future
