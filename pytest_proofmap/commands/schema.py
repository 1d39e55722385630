"""``proofmap schema``: the JSON Schema of the evidence artifact."""

from __future__ import annotations

import json
from typing import Any

import click

__all__ = ["evidence_schema", "schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@click.command()
def schema() -> None:
    """Print the JSON Schema of the evidence artifact."""
    click.echo(json.dumps(evidence_schema(), indent=2, sort_keys=True, ensure_ascii=True))


def evidence_schema() -> dict[str, Any]:
    """Return the JSON Schema that every artifact meets, and that a reader of artifacts demands."""
    from pytest_proofmap.evidence.models import SCHEMA, Evidence

    generated = Evidence.model_json_schema(by_alias=True, mode="validation")
    generated["$schema"] = DIALECT
    generated["title"] = f"ProofMap evidence ({SCHEMA})"
    # The models fill in the name where it is missing; whoever writes an artifact should not rely on that.
    generated["required"] = ["schema", *generated["required"]]
    return generated
