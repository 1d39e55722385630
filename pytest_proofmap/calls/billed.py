"""What an answer is billed by beside its input, output and cached input, as its response tells."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

__all__ = ["MOST", "NOT_BILLED", "Billed", "billed_by", "number_of"]

MOST = 2**53
"""Above it JSON's numbers are no longer exact for every reader."""


class Billed(NamedTuple):
    """What an answer is billed by beside its input, output and cached input."""

    counts: Mapping[str, float] = MappingProxyType({})
    """How much of what else is billed, by name: ``cache_write_tokens``, ``audio_input_tokens``, ``searches``, ...;
    zeros are left out."""
    service_tier: str | None = None
    """The service tier that served it; None: the ordinary one."""
    reported_usd: float | None = None
    """What the provider itself says that it charged."""
    conditions: tuple[str, ...] = ()
    """What may multiply the bill: the region or the speed that served it."""
    reasoning_apart: bool = False
    """True where the output tokens that were reported are without those of reasoning."""


NOT_BILLED = Billed()

_BASE_TIERS = frozenset({"default", "standard"})
_PRICED_TIERS = frozenset({"balanced", "fast", "flex", "priority", "ultrafast"})

_PLAIN_COUNTS = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
"""Counts of which nothing is billed apart."""
_PROMPT_COUNTS = {
    "audio_tokens": "audio_input_tokens",
    "image_tokens": "image_input_tokens",
    "video_tokens": "video_input_tokens",
    "character_count": "characters",
    "image_count": "images",
    "video_length_seconds": "seconds_of_video",
    "audio_length_seconds": "seconds_of_audio",
    "query_count": "queries",
    "google_maps_grounding_requests": "searches_of_maps",
}
_COMPLETION_COUNTS = {
    "audio_tokens": "audio_output_tokens",
    "image_tokens": "image_output_tokens",
    "video_tokens": "video_output_tokens",
}
_LIFE_OF_WRITES = {
    "ephemeral_1h_input_tokens": "cache_write_1h_tokens",
    "ephemeral_12h_input_tokens": "cache_write_12h_tokens",
}


def billed_by(request: Mapping[str, Any], response: Mapping[str, Any], served: Mapping[str, str]) -> Billed:
    """Return what an answer is billed by.

    Args:
        request: The request's content.
        response: The OpenAI-format chat completion.
        served: What decides the price and is not in the response.
    """
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return NOT_BILLED
    params = request.get("params")
    requested = params.get("service_tier") if isinstance(params, dict) else None
    tier = response.get("service_tier") or usage.get("service_tier") or served.get("service_tier")
    return Billed(
        counts=_billed_counts(usage, response),
        service_tier=_service_tier(requested, tier),
        reported_usd=_reported_usd(usage, str(request.get("model", "")), served),
        conditions=tuple(_conditions(usage, request)),
        reasoning_apart=_reasoning_apart(usage),
    )


def number_of(value: object) -> int | None:
    """Return a number of something; what is none, as a server or a hand may have written it, is unknown."""
    return value if type(value) is int and 0 <= value <= MOST else None


def _billed_counts(usage: dict[str, Any], response: Mapping[str, Any]) -> dict[str, float]:
    """Return what is billed apart, without zeros; counts of one thing in several places are one."""
    annotations = _annotations(response)
    others = usage.keys() - _PLAIN_COUNTS
    if not annotations and not any(
        value and (not isinstance(value, dict) or any(value.values())) for value in map(usage.get, others)
    ):
        # Most answers, of which a run may hold thousands: there is no other count, or each is zero.
        return {}
    prompt, completion = _object(usage, "prompt_tokens_details"), _object(usage, "completion_tokens_details")
    counts = {_PROMPT_COUNTS[name]: count for name, count in prompt.items() if name in _PROMPT_COUNTS and count}
    for name, count in completion.items():
        if count and name in _COMPLETION_COUNTS:
            counts[_COMPLETION_COUNTS[name]] = count
    written = (
        prompt.get("cache_write_tokens")
        or prompt.get("cache_creation_tokens")
        or usage.get("cache_creation_input_tokens")
    )
    lives = _object(prompt, "cache_creation_token_details") or _object(usage, "cache_creation")
    if written or lives:
        counts["cache_write_tokens"] = max(_amount(written), sum(map(_amount, lives.values())))
        counts.update({ours: lives.get(name) for name, ours in _LIFE_OF_WRITES.items()})
    cached = _object(prompt, "cached_tokens_details")
    if cached:
        counts["cached_audio_tokens"] = cached.get("audio_tokens")
        counts["cached_image_tokens"] = cached.get("image_tokens")
    counts["searches"] = max(
        _amount(prompt.get("web_search_requests")),
        _amount(_object(usage, "server_tool_use").get("web_search_requests")),
        _amount(_object(usage, "server_side_tool_usage_details").get("web_search_calls")),
        _amount(usage.get("num_search_queries")),
        # It tells of one search at least, where no count does.
        int("url_citation" in annotations),
    )
    counts["searches_of_files"] = int("file_citation" in annotations)
    counts["citation_tokens"] = usage.get("citation_tokens")
    return {name: amount for name, count in counts.items() if (amount := _amount(count))}


def _annotations(response: Mapping[str, Any]) -> set[str]:
    """Return the kinds of annotations: they tell of a search that no count does."""
    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    annotations = message.get("annotations") if isinstance(message, dict) else None
    if not isinstance(annotations, list):
        return set()
    return {str(each.get("type")) for each in annotations if isinstance(each, dict)}


def _service_tier(requested: object, served: object) -> str | None:
    """Return the tier that is billed: the one that served, unless the response does not say."""
    tier = served.lower() if isinstance(served, str) else None
    if tier in _PRICED_TIERS:
        return tier
    if tier in _BASE_TIERS or not isinstance(requested, str):
        return None
    return requested.lower() if requested.lower() in _PRICED_TIERS else None


def _reported_usd(usage: dict[str, Any], model: str, served: Mapping[str, str]) -> float | None:
    """Return what the provider says that it charged, or None.

    OpenRouter reports zero for what it gives away; elsewhere a zero says as little as no report at all.
    """
    cost: object = usage.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    if cost is None:
        text = served.get("cost_usd")
        if text is None:
            return None
        with contextlib.suppress(ValueError):
            cost = float(text)
    is_router = model.startswith("openrouter/")
    if not isinstance(cost, int | float) or isinstance(cost, bool) or not math.isfinite(cost) or cost < 0:
        return None
    if is_router and usage.get("is_byok") is True:
        # The router takes its fee alone; the provider behind it sends a bill of its own.
        upstream = _object(usage, "cost_details").get("upstream_inference_cost")
        if not isinstance(upstream, int | float) or isinstance(upstream, bool):
            return None
        cost += upstream
    return float(cost) if cost or is_router else None


def _conditions(usage: dict[str, Any], request: Mapping[str, Any]) -> Iterator[str]:
    """Yield under which names the map may hold a multiplier for where and how an answer was made."""
    geo = usage.get("inference_geo")
    if isinstance(geo, str) and geo.lower() not in ("global", "not_available"):
        yield geo.lower()
    if usage.get("speed") == "fast":
        yield "fast"
    params = request.get("params")
    place = params.get("vertex_location") if isinstance(params, dict) else None
    if isinstance(place, str) and place.lower() != "global":
        yield "regional_endpoint_uplift_multiplier"
    base = request.get("api_base")
    if not base:
        return
    host = str(base).partition("://")[2].partition("/")[0]
    region = host.removesuffix(".api.openai.com") if host.endswith(".api.openai.com") else ""
    if region:
        yield "fedramp_uplift_multiplier" if region == "gov" else f"regional_processing_uplift_multiplier_{region}"


def _reasoning_apart(usage: dict[str, Any]) -> bool:
    """Return whether the total shows that reasoning is no part of the output that was reported."""
    reasoning = number_of(_object(usage, "completion_tokens_details").get("reasoning_tokens"))
    if not reasoning:
        return False
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("total_tokens"))
    known = [count for count in map(number_of, counts) if count is not None]
    return len(known) == 3 and known[2] == known[0] + known[1] + reasoning


def _object(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _amount(value: object) -> float:
    """Return a number of what is billed; what is none, or below zero, is nothing."""
    return value if isinstance(value, int | float) and 0 < value <= MOST else 0
