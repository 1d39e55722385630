"""Structured output: a pydantic class as the strict JSON Schema that OpenAI-format APIs take."""

from __future__ import annotations

import re
from typing import Any

from pytest_proofmap.errors import RequestError

__all__ = ["response_format_of"]

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
