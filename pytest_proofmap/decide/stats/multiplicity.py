"""Corrections for several challengers and several slices.

Challengers: Holm S. (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of
Statistics 6:65-70. Slices: Benjamini Y. & Bogomolov M. (2014), Selective inference on multiple families of
hypotheses, Journal of the Royal Statistical Society B 76:297-318: families (here slices) are selected by Benjamini
and Hochberg's rule on their smallest adjusted p-value, and within the R selected of S families the level is R/S
times what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pytest_proofmap.evidence.models import SlicesRule

__all__ = ["DEFAULT_RULE", "correct", "holm", "holm_level"]

DEFAULT_RULE: SlicesRule = "fdr"
"""The rule where none is named."""


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


def holm_level(adjusted: Sequence[float], level: float) -> float:
    """Return the raw level at which the next member of the family would be accepted.

    Members that already hold at ``level`` have left the queue, so it is shared by those that remain.
    """
    remaining = sum(1 for p in adjusted if p > level)
    return level / max(1, remaining)


class Correction(NamedTuple):
    """P-values of several challengers on several slices, corrected for each other."""

    adjusted: list[list[float]]
    """By slice and challenger, as given."""
    level: float
    """What an adjusted p-value must not exceed; 0: no slice is selected, and nothing qualifies."""
    next_level: list[float]
    """By slice, the raw level at which the next challenger would be accepted, as things are."""


def correct(p_values: Sequence[Sequence[float]], alpha: float, rule: SlicesRule) -> Correction:
    """Correct the p-values of slices and challengers.

    Args:
        p_values: By slice and challenger, all of them: what can't be accepted anyway takes part with p = 1.
        alpha: The error.
        rule: ``fdr``: of the slices promoted at most alpha are expected to be wrong; ``all``: no error anywhere at
            confidence 1 - alpha; ``each``: every slice by itself.
    """
    slices = len(p_values)
    if rule == "all":
        flat = holm([p for family in p_values for p in family])
        adjusted, start = [], 0
        for family in p_values:
            adjusted.append(flat[start : start + len(family)])
            start += len(family)
        return Correction(adjusted, alpha, [holm_level(flat, alpha)] * slices)
    adjusted = [holm(family) for family in p_values]
    level = next_level = alpha
    if rule == "fdr" and slices:
        smallest = sorted(min(family, default=1.0) for family in adjusted)
        selected = max((k for k, p in enumerate(smallest, start=1) if p <= k * alpha / slices), default=0)
        level = alpha * selected / slices
        next_level = alpha * max(1, selected) / slices
    return Correction(adjusted, level, [holm_level(family, next_level) for family in adjusted])
