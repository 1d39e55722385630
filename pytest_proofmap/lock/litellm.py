"""LiteLLM in production: its Router, and the prompt manager by which each deployment renders its own prompt.

Beside ``calls/lanes/litellm.py`` the only file that imports LiteLLM. That one runs in a process of its own; this
one is a guest in the application's, so that it leaves alone what LiteLLM holds for the whole process.

The lock in LiteLLM's terms: deployments, and fallbacks that lead from rung to rung and nowhere else.

What LiteLLM 1.106 does with them, and how each is met:

* A fallback entry is a dict with one key and a list. Any exception of a deployment triggers it.
* ``context_window_fallbacks`` (and ``content_policy_fallbacks``) that are set for one model group switch the
  normal chain off for these errors in all others. All three lists are alike, so every error takes the same way.
  https://github.com/BerriAI/litellm/pull/2783
* A group without an entry of its own falls to ``default_fallbacks``. Every hop, and every route with one rung,
  has an empty entry, which ends the way there. https://github.com/BerriAI/litellm/issues/3623
* An empty list of entries is replaced by the process's own ``litellm.fallbacks``. There is always an entry.
* After ``max_fallbacks`` (5) hops LiteLLM gives up (https://github.com/BerriAI/litellm/issues/6498). The longest
  chain raises it.
* Without a timeout a call may take 6,000 seconds.
* ``model_info.id`` comes back as ``response._hidden_params["model_id"]``, and through the proxy in the header
  ``x-litellm-model-id``. It says which rung answered.
* A deployment's ``prompt_id`` is handed to the registered prompt manager: each rung renders its own prompt.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

from pytest_proofmap.errors import LockError, PromptError
from pytest_proofmap.lock.models import Lock, Route
from pytest_proofmap.lock.propose import packages, prompt_of
from pytest_proofmap.prompts.template import MessageTemplate

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "Deployment",
    "deployments_of",
    "new_router",
    "register_prompts",
    "router_arguments",
]


_AT_IMPORT = {
    # At import LiteLLM fetches a price map from the network, and loads .env into the environment.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
}

# Routers may be made in several threads of an application, and there is one manager.
_REGISTERING = threading.Lock()


class LockedTemplates:
    """Prompt templates by their keys in the lock, which are made of their content: equal keys, equal prompts."""

    def __init__(self) -> None:
        self._templates: dict[str, MessageTemplate] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._templates

    def add(self, templates: Mapping[str, MessageTemplate]) -> None:
        """Know some more templates."""
        self._templates = {**self._templates, **templates}

    def messages(
        self, key: str, variables: Mapping[str, object] | None, follow: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return a prompt's messages with the caller's own after them.

        LiteLLM asks twice for an asynchronous call, the second time with what it was given the first time.

        Args:
            key: Key of a template.
            variables: Of the prompt; those that it does not use are for other rungs of the chain.
            follow: The messages of the call.

        Raises:
            PromptError: A variable is missing, or an expression fails.
        """
        template = self._templates[key]
        given = {name: value for name, value in (variables or {}).items() if name in template.names}
        rendered = template.render(given)
        if follow[: len(rendered)] == rendered:
            return follow
        return rendered + follow


def new_router(arguments: Mapping[str, Any]) -> Any:
    """Return a new ``litellm.Router``."""
    return _litellm().Router(**arguments)


def register_prompts(templates: Mapping[str, MessageTemplate]) -> Any:
    """Have LiteLLM render some prompts in this process, and return the prompt manager that does it.

    There is one for the process: LiteLLM asks each of ``litellm.callbacks`` for each call.
    """
    litellm = _litellm()
    kind = _prompt_manager_class()
    with _REGISTERING:
        manager = next((callback for callback in litellm.callbacks if isinstance(callback, kind)), None)
        if manager is None:
            manager = kind()
            litellm.callbacks.append(manager)
        manager.templates.add(templates)
    return manager


def _litellm() -> Any:
    if "litellm" in sys.modules:
        import litellm

        return litellm
    with _environment(_AT_IMPORT):
        import litellm
    # Else it prints advertisements for its issue tracker to standard output when a call fails. An application that
    # had imported LiteLLM itself has chosen.
    # https://github.com/BerriAI/litellm/blob/main/litellm/litellm_core_utils/exception_mapping_utils.py
    litellm.suppress_debug_info = True
    return litellm


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that are not set, for a while."""
    missing = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


@functools.cache
def _prompt_manager_class() -> type[Any]:
    import litellm
    from litellm.exceptions import BadRequestError
    from litellm.integrations.custom_prompt_management import CustomPromptManagement

    class ProofmapPrompts(CustomPromptManagement):
        """Renders the prompts of ProofMap's locks; of no other id."""

        def __init__(self) -> None:
            super().__init__()
            self.templates = LockedTemplates()

        def has_secret_manager(self) -> bool:
            """Return whether LiteLLM looks up ``os.environ/NAME`` elsewhere than in the environment."""
            return getattr(litellm, "secret_manager_client", None) is not None

        def should_run_prompt_management(self, prompt_id: str | None, *_: Any, **__: Any) -> bool:
            return prompt_id in self.templates

        def get_chat_completion_prompt(  # type: ignore[override]  # its arguments grow from version to version
            self,
            model: str,
            messages: list[dict[str, Any]],
            non_default_params: dict[str, Any],
            prompt_id: str | None = None,
            prompt_variables: dict[str, Any] | None = None,
            *_: Any,
            **__: Any,
        ) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
            if prompt_id is None:
                return model, messages, non_default_params
            if prompt_id not in self.templates:
                raise BadRequestError(
                    f"ProofMap: the prompt {prompt_id!r} is not in the lock that this process has read. Export "
                    "the configuration anew from this lock, or have PROOFMAP_LOCK name the one it was made from.",
                    model=model,
                    llm_provider="",
                )
            try:
                rendered = self.templates.messages(prompt_id, prompt_variables, messages)
            except PromptError as error:
                raise BadRequestError(f"ProofMap: {error}", model=model, llm_provider="") from error
            return model, rendered, non_default_params

        async def async_get_chat_completion_prompt(  # type: ignore[override]  # as above
            self, *arguments: Any, **named: Any
        ) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
            # Only this method is given it.
            named.pop("litellm_logging_obj", None)
            return self.get_chat_completion_prompt(*arguments, **named)

    return ProofmapPrompts


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
            hop = group if rung == 0 else f"{group}#{rung}:{lock.runtimes[key].name}"
            prompt = None if package is None else prompt_of(lock, route, key, package)
            chain.append(Deployment(hop, quote(f"{group}#{rung}:{key}", safe=_SAFE_IN_IDS), rung, key, prompt))
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
    headers = [params.get("extra_headers", {}) for params in (carried, transport, runtime.params)]
    if any(headers):
        # Those of the parameters come last: they choose the model, and are what was approved.
        params["extra_headers"] = {name: value for header in headers for name, value in header.items()}
    if runtime.api_base is not None:
        params["api_base"] = runtime.api_base
    if deployment.prompt is not None:
        params["prompt_id"] = deployment.prompt
    return {"model_name": deployment.group, "litellm_params": params, "model_info": {"id": deployment.id}}
