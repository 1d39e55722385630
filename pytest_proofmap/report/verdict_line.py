"""A run in one line: what can move, what that saves, and what fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pytest_proofmap.evidence.models import Objective, Recommendation
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.wording import plural

__all__ = [
    "Movement",
    "VerdictLine",
    "figure",
    "is_promoted",
    "movement",
    "movement_text",
    "verdict_line",
]


class VerdictLine(NamedTuple):
    """A run in one line."""

    sign: str
    """For one that fails, and for one with something that can move; else empty."""
    text: str


def verdict_line(summary: Summary) -> VerdictLine:
    """Return what can move, what that saves, and what fails."""
    count = len(summary.findings)
    sign = "✗" if count else ""
    failing = f"; {plural(count, 'finding')} {'fails' if count == 1 else 'fail'} the run" if count else ""
    if summary.run.shard:
        return VerdictLine(sign, f"one shard of a run, nothing is decided{failing}")
    decided = [each for each in summary.objectives if each.recommendations]
    if not decided:
        return VerdictLine(sign, f"nothing is decided{failing}")
    moves = [(objective, movement(objective)) for objective in decided]
    moved = [(objective, route) for objective, move in moves for route in move.promoted]
    text = movement_text([move for _, move in moves])
    savings = [
        _span([route.cost_ratio for _, route in moved if route.cost_ratio and route.cost_ratio > 1], "cheaper"),
        _span(
            [
                route.latency_ratio
                for objective, route in moved
                if objective.optimize == "latency" and route.latency_ratio and route.latency_ratio > 1
            ],
            "faster",
        ),
    ]
    found = " and ".join(filter(None, savings))
    sign = sign or ("✓" if moved else "")
    return VerdictLine(sign, f"{text}{f', {found}' if found else ''}{failing}")


def _span(ratios: Sequence[float], word: str) -> str:
    if not ratios:
        return ""
    low, high = figure(min(ratios)), figure(max(ratios))
    return f"{low}× {word}" if low == high else f"{low} to {high}× {word}"


class Movement(NamedTuple):
    """What of an objective's traffic leaves its baseline."""

    traffic: tuple[Recommendation, ...]
    """The routes that cases were observed on: those of the slices, or the objective's own where there are none.

    Beside slices the objective's own route serves only values that no case had.
    """
    promoted: tuple[Recommendation, ...]
    """Those of them that start with a challenger."""

    @property
    def is_whole(self) -> bool:
        """Whether all of the traffic moves."""
        return bool(self.promoted) and len(self.promoted) == len(self.traffic)


def movement(objective: Objective) -> Movement:
    """Return what of an objective's traffic leaves its baseline."""
    slices = tuple(route for route in objective.recommendations if route.slice is not None)
    traffic = slices or tuple(objective.recommendations)
    return Movement(traffic, tuple(route for route in traffic if is_promoted(objective, route)))


def movement_text(moves: Sequence[Movement]) -> str:
    """Return how many objectives can move, counted by the traffic that does."""
    whole = sum(move.is_whole for move in moves)
    text = f"{whole} of {plural(len(moves), 'objective')} can move to a challenger"
    partial = [move for move in moves if move.promoted and not move.is_whole]
    if partial:
        promoted, traffic = sum(len(move.promoted) for move in partial), sum(len(move.traffic) for move in partial)
        text += f", {len(partial)} {'more ' if whole else ''}on some slices ({promoted} of {traffic})"
    return text


def is_promoted(objective: Objective, route: Recommendation) -> bool:
    """Return whether a route leaves its baseline."""
    return bool(route.chain) and route.chain[0] != objective.baseline


def figure(value: float) -> str:
    """Return a ratio with the digits that matter."""
    if not math.isfinite(value):
        return "∞"
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 1.05 else f"{value:.2f}"
