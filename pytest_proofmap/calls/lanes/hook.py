"""The project's own client: the hook ``pytest_proofmap_call``."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pytest_proofmap.calls.answer import Answer, LiveCall
from pytest_proofmap.calls.request import Request, plain_copy
from pytest_proofmap.errors import CallError, RequestError

if TYPE_CHECKING:
    import asyncio

    from pluggy import HookCaller

__all__ = ["HookClient", "KeyHook"]


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
