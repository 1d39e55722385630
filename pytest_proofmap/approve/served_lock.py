"""A lock in use: its routes' LiteLLM Routers, and the environment that these are made with."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pytest_proofmap.approve.deployments import router_arguments
from pytest_proofmap.approve.models import Lock, Route
from pytest_proofmap.approve.rungs import compile_prompts
from pytest_proofmap.environment import ENVIRONMENT_PREFIX, is_environment_reference
from pytest_proofmap.errors import ConfigurationError, LockError, did_you_mean
from pytest_proofmap.runtime.messagetemplate import MessageTemplate
from pytest_proofmap.runtime.parameters import TRANSPORT_PARAMS

__all__ = ["ServedLock"]

_OPENAI_KEY = "OPENAI_API_KEY"


class ServedLock:
    """One lock as it was read, with what is made from it once."""

    def __init__(self, lock: Lock, transport: Mapping[str, Mapping[str, Any]]) -> None:
        self.lock = lock
        self._transport = _checked_transport(lock, transport)
        self._routers: dict[tuple[str, ...], tuple[Mapping[str, str], Any]] = {}
        self._making = threading.Lock()

    @cached_property
    def templates(self) -> dict[str, MessageTemplate]:
        """The compiled prompt variants by their keys."""
        return compile_prompts(self.lock)

    def check_environment(self) -> None:
        """Check that the environment variables that the lock's runtimes name are set.

        Raises:
            ConfigurationError: One is not. LiteLLM would call another address without it.
        """
        for runtime in self.lock.runtimes.values():
            named = {**runtime.params, **(runtime.transport or {}), "api_base": runtime.api_base}
            given = self._transport.get(runtime.name, {})
            _with_environment({**named, **given}, f"the runtime {runtime.name}")

    def router(self, name: str, route: Route) -> Any:
        """Return the Router of a route, a new one when an environment variable that it names has changed."""
        arguments = self._arguments({name: route})
        environment = _environment_of([*arguments["model_list"], f"{ENVIRONMENT_PREFIX}{_OPENAI_KEY}"])
        key = (name, *route.chain)
        with self._making:
            present = self._routers.get(key)
            if present is None or present[0] != environment:
                present = self._routers[key] = environment, self._make(arguments)
        return present[1]

    def new_router(self, routes: Mapping[str, Route], kwargs: Mapping[str, Any]) -> Any:
        """Return a new Router of some routes."""
        return self._make({**self._arguments(routes), **kwargs})

    def _arguments(self, routes: Mapping[str, Route]) -> dict[str, Any]:
        return router_arguments(self.lock, routes, transport=self._transport)

    def _make(self, arguments: Mapping[str, Any]) -> Any:
        from pytest_proofmap.approve.router import new_router, register_prompts

        model_list = [_reachable(_expanded(entry)) for entry in arguments["model_list"]]
        register_prompts(self.templates)
        return new_router({**arguments, "model_list": model_list})


def _checked_transport(lock: Lock, transport: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return what runtimes need to be reached.

    Raises:
        LockError: A name is no runtime's, or no parameter of the transport.
    """
    known = sorted({runtime.name for runtime in lock.runtimes.values()})
    for name, values in transport.items():
        if name not in known:
            raise LockError(
                f"transport={{{name!r}: ...}}: the lock has no such runtime.{did_you_mean(name, known)} It has: "
                f"{', '.join(known)}."
            )
        for param in values:
            if param not in TRANSPORT_PARAMS:
                raise LockError(
                    f"transport={{{name!r}: {{{param!r}: ...}}}}: that is not about reaching the model. Allowed: "
                    f"{', '.join(sorted(TRANSPORT_PARAMS))}. What changes its answers is the lock's to decide."
                )
    return dict(transport)


def _environment_of(value: object) -> dict[str, str]:
    """Return the environment variables that a value names, with what they hold; those not set are left out."""
    found: dict[str, str] = {}
    if isinstance(value, Mapping):
        for item in value.values():
            found.update(_environment_of(item))
    elif isinstance(value, list):
        for item in value:
            found.update(_environment_of(item))
    elif is_environment_reference(value):
        name = str(value)[len(ENVIRONMENT_PREFIX) :]
        if name in os.environ:
            found[name] = os.environ[name]
    return found


def _expanded(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deployment with its environment references replaced.

    Raises:
        ConfigurationError: A variable is not set. LiteLLM would call another address without it.
    """
    return {**entry, "litellm_params": _with_environment(entry["litellm_params"], entry["model_name"])}


def _with_environment(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _with_environment(item, f"{where}: {name}") for name, item in value.items()}
    if isinstance(value, list):
        return [_with_environment(item, where) for item in value]
    if not is_environment_reference(value):
        return value
    name = str(value)[len(ENVIRONMENT_PREFIX) :]
    if not os.environ.get(name):
        raise ConfigurationError(f"{where} is {value!r}, but the environment variable {name} is not set. Set it.")
    return os.environ[name]


def _reachable(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a deployment that calls a server of one's own without a key, as it was qualified."""
    params = entry["litellm_params"]
    is_own = str(params["model"]).startswith("openai/") and params.get("api_base") and not params.get("api_key")
    if is_own and not os.environ.get(_OPENAI_KEY):
        params["api_key"] = "none"
    return entry
