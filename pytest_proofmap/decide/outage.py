"""What is left of each route when providers or runtimes are down: who takes over, how good and how dear."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from pytest_proofmap.decide.economics import RouteCosts
from pytest_proofmap.errors import EvidenceError, did_you_mean
from pytest_proofmap.evidence.models import Cell, Criterion, Evidence, Objective

__all__ = [
    "Outage",
    "RouteRungs",
    "Rung",
    "Standing",
    "Survivors",
    "outages",
    "providers",
    "routes_of",
    "survivors",
]

Standing = Literal["baseline", "qualified", "not_qualified", "insufficient", "approved"]
"""What is known of a runtime on a route; ``approved``: a lock says that it was the baseline or qualified."""

Fate = Literal["untouched", "thinner", "taken_over", "nothing_left"]


class Rung(NamedTuple):
    """A runtime that may serve a route."""

    runtime: str
    provider: str
    standing: Standing
    pass_rate: float | None
    """Share of the route's cases that it passes; None when it is unknown."""
    cost_per_1k_usd: float | None
    """Cost of 1,000 cases; None when it is unknown."""


class RouteRungs(NamedTuple):
    """A route with what is known of its rungs."""

    objective: str
    slice: str | None
    chain: tuple[Rung, ...]
    others: tuple[Rung, ...] = ()
    """Runtimes that were evaluated and are not in the chain."""


class Survivors(NamedTuple):
    """What is left of a route when something is down."""

    objective: str
    slice: str | None
    chain: tuple[Rung, ...]
    left: tuple[Rung, ...]
    """The rungs that still stand; empty: nothing serves the route."""
    others: tuple[Rung, ...]
    """Runtimes outside of the chain that still stand: nobody approved them for the route."""

    @property
    def fate(self) -> Fate:
        """What becomes of the route."""
        if not self.left:
            return "nothing_left"
        if self.left[0] != self.chain[0]:
            return "taken_over"
        return "untouched" if self.left == self.chain else "thinner"

    @property
    def cost_change(self) -> float | None:
        """What 1,000 cases cost more, or less, in USD on the runtime that takes over."""
        if not self.left or self.left[0].cost_per_1k_usd is None or self.chain[0].cost_per_1k_usd is None:
            return None
        return self.left[0].cost_per_1k_usd - self.chain[0].cost_per_1k_usd

    @property
    def pass_rate_change(self) -> float | None:
        """By how much the pass rate differs on the runtime that takes over."""
        if not self.left or self.left[0].pass_rate is None or self.chain[0].pass_rate is None:
            return None
        return self.left[0].pass_rate - self.chain[0].pass_rate


class Outage(NamedTuple):
    """Providers or runtimes that are down together, and what is left of each route."""

    down: tuple[str, ...]
    routes: list[Survivors]

    def with_fate(self, fate: Fate) -> list[Survivors]:
        """Return the routes that share a fate."""
        return [route for route in self.routes if route.fate == fate]


def routes_of(evidence: Evidence) -> list[RouteRungs]:
    """Return the recommended routes of decided evidence."""
    by_id = {criterion.id: criterion for criterion in evidence.criteria}
    costs = RouteCosts(evidence)
    routes = []
    for objective in evidence.objectives:
        criteria = [by_id[name] for name in objective.criteria if name in by_id]
        for found in objective.recommendations:
            rungs = {
                name: _rung(name, objective, found.slice, criteria, evidence, costs)
                for name in (objective.baseline, *objective.challengers)
            }
            routes.append(
                RouteRungs(
                    objective.name,
                    found.slice,
                    tuple(rungs[name] for name in found.chain),
                    tuple(rung for name, rung in rungs.items() if name not in found.chain),
                )
            )
    return routes


def providers(routes: Iterable[RouteRungs]) -> list[str]:
    """Return the providers that serve any rung of the routes."""
    return sorted({rung.provider for route in routes for rung in route.chain})


def outages(routes: Sequence[RouteRungs]) -> list[Outage]:
    """Return what is left of the routes for each provider that goes down alone."""
    return [Outage((provider,), survivors(routes, [provider])) for provider in providers(routes)]


def survivors(routes: Sequence[RouteRungs], down: Collection[str]) -> list[Survivors]:
    """Return what is left of each route when providers or runtimes are down, all of them at once.

    Raises:
        EvidenceError: No route has such a provider or runtime.
    """
    rungs = [rung for route in routes for rung in (*route.chain, *route.others)]
    known = sorted({name for rung in rungs for name in (rung.runtime, rung.provider)})
    for name in down:
        if name not in known:
            raise EvidenceError(
                f"No route has a provider or a runtime {name!r}.{did_you_mean(name, known)} "
                f"There are: {', '.join(known) or 'none'}."
            )

    def standing(rungs: Iterable[Rung]) -> tuple[Rung, ...]:
        return tuple(rung for rung in rungs if rung.runtime not in down and rung.provider not in down)

    return [
        Survivors(route.objective, route.slice, route.chain, standing(route.chain), standing(route.others))
        for route in routes
    ]


def _rung(
    name: str,
    objective: Objective,
    slice_name: str | None,
    criteria: Sequence[Criterion],
    evidence: Evidence,
    costs: RouteCosts,
) -> Rung:
    standings: dict[str, Standing] = {
        verdict.runtime: verdict.status for verdict in objective.verdicts if verdict.slice == slice_name
    }
    passed = answered = 0
    for cell in _cells(name, slice_name, criteria):
        passed += cell.passed
        answered += cell.cases - cell.skipped
    info = evidence.runtimes.get(name)
    return Rung(
        name,
        # A runtime that the artifact does not describe may be anyone's.
        info.provider if info else "unknown",
        "baseline" if name == objective.baseline else standings.get(name, "insufficient"),
        passed / answered if answered else None,
        costs.per_1k_usd(name, [criterion.id for criterion in criteria], slice_name),
    )


def _cells(runtime: str, slice_name: str | None, criteria: Sequence[Criterion]) -> Iterator[Cell]:
    """Yield a runtime's cells on a slice; a criterion without slices counts whole towards each."""
    for criterion in criteria:
        wanted = slice_name if any(cell.slice is not None for cell in criterion.cells) else None
        for cell in criterion.cells:
            if (cell.runtime, cell.slice) == (runtime, wanted):
                yield cell
