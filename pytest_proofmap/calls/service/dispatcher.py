"""Admits live calls: one flight per key, limits, retries, budget; each answer is kept before it is handed out.

It knows neither sockets nor LiteLLM: how a call is made is up to the lane that it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.budget import Budget, input_tokens_at_most, output_tokens_at_most, worst_case_usd
from pytest_proofmap.calls.cache.disk import Holder
from pytest_proofmap.calls.cache.store import AnswerStore, SharedStore
from pytest_proofmap.calls.costs import answer_cost
from pytest_proofmap.calls.lanes.lane import AttemptGoneError, Lane, LiveCall
from pytest_proofmap.calls.limits import Limits, RetryPolicy
from pytest_proofmap.calls.outcome import AttemptError, CallOutcome, Failure
from pytest_proofmap.calls.prices import max_output_tokens
from pytest_proofmap.errors import StoreError

__all__ = ["Dispatcher", "Finish"]

_Result = TypeVar("_Result")

Finish = Callable[[LiveCall, CallOutcome], Awaitable[CallOutcome]]
"""Makes an answer fit to be kept, whichever lane gave it."""

STORE_THREADS = 16
"""Commands to a store behind a network that are under way at once."""

LEASE_MARGIN_S = 10.0
"""A lease outlives the timeout of the attempt that it covers by this."""

POLL_S = (0.05, 1.0)
"""First and longest pause between two looks for an answer that another process is getting."""

HELD_AT_MOST_S = 600.0
"""A call that another process has claimed for longer is taken for stuck: no retries take that long."""

STOPPED_AT_MOST_S = 10.0
"""So long a call is waited for whose process somebody has stopped: it may never go on."""

BYTES_PER_TOKEN = 4
"""For counting against tokens per minute, where the typical size matters and not the worst one."""


@dataclass(slots=True)
class Progress:
    """What a dispatcher has done so far."""

    in_flight: int = 0
    waiting: int = 0
    done: int = 0


@dataclass(frozen=True, slots=True)
class _Basis:
    """What a failure rests on; it tells nothing of a call for which any of that is different."""

    transport: Mapping[str, Any]
    environment: Mapping[str, str | None]

    @classmethod
    def of(cls, call: LiveCall) -> _Basis:
        """Return what a call has rested on so far."""
        return cls(_reached_by(call), dict(call.environment.looked_at) if call.environment is not None else {})

    def holds(self, call: LiveCall) -> bool:
        """Return whether it is the same for a call."""
        if self.transport != _reached_by(call):
            return False
        variables = call.environment.variables if call.environment is not None else self.environment
        return all(variables.get(name) == value for name, value in self.environment.items())


def _reached_by(call: LiveCall) -> dict[str, Any]:
    """Return how a model is reached, without how long that may take."""
    return {name: value for name, value in call.transport.items() if name != "timeout_s"}


@dataclass(slots=True, eq=False)
class _Flight:
    lanes: list[Lane]
    """The ways to make the call; the second is for when the one that the first one needs is gone."""
    outcome: asyncio.Task[CallOutcome] = field(init=False)
    basis: _Basis | None = None
    """What its failure rests on, once it has failed."""


async def _as_it_is(_: LiveCall, outcome: CallOutcome) -> CallOutcome:
    return outcome


def _cause(outcome: CallOutcome) -> AttemptError:
    """Return what the attempt met that gave an outcome without an answer."""
    assert outcome.failure is not None
    assert outcome.failure.cause is not None
    return outcome.failure.cause


class Dispatcher:
    """Answers live calls.

    Args:
        store: Where answers are kept.
        lane: Makes the calls.
        finish: Makes answers fit to be kept.
        concurrency: Calls under way at once, all providers together.
        limits: By provider: ``rpm``, ``tpm`` and ``concurrency``.
        budget_usd: What may be spent, or None.
        store_is_remote: Whether the store waits for a network, which then threads of its own do.
        refresh: Call each key once although the store has it.
        run: Id of the run that pays, which is kept with its answers.
        tell: Says to the user what the run waits for.
        policy: When to try again.
        clock: Monotonic time in seconds.
        sleep: Waits for a number of seconds.
        rng: Returns a number in [0, 1).
    """

    def __init__(
        self,
        store: AnswerStore,
        lane: Lane,
        *,
        finish: Finish = _as_it_is,
        concurrency: int = 32,
        limits: Mapping[str, Mapping[str, Any]] | None = None,
        budget_usd: float | None = None,
        store_is_remote: bool = False,
        refresh: bool = False,
        run: str | None = None,
        tell: Callable[[str], None] = lambda _: None,
        policy: RetryPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.budget = Budget(budget_usd)
        self.limits = Limits(concurrency, limits or {}, clock=clock)
        self.progress = Progress()
        self.closing = False
        """Once set, no further attempt is started."""
        self._store = store
        self._lane = lane
        self._finish = finish
        self._refresh = refresh
        self._run = run
        self._policy = policy or RetryPolicy()
        self._clock = clock
        self._sleep = sleep
        self._random = rng
        self._flights: dict[str, _Flight] = {}
        self._answered: set[str] = set()
        self._stopped: dict[str, list[tuple[_Basis, Failure]]] = {}
        self._failed: dict[str, list[tuple[_Basis | None, CallOutcome]]] = {}
        self._unsaved: str | None = None
        self._has_settled = asyncio.Event()
        self._store_threads = (
            ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store") if store_is_remote else None
        )
        self._shared = store if isinstance(store, SharedStore) and not refresh else None
        self._leases: set[str] = set()
        # A store on another machine cannot tell.
        self._holder_of: Callable[[str], Holder | None] | None = getattr(self._shared, "holder", None)
        self._unclaimed: set[str] = set()
        """Calls that are made although another process has claimed them: it was waited for long enough."""
        self._tell = tell
        self._told: set[int] = set()

    async def submit(self, call: LiveCall, lane: Lane | None = None) -> CallOutcome:
        """Answer a call: by the flight of its key that is under way, from the store, or live.

        Nobody owns the flight that it waits for: a caller that is cancelled leaves it to the others.

        Args:
            call: What to ask.
            lane: Another way than the dispatcher's own to make it.
        """
        while (flight := self._flights.get(call.key)) is not None:
            if lane is not None:
                flight.lanes.append(lane)
            outcome = await asyncio.shield(flight.outcome)
            # Without the other's key or address this call may well be answered.
            if outcome.failure is None or flight.basis is None or flight.basis.holds(call):
                return outcome._replace(shared=outcome.answer is not None, cost_usd=None)
        for basis, failed in self._failed.get(call.key, ()):
            if basis is None or basis.holds(call):
                return failed
        flight = self._flights[call.key] = _Flight([lane or self._lane])
        self.progress.waiting += 1
        flight.outcome = asyncio.get_running_loop().create_task(self._settle(call, flight))
        return await asyncio.shield(flight.outcome)

    async def _settle(self, call: LiveCall, flight: _Flight) -> CallOutcome:
        """Make a call, and take down what came of it; never raises."""
        try:
            outcome = await self._make(call, flight)
            await self._give_back(call, outcome)
        except StoreError as error:
            self._unsaved = f"the answers cannot be shared: {error}"
            outcome = CallOutcome.failed("StoreError", str(error), kind="store")
        except Exception as error:
            # A fault of our own: the callers must not wait for ever, and the log tells where it was.
            traceback.print_exc()
            outcome = CallOutcome.failed(
                "CallServiceError", f"the call service failed: {type(error).__name__}: {error}"
            )
        finally:
            del self._flights[call.key]
            self.progress.waiting -= 1
            self.progress.done += 1
        failure = outcome.failure
        if failure is not None and failure.kind in ("call", "circuit"):
            basis = flight.basis = flight.basis or _Basis.of(call)
            outcome = outcome._replace(failure=replace(failure, environment=basis.environment))
        if failure is not None and (failure.kind == "call" or outcome.answer is not None):
            # Another worker that asks for it must not send it again with all its retries, and gets what could
            # not be kept from here alone.
            self._failed.setdefault(call.key, []).append((flight.basis, outcome))
        return outcome

    async def drain(self, timeout_s: float) -> None:
        """Start nothing more and wait for what is under way, so that what is paid is kept."""
        self.closing = True
        under_way = [flight.outcome for flight in self._flights.values()] if self.progress.in_flight else []
        deadline = self._clock() + timeout_s
        while self.progress.in_flight and under_way and self._clock() < deadline:
            await asyncio.wait(
                under_way, timeout=max(0.0, deadline - self._clock()), return_when=asyncio.FIRST_COMPLETED
            )
            under_way = [outcome for outcome in under_way if not outcome.done()]

    def close(self) -> None:
        """Finish the writes and close the store."""
        if self._store_threads is not None:
            self._store_threads.shutdown(wait=True)
        self._store.close()

    async def _make(self, call: LiveCall, flight: _Flight) -> CallOutcome:
        """Wait for a turn, make the call, and again while that may help."""
        tokens = self._typical_tokens(call)
        attempts, spent_s = 0, 0.0
        while True:
            await self.limits.acquire(call.provider, tokens, again=attempts > 0)
            held = True
            try:
                refusal = self._refusal(call, flight, attempts)
                if refusal is not None:
                    return CallOutcome(failure=refusal)
                if not await self._claim(call):
                    self.limits.release(call.provider)
                    held = False
                    stored = await self._wait_elsewhere(call)
                    if stored is not None:
                        return CallOutcome(stored, shared=True)
                    continue
                # After the claim: whoever had it before may just have kept the answer.
                stored = await self._find(call.key) if attempts == 0 else None
                if stored is not None:
                    return CallOutcome(stored, shared=True)
                granted = await self._reserve(call)
                if isinstance(granted, Failure):
                    return CallOutcome(failure=granted)
                attempts += 1
                began_at = self._clock()
                outcome = await self._try(call, flight, attempts, granted)
                if outcome.answer is not None:
                    self.limits.release(call.provider)
                    held = False
                    return await self._keep(call, outcome)
            finally:
                if held:
                    self.limits.release(call.provider)
            spent_s += self._clock() - began_at
            error = _cause(outcome)
            if isinstance(error, AttemptGoneError) and len(flight.lanes) > 1:
                flight.lanes.pop(0)
                continue
            delay_s = self._policy.delay_s(error, attempts, spent_s, self._random)
            if delay_s is None:
                return CallOutcome(failure=self._give_up(call, error, attempts))
            spent_s += delay_s
            await self._sleep(delay_s)

    async def _try(self, call: LiveCall, flight: _Flight, attempts: int, worst_usd: float) -> CallOutcome:
        """Send the request once and tell limits and budget what came of it."""
        state = self.limits.provider(call.provider)
        under_way = state.limit.in_flight
        started_at = self._clock()
        self.progress.in_flight += 1
        self.progress.waiting -= 1
        try:
            [outcome] = await flight.lanes[0].submit([call])
            if outcome.answer is not None:
                outcome = await self._finish(call, outcome)
        except BaseException:
            self.budget.doubt(worst_usd)
            raise
        finally:
            self.progress.in_flight -= 1
            self.progress.waiting += 1
            self._has_settled.set()
        answer = outcome.answer
        if answer is None:
            error = _cause(outcome)
            if error.maybe_paid:
                self.budget.doubt(worst_usd)
            else:
                self.budget.settle(worst_usd, 0.0)
            if error.status == 429:
                self.limits.rate_limited(call.provider, started_at, error.retry_after_s)
            return outcome
        self.limits.succeeded(call.provider)
        cost_usd = answer_cost(answer, call.price)
        self.budget.saw(call.request["model"], answer.usage.output_tokens)
        # Without usage nobody knows what it cost: the worst case stays reserved for good.
        if cost_usd is None and answer.refusal is None:
            self.budget.doubt(worst_usd)
        else:
            self.budget.settle(worst_usd, cost_usd or 0.0)
        made = answer._replace(attempts=attempts, concurrency=under_way, run=self._run)
        return outcome._replace(answer=made, cost_usd=cost_usd)

    async def _keep(self, call: LiveCall, outcome: CallOutcome) -> CallOutcome:
        """Keep an answer; where that fails it is handed out all the same."""
        try:
            await self._ask_store(self._store.put, call.key, outcome.answer)
        except StoreError as error:
            self._unsaved = f"the answers cannot be kept: {error}"
            return outcome._replace(failure=Failure("store", "StoreError", str(error), outcome.attempts))
        self._answered.add(call.key)
        return outcome

    async def _find(self, key: str) -> Answer | None:
        if self._refresh and key not in self._answered:
            return None
        return await self._ask_store(self._store.get, key)

    async def _claim(self, call: LiveCall) -> bool:
        """Take the lease on a call for its next attempt; without a shared store there is nobody to ask."""
        if self._shared is None or call.key in self._unclaimed:
            return True
        seconds = float(call.transport.get("timeout_s") or 0.0) + LEASE_MARGIN_S
        granted = await self._ask_store(self._shared.claim, call.key, seconds)
        if granted:
            self._leases.add(call.key)
        return granted

    async def _wait_elsewhere(self, call: LiveCall) -> Answer | None:
        """Wait for the answer that another process is getting; None: it is not, so this one has the lease."""
        pause_s, longest_s = POLL_S
        give_up_at = self._clock() + HELD_AT_MOST_S
        stopped_since: float | None = None
        while self._clock() < give_up_at:
            if self._is_held_by_stopped(call.key):
                stopped_since = self._clock() if stopped_since is None else stopped_since
                if self._clock() - stopped_since >= STOPPED_AT_MOST_S:
                    break
            else:
                stopped_since = None
            await self._sleep(pause_s * (0.5 + self._random()))
            pause_s = min(2 * pause_s, longest_s)
            stored = await self._find(call.key)
            if stored is not None:
                return stored
            if await self._claim(call):
                return None
        self._unclaimed.add(call.key)
        return None

    def _is_held_by_stopped(self, key: str) -> bool:
        """Return whether the process that has a call's claim is stopped; say so for each such process once."""
        holder = self._holder_of(key) if self._holder_of is not None else None
        if holder is None or not holder.is_stopped:
            return False
        if holder.process not in self._told:
            self._told.add(holder.process)
            self._tell(
                f"waiting for process {holder.process}, which is stopped and has begun a call that this run "
                f"needs too. Let it go on (kill -CONT {holder.process}) or end it; after {STOPPED_AT_MOST_S:g} s "
                "this run makes such calls itself."
            )
        return True

    async def _give_back(self, call: LiveCall, outcome: CallOutcome) -> None:
        """Let other processes make a call that was not made here; an answer that was kept they find."""
        if self._shared is None or call.key not in self._leases:
            return
        self._leases.discard(call.key)
        if outcome.failure is not None or outcome.shared:
            # The lease of a server that is gone expires by itself.
            with contextlib.suppress(StoreError):
                await self._ask_store(self._shared.give_back, call.key)

    async def _ask_store(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        if self._store_threads is None:
            # A tenth of a millisecond on a local disk, and several times that to hand it to a thread.
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._store_threads, function, *arguments)

    async def _reserve(self, call: LiveCall) -> float | Failure:
        """Reserve a call's worst case and return it, once it fits."""
        if self.budget.limit_usd is None:
            return 0.0
        if call.price is None:
            message = (
                f"not called: the price of {call.request['model']!r} is unknown, so the budget cannot hold. "
                f"Declare it at runtime {call.runtime!r}: "
                "price = { input_per_mtok = ..., output_per_mtok = ... }"
            )
            return Failure("budget", "BudgetError", message)
        while True:
            model = call.request["model"]
            unbounded = self.budget.completion_tokens(model, max_output_tokens(model))
            worst_usd = worst_case_usd(call.request, call.price, unbounded)
            case = call.pair.case if call.pair is not None else None
            refusal = self.budget.refusal_of(case)
            if refusal is not None:
                return self._over_budget(refusal)
            together = {call.runtime: worst_usd, **self._worst_of_partners(call)}
            if case is None:
                grant = self.budget.reserve(worst_usd)
            else:
                grant = self.budget.reserve_case(case, call.runtime, together)
            if grant == "granted":
                return worst_usd
            # With nothing under way no more money will be free than there is now.
            if grant == "refused" or not self.progress.in_flight:
                return self._over_budget(self.budget.refuse(case, together))
            self._has_settled.clear()
            await self._has_settled.wait()

    def _over_budget(self, refusal: str) -> Failure:
        return Failure("shortfall" if self.budget.shortfall else "budget", "BudgetError", refusal)

    def _worst_of_partners(self, call: LiveCall) -> dict[str, float]:
        """Return by runtime what the calls that are to follow on the same case may cost, asked the same."""
        if call.pair is None:
            return {}
        worst = {}
        for partner in call.pair.partners:
            unbounded = self.budget.completion_tokens(partner.model, max_output_tokens(partner.model))
            params = {**(call.request.get("params") or {}), **partner.bounds}
            worst[partner.runtime] = worst_case_usd({**call.request, "params": params}, partner.price, unbounded)
        return worst

    def _refusal(self, call: LiveCall, flight: _Flight, attempts: int) -> Failure | None:
        """Return why a call is not to be made now, or None."""
        if self.closing:
            return Failure("call", "CallServiceError", "not called: the run is over", attempts)
        if self._unsaved is not None:
            return Failure("store", "StoreError", f"not called: {self._unsaved}", attempts)
        for basis, stopped in self._stopped.get(call.runtime, ()):
            if basis.holds(call):
                flight.basis = basis
                return stopped
        closed = self.limits.provider(call.provider).closed
        if closed is not None:
            return Failure("circuit", "ProviderUnavailableError", closed, attempts)
        return None

    def _give_up(self, call: LiveCall, error: AttemptError, attempts: int) -> Failure:
        if error.provider_fault:
            self.limits.failed(call.provider, str(error))
        if error.fatal_for_runtime:
            message = (
                f"not called: runtime {call.runtime!r} was stopped by its first {error.error_class}: "
                f"{error.message}"
            )
            stopped = Failure("circuit", error.error_class, message)
            self._stopped.setdefault(call.runtime, []).append((_Basis.of(call), stopped))
        return Failure("call", error.error_class, error.message, attempts)

    def _typical_tokens(self, call: LiveCall) -> int:
        state = self.limits.provider(call.provider)
        if state.limit.tpm is None:
            return 0
        longest = self.budget.longest_completion.get(call.request["model"], 256)
        tokens = input_tokens_at_most(call.request) // BYTES_PER_TOKEN
        return tokens + min(output_tokens_at_most(call.request, longest), 2 * longest)
