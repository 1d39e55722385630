"""The summary of a run that only plans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate

from pytest_proofmap.report.wording import money, plural
from pytest_proofmap.run.plan import PLAN, Plan, RuntimePlan

if TYPE_CHECKING:
    import pytest

    from pytest_proofmap.run.session import QualificationSession

__all__ = ["plan_lines", "write_plan"]


def write_plan(run: QualificationSession, terminalreporter: pytest.TerminalReporter) -> None:
    """Write what a run would call, or nothing when nothing was planned."""
    plan = run.config.stash.get(PLAN, None)
    if plan is None:
        return
    terminalreporter.write_sep("=", "proofmap plan")
    for line in plan_lines(plan, run.budget_usd):
        terminalreporter.write_line(line)


def plan_lines(plan: Plan, budget_usd: float | None) -> list[str]:
    """Return the plan as lines of text."""
    headers = ["runtime", "recorded", "cached", "to call", "input tokens", "cost"]
    rows = [_row(planned) for planned in plan.sorted()]
    lines = tabulate(rows, headers, disable_numparse=True).splitlines()
    lines += ["", f"{plural(plan.total_calls(), 'call')} would be made; none was.{_total(plan)}"]
    if plan.open_ended:
        lines.append(
            f"{plural(len(plan.open_ended), 'test')} wait for an answer that is not there, and may ask for more "
            "after it."
        )
    if plan.unexplored:
        lines.append(
            f"{plural(plan.unexplored, 'test')} marked prefetch=False cannot be foreseen and are not counted."
        )
    if budget_usd is not None:
        lines.append(f"The budget is ${budget_usd:g}.")
    lines += ["", "next: pytest --proofmap"]
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
