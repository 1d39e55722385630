"""What must change with an artifact's bars, prices, runtimes and objectives, so that it stays consistent.

Pure functions; what was decided before stays in the artifact until it is decided anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pytest_proofmap.errors import EvidenceError, did_you_mean
from pytest_proofmap.evidence.fingerprint import bar_fingerprint
from pytest_proofmap.evidence.models import Criterion, Evidence, Totals
from pytest_proofmap.evidence.totals import SOURCE_RANK, Charge, total

__all__ = ["mark_left_out", "only_objectives", "recounted", "refingerprinted"]


def only_objectives(evidence: Evidence, names: Collection[str]) -> Evidence:
    """Return an artifact with some of its objectives, whole (none named: with all of them).

    Raises:
        EvidenceError: A name is no objective of the artifact.
    """
    known = [objective.name for objective in evidence.objectives]
    for name in names:
        if name not in known:
            raise EvidenceError(
                f"The evidence has no objective {name!r}.{did_you_mean(name, known)} It has: {', '.join(known)}."
            )
    if not names:
        return evidence
    criteria = [criterion for criterion in evidence.criteria if criterion.objective in names]
    kept = {criterion.id for criterion in criteria}
    return evidence.model_copy(
        update={
            "objectives": [objective for objective in evidence.objectives if objective.name in names],
            "criteria": criteria,
            "samples": [sample for sample in evidence.samples if sample.criterion in kept],
        }
    )


def mark_left_out(evidence: Evidence, names: Iterable[str], option: str) -> Evidence:
    """Return an artifact that says that challengers were left out, and by which option."""
    left_out = sorted(set(names))
    if not left_out:
        return evidence
    reasons = [*evidence.run.incomplete_reasons, f"{option} left out {', '.join(left_out)}"]
    run = evidence.run.model_copy(update={"complete": False, "incomplete_reasons": reasons})
    return evidence.model_copy(update={"run": run})


def refingerprinted(evidence: Evidence) -> Evidence:
    """Return an artifact whose criteria have the fingerprints of their bars as they are now."""
    return evidence.model_copy(
        update={
            "criteria": [
                criterion.model_copy(update={"fingerprint": _fingerprint(criterion)})
                for criterion in evidence.criteria
            ]
        }
    )


def recounted(evidence: Evidence) -> Evidence:
    """Return an artifact whose totals are those of its samples as they are now."""
    return evidence.model_copy(update={"totals": _totals(evidence)})


def _fingerprint(criterion: Criterion) -> str:
    parts = criterion.fingerprint.split("/")
    bar = f"bar:{bar_fingerprint(criterion.bar)}"
    return "/".join(bar if part.startswith("bar:") else part for part in parts)


def _totals(evidence: Evidence) -> Totals:
    charges: dict[str, Charge] = {}
    for sample in evidence.samples:
        for call in sample.calls:
            charge = Charge(call.key, call.source, call.cost_usd, call.error is None, call.runtime)
            known = charges.get(call.key)
            if known is None or SOURCE_RANK[charge.source] < SOURCE_RANK[known.source]:
                charges[call.key] = charge
    return total(charges.values())
