"""The rungs of an approved chain, each with its own locked prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_proofmap.approve.chains import packages, prompt_of
from pytest_proofmap.approve.models import Lock, LockedRuntime, Route
from pytest_proofmap.errors import LockError, PromptError, did_you_mean
from pytest_proofmap.evidence.models import Price
from pytest_proofmap.runtime.messagetemplate import MessageTemplate

__all__ = ["Rung", "compile_prompts", "rungs_of"]


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
    by_rung = {key: {each: templates[prompt_of(lock, whole, key, each)] for each in among} for key in whole.chain}
    known = {each: frozenset[str]().union(*(own[each].names for own in by_rung.values())) for each in among}
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
