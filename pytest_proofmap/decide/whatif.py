"""What if: the same evidence with other bars, other prices, or runtimes left out.

A function that returns a changed artifact leaves its old decisions in it; ``decide_evidence`` makes new ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.decide.outage import RouteRungs, routes_of
from pytest_proofmap.errors import EvidenceError, did_you_mean
from pytest_proofmap.evidence.models import Bar, BarKind, Call, Evidence, Price, Sample
from pytest_proofmap.runtime.answer import Usage
from pytest_proofmap.runtime.billed import Billed
from pytest_proofmap.runtime.costs import cost_usd

__all__ = ["BarChanges", "PriceEffect", "price_effects", "rebar", "reprice", "without_runtimes"]

Unset = Literal["unset"]


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


def reprice(evidence: Evidence, prices: Mapping[str, Price]) -> Evidence:
    """Return the evidence with the cost of every call of some runtimes computed anew from its tokens.

    Raises:
        EvidenceError: The evidence has no such runtime.
    """
    _check_runtimes(evidence, prices)
    prices = {name: _completed(price, evidence.runtimes[name].price) for name, price in prices.items()}

    def priced(sample: Sample, call: Call) -> Call:
        price = prices.get(call.runtime or sample.runtime)
        if price is None or call.input_tokens is None:
            return call
        usage = Usage(
            input_tokens=call.input_tokens,
            output_tokens=call.output_tokens,
            cached_input_tokens=call.cached_input_tokens,
        )
        return call.model_copy(update={"cost_usd": cost_usd(usage, price, Billed(counts=call.billed or {}))})

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

    old: RouteRungs
    new: RouteRungs
    reason: str
    """Why the new chain is recommended."""

    @property
    def is_moved(self) -> bool:
        """Whether another chain is recommended."""
        return [rung.runtime for rung in self.old.chain] != [rung.runtime for rung in self.new.chain]


def price_effects(evidence: Evidence, prices: Mapping[str, Price]) -> list[PriceEffect]:
    """Return each route as recommended at the prices of the evidence and at other prices.

    Raises:
        EvidenceError: The evidence has no such runtime.
    """
    # Both are decided anew, so that nothing but the prices can make a difference.
    after = decide_evidence(reprice(evidence, prices))
    before = decide_evidence(evidence)
    reasons = [found.reason for objective in after.objectives for found in objective.recommendations]
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
