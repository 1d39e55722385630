"""``proofmap schema``: the JSON Schema of the artifact."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command_line import proofmap
from jsonschema import Draft202012Validator
from stored_evidence import decided, undecided

OUTCOMES = {"t.py::test_x": {"base": "P" * 20, "mini": "P" * 19 + "E"}}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The printed schema."""
    done = proofmap("schema")
    assert (done.returncode, done.stderr) == (0, "")
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_it_is_a_schema(schema: dict[str, Any]) -> None:
    """It names its dialect and is valid in it."""
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "ProofMap evidence (proofmap.evidence/1)"
    assert "class" in schema["$defs"]["CallFailure"]["required"]


@pytest.mark.parametrize("evidence", [decided(OUTCOMES), undecided(OUTCOMES)], ids=["decided", "undecided"])
def test_artifacts_meet_it(schema: dict[str, Any], evidence: Any) -> None:
    """What the models write is valid, decided or not."""
    Draft202012Validator(schema).validate(json.loads(evidence.model_dump_json(by_alias=True)))


@pytest.mark.parametrize(
    "change", [{"schema": "proofmap.evidence/9"}, {"samples": None}, {"run": {}}, {"criteria": [{"id": 1}]}]
)
def test_other_things_do_not(schema: dict[str, Any], change: dict[str, Any]) -> None:
    """A wrong name of the schema or a missing part is not valid."""
    data = json.loads(decided(OUTCOMES).model_dump_json(by_alias=True)) | change
    assert not Draft202012Validator(schema).is_valid(data)


def test_it_is_stable(schema: dict[str, Any]) -> None:
    """Printed twice it is the same text, with sorted keys."""
    assert proofmap("schema").stdout == json.dumps(schema, indent=2, sort_keys=True) + "\n"
