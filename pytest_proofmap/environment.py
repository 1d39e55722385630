"""References to environment variables, ``os.environ/NAME``: the configuration names secrets, it holds none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pytest_proofmap.errors import ConfigurationError

NO_DOTENV = "ProofMap and LiteLLM read no .env file here: export its variables first, or let a plugin load them"
"""Said where a key is missing: many keep it in that file, and another tool read it."""

__all__ = [
    "ENVIRONMENT_PREFIX",
    "expand_environment",
    "holds_reference",
    "is_environment_reference",
    "only_references",
    "references_in",
    "with_known_references",
]

ENVIRONMENT_PREFIX = "os.environ/"


def is_environment_reference(value: object) -> bool:
    """Return whether a value is written as ``os.environ/NAME``."""
    return isinstance(value, str) and value.startswith(ENVIRONMENT_PREFIX)


def holds_reference(value: object) -> bool:
    """Return whether a value is an ``os.environ/NAME`` reference or a list or table with one."""
    if isinstance(value, dict):
        return any(holds_reference(item) for item in value.values())
    if isinstance(value, list):
        return any(holds_reference(item) for item in value)
    return is_environment_reference(value)


def references_in(value: object) -> set[str]:
    """Return the names of the variables that a value, or what is inside of its lists and tables, refers to."""
    if isinstance(value, dict):
        return {name for item in value.values() for name in references_in(item)}
    if isinstance(value, list):
        return {name for item in value for name in references_in(item)}
    return {str(value)[len(ENVIRONMENT_PREFIX) :]} if is_environment_reference(value) else set()


def only_references(value: object) -> Any:
    """Return what of a value are ``os.environ/NAME`` references, also those in a table; None when nothing is."""
    if isinstance(value, dict):
        found = {key: only_references(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item is not None} or None
    return value if is_environment_reference(value) else None


def expand_environment(value: object, where: str, environment: Mapping[str, str] | None = None) -> object:
    """Return the value with ``os.environ/NAME`` references replaced, also inside lists and tables.

    Raises:
        ConfigurationError: A named variable is not set.
    """
    environment = os.environ if environment is None else environment
    if isinstance(value, dict):
        return {key: expand_environment(item, where, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [expand_environment(item, where, environment) for item in value]
    if not is_environment_reference(value):
        return value
    name = str(value)[len(ENVIRONMENT_PREFIX) :]
    if not environment.get(name):
        raise ConfigurationError(
            f"{where} is {value!r}, but the environment variable {name} is not set. "
            f"Set {name}, or run with --proofmap-cache=replay, which needs no endpoint. {NO_DOTENV}."
        )
    return environment[name]


def with_known_references(value: Any, environment: Mapping[str, str] | None = None) -> Any:
    """Return the value with those ``os.environ/NAME`` references replaced whose variables are set."""
    environment = os.environ if environment is None else environment
    if isinstance(value, dict):
        return {key: with_known_references(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [with_known_references(item, environment) for item in value]
    if is_environment_reference(value):
        return environment.get(str(value)[len(ENVIRONMENT_PREFIX) :], value)
    return value
