"""What is said about calls whose tests did not run."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_proofmap.plugin.recorder import describe_calls_ahead


@pytest.mark.parametrize(
    ("status", "used", "spent_usd", "said"),
    [
        ({}, 0, 0.0, None),
        ({"done": 3, "spent_usd": 0.03}, 3, 0.03, None),
        ({"done": 3, "spent_usd": 0.03}, 2, 0.02, "1 call was made ahead for $0.01 whose tests did not run"),
        ({"done": 2, "in_flight": 1, "spent_usd": 0.0}, 1, 0.0, "2 calls were made ahead whose tests did not run"),
    ],
)
def test_calls_without_a_sample(status: dict[str, Any], used: int, spent_usd: float, said: str | None) -> None:
    """Calls in no sample are counted, with what they cost beyond the samples' own."""
    words = describe_calls_ahead(status, used, spent_usd, kept=True)
    assert words == (said and f"{said}; what came back is in the cache, where the next run finds it")


def test_answers_that_were_not_to_be_kept() -> None:
    """Without a cache the answers are gone, and that is said."""
    assert "the answers are lost" in str(describe_calls_ahead({"done": 1}, 0, 0.0, kept=False))
