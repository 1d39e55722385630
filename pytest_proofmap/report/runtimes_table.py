"""The table of what the runtimes cost and how long they took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pytest_proofmap.report.figures import RuntimeFigures
from pytest_proofmap.report.grid import GAP, grid
from pytest_proofmap.report.page import Page, width_of
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.wording import cheaper, money, seconds

__all__ = ["runtimes_table"]

_LEAST_NAME = 12


def runtimes_table(summary: Summary, page: Page) -> list[str]:
    """Return the table, without its less telling columns where the page has no room for them.

    A page that is too narrow for any table gets a line or two for each runtime.
    """
    figures = [one for one in summary.figures if one.runtime not in summary.left_out]
    if not figures:
        return []
    columns = [column for column in _COLUMNS if any(column.tells(one) for one in figures)]
    if not columns:
        return []
    rows = [[page.text(column.value(one)) for column in columns] for one in figures]
    names = [page.text(one.runtime) for one in figures]
    widest = max(map(width_of, ["runtime", *names]))
    shown = [*range(len(columns))]
    for dropped in (None, *_DROPPED):
        shown = [i for i in shown if columns[i].header != dropped]
        widths = [max(map(width_of, [*columns[i].header.split("\n"), *(row[i] for row in rows)])) for i in shown]
        room = page.columns - sum(widths) - GAP * len(widths)
        if room >= min(widest, _LEAST_NAME):
            break
    else:
        return _as_list(figures, page)
    body = [
        [page.shorten_middle(name, room), *(row[i] for i in shown)] for name, row in zip(names, rows, strict=True)
    ]
    return grid(
        ["runtime", *(columns[i].header for i in shown)],
        body,
        [min(widest, room), *widths],
        ["left", *(columns[i].align for i in shown)],
    )


def _as_list(figures: Sequence[RuntimeFigures], page: Page) -> list[str]:
    lines = []
    for one in figures:
        cost = f"{_per_1k(one)} for 1,000 cases" if _has_cost(one) else "cost unknown"
        speed = f"p50 {_median(one)}" if _has_latency(one) else ""
        lines += page.flow([cost, _versus(one), speed, _slow_end(one)], f"{one.runtime}: ", "  ")
    return lines


def _list_cost(one: RuntimeFigures) -> str:
    return money(one.cost_usd, estimated=one.estimated)


def _per_1k(one: RuntimeFigures) -> str:
    return money(one.cost_per_1k_usd, estimated=one.estimated)


def _versus(one: RuntimeFigures) -> str:
    return "(baseline)" if one.is_baseline and one.cost_ratio is None else cheaper(one.cost_ratio)


def _median(one: RuntimeFigures) -> str:
    return seconds(one.latency.p50)


def _slow_end(one: RuntimeFigures) -> str:
    latency = one.latency
    if latency.p95 is not None:
        return f"p95 {seconds(latency.p95)} (n {latency.n})"
    return f"max {seconds(latency.max)} (n {latency.n})" if latency.n else ""


class _Column(NamedTuple):
    """A column beside the runtimes' names."""

    header: str
    align: str
    value: Callable[[RuntimeFigures], str]
    tells: Callable[[RuntimeFigures], bool]
    """Whether a runtime has a value there: a column where none has one is left out."""


def _has_cost(one: RuntimeFigures) -> bool:
    return one.cost_usd is not None


def _has_ratio(one: RuntimeFigures) -> bool:
    return one.cost_ratio is not None


def _has_latency(one: RuntimeFigures) -> bool:
    return one.latency.n > 0


_LIST_COST, _SLOW_END = "list cost", "\nslow end"
_COLUMNS = (
    _Column(_LIST_COST, "right", _list_cost, _has_cost),
    _Column("per 1,000\ncases", "right", _per_1k, _has_cost),
    _Column("vs baseline", "left", _versus, _has_ratio),
    _Column("latency\np50", "left", _median, _has_latency),
    _Column(_SLOW_END, "left", _slow_end, _has_latency),
)
_DROPPED = (_LIST_COST, _SLOW_END)
"""What a narrow page does without, the least telling first."""
