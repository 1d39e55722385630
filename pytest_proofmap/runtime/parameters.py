"""What a runtime's ``params`` may hold: parameters of the model, and no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_proofmap.environment import ENVIRONMENT_PREFIX, is_environment_reference
from pytest_proofmap.runtime.redaction import is_secret_name
from pytest_proofmap.runtime.request import canonical_json

__all__ = ["problem_with_params"]

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
                f"{name!r} is {value!r}, which cannot be sent as JSON ({error}); allowed are strings, finite "
                "numbers, booleans, lists and tables"
            )
        place = _secret_in(name, value, is_header=name in HEADER_PARAMS)
        if place is not None:
            return (
                f"{place!r} holds a secret: secrets never live in the file; "
                f'write {place.rpartition(".")[2]} = "{ENVIRONMENT_PREFIX}NAME"'
            )
    return None


def _secret_in(name: str, value: object, *, is_header: bool, place: str = "") -> str | None:
    """Return the dotted place of a secret that is written out, or None."""
    place = f"{place}.{name}" if place else name
    if isinstance(value, dict):
        found = (_secret_in(str(inner), item, is_header=is_header, place=place) for inner, item in value.items())
        return next((each for each in found if each is not None), None)
    if not isinstance(value, str) or is_environment_reference(value):
        return None
    looks_secret = is_secret_name(name) if is_header else _SECRET_PARAM.search(name) is not None
    return place if looks_secret else None
