"""How a sample waits for an answer: a real run blocks, a dry run is suspended and asked again later.

Whoever answers requests knows nothing of this: it says what is there and what is on its way. Whether the sample
then waits is a property of the sample: it either has a :class:`DryRun` or has none.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from pytest_proofmap.errors import CallError

if TYPE_CHECKING:
    import asyncio

__all__ = ["DryRun", "Suspended", "let_siblings_ask", "wait", "wait_async"]

Phase = Literal["setup", "call", "teardown", "over"]

TURNS_FOR_SIBLINGS = 3
"""Turns of the event loop that sibling tasks get to make their own calls."""

GRACE_S = 0.25
"""How long a thread of a dry run is held at most after the last request of its siblings, in seconds."""

# Nothing tells when a thread begins to wait: that is seen in its frames alone.
POLL_S = 0.001
"""How often it is looked whether all siblings wait by now, in seconds."""

WAITS = frozenset({"acquire", "get", "join", "poll", "result", "select", "wait", "_wait_for_tstate_lock"})
"""Functions of the standard library in which a thread waits for another."""

WAITING_MODULES = frozenset({"concurrent.futures._base", "queue", "selectors", "threading"})

_Result = TypeVar("_Result")


class Suspended(BaseException):
    """Ends a dry run at a call whose answer is not there yet.

    A test that catches ``Exception`` around a call must not catch it, so it is none.
    """


class DryRun:
    """One dry run of a test: what it may still ask, and what it waits for.

    A test may ask from its own thread, from tasks of its event loop and from threads that it starts: its strands.
    A strand that was suspended has no answer to go on with, so whatever it asks afterwards rests on nothing and is
    not sent. Its siblings may still ask, until the suspension reaches the test itself.

    Args:
        expected: Keys of the requests that the dry run before this one made, in their order; None: unknown.
        sends: Whether requests are sent; a run that only plans sends none.
    """

    def __init__(self, expected: Sequence[str] | None = None, *, sends: bool = True) -> None:
        self.pending: list[Future[Any]] = []
        """The answers that it waits for."""
        self.suspended = False
        """Whether it met a call without an answer; this decides, and never the exception that comes out."""
        self.differs_at: int | None = None
        """Position of the first request that differs from the dry run before, which was not sent."""
        self.is_unordered = False
        """Whether threads asked, so that the order of its requests is chance."""
        self.is_stopped = False
        """Whether it met a debugger or took too long, so that the test is not to be run dry again."""
        self._expected = expected
        self._sends = sends
        self._phase: Phase = "setup"
        self._thread = threading.current_thread()
        self._before = frozenset(threading.enumerate())
        self._held: set[threading.Thread] = set()
        self._suspended_strands: list[object] = []
        self._delivered = False
        self._asked_at = 0.0
        self._change = threading.Condition()

    def enter(self, phase: Phase) -> None:
        """Say which phase of the test begins."""
        with self._change:
            self._phase = phase
            if phase in ("teardown", "over"):
                self._delivered = True
                self._change.notify_all()

    @property
    def is_torn_down(self) -> bool:
        """Whether the test itself has ended."""
        return self._phase in ("teardown", "over")

    def meet(self) -> None:
        """Note that the test asks for something, whether or not it is there."""
        if threading.current_thread() is not self._thread:
            self.is_unordered = True

    def admit(self, key: str, position: int) -> None:
        """Let a request pass whose answer is not there.

        Args:
            key: The request's key.
            position: How many other requests the test made before it.

        Raises:
            Suspended: It must not be sent: it may rest on nothing, or differs from the last dry run's.
            CallError: The same, where the exception would break the teardown of fixtures.
        """
        with self._change:
            is_main = threading.current_thread() is self._thread
            if self.is_torn_down and (self.suspended or self._phase == "over"):
                self._raise(is_main)
            if self._suspended_strands and (is_main or self._is_suspended(_strand())):
                self._raise(is_main)
            if self._expected is not None and not self.is_unordered and not self.is_torn_down:
                known = self._expected[position] if position < len(self._expected) else key
                if known != key:
                    self.differs_at = position
            if self.differs_at is not None or not self._sends:
                self._note_suspension(is_main)
                self._raise(is_main)
            self._asked_at = time.monotonic()

    def suspend(self) -> NoReturn:
        """End the strand that asks, now that its request is on the way.

        Raises:
            Suspended: Always, but for a test that is torn down.
            CallError: Its fixtures are being torn down: everything else that they clean up must be cleaned up.
        """
        with self._change:
            is_main = threading.current_thread() is self._thread
            if not is_main:
                self._hold()
            self._note_suspension(is_main)
            self._raise(is_main)

    def _hold(self) -> None:
        """Hold a thread until all that the test started have asked, or wait for one that has.

        Before a thread is suspended nobody can build on its lack of an answer, so that all others may ask.
        """
        self._held.add(threading.current_thread())
        while not self._delivered and time.monotonic() < self._asked_at + GRACE_S:
            # Twice, because a thread looks as if it waited while it starts.
            if self._all_wait() and not self._change.wait(POLL_S) and self._all_wait():
                return
            self._change.wait(POLL_S)

    def _all_wait(self) -> bool:
        frames = sys._current_frames()
        for thread in threading.enumerate():
            frame = frames.get(thread.ident or 0)
            if frame is None or thread in self._held or _is_waiting(frame):
                continue
            # Its own thread may be about to start others. Threads that are older than the dry run are the test's
            # only while they run something for it.
            if thread is self._thread or thread not in self._before or _work_item(frame) is not None:
                return False
        return True

    def _note_suspension(self, is_main: bool) -> None:
        if not self.is_torn_down:
            self.suspended = True
        self._suspended_strands.append(self._thread if is_main else _strand())
        if is_main:
            self._delivered = True
            self._change.notify_all()

    def _is_suspended(self, strand: object) -> bool:
        return any(known is strand for known in self._suspended_strands)

    def _raise(self, is_main: bool) -> NoReturn:
        if is_main and self.is_torn_down:
            # pytest's SetupState and contextlib catch Exceptions of finalizers alone: a BaseException would skip
            # the finalizers that are left, and patches of the environment would stay for other tests.
            raise CallError("DryRunError", "the answer to what a fixture's teardown asks is not there yet")
        raise Suspended


async def let_siblings_ask() -> None:
    """Let tasks beside this one run up to their own calls.

    The calls that a test gathers must all have begun before the first one ends: they are one round, and in a dry
    run they are all asked for before the test is suspended.
    """
    from asyncio import sleep  # Which a run of ordinary tests need not load.

    for _ in range(TURNS_FOR_SIBLINGS):
        await sleep(0)


def wait(pending: Future[_Result], dry_run: DryRun | None) -> _Result:
    """Wait for an answer.

    Raises:
        Suspended: This is a dry run.
        CallError: This is the teardown of a dry run.
    """
    if dry_run is not None:
        dry_run.suspend()
    return pending.result()


async def wait_async(pending: Future[_Result], dry_run: DryRun | None) -> _Result:
    """Wait for an answer without blocking the event loop; see :func:`wait`."""
    from asyncio import get_running_loop

    if dry_run is not None:
        await let_siblings_ask()
        dry_run.suspend()
    loop = get_running_loop()
    arrived: asyncio.Future[None] = loop.create_future()

    def go_on() -> None:
        if not arrived.done():
            arrived.set_result(None)

    def tell(_: Future[_Result]) -> None:
        # The loop of a test that gave up waiting is closed by now, which call_soon_threadsafe raises RuntimeError
        # for.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(go_on)

    # asyncio.wrap_future would cancel the call along with the waiter, and others may wait for the same answer.
    pending.add_done_callback(tell)
    await arrived
    return pending.result()


def _strand() -> object:
    """Return what asks in a thread that the test has started: an item of an executor, else the thread itself.

    A thread of a pool goes on with the next item after one was suspended, and that item rests on nothing less. The
    pool does not say which item it runs, but it is found among the callers.
    """
    return _work_item(sys._getframe(1)) or threading.current_thread()


def _work_item(frame: FrameType | None) -> object | None:
    """Return the item of an executor that a thread runs, or None."""
    pools = sys.modules.get("concurrent.futures.thread")
    if pools is None:
        return None
    # An item is nowhere but in this method's frame while it runs:
    # https://github.com/python/cpython/blob/3.13/Lib/concurrent/futures/thread.py
    runs = pools._WorkItem.run.__code__
    while frame is not None:
        if frame.f_code is runs:
            item: object = frame.f_locals["self"]
            return item
        frame = frame.f_back
    return None


def _is_waiting(frame: FrameType) -> bool:
    """Return whether a thread waits for another, by its innermost frame."""
    module, name = frame.f_globals.get("__name__"), frame.f_code.co_name
    if module == "concurrent.futures.thread" and name == "_worker":
        # It waits for the next item in a function written in C, which has no frame:
        # https://github.com/python/cpython/blob/3.13/Lib/concurrent/futures/thread.py
        names = frame.f_locals
        return names.get("work_item") is None and names["work_queue"].empty()
    if module not in WAITING_MODULES or name not in WAITS:
        return False
    caller: FrameType | None = frame
    while caller is not None and caller.f_globals.get("__name__") == "threading":
        # A thread that starts another waits for it to begin, and goes on: https://github.com/python/cpython/blob/3.13/Lib/threading.py
        if caller.f_code.co_name == "start":
            return False
        caller = caller.f_back
    return True
