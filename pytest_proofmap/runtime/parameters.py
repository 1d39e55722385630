"""What a runtime's ``params`` may hold: parameters of the model, and no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_proofmap.environment import ENVIRONMENT_PREFIX, is_environment_reference
from pytest_proofmap.runtime.redaction import hide_patterns, is_secret_name, looks_like_key, secrets_of_url
from pytest_proofmap.runtime.request import canonical_json

__all__ = ["problem_with_api_base", "problem_with_params"]

RESERVED_PARAMS = frozenset({"api_base", "base_url", "messages", "model", "stream"})
HEADER_PARAMS = frozenset({"extra_headers", "headers"})

_SECRET_PARAM = re.compile(
    r"(?:api|access|private|secret)_key(?:_id)?$|secret|password"
    r"|(?:access|ad|auth|bearer|identity|session)_token$",
    re.IGNORECASE,
)


def problem_with_params(params: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a runtime's parameters, or None.

    The message names a secret's place and never its value.
    """
    for name, value in params.items():
        if name in RESERVED_PARAMS:
            return f"{name!r} is not a parameter: the runtime's own keys and the test decide it"
        try:
            canonical_json(value)
        except (TypeError, ValueError) as error:
            return (
                f"{name!r} is {hide_patterns(repr(value))}, which cannot be sent as JSON ({error}); allowed are "
                "strings, finite numbers, booleans, lists and tables"
            )
        place = _secret_in(name, value, is_header=name in HEADER_PARAMS, place=name)
        if place is not None:
            return (
                f"{place!r} holds a secret: secrets never live in the file; "
                f'write {place.rpartition(".")[2]} = "{ENVIRONMENT_PREFIX}NAME"'
            )
    return None


def problem_with_api_base(api_base: str) -> str | None:
    """Return what is wrong with an endpoint as it is written, or None; the message does not repeat it."""
    if is_environment_reference(api_base) or not (secrets_of_url(api_base) or looks_like_key(api_base)):
        return None
    return (
        "api_base holds a user, a password or a key: secrets never live in the file. Put the address into an "
        f'environment variable, and write api_base = "{ENVIRONMENT_PREFIX}NAME"'
    )


def _secret_in(name: str, value: object, *, is_header: bool, place: str) -> str | None:
    """Return the dotted place of a secret that is written out, or None."""
    if isinstance(value, dict):
        inside = [(str(inner), item, f"{place}.{inner}") for inner, item in value.items()]
    elif isinstance(value, list):
        inside = [(name, item, place) for item in value]
    else:
        inside = []
    for inner, item, where in inside:
        found = _secret_in(inner, item, is_header=is_header, place=where)
        if found is not None:
            return found
    if not isinstance(value, str) or is_environment_reference(value):
        return None
    looks_secret = is_secret_name(name) if is_header else _SECRET_PARAM.search(name) is not None
    return place if looks_secret or looks_like_key(value) else None
