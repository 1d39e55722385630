"""The figures that the rungs of a lock's routes were approved on."""

from __future__ import annotations

from pytest_proofmap.approve.models import Lock, Route, route_parts
from pytest_proofmap.decide.outage import RouteRungs, Rung

__all__ = ["approved_rungs"]


def approved_rungs(lock: Lock) -> list[RouteRungs]:
    """Return the routes of a lock with the figures that they were approved on."""
    return [
        RouteRungs(*route_parts(name), tuple(_rung(key, route, lock) for key in route.chain))
        for name, route in sorted(lock.routes.items())
    ]


def _rung(key: str, route: Route, lock: Lock) -> Rung:
    runtime = lock.runtimes[key]
    return Rung(
        runtime.name,
        runtime.provider,
        "approved",
        route.evidence.pass_rates.get(runtime.name),
        route.evidence.cost_per_1k_usd.get(runtime.name),
    )
