"""What a run says in the terminal: the plan, what it foresees, its progress, and the summary.

Progress rewrites one line on a terminal; elsewhere a line is printed now and then; with ``-q`` nothing is.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_proofmap.calls.budget import cannot_carry
from pytest_proofmap.decide.planning import PlannedCriterion, shortfalls
from pytest_proofmap.decide.wording import count
from pytest_proofmap.plugin.reports import next_steps, run_again, view_of_run
from pytest_proofmap.prefetch.plan import PLAN, Plan, RuntimePlan
from pytest_proofmap.report.figures import money
from pytest_proofmap.report.page import Page, fitted_table
from pytest_proofmap.text import visible

if TYPE_CHECKING:
    from tqdm import tqdm

    from pytest_proofmap.plugin.criteria import CollectedCriterion, CriteriaRegistry
    from pytest_proofmap.plugin.session import QualificationSession

__all__ = ["Progress", "describe", "foreseen_lines", "write_plan", "write_summary"]


def write_summary(run: QualificationSession, terminalreporter: pytest.TerminalReporter) -> None:
    """Write the summary of a run, or nothing when nothing was marked."""
    from pytest_proofmap.plugin.finish import RESULT

    result = run.config.stash.get(RESULT, None)
    if result is None and run.notice is None:
        return
    # Here, because workers need none of it.
    from pytest_proofmap.report.text import TITLE, finding_lines, render

    if result is None and run.notice is not None:
        page = page_of(run.config, terminalreporter)
        terminalreporter.write_sep("=", TITLE)
        for line in [*page.wrap(run.notice, "! ", "  "), page.text(f"next: {run_again(run.config)}")]:
            terminalreporter.write_line(line)
    silent = terminalreporter.no_summary or terminalreporter.verbosity < -1
    if result is None or (silent and not result.findings):
        return
    view = replace(view_of_run(result), next_steps=next_steps(run, result))
    page = page_of(run.config, terminalreporter)
    terminalreporter.write_sep("=", TITLE)
    if silent:
        # A run must not fail without saying why.
        lines = finding_lines(view, page)
    else:
        # A shard has no verdicts to show.
        verbosity = -1 if result.run.shard else terminalreporter.verbosity
        lines = render(view, page, verbosity=verbosity)
    for line in lines:
        terminalreporter.write_line(line)


def page_of(config: pytest.Config, terminalreporter: pytest.TerminalReporter) -> Page:
    """Return the page that pytest writes to."""
    writer = config.get_terminal_writer()
    return Page(writer.fullwidth, _encoding(writer), terminalreporter.hasmarkup)


def _encoding(writer: object) -> str:
    """Return the encoding of what pytest writes to, which has no public name."""
    file = getattr(writer, "_file", None) or sys.stdout
    return getattr(file, "encoding", None) or "ascii"


PATIENCE_S = 0.5
"""How long a wait must last before it is worth a line."""

LINE_EVERY_S = 10.0
"""How often a line is printed where lines cannot be rewritten."""

Status = dict[str, Any]


class Progress:
    """The progress of one process's calls, on pytest's terminal.

    Args:
        config: pytest's configuration.
        ask: Asks the call service for its figures.
        cached: Says how many answers did not have to be called.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        config: pytest.Config,
        ask: Callable[[], Future[Status] | None],
        cached: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        self._reporter: pytest.TerminalReporter | None = reporter if config.get_verbosity() >= 0 else None
        # A dumb terminal would show each state of the line after the other.
        self._rewrites = reporter is not None and reporter.isatty and os.environ.get("TERM") != "dumb"
        self._ask = ask
        self._cached = cached
        self._clock = clock
        self._asked: Future[Status] | None = None
        self._bar: tqdm[Any] | None = None
        self._waiting_since: float | None = None
        self._shown_at = clock()

    def wait(self) -> None:
        """Say that the run waits, which is shown when it takes long enough."""
        if self._reporter is None:
            return
        now = self._clock()
        if self._waiting_since is None:
            self._waiting_since = now
        every = PATIENCE_S if self._rewrites else LINE_EVERY_S
        if now - self._waiting_since < PATIENCE_S or now - self._shown_at < every:
            return
        if self._asked is None:
            self._asked = self._ask()
        if self._asked is not None and self._asked.done():
            status, self._asked = self._asked.result(), None
            self._shown_at = now
            if status and total(status):
                self._show(status)

    def resume(self) -> None:
        """Clear the line: the run goes on, and pytest writes."""
        self._waiting_since = None
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, status: Status) -> None:
        assert self._reporter is not None
        file = self._reporter._tw._file
        text = f"proofmap: {describe(status, self._cached())}"
        if not _can_write(file, text):
            text = text.replace(" · ", ", ")
        if not self._rewrites:
            self._reporter.ensure_newline()
            self._reporter.write_line(text)
            return
        if self._bar is None:
            from tqdm import tqdm

            self._reporter.ensure_newline()
            self._bar = tqdm(bar_format="{desc}", file=file, leave=False, dynamic_ncols=True, mininterval=0)
        self._bar.set_description_str(text)


def describe(status: Status, cached: int) -> str:
    """Return the figures of the call service in one line.

    Args:
        status: ``in_flight``, ``waiting``, ``done``, ``spent_usd`` and ``providers``, each of these with
            ``in_flight``, ``waiting`` and ``rate_per_s``.
        cached: How many answers did not have to be called.
    """
    parts = [f"{status['done']}/{total(status)} called"]
    if cached:
        parts.append(f"{cached} cached")
    parts.append(f"{status['in_flight']} in flight")
    if status["spent_usd"]:
        parts.append(f"${status['spent_usd']:.4f} spent")
    for name, provider in sorted(status["providers"].items()):
        rate = provider["rate_per_s"]
        left = provider["waiting"] + provider["in_flight"]
        if rate:
            parts.append(f"{name} {rate:.1f}/s" + (f", {_duration(left / rate)} left" if left else ""))
    return " · ".join(parts)


def total(status: Status) -> int:
    """Return how many calls the service knows of."""
    return int(status["done"] + status["in_flight"] + status["waiting"])


def _can_write(file: Any, text: str) -> bool:
    try:
        text.encode(getattr(file, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


SHORTFALLS_SHOWN = 5
"""How many criteria are named, unless with -v."""


def foreseen_lines(config: pytest.Config, registry: CriteriaRegistry, items: Iterable[pytest.Item]) -> list[str]:
    """Return the lines, none where what is printed is read by programs.

    Args:
        config: pytest's configuration.
        registry: The criteria that were collected.
        items: The tests that are selected: of other criteria nobody asked.
    """
    verbosity = config.get_verbosity()
    if verbosity < -1 or (config.option.collectonly and verbosity < 0):
        return []
    selected = {sample.criterion for item in items if (sample := registry.identify(item)) is not None}
    found = shortfalls(
        [_planned(criterion) for criterion in registry.criteria.values() if criterion.id in selected]
    )
    if found and verbosity < 0:
        where = count(len({shortfall.criterion for shortfall in found}), "criterion", "criteria")
        return [f"proofmap: {where} cannot reach a verdict with the cases at hand (without -q: which)"]
    shown = found if verbosity > 0 else found[:SHORTFALLS_SHOWN]
    lines = [f"proofmap: {visible(shortfall.text)}" for shortfall in shown]
    if len(shown) < len(found):
        lines.append(f"proofmap: and so for {len(found) - len(shown)} more (-v names them)")
    return lines


def _planned(criterion: CollectedCriterion) -> PlannedCriterion:
    plan = criterion.plan
    sizes: dict[str | None, int] = {None: len(criterion.cases)}
    sizes.update(Counter(name for name in criterion.slices.values() if name is not None))
    return PlannedCriterion(criterion.id, plan.bar, len(plan.challengers), sizes, plan.slices)


_HEADERS = ("runtime", "recorded", "cached", "to call", "input tokens", "cost")
_ALIGN = ("left", "right", "right", "right", "left", "left")


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
    told = f"{count(calls, 'call')} would be made; none was.{_total(plan)}"
    lines += page.wrap(told if calls or plan.unexplored else "0 calls would be made: every answer is there.")
    if plan.open_ended:
        waiting = count(len(plan.open_ended), "test waits", "tests wait")
        lines += page.wrap(f"{waiting} for an answer that is not there, and may ask for more after it.")
    if plan.later_calls:
        later = ", ".join(f"{name} {number:,}" for name, number in sorted(plan.later_calls.items()))
        lines += page.wrap(
            f"Auxiliary calls that follow such answers, at least, and are in no sum yet: {later}. What they cost "
            "is known once there are answers to send."
        )
    if plan.unexplored:
        lines += page.wrap(
            f"{count(plan.unexplored, 'test')} marked prefetch=False cannot be foreseen and "
            f"{'is' if plan.unexplored == 1 else 'are'} not counted."
        )
    if budget_usd is not None:
        lines += page.wrap(_budget(plan, budget_usd))
    return lines


def _table(rows: Sequence[Sequence[str]], page: Page) -> list[str]:
    """Return the table, or a line for each runtime where the page has no room for it."""
    if not rows:
        return []
    lines = fitted_table(_HEADERS, rows, _ALIGN, page)
    if lines is not None:
        return lines
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
    without = f", without {count(unknown, 'runtime')} of unknown price" if unknown else ""
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
