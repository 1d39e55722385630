"""The ``qualify`` mark: what its arguments mean and how marks, configuration and options combine."""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

from pytest_proofmap.config import Configuration, CriterionSettings, RuntimeConfig, explain_validation
from pytest_proofmap.decide.stats.multiplicity import DEFAULT_RULE
from pytest_proofmap.errors import ConfigurationError, MarkerError, ProofmapError, did_you_mean
from pytest_proofmap.evidence.models import Bar, BarKind, Looks, SlicesRule
from pytest_proofmap.parameters import TRANSPORT_PARAMS
from pytest_proofmap.text import visible

__all__ = ["CriterionPlan", "MissRules", "resolve"]

POSITIONAL = ("baseline", "challengers")
SWITCHED_OFF_BY_NONE = frozenset({"margin", "max_failure_rate", "slice_by"})
DEFAULTS: dict[str, Any] = {
    "samples": 1,
    "max_failure_rate": 0.25,
    "confidence": 0.95,
    "slices": DEFAULT_RULE,
    "looks": 1,
    "sensitive": False,
    "baseline_must_pass": True,
    "prefetch": True,
    "miss": (),
    "calls": "required",
}


class MissRules(NamedTuple):
    """What a criterion takes for a miss of the model, beside the usual."""

    classes: tuple[type[Exception], ...] = ()
    """Classes of exceptions that are one."""
    calls_optional: bool = False
    """Whether a sample may pass, or miss, without asking its runtime."""


@dataclass(frozen=True, slots=True)
class CriterionPlan:
    """A criterion's settings after marks, configuration and options were combined."""

    baseline: str
    challengers: tuple[str, ...]
    objective: str | None
    """None: named after the test module."""
    slice_by: tuple[str, ...]
    slices: SlicesRule
    looks: Looks
    sensitive: bool
    prefetch: bool
    rules: MissRules
    bar: Bar

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The baseline and the challengers, in this order."""
        return (self.baseline, *self.challengers)


def resolve(
    marks: Iterable[pytest.Mark], configuration: Configuration, *, samples: int | None, where: str
) -> CriterionPlan:
    """Combine a test's ``qualify`` marks, nearest first, with the configuration and the defaults.

    Args:
        marks: The marks that hold for the test, nearest first.
        configuration: The project's configuration.
        samples: The command line's number of samples; None: not given.
        where: The test's id, for messages.

    Raises:
        MarkerError: An argument is unknown, missing or not allowed.
    """
    settings: dict[str, Any] = {}
    for mark in marks:
        for name, value in _arguments(mark, where).items():
            settings.setdefault(name, value)
    for name in CriterionSettings.model_fields:
        configured = getattr(configuration, name)
        if configured is not None:
            settings.setdefault(name, configured)
    for name, default in DEFAULTS.items():
        settings.setdefault(name, default)
    if samples is not None:
        settings["samples"] = samples
    baseline, challengers = _roles(settings, configuration, where)
    slice_by = settings.get("slice_by") or ()
    if settings["looks"] == "open" and (
        settings.get("margin") is None or settings.get("min_pass_rate") is not None
    ):
        raise MarkerError(
            f'{where}: qualify(): looks="open" needs a margin and no min_pass_rate: from run to run '
            "it carries bets on the difference to the baseline. Give a margin alone, as qualify(margin=0.05), or "
            "plan the looks: qualify(looks=2)."
        )
    miss = tuple(_miss_class(given, configuration) for given in settings["miss"])
    optional = settings["calls"] == "optional"
    return CriterionPlan(
        baseline=baseline,
        challengers=challengers,
        objective=settings.get("objective"),
        slice_by=(slice_by,) if isinstance(slice_by, str) else tuple(slice_by),
        slices=settings["slices"],
        looks=settings["looks"],
        sensitive=settings["sensitive"],
        prefetch=settings["prefetch"],
        rules=MissRules(miss, optional),
        bar=_bar(settings).model_copy(
            update={"miss": sorted(map(_full_name, miss)) or None, "calls": "optional" if optional else None}
        ),
    )


def _arguments(mark: pytest.Mark, where: str) -> dict[str, Any]:
    """Return one mark's arguments by name, checked."""
    allowed = list(CriterionSettings.model_fields)
    if len(mark.args) > len(POSITIONAL):
        raise MarkerError(
            f"{where}: qualify() takes at most {len(POSITIONAL)} positional arguments "
            f"({', '.join(POSITIONAL)}), got {len(mark.args)}: give the others by name."
        )
    arguments: dict[str, Any] = dict(zip(POSITIONAL, mark.args, strict=False))
    for name, value in mark.kwargs.items():
        if name not in allowed:
            raise MarkerError(
                f"{where}: qualify() has no argument {name!r}.{did_you_mean(name, allowed)} "
                f"Allowed: {', '.join(allowed)}."
            )
        if name in arguments:
            raise MarkerError(f"{where}: qualify() got {name!r} twice, by position and by name.")
        arguments[name] = value
    for name, value in arguments.items():
        if value is None and name not in SWITCHED_OFF_BY_NONE:
            raise MarkerError(
                f"{where}: qualify({name}=None) is not allowed: leave {name!r} out to use the configuration's "
                f"value. None switches off {', '.join(sorted(SWITCHED_OFF_BY_NONE))} only."
            )
    if isinstance(arguments.get("challengers"), tuple):
        arguments["challengers"] = list(arguments["challengers"])
    if isinstance(arguments.get("slice_by"), tuple):
        arguments["slice_by"] = list(arguments["slice_by"])
    try:
        settings = CriterionSettings.model_validate(arguments)
    except ValidationError as error:
        raise MarkerError(explain_validation(error, CriterionSettings, f"{where}: qualify()")) from None
    if settings.miss is not None:
        arguments["miss"] = settings.miss
    for name in arguments.get("miss", ()):
        if isinstance(name, str):
            raise MarkerError(
                f"{where}: qualify(): miss = {name!r} is not allowed: a mark names exceptions by their classes. "
                f"Did you mean miss={name}, the class itself?"
            )
    objective = arguments.get("objective", "")
    if objective != visible(objective):
        raise MarkerError(
            f"{where}: qualify(): objective = {objective!r} is not allowed: a name that reports and the lock show "
            "has no control characters, nothing invisible and nothing that turns the writing around. Rename it."
        )
    _refuse_slice_name(objective, where)
    return arguments


def _refuse_slice_name(objective: str, where: str) -> None:
    """Refuse a name that the lock would read as that of a slice of another objective.

    Raises:
        MarkerError: It is one.
    """
    owner, _, last = objective.rpartition("/")
    if owner and "=" in last:
        raise MarkerError(
            f"{where}: qualify(): objective = {objective!r} is not allowed: the lock names so the slice {last!r} "
            f"of the objective {owner!r}, whose route it would take over. Rename it."
            " No name has an '=' after its last '/'."
        )


def _roles(settings: dict[str, Any], configuration: Configuration, where: str) -> tuple[str, tuple[str, ...]]:
    baseline = settings.get("baseline")
    if not baseline:
        raise MarkerError(
            f"{where}: no baseline. Name the runtime that production trusts today: "
            f'qualify("NAME", ...) on the test, or baseline = "NAME" in {_table(configuration)}.'
        )
    challengers = tuple(settings.get("challengers") or ())
    if not challengers:
        raise MarkerError(
            f"{where}: no challengers. Name at least one runtime that may replace {baseline!r}: "
            f'qualify(challengers=["NAME"]) on the test, or challengers = ["NAME"] in {_table(configuration)}.'
        )
    if baseline in challengers:
        raise MarkerError(
            f"{where}: the challenger {baseline!r} is the baseline itself. Challengers: {list(challengers)!r}. "
            "Leave it out, or name another baseline."
        )
    repeated = sorted({name for name in challengers if challengers.count(name) > 1})
    if repeated:
        raise MarkerError(f"{where}: the challenger {repeated[0]!r} is named twice in {list(challengers)!r}.")
    for name in (baseline, *challengers):
        try:
            configuration.runtime(name)
        except ConfigurationError as error:
            raise MarkerError(f"{where}: {error}") from None
    _check_distinct([configuration.runtime(name) for name in (baseline, *challengers)], where)
    return baseline, challengers


def _check_distinct(runtimes: Iterable[RuntimeConfig], where: str) -> None:
    """Check that no two runtimes send the same requests: one answer would be judged as that of both.

    Raises:
        MarkerError: Two do.
    """
    known: dict[str, RuntimeConfig] = {}
    for runtime in runtimes:
        other = known.setdefault(runtime.request_identity, runtime)
        if other is not runtime:
            apart = [
                name for name in sorted(TRANSPORT_PARAMS) if other.params.get(name) != runtime.params.get(name)
            ]
            apart += [name for name in ("provider", "price") if getattr(other, name) != getattr(runtime, name)]
            only = f"They differ in {', '.join(apart)} alone, which no answer is known by. " if apart else ""
            raise MarkerError(
                f"{where}: the runtimes {other.name!r} and {runtime.name!r} send the same requests (model "
                f"{runtime.model!r}), so that one answer would be judged as that of both. {only}Make model, "
                "params, api_base or variant differ; where a header chooses the model, put its name into "
                'key_headers of the configuration: key_headers = ["x-model-route"].'
            )


def _miss_class(given: type[Exception] | str, configuration: Configuration) -> type[Exception]:
    """Return a class of exceptions; the configuration names it.

    Raises:
        MarkerError: There is no such class, or it is no class of exceptions that can be a miss.
    """
    if not isinstance(given, str):
        return given
    module, _, name = given.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module) if module else builtins, name, None)
    except ImportError:
        kind = None
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, ProofmapError):
        return kind
    known = [builtin for builtin in dir(builtins) if builtin.endswith(("Error", "Exception"))]
    raise MarkerError(
        f"{_table(configuration)}: miss = {given!r} names no class of exceptions that can be a miss."
        f"{did_you_mean(given, known)} Give the name of a built-in one, such as 'TimeoutError', or "
        "'package.module.ClassName' of one that can be imported and is not ProofMap's own."
    )


def _full_name(exception: type[Exception]) -> str:
    module = exception.__module__
    return exception.__qualname__ if module == "builtins" else f"{module}.{exception.__qualname__}"


def _table(configuration: Configuration) -> str:
    return "proofmap.toml" if configuration.source == "proofmap.toml" else "[tool.proofmap] of pyproject.toml"


def _bar(settings: dict[str, Any]) -> Bar:
    margin, rate = settings.get("margin"), settings.get("min_pass_rate")
    kind: BarKind
    if margin is not None:
        kind = "margin" if rate is None else "both"
    else:
        rate = 1.0 if rate is None else rate
        kind = "all_pass" if rate == 1.0 else "min_pass_rate"
    return Bar(
        kind=kind,
        min_pass_rate=rate,
        max_failure_rate=settings["max_failure_rate"],
        margin=margin,
        confidence=settings["confidence"],
        samples=settings["samples"],
        baseline_must_pass=settings["baseline_must_pass"],
    )
