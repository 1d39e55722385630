"""The parts of the Markdown report: what each says, in rows of which the first tell most."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.verdict import baseline_meets_bar
from pytest_proofmap.evidence.models import Cell, Criterion, Objective, Recommendation
from pytest_proofmap.report.labels import short_labels
from pytest_proofmap.report.markdown_text import clip, clip_middle, code, prose
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.verdict_line import figure, is_promoted
from pytest_proofmap.report.wording import SIGNS, WORDS, cheaper, errors_of, money, needs_text, plural, seconds

__all__ = ["Section", "amount", "sections", "table"]

NAME_LIMIT = 80
MESSAGE_LIMIT = 240
REASON_LIMIT = 400
OPEN_ROWS = 10
"""Longer tables of cases are folded."""
CASES_SHOWN = 100

# What the columns of cost and latency say already.
_RATIO = re.compile(r"^[\d.,]+× \w+ \([^)]*\)(?:, |$)")


class Section(NamedTuple):
    """One part of the report."""

    title: str
    rows: Sequence[str]
    noun: str
    """What one row is, for the line that says how many were left out."""
    head: Sequence[str] = ()
    """Lines above the rows: those of a table's columns."""
    tail: Sequence[str] = ()
    """Lines below the rows."""
    total: int = 0
    """How many rows there would be, where only the first are there."""
    folded: bool = False


def sections(summary: Summary) -> list[Section]:
    """Return the parts that have something to say, the most important first."""
    parts = (
        _findings(summary),
        _decisions(summary),
        _notes(summary),
        _regressions(summary),
        _missing(summary),
        _matrix(summary),
        _costs(summary),
    )
    return [part for part in parts if part.rows]


def table(*columns: str) -> tuple[str, str]:
    """Return the two lines above the rows of a table."""
    return _row(columns), _row(["---"] * len(columns))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _name(text: str) -> str:
    return code(clip_middle(text, NAME_LIMIT))


def _findings(summary: Summary) -> Section:
    rows = [
        f"- {prose(clip(each.text, REASON_LIMIT))}<br>next: {prose(clip(each.next_step, REASON_LIMIT))}"
        for each in summary.findings
    ]
    return Section(f"What fails the run ({len(rows)})", rows, "finding")


def _decisions(summary: Summary) -> Section:
    routes = [(each, route) for each in summary.objectives for route in each.recommendations]
    # What moves is what there is to do; within an objective the whole comes before its slices.
    promoted = {each.name for each, route in routes if is_promoted(each, route)}
    routes.sort(key=lambda one: one[0].name not in promoted)
    sliced = any(route.slice is not None for _, route in routes)
    costs = any(route.cost_ratio is not None for _, route in routes)
    latencies = any(route.latency_ratio is not None for _, route in routes)

    def row(objective: Objective, route: Recommendation) -> str:
        moves = is_promoted(objective, route)
        reason = _RATIO.sub("", route.reason) if moves else route.reason.removeprefix("baseline kept: ")
        cells = [_name(objective.name)]
        if sliced:
            cells.append(_name(route.slice) if route.slice else "all cases")
        cells += ["**moves**" if moves else "stays", _chain(route.chain or [objective.baseline])]
        if costs:
            cells.append(_ratio(route.cost_ratio, route.cost_interval, "cheaper", "dearer"))
        if latencies:
            cells.append(_ratio(route.latency_ratio, route.latency_interval, "faster", "slower"))
        return _row([*cells, prose(clip(reason, REASON_LIMIT))])

    columns = ["objective", *(["slice"] if sliced else []), "", "runtime, then fallbacks"]
    columns += [*(["cost"] if costs else []), *(["latency"] if latencies else []), "why"]
    return Section("Decisions", [row(*each) for each in routes], "decision", table(*columns))


def _chain(names: Sequence[str]) -> str:
    shown = [_name(name) for name in names[:6]]
    return " → ".join([f"**{shown[0]}**", *shown[1:], *(["…"] if len(names) > 6 else [])])


def _ratio(ratio: float | None, interval: tuple[float, float] | None, more: str, less: str) -> str:
    if ratio is None:
        return ""
    if ratio < 1:
        ratio, interval, more = 1 / ratio, interval and (1 / interval[1], 1 / interval[0]), less
    text = f"{figure(ratio)}× {more}"
    return text if interval is None else f"{text} ({figure(interval[0])}–{figure(interval[1])}×)"


def amount(usd: float | None, *, estimated: bool) -> str:
    """Return an amount in USD; between two dollar signs a page would read a formula."""
    return "unknown" if usd is None else code(money(usd, estimated=estimated))


def _notes(summary: Summary) -> Section:
    rows = [*_baselines(summary), *_outages(summary), *_route_warnings(summary)]
    rows += [prose(clip(warning, REASON_LIMIT)) for warning in summary.notes]
    return Section("To note", [f"- {row}" for row in rows], "note")


def _baselines(summary: Summary) -> Iterator[str]:
    """Yield the baselines' own misses: whoever compares must know what with."""
    found = Counter(miss.runtime for miss in summary.misses if miss.kind == "baseline")
    for name, failed in found.items():
        cells = (
            cell
            for criterion in summary.criteria
            for cell in criterion.cells
            if (cell.runtime, cell.role, cell.slice) == (name, "baseline", None)
        )
        cases = sum(cell.cases - cell.skipped for cell in cells)
        yield f"the baseline {_name(name)} itself fails {failed} of {plural(cases, 'case')}"


def _outages(summary: Summary) -> Iterator[str]:
    errors = [each for each in summary.misses if each.kind == "unavailable"]
    for name in summary.shown(dict.fromkeys(each.runtime for each in errors)):
        reasons = Counter(clip(each.message, MESSAGE_LIMIT) for each in errors if each.runtime == name)
        message, times = reasons.most_common(1)[0]
        more = f" and {plural(len(reasons) - 1, 'other reason')}" if len(reasons) > 1 else ""
        yield (
            f"{_name(name)} was unavailable in {plural(sum(reasons.values()), 'case')} (errors, not failures): "
            f"{times:,}× {code(message) or 'no message'}{more}"
        )


def _route_warnings(summary: Summary) -> Iterator[str]:
    concerned: dict[str, list[str]] = {}
    for objective in summary.objectives:
        for route in objective.recommendations:
            where = f"{objective.name} {route.slice}" if route.slice else objective.name
            for warning in route.warnings:
                concerned.setdefault(warning, []).append(where)
    for warning, routes in concerned.items():
        named = ", ".join(map(_name, routes[:3]))
        rest = f" and {len(routes) - 3} more" if len(routes) > 3 else ""
        yield f"{prose(clip(warning, REASON_LIMIT))} ({named}{rest})"


def _regressions(summary: Summary) -> Section:
    labels = short_labels(criterion.id for criterion in summary.criteria)
    found = [miss for miss in summary.misses if miss.kind == "regression"]
    found = [miss for miss in found if miss.runtime not in summary.left_out]
    # Runs that keep no texts have no messages.
    says = any(miss.message for miss in found)
    rows = []
    for miss in found[:CASES_SHOWN]:
        label = labels.get(miss.criterion, miss.criterion)
        times = f" ({miss.missed} of {miss.samples})" if miss.samples > 1 else ""
        cells = [_name(miss.runtime), _name(f"{label}[{miss.case}]" if miss.case else label) + times]
        rows.append(_row([*cells, *([code(clip(miss.message, MESSAGE_LIMIT))] if says else [])]))
    return Section(
        f"Regressions: {plural(len(found), 'case')} that the baseline passes",
        rows,
        "regression",
        table("runtime", "case", *(["what the test says"] if says else [])),
        total=len(found),
        folded=len(rows) > OPEN_ROWS,
    )


def _missing(summary: Summary) -> Section:
    labels = short_labels(criterion.id for criterion in summary.criteria)
    found = [
        (criterion, cell)
        for criterion in summary.criteria
        for cell in criterion.cells
        if cell.status == "insufficient" and cell.runtime not in summary.left_out
    ]
    # What a few cases would settle comes first, the whole before its slices.
    found.sort(key=lambda one: (one[1].slice is not None, _distance(one[1])))
    rows = [
        _row(
            [
                _name(labels[criterion.id]) + (f" {_name(cell.slice)}" if cell.slice else ""),
                _name(cell.runtime),
                needs_text(cell.needs) or "not a question of cases",
                prose(clip(cell.reason, REASON_LIMIT)),
            ]
        )
        for criterion, cell in found
    ]
    return Section(
        f"Evidence that is missing: {plural(len(rows), 'open verdict')}",
        rows,
        "open verdict",
        table("criterion", "challenger", "what would settle it", "why"),
        folded=len(rows) > OPEN_ROWS,
    )


def _distance(cell: Cell) -> float:
    needs = cell.needs
    known = None if needs is None else needs.typical if needs.typical is not None else needs.best
    return math.inf if known is None else known


def _matrix(summary: Summary) -> Section:
    baselines = dict.fromkeys(objective.baseline for objective in summary.objectives)
    challengers = dict.fromkeys(name for each in summary.objectives for name in each.challengers)
    names = summary.shown(dict.fromkeys((*baselines, *challengers)))
    headers = [_name(name) + (" (baseline)" if name in baselines else "") for name in names]
    return Section(
        "Every criterion on every runtime",
        list(_matrix_rows(summary, names)),
        "row",
        table("criterion", *headers),
        [
            f"{', '.join(f'{SIGNS[status]} {word}' for status, word in WORDS.items())}, "
            "! the baseline misses its own bar. In brackets the two-sided interval of the pass rate."
        ],
        folded=True,
    )


def _matrix_rows(summary: Summary, names: Sequence[str]) -> Iterator[str]:
    labels = short_labels(criterion.id for criterion in summary.criteria)
    by_id = {criterion.id: criterion for criterion in summary.criteria}
    for objective in summary.objectives:
        own = [by_id[criterion] for criterion in objective.criteria if criterion in by_id]
        for criterion in own:
            by_slice: dict[str | None, dict[str, Cell]] = {}
            for cell in criterion.cells:
                by_slice.setdefault(cell.slice, {})[cell.runtime] = cell
            for name in sorted(by_slice, key=lambda one: (one is not None, one or "")):
                label = _name(labels[criterion.id]) if name is None else f"↳ {_name(name)}"
                yield _row([label, *(_entry(criterion, by_slice[name].get(each)) for each in names)])
        verdicts: Mapping[str, str] = {
            each.runtime: f"{SIGNS[each.status]} all {len(own)}"
            for each in objective.verdicts
            if each.slice is None
        }
        if len(own) > 1 and verdicts:
            yield _row([f"**{_name(objective.name)}**", *(verdicts.get(each, "") for each in names)])


def _entry(criterion: Criterion, cell: Cell | None) -> str:
    if cell is None:
        return ""
    misses_bar = cell.failed and not baseline_meets_bar(criterion.bar, cell)
    sign = ("! " if misses_bar else "") if cell.status is None else f"{SIGNS[cell.status]} "
    ran = cell.passed + cell.failed + cell.errors
    if not ran:
        return f"{sign}not run"
    text = f"{sign}{cell.passed}/{ran}"
    if cell.interval is not None:
        low, high = cell.interval
        text += f" ({math.floor(100 * low + 1e-9)}–{math.ceil(100 * high - 1e-9)} %)"
    return f"{text}, {errors_of(cell)}" if cell.errors else text


def _costs(summary: Summary) -> Section:
    rows = []
    for one in summary.figures:
        if one.runtime in summary.left_out:
            continue
        latency = one.latency
        if latency.p95 is not None:
            slow = f"p95 {seconds(latency.p95)} (n {latency.n})"
        else:
            slow = f"max {seconds(latency.max)} (n {latency.n})" if latency.n else ""
        rows.append(
            _row(
                [
                    _name(one.runtime),
                    amount(one.cost_usd, estimated=one.estimated),
                    amount(one.cost_per_1k_usd, estimated=one.estimated),
                    "(baseline)" if one.is_baseline and one.cost_ratio is None else cheaper(one.cost_ratio),
                    seconds(latency.p50),
                    slow,
                ]
            )
        )
    columns = ("runtime", "list cost", "per 1,000 cases", "vs baseline", "latency p50", "slow end")
    about = ["<code>~</code> token counts are estimated, and so are these costs."] if summary.estimated else []
    return Section("Cost and latency of every runtime", rows, "runtime", table(*columns), about, folded=True)
