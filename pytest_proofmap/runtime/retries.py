"""When a failed attempt is repeated: exponential backoff with full jitter, bounded in number and in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_proofmap.runtime.attempt import AttemptError

__all__ = ["RetryPolicy"]


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
