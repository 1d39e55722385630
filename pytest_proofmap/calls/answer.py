"""A model's answer: as it comes from one attempt, as it is stored, and as a test gets it.

There is one stored format for the cache, the recordings and the wire. The response is an OpenAI-format chat
completion. A deterministic refusal of the provider (content policy, context window) is an answer too: it has
``refusal`` in place of ``response``. Structured output is asked for by a pydantic class, as the strict JSON Schema
that OpenAI-format APIs take.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic_core import from_json

from pytest_proofmap.calls.billed import MOST, NOT_BILLED, Billed, billed_by, number_of
from pytest_proofmap.calls.request import plain_copy
from pytest_proofmap.errors import ReplyError, RequestError
from pytest_proofmap.files import check_depth

__all__ = [
    "Answer",
    "Refusal",
    "Reply",
    "Usage",
    "response_format_of",
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


MAPS_OF_SCHEMAS = ("$defs", "definitions", "properties")
LISTS_OF_SCHEMAS = ("anyOf", "oneOf", "prefixItems")
SCHEMAS = ("items", "additionalProperties")


def response_format_of(model_class: type[Any]) -> dict[str, Any]:
    """Return the ``response_format`` that asks a model for an instance of a pydantic class.

    Strict schemas close every object, require every property and carry no defaults: whether a field may be
    left out is said by its type (``str | None``).

    Args:
        model_class: A pydantic model class.

    Raises:
        RequestError: A field's type has no JSON Schema.
    """
    from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

    try:
        schema = model_class.model_json_schema()
    except (PydanticInvalidForJsonSchema, PydanticUserError) as error:
        problem = str(error).splitlines()[0]
        raise RequestError(
            f"response_format={model_class.__name__} has no JSON Schema: {problem}. Use fields that JSON can hold."
        ) from error
    return {
        "type": "json_schema",
        "json_schema": {
            "name": re.sub(r"[^A-Za-z0-9_-]", "_", model_class.__name__),
            "schema": _strict(schema, schema, ()),
            "strict": True,
        },
    }


def _strict(schema: Any, root: dict[str, Any], inlined: tuple[str, ...]) -> Any:
    """Return the strict form of a schema; ``inlined`` are the references being resolved around it."""
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if reference is not None and len(schema) > 1:
        # A strict reference stands alone: what is said beside it is joined with what it points to.
        if reference in inlined:
            return {"$ref": reference}
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return _strict({**_resolve(reference, root), **beside}, root, (*inlined, reference))
    strict: dict[str, Any] = {}
    for key, value in schema.items():
        if key in MAPS_OF_SCHEMAS and isinstance(value, dict):
            around = inlined if key == "properties" else ()
            strict[key] = {name: _strict(entry, root, around) for name, entry in value.items()}
        elif key in LISTS_OF_SCHEMAS and isinstance(value, list):
            strict[key] = [_strict(entry, root, inlined) for entry in value]
        elif key in SCHEMAS:
            strict[key] = _strict(value, root, inlined)
        elif key == "allOf" and isinstance(value, list):
            parts = [_strict(entry, root, inlined) for entry in value]
            strict.update(parts[0] if len(parts) == 1 else {key: parts})
        elif key != "default":
            strict[key] = value
    if strict.get("type") == "object":
        strict.setdefault("additionalProperties", False)
    if isinstance(strict.get("properties"), dict):
        strict["required"] = list(strict["properties"])
    return strict


def _resolve(reference: str, root: dict[str, Any]) -> dict[str, Any]:
    target: Any = root
    for key in reference.removeprefix("#/").split("/"):
        target = target[key.replace("~1", "/").replace("~0", "~")]
    return dict(target)
