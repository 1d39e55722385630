"""What was decided, as the page shows it: the routes, what is missing, and what following it would save."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.observation import observe
from pytest_proofmap.evidence.models import Criterion, Evidence, Objective, Recommendation, Status
from pytest_proofmap.report.labels import short_labels
from pytest_proofmap.report.verdict_line import is_promoted
from pytest_proofmap.report.wording import SIGNS, WORDS, money, needs_text, plural

__all__ = ["MissingEvidence", "Route", "missing_evidence", "routes", "saving"]


class Standing(NamedTuple):
    """Where a challenger stands on a route."""

    runtime: str
    status: Status
    sign: str
    word: str
    reason: str


class Route(NamedTuple):
    """What is recommended for an objective or one of its slices."""

    objective: str
    slice: str | None
    is_promoted: bool
    is_sensitive: bool
    chain: Sequence[str]
    reason: str
    notes: Sequence[str]
    standings: Sequence[Standing]


class MissingEvidence(NamedTuple):
    """A verdict that more cases would settle."""

    objective: str
    criterion: str
    label: str
    slice: str | None
    runtime: str
    needs: str
    reason: str
    distance: float
    """Cases to expect."""


def routes(evidence: Evidence) -> list[Route]:
    """Return the recommendations, objectives with a promotion first."""
    ranked = sorted(
        evidence.objectives, key=lambda one: not any(is_promoted(one, each) for each in one.recommendations)
    )
    return [
        _route(objective, found)
        for objective in ranked
        for found in sorted(objective.recommendations, key=lambda one: (one.slice is not None, one.slice or ""))
    ]


def saving(evidence: Evidence, *, estimated: bool) -> str | None:
    """Return what the cases would cost on the recommended primaries; None when a price is unknown.

    An objective with slices counts by its slices. Only samples that both runtimes were asked count: what adaptive
    sampling spared a primary is nothing that it saves.

    Args:
        evidence: The decided artifact.
        estimated: Whether token counts, and so costs, are estimates.
    """
    spent = _spent(evidence)
    present = proposed = 0.0
    for objective in evidence.objectives:
        chains = {each.slice: each.chain for each in objective.recommendations if each.chain}
        for criterion in (each for each in evidence.criteria if each.id in objective.criteria):
            slices: set[str | None] = {cell.slice for cell in criterion.cells if cell.slice is not None}
            for name in slices or {None}:
                primary = chains.get(name, chains.get(None, [objective.baseline]))[0]
                before = spent.get((criterion.id, name, objective.baseline), {})
                after = spent.get((criterion.id, name, primary), {})
                both = before.keys() & after.keys()
                ours, theirs = (_sum([costs[sample] for sample in both]) for costs in (before, after))
                if ours is None or theirs is None:
                    return None
                present += ours
                proposed += theirs
    if present <= 0.0 or math.isclose(present, proposed):
        return None
    change = 1.0 - proposed / present
    amounts = " → ".join(money(each, estimated=estimated) for each in (present, proposed))
    return f"{amounts} for these cases ({'−' if change > 0 else '+'}{abs(change):.0%})"


def _spent(evidence: Evidence) -> Mapping[tuple[str, str | None, str], Mapping[tuple[str, int], float | None]]:
    """Return what each sample cost by criterion, slice and runtime, and there by case and number."""
    spent: defaultdict[tuple[str, str | None, str], dict[tuple[str, int], float | None]] = defaultdict(dict)
    for row in observe(evidence.samples):
        if row.outcome != "skipped":
            spent[row.criterion, row.slice, row.runtime][row.case, row.sample] = row.cost_usd
    return spent


def _sum(costs: Sequence[float | None]) -> float | None:
    """Return what samples cost together; None when there are none, or a price is unknown."""
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if known and len(known) == len(costs) else None


def missing_evidence(evidence: Evidence) -> list[MissingEvidence]:
    """Return the verdicts that more cases would settle, the nearest first."""
    labels = short_labels(criterion.id for criterion in evidence.criteria)
    found = [each for criterion in evidence.criteria for each in _missing(criterion, labels[criterion.id])]
    return sorted(found, key=lambda one: one.distance)


def _missing(criterion: Criterion, label: str) -> Iterator[MissingEvidence]:
    for cell in criterion.cells:
        if cell.status != "insufficient":
            continue
        needs = cell.needs
        known = [each for each in (needs.typical, needs.best) if each is not None] if needs else []
        yield MissingEvidence(
            criterion.objective,
            criterion.id,
            label,
            cell.slice,
            cell.runtime,
            needs_text(needs) or "not a matter of cases",
            cell.reason,
            known[0] if known else math.inf,
        )


def _route(objective: Objective, found: Recommendation) -> Route:
    standings = [
        Standing(each.runtime, each.status, SIGNS[each.status], WORDS[each.status], each.reason)
        for each in objective.verdicts
        if each.slice == found.slice
    ]
    return Route(
        objective=objective.name,
        slice=found.slice,
        is_promoted=is_promoted(objective, found),
        is_sensitive=objective.sensitive,
        chain=found.chain,
        reason=found.reason,
        notes=[*_rescued(found), *found.warnings],
        standings=standings,
    )


def _rescued(found: Recommendation) -> Iterator[str]:
    failures = found.fallbacks[0].primary_failures if found.fallbacks else 0
    if failures:
        parts = ", ".join(f"{each.runtime} passes {each.rescued}" for each in found.fallbacks)
        yield f"on its {plural(failures, 'miss', 'misses')} {parts}"
