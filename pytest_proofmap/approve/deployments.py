"""The lock in LiteLLM's terms: deployments, and fallbacks that lead from rung to rung and nowhere else.

What LiteLLM 1.106 does with them, and how each is met:

* A fallback entry is a dict with one key and a list. Any exception of a deployment triggers it.
* ``context_window_fallbacks`` (and ``content_policy_fallbacks``) that are set for one model group switch the
  normal chain off for these errors in all others. All three lists are alike, so every error takes the same way.
* A group without an entry of its own falls to ``default_fallbacks``. Every hop, and every route with one rung,
  has an empty entry, which ends the way there.
* An empty list of entries is replaced by the process's own ``litellm.fallbacks``. There is always an entry.
* After ``max_fallbacks`` (5) hops LiteLLM gives up. The longest chain raises it.
* Without a timeout a call may take 6,000 seconds.
* ``model_info.id`` comes back as ``response._hidden_params["model_id"]``, and through the proxy in the header
  ``x-litellm-model-id``. It says which rung answered.
* A deployment's ``prompt_id`` is handed to the registered prompt manager: each rung renders its own prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from pytest_proofmap.approve.chains import packages, prompt_of
from pytest_proofmap.approve.models import Lock, Route
from pytest_proofmap.errors import LockError

__all__ = ["DEFAULT_TIMEOUT_S", "Deployment", "deployments_of", "group_name", "router_arguments"]

DEFAULT_TIMEOUT_S = 60.0
"""Of one attempt, as in a qualification."""

LITELLM_MAX_FALLBACKS = 5

_SAFE_IN_IDS = "/=@:,#%+"


class Deployment(NamedTuple):
    """One rung of a route as a LiteLLM deployment."""

    group: str
    """LiteLLM's model name: that of the route for the primary, one of its own for each fallback."""
    id: str
    """Comes back with the answer; printable ASCII, because the proxy sends it as a header."""
    rung: int
    """Place in the chain, from 0."""
    runtime: str
    """Key of the runtime."""
    prompt: str | None
    """Key of the prompt variant that it renders; None: the caller sends the messages."""


def group_name(route: str, package: str | None, among: Sequence[str]) -> str:
    """Return the model name under which a route is called: its own, or ``route:package`` where it has several."""
    return route if package is None or len(among) == 1 else f"{route}:{package}"


def deployments_of(lock: Lock, name: str, route: Route, *, with_prompts: bool) -> Iterator[list[Deployment]]:
    """Yield the chains of a route: one for each prompt package, or one when the caller sends the messages.

    Args:
        lock: The lock.
        name: Name of the route.
        route: The route, perhaps with a part of its chain only.
        with_prompts: Whether each rung renders its own prompt.

    Raises:
        LockError: A rung has no locked prompt variant, or LiteLLM would take the name for a pattern.
    """
    if "*" in name:
        raise LockError(
            f"LiteLLM takes the route {name!r} for a pattern, because of its '*'. Give the objective another name."
        )
    among: list[str] = packages(lock, route) if with_prompts else []
    choices: list[str | None] = [*among] or [None]
    for package in choices:
        group = group_name(name, package, among)
        chain = []
        for rung, key in enumerate(route.chain):
            own = group if rung == 0 else f"{group}#{rung}:{lock.runtimes[key].name}"
            prompt = None if package is None else prompt_of(lock, route, key, package)
            chain.append(Deployment(own, quote(f"{group}#{rung}:{key}", safe=_SAFE_IN_IDS), rung, key, prompt))
        yield chain


def router_arguments(
    lock: Lock,
    routes: Mapping[str, Route],
    *,
    with_prompts: bool = True,
    transport: Mapping[str, Mapping[str, Any]] | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    retries: int = 0,
) -> dict[str, Any]:
    """Return the keyword arguments of ``litellm.Router`` for some routes; environment references stay as they are.

    Args:
        lock: The lock.
        routes: Routes by name.
        with_prompts: Whether each rung renders its own prompt.
        transport: What a runtime's deployments need besides to be reached, such as ``api_key``, by runtime name.
        timeout_s: Timeout of one attempt.
        retries: How often a rung is tried again before the next one has its turn.

    Raises:
        LockError: There is no route, or two routes would share a model name.
    """
    chains = [
        chain
        for name, route in sorted(routes.items())
        for chain in deployments_of(lock, name, route, with_prompts=with_prompts)
    ]
    if not chains:
        raise LockError("the lock has no routes: approve one first, with proofmap approve EVIDENCE.")
    groups = [deployment.group for chain in chains for deployment in chain]
    if len(set(groups)) < len(groups):
        twice = sorted({group for group in groups if groups.count(group) > 1})
        raise LockError(f"two routes would share LiteLLM's model name {twice[0]!r}. Rename one of the objectives.")
    model_list = [
        _entry(lock, deployment, (transport or {}).get(lock.runtimes[deployment.runtime].name, {}))
        for chain in chains
        for deployment in chain
    ]
    longest = max(len(chain) for chain in chains) - 1
    return {
        "model_list": model_list,
        "fallbacks": _fallbacks(chains),
        "context_window_fallbacks": _fallbacks(chains),
        "content_policy_fallbacks": _fallbacks(chains),
        "max_fallbacks": max(longest, LITELLM_MAX_FALLBACKS),
        "num_retries": retries,
        "timeout": timeout_s,
    }


def _fallbacks(chains: Sequence[Sequence[Deployment]]) -> list[dict[str, list[str]]]:
    entries = []
    for chain in chains:
        entries.append({chain[0].group: [hop.group for hop in chain[1:]]})
        entries += [{hop.group: list[str]()} for hop in chain[1:]]
    return entries


def _entry(lock: Lock, deployment: Deployment, transport: Mapping[str, Any]) -> dict[str, Any]:
    runtime = lock.runtimes[deployment.runtime]
    carried = runtime.transport or {}
    params: dict[str, Any] = {**runtime.params, **carried, **transport, "model": runtime.model}
    headers = [each.get("extra_headers", {}) for each in (carried, transport, runtime.params)]
    if any(headers):
        # Those of the parameters come last: they choose the model, and are what was approved.
        params["extra_headers"] = {name: value for each in headers for name, value in each.items()}
    if runtime.api_base is not None:
        params["api_base"] = runtime.api_base
    if deployment.prompt is not None:
        params["prompt_id"] = deployment.prompt
    return {"model_name": deployment.group, "litellm_params": params, "model_info": {"id": deployment.id}}
