"""The text summary of a run: the same for a run that just ended and for a stored artifact.

What matters most comes last, because the end of its output is what a terminal shows: the tables first, then
the cases, then the recommendations, and at the very end what fails the run and the command to go on with.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_proofmap.decide.bars import LEAST_BASELINE_RATE, has_margin
from pytest_proofmap.decide.wording import assumptions
from pytest_proofmap.report.criteria_table import BASELINE_SIGN, criteria_table
from pytest_proofmap.report.labels import short_labels
from pytest_proofmap.report.misses import MissedCase, MissKind
from pytest_proofmap.report.page import Page, width_of
from pytest_proofmap.report.routes import route_lines
from pytest_proofmap.report.runtimes_table import runtimes_table
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.totals_line import totals_line
from pytest_proofmap.report.wording import SIGNS, WORDS, money, plural, signed_points
from pytest_proofmap.run.miss import cause_of, without_ids

__all__ = ["TITLE", "finding_lines", "render", "render_short"]

TITLE = "proofmap"
_CASES_SHOWN = {0: 4, 1: 25}
_DIFFERENCES_SHOWN = 8
_KINDS: Mapping[MissKind, str] = {"regression": "regression", "both": "baseline fails too"}

_PROGRAMS = ("proofmap ", "pytest ")
_STEPS = re.compile(r"; (?=[^:;']+: (?:proofmap|pytest) )")


def render(summary: Summary, page: Page, *, verbosity: int = 0) -> list[str]:
    """Return the lines of the summary, without its title.

    Args:
        summary: What to show.
        page: Where to show it.
        verbosity: Below 0 the short form; 1 names more cases, all slices and all reasons; 2 every case.
    """
    if verbosity < 0:
        return render_short(summary, page)
    everything = verbosity > 0
    sections = [
        [*_totals(summary, page), *_adaptive(summary, page), *_incomplete(summary, page)],
        criteria_table(summary, page, everything=everything),
        [*runtimes_table(summary, page), *_sharing(summary, page)],
        _baseline_misses(summary, page),
        *_challenger_misses(summary, page, verbosity),
        _reasons(summary, page) if everything else [],
        _attribution(summary, page, everything=everything),
        _warnings(summary, page),
        route_lines(summary, page, everything=everything),
        _assumptions(summary, page),
        finding_lines(summary, page),
        _next_steps(summary, page),
    ]
    lines: list[str] = []
    for section in filter(None, sections):
        if lines:
            lines.append("")
        lines += section
    return lines


def render_short(summary: Summary, page: Page) -> list[str]:
    """Return the short form: totals, warnings, recommendations and what fails the run."""
    return [
        *_totals(summary, page),
        *_adaptive(summary, page),
        *_incomplete(summary, page),
        *_warnings(summary, page),
        *route_lines(summary, page, everything=False, brief=True),
        *finding_lines(summary, page),
    ]


def _totals(summary: Summary, page: Page) -> list[str]:
    totals, estimated = summary.totals, summary.estimated
    lines = page.wrap(totals_line(summary))
    for name, part in totals.auxiliary.items():
        priced = part.list_usd or part.unpriced < part.calls
        cost = f"list cost {money(part.list_usd, estimated=estimated)}" if priced else "price unknown"
        lines += page.wrap(f"of these {plural(part.calls, 'auxiliary call')} to {name}, {cost}")
    if estimated and (totals.list_usd or totals.spent_usd):
        lines += page.wrap("~ token counts are estimated, and so are these costs")
    return lines


def _adaptive(summary: Summary, page: Page) -> list[str]:
    """Return what adaptive sampling spared, and the order that it rests on."""
    sampled = [criterion for criterion in summary.criteria if criterion.adaptive is not None]
    cells = [
        (criterion.bar.samples, cell.adaptive)
        for criterion in sampled
        for cell in criterion.cells
        if cell.slice is None and cell.adaptive is not None and cell.runtime not in summary.left_out
    ]
    if not cells:
        return []
    seeds = sorted({criterion.adaptive.seed for criterion in sampled if criterion.adaptive is not None})
    total = sum(samples * cell.cases for samples, cell in cells)
    spared = total - sum(samples * cell.asked for samples, cell in cells)
    text = (
        f"adaptive sampling (seed {', '.join(map(str, seeds))}): {spared:,} of "
        f"{plural(total, 'sample')} of challengers were not needed"
    )
    if not all(criterion.adaptive is not None and criterion.adaptive.early for criterion in sampled):
        text += "; where tests ran in no known order nobody qualified early"
    return page.wrap(text)


def _incomplete(summary: Summary, page: Page) -> list[str]:
    if summary.run.complete:
        return []
    reasons = "; ".join(summary.run.incomplete_reasons) or "some marked tests did not run"
    what = "" if summary.run.shard else "incomplete evidence, which cannot be approved: "
    return _painted(page.wrap(f"{what}{reasons}", "! ", "  "), page, "yellow")


def _sharing(summary: Summary, page: Page) -> list[str]:
    """Return why the costs of the runtimes add up to more than the list cost of the calls."""
    costs = [one.cost_usd for one in summary.figures]
    known = sum(cost for cost in costs if cost is not None)
    if not summary.totals.unpriced and None not in costs and known > 1.005 * summary.totals.list_usd:
        return page.wrap(
            "A request that several tests share counts here for each, and once among the calls above."
        )
    return []


def _baseline_misses(summary: Summary, page: Page) -> list[str]:
    """Return the baselines' own misses, loudly: whoever compares must know what with."""
    lines: list[str] = []
    labels = short_labels(criterion.id for criterion in summary.criteria)
    own = [miss for miss in summary.misses if miss.kind == "baseline"]
    for name in dict.fromkeys(objective.baseline for objective in summary.objectives):
        found = Counter(miss.criterion for miss in own if miss.runtime == name)
        if found:
            cases = sum(
                cell.cases - cell.skipped
                for criterion in summary.criteria
                for cell in criterion.cells
                if (cell.runtime, cell.role, cell.slice) == (name, "baseline", None)
            )
            named = ", ".join(f"{labels.get(key, key)} {number}" for key, number in found.most_common(4))
            if len(found) == 1:
                named = labels.get(next(iter(found)), next(iter(found)))
            rest = f" and {plural(len(found) - 4, 'more criterion', 'more criteria')}" if len(found) > 4 else ""
            lines += page.wrap(
                f"the baseline {name} itself fails {sum(found.values())} of {plural(cases, 'case')}: "
                f"{named}{rest}",
                f"{BASELINE_SIGN} ",
                "  ",
            )
    for criterion in summary.criteria:
        for cell in criterion.cells:
            unusable = cell.pass_rate is not None and cell.pass_rate < LEAST_BASELINE_RATE
            if cell.role == "baseline" and cell.slice is None and has_margin(criterion.bar) and unusable:
                lines += page.wrap(
                    f"the baseline {cell.runtime} is not a usable reference on {labels[criterion.id]}: "
                    f"{cell.passed} of {plural(cell.cases - cell.skipped, 'case')} passed",
                    f"{BASELINE_SIGN} ",
                    "  ",
                )
    return _painted(lines, page, "red")


def _challenger_misses(summary: Summary, page: Page, verbosity: int) -> Iterator[list[str]]:
    by_runtime: defaultdict[str, list[MissedCase]] = defaultdict(list)
    for miss in summary.misses:
        if miss.kind != "baseline" and miss.runtime not in summary.left_out:
            by_runtime[miss.runtime].append(miss)
    names = dict.fromkeys(name for objective in summary.objectives for name in objective.challengers)
    baselines = dict.fromkeys(objective.baseline for objective in summary.objectives)
    for name in dict.fromkeys((*names, *baselines)):
        failed = [miss for miss in by_runtime[name] if miss.kind not in ("unavailable", "broken")]
        errors = [miss for miss in by_runtime[name] if miss.kind == "unavailable"]
        lines = _failed_cases(name, failed, summary, page, verbosity) + _unavailable(name, errors, page)
        if lines:
            yield lines


def _failed_cases(
    name: str, failed: Sequence[MissedCase], summary: Summary, page: Page, verbosity: int
) -> list[str]:
    if not failed:
        return []
    kinds = Counter(miss.kind for miss in failed)
    lines = _painted(page.wrap(f"{name} fails {plural(len(failed), 'case')}{_compared(kinds)}"), page, "bold")
    limit = _CASES_SHOWN.get(verbosity, len(failed))
    labels = short_labels(criterion.id for criterion in summary.criteria)
    for miss in failed[:limit]:
        label = labels.get(miss.criterion, miss.criterion)
        case = page.shorten_middle(f"{label}[{miss.case}]" if miss.case else label, page.columns // 2)
        # What holds for all of them stands above them.
        kind = "" if len(kinds) == 1 else f" {_KINDS.get(miss.kind, 'no baseline')}"
        times = f" ({miss.missed} of {miss.samples})" if miss.samples > 1 else ""
        lines.append(page.shorten(f"  {case}{kind}{times}: {_one_line(miss.message)}", page.columns))
    if len(failed) > limit:
        more = "-v names more" if verbosity == 0 else "-vv names all"
        lines += page.wrap(f"and {len(failed) - limit:,} more ({more})", "  ", "  ")
    return lines


def _compared(kinds: Mapping[MissKind, int]) -> str:
    """Return how failed cases compare with the baseline, as the end of a sentence."""
    regressions = kinds.get("regression", 0)
    if len(kinds) > 1:
        return f", {regressions:,} of which the baseline passes (regressions)"
    if regressions:
        return f" that the baseline passes ({'a regression' if regressions == 1 else 'regressions'})"
    return " that the baseline fails too" if "both" in kinds else " without an outcome of the baseline"


def _unavailable(name: str, errors: Sequence[MissedCase], page: Page) -> list[str]:
    if not errors:
        return []
    text = f"{name} was unavailable in {plural(len(errors), 'case')} (errors, not failures)"
    lines = _painted(page.wrap(text), page, "bold")
    reasons = Counter(without_ids(cause_of(miss.message)) for miss in errors)
    for message, number in reasons.most_common(3):
        lines.append(page.shorten(f"  {number:,}× {message}", page.columns))
    if len(reasons) > 3:
        lines += page.wrap(f"and {plural(len(reasons) - 3, 'other reason')}", "  ", "  ")
    return lines


def _one_line(message: str) -> str:
    return " ".join(message.split()) or "no message"


def _reasons(summary: Summary, page: Page) -> list[str]:
    """Return each verdict's reason in words."""
    labels = short_labels(criterion.id for criterion in summary.criteria)
    lines: list[str] = []
    for criterion in summary.criteria:
        for cell in criterion.cells:
            if cell.runtime in summary.left_out or cell.status is None:
                continue
            where = labels[criterion.id] + (f" {cell.slice}" if cell.slice else "")
            sign = f"{SIGNS[cell.status]} "
            lines += page.wrap(f"{where}, {cell.runtime}: {WORDS[cell.status]}: {cell.reason}", sign, "    ")
    return [page.paint("Why", "bold"), *lines] if lines else []


def _attribution(summary: Summary, page: Page, *, everything: bool) -> list[str]:
    """Return whether a difference is the prompt's or the model's, where the runtimes can tell."""
    labels = short_labels(criterion.id for criterion in summary.criteria)
    differences = [
        (criterion, each)
        for criterion in summary.criteria
        for each in criterion.attribution
        if (each.slice is None or everything) and not {each.from_runtime, each.to_runtime} & summary.left_out
    ]
    # Where no two runtimes differ in the prompt, the table says all that there is to say.
    if not everything and all(each.axis == "model" for _, each in differences):
        return []
    if not differences:
        return []
    # What is surely a difference comes first.
    differences.sort(key=lambda one: one[1].interval[0] <= 0 <= one[1].interval[1])
    shown = differences if everything else differences[:_DIFFERENCES_SHOWN]
    text = "Prompt or model? Difference in pass rate between runtimes that differ in one alone"
    lines = _painted(page.wrap(text), page, "bold")
    for criterion, each in shown:
        low, high = each.interval
        where = labels[criterion.id] + (f" {each.slice}" if each.slice else "")
        text = (
            f"{where}: {each.axis}, {each.from_runtime} → {each.to_runtime}: {signed_points(each.difference)} "
            f"points ({signed_points(low)} to {signed_points(high)}) in {plural(each.pairs, 'case')}"
        )
        lines += page.wrap(text, "  ", "    ")
    if len(differences) > len(shown):
        lines += page.wrap(f"and {len(differences) - len(shown)} more (-v shows them)", "  ", "  ")
    return lines


def _warnings(summary: Summary, page: Page) -> list[str]:
    lines = [line for warning in summary.notes for line in page.wrap(_one_line(warning), "! ", "  ")]
    return _painted(lines, page, "yellow")


def _assumptions(summary: Summary, page: Page) -> list[str]:
    """Return what the verdicts rest on, as far as it bears on the ones that are shown."""
    return page.wrap(" ".join(assumptions(summary.objectives, summary.criteria)))


def finding_lines(summary: Summary, page: Page) -> list[str]:
    """Return what fails the run, each with what to do about it."""
    if not summary.findings:
        return []
    lines = _painted(page.wrap(f"This does not hold ({plural(len(summary.findings), 'finding')}):"), page, "red")
    for finding in summary.findings:
        lines += _painted(page.wrap(finding.text, "  - ", "    "), page, "red")
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


def _next_steps(summary: Summary, page: Page) -> list[str]:
    # Whole, for the same reason.
    return [page.text(f"next: {step}") for step in summary.next_steps]


def _painted(lines: Iterable[str], page: Page, *styles: str) -> list[str]:
    return [page.paint(line, *styles) for line in lines]
