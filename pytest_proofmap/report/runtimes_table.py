"""The table of what the runtimes cost and how long they took."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_proofmap.report.figures import RuntimeFigures
from pytest_proofmap.report.grid import GAP, grid
from pytest_proofmap.report.page import Page, width_of
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.wording import cheaper, money, seconds

__all__ = ["runtimes_table"]

_LEAST_NAME = 12


def runtimes_table(summary: Summary, page: Page) -> list[str]:
    """Return the table, or one value a line where the page has no room for it."""
    figures = [one for one in summary.figures if one.runtime not in summary.left_out]
    if not figures:
        return []
    timed = any(one.latency.n for one in figures)
    headers = ["runtime", "list cost", "per 1,000\ncases", "vs baseline", "latency\np50"]
    if timed:
        headers.append("\nslow end")
    rows = [[page.text(text) for text in _row(one, timed=timed)] for one in figures]
    lines = [line.split("\n") for line in headers]
    widths = [max(map(width_of, [*lines[i], *(row[i] for row in rows)])) for i in range(len(headers))]
    room = page.columns - sum(widths[1:]) - GAP * (len(widths) - 1)
    if room < min(widths[0], _LEAST_NAME):
        return _as_list(headers, rows, page)
    widths[0] = min(widths[0], room)
    align = ["left", "right", "right", *["left"] * (len(headers) - 3)]
    return grid(headers, [[page.shorten_middle(row[0], room), *row[1:]] for row in rows], widths, align)


def _as_list(headers: Sequence[str], rows: Sequence[Sequence[str]], page: Page) -> list[str]:
    lines = []
    for row in rows:
        lines += page.wrap(row[0])
        for header, value in zip(headers[1:], row[1:], strict=True):
            if value:
                lines += page.wrap(f"{' '.join(header.split())}: {value}", "  ", "    ")
    return lines


def _row(one: RuntimeFigures, *, timed: bool) -> list[str]:
    row = [
        one.runtime,
        money(one.cost_usd, estimated=one.estimated),
        money(one.cost_per_1k_usd, estimated=one.estimated),
        "(baseline)" if one.is_baseline and one.cost_ratio is None else cheaper(one.cost_ratio),
        seconds(one.latency.p50),
    ]
    if timed:
        latency = one.latency
        if latency.p95 is not None:
            row.append(f"p95 {seconds(latency.p95)} (n {latency.n})")
        else:
            row.append(f"max {seconds(latency.max)} (n {latency.n})" if latency.n else "")
    return row
