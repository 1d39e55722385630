"""Approved routes in production: what ``proofmap.lock`` says, and nothing else.

::

    from pytest_proofmap import approved

    routes = approved.load("proofmap.lock")
    served = routes.route("triage", language="fr").run("triage", ticket=ticket)
    served.text, served.rung.name

Loading reads one file and imports neither pytest nor LiteLLM. LiteLLM is imported when a call is made or a router
is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pytest_proofmap.errors import LockError, did_you_mean
from pytest_proofmap.evidence.fingerprints import SliceValue, is_slice_value, slice_name, values_seen
from pytest_proofmap.lock.file import read_lock
from pytest_proofmap.lock.litellm import Deployment, deployments_of
from pytest_proofmap.lock.models import Route, RouteDecision, route_name, route_parts
from pytest_proofmap.lock.propose import baseline_of, has_expired, packages
from pytest_proofmap.lock.serve import Rung, ServedLock, rungs_of

__all__ = ["ApprovedRoute", "ApprovedRoutes", "OnExpired", "Rung", "Served", "load"]

OnExpired = Literal["ignore", "raise", "baseline"]
"""What to do with a route whose approval has expired: nothing, refuse it, or serve its baseline alone."""

LOCK_VARIABLE = "PROOFMAP_LOCK"
"""Environment variable by which LiteLLM's proxy finds the lock; by default in its working directory."""

_ON_EXPIRED = ("ignore", "raise", "baseline")

_ROUTING_PARAMS = frozenset(
    {
        *("api_base", "base_url", "custom_llm_provider", "messages", "model", "model_list", "prompt_id"),
        *("prompt_label", "prompt_variables", "prompt_version", "fallbacks", "context_window_fallbacks"),
        *("content_policy_fallbacks", "default_fallbacks", "max_fallbacks", "specific_deployment"),
    }
)
"""Parameters of a call that would leave the approved route."""

_CALLER_MAY_OVERRIDE = "To leave what was approved for this call, say so: override={{{0!r}: ...}}."


@dataclass(frozen=True)
class Served:
    """An answer, and the rung that gave it."""

    response: Any
    """LiteLLM's response."""
    rung: Rung
    position: int
    """Place of the rung in the chain: 0 is the primary."""

    @property
    def text(self) -> str:
        """The answer's text, ``""`` when the model sent none."""
        return self.response.choices[0].message.content or ""


class ApprovedRoute:
    """A route as it was approved.

    Attributes:
        name: Of the route: ``triage``, or ``triage/language=fr`` for a slice.
        decision: ``promoted``, ``partial`` or ``baseline_retained``.
        chain: The primary, then its qualified fallbacks.
        expired: Whether the approval had expired when the route was asked for.
    """

    def __init__(self, state: ServedLock, name: str, route: Route, *, expired: bool = False) -> None:
        self._state = state
        self._route = route
        self.name = name
        self.decision: RouteDecision = route.decision
        self.expired = expired
        self.chain: tuple[Rung, ...] = rungs_of(state.lock, name, route, state.templates)

    def __repr__(self) -> str:
        return f"<ApprovedRoute {self.name}: {' > '.join(rung.name for rung in self.chain)}>"

    @property
    def packages(self) -> list[str]:
        """Names of the prompt packages that the route was approved with."""
        return packages(self._state.lock, self._route)

    def render(self, package: str, /, **variables: object) -> list[dict[str, Any]]:
        """Return the primary's messages.

        Raises:
            LockError: The route was approved without that prompt package.
            PromptError: A variable is missing, or no rung's variant uses it.
        """
        return self.chain[0].render(package, **variables)

    def run(
        self,
        package: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        override: Mapping[str, Any] | None = None,
        follow: Sequence[Mapping[str, Any]] = (),
        **variables: object,
    ) -> Served:
        """Have the chain answer: the primary, and where it fails the next rung, each with its own prompt.

        Args:
            package: Name of the prompt package.
            params: Further parameters of the call, such as ``response_format`` and ``tools``; none that a rung was
                qualified with.
            override: Parameters in place of those that were qualified, for this call.
            follow: Messages after the prompt's, to go on with a conversation.
            **variables: Of the prompt.

        Raises:
            LockError: The route has no such prompt package, or a parameter is not the caller's to choose.
            PromptError: A variable is missing, or no rung's variant uses it.
            ConfigurationError: An environment variable that a rung names is not set.
            Exception: LiteLLM's own, when the last rung has failed too.
        """
        request = self._prompted(package, params, override, follow, variables)
        return self._served(self._router().completion(**request))

    async def arun(
        self,
        package: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        override: Mapping[str, Any] | None = None,
        follow: Sequence[Mapping[str, Any]] = (),
        **variables: object,
    ) -> Served:
        """Have the chain answer, asynchronously; as :meth:`run`."""
        request = self._prompted(package, params, override, follow, variables)
        return self._served(await self._router().acompletion(**request))

    def complete(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        /,
        *,
        override: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> Served:
        """Have the chain answer messages of the caller, on a route that was approved without prompt packages.

        Args:
            prompt: Text of a user message, or messages.
            override: Parameters in place of those that were qualified, for this call.
            **params: Further parameters of the call; none that a rung was qualified with.

        Raises:
            LockError: The route was approved with prompt packages, or a parameter is not the caller's to choose.
            ConfigurationError: An environment variable that a rung names is not set.
            Exception: LiteLLM's own, when the last rung has failed too.
        """
        request = self._unprompted(prompt, params, override)
        return self._served(self._router().completion(**request))

    async def acomplete(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        /,
        *,
        override: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> Served:
        """Have the chain answer messages of the caller, asynchronously; as :meth:`complete`."""
        request = self._unprompted(prompt, params, override)
        return self._served(await self._router().acompletion(**request))

    def rung_of(self, response: Any) -> Rung:
        """Return the rung that gave a response of one of this route's routers.

        Raises:
            LockError: The response does not come from this route.
        """
        return self.chain[self._position(response)]

    def _prompted(
        self,
        package: str,
        params: Mapping[str, Any] | None,
        override: Mapping[str, Any] | None,
        follow: Sequence[Mapping[str, Any]],
        variables: Mapping[str, object],
    ) -> dict[str, Any]:
        for rung in self.chain:
            # What cannot be rendered is the caller's mistake, and no reason to ask the next rung.
            rung.render(package, **variables)
        among = self.packages
        return {
            **self._checked(params or {}, override or {}),
            "model": self._groups[among.index(package)],
            "messages": [dict(message) for message in follow],
            "prompt_variables": dict(variables),
        }

    def _unprompted(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        params: Mapping[str, Any],
        override: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        if self.packages:
            raise LockError(
                f"the route {self.name!r} was approved with the prompts {', '.join(self.packages)}, so no others "
                f"are sent: use run({self.packages[0]!r}, ...), with follow=[...] to go on with a conversation."
            )
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [*map(dict, prompt)]
        return {**self._checked(params, override or {}), "model": self._groups[0], "messages": messages}

    def _checked(self, params: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a call.

        Raises:
            LockError: One would leave the route, or replaces a qualified one without saying so.
        """
        for name in (*params, *override):
            if name == "api_key":
                # LiteLLM would send it to every rung, whoever serves it, and no longer say which rung answered.
                raise LockError(
                    f"api_key is one runtime's, and {self.name!r} may be answered by "
                    f"{' > '.join(rung.name for rung in self.chain)}. Give it to that runtime: "
                    f"load(..., transport={{{self.chain[0].name!r}: {{'api_key': 'os.environ/NAME'}}}})"
                )
            if name in _ROUTING_PARAMS:
                raise LockError(
                    f"{name!r} is the route's to decide: {self.name!r} was approved as "
                    f"{' > '.join(rung.name for rung in self.chain)}. Leave it out; to use something else, call "
                    "LiteLLM yourself or approve another chain."
                )
        for rung in self.chain:
            for name in params:
                if name in rung.params:
                    raise LockError(
                        f"{rung.name} was qualified with {name}={rung.params[name]!r}, not {params[name]!r}. "
                        f"{_CALLER_MAY_OVERRIDE.format(name)}"
                    )
        return {**params, **override}

    @cached_property
    def _groups(self) -> list[str]:
        return [chain[0].group for chain in self._deployments]

    @cached_property
    def _deployments(self) -> list[list[Deployment]]:
        return list(deployments_of(self._state.lock, self.name, self._route, with_prompts=True))

    def _router(self) -> Any:
        return self._state.router(self.name, self._route)

    def _served(self, response: Any) -> Served:
        position = self._position(response)
        return Served(response, self.chain[position], position)

    def _position(self, response: Any) -> int:
        found = (getattr(response, "_hidden_params", None) or {}).get("model_id")
        for chain in self._deployments:
            for deployment in chain:
                if deployment.id == found:
                    return deployment.rung
        raise LockError(f"the response was given by the deployment {found!r}, which is none of {self.name!r}.")


class ApprovedRoutes:
    """The routes of a lock. Safe to share between threads; what was read stays until :meth:`reload`.

    Attributes:
        path: The lock.
        on_expired: What happens with routes whose approval has expired.
    """

    def __init__(
        self,
        path: Path,
        on_expired: OnExpired = "ignore",
        transport: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.path = path
        self.on_expired = on_expired
        self._transport = {name: dict(values) for name, values in (transport or {}).items()}
        self._state = ServedLock(read_lock(path), self._transport)

    @property
    def names(self) -> list[str]:
        """Names of all routes."""
        return sorted(self._state.lock.routes)

    def reload(self) -> bool:
        """Read the lock again, and return whether the routes have changed.

        Routes that were asked for before stay what they were. When the lock cannot be read, all stays as it is.

        Raises:
            LockError: The lock cannot be read or was edited by hand.
        """
        lock = read_lock(self.path)
        if lock == self._state.lock:
            return False
        self._state = ServedLock(lock, self._transport)
        return True

    def route(self, objective: str, /, **slice_values: SliceValue) -> ApprovedRoute:
        """Return the route of an objective, or that of a slice of it.

        A slice without a route of its own, such as a value that was not in evidence, falls to its objective's.

        Args:
            objective: Name of the objective.
            **slice_values: The values that name the slice, by the arguments of ``slice_by``: all of them, or none.

        Raises:
            LockError: There is no such objective, its slices have other arguments, or the approval has
                 expired and ``on_expired`` is not ignore.
        """
        for name, value in slice_values.items():
            if not is_slice_value(value):
                raise LockError(
                    f"{name}={value!r} names no slice: a slice is named by text, whole numbers, truth values and "
                    "enum members."
                )
        state = self._state
        known = {route_parts(name)[0] for name in state.lock.routes}
        if objective not in known:
            raise LockError(
                f"{self.path} has no route for the objective {objective!r}."
                f"{did_you_mean(objective, sorted(known))} It has: {', '.join(sorted(known)) or 'none'}. Approve "
                f"it with: proofmap approve EVIDENCE --objective {objective}"
            )
        own = sorted(name for name in state.lock.routes if route_parts(name)[0] == objective)
        if slice_values:
            self._check_arguments(objective, own, slice_values)
        names = [route_name(objective, slice_name(slice_values))] if slice_values else []
        for name in (*names, objective):
            if name in state.lock.routes:
                return self._unexpired(state, name)
        raise LockError(
            f"{self.path} has no route {(*names, objective)[0]!r}, and none for the rest of {objective!r}. "
            f"It has: {', '.join(own)}."
        )

    def _check_arguments(self, objective: str, own: Sequence[str], given: Mapping[str, SliceValue]) -> None:
        """Check that a slice is named by the arguments that the objective's slices have.

        Raises:
            LockError: It is not. It would be served by the objective's own route, whatever the slices' say.
        """
        known = list(values_seen(filter(None, (route_parts(name)[1] for name in own))))
        if not known:
            raise LockError(
                f"{self.path}: {objective!r} was approved without slices, so {', '.join(given)} chooses nothing. "
                "Leave it out, or approve evidence of criteria that have slice_by."
            )
        for name in given:
            if name not in known:
                raise LockError(
                    f"{self.path}: the slices of {objective!r} have no argument {name!r}."
                    f"{did_you_mean(name, known)} They are named by: {', '.join(known)}."
                )
        missing = [name for name in known if name not in given]
        if missing:
            raise LockError(
                f"{self.path}: the slices of {objective!r} are named by {', '.join(known)}, and "
                f"{', '.join(missing)} is missing. Give all of them, or none for the objective's own route."
            )

    def litellm_router(
        self,
        *,
        routes: Sequence[str] | None = None,
        transport: Mapping[str, Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return a ``litellm.Router`` in which each rung renders its own prompt variant.

        Call it with the route's name as ``model``, ``messages=[]`` and ``prompt_variables``; a route with several
        prompt packages is called ``route:package``. ``response._hidden_params["model_id"]`` says which rung
        answered. The environment is read now.

        Args:
            routes: Names of routes; None: all.
            transport: What runtimes need besides to be reached, in place of :func:`load`'s.
            **kwargs: Further arguments of the Router, such as ``num_retries``, ``timeout`` and ``redis_host``; not
                the deployments and the chain.

        Raises:
            LockError: There is no such route, or an argument is the lock's to decide.
            ConfigurationError: An environment variable that a rung names is not set.
        """
        decided = {
            "model_list",
            "fallbacks",
            "context_window_fallbacks",
            "content_policy_fallbacks",
            "default_fallbacks",
        }
        for name in sorted(decided & kwargs.keys()):
            raise LockError(f"{name!r} is the lock's to decide: leave it out.")
        state = self._state if transport is None else ServedLock(self._state.lock, transport)
        if routes is not None and not routes:
            raise LockError(f"routes={routes!r} names no route. Leave it out for all of them.")
        for name in routes or ():
            if name not in state.lock.routes:
                raise LockError(
                    f"{self.path} has no route {name!r}.{did_you_mean(name, self.names)} It has: "
                    f"{', '.join(self.names) or 'none'}."
                )
        chosen = {name: self._unexpired(state, name)._route for name in routes or state.lock.routes}
        return state.new_router(chosen, kwargs)

    def register_prompts(self) -> Any:
        """Have LiteLLM render the lock's prompts in this process, for a Router of ``proofmap export litellm``.

        Returns:
            The prompt manager, which is now in ``litellm.callbacks``.
        """
        from pytest_proofmap.lock.litellm import register_prompts

        return register_prompts(self._state.templates)

    def _unexpired(self, state: ServedLock, name: str) -> ApprovedRoute:
        route = state.lock.routes[name]
        expired = has_expired(route, datetime.now(timezone.utc))
        if not expired or self.on_expired == "ignore":
            return ApprovedRoute(state, name, route, expired=expired)
        how = (
            f"the approval of {name!r} in {self.path} expired at {route.approval.expires_at}. Approve it anew: "
            f"proofmap approve EVIDENCE --objective {route_parts(name)[0]}"
        )
        if self.on_expired == "raise":
            raise LockError(how)
        baseline = baseline_of(route)
        if baseline is None:
            raise LockError(f"the chain of {name!r} holds no baseline to serve in its place, and {how}")
        return ApprovedRoute(state, name, route.model_copy(update={"chain": [baseline]}), expired=True)


def load(
    path: str | os.PathLike[str] = "proofmap.lock",
    *,
    on_expired: OnExpired = "ignore",
    transport: Mapping[str, Mapping[str, Any]] | None = None,
) -> ApprovedRoutes:
    """Read the approved routes.

    Args:
        path: The lock.
        on_expired: ``"ignore"`` (an approval expires only when asked for), ``"raise"``, or ``"baseline"``, which
            serves the baseline alone. Looked at each time a route is asked for.
        transport: What runtimes need besides to be reached, by runtime name; the lock holds no credentials. Such
            as ``{"haiku": {"api_key": "os.environ/TEAM_KEY"}}``.

    Raises:
        LockError: The lock cannot be read, was edited by hand, is of another schema or has merge conflicts.
    """
    if on_expired not in _ON_EXPIRED:
        raise LockError(
            f"on_expired={on_expired!r} is not allowed.{did_you_mean(str(on_expired), list(_ON_EXPIRED))} "
            f"Allowed: {', '.join(_ON_EXPIRED)}."
        )
    return ApprovedRoutes(Path(path), on_expired, transport)


def __getattr__(name: str) -> object:
    """Give LiteLLM's proxy the prompt manager that an exported configuration names."""
    if name != "litellm_prompts":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    routes = load(os.environ.get(LOCK_VARIABLE) or "proofmap.lock")
    manager = routes.register_prompts()
    if not manager.has_secret_manager():
        routes._state.check_environment()
    return manager
