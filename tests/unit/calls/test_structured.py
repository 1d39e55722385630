from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from pydantic import BaseModel, Field

from pytest_proofmap.calls.request import response_format_of
from pytest_proofmap.errors import RequestError

T = TypeVar("T")


class Category(Enum):
    """Kinds of tickets."""

    BILLING = "billing"
    OTHER = "other"


class Customer(BaseModel):
    """Who wrote."""

    name: str
    mail: str | None = None


class Ticket(BaseModel):
    """A support ticket."""

    summary: str = Field(description="one line", max_length=80)
    category: Category
    described: Category = Field(description="a reference with a sibling")
    customer: Customer
    others: list[Customer]
    tags: dict[str, int]
    pair: tuple[int, str]
    urgency: Literal["low", "high"] | None


class Cat(BaseModel):
    """One kind of pet."""

    kind: Literal["cat"]


class Dog(BaseModel):
    """Another kind of pet."""

    kind: Literal["dog"]


class Owner(BaseModel):
    """A discriminated union."""

    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Node(BaseModel):
    """A recursive model."""

    name: str
    children: list[Node]


class Loop(BaseModel):
    """A recursive model whose reference has a description."""

    next: Loop = Field(description="the next one")


class Preferences(BaseModel):
    """A model with a default."""

    tone: str = "kind"


class Box(BaseModel, Generic[T]):
    """A generic model."""

    content: T


class Callback(BaseModel):
    """A model that JSON cannot express."""

    call: Callable[[], int]


@pytest.mark.parametrize("model_class", [Ticket, Customer, Owner, Node])
def test_litellm_sends_the_same(model_class: type[BaseModel], monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema is the one that LiteLLM makes of the class."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    expected = _litellm()(model_class)

    assert response_format_of(model_class) == expected


def _litellm() -> Callable[[type[BaseModel]], dict[str, Any]]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from litellm.llms.base_llm.base_utils import type_to_response_format_param
    return type_to_response_format_param  # type: ignore[return-value]  # None only for None


def test_objects_are_closed_and_whole() -> None:
    """Every object refuses further properties and requires its own, nested ones included."""
    schema = response_format_of(Ticket)["json_schema"]["schema"]

    assert schema["additionalProperties"] is False
    assert schema["required"] == list(Ticket.model_fields)
    assert schema["$defs"]["Customer"]["required"] == ["name", "mail"]
    assert schema["properties"]["tags"]["additionalProperties"] == {"type": "integer"}


def test_defaults_are_dropped() -> None:
    """Strict schemas allow no defaults, so the model fills in every field."""
    tone = response_format_of(Preferences)["json_schema"]["schema"]["properties"]["tone"]

    assert tone == {"title": "Tone", "type": "string"}


def test_recursion_with_a_description_ends() -> None:
    """A class that refers to itself beside a description has a finite schema."""
    schema = response_format_of(Loop)["json_schema"]["schema"]

    assert schema["$defs"]["Loop"]["properties"]["next"]["description"] == "the next one"
    assert schema["properties"]["next"] == {"$ref": "#/$defs/Loop"}


def test_generic_classes_get_an_allowed_name() -> None:
    """The name holds only characters that APIs accept."""
    assert response_format_of(Box[int])["json_schema"]["name"] == "Box_int_"


def test_a_class_without_a_schema_is_an_error() -> None:
    """A field that JSON cannot hold is refused with the class's name."""
    with pytest.raises(RequestError, match=r"response_format=Callback has no JSON Schema"):
        response_format_of(Callback)


def test_no_client_is_imported() -> None:
    """Making a schema imports neither litellm nor openai."""
    script = (
        "import sys, pydantic; from pytest_proofmap.calls.request import response_format_of as of; "
        "of(pydantic.create_model('M', a=(int, ...))); print({'litellm', 'openai'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ)
    )

    assert run.stdout.strip() == "set()"
