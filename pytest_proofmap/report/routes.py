"""What is recommended for each objective and slice, a line each, and what stands in the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_proofmap.evidence.models import Criterion, Needs, Objective, Recommendation, Status
from pytest_proofmap.report.page import Page
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.wording import SIGNS, needs_text, plural, status_colour

__all__ = ["route_lines"]

_SLICES_SHOWN = 8


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
        everything: Whether to show every slice, and what each fallback does for its primary.
        brief: Whether to leave out the heading and the routes' warnings.
    """
    objectives = [each for each in summary.objectives if each.recommendations]
    if not objectives:
        return []
    by_id = {criterion.id: criterion for criterion in summary.criteria}
    moving = [each for each in objectives if _moves(each)]
    staying = [each for each in objectives if not _moves(each)]
    lines = [] if brief else page.wrap(_heading(objectives, moving))
    if lines:
        lines[0] = page.paint(lines[0], "bold")
    for objective in (*moving, *staying):
        lines += _objective(objective, by_id, summary, page, everything=everything, brief=brief)
    if not brief:
        lines += _warnings(objectives, page)
    return lines


def _moves(objective: Objective) -> bool:
    return any(each.chain[0] != objective.baseline for each in objective.recommendations if each.chain)


def _heading(objectives: Sequence[Objective], moving: Sequence[Objective]) -> str:
    whole = sum(
        1
        for each in moving
        if any(one.slice is None and one.chain[0] != each.baseline for one in each.recommendations)
    )
    text = f"Recommended: {whole} of {plural(len(objectives), 'objective')} can move to a challenger"
    partial = len(moving) - whole
    return text + (f", {partial} in part" if partial else "")


def _objective(
    objective: Objective,
    by_id: Mapping[str, Criterion],
    summary: Summary,
    page: Page,
    *,
    everything: bool,
    brief: bool,
) -> Iterator[str]:
    whole, *slices = sorted(objective.recommendations, key=lambda one: (one.slice is not None, one.slice))
    if not everything:
        # Slices that go the way of the whole tell little, above all where nothing moves.
        slices.sort(key=lambda one: one.chain == whole.chain)
        folded = slices[_SLICES_SHOWN:]
        slices = sorted(slices[:_SLICES_SHOWN], key=lambda one: one.slice or "")
    else:
        folded = []
    for each in (whole, *slices):
        yield from _route(objective, each, by_id, summary, page)
        if not brief:
            yield from _rescues(objective, each, page, everything=everything)
    if folded:
        yield from page.wrap(f"{objective.name}  … {len(folded)} more slices (-v shows them)", "", "    ")


def _route(
    objective: Objective,
    route: Recommendation,
    by_id: Mapping[str, Criterion],
    summary: Summary,
    page: Page,
) -> list[str]:
    name = objective.name if route.slice is None else f"{objective.name}  {route.slice}"
    primary, *rest = route.chain
    then = f" (then {', '.join(rest)})" if rest else ""
    standings = _standings(objective, route.slice, by_id, summary)
    promoted = primary != objective.baseline
    if promoted or objective.sensitive or any(each.status == "qualified" for each in standings):
        lines = page.wrap(f"→ {primary}{then}: {route.reason}", f"{name} ", "    ")
        more = [each for each in standings if each.status == "insufficient" and each.needs is not None]
        if more and not promoted:
            lines += page.flow([_standing(each) for each in more], "    ", "    ")
    else:
        first = f"→ {primary}{then}: baseline kept "
        lines = page.flow([first.rstrip(), *map(_standing, standings)], f"{name} ", "    ")
    if promoted and lines:
        lines[0] = page.paint(lines[0], "green")
    return _with_coloured_signs(lines, page) if not promoted else lines


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
    )


def _rescues(objective: Objective, route: Recommendation, page: Page, *, everything: bool) -> list[str]:
    """Return what the fallbacks do on the cases that their primary fails."""
    failures = route.fallbacks[0].primary_failures if route.fallbacks else 0
    promoted = bool(route.chain) and route.chain[0] != objective.baseline
    if not failures or not (promoted or everything):
        return []
    rescued = ", ".join(f"{each.runtime} {each.rescued}" for each in route.fallbacks)
    text = f"of the {plural(failures, 'case')} that {route.chain[0]} does not pass, these do pass: {rescued}"
    if route.joint_pass_rate is not None:
        text += f"; one of the chain passes {_percent_down(route.joint_pass_rate)}"
    return page.wrap(text, "    ", "    ")


def _percent_down(rate: float) -> str:
    """Return a rate in per cent that never says 100 for less."""
    return f"{int(rate * 1000 + 1e-9) / 10:g} %"


def _warnings(objectives: Sequence[Objective], page: Page) -> Iterator[str]:
    """Return the routes' warnings, each once, with the routes that it concerns."""
    concerned: dict[str, list[str]] = {}
    for objective in objectives:
        for route in objective.recommendations:
            where = objective.name if route.slice is None else f"{objective.name} {route.slice}"
            for warning in route.warnings:
                concerned.setdefault(warning, []).append(where)
    for warning, routes in concerned.items():
        named = ", ".join(routes[:3]) + (f" and {len(routes) - 3} more" if len(routes) > 3 else "")
        yield from page.wrap(f"{warning} ({named})", "! ", "  ")
