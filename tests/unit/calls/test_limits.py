"""The limits of a provider: growth, rate limits, quotas, turns, and when it is given up."""

from __future__ import annotations

import asyncio
import math

import pytest

from pytest_proofmap.calls.limits import CIRCUIT_FAILURES, DOUBLING_S, START, Limits, ProviderLimit


def fill(limit: ProviderLimit, now: float) -> int:
    """Start as many calls as may start now and return how many are under way."""
    while limit.wait_s(now, 1) == 0:
        limit.start(now, 1)
    return limit.in_flight


def test_starts_modest() -> None:
    """At first only a few calls are under way."""
    assert fill(ProviderLimit(256), 0.0) == START


def test_doubles_while_nothing_goes_wrong() -> None:
    """A silent provider is trusted with 256 calls within a second or two, before its first answer."""
    limit, now = ProviderLimit(256), 0.0
    fill(limit, now)
    while limit.in_flight < 256:
        wait = limit.wait_s(now, 1)
        assert 0 < wait <= DOUBLING_S
        now += wait
        fill(limit, now)
    assert now <= 2.0


def test_never_exceeds_its_maximum() -> None:
    """A configured maximum holds, however well it goes."""
    limit = ProviderLimit(20)
    for step in range(100):
        fill(limit, step * DOUBLING_S)
        limit.succeed()
    assert limit.in_flight == 20
    assert limit.wait_s(1000.0, 1) == math.inf


def test_halves_once_per_episode() -> None:
    """Rate limits of calls that started before the halving do not halve again; a later one does."""
    limit = ProviderLimit(256)
    fill(limit, 0.0)
    for _ in range(5):
        limit.rate_limited(1.0, started_at=0.0, retry_after_s=None)
    assert limit.limit == START / 2
    limit.rate_limited(3.0, started_at=2.0, retry_after_s=None)
    assert limit.limit == START / 4


def test_grows_again_by_windows_of_successes() -> None:
    """After a rate limit, doubling is over and a whole window of successes raises the limit a little."""
    limit = ProviderLimit(256)
    fill(limit, 0.0)
    limit.rate_limited(1.0, started_at=0.0, retry_after_s=None)
    for _ in range(7):
        limit.succeed()
    assert limit.limit == 8
    limit.succeed()
    assert limit.limit == 9
    assert limit.wait_s(100.0, 1) == math.inf


@pytest.mark.parametrize(("asked", "waited"), [(7.0, 7.0), (3600.0, 60.0), (0.0, 0.0)])
def test_honours_retry_after(asked: float, waited: float) -> None:
    """Nothing is sent until Retry-After is over, but an absurd one is not obeyed to the letter."""
    limit = ProviderLimit(256)
    limit.start(0.0, 1)
    limit.rate_limited(1.0, started_at=0.0, retry_after_s=asked)
    limit.end()
    assert limit.wait_s(1.0, 1) == waited


def test_requests_per_minute() -> None:
    """No window of a minute holds more requests than rpm."""
    limit, now, starts = ProviderLimit(10_000, rpm=30), 0.0, list[float]()
    while now < 300:
        wait = limit.wait_s(now, 1)
        if wait == 0:
            limit.start(now, 1)
            limit.end()
            starts.append(now)
        now += wait
    assert all(later - earlier >= 60 - 1e-6 for earlier, later in zip(starts, starts[30:], strict=False))
    assert len(starts) >= 140, "the quota is also used"


def test_tokens_per_minute() -> None:
    """No window of a minute holds more tokens than tpm."""
    limit, now, sent = ProviderLimit(10_000, tpm=1000), 0.0, list[float]()
    while now < 300:
        wait = limit.wait_s(now, 300)
        if wait == 0:
            limit.start(now, 300)
            limit.end()
            sent.append(now)
        now += wait
    assert all(later - earlier >= 60 - 1e-6 for earlier, later in zip(sent, sent[3:], strict=False))
    assert len(sent) >= 15


def test_a_call_over_the_whole_quota_is_sent_alone() -> None:
    """A call of more tokens than a minute's quota is not held back for ever."""
    assert ProviderLimit(8, tpm=100).wait_s(0.0, 500) == 0


async def take(limits: Limits, provider: str, count: int) -> list[asyncio.Task[None]]:
    """Ask for turns and let those that may begin do so."""
    tasks = [asyncio.create_task(limits.acquire(provider, 1)) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def test_providers_do_not_wait_for_each_other() -> None:
    """A provider at its own limit leaves the common maximum to the others."""

    async def scenario() -> tuple[int, int]:
        limits = Limits(64, {"slow": {"concurrency": 2}}, clock=lambda: 0.0)
        slow, quick = await take(limits, "slow", 50), await take(limits, "quick", 10)
        begun = sum(task.done() for task in slow), sum(task.done() for task in quick)
        for task in slow:
            task.cancel()
        return begun

    assert asyncio.run(scenario()) == (2, 10)


def test_common_maximum() -> None:
    """All providers together never have more under way than the maximum, and share it."""

    async def scenario() -> tuple[int, int]:
        limits = Limits(4, {}, clock=lambda: 0.0)
        first, second = await take(limits, "a", 9), await take(limits, "b", 9)
        for _ in range(2):
            limits.release("a")
        await asyncio.sleep(0)
        begun = sum(task.done() for task in first), sum(task.done() for task in second)
        for task in [*first, *second]:
            task.cancel()
        return begun

    assert asyncio.run(scenario()) == (4, 2)


def test_a_repeated_attempt_goes_first() -> None:
    """A call that was begun is finished before new ones begin."""

    async def scenario() -> tuple[bool, bool]:
        limits = Limits(1, {}, clock=lambda: 0.0)
        await limits.acquire("p", 1)
        (fresh,) = await take(limits, "p", 1)
        again = asyncio.create_task(limits.acquire("p", 1, again=True))
        await asyncio.sleep(0)
        limits.release("p")
        await asyncio.sleep(0)
        done = fresh.done(), again.done()
        fresh.cancel()
        return done

    assert asyncio.run(scenario()) == (False, True)


def test_a_cancelled_turn_is_given_back() -> None:
    """Whoever is cancelled while he waits takes no turn with him."""

    async def scenario() -> int:
        limits = Limits(1, {}, clock=lambda: 0.0)
        tasks = await take(limits, "p", 2)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        limits.release("p")
        return limits.provider("p").limit.in_flight

    assert asyncio.run(scenario()) == 0


def test_circuit_opens_after_failures_without_a_success() -> None:
    """A provider that only fails is closed, with the reason; one success starts the count anew."""
    limits = Limits(8, {}, clock=lambda: 0.0)
    for _ in range(CIRCUIT_FAILURES - 1):
        limits.failed("p", "Timeout: nothing came")
    asyncio.run(limits.acquire("p", 1))
    limits.succeeded("p")
    for _ in range(CIRCUIT_FAILURES - 1):
        limits.failed("p", "Timeout: nothing came")
    assert limits.provider("p").closed is None
    limits.failed("p", "Timeout: nothing came")
    closed = limits.provider("p").closed
    assert closed is not None
    assert "'p'" in closed
    assert "Timeout: nothing came" in closed
