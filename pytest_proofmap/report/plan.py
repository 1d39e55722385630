"""The summary of a run that only plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_proofmap.report.figures import money, plural
from pytest_proofmap.report.next_steps import run_again
from pytest_proofmap.report.page import GAP, Page, table, width_of
from pytest_proofmap.report.terminal import page_of
from pytest_proofmap.run.budget import cannot_carry
from pytest_proofmap.run.plan import PLAN, Plan, RuntimePlan

if TYPE_CHECKING:
    import pytest

    from pytest_proofmap.run.session import QualificationSession

__all__ = ["plan_lines", "write_plan"]

_HEADERS = ("runtime", "recorded", "cached", "to call", "input tokens", "cost")
_ALIGN = ("left", "right", "right", "right", "left", "left")
_LEAST_NAME = 12


def write_plan(run: QualificationSession, terminalreporter: pytest.TerminalReporter) -> None:
    """Write what a run would call, or nothing when nothing was planned."""
    plan = run.config.stash.get(PLAN, None)
    if plan is None:
        return
    page = page_of(run.config, terminalreporter)
    terminalreporter.write_sep("=", "proofmap plan")
    for line in plan_lines(plan, page, run.budget_usd, brief=terminalreporter.verbosity < 0):
        terminalreporter.write_line(line)
    if terminalreporter.verbosity >= 0:
        terminalreporter.write_line("")
        terminalreporter.write_line(page.text(f"next: {run_again(run.config)}"))


def plan_lines(plan: Plan, page: Page, budget_usd: float | None, *, brief: bool = False) -> list[str]:
    """Return the plan as lines of text.

    Args:
        plan: What a run would call.
        page: Where to show it.
        budget_usd: What the run may spend.
        brief: Whether to leave the table out.
    """
    lines = [] if brief else [*_table([_row(planned) for planned in plan.sorted()], page), ""]
    calls = plan.total_calls()
    told = f"{plural(calls, 'call')} would be made; none was.{_total(plan)}"
    lines += page.wrap(told if calls or plan.unexplored else "0 calls would be made: every answer is there.")
    if plan.open_ended:
        waiting = plural(len(plan.open_ended), "test waits", "tests wait")
        lines += page.wrap(f"{waiting} for an answer that is not there, and may ask for more after it.")
    if plan.later_calls:
        later = ", ".join(f"{name} {number:,}" for name, number in sorted(plan.later_calls.items()))
        lines += page.wrap(
            f"Auxiliary calls that follow such answers, at least, and are in no sum yet: {later}. What they cost "
            "is known once there are answers to send."
        )
    if plan.unexplored:
        lines += page.wrap(
            f"{plural(plan.unexplored, 'test')} marked prefetch=False cannot be foreseen and "
            f"{'is' if plan.unexplored == 1 else 'are'} not counted."
        )
    if budget_usd is not None:
        lines += page.wrap(_budget(plan, budget_usd))
    return lines


def _table(rows: Sequence[Sequence[str]], page: Page) -> list[str]:
    """Return the table, or a line for each runtime where the page has no room for it."""
    if not rows:
        return []
    rows = [[page.text(text) for text in row] for row in rows]
    widths = [max(map(width_of, column)) for column in zip(_HEADERS, *rows, strict=True)]
    room = page.columns - sum(widths[1:]) - GAP * (len(widths) - 1)
    if room >= min(widths[0], _LEAST_NAME):
        widths[0] = min(widths[0], room)
        return table(_HEADERS, [[page.shorten_middle(row[0], room), *row[1:]] for row in rows], widths, _ALIGN)
    lines = []
    for name, *values in rows:
        parts = [f"{value} {header}" for header, value in zip(_HEADERS[1:4], values, strict=False)]
        parts += [f"{values[3]} input tokens", values[4]] if values[3] else []
        lines += page.flow(parts, f"{name}: ", "  ")
    return lines


def _row(planned: RuntimePlan) -> list[str]:
    counts = [str(len(each)) for each in (planned.recorded, planned.cached, planned.calls)]
    if not planned.calls:
        return [planned.name, *counts, "", ""]
    least, most = planned.input_tokens()
    return [planned.name, *counts, f"{least:,} to {most:,}", _range(planned.cost_usd())]


def _range(cost: tuple[float, float] | None) -> str:
    return "price unknown" if cost is None else f"{money(cost[0])} to {money(cost[1])}"


def _total(plan: Plan) -> str:
    costs = [cost for planned in plan.runtimes.values() if planned.calls and (cost := planned.cost_usd())]
    unknown = sum(planned.cost_usd() is None for planned in plan.runtimes.values() if planned.calls)
    if not costs:
        return ""
    total = _range((sum(cost[0] for cost in costs), sum(cost[1] for cost in costs)))
    without = f", without {plural(unknown, 'runtime')} of unknown price" if unknown else ""
    return f" They would cost {total}{without}."


def _budget(plan: Plan, budget_usd: float) -> str:
    """Return how the budget compares with what the calls may cost."""
    costs = [(planned, planned.cost_usd()) for planned in plan.sorted() if planned.calls]
    most = sum(cost[1] for _, cost in costs if cost is not None)
    text = f"The budget is {money(budget_usd)}"
    if any(cost is None for _, cost in costs):
        return f"{text}, and cannot be kept while a price is unknown."
    one_call = {planned.name: planned.dearest_usd() for planned, _ in costs}
    if one_call and sum(one_call.values()) > budget_usd:
        return f"A run would call nothing: {cannot_carry(budget_usd, one_call)}"
    if most > budget_usd:
        return f"{text}: at worst the calls cost {money(most)}, and what it does not cover would be skipped."
    return f"{text}, which covers them at worst."
