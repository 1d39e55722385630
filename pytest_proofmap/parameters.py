"""What a runtime's ``params`` may hold: parameters of the model, and no secret."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from pytest_proofmap.environment import ENVIRONMENT_PREFIX, is_environment_reference
from pytest_proofmap.redaction import hide_patterns, is_secret_name, looks_like_key, secrets_of_url
from pytest_proofmap.text import canonical_json

__all__ = [
    "TRANSPORT_PARAMS",
    "part_key_headers",
    "problem_with_answerer",
    "problem_with_api_base",
    "problem_with_params",
]


TRANSPORT_PARAMS = frozenset(
    {"api_key", "extra_headers", "headers", "max_retries", "num_retries", "organization", "timeout"}
)
"""Parameters that say how to reach the model and never what it answers: not in the key, never stored."""


HEADER_PARAMS = ("headers", "extra_headers")
"""The parameters among them that hold headers."""


def part_key_headers(
    params: Mapping[str, Any], names: Collection[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Part parameters into how to reach the model and the headers that choose it, which are part of the request.

    Args:
        params: Parameters as a runtime or a call has them.
        names: Names of these headers, in lower case (``key_headers`` of the configuration).

    Returns:
        The parameters without these headers, and the headers as a parameter of the request; empty without any.
    """
    rest = dict(params)
    chosen: dict[str, Any] = {}
    for place in HEADER_PARAMS if names else ():
        headers = params.get(place)
        if isinstance(headers, Mapping):
            chosen |= {name.lower(): value for name, value in headers.items() if name.lower() in names}
            rest[place] = {name: value for name, value in headers.items() if name.lower() not in names}
    return rest, {"extra_headers": chosen} if chosen else {}


RESERVED_PARAMS = frozenset({"api_base", "base_url", "messages", "model", "stream"})
_OTHER_ANSWERERS = frozenset(
    {
        "azure",
        "custom_llm_provider",
        "default_fallbacks",
        "deployment_id",
        "engine",
        "model_alias_map",
        "model_group_alias",
        "model_list",
        "models",
        "prompt_id",
        "prompt_label",
        "prompt_variables",
        "prompt_version",
        "specific_deployment",
        "use_litellm_proxy",
    }
)
"""LiteLLM's parameters by which another model, deployment or prompt than the configured one answers, beside those
that ``_names_other_answerer`` knows by their form; ``models`` and ``model_list`` are gateways' too."""

_DECLARED_ONCE = frozenset({"azure", "custom_llm_provider", "deployment_id", "engine", "use_litellm_proxy"})
"""What a runtime may say of itself, for all of its calls, and a single call may not."""

_SECRET_PARAM = re.compile(
    r"(?:api|access|private|secret)_key(?:_id)?$|secret|password"
    r"|(?:access|ad|auth|bearer|identity|session)_token$",
    re.IGNORECASE,
)


def problem_with_params(params: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a runtime's parameters, or None.

    The message names a secret's place and never its value.
    """
    answerer = problem_with_answerer(params, declared=True)
    if answerer is not None:
        return answerer
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


def problem_with_answerer(params: Mapping[str, Any], *, declared: bool = False) -> str | None:
    """Return which parameter would let something else than the runtime's model answer, and what to do; or None.

    Args:
        params: Parameters of a runtime or a call.
        declared: Whether they are the runtime's own.
    """
    body = params.get("extra_body")
    inside = (
        {f"extra_body.{name}": (name, value) for name, value in body.items()} if isinstance(body, dict) else {}
    )
    for place, (name, value) in {**{name: (name, value) for name, value in params.items()}, **inside}.items():
        own = declared and name in _DECLARED_ONCE and place == name
        in_body = place != name and (name == "model" or (name == "route" and value == "fallback"))
        if own or not (in_body or _names_other_answerer(name, value)):
            continue
        if name.startswith("mock_"):
            return (
                f"{place!r} is not allowed: LiteLLM would make up the answer itself. For answers without calls "
                "use recordings, or the hook pytest_proofmap_call"
            )
        return (
            f"{place!r} is not allowed: something else than the runtime's own model could answer, and a runtime "
            "is measured alone. Configure what it names as a runtime of its own; an approved route has fallbacks"
        )
    return None


def _names_other_answerer(name: str, value: object) -> bool:
    """Whether a parameter of this name may change who answers."""
    if name == "disable_fallbacks" or value is None:
        return False
    return "fallback" in name or name.startswith("mock_") or name in _OTHER_ANSWERERS


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
