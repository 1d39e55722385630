"""Content hashes of what evidence is about: runtimes, prompt variants and criteria.

Each is the first 12 hexadecimal digits of a SHA-256, the same on every machine and supported Python version.

The names of slices: ``language=fr`` or ``language=fr,tier=gold``, percent-encoded.

Production builds the same name from the values that it routes by, so there is one function for both.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from pytest_proofmap.config import RuntimeConfig
    from pytest_proofmap.evidence.models import Bar

__all__ = [
    "CriterionPart",
    "SliceValue",
    "bar_fingerprint",
    "case_digest",
    "cases_fingerprint",
    "changed_parts",
    "configured_fingerprint",
    "criterion_fingerprint",
    "criterion_parts",
    "is_slice_value",
    "prompt_key",
    "runtime_fingerprint",
    "runtime_key",
    "slice_name",
    "values_seen",
    "walk_of",
]


DEPTH_LIMIT = 32
"""Values nested deeper than this count by their type."""

PLAIN_TEXT_TYPES = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
    complex,
    range,
)
"""Types whose text says their whole value."""


CriterionPart = Literal["source", "bar", "cases"]

_PARTS: tuple[CriterionPart, ...] = ("source", "bar", "cases")


def runtime_fingerprint(
    *,
    model: str,
    provider: str,
    params: Mapping[str, Any],
    variant: str | None,
    api_base: str | None,
    served: Iterable[str] | None = None,
) -> str:
    """Return the fingerprint of a runtime: all that makes it what it is, but for its name and price.

    Which other models may answer for it counts where that is said: evidence from before is then evidence of
    something else.
    """
    content: dict[str, Any] = {
        "model": model,
        "provider": provider,
        "params": params,
        "variant": variant,
        "api_base": api_base,
    }
    if served is not None:
        content["served"] = sorted(set(served))
    return _digest(content)


def configured_fingerprint(runtime: RuntimeConfig) -> str:
    """Return the fingerprint of a runtime as the configuration has it."""
    return runtime_fingerprint(
        model=runtime.model,
        provider=runtime.provider,
        params=runtime.key_params,
        variant=runtime.variant,
        api_base=runtime.api_base,
        served=runtime.served,
    )


def runtime_key(name: str, fingerprint: str) -> str:
    """Return the key of a runtime in the lock: ``gpt-4o-mini@1a2b3c4d5e6f``."""
    return f"{name}@{fingerprint}"


def prompt_key(name: str, variant: str, sha256: str) -> str:
    """Return the key of a prompt variant in the lock: ``triage.mini@9f8e7d6c5b4a``."""
    return f"{name}.{variant}@{sha256[:12]}"


def criterion_fingerprint(*, source: str, bar: str, cases: str) -> str:
    """Return the fingerprint of a criterion from those of its three parts."""
    return f"source:{source}/bar:{bar}/cases:{cases}"


def criterion_parts(fingerprint: str) -> dict[str, str]:
    """Return the parts of a criterion's fingerprint by name; one that was not collected has its source alone."""
    return dict(part.split(":", 1) for part in fingerprint.split("/") if ":" in part)


def changed_parts(before: str, after: str) -> list[CriterionPart]:
    """Return the parts in which a criterion's fingerprint differs from an earlier one.

    A part that the later one lacks is not known, and sources that two different walks saw cannot be compared.
    """
    was, now = criterion_parts(before), criterion_parts(after)
    if walk_of(was.get("source", "")) != walk_of(now.get("source", "")):
        now.pop("source", None)
    return [part for part in _PARTS if part in now and was.get(part) != now[part]]


def walk_of(source: str) -> int:
    """Return the walk by which the source part of a fingerprint was made; the first one wrote no number."""
    found = _NUMBERED_WALK.match(source)
    return int(found[1]) if found else 1


_NUMBERED_WALK = re.compile(r"(\d{1,3})(?:[mu]?\.|u$)")


def bar_fingerprint(bar: Bar) -> str:
    """Return the fingerprint of what a criterion's verdicts are decided by."""
    return _digest(
        {
            "kind": bar.kind,
            "min_pass_rate": bar.min_pass_rate,
            "max_failure_rate": bar.max_failure_rate,
            "margin": bar.margin,
            "confidence": bar.confidence,
            "samples": bar.samples,
            # Left out where unset, so that bars from before they could be set keep their fingerprint.
            **({"miss": bar.miss} if bar.miss else {}),
            **({"calls": bar.calls} if bar.calls else {}),
        }
    )


def cases_fingerprint(cases: Iterable[tuple[str, Mapping[str, object]]]) -> str:
    """Return the fingerprint of a criterion's cases, whatever their order.

    Args:
        cases: Case ids with the parametrized values. Text, numbers, enum members, dates, dataclasses,
            pydantic models and containers of these count by value; anything else counts by its type, so
            that no memory address gets in.
    """
    return _digest(sorted((case, _stable(dict(values), 0)) for case, values in cases))


def case_digest(values: Mapping[str, object]) -> str:
    """Return the content hash of one case's parametrized values, which count as in :func:`cases_fingerprint`."""
    return _digest(_stable(dict(values), 0))


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _stable(value: object, depth: int) -> str:
    """Return a value as text that depends on nothing but the value."""
    kind = type(value)
    if depth > DEPTH_LIMIT:
        return f"<{kind.__qualname__}>"
    if isinstance(value, Enum):
        return f"{kind.__qualname__}.{value.name}"
    if value is None or kind in (str, bytes, int, float, bool):
        return f"{kind.__name__}:{value!a}"
    if isinstance(value, Mapping):
        items = sorted((_stable(key, depth + 1), _stable(item, depth + 1)) for key, item in value.items())
        return f"{kind.__name__}{{{','.join(f'{key}={item}' for key, item in items)}}}"
    if isinstance(value, (list, tuple)):
        return f"{kind.__name__}[{','.join(_stable(item, depth + 1) for item in value)}]"
    if isinstance(value, (set, frozenset)):
        return f"{kind.__name__}({','.join(sorted(_stable(item, depth + 1) for item in value))})"
    if isinstance(value, PLAIN_TEXT_TYPES):
        return f"{kind.__name__}:{value}"
    if isinstance(value, PurePath):
        # The folders above an absolute path are those of one machine.
        return f"Path:{value.name if value.is_absolute() else value.as_posix()}"
    if isinstance(value, type) or callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', kind.__qualname__)}"
    fields: Iterable[str] = ()
    if dataclasses.is_dataclass(value):
        fields = (field.name for field in dataclasses.fields(value))
    elif isinstance(getattr(kind, "model_fields", None), dict):
        fields = kind.model_fields  # type: ignore[attr-defined]  # a pydantic model, not imported for this
    parts = (f"{name}={_stable(getattr(value, name), depth + 1)}" for name in fields)
    return f"{kind.__qualname__}({','.join(parts)})"


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
