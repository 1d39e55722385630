"""What if: the same evidence with other bars, other prices, or runtimes left out or down.

A function that returns a changed artifact leaves its old decisions in it; ``decide_evidence`` makes new ones. When
providers are down, what is left of each route says who takes over, how good and how dear.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.decide.economics import RouteCosts
from pytest_proofmap.errors import EvidenceError, did_you_mean
from pytest_proofmap.evidence.models import Bar, BarKind, Call, Cell, Criterion, Evidence, Objective, Price, Sample

__all__ = [
    "BarChanges",
    "ChainEntry",
    "Outage",
    "PriceEffect",
    "RouteChain",
    "Survivors",
    "outages",
    "price_effects",
    "providers",
    "rebar",
    "reprice",
    "routes_of",
    "survivors",
    "without_runtimes",
]


Standing = Literal["baseline", "qualified", "not_qualified", "insufficient", "approved"]
"""What is known of a runtime on a route; ``approved``: a lock says that it was the baseline or qualified."""

Fate = Literal["untouched", "thinner", "taken_over", "nothing_left"]


class ChainEntry(NamedTuple):
    """A runtime that may serve a route."""

    runtime: str
    provider: str
    standing: Standing
    pass_rate: float | None
    """Share of the route's cases that it passes; None when it is unknown."""
    cost_per_1k_usd: float | None
    """Cost of 1,000 cases; None when it is unknown."""


class RouteChain(NamedTuple):
    """A route with what is known of its rungs."""

    objective: str
    slice: str | None
    chain: tuple[ChainEntry, ...]
    others: tuple[ChainEntry, ...] = ()
    """Runtimes that were evaluated and are not in the chain."""


class Survivors(NamedTuple):
    """What is left of a route when something is down."""

    objective: str
    slice: str | None
    chain: tuple[ChainEntry, ...]
    left: tuple[ChainEntry, ...]
    """The rungs that still stand; empty: nothing serves the route."""
    others: tuple[ChainEntry, ...]
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


def routes_of(evidence: Evidence) -> list[RouteChain]:
    """Return the recommended routes of decided evidence."""
    by_id = {criterion.id: criterion for criterion in evidence.criteria}
    costs = RouteCosts(evidence)
    routes = []
    for objective in evidence.objectives:
        criteria = [by_id[name] for name in objective.criteria if name in by_id]
        for recommendation in objective.recommendations:
            entries = {
                name: _entry(name, objective, recommendation.slice, criteria, evidence, costs)
                for name in (objective.baseline, *objective.challengers)
            }
            routes.append(
                RouteChain(
                    objective.name,
                    recommendation.slice,
                    tuple(entries[name] for name in recommendation.chain),
                    tuple(entry for name, entry in entries.items() if name not in recommendation.chain),
                )
            )
    return routes


def providers(routes: Iterable[RouteChain]) -> list[str]:
    """Return the providers that serve any entry of the routes' chains."""
    return sorted({entry.provider for route in routes for entry in route.chain})


def outages(routes: Sequence[RouteChain]) -> list[Outage]:
    """Return what is left of the routes for each provider that goes down alone."""
    return [Outage((provider,), survivors(routes, [provider])) for provider in providers(routes)]


def survivors(routes: Sequence[RouteChain], down: Collection[str]) -> list[Survivors]:
    """Return what is left of each route when providers or runtimes are down, all of them at once.

    Raises:
        EvidenceError: No route has such a provider or runtime.
    """
    entries = [entry for route in routes for entry in (*route.chain, *route.others)]
    known = sorted({name for entry in entries for name in (entry.runtime, entry.provider)})
    for name in down:
        if name not in known:
            raise EvidenceError(
                f"No route has a provider or a runtime {name!r}.{did_you_mean(name, known)} "
                f"There are: {', '.join(known) or 'none'}."
            )

    def standing(entries: Iterable[ChainEntry]) -> tuple[ChainEntry, ...]:
        return tuple(entry for entry in entries if entry.runtime not in down and entry.provider not in down)

    return [
        Survivors(route.objective, route.slice, route.chain, standing(route.chain), standing(route.others))
        for route in routes
    ]


def _entry(
    name: str,
    objective: Objective,
    slice_name: str | None,
    criteria: Sequence[Criterion],
    evidence: Evidence,
    costs: RouteCosts,
) -> ChainEntry:
    standings: dict[str, Standing] = {
        verdict.runtime: verdict.status for verdict in objective.verdicts if verdict.slice == slice_name
    }
    passed = answered = 0
    for cell in _cells(name, slice_name, criteria):
        passed += cell.passed
        answered += cell.cases - cell.skipped
    info = evidence.runtimes.get(name)
    return ChainEntry(
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


Unset = Literal["unset"]

CallCost = Callable[[Call, Price], "float | None"]
"""What a call costs at a price, in USD; None when that is unknown. The arithmetic of bills is the caller's."""


class BarChanges(NamedTuple):
    """What to change in a bar; ``"unset"`` keeps what there is, None switches an argument off."""

    margin: float | Unset | None = "unset"
    min_pass_rate: float | Unset | None = "unset"
    max_failure_rate: float | Unset | None = "unset"
    confidence: float | Unset = "unset"

    def apply(self, bar: Bar) -> Bar:
        """Return a bar with the changes.

        As in the mark, a margin replaces the bar that all cases must pass, and adds to a lower pass rate.
        """
        margin = bar.margin if self.margin == "unset" else self.margin
        rate = bar.min_pass_rate
        if self.min_pass_rate != "unset":
            rate = self.min_pass_rate
        elif self.margin != "unset" and self.margin is not None and bar.kind == "all_pass":
            rate = None
        kind: BarKind
        if margin is not None:
            kind = "margin" if rate is None else "both"
        else:
            rate = 1.0 if rate is None else rate
            kind = "all_pass" if rate == 1.0 else "min_pass_rate"
        return bar.model_copy(
            update={
                "kind": kind,
                "margin": margin,
                "min_pass_rate": rate,
                "max_failure_rate": (
                    bar.max_failure_rate if self.max_failure_rate == "unset" else self.max_failure_rate
                ),
                "confidence": bar.confidence if self.confidence == "unset" else self.confidence,
            }
        )


def rebar(evidence: Evidence, changes: BarChanges, objectives: Collection[str] = ()) -> Evidence:
    """Return the evidence with other bars on the criteria of some objectives (none named: of all).

    Raises:
        EvidenceError: The evidence has no such objective.
    """
    known = [objective.name for objective in evidence.objectives]
    for name in objectives:
        if name not in known:
            raise EvidenceError(
                f"The evidence has no objective {name!r}.{did_you_mean(name, known)} It has: {', '.join(known)}."
            )
    criteria = [
        criterion.model_copy(update={"bar": changes.apply(criterion.bar)})
        if not objectives or criterion.objective in objectives
        else criterion
        for criterion in evidence.criteria
    ]
    return evidence.model_copy(update={"criteria": criteria})


def reprice(evidence: Evidence, prices: Mapping[str, Price], call_cost: CallCost) -> Evidence:
    """Return the evidence with the cost of every call of some runtimes computed anew from its tokens.

    Args:
        evidence: The evidence.
        prices: The new price of each of these runtimes.
        call_cost: Makes the bill of a call.

    Raises:
        EvidenceError: The evidence has no such runtime.
    """
    _check_runtimes(evidence, prices)
    prices = {name: _completed(price, evidence.runtimes[name].price) for name, price in prices.items()}

    def priced(sample: Sample, call: Call) -> Call:
        price = prices.get(call.runtime or sample.runtime)
        if price is None or call.input_tokens is None:
            return call
        return call.model_copy(update={"cost_usd": call_cost(call, price)})

    samples = [
        sample.model_copy(update={"calls": [priced(sample, call) for call in sample.calls]})
        for sample in evidence.samples
    ]
    runtimes = {
        name: runtime.model_copy(update={"price": prices.get(name, runtime.price)})
        for name, runtime in evidence.runtimes.items()
    }
    return evidence.model_copy(update={"samples": samples, "runtimes": runtimes})


def _completed(price: Price, before: Price | None) -> Price:
    """Return a price with the rates that it does not speak of (cache writes, audio, fees) as they were."""
    if price.listed or before is None or not before.listed:
        return price
    return price.model_copy(update={"listed": before.listed})


class PriceEffect(NamedTuple):
    """What other prices do to a recommended route."""

    old: RouteChain
    new: RouteChain
    reason: str
    """Why the new chain is recommended."""

    @property
    def is_moved(self) -> bool:
        """Whether another chain is recommended."""
        return [entry.runtime for entry in self.old.chain] != [entry.runtime for entry in self.new.chain]


def price_effects(evidence: Evidence, prices: Mapping[str, Price], call_cost: CallCost) -> list[PriceEffect]:
    """Return each route as recommended at the prices of the evidence and at other prices.

    Args:
        evidence: The evidence.
        prices: The other price of each of these runtimes.
        call_cost: Makes the bill of a call.

    Raises:
        EvidenceError: The evidence has no such runtime.
    """
    # Both are decided anew, so that nothing but the prices can make a difference.
    after = decide_evidence(reprice(evidence, prices, call_cost))
    before = decide_evidence(evidence)
    reasons = [
        recommendation.reason for objective in after.objectives for recommendation in objective.recommendations
    ]
    return [
        PriceEffect(old, new, reason)
        for old, new, reason in zip(routes_of(before), routes_of(after), reasons, strict=True)
    ]


def without_runtimes(evidence: Evidence, names: Collection[str]) -> Evidence:
    """Return the evidence without the samples of some challengers.

    They stay members of the family that verdicts are corrected for: leaving some out after a look at the results
    must not make the others look better.

    Raises:
        EvidenceError: The evidence has no such runtime, or it is a baseline.
    """
    _check_runtimes(evidence, names)
    for objective in evidence.objectives:
        if objective.baseline in names:
            raise EvidenceError(
                f"{objective.baseline!r} is the baseline of the objective {objective.name!r} and cannot be left "
                "out: verdicts compare with it. Leave out challengers only."
            )
    samples = [sample for sample in evidence.samples if sample.runtime not in names]
    return evidence.model_copy(update={"samples": samples})


def _check_runtimes(evidence: Evidence, names: Collection[str]) -> None:
    """Raise for a runtime that the evidence does not have."""
    known = sorted(evidence.runtimes)
    for name in names:
        if name not in known:
            raise EvidenceError(
                f"The evidence has no runtime {name!r}.{did_you_mean(name, known)} It has: {', '.join(known)}."
            )
