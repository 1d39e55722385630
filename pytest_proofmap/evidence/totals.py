"""The totals of a run over its distinct requests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pytest_proofmap.evidence.models import AuxiliaryTotals, Source, Totals

__all__ = ["SOURCE_RANK", "Charge", "total"]

SOURCE_RANK: dict[Source, int] = {"live": 0, "cache": 1, "recording": 2}
"""Of several sources of one answer the lowest counts: what was paid was paid."""


class Charge(NamedTuple):
    """What one distinct request cost and where its answer came from."""

    key: str
    source: Source
    cost_usd: float | None
    answered: bool
    auxiliary: str | None = None
    """Name of the runtime of an auxiliary call; None for the runtime under test."""
    age: tuple[str, str, str] | None = None
    """Runtime, served model and time of the answer (:class:`pytest_proofmap.evidence.ages.AnswerAge`)."""
    hooked: bool = False
    """Whether the project's own client gave the answer."""


def total(charges: Iterable[Charge]) -> Totals:
    """Return the totals over distinct requests."""
    counts: dict[Source, int] = {"live": 0, "cache": 0, "recording": 0}
    spent = listed = 0.0
    unpriced = calls = 0
    auxiliary: dict[str, AuxiliaryTotals] = {}
    for charge in charges:
        calls += 1
        if charge.auxiliary is not None:
            known = auxiliary.get(charge.auxiliary, AuxiliaryTotals(calls=0, list_usd=0.0))
            auxiliary[charge.auxiliary] = AuxiliaryTotals(
                calls=known.calls + 1,
                list_usd=known.list_usd + (charge.cost_usd or 0.0),
                unpriced=known.unpriced + (charge.answered and charge.cost_usd is None),
            )
        if not charge.answered:
            continue
        counts[charge.source] += 1
        if charge.cost_usd is None:
            unpriced += 1
            continue
        listed += charge.cost_usd
        if charge.source == "live":
            spent += charge.cost_usd
    return Totals(
        calls=calls,
        live=counts["live"],
        cached=counts["cache"],
        recorded=counts["recording"],
        spent_usd=spent,
        list_usd=listed,
        unpriced=unpriced,
        auxiliary=dict(sorted(auxiliary.items())),
    )
