"""A lock in use: the entries of its chains with their own locked prompts, and its routes' LiteLLM Routers."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pytest_proofmap.environment import ENVIRONMENT_PREFIX, is_environment_reference
from pytest_proofmap.errors import ConfigurationError, LockError, PromptError, did_you_mean
from pytest_proofmap.evidence.models import Price
from pytest_proofmap.lock.litellm import router_arguments
from pytest_proofmap.lock.models import Lock, LockedRuntime, Route
from pytest_proofmap.lock.propose import packages, prompt_of
from pytest_proofmap.parameters import TRANSPORT_PARAMS
from pytest_proofmap.prompts.template import MessageTemplate

__all__ = ["Rung", "ServedLock", "compile_prompts", "rungs_of"]


@dataclass(frozen=True)
class Rung:
    """One runtime of an approved chain."""

    name: str
    """Of the runtime, as in the configuration that it was qualified with."""
    model: str
    """LiteLLM model id."""
    provider: str
    params: Mapping[str, Any]
    """Parameters that it was qualified with; ``os.environ/NAME`` unexpanded."""
    api_base: str | None
    """As written in the configuration, ``os.environ/NAME`` unexpanded."""
    price: Price | None
    """What it cost when it was approved."""
    key: str
    """Of the runtime in the lock."""
    transport: Mapping[str, Any]
    """Parameters that name the environment variables by which it is reached; unexpanded, as ``api_key``."""
    _templates: Mapping[str, MessageTemplate] = field(repr=False, compare=False)
    """Prompt variant by package."""
    _known: Mapping[str, frozenset[str]] = field(repr=False, compare=False)
    """By package, all names that any rung's variant uses."""

    def render(self, package: str, /, **variables: object) -> list[dict[str, Any]]:
        """Return this rung's own messages, from the prompt variant that was approved for it.

        Variables never create messages. One that only another rung's variant uses is left out.

        Raises:
            LockError: The route was approved without that prompt package.
            PromptError: A variable is missing, or no rung's variant uses it.
        """
        template = self._template(package)
        for name in variables:
            if name not in self._known[package]:
                raise PromptError(
                    f"No rung of the route uses the variable {name!r} in the prompt {package!r}."
                    f"{did_you_mean(name, sorted(self._known[package]))}"
                )
        return template.render({name: value for name, value in variables.items() if name in template.names})

    def _template(self, package: str) -> MessageTemplate:
        if package not in self._templates:
            raise LockError(
                f"the route was approved without the prompt package {package!r}."
                f"{did_you_mean(package, list(self._templates))} It has: "
                f"{', '.join(sorted(self._templates)) or 'none; send messages with complete() instead'}."
            )
        return self._templates[package]


def compile_prompts(lock: Lock) -> dict[str, MessageTemplate]:
    """Return the compiled prompt variants of a lock by their keys."""
    return {key: MessageTemplate.of_messages(prompt.messages, prompt.file) for key, prompt in lock.prompts.items()}


def rungs_of(lock: Lock, name: str, route: Route, templates: Mapping[str, MessageTemplate]) -> tuple[Rung, ...]:
    """Return the rungs of a route, or of a part of its chain.

    Args:
        lock: The lock.
        name: Name of the route.
        route: The route, perhaps with a part of its chain only.
        templates: The lock's compiled prompt variants.

    Raises:
        LockError: A rung has no locked prompt variant.
    """
    whole = lock.routes[name]
    among = packages(lock, whole)
    by_rung = {
        key: {package: templates[prompt_of(lock, whole, key, package)] for package in among} for key in whole.chain
    }
    known = {
        package: frozenset[str]().union(*(prompts[package].names for prompts in by_rung.values()))
        for package in among
    }
    return tuple(_rung(key, lock.runtimes[key], by_rung[key], known) for key in route.chain)


def _rung(
    key: str,
    runtime: LockedRuntime,
    templates: Mapping[str, MessageTemplate],
    known: Mapping[str, frozenset[str]],
) -> Rung:
    return Rung(
        name=runtime.name,
        model=runtime.model,
        provider=runtime.provider,
        params=runtime.params,
        api_base=runtime.api_base,
        price=runtime.price,
        key=key,
        transport=runtime.transport or {},
        _templates=templates,
        _known=known,
    )


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
        from pytest_proofmap.lock.litellm import new_router, register_prompts

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
