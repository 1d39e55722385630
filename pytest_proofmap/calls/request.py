"""A request to a runtime, the key that finds its answer again, and the runtime that a stored one belongs to.

The key is the SHA-256 of the canonical JSON of everything that may change the answer, and of nothing else:
credentials, headers, timeouts, retries and test names are not in it, and ``api_base`` is in it as the
configuration writes it (``os.environ/NAME`` unexpanded), so that a local server's port does not matter. Structured
output is asked for by a pydantic class, as the strict JSON Schema that OpenAI-format APIs take.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pytest_proofmap.errors import RequestError
from pytest_proofmap.text import canonical_json

if TYPE_CHECKING:
    from pytest_proofmap.evidence.models import Role

__all__ = ["KEY_SCHEMA", "Request", "SampleId", "describe_secret", "owners", "plain_copy", "response_format_of"]


KEY_SCHEMA = 1
"""Version of the key's ingredients; raising it makes cached answers misses, recordings stay valid."""


_KINDS: dict[str, type] = {"params": dict, "api_base": str, "tools": list, "response_format": dict, "sample": int}


def plain_copy(value: Any) -> Any:
    """Return a copy of what JSON can express that shares no dict and no list with the original."""
    if isinstance(value, dict):
        return {key: plain_copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_copy(item) for item in value]
    return value


class Request(NamedTuple):
    """Everything that may change a model's answer."""

    model: str
    """LiteLLM model id."""
    messages: list[dict[str, Any]]
    """OpenAI-format chat messages."""
    params: dict[str, Any]
    """Model parameters such as ``temperature``, without the transport's own."""
    api_base: str | None = None
    """As written in the configuration."""
    tools: list[Any] | None = None
    response_format: dict[str, Any] | None = None
    sample: int = 0
    """Index of the sample: repeats never share one answer."""

    def content(self) -> dict[str, Any]:
        """Return the request as recordings and the cache store it."""
        return {
            "model": self.model,
            "api_base": self.api_base,
            "messages": self.messages,
            "params": self.params,
            "tools": self.tools,
            "response_format": self.response_format,
            "sample": self.sample,
        }

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Request:
        """Build a request from what :meth:`content` returned.

        Raises:
            KeyError: ``model`` or ``messages`` is missing.
            TypeError: A field has the wrong type.
        """
        model, messages = content["model"], content["messages"]
        if not isinstance(model, str) or not isinstance(messages, list):
            raise TypeError("a request needs a string 'model' and a list 'messages'")
        if not all(isinstance(message, dict) for message in messages):
            raise TypeError("each of a request's 'messages' is an object")
        for name, kind in _KINDS.items():
            if not isinstance(content.get(name), kind | None):
                raise TypeError(f"a request's {name!r} is no {kind.__name__}")
        return cls(
            model=model,
            messages=messages,
            params=content.get("params") or {},
            api_base=content.get("api_base"),
            tools=content.get("tools"),
            response_format=content.get("response_format"),
            sample=content.get("sample") or 0,
        )

    def copied(self) -> Request:
        """Return a copy that shares nothing with the original that can be changed."""
        return Request(
            self.model,
            plain_copy(self.messages),
            plain_copy(self.params),
            self.api_base,
            self.tools and plain_copy(self.tools),
            self.response_format and plain_copy(self.response_format),
            self.sample,
        )

    def key(self) -> str:
        """Return the key under which the answer is stored: 64 hexadecimal digits."""
        return self.identity()[0]

    def identity(self) -> tuple[str, str]:
        """Return the key and the canonical JSON that it is made of."""
        text = canonical_json({"schema": KEY_SCHEMA, **self.content()})
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), text


def describe_secret(origin: str) -> str:
    """Return why a request that holds a secret is not sent.

    Args:
        origin: Where the secret is from.
    """
    return (
        f"the request holds a secret from {origin}. Requests are kept whole in the cache, the recordings and the "
        "evidence: leave it out, or send a placeholder in its place. What merely authorizes the call goes into "
        "the runtime's api_key or extra_headers, which are never kept. If it is no secret: a variable counts as "
        "one for a name such as ..._KEY, _TOKEN or _PASSWORD; unset it for the run, or rename it."
    )


@dataclass(frozen=True, slots=True)
class SampleId:
    """Which sample a test item is: who asks."""

    criterion: str
    case: str
    slice: str | None
    runtime: str
    role: Role
    sample: int


class _Runtime(Protocol):
    @property
    def model(self) -> str: ...
    @property
    def api_base(self) -> str | None: ...
    @property
    def key_params(self) -> dict[str, Any]: ...


def owners(request: Mapping[str, Any], runtimes: Mapping[str, _Runtime]) -> set[str]:
    """Return the names of the runtimes that a stored request may have been made by.

    Model and endpoint decide; among runtimes that share both, the one whose parameters the request has.
    Several names are returned when the request fits several equally well.
    """
    params = request.get("params") or {}
    fit = {
        name: sum(1 if params.get(param) == value else -1 for param, value in runtime.key_params.items())
        for name, runtime in runtimes.items()
        if (runtime.model, runtime.api_base) == (request.get("model"), request.get("api_base"))
    }
    best = max(fit.values(), default=0)
    return {name for name, score in fit.items() if score == best}


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
