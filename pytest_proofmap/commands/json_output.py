"""Printing records as JSON: named tuples as objects, intervals as pairs, models as they are stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
from pydantic import BaseModel

from pytest_proofmap.decide.binomial import Interval

__all__ = ["plain", "print_json"]


def print_json(content: Mapping[str, Any]) -> None:
    """Print records as JSON."""
    click.echo(json.dumps(plain(content), indent=2, ensure_ascii=True))


def plain(value: Any) -> Any:
    """Return a value with nothing but what JSON has."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, tuple) and hasattr(value, "_asdict") and not isinstance(value, Interval):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
