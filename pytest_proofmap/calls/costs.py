"""What an answer costs: its counts times its price, by the arithmetic that providers bill with.

Ours is the arithmetic of tokens: input, output, cached input, cache writes, tiers by length, service tiers, audio,
images. It agrees with LiteLLM's ``completion_cost``, which is asked for the rest (fees for searches, prices by
the hour) when the answer is made, by the call service; what it said is kept with the answer. A count that is
billed apart and has no price makes the cost unknown: never lower than the bill.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pytest_proofmap.calls.answer import NOT_BILLED, Answer, Billed, Usage
from pytest_proofmap.evidence.models import Call, Price

__all__ = ["MTOK", "OWN_ARITHMETIC", "Bill", "answer_bill", "answer_cost", "bill", "call_cost", "cost_usd"]

MTOK = 1_000_000

_SUFFIX_OF_TIER = {
    "flex": "_flex",
    "balanced": "_balanced",
    "priority": "_priority",
    "fast": "_priority",
    "ultrafast": "_ultrafast",
}
"""How the names of a service tier's rates end in the map; other tiers have the ordinary ones."""

_WITHOUT_TIERS = frozenset(
    {"dashscope", "deepseek", "fireworks_ai", "perplexity", "qwen_ai_platform", "qwencloud", "tencent", "xai"}
)
"""Providers whose bill LiteLLM makes without a look at the service tier."""

_THRESHOLD = re.compile(
    r"^(?:input_cost_per_token|output_cost_per_token|cache_read_input_token_cost"
    r"|cache_creation_input_token_cost(?:_above_\d+hr)?)_above_(\d+)(k?)_tokens(_[a-z]+)?$"
)

OWN_ARITHMETIC = frozenset({"fireworks_ai", "fireworks_ai-embedding-models", "xai"})
"""Providers whose bill is made by more than their entries say."""

_BASIC = ("input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost")
_WRITE_RATE = "cache_creation_input_token_cost"
_WRITES = {
    "cache_write_1h_tokens": f"{_WRITE_RATE}_above_1hr",
    "cache_write_12h_tokens": f"{_WRITE_RATE}_above_12hr",
}
"""Cache writes that live longer, and the name of their rate."""

_INPUT_KINDS = (
    ("audio_input_tokens", "input_cost_per_audio_token", "supports_audio_input"),
    ("image_input_tokens", "input_cost_per_image_token", "supports_vision"),
    ("video_input_tokens", "input_cost_per_video_token", "supports_video_input"),
)
"""Count, rate, and what says that a model takes such input: without a rate it is ordinary input then."""

_OUTPUT_KINDS = (
    ("audio_output_tokens", "output_cost_per_audio_token"),
    ("image_output_tokens", "output_cost_per_image_token"),
    ("video_output_tokens", "output_cost_per_video_token"),
)

_CACHED_KINDS = (
    ("cached_audio_tokens", "cache_read_input_audio_token_cost"),
    ("cached_image_tokens", "cache_read_input_image_token_cost"),
)

_COUNTED = frozenset(
    {"cache_write_tokens", *_WRITES, *(kind[0] for kind in (*_INPUT_KINDS, *_OUTPUT_KINDS, *_CACHED_KINDS))}
)
"""Counts that our arithmetic knows; every other is billed apart."""


class Bill(NamedTuple):
    """What something costs, or why that is not known."""

    usd: float | None
    unpriced: tuple[str, ...] = ()
    """What is billed apart and has no price here, in words."""


def cost_usd(usage: Usage, price: Price | None, billed: Billed = NOT_BILLED) -> float | None:
    """Return what an answer costs, or None when the price, the usage or a part of the bill is unknown."""
    return bill(usage, price, billed).usd


def call_cost(call: Call, price: Price) -> float | None:
    """Return what a call of the evidence costs at a price, by its counts, or None when that is unknown."""
    usage = Usage(call.input_tokens, call.output_tokens, call.cached_input_tokens)
    return cost_usd(usage, price, Billed(counts=call.billed or {}))


def answer_cost(answer: Answer, price: Price | None) -> float | None:
    """Return what an answer costs, or None when that is unknown."""
    return answer_bill(answer, price).usd


def answer_bill(answer: Answer, price: Price | None) -> Bill:
    """Return the bill of an answer.

    A declared price stands above all. Else what the provider itself says that it charged is the bill, then our
    arithmetic, then what LiteLLM's function said when the answer was made.
    """
    return bill_of(answer, answer.usage, answer.billed, price)


def bill_of(answer: Answer, usage: Usage, billed: Billed, price: Price | None) -> Bill:
    """Do what :func:`answer_bill` does, given what it takes from the answer."""
    declared = price is not None and price.source == "declared"
    if billed.reported_usd is not None and not declared:
        return Bill(billed.reported_usd)
    own = bill(usage, price, billed)
    if own.usd is None and not declared and answer.litellm_usd is not None:
        return Bill(answer.litellm_usd)
    return own


def bill(usage: Usage, price: Price | None, billed: Billed = NOT_BILLED) -> Bill:
    """Return the bill of an answer's counts by our own arithmetic."""
    if price is None or usage.input_tokens is None or usage.output_tokens is None:
        return Bill(None)
    if not billed.counts and (price.listed is None or price.source == "declared"):
        return Bill(_plain_usd(usage, price, billed))
    listed = price.listed or {}
    rates = _declared_rates(price, listed) if price.source == "declared" else _listed_rates(price, usage, billed)
    unpriced = [*_special_conditions(price, listed, billed), *rates.unpriced]
    parts = [*_input_parts(usage, billed, rates), *_output_parts(usage, billed, rates)]
    fee = listed.get("search_usd")
    for name, count in billed.counts.items():
        if name == "searches" and isinstance(fee, int | float):
            parts.append(_Part(name, count, float(fee)))
        elif name not in _COUNTED:
            parts.append(_Part(name, count, None))
    unpriced += [
        f"{part.number:g} {part.name.replace('_', ' ')}" for part in parts if part.number and part.rate is None
    ]
    if unpriced:
        return Bill(None, tuple(unpriced))
    return Bill(sum(part.number * part.rate for part in parts if part.rate is not None))


def _plain_usd(usage: Usage, price: Price, billed: Billed) -> float:
    """Return what input, cached input and output cost, as most answers have them and most prices know them."""
    cached = usage.cached_input_tokens or 0
    cached_price = price.input_per_mtok if price.cached_input_per_mtok is None else price.cached_input_per_mtok
    output = (usage.output_tokens or 0) + ((usage.reasoning_tokens or 0) if billed.reasoning_apart else 0)
    return (
        max((usage.input_tokens or 0) - cached, 0) * price.input_per_mtok
        + cached * cached_price
        + output * price.output_per_mtok
    ) / MTOK


class _Part(NamedTuple):
    """One line of a bill."""

    name: str
    number: float
    rate: float | None
    """USD for each; None: there is no price."""


class _Rates(NamedTuple):
    """USD per token for one answer, its length and service tier taken into account."""

    input: float
    output: float
    cached: float
    reasoning: float
    writes: Mapping[str, float | None]
    """Of each kind of cache write."""
    kinds: Mapping[str, float | None]
    """Of audio, images and video, by the name of their count."""
    unpriced: tuple[str, ...] = ()


def _input_parts(usage: Usage, billed: Billed, rates: _Rates) -> Iterator[_Part]:
    counts = billed.counts
    cached = usage.cached_input_tokens or 0
    written = int(counts.get("cache_write_tokens", 0))
    # Cached tokens and those of audio and images are both parts of the input, and may overlap: what the cache
    # gave is not billed again.
    rest = max((usage.input_tokens or 0) - cached - written, 0)
    by_kind = {}
    for name, _, _ in _INPUT_KINDS:
        by_kind[name] = min(int(counts.get(name, 0)), rest)
        rest -= by_kind[name]
    yield _Part("input_tokens", rest, rates.input)
    for name, count in by_kind.items():
        yield _Part(name, count, rates.kinds.get(name))
    cached_by_kind = 0
    for name, _ in _CACHED_KINDS:
        count = min(int(counts.get(name, 0)), cached - cached_by_kind)
        cached_by_kind += count
        yield _Part(name, count, rates.kinds.get(name, rates.cached))
    yield _Part("cached_input_tokens", cached - cached_by_kind, rates.cached)
    longer = {name: int(counts.get(name, 0)) for name in _WRITES}
    for name, count in longer.items():
        yield _Part(name, count, rates.writes[name])
    yield _Part("cache_write_tokens", max(written - sum(longer.values()), 0), rates.writes["cache_write_tokens"])


def _output_parts(usage: Usage, billed: Billed, rates: _Rates) -> Iterator[_Part]:
    counts = billed.counts
    output, reasoning = usage.output_tokens or 0, usage.reasoning_tokens or 0
    if billed.reasoning_apart:
        output += reasoning
    by_kind = {name: int(counts.get(name, 0)) for name, _ in _OUTPUT_KINDS}
    reasoning = min(reasoning, output)
    yield _Part("output_tokens", max(output - reasoning - sum(by_kind.values()), 0), rates.output)
    yield _Part("reasoning_tokens", reasoning, rates.reasoning)
    for name, count in by_kind.items():
        yield _Part(name, count, rates.kinds.get(name))


def _declared_rates(price: Price, listed: Mapping[str, Any]) -> _Rates:
    """Return the rates of a declared price; what it does not declare is as listed, without tiers."""
    entry_input, output = price.input_per_mtok / MTOK, price.output_per_mtok / MTOK
    cached = entry_input if price.cached_input_per_mtok is None else price.cached_input_per_mtok / MTOK
    write = _number(listed, _WRITE_RATE)
    writes = {name: _first(_number(listed, key), write) for name, key in _WRITES.items()}
    kinds = {name: _kind_rate(listed, key, flag, "", entry_input) for name, key, flag in _INPUT_KINDS}
    kinds |= {name: _number(listed, key) for name, key in _OUTPUT_KINDS}
    return _Rates(entry_input, output, cached, output, {"cache_write_tokens": write, **writes}, kinds)


def _listed_rates(price: Price, usage: Usage, billed: Billed) -> _Rates:
    """Return the rates of LiteLLM's map for an answer of this length on this service tier."""
    entry: dict[str, Any] = {
        "input_cost_per_token": price.input_per_mtok / MTOK,
        "output_cost_per_token": price.output_per_mtok / MTOK,
    }
    if price.cached_input_per_mtok is not None:
        entry["cache_read_input_token_cost"] = price.cached_input_per_mtok / MTOK
    entry.update(price.listed or {})
    provider = str(entry.get("litellm_provider", ""))
    tokens = usage.input_tokens or 0
    by_length = _length_tier(entry, tokens)
    if by_length is not None:
        return _rates_of_length_tier(by_length, entry)
    tier = "" if provider in _WITHOUT_TIERS else _SUFFIX_OF_TIER.get(billed.service_tier or "", "")
    keys = {
        name: name for name in ("input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost")
    }
    keys |= {_WRITE_RATE: _WRITE_RATE, **{key: key for key in _WRITES.values()}}
    rates = {name: _tiered(entry, name, tier) for name in keys}
    # Of several thresholds that the input exceeds the highest that has a price decides, kind by kind.
    for threshold in _thresholds(entry, tokens, tier, inclusive=provider == "xai"):
        for name in rates:
            above = f"{name}_above_{threshold}_tokens"
            # A longer life's rate of the same service tier only: else the one below the threshold stays.
            found = _number(entry, above + tier) if name in _WRITES.values() else _tiered(entry, above, tier)
            rates[name] = _first(found, rates[name])
    base = rates["input_cost_per_token"] or 0.0
    output = rates["output_cost_per_token"] or 0.0
    cached = _first(rates["cache_read_input_token_cost"], base)
    write = rates[_WRITE_RATE]
    kinds: dict[str, float | None] = {}
    for name, key, flag in _INPUT_KINDS:
        # LiteLLM looks for the thresholds of audio alone.
        at = _highest_threshold(entry, key, tokens, tier) if name == "audio_input_tokens" else key
        kinds[name] = _kind_rate(entry, at, flag, tier, base)
    for name, key in _OUTPUT_KINDS:
        kinds[name] = _tiered(entry, key, tier if name == "image_output_tokens" else "")
    for name, key in _CACHED_KINDS:
        kinds[name] = _first(_tiered(entry, key, tier), cached)
    own_default = provider.startswith("fireworks_ai") and rates["cache_read_input_token_cost"] is None
    return _Rates(
        base,
        output,
        cached or 0.0,
        _reasoning_rate(entry, tier, output, provider),
        {"cache_write_tokens": write, **{name: _first(rates[key], write) for name, key in _WRITES.items()}},
        kinds,
        # LiteLLM has a share of the input's price for it.
        ("cached input of no listed price",) if own_default and usage.cached_input_tokens else (),
    )


def _reasoning_rate(entry: Mapping[str, Any], tier: str, output: float, provider: str) -> float:
    """Return the rate of reasoning, which is part of the output and mostly has its rate."""
    if provider == "xai":
        return output
    at_tier = _number(entry, f"output_cost_per_reasoning_token{tier}") if tier else None
    if at_tier is not None:
        return at_tier
    if tier and _number(entry, f"output_cost_per_token{tier}") is not None:
        return output
    own = _number(entry, "output_cost_per_reasoning_token")
    return output if own is None else own


def _length_tier(entry: Mapping[str, Any], tokens: int) -> Mapping[str, Any] | None:
    """Return the part of a table of prices by length that applies to all of an answer, or None without one."""
    table = entry.get("tiered_pricing")
    if not isinstance(table, list) or tokens <= 0:
        return None
    ranges = []
    for row in table:
        if isinstance(row, dict) and "input_cost_per_token" in row:
            bounds = row.get("range")
            if (
                isinstance(bounds, list)
                and len(bounds) == 2
                and all(isinstance(end, int | float) for end in bounds)
            ):
                ranges.append((bounds, row))
    ranges.sort(key=lambda each: each[0][0])
    fitting = [row for (low, high), row in ranges if low < tokens <= high]
    return fitting[0] if fitting else ranges[-1][1] if ranges else None


def _rates_of_length_tier(row: Mapping[str, Any], entry: Mapping[str, Any]) -> _Rates:
    base = _number(row, "input_cost_per_token") or 0.0
    own_output = _number(row, "output_cost_per_token")
    output = _first(own_output, _number(entry, "output_cost_per_token")) or 0.0
    reasoning = _number(row, "output_cost_per_reasoning_token")
    if own_output is None:
        reasoning = _first(reasoning, _number(entry, "output_cost_per_reasoning_token"))
    write = _number(row, _WRITE_RATE)
    return _Rates(
        base,
        output,
        _first(_number(row, "cache_read_input_token_cost"), base) or 0.0,
        output if reasoning is None else reasoning,
        {"cache_write_tokens": write, **{name: _first(_number(row, key), write) for name, key in _WRITES.items()}},
        {name: _kind_rate(entry, key, flag, "", base) for name, key, flag in _INPUT_KINDS}
        | {name: _number(entry, key) for name, key in _OUTPUT_KINDS},
    )


def _special_conditions(price: Price, listed: Mapping[str, Any], billed: Billed) -> Iterator[str]:
    """Yield what makes an answer costlier or cheaper by more than counts, where the map prices that."""
    if price.source == "declared":
        return
    if listed.get("off_peak_pricing"):
        yield "a price that changes by the hour"
    special = listed.get("provider_specific_entry")
    if isinstance(special, dict):
        yield from (f"the condition {name!r}" for name in billed.conditions if name in special)
    for name in billed.conditions:
        if name.endswith("_multiplier") and listed.get(name):
            yield f"the condition {name!r}"


def _thresholds(entry: Mapping[str, Any], tokens: int, tier: str, *, inclusive: bool) -> list[str]:
    """Return the thresholds that the input exceeds, as the names write them, the lowest first."""
    exceeded = {}
    for name in entry:
        match = _THRESHOLD.match(name) if "_above_" in name else None
        if match is not None and (match[3] or "") in ("", tier):
            least = int(match[1]) * (1000 if match[2] else 1)
            if tokens > least or (inclusive and tokens == least):
                exceeded[least] = match[1] + match[2]
    return [exceeded[least] for least in sorted(exceeded)]


def _highest_threshold(entry: Mapping[str, Any], key: str, tokens: int, tier: str) -> str:
    if not any(name.startswith(f"{key}_above_") for name in entry):
        return key
    pattern = re.compile(rf"^{key}_above_(\d+)(k?)_tokens(?:{tier})?$")
    highest, found = -1, key
    for name in entry:
        match = pattern.match(name)
        if match is not None:
            least = int(match[1]) * (1000 if match[2] else 1)
            if highest < least < tokens:
                highest, found = least, f"{key}_above_{match[1]}{match[2]}_tokens"
    return found


def _kind_rate(entry: Mapping[str, Any], key: str, flag: str, tier: str, base: float) -> float | None:
    """Return the rate of audio, image or video input.

    A model that takes it and has no rate of its own for it bills it as other input.
    """
    own = _tiered(entry, key, tier)
    return base if own is None and entry.get(flag) is True else own


def _tiered(entry: Mapping[str, Any], key: str, tier: str) -> float | None:
    """Return a rate of a service tier, or the ordinary one where the tier has none."""
    return _first(_number(entry, key + tier) if tier else None, _number(entry, key))


def _number(entry: Mapping[str, Any], key: str) -> float | None:
    value = entry.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _first(value: float | None, otherwise: float | None) -> float | None:
    return otherwise if value is None else value
