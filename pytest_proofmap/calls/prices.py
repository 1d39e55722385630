"""Prices: declared, or from LiteLLM's bundled map, which is read without importing LiteLLM.

The map is a JSON file of some megabytes. It is decoded once in a process that needs a price, which takes about as
long as two of its tests, and of each entry only what prices and limits need is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from pytest_proofmap.calls.costs import MTOK, OWN_ARITHMETIC
from pytest_proofmap.config import RuntimeConfig
from pytest_proofmap.evidence.models import Price

__all__ = ["bundled_price", "is_listed", "max_output_tokens", "price_of", "retired_on"]

PRICE_LIST = "model_prices_and_context_window_backup.json"

_BASIC = frozenset({"input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost"})
"""Rates that have fields of their own."""

_INPUT_FLAGS = frozenset({"supports_audio_input", "supports_video_input", "supports_vision"})

_TABLES = frozenset({"off_peak_pricing", "provider_specific_entry", "tiered_pricing"})

_DECLARED_NAMES = {
    "cache_write_per_mtok": "cache_creation_input_token_cost",
    "cache_write_1h_per_mtok": "cache_creation_input_token_cost_above_1hr",
    "audio_input_per_mtok": "input_cost_per_audio_token",
    "audio_output_per_mtok": "output_cost_per_audio_token",
    "image_input_per_mtok": "input_cost_per_image_token",
    "image_output_per_mtok": "output_cost_per_image_token",
}
"""What the map calls the less frequent rates that a runtime may declare."""

_BEDROCK_ROUTES = (
    "converse",
    "invoke",
    "converse_like",
    "mantle",
    "chat_completions",
    "responses",
    "agent",
    "async_invoke",
    "openai",
    "llama",
    "deepseek_r1",
    "qwen3",
    "qwen2",
    "nova",
    "nova-2",
)
"""What may stand between ``bedrock/`` and a model: how to ask, which changes no price."""

_BEDROCK_REGION = re.compile(r"^[a-z]{2,4}(?:-[a-z]+)+-\d$")
_BEDROCK_PROFILES = frozenset({"us", "eu", "apac", "ap", "au", "jp", "ca", "sa", "global", "us-gov"})
_BEDROCK_SUFFIX = re.compile(r"(?<=:\d):\d+k$|\[\w+\]$")

_PREFIX_FAMILIES = {"vertex_ai_beta": "vertex_ai", "cohere": "cohere_chat"}


def bundled_price(model: str) -> Price | None:
    """Return the price that LiteLLM's bundled map gives for a model id, or None when it gives none.

    A price of zero counts only where the map says zero; a missing entry is an unknown price.
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
        listed=_listed(entry),
    )


def price_of(runtime: RuntimeConfig) -> Price | None:
    """Return a runtime's price: declared, else LiteLLM's bundled one, else None.

    What a declared price does not speak of (cache writes, audio, images) is as the map lists it.
    """
    if runtime.price is None:
        return bundled_price(runtime.model)
    declared = runtime.price.model_dump()
    listed = dict(_listed(_entry(runtime.model)) or {})
    for name, ours in _DECLARED_NAMES.items():
        rate = declared.pop(name)
        if rate is not None:
            listed[ours] = rate / MTOK
    fee = declared.pop("search_usd")
    if fee is not None:
        listed["search_usd"] = fee
    return Price(**declared, source="declared", listed=listed or None)


def is_listed(model: str) -> bool:
    """Return whether LiteLLM's bundled map has a model at all, priced by tokens or by something else."""
    return bool(_entry(model))


def max_output_tokens(model: str) -> int | None:
    """Return the longest completion of a model in tokens, or None when the map does not say."""
    entry = _entry(model)
    for name in ("max_output_tokens", "max_tokens"):
        value = entry.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return None


def retired_on(model: str) -> date | None:
    """Return when a model is retired, or None when the map does not say."""
    try:
        return date.fromisoformat(str(_entry(model).get("deprecation_date", "")))
    except ValueError:
        return None


def _rate(entry: dict[str, Any], name: str) -> float | None:
    value = entry.get(name)
    # Rounding takes out what multiplying a binary fraction brings in: 1.5e-07 a token is 0.15 a million.
    return round(value * MTOK, 9) if isinstance(value, int | float) else None


def _listed(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Return what an entry says of the price beyond the basic rates; None: nothing."""
    listed = {name: value for name, value in entry.items() if name not in _BASIC and _is_of_a_price(name, value)}
    provider = entry.get("litellm_provider", "")
    return {**listed, "litellm_provider": provider} if listed or provider in OWN_ARITHMETIC else None


def _is_of_a_price(name: str, value: object) -> bool:
    if name in _INPUT_FLAGS:
        return value is True
    if name.endswith("_batches"):
        return False
    return "_cost" in name or "_uplift_multiplier" in name or name in _TABLES


@lru_cache(maxsize=256)
def _entry(model: str) -> dict[str, Any]:
    """Return a model's entry in the map, or an empty one."""
    entries = _entries()
    provider, slash, _ = model.partition("/")
    for name in _names(model):
        entry = entries.get(name)
        if entry is not None and (not slash or name == model or _is_of(entry, provider)):
            return entry
    return {}


def _names(model: str) -> Iterator[str]:
    """Yield the names that the map may have a model under, the most exact one first."""
    yield model
    provider, slash, name = model.partition("/")
    provider = _PREFIX_FAMILIES.get(provider, provider)
    if not slash:
        return
    if provider in ("bedrock", "bedrock_converse"):
        yield from _bedrock_names(name)
        return
    # The map names OpenAI's and Anthropic's models without the prefix, most others with it.
    yield name
    yield f"{provider}/{name}"
    if provider in ("openai", "azure") and name.startswith("responses/"):
        plain = name.removeprefix("responses/")
        yield from (f"{provider}/{plain}", plain)
    if name.startswith("ft:"):
        # ft:gpt-4o-2024-08-06:my-org:custom:id
        yield ":".join(name.split(":")[:2])


def _bedrock_names(name: str) -> Iterator[str]:
    """Yield the names of a model of Bedrock without what says how and where to ask for it.

    ``converse/us.anthropic.claude-x``, ``us-east-1/anthropic.claude-x``, or the resource name of either.
    """
    region = ""
    while True:
        first, slash, rest = name.partition("/")
        if not slash or not (first in _BEDROCK_ROUTES or _BEDROCK_REGION.match(first)):
            break
        if first not in _BEDROCK_ROUTES:
            region = first
        name = rest
    if name.startswith("arn:"):
        name = name.rpartition("/")[2]
    name = _BEDROCK_SUFFIX.sub("", name)
    if region:
        # Some regions have prices of their own.
        yield f"bedrock/{region}/{name}"
    yield f"bedrock/{name}"
    yield name
    profile, _, base = name.partition(".")
    if profile in _BEDROCK_PROFILES:
        if region:
            yield f"bedrock/{region}/{base}"
        yield base


def _is_of(entry: dict[str, Any], provider: str) -> bool:
    """Return whether an entry is of the provider that a model id begins with."""
    listed = str(entry.get("litellm_provider", "")).replace("-", "_")
    return listed.startswith(_PREFIX_FAMILIES.get(provider, provider).replace("-", "_")) or listed == provider


@lru_cache(maxsize=1)
def _entries() -> dict[str, dict[str, Any]]:
    """Return the entries of the map by name; none where there is no map that can be read."""
    path = _price_list()
    if path is None:
        return {}
    try:
        content = from_json(path.read_bytes(), cache_strings="keys")
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    entries = {name: entry for name, entry in content.items() if isinstance(entry, dict)}
    for name, entry in content.items():
        # A name may stand for another, as gpt-x-latest for the latest of gpt-x.
        if isinstance(entry, dict) and isinstance(target := entry.get("alias_of"), str):
            entries[name] = content.get(target) or {}
    return entries


@lru_cache(maxsize=1)
def _price_list() -> Path | None:
    """Return the file of the map, which is not empty, or None."""
    spec = find_spec("litellm")
    paths = (Path(folder) / PRICE_LIST for folder in (spec and spec.submodule_search_locations) or ())
    return next((path for path in paths if path.is_file() and path.stat().st_size), None)
