"""The call service: one process that makes all live calls of a run.

:func:`main` is given its settings as one JSON line that came from standard input
(:mod:`pytest_proofmap.calls.service.launcher`), answers with one line that holds its address, and serves the run's
processes over a socket until standard input ends: that pipe is the parent's lifeline, so the service never
outlives a parent, however it died. On Linux the system besides ends it with its parent, also when its interpreter
is too busy to look at the pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import select
import shutil
import signal
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_proofmap.calls.cache.store import AnswerStore, MemoryStore
from pytest_proofmap.calls.environment import answer_by_call
from pytest_proofmap.calls.lanes.hook import HookLane
from pytest_proofmap.calls.lanes.lane import AttemptGoneError, Lane, LiveCall
from pytest_proofmap.calls.lanes.litellm import LiteLLMLane
from pytest_proofmap.calls.outcome import AttemptError, CallOutcome
from pytest_proofmap.calls.service.dispatcher import Dispatcher
from pytest_proofmap.calls.service.protocol import MAX_LINE, decode, decode_call, encode
from pytest_proofmap.errors import ProofmapError, StoreError
from pytest_proofmap.redaction import Redactor

__all__ = ["CallService", "main"]

DRAIN_S = 5.0
"""What is under way when the parent goes may still arrive and be kept for so long."""

STARTED_PER_SLOT = 4
"""Calls to one provider that are started for each that may be under way: some of them wait to be tried again."""

FIRST_LINE = 1024
"""Longest line that is read from a client that has not shown the token, in bytes."""

FIRST_LINE_S = 5.0
"""How long such a client may take for it."""

_FORCE_EXIT_S = 3.0
_PARENT_LOOK_S = 2.0
_PR_SET_PDEATHSIG = 1


def main(line: bytes) -> None:
    """Serve until the parent is gone.

    Args:
        line: The settings, as the parent sent them.
    """
    # Ctrl-C goes to the whole terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ready = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    settings = decode(line)
    end_with_parent(settings["parent"])
    answer_by_call()

    def tell_parent(text: str) -> None:
        ready.write(encode({"notice": text}))
        ready.flush()

    told: list[Callable[[str], None]] = [tell_parent]
    try:
        store = open_store(settings["store"], lambda text: told[-1](text))
    except ProofmapError as error:
        ready.write(encode({"error": {"class": type(error).__name__, "message": str(error)}}))
        ready.close()
        os._exit(1)
    status = 1
    try:
        asyncio.run(_serve(settings, store, ready, told))
        status = 0
    finally:
        # The parent does the same, unless it was killed.
        shutil.rmtree(settings["folder"], ignore_errors=True)
        sys.stderr.flush()
        # LiteLLM's atexit hooks and threads would hold up the end, or open new event loops.
        os._exit(status)


def end_with_parent(parent: int | None) -> None:
    """Have the system end this process some seconds after its parent, whatever its interpreter is doing then.

    Only Linux can; elsewhere the lifeline alone holds.

    Args:
        parent: The process whose main thread started this one; None: another thread did.
    """
    if parent is None or not sys.platform.startswith("linux"):
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, signal.SIGUSR1})
    # A handler in Python would wait for the interpreter, and none at all would leave no time to keep what is under
    # way. A handler is called with the signal's number, and alarm() with seconds: so SIGUSR1 (10) is followed by a
    # SIGALRM ten seconds later, which ends a process that handles it not.
    libc.signal(int(signal.SIGUSR1), ctypes.cast(libc.alarm, ctypes.c_void_p))
    libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGUSR1), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def open_store(settings: dict[str, Any], tell: Callable[[str], None]) -> AnswerStore:
    """Open the store that the settings name.

    Args:
        settings: Its kind, and where it is.
        tell: Told at once what writing an answer waits for.

    Raises:
        StoreError: It cannot be opened.
    """
    kind = settings.get("kind")
    if kind == "memory":
        return MemoryStore()
    if kind == "disk":
        from pytest_proofmap.calls.cache.disk import DiskStore

        store = DiskStore(Path(settings["directory"]), lambda text: print(text, file=sys.stderr), tell=tell)
        # What stands in the way of keeping answers is found before the first one is paid.
        store.prepare_to_write()
        return store
    if kind == "redis":
        from pytest_proofmap.calls.cache.redis import RedisStore

        return RedisStore(
            settings["url"], lambda text: print(text, file=sys.stderr), rescue=Path(settings["rescue"])
        )
    raise StoreError(f"unknown kind of store {kind!r}; allowed are 'disk', 'memory' and 'redis'")


async def _serve(
    settings: dict[str, Any], store: AnswerStore, ready: Any, told: list[Callable[[str], None]]
) -> None:
    loop = asyncio.get_running_loop()
    service = CallService(settings, store)
    told.append(service.tell)
    path = settings.get("socket")
    if path:
        server = await asyncio.start_unix_server(service.handle, path, limit=FIRST_LINE)
        address = f"unix:{path}"
    else:
        server = await asyncio.start_server(service.handle, "127.0.0.1", 0, limit=FIRST_LINE)
        address = f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"
    threading.Thread(target=_hold_lifeline, args=(loop, service.over), name="lifeline", daemon=True).start()
    with ready:
        ready.write(encode({"ready": address}))
    await service.over.wait()
    server.close()
    await service.dispatcher.drain(DRAIN_S)
    service.dispatcher.close()


def _hold_lifeline(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    parent = os.getppid()
    with contextlib.suppress(OSError):
        # A child that the parent forked holds the pipe open as well, so the parent itself is looked at too.
        while os.getppid() == parent:
            if os.name == "posix" and not select.select([0], [], [], _PARENT_LOOK_S)[0]:
                continue
            if not os.read(0, 65536):
                break
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(over.set)
    # Should the event loop be stuck, the process must not stay behind.
    threading.Event().wait(DRAIN_S + _FORCE_EXIT_S)
    os._exit(1)


@dataclass(eq=False, slots=True)
class _Client:
    writer: asyncio.StreamWriter
    results: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    """What this client was asked to answer by itself."""
    environment: dict[str, str] = field(default_factory=dict)
    """The client's environment when it connected."""

    def send(self, line: bytes) -> None:
        if not self.writer.is_closing():
            self.writer.write(line)


class CallService:
    """Serves calls to the processes of a run.

    Args:
        settings: As the parent sent them.
        store: Where answers are kept.
    """

    def __init__(self, settings: dict[str, Any], store: AnswerStore) -> None:
        self.over = asyncio.Event()
        """Set when the service is to end."""
        self._token = str(settings["token"])
        self._redactor = Redactor(os.environ)
        self._litellm = LiteLLMLane(self._redactor, settings["max_response_mb"])
        self.dispatcher = Dispatcher(
            store,
            self._litellm,
            finish=self._finish,
            concurrency=settings.get("concurrency") or 1,
            limits=settings.get("limits") or {},
            budget_usd=settings.get("budget_usd"),
            store_is_remote=settings["store"].get("kind") not in ("disk", "memory"),
            refresh=bool(settings.get("refresh")),
            run=settings.get("run"),
            tell=self.tell,
        )
        self._window = STARTED_PER_SLOT * int(settings.get("concurrency") or 1)
        self._backlog: dict[str, deque[tuple[_Client, dict[str, Any]]]] = {}
        """Calls that were not started yet, by provider: thousands at once would take 5 kB each."""
        self._started: Counter[str] = Counter()
        self._clients: set[_Client] = set()
        self._leaving = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it closes the connection."""
        client = _Client(writer)
        try:
            if not self._is_welcome(await asyncio.wait_for(reader.readline(), FIRST_LINE_S)):
                return
            # Who knows the token may say more. There is no public way to change a reader's limit:
            # https://github.com/python/cpython/blob/3.13/Lib/asyncio/streams.py
            reader._limit = MAX_LINE  # type: ignore[attr-defined]  # private
            self._clients.add(client)
            while line := await reader.readline():
                self._take(client, decode(line))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.TimeoutError, ValueError) as error:
            print(f"call service: a connection ended: {error}", file=sys.stderr)
        finally:
            self._clients.discard(client)
            for result in client.results.values():
                if not result.done():
                    result.set_exception(AttemptGoneError())
            writer.close()
            if self._leaving and not self._clients:
                self.over.set()

    def _is_welcome(self, line: bytes) -> bool:
        try:
            hello = decode(line)
        except ValueError:
            return False
        given = str(hello.get("token", ""))
        return hello.get("op") == "hello" and hmac.compare_digest(given.encode(), self._token.encode())

    def _take(self, client: _Client, message: dict[str, Any]) -> None:
        op = message.get("op")
        if op == "call":
            provider = str(message["provider"])
            self._redactor.add_environment((message.get("environment") or {}).get("set") or {})
            self._backlog.setdefault(provider, deque()).append((client, message))
            self._start(provider)
        elif op == "result":
            result = client.results.pop(message["id"], None)
            if result is not None and not result.done():
                result.set_result(message)
        elif op == "hide":
            self._redactor.declare(*message["declared"])
            self._redactor.add(*message["secrets"])
        elif op == "environment":
            client.environment = message["variables"]
            self._redactor.add_environment(client.environment)
        elif op == "free":
            self.dispatcher.budget.free(str(message["case"]), str(message["runtime"]))
        elif op == "status":
            client.send(encode(self._status()))
        elif op == "bye":
            self._leaving = True

    def _start(self, provider: str) -> None:
        """Start calls to a provider, in their order, as far as its window allows; others have their own."""
        backlog = self._backlog[provider]
        while backlog and self._started[provider] < self._window:
            self._started[provider] += 1
            task = self._spawn(self._call(*backlog.popleft()))
            task.add_done_callback(lambda _: self._end(provider))

    def _end(self, provider: str) -> None:
        self._started[provider] -= 1
        self._start(provider)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _call(self, client: _Client, message: dict[str, Any]) -> None:
        number = message["id"]
        try:
            lane = self._hook_lane(client, number) if message["has_hook"] else None
            outcome = await self.dispatcher.submit(decode_call(message, client.environment), lane)
        except Exception as error:
            # What cannot be read, say: the caller must not wait for ever, and the log tells where it was.
            traceback.print_exc()
            outcome = CallOutcome.failed(
                "CallServiceError", f"the call service failed: {type(error).__name__}: {error}"
            )
        if outcome.failure is not None:
            redacted = self._redactor.redact(outcome.failure.message)
            outcome = outcome._replace(failure=replace(outcome.failure, message=redacted))
        client.send(encode({"op": "outcome", "id": number, **outcome.content()}))

    async def _finish(self, call: LiveCall, outcome: CallOutcome) -> CallOutcome:
        """Clean and price an answer before anybody sees it, so that a replay says the same."""
        answer = outcome.answer
        assert answer is not None
        try:
            answer.require_readable()
        except ValueError as error:
            return CallOutcome.failed_attempt(AttemptError("InvalidResponseError", str(error), maybe_paid=True))
        answer = answer._replace(response=self._redactor.clean(answer.response))
        return outcome._replace(answer=await self._litellm.priced(call, answer))

    def _hook_lane(self, client: _Client, number: int) -> Lane:
        """Return the lane in which a client runs the project's own hook for a call."""

        async def run_hook() -> dict[str, Any]:
            if client not in self._clients:
                raise AttemptGoneError
            result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            client.results[number] = result
            client.send(encode({"op": "attempt", "id": number}))
            try:
                return await result
            finally:
                client.results.pop(number, None)

        return HookLane(run_hook, self._litellm, self._redactor)

    def tell(self, text: str) -> None:
        """Say to every client what the run waits for; called in the event loop's thread, which may wait itself."""
        for client in self._clients:
            client.send(encode({"op": "notice", "text": text}))

    def _status(self) -> dict[str, Any]:
        progress = self.dispatcher.progress
        providers = self.dispatcher.limits.status()
        for name, backlog in self._backlog.items():
            if name in providers:
                providers[name]["waiting"] += len(backlog)
        return {
            "op": "status",
            "in_flight": progress.in_flight,
            "waiting": progress.waiting + sum(map(len, self._backlog.values())),
            "done": progress.done,
            "spent_usd": self.dispatcher.budget.spent_usd,
            "providers": providers,
        }
