"""Prices from LiteLLM's bundled list, and what an answer costs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_proofmap.calls import prices
from pytest_proofmap.calls.answer import Usage
from pytest_proofmap.calls.costs import cost_usd
from pytest_proofmap.calls.prices import bundled_price, max_output_tokens
from pytest_proofmap.evidence.models import Price

LIST = {
    "sample": {"text": 'a "gpt-x": { inside'},
    "gpt-x": {
        "input_cost_per_token": 1.5e-07,
        "output_cost_per_token": 6e-07,
        "cache_read_input_token_cost": 7.5e-08,
        "litellm_provider": "openai",
        "max_output_tokens": 16384,
    },
    "azure/gpt-x": {
        "input_cost_per_token": 2e-07,
        "output_cost_per_token": 8e-07,
        "litellm_provider": "azure",
        "max_tokens": 99,
    },
    "claude-x": {
        "input_cost_per_token": 1e-06,
        "output_cost_per_token": 2e-06,
        "litellm_provider": "anthropic",
    },
    "ollama/free": {
        "input_cost_per_token": 0.0,
        "output_cost_per_token": 0.0,
        "litellm_provider": "ollama",
    },
    "gpt-x-latest": {"alias_of": "gpt-x"},
    "lost": {"alias_of": "nothing"},
    "by-character": {"input_cost_per_character": 1e-06, "litellm_provider": "openai"},
}


@pytest.fixture(autouse=True)
def price_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A small list in the place of the bundled one."""
    path = tmp_path / "prices.json"
    # The layout is nobody's business: the bundled list has entries that are indented otherwise.
    path.write_text(json.dumps(LIST), encoding="utf-8")
    monkeypatch.setattr(prices, "_price_list", lambda: path)
    prices._entry.cache_clear()
    prices._entries.cache_clear()
    yield
    prices._entry.cache_clear()
    prices._entries.cache_clear()


def test_bundled_price_a_model() -> None:
    """A listed price is given per million tokens, without rounding noise."""
    expected = Price(input_per_mtok=0.15, output_per_mtok=0.6, cached_input_per_mtok=0.075, source="litellm")
    assert (
        bundled_price("gpt-x") == bundled_price("openai/gpt-x") == bundled_price("openai/gpt-x-latest") == expected
    )


def test_prefix_decides_between_entries() -> None:
    """The entry with the provider's prefix is taken before the one without."""
    price = bundled_price("azure/gpt-x")
    assert price is not None
    assert price.input_per_mtok == 0.2
    assert price.cached_input_per_mtok is None


@pytest.mark.parametrize(
    "model", ["openai/claude-x", "nobody/gpt-x", "openai/unheard-of", "by-character", "lost", "x"]
)
def test_unknown_price(model: str) -> None:
    """Another provider's entry, a missing one and one by another unit are an unknown price."""
    assert bundled_price(model) is None


def test_listed_zero_is_a_price() -> None:
    """Zero counts where the list says zero."""
    price = bundled_price("ollama/free")
    assert price is not None
    assert price.input_per_mtok == price.output_per_mtok == 0


def test_longest_completion() -> None:
    """The longest completion is what the list says, or unknown."""
    assert max_output_tokens("openai/gpt-x") == 16384
    assert max_output_tokens("azure/gpt-x") == 99
    assert max_output_tokens("claude-x") is None


def test_cost_counts_cached_input_apart() -> None:
    """Cached input has its own price, or that of other input."""
    usage = Usage(input_tokens=1000, output_tokens=500, cached_input_tokens=400)
    price = Price(input_per_mtok=1.0, output_per_mtok=2.0, cached_input_per_mtok=0.5)
    assert cost_usd(usage, price) == pytest.approx((600 * 1 + 400 * 0.5 + 500 * 2) / 1e6)
    assert cost_usd(usage, Price(input_per_mtok=1.0, output_per_mtok=2.0)) == pytest.approx(2000 / 1e6)


def test_unknown_cost_is_none() -> None:
    """Without a price or without token counts the cost is unknown, not zero."""
    price = Price(input_per_mtok=1.0, output_per_mtok=2.0)
    assert cost_usd(Usage(10, 10), None) is None
    assert cost_usd(Usage(None, 10), price) is None
    assert cost_usd(Usage(10, None), price) is None


def test_the_real_list_is_read_without_litellm() -> None:
    """The installed package's list is found, and LiteLLM stays unimported."""
    code = (
        "import sys; from pytest_proofmap.calls.prices import bundled_price;"
        "print(bundled_price('openai/gpt-4o-mini').input_per_mtok, 'litellm' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["0.15", "False"]
