"""How marks, configuration and options combine, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_proofmap.config import Configuration, parse
from pytest_proofmap.errors import CallError, MarkerError
from pytest_proofmap.evidence.fingerprints import bar_fingerprint
from pytest_proofmap.plugin.marks import CriterionPlan, resolve

RUNTIMES = {name: {"model": f"openai/{name}"} for name in ("gpt", "mini", "haiku")}
ROLES: dict[str, Any] = {"baseline": "gpt", "challengers": ["mini"]}


def configuration(**settings: Any) -> Configuration:
    """Return a configuration with three runtimes."""
    return parse({"runtimes": RUNTIMES, **settings}, Path(), source="proofmap.toml", prefix="")


def plan(*marks: pytest.MarkDecorator, option: int | None = None, **settings: Any) -> CriterionPlan:
    """Resolve marks, the nearest first, on a configuration."""
    return resolve(
        [decorator.mark for decorator in marks], configuration(**settings), samples=option, where="t.py::test"
    )


def refusal(*marks: pytest.MarkDecorator, **settings: Any) -> str:
    """Return why marks are refused."""
    with pytest.raises(MarkerError) as caught:
        plan(*marks, **settings)
    return str(caught.value)


def test_the_defaults() -> None:
    """What nobody sets is one sample under an all-pass bar with the documented numbers."""
    resolved = plan(pytest.mark.qualify("gpt", ["mini"]))
    assert (resolved.baseline, resolved.challengers) == ("gpt", ("mini",))
    assert (resolved.objective, resolved.slice_by) == (None, ())
    assert (resolved.sensitive, resolved.prefetch) == (False, True)
    bar = resolved.bar
    assert (bar.kind, bar.min_pass_rate, bar.max_failure_rate, bar.margin) == ("all_pass", 1.0, 0.25, None)
    assert (bar.confidence, bar.samples, bar.baseline_must_pass) == (0.95, 1, True)


def test_the_nearest_mark_wins_per_argument() -> None:
    """Each argument comes from the nearest mark that sets it."""
    nearest, middle, farthest = (
        pytest.mark.qualify(min_pass_rate=0.9),
        pytest.mark.qualify("haiku", min_pass_rate=0.8, samples=3),
        pytest.mark.qualify("gpt", ["mini"], samples=2, objective="triage"),
    )
    resolved = plan(nearest, middle, farthest)
    assert (resolved.baseline, resolved.challengers, resolved.objective) == ("haiku", ("mini",), "triage")
    assert (resolved.bar.min_pass_rate, resolved.bar.samples) == (0.9, 3)


def test_the_configuration_fills_in_and_the_defaults_come_last() -> None:
    """What no mark sets comes from the configuration, and then from the defaults."""
    resolved = plan(
        pytest.mark.qualify(samples=4), **ROLES, samples=2, confidence=0.9, sensitive=True, prefetch=False
    )
    assert (resolved.bar.samples, resolved.bar.confidence, resolved.bar.max_failure_rate) == (4, 0.9, 0.25)
    assert (resolved.sensitive, resolved.prefetch) == (True, False)


def test_a_mark_can_switch_a_truth_value_back() -> None:
    """False on a mark overrides true in the configuration."""
    resolved = plan(pytest.mark.qualify(sensitive=False, baseline_must_pass=True), **ROLES, sensitive=True)
    assert not resolved.sensitive
    assert resolved.bar.baseline_must_pass


def test_the_option_overrides_mark_and_configuration() -> None:
    """The command line's number of samples is the last word."""
    assert plan(pytest.mark.qualify(samples=4), option=2, samples=3, **ROLES).bar.samples == 2


@pytest.mark.parametrize(
    ("mark", "kind", "min_pass_rate", "margin"),
    [
        ({}, "all_pass", 1.0, None),
        ({"min_pass_rate": 1.0}, "all_pass", 1.0, None),
        ({"min_pass_rate": 0.9}, "min_pass_rate", 0.9, None),
        ({"margin": 0.1}, "margin", None, 0.1),
        ({"margin": 0.1, "min_pass_rate": 0.9}, "both", 0.9, 0.1),
        ({"margin": 0.1, "min_pass_rate": 1.0}, "both", 1.0, 0.1),
    ],
)
def test_the_kinds_of_bars(
    mark: dict[str, float], kind: str, min_pass_rate: float | None, margin: float | None
) -> None:
    """A margin alone replaces the all-pass bar; with a rate beside it both must hold."""
    bar = plan(pytest.mark.qualify(**mark), **ROLES).bar
    assert (bar.kind, bar.min_pass_rate, bar.margin) == (kind, min_pass_rate, margin)


@pytest.mark.parametrize(
    ("name", "configured", "expected"), [("margin", 0.1, None), ("max_failure_rate", 0.5, None)]
)
def test_none_switches_off(name: str, configured: float, expected: object) -> None:
    """``None`` on a mark switches off what the configuration or a default sets."""
    settings: dict[str, Any] = {**ROLES, name: configured}
    bar = plan(pytest.mark.qualify(**{name: None}), **settings).bar
    assert getattr(bar, name) is expected


def test_none_switches_slices_off() -> None:
    """``slice_by=None`` on a test switches off what its module sets."""
    assert plan(pytest.mark.qualify(slice_by=None), pytest.mark.qualify(slice_by="x"), **ROLES).slice_by == ()


def test_none_switches_the_default_failure_rate_off() -> None:
    """``max_failure_rate=None`` is pure determinism: the evidence floor is off."""
    assert plan(pytest.mark.qualify(max_failure_rate=None), **ROLES).bar.max_failure_rate is None


@pytest.mark.parametrize("value", ["language", ["language"], ("language",)])
def test_one_slice_argument_may_be_given_alone(value: object) -> None:
    """``slice_by`` is a name or several names."""
    assert plan(pytest.mark.qualify(slice_by=value), **ROLES).slice_by == ("language",)


def test_challengers_may_be_a_tuple() -> None:
    """A tuple of challengers is as good as a list."""
    assert plan(pytest.mark.qualify("gpt", ("mini", "haiku"))).challengers == ("mini", "haiku")


def test_a_litellm_model_id_needs_no_configuration() -> None:
    """A name with a slash that is not configured is taken as a LiteLLM model id."""
    assert plan(pytest.mark.qualify("gpt", ["groq/llama-3.1-8b"])).challengers == ("groq/llama-3.1-8b",)


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ({"chalengers": ["mini"]}, ["'chalengers'", "Did you mean 'challengers'?", "Allowed: baseline, "]),
        ({"frequency": 1}, ["'frequency'", "Allowed: baseline, "]),
        ({"baseline": 3}, ["baseline = 3", "string"]),
        ({"challengers": 7}, ["challengers = 7", "list"]),
        ({"challengers": "mini"}, ["challengers = 'mini'", "list"]),
        ({"challengers": ["mini", 7]}, ["7", "string"]),
        ({"objective": 1}, ["objective = 1", "string"]),
        ({"objective": "tri\u202eage"}, ["objective = 'tri\\u202eage'", "invisible"]),
        ({"slice_by": 1}, ["slice_by = 1", "string"]),
        ({"samples": 0}, ["samples = 0", "greater than or equal to 1"]),
        ({"samples": 1.5}, ["samples = 1.5", "integer"]),
        ({"samples": "2"}, ["samples = '2'", "integer"]),
        ({"samples": True}, ["samples = True", "integer"]),
        ({"min_pass_rate": 0}, ["min_pass_rate = 0", "greater than 0"]),
        ({"min_pass_rate": 1.5}, ["min_pass_rate = 1.5", "less than or equal to 1"]),
        ({"min_pass_rate": "0.9"}, ["min_pass_rate = '0.9'", "number"]),
        ({"min_pass_rate": float("nan")}, ["min_pass_rate = nan"]),
        ({"max_failure_rate": -0.1}, ["max_failure_rate = -0.1", "greater than 0"]),
        ({"max_failure_rate": 0}, ["max_failure_rate = 0", "greater than 0"]),
        ({"slices": "bonferroni"}, ["slices = 'bonferroni'", "'fdr', 'all' or 'each'"]),
        ({"looks": 4}, ["looks = 4", "1, 2, 3 or 'open'"]),
        ({"looks": True}, ["looks = True", "1, 2, 3"]),
        ({"looks": "open"}, ["looks", "open", "needs a margin"]),
        ({"margin": 0}, ["margin = 0", "greater than 0"]),
        ({"margin": 1.0}, ["margin = 1.0", "less than 1", "0.05 is 5 points"]),
        ({"margin": 5}, ["margin = 5", "0.05 is 5 points"]),
        ({"margin": float("nan")}, ["margin = nan", "0.05 is 5 points"]),
        ({"margin": True}, ["margin = True"]),
        ({"confidence": 1.0}, ["confidence = 1.0", "less than 1"]),
        ({"confidence": 0.3}, ["confidence = 0.3", "0 (decide on the observed rate)", "[0.5, 1)"]),
        ({"confidence": "high"}, ["confidence = 'high'", "number"]),
        ({"sensitive": 1}, ["sensitive = 1", "boolean"]),
        ({"baseline_must_pass": "no"}, ["baseline_must_pass = 'no'", "boolean"]),
        ({"prefetch": 0}, ["prefetch = 0", "boolean"]),
    ],
)
def test_a_bad_argument_is_named_with_what_is_allowed(mark: dict[str, Any], words: list[str]) -> None:
    """Each bad argument's message names the test, the argument, its value and what is allowed."""
    message = refusal(pytest.mark.qualify(**mark), **ROLES)
    assert message.startswith("t.py::test: qualify()")
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", ["baseline", "challengers", "objective", "samples", "confidence", "sensitive"])
def test_none_is_refused_where_it_switches_nothing_off(name: str) -> None:
    """``None`` for an argument that cannot be off is refused, and what it is for is said."""
    message = refusal(pytest.mark.qualify(**{name: None}), **ROLES)
    assert f"qualify({name}=None) is not allowed" in message
    assert "margin, max_failure_rate, slice_by" in message


def test_too_many_positional_arguments() -> None:
    """Only the roles may be given by position."""
    assert "at most 2 positional arguments (baseline, challengers)" in refusal(
        pytest.mark.qualify("gpt", ["mini"], "triage")
    )


def test_an_argument_given_twice() -> None:
    """The same argument by position and by name is refused."""
    assert "'baseline' twice" in refusal(pytest.mark.qualify("gpt", baseline="mini"))


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        ({}, ["no baseline", 'qualify("NAME", ...)', "proofmap.toml"]),
        ({"baseline": "gpt"}, ["no challengers", "'gpt'", 'challengers = ["NAME"]']),
        ({"baseline": "gpt", "challengers": []}, ["no challengers"]),
        ({"baseline": "", "challengers": ["mini"]}, ["no baseline"]),
        ({"baseline": "gpt", "challengers": ["mini", "gpt"]}, ["'gpt' is the baseline itself"]),
        ({"baseline": "gpt", "challengers": ["mini", "mini"]}, ["'mini' is named twice"]),
        ({"baseline": "gtp", "challengers": ["mini"]}, ["unknown runtime 'gtp'", "Did you mean 'gpt'?"]),
        ({"baseline": "gpt", "challengers": ["maxi"]}, ["unknown runtime 'maxi'", "gpt, haiku, mini"]),
    ],
)
def test_roles_that_do_not_fit(roles: dict[str, Any], words: list[str]) -> None:
    """Missing, repeated and unknown runtimes are named with what to do."""
    message = refusal(pytest.mark.qualify(**roles))
    assert message.startswith("t.py::test: ")
    for word in words:
        assert word in message


def test_a_far_mark_with_a_bad_argument_is_refused_too() -> None:
    """A nearer mark does not hide a mistake in a farther one."""
    assert "samples = 0" in refusal(pytest.mark.qualify(samples=2), pytest.mark.qualify(samples=0), **ROLES)


def test_what_is_a_miss_and_whether_calls_are_optional() -> None:
    """The nearest mark decides on both; what it names is in the bar, and nothing where nothing is named."""
    nearest, farthest = (
        pytest.mark.qualify(miss=TimeoutError),
        pytest.mark.qualify("gpt", ["mini"], calls="optional"),
    )
    resolved = plan(nearest, farthest)
    assert resolved.rules == ((TimeoutError,), True)
    assert (resolved.bar.miss, resolved.bar.calls) == (["TimeoutError"], "optional")
    assert plan(pytest.mark.qualify(calls="required"), farthest).rules == ((), False)
    plain = plan(pytest.mark.qualify("gpt", ["mini"])).bar
    assert "miss" not in plain.model_dump()
    assert "calls" not in plain.model_dump()
    assert bar_fingerprint(plain) != bar_fingerprint(resolved.bar)


def test_the_configuration_names_misses() -> None:
    """In the configuration classes go by their names, those of modules with the module's."""
    mark = pytest.mark.qualify("gpt", ["mini"])
    resolved = plan(mark, miss=["TimeoutError", "json.JSONDecodeError"], calls="optional")
    assert resolved.rules == ((TimeoutError, json.JSONDecodeError), True)
    assert resolved.bar.miss == ["TimeoutError", "json.decoder.JSONDecodeError"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"miss": "TimeoutError"}, ["miss = 'TimeoutError'", "Did you mean miss=TimeoutError, the class itself?"]),
        ({"miss": [ValueError("x")]}, ["is no class of exceptions", "Did you mean ValueError, the class?"]),
        ({"miss": int}, ["<class 'int'> is no class of exceptions"]),
        ({"miss": 5}, ["5 is no class of exceptions"]),
        ({"miss": KeyboardInterrupt}, ["is no class of exceptions"]),
        ({"miss": CallError}, ["it names CallError, one of ProofMap's own errors"]),
        ({"miss": None}, ["qualify(miss=None) is not allowed"]),
        ({"calls": "optionl"}, ["calls = 'optionl'", "Did you mean 'optional'?"]),
        ({"calls": True}, ["calls = True is not allowed"]),
        ({"calls": None}, ["qualify(calls=None) is not allowed"]),
        ({"mis": [ValueError]}, ["no argument 'mis'", "Did you mean 'miss'?"]),
    ],
)
def test_misses_that_are_none(arguments: dict[str, Any], words: list[str]) -> None:
    """What names no exception, or no way to call, is refused with a way out."""
    text = refusal(pytest.mark.qualify("gpt", ["mini"], **arguments))
    assert text.startswith("t.py::test: ")
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    "name", ["TimeoutEror", "json.Nothing", "no.such.Module", "pytest_proofmap.errors.CallError"]
)
def test_names_of_misses_that_are_none(name: str) -> None:
    """A name in the configuration that is no class of exceptions is refused."""
    text = refusal(pytest.mark.qualify("gpt", ["mini"]), miss=[name])
    assert f"miss = {name!r} names no class of exceptions" in text
    assert ("Did you mean 'TimeoutError'?" in text) == (name == "TimeoutEror")
