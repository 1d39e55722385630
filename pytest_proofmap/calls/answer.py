"""A model's answer: as it comes from one attempt, as it is stored, what it is billed by, and as a test gets it.

There is one stored format for the cache, the recordings and the wire. The response is an OpenAI-format chat
completion. A deterministic refusal of the provider (content policy, context window) is an answer too: it has
``refusal`` in place of ``response``.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic_core import from_json

from pytest_proofmap.calls.request import plain_copy
from pytest_proofmap.errors import ReplyError
from pytest_proofmap.files import check_depth

__all__ = [
    "Answer",
    "Refusal",
    "Reply",
    "Usage",
]


class Usage(NamedTuple):
    """Tokens that an answer used, as the model reported them; None when it did not."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    """Input tokens that the provider served from its prompt cache."""
    reasoning_tokens: int | None = None


NO_USAGE = Usage()


class Refusal(NamedTuple):
    """A provider's refusal to answer: its exception class and redacted message."""

    error_class: str
    message: str


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


class Answer(NamedTuple):
    """One stored answer with the request that it answers and how it was made."""

    request: dict[str, Any]
    """The request's content (:meth:`pytest_proofmap.calls.request.Request.content`)."""
    response: dict[str, Any] | None
    """OpenAI-format chat completion; None for a refusal."""
    refusal: Refusal | None = None
    latency_s: float | None = None
    """Duration of the successful attempt, without queueing and backoff."""
    made_at: str | None = None
    """UTC ISO 8601 time at which it was made."""
    concurrency: int | None = None
    """How many calls to the same provider were under way, this one included."""
    usage_estimated: bool = False
    """True when the token counts were estimated and not reported by the model."""
    attempts: int = 1
    """How many times the request was sent."""
    run: str | None = None
    """Id of the run that paid for it, as the cache keeps it; recordings leave it out."""
    lane: str | None = None
    """``hook``: the project's own client gave it; None: LiteLLM did."""
    served: Mapping[str, str] = MappingProxyType({})
    """What decides its price and is not in the response: ``service_tier``, ``region_name``."""
    litellm_usd: float | None = None
    """What LiteLLM's own function said that it costs, where our arithmetic does not reach."""

    def to_json(self) -> str:
        """Return the answer as one line of JSON, the format of recordings and cache entries."""
        content = self.content()
        text = json.dumps(content, ensure_ascii=False)
        try:
            text.encode()
        except UnicodeEncodeError:
            # Half a surrogate pair, as a model may send it, has no UTF-8 form but has a JSON escape.
            return json.dumps(content)
        return text

    def content(self) -> dict[str, Any]:
        """Return what :meth:`to_json` writes, as an object."""
        refusal = self.refusal and {"class": self.refusal.error_class, "message": self.refusal.message}
        return {
            "request": self.request,
            "response": self.response,
            "latency_s": self.latency_s,
            "made_at": self.made_at,
            "concurrency": self.concurrency,
            "usage_estimated": self.usage_estimated,
            "refusal": refusal,
            "attempts": self.attempts,
            **({"run": self.run} if self.run else {}),
            **({"lane": self.lane} if self.lane else {}),
            **({"served": dict(self.served)} if self.served else {}),
            **({"litellm_usd": self.litellm_usd} if self.litellm_usd is not None else {}),
        }

    def require_readable(self) -> None:
        """Check that the answer can be read back from where it is kept, else it would be paid again each time.

        Raises:
            ValueError: It is nested too deeply.
        """
        try:
            check_depth(self.response)
        except ValueError:
            # Some of what is deeper can be read, and is no reason to lose what was paid.
            try:
                self.from_json(self.to_json())
            except (ValueError, RecursionError):
                raise ValueError("the response nests lists and objects too deeply to be kept") from None

    @classmethod
    def from_json(cls, text: str | bytes) -> Answer:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: The text is not JSON or not an answer; the message says what is missing.
        """
        try:
            data = from_json(text)
        except ValueError:
            # The quicker reader refuses what JSON allows: half a surrogate pair as an escape.
            data = json.loads(text)
            check_depth(data)
        return cls.from_content(data)

    @classmethod
    def from_content(cls, data: object) -> Answer:
        """Read what :meth:`content` returned.

        Raises:
            ValueError: It is not an answer; the message says what is missing.
        """
        if not isinstance(data, dict) or not isinstance(data.get("request"), dict):
            raise ValueError("an answer needs an object 'request'")
        response, refusal = data.get("response"), data.get("refusal")
        if refusal is not None:
            if not isinstance(refusal, dict) or "class" not in refusal:
                raise ValueError("'refusal' needs a 'class'")
            if response is not None and not isinstance(response, dict):
                raise ValueError("'response' is no object")
            refusal = Refusal(str(refusal["class"]), str(refusal.get("message", "")))
        elif not isinstance(response, dict) or _choice(response) is None:
            raise ValueError("an answer needs a 'response' with 'choices', or a 'refusal'")
        return cls(
            request=data["request"],
            response=response,
            refusal=refusal,
            latency_s=_seconds(data.get("latency_s")),
            made_at=_text(data.get("made_at")),
            concurrency=number_of(data.get("concurrency")),
            usage_estimated=data.get("usage_estimated") is True,
            attempts=number_of(data.get("attempts", 1)) or 0,
            run=_text(data.get("run")),
            lane=_text(data.get("lane")),
            served=_texts(data.get("served")),
            litellm_usd=_seconds(data.get("litellm_usd")),
        )

    @property
    def message(self) -> dict[str, Any]:
        """The assistant message of the first choice; empty for a refusal."""
        choice = _choice(self.response)
        message = choice.get("message") if choice else None
        return message if isinstance(message, dict) else {}

    @property
    def text(self) -> str:
        """The answer's text, ``""`` when the model sent none."""
        content = self.message.get("content")
        if isinstance(content, list):
            return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
        return content if isinstance(content, str) else ""

    @property
    def tool_calls(self) -> list[Any] | None:
        """The tool calls of the answer in OpenAI format, or None."""
        tool_calls = self.message.get("tool_calls")
        return tool_calls if isinstance(tool_calls, list) and tool_calls else None

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped, in OpenAI's words."""
        choice = _choice(self.response)
        return _text(choice.get("finish_reason")) if choice else None

    @property
    def model(self) -> str | None:
        """The model that served the answer, if it said so."""
        return _text(self.response.get("model")) if self.response else None

    @property
    def usage(self) -> Usage:
        """The tokens used."""
        usage = self.response.get("usage") if self.response else None
        if not isinstance(usage, dict):
            return NO_USAGE
        cached = _detail(usage.get("prompt_tokens_details"), "cached_tokens")
        for name in ("cache_read_input_tokens", "prompt_cache_hit_tokens"):
            # As Anthropic and DeepSeek call it, where nobody has translated.
            cached = number_of(usage.get(name)) if cached is None else cached
        return Usage(
            input_tokens=number_of(usage.get("prompt_tokens")),
            output_tokens=number_of(usage.get("completion_tokens")),
            cached_input_tokens=cached,
            reasoning_tokens=_detail(usage.get("completion_tokens_details"), "reasoning_tokens"),
        )

    @property
    def billed(self) -> Billed:
        """What it is billed by beside input, output and cached input."""
        return billed_by(self.request, self.response, self.served) if self.response else NOT_BILLED


def _texts(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        return MappingProxyType({})
    return {str(name): text for name, text in value.items() if isinstance(text, str)}


def _detail(details: object, name: str) -> int | None:
    return number_of(details.get(name)) if isinstance(details, dict) else None


def _seconds(value: object) -> float | None:
    return value if isinstance(value, int | float) and 0 <= value <= MOST else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _choice(response: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the first choice of a response, or None when it has none."""
    try:
        choice = response["choices"][0] if response else None
    except (KeyError, IndexError, TypeError):
        return None
    return choice if isinstance(choice, dict) else None


class Reply:
    """A model's answer, as a test sees it.

    The same object describes a live, a cached and a recorded answer; :attr:`cached` tells them apart. What it
    returns is the test's own: changing it changes neither the evidence nor another reply.
    """

    __slots__ = ("_answer", "_cached", "_cost_usd", "_own", "_parsed", "_response_class")

    def __init__(
        self, answer: Answer, *, cached: bool, cost_usd: float | None, response_class: type[Any] | None = None
    ) -> None:
        self._answer = answer
        self._cached = cached
        self._cost_usd = cost_usd
        self._response_class = response_class
        self._parsed: Any = None
        self._own: dict[str, Any] | None = None
        """This reply's own copy of the response, made when a part of it is first asked for."""

    @property
    def text(self) -> str:
        """The answer's text, ``""`` when the model sent none."""
        return self._answer.text

    @property
    def parsed(self) -> Any:
        """The answer as an instance of the pydantic class given as ``response_format``.

        Raises:
            ReplyError: No pydantic class was given.
            pydantic.ValidationError: The text is not JSON of that class, which makes the test fail.
        """
        if self._response_class is None:
            raise ReplyError(
                "Reply.parsed needs a pydantic class: runtime.complete(..., response_format=MyModel). "
                "Without one, read Reply.text."
            )
        if self._parsed is None:
            self._parsed = self._response_class.model_validate_json(self._answer.text)
        return self._parsed

    @property
    def message(self) -> dict[str, Any]:
        """The assistant message, to append to a conversation; a copy each time."""
        message: dict[str, Any] = plain_copy(self._answer.message)
        return message

    @property
    def tool_calls(self) -> list[Any]:
        """The tool calls in OpenAI format, empty when the model made none."""
        return self._answer._replace(response=self.raw).tool_calls or []

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped: ``stop``, ``length``, ``tool_calls``, ``content_filter``."""
        return self._answer.finish_reason

    @property
    def usage(self) -> Usage:
        """The tokens used: input, output, cached input, reasoning."""
        return self._answer.usage

    @property
    def cost_usd(self) -> float | None:
        """Cost of the answer in USD; None when the price or the usage is unknown."""
        return self._cost_usd

    @property
    def latency_s(self) -> float | None:
        """Duration of the real call in seconds, also when it is replayed; None when it was not recorded."""
        return self._answer.latency_s

    @property
    def model(self) -> str | None:
        """The model that served the answer."""
        return self._answer.model or self._answer.request.get("model")

    @property
    def cached(self) -> bool:
        """Whether the answer came from the cache or from recordings."""
        return self._cached

    @property
    def raw(self) -> dict[str, Any]:
        """The whole response as an OpenAI-format dict."""
        if self._own is None:
            self._own = plain_copy(self._answer.response or {})
        return self._own

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        return f"<Reply {text!r} from {self.model}>"


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
    return {str(annotation.get("type")) for annotation in annotations if isinstance(annotation, dict)}


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
