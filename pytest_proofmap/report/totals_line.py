"""What a run asked for and what that costs, in one line."""

from __future__ import annotations

from collections.abc import Callable

from pytest_proofmap.evidence.models import Totals
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.wording import money, plural

__all__ = ["totals_line"]


def totals_line(summary: Summary, amount: Callable[[str], str] = str) -> str:
    """Return how many calls there were, from where, what was spent, and what the answers cost when they were made.

    Args:
        summary: The run.
        amount: What an amount in words looks like on the page.
    """
    totals = summary.totals
    unanswered = totals.calls - totals.live - totals.cached - totals.recorded
    counts = {
        "live": totals.live,
        "cached": totals.cached,
        "recorded": totals.recorded,
        "without an answer": max(0, unanswered),
    }
    sources = ", ".join(f"{number:,} {where}" for where, number in counts.items() if number)
    spent = _sum(totals.spent_usd, totals, summary.estimated, amount, may_miss=totals.live > 0)
    listed = _sum(totals.list_usd, totals, summary.estimated, amount, may_miss=True)
    text = plural(totals.calls, "call") + (f" ({sources})" if sources else "") + f", spent {spent}"
    if listed != spent:
        text += f", list cost {listed}"
    if totals.unpriced and totals.list_usd:
        text += f" (price unknown for {plural(totals.unpriced, 'answer')})"
    return text


def _sum(usd: float, totals: Totals, estimated: bool, amount: Callable[[str], str], *, may_miss: bool) -> str:
    """Return a sum that never says less than it may be: answers of unknown price are not in it."""
    text = amount(money(usd, estimated=estimated))
    if not totals.unpriced or not may_miss:
        return text
    return f"at least {text}" if usd else "unknown"
