"""The project's own client, the hook ``pytest_proofmap_call``, and the lane that leads to it.

The lane is in the call service; the hook runs in the process that asked, where the project's plugins are.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.lanes.lane import DEFAULT_TIMEOUT_S, LiveCall, SingleCallLane
from pytest_proofmap.calls.outcome import AttemptError
from pytest_proofmap.calls.request import Request, plain_copy
from pytest_proofmap.errors import CallError, RequestError

if TYPE_CHECKING:
    import asyncio

    from pluggy import HookCaller

    from pytest_proofmap.redaction import Redactor

__all__ = ["HookClient", "HookLane", "KeyHook"]


class HookLane(SingleCallLane):
    """Has the process that asked run the project's own client; what that passes goes on to another lane.

    Args:
        run_hook: Has it run and returns what it sent, an ``answer`` or an ``error``.
        onward: Makes the call when the client leaves it to others.
        redactor: Takes secrets out of what the client raised.
    """

    def __init__(
        self, run_hook: Callable[[], Awaitable[dict[str, Any]]], onward: SingleCallLane, redactor: Redactor
    ) -> None:
        self._run_hook = run_hook
        self._onward = onward
        self._redactor = redactor

    async def attempt(self, call: LiveCall) -> Answer:
        """Make one call, see :meth:`SingleCallLane.attempt`."""
        import asyncio  # Which pytest's process, that has the hook itself, need not load.

        timeout_s = float(call.transport.get("timeout_s") or DEFAULT_TIMEOUT_S)
        try:
            message = await asyncio.wait_for(self._run_hook(), timeout_s)
        except asyncio.TimeoutError:
            raise AttemptError(
                "Timeout", f"the project's own client did not answer within {timeout_s:g} s"
            ) from None
        error = message.get("error")
        if error:
            raise AttemptError(str(error["class"]), self._redactor.redact_start(str(error["message"])))
        if message.get("answer") is None:
            return await self._onward.attempt(call)
        return Answer.from_content(message["answer"])


class HookClient:
    """Asks the implementations of ``pytest_proofmap_call``, sync or async, from any thread."""

    def __init__(self, hook: HookCaller) -> None:
        self._hook = hook
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, hook: HookCaller) -> HookClient | None:
        """Return the client, or None when no plugin implements the hook."""
        return cls(hook) if hook.get_hookimpls() else None

    def __call__(self, call: LiveCall) -> Answer | None:
        """Return the answer of the first implementation that gives one, else None.

        Raises:
            CallError: The implementation raised, or returned something that is no answer.
        """
        request = Request.from_content(call.request)
        started = time.perf_counter()
        try:
            # A copy, because what the client makes of it must not be taken for what the test asked.
            given = self._hook(runtime=call.runtime, request=request.copied())
            if inspect.isawaitable(given):
                given = self._run(_await(given)).result()
        except Exception as error:
            raise CallError(type(error).__name__, str(error)) from error
        if given is None:
            return None
        return _answer(given, request, time.perf_counter() - started)

    def close(self) -> None:
        """Stop the event loop, if one was needed."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        import asyncio  # Which a run without an asynchronous client need not load.

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run_until_stopped, args=(self._loop,), name="proofmap-hook", daemon=True
                ).start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)


class KeyHook:
    """Asks the implementations of ``pytest_proofmap_key`` what enters a request's key."""

    def __init__(self, hook: HookCaller) -> None:
        self._hook = hook

    @classmethod
    def of(cls, hook: HookCaller) -> KeyHook | None:
        """Return the hook, or None when no plugin implements it."""
        return cls(hook) if hook.get_hookimpls() else None

    def __call__(self, request: Request) -> str:
        """Return the key of a request.

        Raises:
            RequestError: An implementation raised, or returned something that is no request.
        """
        # The request itself, and what the test holds of it, must stay as they are whatever an implementation does.
        copied = Request(*map(plain_copy, request))
        try:
            given = self._hook(request=copied)
        except Exception as error:
            raise RequestError(
                f"pytest_proofmap_key raised {type(error).__name__}: {error}. It returns the request that it was "
                "given, changed, or None."
            ) from error
        given = copied if given is None else given
        try:
            if isinstance(given, Request):
                return Request.from_content(given.content()).key()
        except (KeyError, TypeError, ValueError) as error:
            problem = str(error)
        else:
            problem = "no request"
        raise RequestError(
            f"pytest_proofmap_key returned {given!r} ({problem}); allowed: the request that it was "
            "given, changed, or None."
        )


async def _await(awaitable: Any) -> Any:
    return await awaitable


def _run_until_stopped(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _answer(given: object, request: Request, latency_s: float) -> Answer:
    if isinstance(given, str):
        message = {"role": "assistant", "content": given}
        response: dict[str, Any] = {
            "model": request.model,
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }
    elif isinstance(given, dict) and isinstance(given.get("choices"), list) and given["choices"]:
        response = given
    else:
        raise CallError(
            "TypeError",
            f"pytest_proofmap_call returned {given!r}; allowed: the answer's text, an OpenAI-format chat "
            "completion with 'choices', or None to leave the request to the next client",
        )
    return Answer(
        request=request.content(),
        response=response,
        latency_s=latency_s,
        lane="hook",
        made_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
