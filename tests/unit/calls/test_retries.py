"""When a failed attempt is repeated."""

from __future__ import annotations

import pytest

from pytest_proofmap.calls.limits import RetryPolicy
from pytest_proofmap.calls.outcome import AttemptError

FAULT = AttemptError("InternalServerError", "", retryable=True, status=500)
RATE_LIMIT = AttemptError("RateLimitError", "", retryable=True, status=429)


def delays(error: AttemptError, random: float = 1.0, policy: RetryPolicy | None = None) -> list[float]:
    """Return the delays between the attempts of a call that always fails in the same way."""
    policy, found, spent = policy or RetryPolicy(), list[float](), 0.0
    while (delay := policy.delay_s(error, len(found) + 1, spent, lambda: random)) is not None:
        found.append(delay)
        spent += delay
    return found


def test_doubles_with_full_jitter() -> None:
    """Delays double at most, and are anything from nothing to that."""
    assert delays(FAULT) == [0.5, 1.0, 2.0, 4.0]
    assert delays(FAULT, random=0.5) == [0.25, 0.5, 1.0, 2.0]
    assert delays(FAULT, random=0.0) == [0.0, 0.0, 0.0, 0.0]


def test_a_wrong_request_is_not_repeated() -> None:
    """What failed for good is not sent again."""
    assert delays(AttemptError("BadRequestError", "", status=400)) == []


def test_rate_limits_are_given_more_patience() -> None:
    """A rate limit is retried more often than a fault, each delay bounded."""
    assert len(delays(RATE_LIMIT)) == RetryPolicy().max_rate_limited_attempts - 1
    assert max(delays(RATE_LIMIT)) <= RetryPolicy().max_delay_s


@pytest.mark.parametrize(("asked", "first"), [(7.0, 7.5), (3600.0, 60.5)])
def test_retry_after_is_honoured_and_capped(asked: float, first: float) -> None:
    """The provider's own wish comes on top of the jitter, up to a cap."""
    error = AttemptError("RateLimitError", "", retryable=True, status=429, retry_after_s=asked)
    assert delays(error)[0] == first


def test_total_time_is_bounded() -> None:
    """No attempt begins when the earlier ones took too long, such as those that timed out."""
    timeout = AttemptError("Timeout", "", retryable=True)
    assert RetryPolicy().delay_s(timeout, 3, 180.0, lambda: 0.5) is None
    assert sum(delays(RATE_LIMIT, policy=RetryPolicy(max_rate_limited_attempts=99))) <= 180.0
