"""The dispatcher: one flight per key, retries, limits, budget, and answers kept before they are handed out."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.cache.store import MemoryStore
from pytest_proofmap.calls.environment import CallEnvironment, answer_by_call
from pytest_proofmap.calls.lanes.lane import AttemptGoneError, LiveCall, SingleCallLane
from pytest_proofmap.calls.limits import CIRCUIT_FAILURES
from pytest_proofmap.calls.outcome import AttemptError, CallOutcome
from pytest_proofmap.calls.service.dispatcher import Dispatcher
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


class Model(SingleCallLane):
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
    return Dispatcher(store or MemoryStore(), model, rng=lambda: 1.0, **settings)


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    """Run a scenario to its end, or fail when it hangs."""
    return asyncio.run(asyncio.wait_for(scenario(), 20))


def test_answer_is_kept_before_it_is_handed_out() -> None:
    """When the caller learns of an answer, the store has it."""
    store = MemoryStore()

    async def scenario() -> None:
        outcome = await dispatcher(Model(), store).submit(live())
        assert outcome.answer == store.get("k")
        assert outcome.answer is not None
        assert (outcome.answer.attempts, outcome.answer.concurrency) == (1, 1)
        assert outcome.cost_usd == pytest.approx(0.010001)

    run(scenario)


def test_single_flight() -> None:
    """The same key asked for many times at once is called once; all but one share it."""

    async def scenario() -> None:
        model = Model()
        one = dispatcher(model)
        outcomes = await asyncio.gather(*(one.submit(live()) for _ in range(20)))
        assert model.calls == ["k"]
        assert sorted(outcome.shared for outcome in outcomes) == [False] + [True] * 19
        assert sum(outcome.cost_usd or 0 for outcome in outcomes) == pytest.approx(0.010001)

    run(scenario)


def test_store_is_looked_at_before_a_call() -> None:
    """What another process has answered meanwhile is not paid again."""

    async def scenario() -> None:
        store, model = MemoryStore(), Model()
        store.put("k", answer_to(live()))
        outcome = await dispatcher(model, store).submit(live())
        assert outcome.shared
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
        outcome = await dispatcher(model, store).submit(live())
        assert (outcome.shared, model.calls, store.leases) == (True, [], set())

    run(scenario)


def test_call_is_made_when_the_other_process_gives_it_up() -> None:
    """Whoever waits makes the call itself when the claim becomes free and there is no answer."""

    async def scenario() -> None:
        store, model = LeasedStore(3), Model()
        outcome = await dispatcher(model, store).submit(live())
        assert (outcome.shared, model.calls) == (False, ["k"])

    run(scenario)


def test_a_stuck_process_does_not_hold_up_for_ever() -> None:
    """After longer than any retries take, claims are no longer waited for."""

    async def scenario() -> None:
        store, model, ticks = LeasedStore(math.inf), Model(), itertools.count(step=100.0)
        one = dispatcher(model, store, clock=lambda: next(ticks))
        await one.submit(live())
        await one.submit(live("other"))
        assert model.calls == ["k", "other"]

    run(scenario)


def test_refresh_calls_each_key_once() -> None:
    """With refresh the stored answer is replaced, once in the run."""

    async def scenario() -> None:
        store, model = MemoryStore(), Model()
        store.put("k", answer_to(live(), tokens=1))
        one = dispatcher(model, store, refresh=True)
        first, second = await one.submit(live()), await one.submit(live())
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
        outcome = await dispatcher(Model(FAULT, FAULT), sleep=naps).submit(live())
        assert outcome.answer is not None
        assert outcome.answer.attempts == 3
        assert naps.taken == [0.5, 1.0]

    run(scenario)


def test_attempts_are_bounded() -> None:
    """In the end the last failure is reported, with the number of attempts."""

    async def scenario() -> None:
        model = Model(*[FAULT] * 9)
        failure = (await dispatcher(model).submit(live())).failure
        assert failure is not None
        assert (failure.kind, failure.error_class, failure.message) == ("call", "InternalServerError", "broken")
        assert failure.attempts == len(model.calls) == 5

    run(scenario)


def test_a_failed_request_is_not_sent_again_in_the_run() -> None:
    """Who asks again for what has failed gets the failure, where all that the call looked at is the same."""
    model = Model(AttemptError("BadRequestError", "no such parameter"))

    async def scenario() -> None:
        calls = dispatcher(model)
        first = await calls.submit(live(KEY="one", CASE="1"))
        again = await calls.submit(live(KEY="one", CASE="2"))
        assert first.failure is not None
        assert first.failure.environment == {"KEY": "one"}
        assert again.failure == first.failure
        assert len(model.calls) == 1
        assert (await calls.submit(live(KEY="two"))).answer is not None

    run(scenario)


def test_wrong_request_is_sent_once() -> None:
    """A request that the provider rejects is not repeated."""

    async def scenario() -> None:
        model = Model(AttemptError("BadRequestError", "no such parameter", status=400))
        outcome = await dispatcher(model).submit(live())
        assert outcome.failure is not None
        assert outcome.failure.attempts == 1

    run(scenario)


def test_rejected_credentials_stop_the_runtime() -> None:
    """After one 401 the other calls of the runtime are not made; other runtimes go on."""

    async def scenario() -> None:
        model = Model(AttemptError("AuthenticationError", "bad key", status=401, fatal_for_runtime=True))
        one = dispatcher(model)
        await one.submit(live("a"))
        stopped, other = await one.submit(live("b")), await one.submit(live("c", runtime="other"))
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
        await one.submit(live("a", KEY="bad"))
        assert (await one.submit(live("b", **other))).answer is not None
        stopped = await one.submit(live("c", KEY="bad", CASE="3"))
        assert stopped.failure is not None
        assert (stopped.failure.kind, stopped.failure.environment) == ("circuit", {"KEY": "bad"})
        assert model.calls == ["a", "b"]
        # What it rests on is the same for the next one that asks for the very same.
        assert (await one.submit(live("c", KEY="good"))).answer is not None

    run(scenario)


def test_a_flight_that_failed_for_another_key() -> None:
    """Who waited for a call that another key was refused for makes it with the own one."""

    async def scenario() -> None:
        gate = asyncio.Event()
        model = Model(
            AttemptError("AuthenticationError", "bad key", status=401, fatal_for_runtime=True), gate=gate
        )
        one = dispatcher(model)
        asked = [one.submit(live(KEY=key)) for key in ("bad", "good", "bad", "good")]
        tasks = [asyncio.create_task(each) for each in asked]
        await asyncio.sleep(0)
        gate.set()
        outcomes = [await task for task in tasks]
        assert [outcome.answer is not None for outcome in outcomes] == [False, True, False, True]
        assert model.calls == ["k", "k"]

    run(scenario)


@pytest.mark.parametrize("cancelled", [0, 1])
def test_nobody_owns_the_flight_that_it_waits_for(cancelled: int) -> None:
    """Whoever of those that asked is cancelled, the first one too, the others get the answer of the one call."""

    async def scenario() -> None:
        gate, store = asyncio.Event(), MemoryStore()
        model = Model(gate=gate)
        one = dispatcher(model, store)
        tasks = [asyncio.create_task(one.submit(live())) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[cancelled].cancel()
        await asyncio.sleep(0)
        gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes.pop(cancelled), asyncio.CancelledError)
        assert all(isinstance(outcome, CallOutcome) and outcome.answer == store.get("k") for outcome in outcomes)
        assert model.calls == ["k"]

    run(scenario)


def test_dead_provider_is_given_up() -> None:
    """A provider that only fails is no longer called, and the rest say why; another provider is called."""

    async def scenario() -> None:
        model = Model(*[FAULT] * 10_000)
        one = dispatcher(model, concurrency=4)
        outcomes = await asyncio.gather(*(one.submit(live(f"k{number}")) for number in range(200)))
        kinds = [outcome.failure.kind for outcome in outcomes if outcome.failure]
        assert len(kinds) == 200
        assert kinds.count("circuit") >= 200 - CIRCUIT_FAILURES - 4
        assert len(model.calls) <= (CIRCUIT_FAILURES + 4) * 5
        model.failures.clear()
        assert (await one.submit(live("other", provider="q"))).answer is not None

    run(scenario)


def test_rejected_requests_do_not_close_the_provider() -> None:
    """Requests that are themselves wrong say nothing against the provider."""

    async def scenario() -> None:
        wrong = AttemptError("BadRequestError", "no", status=400)
        model = Model(*[wrong] * (CIRCUIT_FAILURES + 5))
        one = dispatcher(model)
        for number in range(CIRCUIT_FAILURES + 5):
            await one.submit(live(f"k{number}"))
        assert (await one.submit(live("good"))).answer is not None

    run(scenario)


def test_concurrency_is_bounded() -> None:
    """No more calls are under way than configured."""

    async def scenario() -> None:
        model = Model()
        one = dispatcher(model, concurrency=3)
        await asyncio.gather(*(one.submit(live(f"k{number}")) for number in range(50)))
        assert model.most_under_way == 3

    run(scenario)


def test_budget_is_never_exceeded() -> None:
    """Calls beyond the budget are not made; what fits is, although their worst cases do not fit together."""

    async def scenario() -> tuple[list[CallOutcome], Model, float]:
        model = Model()
        one = dispatcher(model, budget_usd=0.055)
        outcomes = await asyncio.gather(*(one.submit(live(f"k{number}")) for number in range(30)))
        return outcomes, model, one.budget.spent_usd

    outcomes, model, spent = run(scenario)
    assert len(model.calls) == 5
    assert spent <= 0.055
    refused = [outcome.failure for outcome in outcomes if outcome.failure]
    assert len(refused) == 25
    assert {failure.kind for failure in refused} == {"budget"}
    assert "$0.055 is used up" in refused[0].message


def test_budget_needs_a_price() -> None:
    """A runtime of unknown price is not called under a budget."""

    async def scenario() -> None:
        model = Model()
        outcome = await dispatcher(model, budget_usd=1.0).submit(live(price=None))
        assert outcome.failure is not None
        assert outcome.failure.kind == "budget"
        assert "price" in outcome.failure.message
        assert model.calls == []

    run(scenario)


def test_doubtful_attempts_count_against_the_budget() -> None:
    """An attempt that may have been charged leaves its worst case reserved."""

    async def scenario() -> None:
        lost = AttemptError("Timeout", "", retryable=True, provider_fault=True, maybe_paid=True)
        model = Model(lost)
        one = dispatcher(model, budget_usd=0.025)
        assert (await one.submit(live("a"))).answer is not None
        assert one.budget.doubtful_usd > 0.01
        assert (await one.submit(live("b"))).failure is not None

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
        first, second = await one.submit(live("a")), await one.submit(live("b"))
        assert first.answer is not None
        assert first.failure is not None
        assert second.answer is None
        assert second.failure is not None
        assert (first.failure.kind, second.failure.kind) == ("store", "store")
        assert "no space left" in second.failure.message
        again = await one.submit(live("a", KEY="another"))
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
        failure = (await dispatcher(model, LostStore()).submit(live())).failure
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
        await one.submit(live())
        assert (await one.submit(live())).shared
        one.close()

    run(scenario)


def test_a_lane_of_its_own_and_its_successor() -> None:
    """A call can be made another way; when its maker dies, the next one who waits for the key makes it."""

    async def scenario() -> None:
        begun = asyncio.Event()
        gone: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        class First(SingleCallLane):
            async def attempt(self, call: LiveCall) -> Answer:
                begun.set()
                return await gone

        class Second(SingleCallLane):
            async def attempt(self, call: LiveCall) -> Answer:
                return answer_to(call, tokens=2)

        model = Model()
        one = dispatcher(model)
        leader = asyncio.create_task(one.submit(live(), First()))
        await begun.wait()
        follower = asyncio.create_task(one.submit(live(), Second()))
        await asyncio.sleep(0)
        gone.set_exception(AttemptGoneError())
        outcome = await follower
        assert outcome.answer is not None
        assert outcome.answer.usage.output_tokens == 2
        assert model.calls == []
        await leader

    run(scenario)


def test_drain_keeps_what_is_under_way() -> None:
    """At the end nothing new begins, and what was sent is still kept."""

    async def scenario() -> None:
        gate, store = asyncio.Event(), MemoryStore()
        model = Model(gate=gate)
        one = dispatcher(model, store, concurrency=1)
        tasks = [asyncio.create_task(one.submit(live(key))) for key in ("a", "b")]
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


def test_a_lane_that_sends_many_calls_at_once() -> None:
    """A lane may gather calls and answer them together, late: each caller gets its own outcome."""

    class Batch:
        """Sends what has come in when the third call is there, and answers all but one."""

        def __init__(self) -> None:
            self.sent: list[list[str]] = []
            self.waiting: list[tuple[LiveCall, asyncio.Future[CallOutcome]]] = []

        async def submit(self, calls: Sequence[LiveCall]) -> Sequence[CallOutcome]:
            futures = [asyncio.get_running_loop().create_future() for _ in calls]
            self.waiting += zip(calls, futures, strict=True)
            if len(self.waiting) == 3:
                self.sent.append([call.key for call, _ in self.waiting])
                expired = AttemptError("BatchExpiredError", "too late")
                for call, future in self.waiting:
                    is_late = call.key == "b"
                    future.set_result(
                        CallOutcome.failed_attempt(expired) if is_late else CallOutcome(answer_to(call))
                    )
            return [await future for future in futures]

    async def scenario() -> None:
        lane = Batch()
        batching = Dispatcher(MemoryStore(), lane)
        outcomes = await asyncio.gather(*(batching.submit(live(key)) for key in "abc"))
        assert lane.sent == [["a", "b", "c"]]
        assert [outcome.answer is not None for outcome in outcomes] == [True, False, True]
        assert [outcome.attempts for outcome in outcomes] == [1, 1, 1]

    run(scenario)


def test_calls_of_one_lane_are_made_side_by_side() -> None:
    """Many calls at once are made each in its own environment, and come back in their order."""

    class Echo(SingleCallLane):
        async def attempt(self, call: LiveCall) -> Answer:
            assert call.environment is not None
            before = os.environ["KEY"]
            await asyncio.sleep(0)
            assert os.environ["KEY"] == before == call.environment.variables["KEY"]
            if call.key == "b":
                raise AttemptError("Timeout", "late")
            return answer_to(call)

    async def scenario() -> list[bool]:
        outcomes = await Echo().submit([live(key, KEY=key) for key in "abc"])
        return [outcome.answer is not None for outcome in outcomes]

    kind = type(os.environ)
    answer_by_call()
    try:
        assert run(scenario) == [True, False, True]
    finally:
        os.environ.__class__ = kind


def test_an_answer_is_finished_before_it_is_kept() -> None:
    """What is done to every answer is done whichever lane gave it, and may find that it cannot be kept."""

    async def finish(call: LiveCall, outcome: CallOutcome) -> CallOutcome:
        if call.key == "deep":
            return CallOutcome.failed_attempt(AttemptError("InvalidResponseError", "deep", maybe_paid=True))
        assert outcome.answer is not None
        return outcome._replace(answer=outcome.answer._replace(litellm_usd=0.5))

    async def scenario() -> None:
        store = MemoryStore()
        finishing = dispatcher(Model(), store, finish=finish, budget_usd=1.0)
        failure = (await finishing.submit(live("deep"))).failure
        assert failure is not None
        assert (failure.error_class, failure.attempts) == ("InvalidResponseError", 1)
        assert finishing.budget.doubtful_usd > 0
        await finishing.submit(live("k"))
        kept = store.get("k")
        assert kept is not None
        assert kept.litellm_usd == 0.5

    run(scenario)
