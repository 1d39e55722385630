"""The budget: reserved before, settled after, never exceeded."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_proofmap.calls.budget import FIRST_COMPLETION_TOKENS, Budget, cannot_carry, worst_case_usd
from pytest_proofmap.evidence.models import Price

PRICE = Price(input_per_mtok=1.0, output_per_mtok=10.0)


def request(content: str = "hello", **params: Any) -> dict[str, Any]:
    """Return a request's content."""
    return {"model": "m", "messages": [{"role": "user", "content": content}], "params": params}


def test_no_limit_grants_all() -> None:
    """Without a limit every call is granted, and what is spent is still counted."""
    budget = Budget(None)
    assert budget.reserve(1e9) == "granted"
    budget.settle(1e9, 2.0)
    assert budget.spent_usd == 2.0


def test_waits_while_reservations_are_open() -> None:
    """A call that fits only once others are settled waits; one that can never fit is refused."""
    budget = Budget(1.0)
    assert budget.reserve(0.6) == "granted"
    assert budget.reserve(0.6) == "wait"
    assert budget.reserve(1.1) == "refused"
    budget.settle(0.6, 0.1)
    assert budget.reserve(0.6) == "granted"


def test_refused_when_used_up() -> None:
    """Once the rest is smaller than the worst case, nothing more is granted."""
    budget = Budget(1.0)
    budget.reserve(0.9)
    budget.settle(0.9, 0.9)
    assert budget.reserve(0.2) == "refused"
    message = budget.refusal(0.2)
    assert "$1 is used up" in message
    assert "--proofmap-budget" in message


def test_doubtful_attempts_keep_their_worst_case() -> None:
    """An attempt that may have been charged counts at its worst, and is not called spent."""
    budget = Budget(1.0)
    budget.reserve(0.7)
    budget.doubt(0.7)
    assert budget.spent_usd == 0
    assert budget.reserve(0.4) == "refused"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_worst_case_with_a_bound(name: str) -> None:
    """A bounded completion costs at most its bound, and input at most a token per byte."""
    worst = worst_case_usd(request("x" * 1000, **{name: 50}), PRICE, 4096)
    assert 1000 / 1e6 + 500 / 1e6 <= worst <= 1200 / 1e6 + 500 / 1e6


def test_worst_case_without_a_bound() -> None:
    """An unbounded completion costs at most what is assumed of it, times the choices asked for."""
    one, three = worst_case_usd(request(), PRICE, 100), worst_case_usd(request(n=3), PRICE, 100)
    assert three - one == pytest.approx(2 * 100 * 10 / 1e6)


def test_assumed_completion_follows_what_was_seen() -> None:
    """At first the model's limit or a fixed number, whichever is smaller; then twice the longest seen."""
    budget = Budget(1.0)
    assert budget.completion_tokens("m", None) == FIRST_COMPLETION_TOKENS
    assert budget.completion_tokens("m", 256) == 256
    budget.saw("m", 300)
    budget.saw("m", 200)
    assert budget.completion_tokens("m", None) == 600
    assert budget.completion_tokens("m", 500) == 500
    assert budget.completion_tokens("other", None) == FIRST_COMPLETION_TOKENS


def test_a_shortfall_is_of_the_whole_run() -> None:
    """Once the first calls do not fit, nothing is called, also what would fit; every case gets the same reason."""
    budget = Budget(0.5)
    assert budget.reserve_case("a", "mini", {"mini": 0.1, "gpt": 0.7, "haiku": 0.6}) == "refused"
    refusal = budget.refuse("a", {"mini": 0.1, "gpt": 0.7, "haiku": 0.6})
    assert "gpt reserves $0.7000, one worst-case call to haiku reserves $0.6000. Raise" in refusal
    assert "mini" not in refusal
    assert "to $1.4000 or more" in refusal
    assert budget.refusal_of("b") == budget.refusal_of(None) == budget.shortfall == refusal


def test_runtimes_that_fit_one_by_one_are_all_named() -> None:
    """Where each alone would fit it is their sum that does not."""
    text = cannot_carry(0.00002, {"a": 0.0000123, "b": 0.0000151})
    assert "the budget of $0.00002 cannot" in text
    assert "call to b reserves $0.000015, one worst-case call to a reserves $0.000012. Raise" in text
    assert "to $0.000028 or more" in text


def test_no_shortfall_after_a_call() -> None:
    """What does not fit later is over the budget, whatever the calls before did cost."""
    budget = Budget(1.0)
    assert budget.reserve_case("a", "mini", {"mini": 0.5}) == "granted"
    budget.settle(0.5, 0.0)
    assert budget.reserve_case("b", "mini", {"mini": 1.5}) == "refused"
    assert "is used up" in budget.refuse("b", {"mini": 1.5})
    assert budget.shortfall is None
    assert budget.refusal_of("c") is None
