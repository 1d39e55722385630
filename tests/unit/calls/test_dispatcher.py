"""The dispatcher: one flight per key, retries, limits, budget, and answers kept before they are handed out."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pytest_proofmap.calls.answer import Answer, AttemptError, LiveCall
from pytest_proofmap.calls.cache.store import MemoryStore
from pytest_proofmap.calls.environment import CallEnvironment
from pytest_proofmap.calls.limits import CIRCUIT_FAILURES
from pytest_proofmap.calls.service.dispatcher import AttemptGoneError, Dispatcher
from pytest_proofmap.calls.service.protocol import Landing
from pytest_proofmap.errors import StoreError
from pytest_proofmap.evidence.models import Price

PRICE = Price(input_per_mtok=1.0, output_per_mtok=1000.0)
FAULT = AttemptError("InternalServerError", "broken", retryable=True, status=500, provider_fault=True)


def live(
    key: str = "k",
    *,
    runtime: str = "r",
    provider: str = "p",
    price: Price | None = PRICE,
    api_base: str = "",
    **variables: str,
) -> LiveCall:
    """Return a call that may answer with at most 10 tokens, and is asked under some environment variables."""
    request = {"model": "p/m", "messages": [{"role": "user", "content": key}], "params": {"max_tokens": 10}}
    transport = {"api_base": api_base} if api_base else {}
    return LiveCall(key, runtime, provider, request, transport, price, CallEnvironment(variables))


def answer_to(call: LiveCall, tokens: int = 10) -> Answer:
    """Return an answer of so many tokens."""
    response = {
        "choices": [{"message": {"content": "ok"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": tokens},
    }
    return Answer(request=call.request, response=response)


class Model:
    """A model that answers or fails as told, and counts."""

    def __init__(self, *failures: AttemptError, gate: asyncio.Event | None = None) -> None:
        self.failures = list(failures)
        self.gate = gate
        self.calls: list[str] = []
        self.under_way = 0
        self.most_under_way = 0

    async def attempt(self, call: LiveCall) -> Answer:
        """Answer once the gate is open, unless a failure is left."""
        self.calls.append(call.key)
        assert call.environment is not None
        call.environment.get("KEY")
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await (self.gate.wait() if self.gate else asyncio.sleep(0))
        self.under_way -= 1
        if self.failures:
            raise self.failures.pop(0)
        return answer_to(call)


class Naps:
    """Stands for sleeping: returns at once and remembers how long it would have been."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Remember a nap."""
        self.taken.append(seconds)


def dispatcher(model: Model, store: Any = None, **settings: Any) -> Dispatcher:
    """Return a dispatcher without real delays."""
    settings.setdefault("sleep", Naps())
    return Dispatcher(store or MemoryStore(), model.attempt, rng=lambda: 1.0, **settings)


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    """Run a scenario to its end, or fail when it hangs."""
    return asyncio.run(asyncio.wait_for(scenario(), 20))


def test_answer_is_kept_before_it_is_handed_out() -> None:
    """When the caller learns of an answer, the store has it."""
    store = MemoryStore()

    async def scenario() -> None:
        landing = await dispatcher(Model(), store).call(live())
        assert landing.answer == store.get("k")
        assert landing.answer is not None
        assert (landing.answer.attempts, landing.answer.concurrency) == (1, 1)
        assert landing.cost_usd == pytest.approx(0.010001)

    run(scenario)


def test_single_flight() -> None:
    """The same key asked for many times at once is called once; all but one share it."""

    async def scenario() -> None:
        model = Model()
        one = dispatcher(model)
        landings = await asyncio.gather(*(one.call(live()) for _ in range(20)))
        assert model.calls == ["k"]
        assert sorted(landing.shared for landing in landings) == [False] + [True] * 19
        assert sum(landing.cost_usd or 0 for landing in landings) == pytest.approx(0.010001)

    run(scenario)


def test_store_is_looked_at_before_a_call() -> None:
    """What another process has answered meanwhile is not paid again."""

    async def scenario() -> None:
        store, model = MemoryStore(), Model()
        store.put("k", answer_to(live()))
        landing = await dispatcher(model, store).call(live())
        assert landing.shared
        assert model.calls == []

    run(scenario)


class LeasedStore(MemoryStore):
    """A store whose leases another process holds for the first few times that they are asked for."""

    def __init__(self, held: float, answer: Answer | None = None) -> None:
        super().__init__()
        self.held = held
        self.leases: set[str] = set()
        self._left = answer

    def claim(self, key: str, seconds: float) -> bool:
        """Take a lease; just before it is granted the other process leaves its answer."""
        self.held -= 1
        if self.held >= 0:
            return False
        if self._left is not None:
            self.put(key, self._left)
        self.leases.add(key)
        return True

    def give_back(self, key: str) -> None:
        """Give a lease back."""
        self.leases.remove(key)


@pytest.mark.parametrize("held", [0, 1, 5])
def test_answer_left_just_before_the_claim_is_found(held: int) -> None:
    """Between a look into the store and the claim the other process may have finished: it is looked again."""

    async def scenario() -> None:
        store, model = LeasedStore(held, answer_to(live())), Model()
        landing = await dispatcher(model, store).call(live())
        assert (landing.shared, model.calls, store.leases) == (True, [], set())

    run(scenario)


def test_call_is_made_when_the_other_process_gives_it_up() -> None:
    """Whoever waits makes the call itself when the claim becomes free and there is no answer."""

    async def scenario() -> None:
        store, model = LeasedStore(3), Model()
        landing = await dispatcher(model, store).call(live())
        assert (landing.shared, model.calls) == (False, ["k"])

    run(scenario)


def test_a_stuck_process_does_not_hold_up_for_ever() -> None:
    """After longer than any retries take, claims are no longer waited for."""

    async def scenario() -> None:
        store, model, ticks = LeasedStore(math.inf), Model(), itertools.count(step=100.0)
        one = dispatcher(model, store, clock=lambda: next(ticks))
        await one.call(live())
        await one.call(live("other"))
        assert model.calls == ["k", "other"]

    run(scenario)


def test_refresh_calls_each_key_once() -> None:
    """With refresh the stored answer is replaced, once in the run."""

    async def scenario() -> None:
        store, model = MemoryStore(), Model()
        store.put("k", answer_to(live(), tokens=1))
        one = dispatcher(model, store, refresh=True)
        first, second = await one.call(live()), await one.call(live())
        assert model.calls == ["k"]
        assert (first.shared, second.shared) == (False, True)
        kept = store.get("k")
        assert kept is not None
        assert kept.usage.output_tokens == 10

    run(scenario)


def test_faults_are_retried() -> None:
    """A fault is retried with growing delays, and the answer tells the attempts."""

    async def scenario() -> None:
        naps = Naps()
        landing = await dispatcher(Model(FAULT, FAULT), sleep=naps).call(live())
        assert landing.answer is not None
        assert landing.answer.attempts == 3
        assert naps.taken == [0.5, 1.0]

    run(scenario)


def test_attempts_are_bounded() -> None:
    """In the end the last failure is reported, with the number of attempts."""

    async def scenario() -> None:
        model = Model(*[FAULT] * 9)
        failure = (await dispatcher(model).call(live())).failure
        assert failure is not None
        assert (failure.kind, failure.error_class, failure.message) == ("call", "InternalServerError", "broken")
        assert failure.attempts == len(model.calls) == 5

    run(scenario)


def test_a_failed_request_is_not_sent_again_in_the_run() -> None:
    """Who asks again for what has failed gets the failure, where all that the call looked at is the same."""
    model = Model(AttemptError("BadRequestError", "no such parameter"))

    async def scenario() -> None:
        calls = dispatcher(model)
        first = await calls.call(live(KEY="one", CASE="1"))
        again = await calls.call(live(KEY="one", CASE="2"))
        assert first.failure is not None
        assert first.failure.environment == ("KEY",)
        assert again.failure == first.failure
        assert len(model.calls) == 1
        assert (await calls.call(live(KEY="two"))).answer is not None

    run(scenario)


def test_wrong_request_is_sent_once() -> None:
    """A request that the provider rejects is not repeated."""

    async def scenario() -> None:
        model = Model(AttemptError("BadRequestError", "no such parameter", status=400))
        landing = await dispatcher(model).call(live())
        assert landing.failure is not None
        assert landing.failure.attempts == 1

    run(scenario)


def test_rejected_credentials_stop_the_runtime() -> None:
    """After one 401 the other calls of the runtime are not made; other runtimes go on."""

    async def scenario() -> None:
        model = Model(AttemptError("AuthenticationError", "bad key", status=401, fatal_for_runtime=True))
        one = dispatcher(model)
        await one.call(live("a"))
        stopped, other = await one.call(live("b")), await one.call(live("c", runtime="other"))
        assert model.calls == ["a", "c"]
        assert stopped.failure is not None
        assert stopped.failure.kind == "circuit"
        assert stopped.failure.error_class == "AuthenticationError"
        assert "bad key" in stopped.failure.message
        assert other.answer is not None

    run(scenario)


@pytest.mark.parametrize("other", [{"KEY": "good"}, {"api_base": "http://elsewhere"}, {"KEY": "", "CASE": "2"}])
def test_a_stop_holds_for_what_it_was_told_of(other: dict[str, Any]) -> None:
    """A 401 stops neither calls with another key or address, nor is it forgotten when something else changes."""

    async def scenario() -> None:
        rejected = AttemptError("AuthenticationError", "bad key", status=401, fatal_for_runtime=True)
        model = Model(rejected)
        one = dispatcher(model)
        await one.call(live("a", KEY="bad"))
        assert (await one.call(live("b", **other))).answer is not None
        stopped = await one.call(live("c", KEY="bad", CASE="3"))
        assert stopped.failure is not None
        assert (stopped.failure.kind, stopped.failure.environment) == ("circuit", ("KEY",))
        assert model.calls == ["a", "b"]
        # What it rests on is the same for the next one that asks for the very same.
        assert (await one.call(live("c", KEY="good"))).answer is not None

    run(scenario)


def test_a_flight_that_failed_for_another_key() -> None:
    """Who waited for a call that another key was refused for makes it with the own one."""

    async def scenario() -> None:
        gate = asyncio.Event()
        model = Model(
            AttemptError("AuthenticationError", "bad key", status=401, fatal_for_runtime=True), gate=gate
        )
        one = dispatcher(model)
        asked = [one.call(live(KEY=key)) for key in ("bad", "good", "bad", "good")]
        tasks = [asyncio.create_task(each) for each in asked]
        await asyncio.sleep(0)
        gate.set()
        landings = [await task for task in tasks]
        assert [landing.answer is not None for landing in landings] == [False, True, False, True]
        assert model.calls == ["k", "k"]

    run(scenario)


@pytest.mark.parametrize("cancelled", [0, 1])
def test_nobody_owns_the_flight_that_it_waits_for(cancelled: int) -> None:
    """Whoever of those that asked is cancelled, the first one too, the others get the answer of the one call."""

    async def scenario() -> None:
        gate, store = asyncio.Event(), MemoryStore()
        model = Model(gate=gate)
        one = dispatcher(model, store)
        tasks = [asyncio.create_task(one.call(live())) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[cancelled].cancel()
        await asyncio.sleep(0)
        gate.set()
        landings = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(landings.pop(cancelled), asyncio.CancelledError)
        assert all(isinstance(landing, Landing) and landing.answer == store.get("k") for landing in landings)
        assert model.calls == ["k"]

    run(scenario)


def test_dead_provider_is_given_up() -> None:
    """A provider that only fails is no longer called, and the rest say why; another provider is called."""

    async def scenario() -> None:
        model = Model(*[FAULT] * 10_000)
        one = dispatcher(model, concurrency=4)
        landings = await asyncio.gather(*(one.call(live(f"k{number}")) for number in range(200)))
        kinds = [landing.failure.kind for landing in landings if landing.failure]
        assert len(kinds) == 200
        assert kinds.count("circuit") >= 200 - CIRCUIT_FAILURES - 4
        assert len(model.calls) <= (CIRCUIT_FAILURES + 4) * 5
        model.failures.clear()
        assert (await one.call(live("other", provider="q"))).answer is not None

    run(scenario)


def test_rejected_requests_do_not_close_the_provider() -> None:
    """Requests that are themselves wrong say nothing against the provider."""

    async def scenario() -> None:
        wrong = AttemptError("BadRequestError", "no", status=400)
        model = Model(*[wrong] * (CIRCUIT_FAILURES + 5))
        one = dispatcher(model)
        for number in range(CIRCUIT_FAILURES + 5):
            await one.call(live(f"k{number}"))
        assert (await one.call(live("good"))).answer is not None

    run(scenario)


def test_concurrency_is_bounded() -> None:
    """No more calls are under way than configured."""

    async def scenario() -> None:
        model = Model()
        one = dispatcher(model, concurrency=3)
        await asyncio.gather(*(one.call(live(f"k{number}")) for number in range(50)))
        assert model.most_under_way == 3

    run(scenario)


def test_budget_is_never_exceeded() -> None:
    """Calls beyond the budget are not made; what fits is, although their worst cases do not fit together."""

    async def scenario() -> tuple[list[Landing], Model, float]:
        model = Model()
        one = dispatcher(model, budget_usd=0.055)
        landings = await asyncio.gather(*(one.call(live(f"k{number}")) for number in range(30)))
        return landings, model, one.budget.spent_usd

    landings, model, spent = run(scenario)
    assert len(model.calls) == 5
    assert spent <= 0.055
    refused = [landing.failure for landing in landings if landing.failure]
    assert len(refused) == 25
    assert {failure.kind for failure in refused} == {"budget"}
    assert "$0.055 is used up" in refused[0].message


def test_budget_needs_a_price() -> None:
    """A runtime of unknown price is not called under a budget."""

    async def scenario() -> None:
        model = Model()
        landing = await dispatcher(model, budget_usd=1.0).call(live(price=None))
        assert landing.failure is not None
        assert landing.failure.kind == "budget"
        assert "price" in landing.failure.message
        assert model.calls == []

    run(scenario)


def test_doubtful_attempts_count_against_the_budget() -> None:
    """An attempt that may have been charged leaves its worst case reserved."""

    async def scenario() -> None:
        lost = AttemptError("Timeout", "", retryable=True, provider_fault=True, maybe_paid=True)
        model = Model(lost)
        one = dispatcher(model, budget_usd=0.025)
        assert (await one.call(live("a"))).answer is not None
        assert one.budget.doubtful_usd > 0.01
        assert (await one.call(live("b"))).failure is not None

    run(scenario)


class FullStore(MemoryStore):
    """A store that cannot keep anything."""

    def put(self, key: str, answer: Answer) -> None:
        """Fail."""
        raise StoreError("no space left")


def test_unkept_answer_is_loud_and_the_last() -> None:
    """An answer that cannot be kept is delivered with the failure to all who ask for it; no more is paid."""

    async def scenario() -> None:
        model = Model()
        one = dispatcher(model, FullStore())
        first, second = await one.call(live("a")), await one.call(live("b"))
        assert first.answer is not None
        assert first.failure is not None
        assert second.answer is None
        assert second.failure is not None
        assert (first.failure.kind, second.failure.kind) == ("store", "store")
        assert "no space left" in second.failure.message
        again = await one.call(live("a", KEY="another"))
        assert again.answer is first.answer
        assert model.calls == ["a"]

    run(scenario)


class LostStore(MemoryStore):
    """A store that cannot be reached any more."""

    def get(self, key: str) -> Answer | None:
        """Fail."""
        raise StoreError("connection lost")


def test_nothing_is_paid_when_the_store_is_lost() -> None:
    """A store that fails already when it is read would not keep the answer."""

    async def scenario() -> None:
        model = Model()
        failure = (await dispatcher(model, LostStore()).call(live())).failure
        assert failure is not None
        assert failure.kind == "store"
        assert "connection lost" in failure.message
        assert model.calls == []

    run(scenario)


def test_remote_store_is_asked_in_its_own_thread() -> None:
    """A store behind a network gives the same results."""

    async def scenario() -> None:
        store, model = MemoryStore(), Model()
        one = dispatcher(model, store, store_is_remote=True)
        await one.call(live())
        assert (await one.call(live())).shared
        one.close()

    run(scenario)


def test_own_attempt_and_its_successor() -> None:
    """A call can be made another way; when its maker dies, the next one who waits for the key makes it."""

    async def scenario() -> None:
        begun = asyncio.Event()
        gone: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        async def first(call: LiveCall) -> Answer:
            begun.set()
            return await gone

        async def second(call: LiveCall) -> Answer:
            return answer_to(call, tokens=2)

        model = Model()
        one = dispatcher(model)
        leader = asyncio.create_task(one.call(live(), first))
        await begun.wait()
        follower = asyncio.create_task(one.call(live(), second))
        await asyncio.sleep(0)
        gone.set_exception(AttemptGoneError())
        landing = await follower
        assert landing.answer is not None
        assert landing.answer.usage.output_tokens == 2
        assert model.calls == []
        await leader

    run(scenario)


def test_drain_keeps_what_is_under_way() -> None:
    """At the end nothing new begins, and what was sent is still kept."""

    async def scenario() -> None:
        gate, store = asyncio.Event(), MemoryStore()
        model = Model(gate=gate)
        one = dispatcher(model, store, concurrency=1)
        tasks = [asyncio.create_task(one.call(live(key))) for key in ("a", "b")]
        while not model.calls:
            await asyncio.sleep(0)
        draining = asyncio.create_task(one.drain(60.0))
        await asyncio.sleep(0)
        gate.set()
        await draining
        assert store.get("a") is not None
        assert model.calls == ["a"]
        late = (await tasks[1]).failure
        assert late is not None
        assert "over" in late.message

    run(scenario)
