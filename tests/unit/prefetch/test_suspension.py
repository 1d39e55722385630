"""How a sample waits: whose request is sent in a dry run, and what is raised where."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pytest_proofmap.errors import CallError
from pytest_proofmap.prefetch.suspension import DryRun, Suspended, let_siblings_ask, wait, wait_async


def ask(dry_run: DryRun, key: str, position: int = 0) -> None:
    """Ask for something that is not there, as the engine does."""
    dry_run.meet()
    dry_run.admit(key, position)
    pending: Future[str] = Future()
    dry_run.pending.append(pending)
    wait(pending, dry_run)


def in_thread(body: Callable[[], object]) -> BaseException | None:
    """Run something in a thread; return what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            body()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def test_a_real_run_waits() -> None:
    """Without a dry run the answer is waited for."""
    pending: Future[str] = Future()
    threading.Timer(0.01, lambda: pending.set_result("answer")).start()
    assert wait(pending, None) == "answer"


def test_a_dry_run_is_suspended_and_asks_nothing_more() -> None:
    """After the suspension whatever the test asks rests on nothing."""
    dry_run = DryRun()
    dry_run.enter("call")
    with pytest.raises(Suspended):
        ask(dry_run, "a")
    with pytest.raises(Suspended):
        ask(dry_run, "b", 1)
    assert len(dry_run.pending) == 1
    assert dry_run.suspended


def test_siblings_ask_until_the_test_itself_is_suspended() -> None:
    """Each thread asks once; a thread that was suspended asks nothing more, and neither does the test."""
    dry_run = DryRun()
    dry_run.enter("call")

    def twice() -> None:
        with pytest.raises(Suspended):
            ask(dry_run, "a")
        ask(dry_run, "a2", 1)

    assert isinstance(in_thread(twice), Suspended)
    assert isinstance(in_thread(lambda: ask(dry_run, "b", 1)), Suspended)
    assert len(dry_run.pending) == 2
    with pytest.raises(Suspended):
        ask(dry_run, "c", 2)
    assert len(dry_run.pending) == 2
    assert dry_run.is_unordered


def test_each_item_of_a_pool_asks_for_itself() -> None:
    """A pool's only thread goes on with the next item after one was suspended."""
    dry_run = DryRun()
    dry_run.enter("call")
    with ThreadPoolExecutor(1) as pool:
        asked = [pool.submit(ask, dry_run, key) for key in "abc"]
        assert all(isinstance(each.exception(), Suspended) for each in asked)
    assert len(dry_run.pending) == 3


def test_the_test_may_ask_while_its_threads_are_held() -> None:
    """A thread is not suspended at once: what the test asks meanwhile cannot rest on that."""
    dry_run = DryRun()
    dry_run.enter("call")
    asked = threading.Event()

    def in_background() -> None:
        dry_run.meet()
        dry_run.admit("a", 0)
        dry_run.pending.append(Future())
        asked.set()
        dry_run.suspend()

    thread = threading.Thread(target=lambda: in_thread(in_background))
    thread.start()
    assert asked.wait(30)
    with pytest.raises(Suspended):
        ask(dry_run, "b", 1)
    thread.join()
    assert len(dry_run.pending) == 2


def test_a_request_at_the_same_position_must_be_the_same() -> None:
    """One that differs from the dry run before is not sent; one beyond them is the next turn."""
    dry_run = DryRun(["a", "b"])
    dry_run.enter("call")
    with pytest.raises(Suspended):
        ask(dry_run, "other", 1)
    assert dry_run.differs_at == 1
    assert dry_run.pending == []

    dry_run = DryRun(["a", "b"])
    dry_run.enter("call")
    with pytest.raises(Suspended):
        ask(dry_run, "c", 2)
    assert dry_run.differs_at is None
    assert len(dry_run.pending) == 1


def test_a_run_that_only_plans_sends_nothing() -> None:
    """Its dry runs are suspended before anything is sent."""
    dry_run = DryRun(sends=False)
    dry_run.enter("call")
    with pytest.raises(Suspended):
        ask(dry_run, "a")
    assert dry_run.pending == []
    assert dry_run.suspended


@pytest.mark.parametrize("is_suspended", [True, False])
def test_a_miss_in_a_teardown_is_an_ordinary_error(is_suspended: bool) -> None:
    """It breaks no other finalizer; it is sent where the test itself was not suspended."""
    dry_run = DryRun()
    dry_run.enter("call")
    if is_suspended:
        with pytest.raises(Suspended):
            ask(dry_run, "a")
    dry_run.enter("teardown")
    with pytest.raises(CallError):
        ask(dry_run, "of teardown", 1)
    assert len(dry_run.pending) == 1
    assert dry_run.suspended is is_suspended


def test_nothing_is_sent_after_the_end() -> None:
    """A thread that outlives its dry run, or a fixture that kept its runtime, sends nothing."""
    dry_run = DryRun()
    dry_run.enter("over")
    assert isinstance(in_thread(lambda: ask(dry_run, "a")), Suspended)
    with pytest.raises(CallError):
        ask(dry_run, "b")
    assert dry_run.pending == []


def test_gathered_calls_all_ask() -> None:
    """Tasks ask before the first of them is suspended, and what a test asks after that is not sent."""
    dry_run = DryRun()
    dry_run.enter("call")

    async def ask_in_task(key: str) -> None:
        await let_siblings_ask()
        dry_run.admit(key, 0)
        pending: Future[str] = Future()
        dry_run.pending.append(pending)
        await wait_async(pending, dry_run)

    async def test() -> None:
        results = await asyncio.gather(*(ask_in_task(key) for key in "abc"), return_exceptions=True)
        assert all(isinstance(result, Suspended) for result in results)
        await ask_in_task("d")

    with pytest.raises(Suspended):
        asyncio.run(test())
    assert len(dry_run.pending) == 3


def test_a_waiter_that_is_cancelled_leaves_the_call_alone() -> None:
    """Others wait for the same answer, and its arrival after the loop's end harms nobody."""
    pending: Future[str] = Future()

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wait_async(pending, None), 0.01)

    asyncio.run(give_up())
    assert not pending.cancelled()
    pending.set_result("answer")

    async def go_on() -> str:
        return await wait_async(pending, None)

    assert asyncio.run(go_on()) == "answer"
