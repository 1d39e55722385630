"""How many calls are under way at once, per provider and in all, and when a failed attempt is repeated.

The limit of a provider starts modest and doubles on a clock while nothing goes wrong, without waiting for
answers: a provider that is asked too much says so at once, long before its first slow answer. The first rate
limit ends the doubling; from then on each one halves the limit (once per episode) and each window of
successes raises it by a tenth. No provider ever waits for another one. Attempts are repeated with exponential
backoff and full jitter, bounded in number and in time.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_proofmap.calls.outcome import LAST_FAILURE, AttemptError

__all__ = ["Limits", "ProviderLimit", "RetryPolicy"]


START = 16
"""Calls to a provider at first."""

DOUBLING_S = 0.25
"""While nothing has gone wrong the limit doubles this often."""

MAX_PAUSE_S = 60.0
"""A longer ``Retry-After`` is not obeyed to the letter."""

CIRCUIT_FAILURES = 10
"""After so many final failures in a row, without one success, a provider is not called any more."""

_MINUTE_S = 60.0


@dataclass(slots=True)
class ProviderLimit:
    """The limit of one provider: pure, told the time by its caller.

    Args:
        most: No more calls at once than this.
        rpm: Requests per minute, or None.
        tpm: Tokens per minute, or None.
    """

    most: int
    rpm: int | None = None
    tpm: int | None = None
    limit: float = 0.0
    """Calls that may be under way now."""
    in_flight: int = 0
    halved_at: float | None = None
    """When the limit was last halved."""
    paused_until: float = 0.0
    doubled_at: float | None = None
    successes: int = 0
    """Successes since the limit last grew."""
    sent: deque[tuple[float, int]] = field(default_factory=deque)
    """Time and tokens of what was sent in the last minute, for rpm and tpm."""
    sent_tokens: int = 0

    def __post_init__(self) -> None:
        self.limit = float(min(START, self.most))

    def wait_s(self, now: float, tokens: int) -> float:
        """Return how long a call must wait before it may start; infinity until another one ends."""
        if now < self.paused_until:
            return self.paused_until - now
        if self.in_flight >= int(self.limit):
            return self._until_growth_s(now)
        return self._until_quota_s(now, tokens)

    def start(self, now: float, tokens: int) -> None:
        """Take in that a call starts."""
        self.in_flight += 1
        if self.doubled_at is None:
            self.doubled_at = now
        if self.rpm is not None or self.tpm is not None:
            self.sent.append((now, tokens))
            self.sent_tokens += tokens

    def end(self) -> None:
        """Take in that a call is no longer under way."""
        self.in_flight -= 1

    def succeed(self) -> None:
        """Take in that a call was answered."""
        self.successes += 1
        if self.halved_at is None:
            self._raise_to(self.limit + 1)
        elif self.successes >= int(self.limit):
            self._raise_to(self.limit + max(1.0, self.limit / 10))
            self.successes = 0

    def rate_limited(self, now: float, started_at: float, retry_after_s: float | None) -> None:
        """Take in that a call was refused for its rate.

        Calls that started before the limit was halved belong to the same episode: they do not halve it again.
        """
        if self.halved_at is None or started_at > self.halved_at:
            # What the provider bore is no more than was under way.
            self.limit = max(1.0, min(self.limit, float(self.in_flight)) / 2)
            self.halved_at = now
            self.successes = 0
        if retry_after_s is not None:
            self.paused_until = max(self.paused_until, now + min(retry_after_s, MAX_PAUSE_S))

    def _raise_to(self, limit: float) -> None:
        self.limit = min(limit, float(self.most))

    def _until_growth_s(self, now: float) -> float:
        if self.halved_at is not None or self.limit >= self.most or self.doubled_at is None:
            return math.inf
        if now < self.doubled_at + DOUBLING_S:
            return self.doubled_at + DOUBLING_S - now
        self.doubled_at = now
        self._raise_to(self.limit * 2)
        return 0.0

    def _until_quota_s(self, now: float, tokens: int) -> float:
        while self.sent and self.sent[0][0] <= now - _MINUTE_S:
            self.sent_tokens -= self.sent.popleft()[1]
        wait = 0.0
        if self.rpm is not None:
            # Spread over the minute: a burst of a whole minute's requests is refused by most providers.
            burst = max(1, self.rpm // 10)
            if len(self.sent) >= burst:
                spacing = (_MINUTE_S - 1) / self.rpm * burst
                wait = max(0.0, self.sent[-burst][0] + spacing - now)
            if len(self.sent) >= self.rpm:
                wait = max(wait, self.sent[-self.rpm][0] + _MINUTE_S - now)
        if self.tpm is not None and self.sent and self.sent_tokens + tokens > self.tpm:
            excess = self.sent_tokens + tokens - self.tpm
            frees_at = now
            for at, spent in self.sent:
                frees_at = at + _MINUTE_S
                excess -= spent
                if excess <= 0:
                    break
            wait = max(wait, frees_at - now)
        return wait


@dataclass(slots=True)
class _Waiting:
    turn: asyncio.Future[None]
    tokens: int


@dataclass(slots=True)
class ProviderState:
    """A provider: its limit, who waits for it and how it fares."""

    limit: ProviderLimit
    waiting: deque[_Waiting] = field(default_factory=deque)
    failures: int = 0
    """Final failures in a row that were the provider's own fault."""
    closed: str | None = None
    """Why the provider is not called any more."""
    done: int = 0
    first_start: float | None = None


class Limits:
    """Hands out turns to call, in order of arrival per provider.

    Args:
        concurrency: Calls under way at once, all providers together.
        settings: By provider: ``rpm``, ``tpm`` and ``concurrency``, each optional.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self, concurrency: int, settings: Mapping[str, Mapping[str, Any]], *, clock: Callable[[], float]
    ) -> None:
        self._most = max(1, concurrency)
        self._settings = settings
        self._clock = clock
        self._in_flight = 0
        self._providers: dict[str, ProviderState] = {}
        self._timer: asyncio.TimerHandle | None = None

    def provider(self, name: str) -> ProviderState:
        """Return the state of a provider."""
        state = self._providers.get(name)
        if state is None:
            settings = self._settings.get(name, {})
            most = min(self._most, settings.get("concurrency") or self._most)
            limit = ProviderLimit(most, rpm=settings.get("rpm"), tpm=settings.get("tpm"))
            state = self._providers[name] = ProviderState(limit)
        return state

    def status(self) -> dict[str, dict[str, Any]]:
        """Return limit, calls under way and answers per second of the providers called so far."""
        now = self._clock()
        return {
            name: {
                "limit": int(state.limit.limit),
                "in_flight": state.limit.in_flight,
                "waiting": len(state.waiting),
                "done": state.done,
                "rate_per_s": state.done / max(now - state.first_start, 0.001) if state.first_start else 0.0,
                "closed": state.closed,
            }
            for name, state in self._providers.items()
        }

    async def acquire(self, name: str, tokens: int, *, again: bool = False) -> None:
        """Wait for a turn to call a provider; a repeated attempt goes before the calls not yet begun."""
        state = self.provider(name)
        waiting = _Waiting(asyncio.get_running_loop().create_future(), tokens)
        if again:
            state.waiting.appendleft(waiting)
        else:
            state.waiting.append(waiting)
        self._serve()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled():
                self.release(name)
            raise

    def release(self, name: str) -> None:
        """Give a turn back."""
        self.provider(name).limit.end()
        self._in_flight -= 1
        self._serve()

    def succeeded(self, name: str) -> None:
        """Take in an answer of a provider."""
        state = self.provider(name)
        state.failures = 0
        state.done += 1
        state.limit.succeed()

    def rate_limited(self, name: str, started_at: float, retry_after_s: float | None) -> None:
        """Take in a rate limit of a provider."""
        self.provider(name).limit.rate_limited(self._clock(), started_at, retry_after_s)

    def failed(self, name: str, reason: str) -> None:
        """Take in a final failure that is the provider's fault; enough of them in a row close it."""
        state = self.provider(name)
        state.failures += 1
        if state.failures >= CIRCUIT_FAILURES and state.closed is None:
            state.closed = (
                f"provider {name!r} is not called any more after {state.failures} failures in a row, "
                f"{LAST_FAILURE}{reason}"
            )

    def _serve(self) -> None:
        """Give turns to all who may start now, and wake up when the next one may."""
        now = self._clock()
        wake_s = math.inf
        # One turn per provider and round, first the one with the least under way: so all get their share of
        # the common maximum.
        ready = [state for state in self._providers.values() if state.waiting]
        ready.sort(key=lambda state: state.limit.in_flight)
        while ready and self._in_flight < self._most:
            still: list[ProviderState] = []
            for state in ready:
                if self._in_flight >= self._most:
                    break
                while state.waiting and state.waiting[0].turn.done():
                    state.waiting.popleft()
                if not state.waiting:
                    continue
                wait_s = 0.0 if state.closed else state.limit.wait_s(now, state.waiting[0].tokens)
                if wait_s > 0:
                    wake_s = min(wake_s, wait_s)
                    continue
                waiting = state.waiting.popleft()
                state.limit.start(now, waiting.tokens)
                state.first_start = now if state.first_start is None else state.first_start
                self._in_flight += 1
                waiting.turn.set_result(None)
                still.append(state)
            ready = still
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wake_s < math.inf:
            self._timer = asyncio.get_running_loop().call_later(wake_s, self._serve)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon a request is sent again.

    The delay before attempt n + 1 is uniform in [0, base × 2^(n − 1)], as in "Exponential Backoff And Jitter"
    (AWS Architecture Blog, 2015): calls that failed together do not come back together.
    """

    max_attempts: int = 5
    """Attempts of one request at most, the first one included."""
    max_rate_limited_attempts: int = 10
    """The same for a request whose failure is a rate limit: the provider works and only asks for patience."""
    base_s: float = 0.5
    """The first delay at most, in seconds."""
    max_delay_s: float = 30.0
    """One delay at most, in seconds; also what is left of a longer ``Retry-After``, twice."""
    max_total_s: float = 180.0
    """No attempt begins when those before it and the delays took longer than this, in seconds."""

    def delay_s(
        self, error: AttemptError, attempts: int, spent_s: float, random: Callable[[], float]
    ) -> float | None:
        """Return how long to wait before the next attempt, or None when there is none.

        Args:
            error: The failure of the last attempt.
            attempts: How many attempts there were.
            spent_s: What the attempts and the delays took so far, in seconds; waiting for a turn not counted.
            random: Returns a number in [0, 1).
        """
        rate_limited = error.status == 429
        allowed = self.max_rate_limited_attempts if rate_limited else self.max_attempts
        if not error.retryable or attempts >= allowed:
            return None
        delay = random() * min(self.max_delay_s, self.base_s * 2.0 ** (attempts - 1))
        if error.retry_after_s is not None:
            delay += min(error.retry_after_s, 2 * self.max_delay_s)
        return delay if spent_s + delay <= self.max_total_s else None
