from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pytest_proofmap.evidence.fingerprints import (
    bar_fingerprint,
    cases_fingerprint,
    criterion_fingerprint,
    prompt_key,
    runtime_fingerprint,
    runtime_key,
)
from pytest_proofmap.evidence.models import Bar

BAR = Bar(kind="all_pass", min_pass_rate=1.0, max_failure_rate=0.25, margin=None, confidence=0.95, samples=1)
RUNTIME: dict[str, Any] = {
    "model": "openai/gpt-4o-mini",
    "provider": "openai",
    "params": {"temperature": 0},
    "variant": None,
    "api_base": None,
}


class Tier(Enum):
    """An enum whose values have an address in their repr."""

    GOLD = object()
    SILVER = object()


class Level(IntEnum):
    """An enum that compares equal to whole numbers."""

    ONE = 1


class Opaque:
    """A class without a value of its own."""


@dataclasses.dataclass
class Ticket:
    """A case as a dataclass."""

    text: str


class Label(BaseModel):
    """A case as a pydantic model."""

    name: str


def of(value: object) -> str:
    """Return the fingerprint of one case with one value."""
    return cases_fingerprint([("case", {"value": value})])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "openai/gpt-4o"),
        ("provider", "azure"),
        ("params", {"temperature": 1}),
        ("variant", "mini"),
        ("api_base", "os.environ/BASE"),
    ],
)
def test_each_part_of_a_runtime_counts(field: str, value: object) -> None:
    """A runtime that differs anywhere is another runtime."""
    first = runtime_fingerprint(**RUNTIME)

    assert re.fullmatch(r"[0-9a-f]{12}", first)
    assert runtime_fingerprint(**{**RUNTIME, field: value}) != first


def test_order_of_params_does_not_count() -> None:
    """Parameters are a mapping."""
    one = runtime_fingerprint(**{**RUNTIME, "params": {"a": 1, "b": 2}})

    assert runtime_fingerprint(**{**RUNTIME, "params": {"b": 2, "a": 1}}) == one


def test_keys_name_what_they_key() -> None:
    """Keys of the lock and the criterion's fingerprint have their documented forms."""
    assert runtime_key("gpt-4o-mini", "1a2b3c4d5e6f") == "gpt-4o-mini@1a2b3c4d5e6f"
    assert prompt_key("triage", "mini", "9f8e7d6c5b4a" + "0" * 52) == "triage.mini@9f8e7d6c5b4a"
    assert criterion_fingerprint(source="a", bar="b", cases="c") == "source:a/bar:b/cases:c"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "margin"},
        {"min_pass_rate": 0.9},
        {"max_failure_rate": None},
        {"margin": 0.05},
        {"confidence": 0.9},
        {"samples": 3},
    ],
)
def test_each_part_of_a_bar_counts(change: dict[str, object]) -> None:
    """What decides a verdict is in the bar's fingerprint."""
    assert bar_fingerprint(BAR.model_copy(update=change)) != bar_fingerprint(BAR)


def test_what_the_run_does_with_a_miss_is_not_the_bar() -> None:
    """Whether the baseline's miss breaks the build decides no verdict."""
    assert bar_fingerprint(BAR.model_copy(update={"baseline_must_pass": False})) == bar_fingerprint(BAR)


def test_order_of_cases_does_not_count() -> None:
    """Shuffled cases are the same cases; another id or value is not."""
    cases: list[tuple[str, Mapping[str, object]]] = [("a", {"x": 1, "y": 2}), ("b", {"x": 2, "y": 1})]

    assert cases_fingerprint(cases) == cases_fingerprint([("b", {"y": 1, "x": 2}), ("a", {"y": 2, "x": 1})])
    assert cases_fingerprint(cases) != cases_fingerprint(cases[:1])
    assert cases_fingerprint(cases) != cases_fingerprint([("a", {"x": 1, "y": 2}), ("c", {"x": 2, "y": 1})])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "b"),
        (1, "1"),
        (1, True),
        (1, 1.0),
        (1, Level.ONE),
        (None, "None"),
        (b"a", "a"),
        ([1], (1,)),
        (["a", "b"], ["a,str:'b'"]),
        ({"a": 1}, {"a": 2}),
        ({1}, {2}),
        (Tier.GOLD, Tier.SILVER),
        (Ticket("a"), Ticket("b")),
        (Label(name="a"), Label(name="b")),
        (datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)),
        (Decimal("1.0"), Decimal("1.1")),
        (str.lower, str.upper),
    ],
)
def test_different_values_differ(one: object, other: object) -> None:
    """Values count by what they are, type included."""
    assert of(one) != of(other)


def test_values_without_a_value_count_by_type() -> None:
    """No memory address gets into a fingerprint, not even inside containers."""
    assert of(Opaque()) == of(Opaque())
    assert of([{"a": Opaque()}]) == of([{"a": Opaque()}])
    assert of(Opaque()) != of(object())
    assert of(Path("/one/place/a.txt")) == of(Path("/another/a.txt"))


def test_a_value_that_holds_itself_ends() -> None:
    """A circular value has a fingerprint."""
    value: list[object] = [1]
    value.append(value)

    assert of(value) == of(value)


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none())))
def test_any_text_has_a_fingerprint(values: dict[str, object]) -> None:
    """Every plain value can be hashed, lone surrogates and infinities included."""
    assert re.fullmatch(r"[0-9a-f]{12}", of(values))
