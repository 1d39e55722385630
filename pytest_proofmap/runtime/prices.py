"""Prices from LiteLLM's bundled list, read without importing LiteLLM, and the cost of an answer.

The list is a JSON file of some megabytes. One entry is cut out of its text: decoding the whole list costs ten
times as much, and importing LiteLLM a thousand times.
"""

from __future__ import annotations

import json
import mmap
from datetime import date
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_proofmap.config import RuntimeConfig
from pytest_proofmap.evidence.models import Price
from pytest_proofmap.runtime.answer import Usage

__all__ = ["bundled_price", "cost_usd", "max_output_tokens", "price_of", "retired_on"]

PRICE_LIST = "model_prices_and_context_window_backup.json"
_MTOK = 1_000_000


def bundled_price(model: str) -> Price | None:
    """Return the price that LiteLLM's bundled list gives for a model id, or None when it gives none.

    A price of zero counts only where the list says zero; a missing entry is an unknown price.
    """
    entry = _entry(model)
    input_price, output_price = _rate(entry, "input_cost_per_token"), _rate(entry, "output_cost_per_token")
    if input_price is None or output_price is None:
        return None
    return Price(
        input_per_mtok=input_price,
        output_per_mtok=output_price,
        cached_input_per_mtok=_rate(entry, "cache_read_input_token_cost"),
        source="litellm",
    )


def price_of(runtime: RuntimeConfig) -> Price | None:
    """Return a runtime's price: declared, else LiteLLM's bundled one, else None."""
    if runtime.price is not None:
        return Price(**runtime.price.model_dump(), source="declared")
    return bundled_price(runtime.model)


def max_output_tokens(model: str) -> int | None:
    """Return the longest completion of a model in tokens, or None when the list does not say."""
    entry = _entry(model)
    for name in ("max_output_tokens", "max_tokens"):
        value = entry.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return None


def retired_on(model: str) -> date | None:
    """Return when a model is retired, or None when the list does not say."""
    try:
        return date.fromisoformat(str(_entry(model).get("deprecation_date", "")))
    except ValueError:
        return None


def cost_usd(usage: Usage, price: Price | None) -> float | None:
    """Return what an answer costs, or None when the price or the usage is unknown."""
    if price is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    cached = min(usage.cached_input_tokens or 0, usage.input_tokens)
    cached_price = price.input_per_mtok if price.cached_input_per_mtok is None else price.cached_input_per_mtok
    return (
        (usage.input_tokens - cached) * price.input_per_mtok
        + cached * cached_price
        + usage.output_tokens * price.output_per_mtok
    ) / _MTOK


def _rate(entry: dict[str, Any], name: str) -> float | None:
    value = entry.get(name)
    # Rounding takes out what multiplying a binary fraction brings in: 1.5e-07 a token is 0.15 a million.
    return round(value * _MTOK, 9) if isinstance(value, (int, float)) else None


@lru_cache(maxsize=256)
def _entry(model: str) -> dict[str, Any]:
    """Return a model's entry in the list, or an empty one."""
    entry = _cut_out(model)
    provider, slash, name = model.partition("/")
    if entry is None and slash:
        # The list names OpenAI's and Anthropic's models without the prefix, most others with it.
        entry = _cut_out(name)
        listed = str(entry.get("litellm_provider", "")) if entry else ""
        if not listed.replace("-", "_").startswith(provider.replace("-", "_")):
            entry = None
    return entry or {}


def _cut_out(name: str) -> dict[str, Any] | None:
    """Return the entry of exactly this name, or None."""
    path = _price_list()
    if path is None:
        return None
    # Entries are indented by four spaces, so that the same name inside an entry is not taken for one.
    start = f"\n    {json.dumps(name)}: {{".encode()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        found = text.find(start)
        end = text.find(b"\n    }", found)
        entry = text[found + len(start) - 1 : end] + b"}" if 0 <= found < end else b""
    try:
        content = json.loads(entry)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


@lru_cache(maxsize=1)
def _price_list() -> Path | None:
    """Return the file of the list, which is not empty, or None."""
    spec = find_spec("litellm")
    paths = (Path(folder) / PRICE_LIST for folder in (spec and spec.submodule_search_locations) or ())
    return next((path for path in paths if path.is_file() and path.stat().st_size), None)
