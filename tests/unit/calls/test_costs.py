"""What an answer costs, and that it agrees with LiteLLM's own arithmetic."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import warnings
from importlib.metadata import version
from typing import Any, NamedTuple

import pytest

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.costs import answer_bill, answer_cost
from pytest_proofmap.calls.prices import _entries, bundled_price
from pytest_proofmap.evidence.models import Price

WITH_ITS_ARITHMETIC = pytest.mark.skipif(
    tuple(map(int, version("litellm").split(".")[:2])) < (1, 109),
    reason="older versions of LiteLLM leave service tiers and fees out themselves",
)

PLAIN = {"prompt_tokens": 1000, "completion_tokens": 200}
LONG = {"prompt_tokens": 300_000, "completion_tokens": 2000, "prompt_tokens_details": {"cached_tokens": 100_000}}
WRITES = {
    "prompt_tokens": 5000,
    "completion_tokens": 200,
    "prompt_tokens_details": {"cached_tokens": 1000, "cache_creation_tokens": 3000},
}
LONG_LIVED_WRITES = {
    "prompt_tokens": 5000,
    "completion_tokens": 200,
    "prompt_tokens_details": {
        "cached_tokens": 1000,
        "cache_creation_tokens": 3000,
        "cache_creation_token_details": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
    },
}
AUDIO = {
    "prompt_tokens": 1000,
    "completion_tokens": 900,
    "prompt_tokens_details": {"audio_tokens": 500},
    "completion_tokens_details": {"audio_tokens": 700},
}
IMAGE = {"prompt_tokens": 1000, "completion_tokens": 200, "prompt_tokens_details": {"image_tokens": 500}}
SHAPES: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "cached": {**PLAIN, "prompt_tokens": 5000, "prompt_tokens_details": {"cached_tokens": 4000}},
    "reasoning": {**PLAIN, "completion_tokens": 2000, "completion_tokens_details": {"reasoning_tokens": 1500}},
    "long": LONG,
    "at 128k": {"prompt_tokens": 128_001, "completion_tokens": 10},
    "at 200k": {"prompt_tokens": 200_000, "completion_tokens": 10},
    "writes": WRITES,
    "writes of an hour": LONG_LIVED_WRITES,
    "audio": AUDIO,
    "audio in": {**PLAIN, "prompt_tokens_details": {"audio_tokens": 500}},
    "image": IMAGE,
    "reported": {**PLAIN, "cost": 0.0123},
}
TIERS = ("priority", "flex")

EVERYWHERE = ("plain", "cached", "reasoning", "long", "at 128k", "at 200k")
MODELS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            *(
                "openai/gpt-4o",
                "openai/gpt-4o-mini",
                "openai/gpt-4.1",
                "openai/gpt-4.1-mini",
                "openai/gpt-4.1-nano",
            ),
            *(
                "openai/gpt-5",
                "openai/gpt-5-mini",
                "openai/gpt-5-nano",
                "openai/o1",
                "openai/o3",
                "openai/o3-mini",
            ),
            *("openai/o4-mini", "openai/gpt-4-turbo", "openai/gpt-3.5-turbo", "openai/gpt-4o-2024-08-06"),
            *("azure/gpt-4o", "azure/gpt-4o-mini", "azure/gpt-4.1", "azure/gpt-5", "azure/o3-mini"),
            *("mistral/mistral-large-latest", "mistral/mistral-small-latest", "mistral/codestral-latest"),
            *("groq/llama-3.3-70b-versatile", "groq/llama-3.1-8b-instant", "cerebras/llama3.1-8b"),
            *(
                "xai/grok-3",
                "xai/grok-3-mini",
                "xai/grok-4",
                "deepseek/deepseek-chat",
                "deepseek/deepseek-reasoner",
            ),
            *(
                "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
                "deepinfra/meta-llama/Llama-3.3-70B-Instruct",
            ),
            *("cohere/command-r", "cohere/command-r-plus", "cohere/command-a-03-2025"),
            *("dashscope/qwen-max", "dashscope/qwen-plus", "dashscope/qwen-turbo", "dashscope/qwen3-max"),
            *("dashscope/qwen3-coder-plus", "moonshot/kimi-latest", "sambanova/Meta-Llama-3.3-70B-Instruct"),
            *("bedrock/amazon.nova-pro-v1:0", "bedrock/us.amazon.nova-lite-v1:0"),
            *("bedrock/meta.llama3-1-70b-instruct-v1:0", "bedrock/us.meta.llama3-3-70b-instruct-v1:0"),
            *("bedrock/converse/mistral.mistral-large-2407-v1:0", "bedrock/cohere.command-r-plus-v1:0"),
            *("openai/gpt-5.4", "openai/gpt-5.6-terra", "xai/grok-4.3", "anthropic/claude-sonnet-latest"),
        ),
        EVERYWHERE,
    ),
    **dict.fromkeys(
        (
            *("anthropic/claude-3-7-sonnet-20250219", "anthropic/claude-sonnet-4-20250514"),
            *("anthropic/claude-opus-4-20250514", "anthropic/claude-haiku-4-5", "anthropic/claude-sonnet-4-5"),
            *("anthropic/claude-opus-4-1", "anthropic/claude-haiku-5-5", "anthropic/claude-sonnet-5-5"),
            *(
                "bedrock/anthropic.claude-3-5-haiku-20241022-v1:0",
                "bedrock/anthropic.claude-3-haiku-20240307-v1:0",
            ),
            *("bedrock/converse/us.anthropic.claude-sonnet-4-20250514-v1:0", "vertex_ai/claude-sonnet-4"),
            *("bedrock/invoke/anthropic.claude-sonnet-4-5-20250929-v1:0", "vertex_ai/claude-haiku-4-5"),
            *(
                "bedrock/converse/eu.anthropic.claude-haiku-4-5-20251001-v1:0",
                "bedrock/converse/anthropic.claude-haiku-5-5",
            ),
        ),
        (*EVERYWHERE, "writes", "writes of an hour"),
    ),
    **dict.fromkeys(
        (
            *("gemini/gemini-2.5-pro", "gemini/gemini-2.5-flash", "gemini/gemini-2.5-flash-lite"),
            *("gemini/gemini-2.0-flash", "vertex_ai/gemini-2.5-pro", "vertex_ai/gemini-2.5-flash"),
        ),
        (*EVERYWHERE, "audio in", "image"),
    ),
    **dict.fromkeys(
        ("openai/gpt-4o-audio-preview", "openai/gpt-audio", "openai/gpt-audio-mini"), ("plain", "audio")
    ),
    "openrouter/openai/gpt-4o-mini": (*EVERYWHERE, "reported"),
    "openrouter/anthropic/claude-sonnet-4": (*EVERYWHERE, "reported"),
}

ASK_LITELLM = """
import json, os, sys, warnings
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_MODE"] = "PRODUCTION"
warnings.simplefilter("ignore")
import litellm
litellm.suppress_debug_info = True
from litellm.types.utils import ModelResponse, Usage
for model, usage, tier in json.load(sys.stdin):
    usage = Usage(total_tokens=usage["prompt_tokens"] + usage["completion_tokens"], **usage)
    response = ModelResponse(model=model, choices=[], usage=usage)
    if tier:
        response.service_tier = tier
    try:
        usd = litellm.completion_cost(completion_response=response, model=model)
    except Exception:
        usd = None
    print("usd", json.dumps([usd, json.loads(usage.model_dump_json(exclude_none=True))]))
"""


class Row(NamedTuple):
    """One answer of the table."""

    model: str
    shape: str
    tier: str | None


def table() -> list[Row]:
    """Return the rows of models that the installed map still has; the others are told of."""
    gone = [model for model in MODELS if bundled_price(model) is None]
    if gone:
        warnings.warn(f"no longer in LiteLLM's map: {', '.join(gone)}", UserWarning, stacklevel=1)
    models = {model: shapes for model, shapes in MODELS.items() if model not in gone}
    # Others take the places of those that are gone.
    others = (
        f"{provider}/{name.removeprefix(provider + '/')}"
        for name, entry in sorted(_entries().items())
        if (provider := entry.get("litellm_provider")) in ("anthropic", "azure", "mistral", "openai")
        and entry.get("mode") == "chat"
    )
    for model in itertools.islice((each for each in others if bundled_price(each)), len(gone)):
        models.setdefault(model, ("plain", "cached", "reasoning"))
    return [
        Row(model, shape, tier)
        for model, shapes in models.items()
        for shape in shapes
        for tier in (None, *(TIERS if shape in ("plain", "long") else ()))
    ]


@pytest.mark.filterwarnings("default:no longer in LiteLLM's map:UserWarning")
@WITH_ITS_ARITHMETIC
def test_our_arithmetic_agrees_with_litellms() -> None:
    """Every model and shape of the table costs what LiteLLM's function says, to the billionth of a dollar."""
    rows = table()
    assert len({row.model for row in rows}) >= 60
    asked = json.dumps([[row.model, SHAPES[row.shape], row.tier] for row in rows])
    ran = subprocess.run(
        [sys.executable, "-c", ASK_LITELLM], input=asked, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line[4:]) for line in ran.stdout.splitlines() if line.startswith("usd ")]
    wrong = []
    for row, (usd, usage) in zip(rows, lines, strict=True):
        ours = answer_cost(answer(row.model, usage, service_tier=row.tier), bundled_price(row.model))
        if usd is None or ours is None or not math.isclose(ours, usd, rel_tol=1e-6, abs_tol=1e-9):
            wrong.append((row, ours, usd))
    assert wrong == []


def answer(model: str, usage: dict[str, Any], message: dict[str, Any] | None = None, **response: Any) -> Answer:
    """Return an answer with a usage."""
    response = {name: value for name, value in response.items() if value is not None}
    choices = [{"message": message or {"content": "ok"}}]
    return Answer({"model": model, "params": {}}, {"choices": choices, "usage": usage, **response})


DECLARED = Price(input_per_mtok=1.0, output_per_mtok=2.0)


@pytest.mark.parametrize(
    ("usage", "message", "what"),
    [
        (WRITES, None, "3000 cache write tokens"),
        (AUDIO, None, "500 audio input tokens"),
        ({**PLAIN, "completion_tokens_details": {"image_tokens": 9}}, None, "9 image output tokens"),
        ({**PLAIN, "server_tool_use": {"web_search_requests": 2}}, None, "2 searches"),
        (PLAIN, {"annotations": [{"type": "url_citation"}]}, "1 searches"),
        ({**PLAIN, "citation_tokens": 40}, None, "40 citation tokens"),
    ],
)
def test_what_is_billed_apart_and_has_no_price_makes_the_cost_unknown(
    usage: dict[str, Any], message: dict[str, Any] | None, what: str
) -> None:
    """The cost is not the lower sum of what has a price, and the bill says what has none."""
    bill = answer_bill(answer("openai/own", usage, message), DECLARED)
    assert bill.usd is None
    assert what in bill.unpriced


def test_zeros_and_reasoning_are_nothing_extra() -> None:
    """A count of zero needs no price, and reasoning is part of the output."""
    usage = {
        **PLAIN,
        "prompt_tokens_details": {"audio_tokens": 0, "cache_creation_tokens": 0, "web_search_requests": 0},
        "completion_tokens_details": {"reasoning_tokens": 150, "image_tokens": 0},
    }
    assert answer_cost(answer("openai/own", usage), DECLARED) == pytest.approx((1000 * 1 + 200 * 2) / 1e6)


def test_reasoning_that_was_not_counted_as_output_is_added() -> None:
    """Where the total shows that reasoning came on top, it is billed on top."""
    usage = {**PLAIN, "completion_tokens_details": {"reasoning_tokens": 150}, "total_tokens": 1350}
    assert answer_cost(answer("openai/own", usage), DECLARED) == pytest.approx((1000 * 1 + 350 * 2) / 1e6)


def test_a_declared_price_stands_above_tiers_and_reports() -> None:
    """Neither a service tier nor what the provider says changes what was declared; the rest is as listed."""
    listed = {"input_cost_per_token_priority": 9.0, "cache_creation_input_token_cost": 5e-6}
    price = DECLARED.model_copy(update={"listed": listed})
    priced = answer_cost(answer("openai/own", {**WRITES, "cost": 7.0}, service_tier="priority"), price)
    assert priced == pytest.approx((1000 * 1 + 1000 * 1 + 3000 * 5 + 200 * 2) / 1e6)


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        ("openrouter/a/b", {**PLAIN, "cost": 0.5}, 0.5),
        ("openrouter/a/b", {**PLAIN, "cost": 0}, 0.0),
        ("openrouter/a/b", {**PLAIN, "cost": 0.01, "is_byok": True}, None),
        (
            "openrouter/a/b",
            {**PLAIN, "cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}},
            0.21,
        ),
        ("perplexity/x", {**PLAIN, "cost": {"total_cost": 0.006}}, 0.006),
        ("openai/local", {**PLAIN, "cost": 0}, None),
        ("openai/local", {**PLAIN, "cost": -1}, None),
        ("openai/local", {**PLAIN, "cost": float("nan")}, None),
        ("openai/local", {**PLAIN, "cost": True}, None),
    ],
)
def test_what_the_provider_reports_is_the_bill(model: str, usage: dict[str, Any], usd: float | None) -> None:
    """A reported cost needs no price; zero is one only where zero is reported of what is given away."""
    assert answer_cost(answer(model, usage), None) == pytest.approx(usd)


def test_the_tier_that_served_is_billed() -> None:
    """Asked for in vain it costs nothing; where the response is silent the request decides."""
    listed = {"input_cost_per_token_flex": 0.5e-6, "output_cost_per_token_flex": 1e-6}
    price = Price(input_per_mtok=1.0, output_per_mtok=2.0, source="litellm", listed=listed)
    request = {"model": "openai/x", "params": {"service_tier": "flex"}}
    response = {"choices": [{"message": {}}], "usage": PLAIN}
    ordinary = pytest.approx(1400 / 1e6)
    assert answer_cost(Answer(request, {**response, "service_tier": "default"}), price) == ordinary
    assert answer_cost(Answer(request, {**response, "service_tier": "auto"}), price) == pytest.approx(700 / 1e6)
    assert answer_cost(Answer(request, response), price) == pytest.approx(700 / 1e6)


def test_what_litellm_said_is_kept_with_the_answer() -> None:
    """It is the cost where ours is unknown, comes back from JSON, and gives way to a declared price."""
    price = Price(input_per_mtok=3.0, output_per_mtok=15.0, source="litellm")
    searched = answer("perplexity/sonar-pro", {**PLAIN, "prompt_tokens_details": {"web_search_requests": 1}})
    assert answer_cost(searched, price) is None
    kept = Answer.from_json(searched._replace(litellm_usd=0.012, served={"service_tier": "flex"}).to_json())
    assert answer_cost(kept, price) == 0.012
    assert kept.served == {"service_tier": "flex"}
    assert answer_cost(kept, DECLARED) is None
    assert "litellm_usd" not in searched.content()


ASK_CLIENT = """
import asyncio, json, os, sys
from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.lanes.lane import LiveCall
from pytest_proofmap.calls.lanes.litellm import LiteLLMLane
from pytest_proofmap.calls.prices import bundled_price
from pytest_proofmap.redaction import Redactor

async def price():
    client = LiteLLMLane(Redactor({}))
    for model, usage in json.load(sys.stdin):
        request = {"model": model, "messages": [], "params": {}}
        message = {"role": "assistant", "content": "ok"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        answer = Answer(request, {"choices": [choice], "usage": usage})
        call = LiveCall("key", "runtime", "provider", request, {}, bundled_price(model))
        usd = (await client.priced(call, answer)).litellm_usd
        print("usd", json.dumps(usd), "litellm" in sys.modules, flush=True)

asyncio.run(price())
os._exit(0)
"""


@WITH_ITS_ARITHMETIC
def test_the_rest_is_asked_of_litellm_when_the_answer_is_made() -> None:
    """A search's fee is what LiteLLM says, which is not even imported for an answer that is plain tokens."""
    tokens = {"prompt_tokens": 50, "completion_tokens": 20, "total_tokens": 70}
    searched = {**tokens, "prompt_tokens_details": {"web_search_requests": 1}}
    model = "perplexity/sonar-pro"
    if bundled_price(model) is None:
        pytest.skip(f"{model} is no longer in LiteLLM's map")
    asked = json.dumps([[model, tokens], ["openai/no-such-model", searched], [model, searched]])
    ran = subprocess.run(
        [sys.executable, "-c", ASK_CLIENT], input=asked, capture_output=True, text=True, check=True
    )
    plain, unlisted, fee = [line[4:] for line in ran.stdout.splitlines() if line.startswith("usd ")]
    assert plain == unlisted == "null False"
    usd, _, imported = fee.partition(" ")
    of_tokens = answer_cost(answer(model, tokens), bundled_price(model))
    assert of_tokens is not None
    assert float(usd) > 5 * of_tokens
    assert imported == "True"


@pytest.mark.parametrize(
    "model",
    [
        "bedrock/anthropic.claude-x-v1:0",
        "bedrock/converse/anthropic.claude-x-v1:0",
        "bedrock/invoke/us.anthropic.claude-x-v1:0",
        "bedrock/converse/us-east-1/anthropic.claude-x-v1:0",
        "bedrock/eu.anthropic.claude-x-v1:0",
        "bedrock/us.anthropic.claude-x-v1:0:200k",
        "bedrock/converse/arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-x-v1:0",
    ],
)
def test_ids_of_bedrock_lead_to_their_model(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Route, region and profile in an id change nothing of which model it is."""
    from pytest_proofmap.calls import prices

    entry = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "litellm_provider": "bedrock_converse"}
    monkeypatch.setattr(prices, "_entries", lambda: {"anthropic.claude-x-v1:0": entry})
    monkeypatch.setattr(prices, "_entry", prices._entry.__wrapped__)
    price = bundled_price(model)
    assert price is not None
    assert price.input_per_mtok == 1.0


def test_a_region_with_a_price_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The region's price is taken where the id names the region."""
    from pytest_proofmap.calls import prices

    def entry(usd: float) -> dict[str, Any]:
        return {"input_cost_per_token": usd, "output_cost_per_token": usd, "litellm_provider": "bedrock"}

    entries = {"vendor.m": entry(1e-6), "bedrock/us-gov-west-1/vendor.m": entry(3e-6)}
    monkeypatch.setattr(prices, "_entries", lambda: entries)
    monkeypatch.setattr(prices, "_entry", prices._entry.__wrapped__)
    found = [bundled_price(f"bedrock/converse/{region}vendor.m") for region in ("", "us-gov-west-1/")]
    assert [price and price.input_per_mtok for price in found] == [1.0, 3.0]
