"""The largest loss of pass rate that paired cases leave possible."""

from __future__ import annotations

import math

from pytest_proofmap.decide.binomial import normal_quantile
from pytest_proofmap.decide.paired import EXACT_LIMIT, GAMMA
from pytest_proofmap.decide.tango import tango_bound, tango_z

__all__ = ["loss_bound"]


def loss_bound(b: float, c: float, n: int, margin: float, level: float, p_unsafe: float | None = None) -> float:
    """Return the loss that b regressions and c improvements in n pairs cannot exclude at the level.

    Without disagreement the exact test can be turned round in closed form. With it the score statistic is,
    after shifting it so that it agrees with the exact p-value at the margin: so the bound is beyond the
    margin exactly when the p-value is above the level.

    Args:
        b: Regressions.
        c: Improvements.
        n: Pairs.
        margin: The tolerated loss.
        level: The p-value that would exclude a loss.
        p_unsafe: The p-value at the margin; None: do not shift.

    Returns:
        A loss in [0, 1].
    """
    if n <= 0:
        return 1.0
    if b == 0 == c and n <= EXACT_LIMIT and level > GAMMA:
        return 1.0 - float((level - GAMMA) ** (1.0 / n))
    target = normal_quantile(1.0 - level)
    if p_unsafe is not None and 0.0 < p_unsafe < 1.0:
        target += tango_z(b, c, n, -margin) - normal_quantile(1.0 - p_unsafe)
    loss = -tango_bound(b, c, n, target, -1.0, 1.0)
    if p_unsafe is not None:
        loss = max(loss, math.nextafter(margin, 1.0)) if p_unsafe > level else min(loss, margin)
    return min(1.0, max(0.0, loss))
