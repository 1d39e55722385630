"""Locks as an approval writes them, built from a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_proofmap.lock.file import signed, write_lock
from pytest_proofmap.lock.models import Approval, Lock, LockedPrompt, LockedRuntime, Route, RouteEvidence

__all__ = ["PROMPTS", "RUNTIMES", "lock_of", "locked", "route_to"]

RUNTIMES: dict[str, dict[str, Any]] = {
    "mini": {"model": "openai/mini", "variant": "mini", "api_base": "os.environ/MINI_BASE"},
    "haiku": {"model": "openai/haiku", "api_base": "os.environ/HAIKU_BASE"},
    "base": {"model": "openai/base", "api_base": "os.environ/BASE_BASE", "params": {"temperature": 0}},
}
"""What differs from a runtime without parameters, variant and endpoint."""

PROMPTS: dict[str, list[dict[str, Any]]] = {
    "triage.default": [
        {"role": "system", "content": "Sort the ticket. One word."},
        {"role": "user", "content": "{{ ticket }}"},
    ],
    "triage.mini": [{"role": "user", "content": "Ticket ({{ language }}): {{ ticket }}"}],
}
"""Messages by package and variant."""


def route_to(
    *chain: str, decision: str = "promoted", prompts: Sequence[str] = tuple(PROMPTS), expires_at: str | None = None
) -> dict[str, Any]:
    """Return a route in the words of :func:`lock_of`."""
    return {"chain": chain, "decision": decision, "prompts": prompts, "expires_at": expires_at}


def lock_of(
    routes: Mapping[str, Mapping[str, Any]],
    *,
    runtimes: Mapping[str, Mapping[str, Any]] | None = None,
    prompts: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Lock:
    """Return a signed lock.

    Args:
        routes: Routes by name, each of :func:`route_to`.
        runtimes: Runtimes by name, as :data:`RUNTIMES`.
        prompts: Prompts by package and variant, as :data:`PROMPTS`.
    """
    runtimes = RUNTIMES if runtimes is None else runtimes
    prompts = PROMPTS if prompts is None else prompts
    return signed(
        Lock(
            runtimes={f"{name}@0123456789ab": _runtime(name, **each) for name, each in runtimes.items()},
            prompts={f"{name}@ba9876543210": _prompt(name, messages) for name, messages in prompts.items()},
            routes={name: _route(**each) for name, each in routes.items()},
        ),
        routes,
    )


def locked(path: Path, routes: Mapping[str, Mapping[str, Any]], **content: Any) -> Path:
    """Write the lock of :func:`lock_of` and return its path."""
    write_lock(path, lock_of(routes, **content))
    return path


def _runtime(
    name: str,
    *,
    model: str,
    variant: str | None = None,
    api_base: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> LockedRuntime:
    return LockedRuntime(
        name=name,
        model=model,
        provider=model.partition("/")[0],
        params=dict(params or {}),
        variant=variant,
        api_base=api_base,
        price=None,
    )


def _prompt(name: str, messages: Sequence[Mapping[str, Any]]) -> LockedPrompt:
    package, _, variant = name.partition(".")
    file = f"prompts/{package}.prompt" if variant == "default" else f"prompts/{name}.prompt"
    return LockedPrompt(name=package, variant=variant, file=file, messages=[*map(dict, messages)])


def _route(*, chain: Sequence[str], decision: Any, prompts: Sequence[str], expires_at: str | None) -> Route:
    return Route(
        chain=[f"{name}@0123456789ab" for name in chain],
        prompts=[f"{name}@ba9876543210" for name in prompts],
        decision=decision,
        reason="it is cheaper",
        criteria={"tests/test_triage.py::test_label": "source:1/bar:2/cases:3"},
        evidence=RouteEvidence(run="r", sha256="0" * 64, cases=60, pass_rates=dict.fromkeys(chain, 1.0)),
        approval=Approval(by="Ada", at="2025-01-01T00:00:00Z", reason="looked at it", expires_at=expires_at),
        digest="",
    )
