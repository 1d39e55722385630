"""The text summary of a run: the same for a run that just ended and for a stored artifact.

What matters most comes last, because the end of its output is what a terminal shows: the tables first, then
the cases, then the recommendations, and at the very end what fails the run and the command to go on with.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.wording import count
from pytest_proofmap.evidence.models import Status
from pytest_proofmap.report.costs import RuntimeFigures
from pytest_proofmap.report.figures import SIGNS, WORDS, chain_text, distance, place
from pytest_proofmap.report.nonpasses import CaseKind, NonPassCase
from pytest_proofmap.report.page import GAP, Page, fit_labels, fitted_table, table, width_of
from pytest_proofmap.report.view import (
    OWN_BAR,
    CellView,
    CriterionView,
    ObjectiveView,
    RouteView,
    RowView,
    StandingView,
    Unavailable,
    View,
)

__all__ = ["TITLE", "finding_lines", "render"]

TITLE = "proofmap"

COLOURS: dict[Status, str] = {"qualified": "green", "not_qualified": "red", "insufficient": "yellow"}
"""What underlines a verdict's sign."""

_CASES_SHOWN = {0: 4, 1: 25}
_CRITERIA_SHOWN = 4
_REASONS_SHOWN = 3
_DIFFERENCES_SHOWN = 8
_ROWS_OF_SLICES_SHOWN = 6
_ROUTES_OF_SLICES_SHOWN = 8
_KEPT_IN_FULL = 4
_LEAST_LABEL = 16

_KINDS: Mapping[CaseKind, str] = {
    "regression": "regression",
    "both": "baseline fails too",
    "partly": "baseline passes more often",
    "refused": "refused after the last look",
}

_PROGRAMS = ("proofmap ", "pytest ")
_STEPS = re.compile(r"; (?=[^:;']+: (?:proofmap|pytest) )")


def render(view: View, page: Page, *, verbosity: int = 0) -> list[str]:
    """Return the lines of the summary, without its title.

    Args:
        view: What to show.
        page: Where to show it.
        verbosity: Below 0 the short form; 1 names more cases, all slices and all reasons; 2 every case.
    """
    everything = verbosity > 0
    top = [*_totals(view, page), *page.wrap(view.sampling or ""), *_incomplete(view, page)]
    if verbosity < 0:
        routes = _routes(view, page, everything=False, brief=True)
        return [*filter(None, top), *_notes(view, page), *routes, *finding_lines(view, page)]
    sections = [
        list(filter(None, top)),
        _criteria(view, page, everything=everything),
        [*_runtimes(view, page), *_sharing(view, page)],
        _baseline_failures(view, page),
        *_challenger_failures(view, page, verbosity),
        _reasons(view, page) if everything else [],
        _attribution(view, page, everything=everything),
        _notes(view, page),
        _routes(view, page, everything=everything),
        page.wrap(view.assumptions),
        finding_lines(view, page),
        # Whole, because they are there to be copied.
        [page.text(f"next: {step}") for step in view.next_steps],
    ]
    lines: list[str] = []
    for section in filter(None, sections):
        if lines:
            lines.append("")
        lines += section
    return lines


def _totals(view: View, page: Page) -> list[str]:
    lines = page.wrap(view.money.line())
    for text in view.money.auxiliary_lines():
        lines += page.wrap(text)
    if view.is_estimated and (view.money.listed.usd or view.money.spent.usd):
        lines += page.wrap("~ token counts are estimated, and so are these costs")
    return lines


def _incomplete(view: View, page: Page) -> list[str]:
    note = view.incomplete_note
    return [] if note is None else page.paint_all(page.wrap(note, "! ", "  "), "yellow")


# The table of criteria


class _Column(NamedTuple):
    """A runtime's column, laid out."""

    header: str
    width: int
    texts: list[str]


class _Row(NamedTuple):
    """A row of the table of criteria: cells, or verdicts on an objective as a whole."""

    label: str
    cells: Mapping[str, CellView]
    verdicts: Mapping[str, StandingView]
    criteria: int = 0


def _criteria(view: View, page: Page, *, everything: bool) -> list[str]:
    """Return the table, in blocks of runtimes when the page has no room for all of them side by side."""
    rows = list(_rows(view, everything=everything))
    if not rows or not view.columns:
        return []
    columns = [_column(name, rows, view, page) for name in view.columns]
    widest = max(width_of(page.text(label)) for label in ("criterion", *(row.label for row in rows)))
    blocks = _blocks(columns, page.columns - min(widest, _LEAST_LABEL))
    room = min(page.columns - sum(column.width + GAP for column in block) for block in blocks)
    labels = fit_labels([row.label for row in rows], page, max(room, 4))
    lines: list[str] = []
    for block in blocks:
        if lines:
            lines.append("")
        body = [[label, *(column.texts[i] for column in block)] for i, label in enumerate(labels)]
        headers = ["criterion", *(column.header for column in block)]
        widths = [max(map(width_of, [headers[0], *labels])), *(column.width for column in block)]
        lines += table(headers, body, widths, ["left"] * len(headers))
    return [*lines, *_legend(rows, view, page)]


def _rows(view: View, *, everything: bool) -> Iterator[_Row]:
    for objective in view.objectives:
        for criterion in objective.criteria:
            yield from _rows_of(criterion, everything=everything)
        if len(objective.criteria) > 1:
            yield _Row(f"= {objective.name}", {}, objective.verdicts, len(objective.criteria))


def _rows_of(criterion: CriterionView, *, everything: bool) -> Iterator[_Row]:
    yield _Row(criterion.label, criterion.whole.cells, {})
    slices = criterion.slices
    if not everything:
        # A slice with other verdicts than the whole is the most informative.
        ranked = sorted(slices, key=lambda row: row.statuses == criterion.whole.statuses)
        slices = tuple(sorted(ranked[:_ROWS_OF_SLICES_SHOWN], key=_name_of_slice))
    for row in slices:
        yield _Row(f"  {row.slice}", row.cells, {})
    if len(slices) < len(criterion.slices):
        yield _Row(f"  … {len(criterion.slices) - len(slices)} more slices (-v)", {}, {})


def _name_of_slice(row: RowView | RouteView) -> str:
    return row.slice or ""


def _blocks(columns: Sequence[_Column], room: int) -> list[list[_Column]]:
    """Share columns out into as few blocks as fit, of about the same size."""
    blocks: list[list[_Column]] = []
    used = 0
    for column in columns:
        if not blocks or used + GAP + column.width > room:
            blocks.append([])
            used = 0
        blocks[-1].append(column)
        used += GAP + column.width
    return blocks


def _column(name: str, rows: Sequence[_Row], view: View, page: Page) -> _Column:
    cells = [row.cells[name] for row in rows if name in row.cells]
    counts = max((len(cell.rate.counts) for cell in cells if cell.rate), default=0)
    texts, width = [], 0
    for row in rows:
        sign, text, colour = _entry(row, name, counts)
        sign, text = page.text(sign or " "), page.text(text)
        width = max(width, width_of(f"{sign} {text}".rstrip()))
        texts.append(f"{page.paint(sign, *colour)} {text}".rstrip())
    role = "(baseline)" if name in view.baselines else ""
    header = [*_broken(page.text(name), max(width, len(role), 12)), *([role] if role else [])]
    return _Column("\n".join(header), max([width, *map(width_of, header)]), texts)


def _entry(row: _Row, name: str, counts: int) -> tuple[str, str, list[str]]:
    """Return sign, text and colour of what the table says of a runtime in a row."""
    if name in row.verdicts:
        standing = row.verdicts[name]
        return standing.sign, f"all {row.criteria}", [COLOURS[standing.status]]
    if name not in row.cells:
        return "", "", []
    cell = row.cells[name]
    colour = [COLOURS[cell.status]] if cell.status else ["red"] if cell.misses_own_bar else []
    if cell.rate is None:
        return cell.sign, cell.counts, colour
    return cell.sign, f"{cell.rate.counts:>{counts}} {cell.rate.range} {cell.errors.short}".rstrip(), colour


def _broken(name: str, width: int) -> list[str]:
    """Break a runtime's name into lines of a column's width, where it can behind a dash, dot or slash."""
    lines = []
    while width_of(name) > width:
        cut = max((name.rfind(mark, 1, width) + 1 for mark in "-._/"), default=0)
        cut = cut if cut > width // 3 else width
        lines.append(name[:cut])
        name = name[cut:]
    return [*lines, name]


def _legend(rows: Sequence[_Row], view: View, page: Page) -> list[str]:
    """Return what the signs mean, but for those that do not occur."""
    cells = [cell for row in rows for cell in row.cells.values()]
    statuses = {cell.status for cell in cells} | {
        standing.status for row in rows for standing in row.verdicts.values()
    }
    parts = [f"{SIGNS[status]} {WORDS[status]}" for status in SIGNS if status in statuses]
    if any(cell.misses_own_bar for cell in cells):
        parts.append(f"{OWN_BAR[0]} the baseline {OWN_BAR[1]}")
    parts.append(view.interval_note)
    if any(cell.errors.unavailable for cell in cells):
        parts.append("U: unavailable, counted as not passed")
    if any(cell.errors.broken for cell in cells):
        parts.append("E: the test's own error, no verdict on the model")
    return page.flow(parts)


# The table of runtimes


class _Figure(NamedTuple):
    """A column beside the runtimes' names."""

    header: str
    align: str
    value: Callable[[RuntimeFigures], str]
    is_known: Callable[[RuntimeFigures], bool]
    """Whether a runtime has a value there: a column where none has one is left out."""


def _has_cost(runtime: RuntimeFigures) -> bool:
    return runtime.cost.usd is not None


def _has_latency(runtime: RuntimeFigures) -> bool:
    return runtime.latency.figures.n > 0


_LIST_COST, _SLOW_END = "list cost", "\nslow end"
_FIGURES = (
    _Figure(_LIST_COST, "right", lambda runtime: runtime.cost.text, _has_cost),
    _Figure("per 1,000\ncases", "right", lambda runtime: runtime.per_1k.text, _has_cost),
    _Figure("vs baseline", "left", lambda runtime: runtime.versus, lambda runtime: runtime.gain.ratio is not None),
    _Figure("latency\np50", "left", lambda runtime: runtime.latency.p50, _has_latency),
    _Figure(_SLOW_END, "left", lambda runtime: runtime.latency.slow_end, _has_latency),
)
_DROPPED = (_LIST_COST, _SLOW_END)
"""What a narrow page does without, the least informative first."""


def _runtimes(view: View, page: Page) -> list[str]:
    """Return the table, without its less informative columns where the page has no room for them.

    A page that is too narrow for any table gets a line or two for each runtime.
    """
    columns = [column for column in _FIGURES if any(map(column.is_known, view.runtimes))]
    if not columns:
        return []
    for dropped in (None, *_DROPPED):
        columns = [column for column in columns if column.header != dropped]
        rows = [[runtime.runtime, *(column.value(runtime) for column in columns)] for runtime in view.runtimes]
        headers = ["runtime", *(column.header for column in columns)]
        lines = fitted_table(headers, rows, ["left", *(column.align for column in columns)], page)
        if lines is not None:
            return lines
    return [line for runtime in view.runtimes for line in _runtime_lines(runtime, page)]


def _runtime_lines(runtime: RuntimeFigures, page: Page) -> list[str]:
    cost = f"{runtime.per_1k.text} for 1,000 cases" if _has_cost(runtime) else "cost unknown"
    speed = f"p50 {runtime.latency.p50}" if _has_latency(runtime) else ""
    return page.flow([cost, runtime.versus, speed, runtime.latency.slow_end], f"{runtime.runtime}: ", "  ")


def _sharing(view: View, page: Page) -> list[str]:
    if not view.shares_requests:
        return []
    return page.wrap("A request that several tests share counts here for each, and once among the calls above.")


# The cases


def _baseline_failures(view: View, page: Page) -> list[str]:
    lines: list[str] = []
    sign = f"{OWN_BAR[0]} "
    for text, criteria in view.baseline_failures():
        shown = criteria[:_CRITERIA_SHOWN]
        named = ", ".join(f"{label} {number}" for label, number in shown) if len(criteria) > 1 else shown[0][0]
        rest = len(criteria) - len(shown)
        more = f" and {count(rest, 'more criterion', 'more criteria')}" if rest else ""
        lines += page.wrap(f"{text}: {named}{more}", sign, "  ")
    for text in view.unusable_references():
        lines += page.wrap(text, sign, "  ")
    return page.paint_all(lines, "red")


def _challenger_failures(view: View, page: Page, verbosity: int) -> Iterator[list[str]]:
    unavailable = {outage.runtime: outage for outage in view.unavailable}
    challengers = dict.fromkeys(name for objective in view.objectives for name in objective.challengers)
    for name in dict.fromkeys((*challengers, *view.baselines)):
        failed = [
            case
            for case in view.nonpasses
            if case.runtime == name and case.kind not in ("baseline", "unavailable", "broken")
        ]
        lines = _failed_cases(name, failed, page, verbosity) + _unavailable(unavailable.get(name), page)
        if lines:
            yield lines


def _failed_cases(name: str, failed: Sequence[NonPassCase], page: Page, verbosity: int) -> list[str]:
    if not failed:
        return []
    kinds = Counter(case.kind for case in failed)
    lines = page.paint_all(page.wrap(f"{name} fails {count(len(failed), 'case')}{_compared(kinds)}"), "bold")
    limit = _CASES_SHOWN.get(verbosity, len(failed))
    for case in failed[:limit]:
        shown = page.shorten_middle(case.name, page.columns // 2)
        # What holds for all of them stands above them.
        kind = "" if len(kinds) == 1 else f" {_KINDS.get(case.kind, 'no baseline')}"
        lines.append(page.shorten(f"  {shown}{kind}{case.times}: {_one_line(case.message)}", page.columns))
    if len(failed) > limit:
        more = "-v names more" if verbosity == 0 else "-vv names all"
        lines += page.wrap(f"and {len(failed) - limit:,} more ({more})", "  ", "  ")
    return lines


def _compared(kinds: Mapping[CaseKind, int]) -> str:
    """Return how failed cases compare with the baseline, as the end of a sentence."""
    regressions = kinds.get("regression", 0)
    if len(kinds) > 1:
        return f", {regressions:,} of which the baseline passes (regressions)"
    if regressions:
        return f" that the baseline passes ({'a regression' if regressions == 1 else 'regressions'})"
    if "partly" in kinds:
        return " that the baseline passes more often"
    if "refused" in kinds:
        return " that are new after the last look"
    return " that the baseline fails too" if "both" in kinds else " without an outcome of the baseline"


def _unavailable(outage: Unavailable | None, page: Page) -> list[str]:
    if outage is None:
        return []
    lines = page.paint_all(page.wrap(outage.text), "bold")
    for message, number in outage.reasons[:_REASONS_SHOWN]:
        lines.append(page.shorten(f"  {number:,}× {message}", page.columns))
    if len(outage.reasons) > _REASONS_SHOWN:
        lines += page.wrap(f"and {count(len(outage.reasons) - _REASONS_SHOWN, 'other reason')}", "  ", "  ")
    return lines


def _one_line(message: str) -> str:
    return " ".join(message.split()) or "no message"


def _reasons(view: View, page: Page) -> list[str]:
    """Return each verdict's reason in words."""
    lines: list[str] = []
    for cell in (cell for criterion in view.criteria for cell in criterion.cells if cell.status is not None):
        where = place(cell.label, cell.slice)
        lines += page.wrap(f"{where}, {cell.runtime}: {cell.word}: {cell.reason}", f"{cell.sign} ", "    ")
    return [page.paint("Why", "bold"), *lines] if lines else []


def _attribution(view: View, page: Page, *, everything: bool) -> list[str]:
    """Return whether a difference is the prompt's or the model's, where the runtimes can tell."""
    known = [difference for difference in view.attribution if difference.slice is None or everything]
    # Where no two runtimes differ in the prompt, the table says all that there is to say.
    if not known or (not everything and all(difference.axis == "model" for difference in known)):
        return []
    shown = known if everything else known[:_DIFFERENCES_SHOWN]
    text = "Prompt or model? Difference in pass rate between runtimes that differ in one alone"
    lines = page.paint_all(page.wrap(text), "bold")
    for difference in shown:
        where = place(difference.label, difference.slice)
        runtimes = f"{difference.from_runtime} → {difference.to_runtime}"
        text = f"{where}: {difference.axis}, {runtimes}: {difference.points} in {count(difference.pairs, 'case')}"
        lines += page.wrap(text, "  ", "    ")
    if len(known) > len(shown):
        lines += page.wrap(f"and {len(known) - len(shown)} more (-v shows them)", "  ", "  ")
    return lines


def _notes(view: View, page: Page) -> list[str]:
    lines = [line for note in view.notes for line in page.wrap(_one_line(note), "! ", "  ")]
    return page.paint_all(lines, "yellow")


# The recommendations


def _routes(view: View, page: Page, *, everything: bool, brief: bool = False) -> list[str]:
    """Return the recommendations, promotions first.

    Args:
        view: What to show.
        page: Where to show it.
        everything: Whether to show every slice and every challenger's standing.
        brief: Whether to leave out the heading and what the fallbacks bring.
    """
    objectives = view.decided
    if not objectives:
        return []
    shown = [(objective, _shown_routes(objective, everything=everything)) for objective in objectives]
    kept = sum(not route.is_promoted for _, routes in shown for route in routes)
    in_full = everything or (kept <= _KEPT_IN_FULL and not brief)
    lines = [] if brief else page.paint_all(page.wrap(f"Recommended: {view.movement}"), "bold")
    for objective, routes in shown:
        for route in routes:
            lines += _route(route, page, in_full=in_full)
            if not brief and route.rescues and (everything or route.is_promoted):
                lines += page.wrap(route.rescues, "    ", "    ")
        if folded := len(objective.routes) - len(routes):
            lines += page.wrap(f"… {folded} more slices (-v shows them)", f"{objective.name}  ", "    ")
    if not brief:
        for warning, names in view.route_warnings(everything=everything).items():
            named = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            lines += page.wrap(f"{warning} ({named})", "! ", "  ")
    return lines


def _shown_routes(objective: ObjectiveView, *, everything: bool) -> list[RouteView]:
    whole, *slices = objective.routes
    if everything:
        return [whole, *slices]
    # Slices that go the way of the whole say little.
    ranked = sorted(slices, key=lambda route: route.chain == whole.chain)
    return [whole, *sorted(ranked[:_ROUTES_OF_SLICES_SHOWN], key=_name_of_slice)]


def _route(route: RouteView, page: Page, *, in_full: bool) -> list[str]:
    told = page.wrap(f"→ {chain_text(route.chain)}: {route.reason}", f"{route.name} ", "    ")
    if route.is_promoted:
        return page.paint_all(told, "green")
    if route.is_sensitive or any(standing.status == "qualified" for standing in route.standings):
        return told
    first = f"→ {route.chain[0]} (baseline kept):"
    if not in_full:
        return page.wrap(f"{first} {_nearest(route.standings)}", f"{route.name} ", "    ")
    standings = route.standings
    parts = [f"{standing.sign} {standing.runtime} {standing.needs_text or ''}".rstrip() for standing in standings]
    return _with_coloured_signs(page.flow(parts, f"{route.name} {first} ", "    "), page)


def _nearest(standings: Sequence[StandingView]) -> str:
    """Return what it takes for the challenger that is nearest to a verdict."""
    pending = [standing for standing in standings if standing.status == "insufficient"]
    if not pending:
        return "no challenger qualifies"
    nearest = min(pending, key=lambda standing: distance(standing.needs))
    needs = nearest.needs_text
    return f"{nearest.runtime} {needs}" if needs else f"not enough evidence for {nearest.runtime}"


def _with_coloured_signs(lines: Sequence[str], page: Page) -> list[str]:
    if not page.colour:
        return list(lines)
    coloured = []
    for line in lines:
        for status, sign in SIGNS.items():
            plain = page.text(sign)
            line = line.replace(f" {plain} ", f" {page.paint(plain, COLOURS[status])} ")
        coloured.append(line)
    return coloured


# What fails the run


def finding_lines(view: View, page: Page) -> list[str]:
    """Return what fails the run, each with what to do about it."""
    if not view.findings:
        return []
    title = f"This does not hold ({count(len(view.findings), 'finding')}):"
    lines = page.paint_all(page.wrap(title), "red")
    for finding in view.findings:
        lines += page.paint_all(page.wrap(finding.text, "  - ", "    "), "red")
        for step in _STEPS.split(finding.next_step):
            lines += _step(step, page)
    return lines


def _step(step: str, page: Page) -> list[str]:
    """Return one thing to do, its command whole: it is there to be copied."""
    start, indent = "    next: ", "      "
    told, _, command = step.partition(": ")
    if not command.startswith(_PROGRAMS) or width_of(start + page.text(step)) <= page.columns:
        return page.wrap(step, start, indent)
    return [*page.wrap(f"{told}:", start, indent), indent + page.text(command)]
