"""``proofmap schema``: the JSON Schemas of the files that ProofMap writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@click.command()
@click.option("--lock", "of_lock", is_flag=True, help="That of proofmap.lock.")
def schema(of_lock: bool) -> None:
    """Print the JSON Schema of the evidence artifact."""
    printed = lock_schema() if of_lock else evidence_schema()
    click.echo(json.dumps(printed, indent=2, sort_keys=True, ensure_ascii=True))


def evidence_schema() -> dict[str, Any]:
    """Return the JSON Schema that every artifact meets, and that a reader of artifacts demands."""
    from pytest_proofmap.evidence.models import SCHEMA, Evidence

    return _schema(Evidence, f"ProofMap evidence ({SCHEMA})")


def lock_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``proofmap.lock``."""
    from pytest_proofmap.lock.models import LOCK_SCHEMA, Lock

    return _schema(Lock, f"ProofMap lock ({LOCK_SCHEMA})")


def _schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    generated = model.model_json_schema(by_alias=True, mode="validation")
    generated["$schema"] = DIALECT
    generated["title"] = title
    # The models fill in the name where it is missing; whoever writes a file should not rely on that.
    generated["required"] = ["schema", *generated.get("required", [])]
    return generated
