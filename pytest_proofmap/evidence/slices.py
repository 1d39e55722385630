"""The names of slices: ``language=fr`` or ``language=fr,tier=gold``, percent-encoded.

Production builds the same name from the values that it routes by, so there is one function for both.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote

__all__ = ["SliceValue", "is_slice_value", "slice_arguments", "slice_name", "values_seen"]

SliceValue = str | int | bool | enum.Enum


def is_slice_value(value: object) -> bool:
    """Return whether a value may name a slice: a string, whole number, truth value or enum member."""
    return isinstance(value, str | int | enum.Enum)


def slice_name(values: Mapping[str, SliceValue]) -> str:
    """Return the name of the slice that the values select, sorted by argument.

    Enum members count by their value when that is a string or whole number, else by their name; truth
    values are written ``true`` and ``false``.
    """
    return ",".join(f"{_quoted(name)}={_quoted(_text(value))}" for name, value in sorted(values.items()))


def slice_arguments(name: str) -> dict[str, str]:
    """Return the values that a slice's name holds, as text, by argument."""
    pairs = (part.partition("=") for part in name.split(","))
    return {unquote(argument): unquote(value) for argument, _, value in pairs}


def values_seen(names: Iterable[str]) -> dict[str, list[str]]:
    """Return which values the slices of some names have, by argument, sorted."""
    found: dict[str, set[str]] = {}
    for name in names:
        for argument, value in slice_arguments(name).items():
            found.setdefault(argument, set()).add(value)
    return {argument: sorted(values) for argument, values in sorted(found.items())}


def _quoted(text: str) -> str:
    # Half a surrogate pair is a poor name, but it is one.
    return quote(text, safe="", errors="surrogatepass")


def _text(value: SliceValue) -> str:
    if isinstance(value, enum.Enum):
        inner = value.value
        value = inner if isinstance(inner, str | int) else value.name
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
