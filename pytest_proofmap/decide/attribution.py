"""Is it the prompt or the model? Paired differences between runtimes that differ in one of the two alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

from pytest_proofmap.decide.pairing import answered_pairs
from pytest_proofmap.decide.tally import CriterionTally
from pytest_proofmap.decide.tango import tango_interval
from pytest_proofmap.evidence.models import AttributedDifference, RuntimeInfo

__all__ = ["attribute"]

_ALL_PAIRS = 8
"""Up to so many runtimes all pairs are compared, beyond it those with the baseline."""

Axis = Literal["prompt", "model"]


def attribute(
    tally: CriterionTally,
    names: Sequence[str],
    runtimes: Mapping[str, RuntimeInfo],
    confidence: float,
) -> list[AttributedDifference]:
    """Compare all pairs of a criterion's runtimes that differ along one axis alone. No verdict hangs on it.

    Args:
        tally: What was observed of the criterion.
        names: The baseline, then the challengers.
        runtimes: The runtimes as configured.
        confidence: Two-sided confidence of the intervals (0: 0.95).
    """
    known = [name for name in names if name in runtimes and tally.runtimes.get(name)]
    differences = []
    for first, second in combinations(known, 2):
        # All pairs of many runtimes would be more than anyone reads.
        if first != names[0] and len(known) > _ALL_PAIRS:
            continue
        axis = _axis(runtimes[first], runtimes[second])
        if axis is None:
            continue
        for slice_name in (None, *tally.slices()):
            difference = _difference(tally, slice_name, first, second, axis, confidence or 0.95)
            if difference is not None:
                differences.append(difference)
    return differences


def _axis(one: RuntimeInfo, other: RuntimeInfo) -> Axis | None:
    """Return the only axis along which two runtimes differ, or None when there is not exactly one."""
    if one.params != other.params:
        return None
    same_model = (one.model, one.provider, one.api_base) == (other.model, other.provider, other.api_base)
    if same_model == (one.variant == other.variant):
        return None
    return "prompt" if same_model else "model"


def _difference(
    tally: CriterionTally,
    slice_name: str | None,
    first: str,
    second: str,
    axis: Axis,
    confidence: float,
) -> AttributedDifference | None:
    """Return the paired difference on the cases that both have an outcome for, or None without any."""
    table, pairs = answered_pairs(tally.view(slice_name), first, second)
    if not pairs:
        return None
    low, high = tango_interval(*table, confidence)
    return AttributedDifference(
        axis=axis,
        slice=slice_name,
        from_runtime=first,
        to_runtime=second,
        difference=(table.improvements - table.regressions) / table.pairs,
        interval=(low, high),
        pairs=pairs,
    )
