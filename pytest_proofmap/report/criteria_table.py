"""The table of criteria by runtime: passed cases, verdict sign and the pass rate that was shown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.binomial import lower_bound
from pytest_proofmap.decide.verdict import baseline_meets_bar
from pytest_proofmap.evidence.models import Bar, Cell, Criterion, Objective, Status
from pytest_proofmap.report.grid import GAP, grid
from pytest_proofmap.report.labels import fit_labels, short_labels
from pytest_proofmap.report.page import Page, width_of
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.wording import SIGNS, WORDS, status_colour

__all__ = ["BASELINE_SIGN", "criteria_table"]

BASELINE_SIGN = "!"
"""Stands at a baseline that does not meet the criterion's own bar."""

_LEAST_LABEL = 16
_SLICES_SHOWN = 6


class _Entry(NamedTuple):
    """What the table says of one runtime in one row."""

    sign: str
    counts: str = ""
    bound: str = ""
    status: Status | None = None


class _Row(NamedTuple):
    """A row of the table."""

    label: str
    entries: Mapping[str, _Entry]


class _Column(NamedTuple):
    """A runtime's column, laid out."""

    header: str
    width: int
    texts: list[str]


def criteria_table(summary: Summary, page: Page, *, everything: bool) -> list[str]:
    """Return the table, in blocks of runtimes when the page has no room for all of them side by side.

    Args:
        summary: What to show.
        page: Where to show it.
        everything: Whether to show every slice.
    """
    rows = list(_rows(summary, everything=everything))
    names = _runtimes(summary)
    if not rows or not names:
        return []
    columns = [_column(name, rows, summary, page) for name in names]
    widest = max(width_of(page.text(row.label)) for row in rows)
    blocks = _blocks(columns, page.columns - min(widest, _LEAST_LABEL))
    room = min(page.columns - sum(column.width + GAP for column in block) for block in blocks)
    labels = fit_labels([row.label for row in rows], page, max(room, 4))
    lines: list[str] = []
    for block in blocks:
        if lines:
            lines.append("")
        lines += _table(labels, block)
    return [*lines, *_legend(rows, summary, page)]


def _table(labels: Sequence[str], columns: Sequence[_Column]) -> list[str]:
    body = [[label, *(column.texts[i] for column in columns)] for i, label in enumerate(labels)]
    headers = ["criterion", *(column.header for column in columns)]
    widths = [max(map(width_of, [headers[0], *labels])), *(column.width for column in columns)]
    return grid(headers, body, widths, ["left"] * len(headers))


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


def _column(name: str, rows: Sequence[_Row], summary: Summary, page: Page) -> _Column:
    entries = [row.entries.get(name) for row in rows]
    known = [entry for entry in entries if entry is not None]
    counts = max((len(entry.counts) for entry in known), default=0)
    texts, width = [], 0
    for entry in entries:
        if entry is None:
            texts.append("")
            continue
        sign = page.text(entry.sign)
        rest = page.text(f"{entry.counts:>{counts}} {entry.bound}" if entry.counts else entry.bound).rstrip()
        width = max(width, width_of(f"{sign} {rest}".rstrip()))
        colours = [status_colour(entry.status)] if entry.status else ["red"] if entry.sign.strip() else []
        texts.append(f"{page.paint(sign, *colours)} {rest}".rstrip())
    role = "(baseline)" if any(each.baseline == name for each in summary.objectives) else ""
    header = [*_broken(page.text(name), max(width, len(role), 12)), *([role] if role else [])]
    return _Column("\n".join(header), max([width, *map(width_of, header)]), texts)


def _broken(name: str, width: int) -> list[str]:
    """Break a runtime's name into lines of a column's width, where it can behind a dash, dot or slash."""
    lines = []
    while width_of(name) > width:
        cut = max((name.rfind(mark, 1, width) + 1 for mark in "-._/"), default=0)
        cut = cut if cut > width // 3 else width
        lines.append(name[:cut])
        name = name[cut:]
    return [*lines, name]


def _rows(summary: Summary, *, everything: bool) -> Iterator[_Row]:
    labels = short_labels(criterion.id for criterion in summary.criteria)
    by_id = {criterion.id: criterion for criterion in summary.criteria}
    for objective in summary.objectives:
        own = [by_id[criterion] for criterion in objective.criteria if criterion in by_id]
        for criterion in own:
            yield from _criterion_rows(criterion, labels[criterion.id], everything=everything)
        if len(own) > 1:
            yield _objective_row(objective, len(own))


def _criterion_rows(criterion: Criterion, label: str, *, everything: bool) -> Iterator[_Row]:
    by_slice: dict[str | None, dict[str, Cell]] = {None: {}}
    for cell in criterion.cells:
        by_slice.setdefault(cell.slice, {})[cell.runtime] = cell
    whole = by_slice.pop(None)
    yield _Row(label, {name: _entry(criterion.bar, cell) for name, cell in whole.items()})
    names = sorted(name for name in by_slice if name is not None)
    # A slice with other verdicts than the whole tells most.
    telling = sorted(names, key=lambda name: _statuses(by_slice[name]) == _statuses(whole))
    shown = names if everything else sorted(telling[:_SLICES_SHOWN])
    for name in shown:
        yield _Row(f"  {name}", {each: _entry(criterion.bar, cell) for each, cell in by_slice[name].items()})
    if len(shown) < len(names):
        yield _Row(f"  … {len(names) - len(shown)} more slices (-v)", {})


def _objective_row(objective: Objective, criteria: int) -> _Row:
    entries = {
        verdict.runtime: _Entry(SIGNS[verdict.status], bound=f"all {criteria}", status=verdict.status)
        for verdict in objective.verdicts
        if verdict.slice is None
    }
    return _Row(f"= {objective.name}", entries)


def _statuses(cells: Mapping[str, Cell]) -> dict[str, Status | None]:
    return {name: cell.status for name, cell in cells.items()}


def _entry(bar: Bar, cell: Cell) -> _Entry:
    # One that did not run, or could not be reached, has missed nothing.
    own = BASELINE_SIGN if cell.failed and not baseline_meets_bar(bar, cell) else " "
    sign = own if cell.status is None else SIGNS[cell.status]
    ran = cell.passed + cell.failed + cell.errors
    if not ran:
        return _Entry(sign, bound="not run", status=cell.status)
    low = lower_bound(cell.passed, ran, 1.0 - (bar.confidence or 0.95))
    bound = f"≥{math.floor(100 * low + 1e-9)}%"
    broken = cell.test_errors or 0
    if cell.errors - broken:
        bound += f" {cell.errors - broken}U"
    if broken:
        bound += f" {broken}E"
    return _Entry(sign, f"{cell.passed}/{ran}", bound, cell.status)


def _legend(rows: Sequence[_Row], summary: Summary, page: Page) -> list[str]:
    """Return what the signs mean, but for those that do not occur."""
    entries = [entry for row in rows for entry in row.entries.values()]
    parts = [
        f"{SIGNS[status]} {WORDS[status]}" for status in SIGNS if any(each.status == status for each in entries)
    ]
    if any(each.sign == BASELINE_SIGN for each in entries):
        parts.append(f"{BASELINE_SIGN} the baseline misses its own bar")
    confidences = {criterion.bar.confidence or 0.95 for criterion in summary.criteria}
    if any(each.bound.startswith("≥") for each in entries):
        sure = f"{100 * min(confidences):.3g} % confidence" if len(confidences) == 1 else "its confidence"
        parts.append(f"≥: at least this share passes, at {sure}")
    words = {word[-1] for each in entries for word in each.bound.split() if word[:-1].isdecimal()}
    if "U" in words:
        parts.append("U: unavailable, counted as not passed")
    if "E" in words:
        parts.append("E: the test's own error, no verdict on the model")
    return page.flow(parts)


def _runtimes(summary: Summary) -> list[str]:
    baselines = dict.fromkeys(objective.baseline for objective in summary.objectives)
    challengers = dict.fromkeys(name for each in summary.objectives for name in each.challengers)
    return summary.shown(dict.fromkeys((*baselines, *challengers)))
