"""Which configured runtime a stored request belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["owners"]


class _Runtime(Protocol):
    @property
    def model(self) -> str: ...
    @property
    def api_base(self) -> str | None: ...
    @property
    def key_params(self) -> dict[str, Any]: ...


def owners(request: Mapping[str, Any], runtimes: Mapping[str, _Runtime]) -> set[str]:
    """Return the names of the runtimes that a stored request may have been made by.

    Model and endpoint decide; among runtimes that share both, the one whose parameters the request has.
    Several names are returned when the request fits several equally well.
    """
    params = request.get("params") or {}
    fit = {
        name: sum(1 if params.get(param) == value else -1 for param, value in runtime.key_params.items())
        for name, runtime in runtimes.items()
        if (runtime.model, runtime.api_base) == (request.get("model"), request.get("api_base"))
    }
    best = max(fit.values(), default=0)
    return {name for name, score in fit.items() if score == best}
