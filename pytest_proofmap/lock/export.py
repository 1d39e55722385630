"""The approved routes in the forms that production reads. No credentials: ``os.environ/NAME`` stays as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from pytest_proofmap.environment import holds_reference
from pytest_proofmap.errors import LockError, did_you_mean
from pytest_proofmap.lock.litellm import DEFAULT_TIMEOUT_S, router_arguments
from pytest_proofmap.lock.models import Lock, LockedRuntime, Route, route_parts
from pytest_proofmap.lock.propose import packages, prompt_of, renders_alike
from pytest_proofmap.parameters import problem_with_params

__all__ = ["ExportRequest", "export", "objections"]

Form = Literal["litellm", "litellm-proxy", "json"]

PROMPT_MANAGER = "pytest_proofmap.approved.litellm_prompts"
"""What an exported configuration has LiteLLM's proxy import."""

_CREDENTIALS_IN_URL = re.compile(r"^[a-z+]+://[^/@]*@", re.IGNORECASE)

_ROUTER_SETTINGS = (
    *("fallbacks", "context_window_fallbacks", "content_policy_fallbacks"),
    *("max_fallbacks", "num_retries", "timeout"),
)


class ExportRequest(NamedTuple):
    """What somebody asks to export."""

    form: Form
    objectives: tuple[str, ...] = ()
    """Objectives; none named: all."""
    prompts: bool | None = None
    """Whether each rung has its own prompt; None: as the form does it by itself."""
    model_list: bool = False
    """The proxy's ``model_list`` alone, for ``include``."""
    api_keys: Mapping[str, str] = {}
    """``os.environ/NAME`` by runtime name."""
    timeout_s: float = DEFAULT_TIMEOUT_S
    retries: int = 0

    @property
    def with_prompts(self) -> bool:
        """Whether each rung has its own prompt."""
        return self.form != "json" if self.prompts is None else self.prompts


def chosen_routes(lock: Lock, objectives: tuple[str, ...]) -> dict[str, Route]:
    """Return the routes of some objectives; none named: all.

    Raises:
        LockError: The lock has no such objective, or no route at all.
    """
    known = sorted({route_parts(name)[0] for name in lock.routes})
    for name in objectives:
        if name not in known:
            raise LockError(
                f"the lock has no route for the objective {name!r}.{did_you_mean(name, known)} It has: "
                f"{', '.join(known) or 'none'}."
            )
    if not known:
        raise LockError("the lock has no routes: approve one first, with proofmap approve EVIDENCE.")
    return {
        name: route
        for name, route in sorted(lock.routes.items())
        if not objectives or route_parts(name)[0] in objectives
    }


def objections(lock: Lock, wanted: ExportRequest) -> Iterator[str]:
    """Yield why the form cannot carry what was approved.

    Raises:
        LockError: There is no such objective or runtime.
    """
    routes = chosen_routes(lock, wanted.objectives)
    runtimes = {key: lock.runtimes[key] for route in routes.values() for key in route.chain}
    known = sorted({runtime.name for runtime in runtimes.values()})
    for name in wanted.api_keys:
        if name not in known:
            raise LockError(
                f"--api-key {name}: no such runtime.{did_you_mean(name, known)} It has: {', '.join(known)}."
            )
    for runtime in runtimes.values():
        yield from _unwritable(runtime, wanted.form)
    if wanted.with_prompts:
        return
    for name, route in routes.items():
        if not renders_alike(lock, route):
            yield (
                f"{name}: its rungs render different prompts ({_prompts_in_words(lock, route)}), and whoever "
                f"sends one prompt to all of them leaves what was approved. {_remedy(wanted.form)}"
            )


def export(lock: Lock, wanted: ExportRequest) -> str:
    """Return the routes in a form, to which there are no :func:`objections`.

    Raises:
        LockError: The lock does not hold what the form needs.
    """
    routes = chosen_routes(lock, wanted.objectives)
    if wanted.form == "json":
        return _json({name: _rungs(lock, route, wanted.with_prompts) for name, route in routes.items()})
    arguments = router_arguments(
        lock,
        routes,
        with_prompts=wanted.with_prompts,
        transport={name: {"api_key": reference} for name, reference in wanted.api_keys.items()},
        timeout_s=wanted.timeout_s,
        retries=wanted.retries,
    )
    return _json(arguments) if wanted.form == "litellm" else _proxy(routes, arguments, wanted)


def _unwritable(runtime: LockedRuntime, form: Form) -> Iterator[str]:
    """Yield what of a runtime may not be written, or would not be read as it was meant."""
    params = {**runtime.params, **(runtime.transport or {})}
    problem = problem_with_params(params)
    if problem is not None:
        yield f"{runtime.name}: {problem}"
    if runtime.api_base is not None and _CREDENTIALS_IN_URL.match(runtime.api_base):
        yield f"{runtime.name}: its api_base holds credentials: configure it as os.environ/NAME and approve anew"
    if form == "json":
        return
    for name, value in params.items():
        inside = isinstance(value, dict | list) and holds_reference(value)
        if inside and (form == "litellm" or _in_a_list(value)):
            yield (
                f"{runtime.name}: LiteLLM does not expand the environment variable inside of its parameter "
                f"{name!r}. Use pytest_proofmap.approved, which does"
            )


def _in_a_list(value: object) -> bool:
    if isinstance(value, dict):
        return any(_in_a_list(item) for item in value.values())
    return isinstance(value, list) and any(holds_reference(item) for item in value)


def _prompts_in_words(lock: Lock, route: Route) -> str:
    return "; ".join(
        f"{package}: "
        + ", ".join(
            f"{lock.runtimes[key].name} {lock.prompts[prompt_of(lock, route, key, package)].variant}"
            for key in route.chain
        )
        for package in packages(lock, route)
    )


def _remedy(form: Form) -> str:
    if form == "json":
        return "Take --prompts, which writes each rung's own prompt; or leave the route out by --objective."
    return (
        "Leave --no-prompts out, so that LiteLLM renders each rung's own; or leave the route out by --objective."
    )


def _rungs(lock: Lock, route: Route, with_prompts: bool) -> list[dict[str, Any]]:
    """Return a chain as plain data."""
    rungs = []
    for key in route.chain:
        runtime = lock.runtimes[key]
        prompts = {package: prompt_of(lock, route, key, package) for package in packages(lock, route)}
        rungs.append(
            {
                "runtime": runtime.name,
                "model": runtime.model,
                "provider": runtime.provider,
                "params": runtime.params,
                "api_base": runtime.api_base,
                **({"transport": runtime.transport} if runtime.transport else {}),
                "prompts": {
                    package: lock.prompts[prompt].model_dump(mode="json") if with_prompts else prompt
                    for package, prompt in prompts.items()
                },
            }
        )
    return rungs


def _proxy(routes: Mapping[str, Route], arguments: Mapping[str, Any], wanted: ExportRequest) -> str:
    """Return a configuration of LiteLLM's proxy, or the list of its models alone."""
    settings: dict[str, Any] = {"router_settings": {name: arguments[name] for name in _ROUTER_SETTINGS}}
    # A parameter that a model rejects is an error in a qualification, and the next rung's turn here.
    settings["litellm_settings"] = {"drop_params": False}
    if wanted.with_prompts and any(route.prompts for route in routes.values()):
        settings["litellm_settings"]["callbacks"] = [PROMPT_MANAGER]
    head = "# Made by: proofmap export litellm-proxy. Not to be edited: approve, then export anew.\n"
    models = _yaml({"model_list": arguments["model_list"]})
    if not wanted.model_list:
        return f"{head}{models}{_yaml(settings)}"
    # `include` joins lists and replaces everything else, so that settings here would replace the including file's.
    settings_lines = "".join(f"#   {line}\n" for line in _yaml(settings).splitlines())
    note = "# The file that includes it needs these settings; without them there are no fallbacks:\n"
    return f"{head}{note}{settings_lines}{models}"


def _json(content: object) -> str:
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _yaml(content: object) -> str:
    import yaml

    # By way of JSON nothing is written as a reference to another place of the file.
    text: str = yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=True, allow_unicode=True, width=110)
    return text
