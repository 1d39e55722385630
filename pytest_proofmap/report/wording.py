"""Figures as tables and lines show them."""

from __future__ import annotations

import math

from pytest_proofmap.decide.wording import points
from pytest_proofmap.evidence.models import Cell, Needs, Status

__all__ = [
    "SIGNS",
    "WORDS",
    "cheaper",
    "errors_of",
    "money",
    "needs_text",
    "plural",
    "seconds",
    "signed_points",
    "status_colour",
]

SIGNS: dict[Status, str] = {"qualified": "✓", "not_qualified": "✗", "insufficient": "?"}
"""The sign of each verdict; all three have a stand-in in ASCII."""

WORDS: dict[Status, str] = {
    "qualified": "qualified",
    "not_qualified": "not qualified",
    "insufficient": "not enough evidence",
}
"""What each verdict is called."""

_COLOURS: dict[Status, str] = {"qualified": "green", "not_qualified": "red", "insufficient": "yellow"}


def status_colour(status: Status) -> str:
    """Return the colour that underlines a verdict's sign."""
    return _COLOURS[status]


def money(usd: float | None, *, estimated: bool = False) -> str:
    """Return an amount in USD with the digits that matter; ``~`` when it rests on estimated token counts."""
    if usd is None:
        return "unknown"
    about = "~" if estimated and usd else ""
    if usd == 0:
        return "$0"
    if usd >= 100:
        return f"{about}${usd:,.0f}"
    if usd >= 1:
        return f"{about}${usd:.2f}"
    digits = max(2, 1 - math.floor(math.log10(usd)))
    if digits > 6:
        return f"{about}<$0.000001"
    return f"{about}${usd:.{digits}f}"


def cheaper(ratio: float | None) -> str:
    """Return a ratio of the baseline's cost to a challenger's in words."""
    if ratio is None:
        return "unknown"
    if 0.995 < ratio < 1.005:
        return "the same"
    larger = max(ratio, 1.0 / ratio)
    figure = f"{larger:,.0f}" if larger >= 9.95 else f"{larger:.1f}" if larger >= 1.05 else f"{larger:.2f}"
    return f"{figure}× {'cheaper' if ratio > 1 else 'dearer'}"


def seconds(value: float | None) -> str:
    """Return a duration."""
    if value is None:
        return "not recorded"
    if value < 0.0995:
        return f"{1000 * value:.0f} ms" if value >= 0.0005 else "<1 ms"
    return f"{value:.1f} s" if value >= 9.95 else f"{value:.2f} s"


def errors_of(cell: Cell) -> str:
    """Return how many errors a cell has, and whose they are; empty without any."""
    broken = cell.test_errors or 0
    unavailable = cell.errors - broken
    parts = [f"{unavailable} unavailable"] if unavailable else []
    return ", ".join([*parts, f"{plural(broken, 'test error')}"] if broken else parts)


def plural(number: int, noun: str, plural_noun: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun if number == 1 else plural_noun or noun + 's'}"


def needs_text(needs: Needs | None) -> str | None:
    """Return how many more cases a verdict takes; None when cases are not what is missing."""
    if needs is None:
        return None
    rerun = f"rerun {plural(needs.rerun, 'error')}" if needs.rerun else ""
    if needs.typical is None:
        text = "more cases: none at this rate" if needs.best is not None else "no number of cases would do"
    elif needs.typical == 0 and rerun:
        return rerun
    else:
        # An estimate of thousands has no more than two digits to it.
        about = needs.typical if needs.typical < 1000 else round(needs.typical, 2 - len(str(needs.typical)))
        text = f"needs ~{plural(about, 'more case')}"
    return f"{rerun}, {text}" if rerun else text


def signed_points(difference: float) -> str:
    """Return a difference of rates in points, with its sign."""
    rounded = round(difference, 3)
    return f"{'−' if rounded < 0 else '+' if rounded > 0 else ''}{points(abs(rounded))}"
