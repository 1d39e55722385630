"""A stored artifact under other assumptions: other bars, other prices, fewer runtimes, fewer objectives.

Pure functions; what was decided before stays in the artifact until it is decided anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pytest_proofmap.errors import EvidenceError, did_you_mean
from pytest_proofmap.evidence.fingerprint import bar_fingerprint
from pytest_proofmap.evidence.models import Bar, BarKind, Call, Criterion, Evidence, Price, Sample
from pytest_proofmap.run.recorder import SOURCE_RANK, Charge, total
from pytest_proofmap.runtime.answer import Usage
from pytest_proofmap.runtime.prices import cost_usd

__all__ = [
    "OFF",
    "BarChanges",
    "only_objectives",
    "with_bars",
    "with_prices",
    "without_runtimes",
]

OFF: Final = "none"
"""Switches a part of a bar off."""

Given = float | Literal["none"] | None
"""A number, :data:`OFF`, or None: as it is."""


@dataclass(frozen=True, slots=True)
class BarChanges:
    """What to change in every bar; None leaves a part as it is."""

    margin: Given = None
    min_pass_rate: float | None = None
    max_failure_rate: Given = None
    confidence: float | None = None

    def apply(self, bar: Bar) -> Bar:
        """Return a bar with the changes, by the rule of the ``qualify`` mark.

        A margin alone takes the place of "every case must pass"; with a pass rate both must hold.
        """
        rate = self.min_pass_rate
        if rate is None and bar.kind != "all_pass":
            rate = bar.min_pass_rate
        margin = _changed(bar.margin, self.margin)
        kind: BarKind
        if margin is not None:
            kind = "margin" if rate is None else "both"
        else:
            rate = 1.0 if rate is None else rate
            kind = "all_pass" if rate == 1.0 else "min_pass_rate"
        return bar.model_copy(
            update={
                "kind": kind,
                "min_pass_rate": rate,
                "margin": margin,
                "max_failure_rate": _changed(bar.max_failure_rate, self.max_failure_rate),
                "confidence": bar.confidence if self.confidence is None else self.confidence,
            }
        )


def with_bars(evidence: Evidence, changes: BarChanges) -> Evidence:
    """Return an artifact whose criteria have other bars, and the fingerprints of those."""

    def changed(criterion: Criterion) -> Criterion:
        bar = changes.apply(criterion.bar)
        if bar == criterion.bar:
            return criterion
        parts = [
            f"bar:{bar_fingerprint(bar)}" if part.startswith("bar:") else part
            for part in criterion.fingerprint.split("/")
        ]
        return criterion.model_copy(update={"bar": bar, "fingerprint": "/".join(parts)})

    return evidence.model_copy(update={"criteria": [changed(each) for each in evidence.criteria]})


def with_prices(evidence: Evidence, prices: Mapping[str, Price]) -> Evidence:
    """Return an artifact in which the calls of some runtimes cost what other prices make of their tokens.

    Raises:
        EvidenceError: A name is no runtime of the artifact.
    """
    if not prices:
        return evidence
    auxiliary = {call.runtime for sample in evidence.samples for call in sample.calls if call.runtime}
    for name in prices:
        _require_runtime(name, [*evidence.runtimes, *sorted(auxiliary - set(evidence.runtimes))])

    def repriced(sample: Sample, call: Call) -> Call:
        price = prices.get(call.runtime or sample.runtime)
        if price is None or (call.input_tokens is None and call.error is not None):
            return call
        usage = Usage(
            input_tokens=call.input_tokens,
            output_tokens=call.output_tokens,
            cached_input_tokens=call.cached_input_tokens,
        )
        return call.model_copy(update={"cost_usd": cost_usd(usage, price)})

    runtimes = {
        name: info.model_copy(update={"price": prices[name]}) if name in prices else info
        for name, info in evidence.runtimes.items()
    }
    changed = evidence.model_copy(update={"runtimes": runtimes})
    return _with_samples(
        changed,
        (
            sample.model_copy(update={"calls": [repriced(sample, call) for call in sample.calls]})
            for sample in evidence.samples
        ),
    )


def without_runtimes(evidence: Evidence, names: Iterable[str], option: str) -> Evidence:
    """Return an artifact without the samples of some challengers.

    Their names stay in the objectives: whoever is left is corrected for as many challengers as before, or
    leaving some out would dodge the correction. The evidence is incomplete from then on.

    Args:
        evidence: The artifact.
        names: The challengers.
        option: The option that left them out, for the reason.

    Raises:
        EvidenceError: A name is no runtime of the artifact, or a baseline.
    """
    left_out = list(dict.fromkeys(names))
    for name in left_out:
        _require_runtime(name, evidence.runtimes)
        for objective in evidence.objectives:
            if objective.baseline == name:
                raise EvidenceError(
                    f"{option} {name}: {name!r} is the baseline of {objective.name!r}, which its challengers "
                    "are compared with. Leave challengers out only, or decide on other objectives with "
                    "--objective."
                )
    if not left_out:
        return evidence
    reasons = [*evidence.run.incomplete_reasons, f"{option} left out {', '.join(sorted(left_out))}"]
    run = evidence.run.model_copy(update={"complete": False, "incomplete_reasons": reasons})
    return _with_samples(
        evidence.model_copy(update={"run": run}),
        (sample for sample in evidence.samples if sample.runtime not in left_out),
    )


def only_objectives(evidence: Evidence, names: Iterable[str]) -> Evidence:
    """Return an artifact with some of its objectives, whole.

    Raises:
        EvidenceError: A name is no objective of the artifact.
    """
    wanted = list(names)
    known = [objective.name for objective in evidence.objectives]
    for name in wanted:
        if name not in known:
            raise EvidenceError(
                f"{name!r} is no objective of the evidence.{did_you_mean(name, known)} "
                f"Objectives: {', '.join(known)}."
            )
    if not wanted:
        return evidence
    criteria = [criterion for criterion in evidence.criteria if criterion.objective in wanted]
    kept = {criterion.id for criterion in criteria}
    smaller = evidence.model_copy(
        update={
            "objectives": [objective for objective in evidence.objectives if objective.name in wanted],
            "criteria": criteria,
        }
    )
    return _with_samples(smaller, (sample for sample in evidence.samples if sample.criterion in kept))


def _require_runtime(name: str, known: Iterable[str]) -> None:
    """Check that a name is a runtime of the artifact.

    Raises:
        EvidenceError: It is not.
    """
    names = list(known)
    if name not in names:
        raise EvidenceError(
            f"{name!r} is no runtime of the evidence.{did_you_mean(name, names)} Runtimes: {', '.join(names)}."
        )


def _with_samples(evidence: Evidence, samples: Iterable[Sample]) -> Evidence:
    """Return an artifact with other samples, and the totals that follow from them."""
    kept = list(samples)
    charges: dict[str, Charge] = {}
    for sample in kept:
        for call in sample.calls:
            charge = Charge(call.key, call.source, call.cost_usd, call.error is None)
            known = charges.get(call.key)
            if known is None or SOURCE_RANK[charge.source] < SOURCE_RANK[known.source]:
                charges[call.key] = charge
    return evidence.model_copy(update={"samples": kept, "totals": total(charges.values())})


def _changed(value: float | None, given: Given) -> float | None:
    if given is None:
        return value
    return None if given == OFF else float(given)
