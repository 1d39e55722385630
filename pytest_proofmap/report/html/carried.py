"""Data that the page carries compressed and unpacks when it is looked at."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pydantic_core

__all__ = ["pack", "shortened", "to_json"]

TEXT_CHARACTERS = 20_000
"""As much of one text as the page carries where nothing asks for more."""


def pack(data: Any) -> str:
    """Return data as JSON, compressed with gzip, in base64: nothing in it can end the element that holds it."""
    # Level 6 takes a third of the time of 9 and the result is 1 % larger. No time of making: the same data is
    # the same text.
    return base64.b64encode(gzip.compress(to_json(data), 6, mtime=0)).decode("ascii")


def to_json(data: Any) -> bytes:
    """Return data as JSON in UTF-8; halves of surrogate pairs, which have no form there, are escaped."""
    try:
        return pydantic_core.to_json(data, inf_nan_mode="null")
    except pydantic_core.PydanticSerializationError:
        return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def shortened(value: Any, limit: int = TEXT_CHARACTERS) -> Any:
    """Return data with each long text cut, as ``{"text": ..., "more": characters left out}``."""
    if isinstance(value, str):
        more = len(value) - limit
        return {"text": value[:limit], "more": more} if more > 0 else value
    if isinstance(value, dict):
        return {name: shortened(each, limit) for name, each in value.items()}
    if isinstance(value, list):
        return [shortened(each, limit) for each in value]
    return value
