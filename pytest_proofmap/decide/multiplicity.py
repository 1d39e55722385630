"""Holm's step-down correction for several challengers."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["holm", "holm_level"]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm-adjusted p-values in the order of their input.

    The whole family must be given: a member that was left out, errored or failed for certain takes part with
    p = 1, or leaving members out would loosen the correction for the others.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def holm_level(adjusted: Sequence[float], alpha: float) -> float:
    """Return the raw level at which the next member of the family would be accepted.

    Members that already hold at ``alpha`` have left the queue, so the level is alpha over those that remain.
    """
    remaining = sum(1 for p in adjusted if p > alpha)
    return alpha / max(1, remaining)
