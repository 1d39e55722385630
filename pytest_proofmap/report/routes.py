"""What is recommended for each objective and slice, a line each, and what stands in the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.recommend import NOT_OUTAGE_PROOF
from pytest_proofmap.evidence.models import Criterion, Needs, Objective, Recommendation, Status
from pytest_proofmap.report.page import Page
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.verdict_line import is_promoted, movement, movement_text
from pytest_proofmap.report.wording import SIGNS, needs_text, plural, status_colour

__all__ = ["route_lines"]

_SLICES_SHOWN = 8
_KEPT_IN_FULL = 4


class _Standing(NamedTuple):
    """Where a challenger stands on a route."""

    runtime: str
    status: Status
    needs: Needs | None


def route_lines(summary: Summary, page: Page, *, everything: bool, brief: bool = False) -> list[str]:
    """Return the recommendations, promotions first.

    Args:
        summary: What to show.
        page: Where to show it.
        everything: Whether to show every slice and every challenger's standing.
        brief: Whether to leave out the heading and what the fallbacks bring.
    """
    objectives = [each for each in summary.objectives if each.recommendations]
    if not objectives:
        return []
    by_id = {criterion.id: criterion for criterion in summary.criteria}
    moving = [each for each in objectives if _moves(each)]
    staying = [each for each in objectives if not _moves(each)]
    shown = [(each, *_shown_routes(each, everything=everything)) for each in (*moving, *staying)]
    kept = sum(1 for objective, routes, _ in shown for route in routes if not is_promoted(objective, route))
    in_full = everything or (kept <= _KEPT_IN_FULL and not brief)
    lines = [] if brief else [page.paint(line, "bold") for line in page.wrap(_heading(objectives))]
    for objective, routes, folded in shown:
        for route in routes:
            standings = _standings(objective, route.slice, by_id, summary)
            lines += _route(objective, route, standings, page, in_full=in_full)
            if not brief:
                lines += _rescues(objective, route, page, everything=everything)
        if folded:
            lines += page.wrap(f"… {folded} more slices (-v shows them)", f"{objective.name}  ", "    ")
    return lines if brief else [*lines, *_warnings(objectives, page, everything=everything)]


def _moves(objective: Objective) -> bool:
    return any(is_promoted(objective, route) for route in objective.recommendations)


def _heading(objectives: Sequence[Objective]) -> str:
    return f"Recommended: {movement_text([movement(objective) for objective in objectives])}"


def _shown_routes(objective: Objective, *, everything: bool) -> tuple[list[Recommendation], int]:
    """Return an objective's routes, the whole one first, and how many are folded away."""
    whole, *slices = sorted(objective.recommendations, key=lambda one: (one.slice is not None, one.slice or ""))
    if everything:
        return [whole, *slices], 0
    # Slices that go the way of the whole tell little.
    telling = sorted(slices, key=lambda one: one.chain == whole.chain)
    shown = sorted(telling[:_SLICES_SHOWN], key=lambda one: one.slice or "")
    return [whole, *shown], len(slices) - len(shown)


def _route(
    objective: Objective,
    route: Recommendation,
    standings: Sequence[_Standing],
    page: Page,
    *,
    in_full: bool,
) -> list[str]:
    name = objective.name if route.slice is None else f"{objective.name} {route.slice}"
    primary, *rest = route.chain or [objective.baseline]
    then = f" (then {', '.join(rest)})" if rest else ""
    if is_promoted(objective, route):
        lines = page.wrap(f"→ {primary}{then}: {route.reason}", f"{name} ", "    ")
        return [page.paint(line, "green") for line in lines]
    if objective.sensitive or any(each.status == "qualified" for each in standings):
        return page.wrap(f"→ {primary}{then}: {route.reason}", f"{name} ", "    ")
    first = f"→ {primary} (baseline kept):"
    if in_full:
        lines = page.flow([*map(_standing, standings)], f"{name} {first} ", "    ")
        return _with_coloured_signs(lines, page)
    return page.wrap(f"{first} {_nearest(standings)}", f"{name} ", "    ")


def _nearest(standings: Sequence[_Standing]) -> str:
    """Return what it takes for the challenger that is nearest to a verdict."""
    pending = [each for each in standings if each.status == "insufficient"]
    if not pending:
        return "no challenger qualifies"
    nearest = min(pending, key=_distance)
    needs = needs_text(nearest.needs)
    return f"{nearest.runtime} {needs}" if needs else f"not enough evidence for {nearest.runtime}"


def _distance(standing: _Standing) -> float:
    needs = standing.needs
    if needs is None or needs.best is None:
        return math.inf
    return needs.best if needs.typical is None else needs.typical


def _standing(standing: _Standing) -> str:
    text = f"{SIGNS[standing.status]} {standing.runtime}"
    needs = needs_text(standing.needs) if standing.status == "insufficient" else None
    return f"{text} {needs}" if needs else text


def _with_coloured_signs(lines: Sequence[str], page: Page) -> list[str]:
    if not page.colour:
        return list(lines)
    coloured = []
    for line in lines:
        for status, sign in SIGNS.items():
            plain = page.text(sign)
            line = line.replace(f" {plain} ", f" {page.paint(plain, status_colour(status))} ")
        coloured.append(line)
    return coloured


def _standings(
    objective: Objective, slice_name: str | None, by_id: Mapping[str, Criterion], summary: Summary
) -> list[_Standing]:
    standings = []
    for verdict in objective.verdicts:
        if verdict.slice == slice_name and verdict.runtime not in summary.left_out:
            needs = _needs(objective, slice_name, verdict.runtime, by_id)
            standings.append(_Standing(verdict.runtime, verdict.status, needs))
    return standings


def _needs(
    objective: Objective, slice_name: str | None, runtime: str, by_id: Mapping[str, Criterion]
) -> Needs | None:
    """Return what the criterion that needs most needs; None when cases are not what is missing."""
    found = []
    for criterion in (by_id[name] for name in objective.criteria if name in by_id):
        sliced = any(cell.slice is not None for cell in criterion.cells)
        where = slice_name if sliced else None
        for cell in criterion.cells:
            if (cell.runtime, cell.slice, cell.status) == (runtime, where, "insufficient"):
                if cell.needs is None:
                    return None
                found.append(cell.needs)
    if not found:
        return None
    best = [each.best for each in found]
    typical = [each.typical for each in found]
    return Needs(
        best=None if None in best else max(each for each in best if each is not None),
        typical=None if None in typical else max(each for each in typical if each is not None),
        rerun=max((each.rerun or 0 for each in found), default=0) or None,
    )


def _rescues(objective: Objective, route: Recommendation, page: Page, *, everything: bool) -> list[str]:
    """Return what the fallbacks do on the cases that their primary fails."""
    failures = route.fallbacks[0].primary_failures if route.fallbacks else 0
    if not failures or not (everything or is_promoted(objective, route)):
        return []
    rescued = ", ".join(f"{each.runtime} passes {each.rescued}" for each in route.fallbacks)
    text = f"on its {plural(failures, 'miss', 'misses')} {rescued}"
    if route.joint_pass_rate is not None:
        text += f"; together {_percent_down(route.joint_pass_rate)}"
    return page.wrap(text, "    ", "    ")


def _percent_down(rate: float) -> str:
    """Return a rate in per cent that never says 100 for less."""
    return f"{int(rate * 1000 + 1e-9) / 10:g} %"


def _warnings(objectives: Sequence[Objective], page: Page, *, everything: bool) -> Iterator[str]:
    """Return the routes' warnings, each once, with the routes that it concerns.

    That a baseline which stays on its own has nobody to take over shows in its route already.
    """
    concerned: dict[str, list[str]] = {}
    for objective in objectives:
        for route in objective.recommendations:
            where = objective.name if route.slice is None else f"{objective.name} {route.slice}"
            unchanged = route.chain == [objective.baseline] and not everything
            for warning in route.warnings:
                if unchanged and route.outage_proof is False and warning.startswith(NOT_OUTAGE_PROOF):
                    continue
                concerned.setdefault(warning, []).append(where)
    for warning, routes in concerned.items():
        named = ", ".join(routes[:3]) + (f" and {len(routes) - 3} more" if len(routes) > 3 else "")
        yield from page.wrap(f"{warning} ({named})", "! ", "  ")
