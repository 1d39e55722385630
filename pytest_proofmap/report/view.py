"""A run as it is shown: every figure that text, Markdown, HTML, JUnit and the commands print, derived once.

A report takes what it has room for from the tree of a :class:`View`, and lays it out; it counts, compares and
rounds nothing. What two pages say of one thing can therefore not differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_proofmap.decide.bars import LEAST_BASELINE_RATE, has_margin
from pytest_proofmap.decide.recommend import NOT_OUTAGE_PROOF
from pytest_proofmap.decide.verdict import baseline_meets_bar
from pytest_proofmap.decide.wording import assumptions, count, figure
from pytest_proofmap.evidence.models import (
    AttributedDifference,
    Cell,
    Criterion,
    Evidence,
    Needs,
    Objective,
    Recommendation,
    RunInfo,
    Status,
)
from pytest_proofmap.report.costs import (
    Money,
    RuntimeFigures,
    charts,
    money_of,
    names_of_runtimes,
    runtime_figures,
    saving,
)
from pytest_proofmap.report.figures import (
    SIGNS,
    WORDS,
    Errors,
    Gain,
    PassRate,
    bar_text,
    distance,
    interval_note,
    needs_text,
    place,
    short_labels,
    signed_points,
)
from pytest_proofmap.report.nonpasses import CaseKinds, NonPassCase, cause_of, compare_cases, without_ids
from pytest_proofmap.report.result import Finding, Result, result_of_evidence

__all__ = [
    "OWN_BAR",
    "CellView",
    "CriterionView",
    "ObjectiveView",
    "RouteView",
    "RowView",
    "StandingView",
    "Unavailable",
    "View",
    "view_of",
    "view_of_evidence",
]

OWN_BAR = ("!", "misses its own bar")
"""Sign and words of a baseline that does not meet the criterion's own bar."""


@dataclass(frozen=True, slots=True)
class CellView:
    """One runtime on one criterion or one of its slices."""

    criterion: str
    label: str
    """Short name of the criterion."""
    runtime: str
    slice: str | None
    is_baseline: bool
    status: Status | None
    """None for the baseline."""
    sign: str
    """Of the verdict, or that the baseline misses its own bar; else empty."""
    word: str
    rate: PassRate | None
    """None where no case ran."""
    errors: Errors
    regressions: int
    """Cases that the baseline passes and the runtime does not."""
    improvements: int
    needs: Needs | None
    reason: str

    @property
    def counts(self) -> str:
        """Passed cases of those that ran."""
        return self.rate.counts if self.rate else "not run"

    @property
    def needs_text(self) -> str:
        """What would settle an open verdict."""
        return needs_text(self.needs) or "not a question of cases"

    @property
    def misses_own_bar(self) -> bool:
        """Whether it is a baseline's that does not meet the criterion's bar."""
        return self.sign == OWN_BAR[0]

    @property
    def flips(self) -> str:
        """Regressions and improvements, where there are any: ``−3 +1``."""
        parts = (("−", self.regressions), ("+", self.improvements))
        return " ".join(f"{sign}{number}" for sign, number in parts if number)


@dataclass(frozen=True, slots=True)
class RowView:
    """A criterion, or one of its slices, on every runtime."""

    slice: str | None
    cells: Mapping[str, CellView]

    @property
    def statuses(self) -> dict[str, Status | None]:
        """The verdicts."""
        return {name: cell.status for name, cell in self.cells.items()}


@dataclass(frozen=True, slots=True)
class AttributionView:
    """A difference between two runtimes that differ in the prompt or in the model alone."""

    label: str
    slice: str | None
    axis: str
    from_runtime: str
    to_runtime: str
    points: str
    """The difference in pass rate, and its interval."""
    pairs: int
    is_certain: bool
    """Whether the interval leaves no doubt that there is a difference."""


@dataclass(frozen=True, slots=True)
class CriterionView:
    """A criterion with its verdicts."""

    id: str
    label: str
    bar: str
    """In words."""
    confidence: float
    whole: RowView
    slices: tuple[RowView, ...]
    attribution: tuple[AttributionView, ...]

    @property
    def rows(self) -> tuple[RowView, ...]:
        """All cases, then each slice."""
        return (self.whole, *self.slices)

    @property
    def cells(self) -> list[CellView]:
        """The cells of all rows."""
        return [cell for row in self.rows for cell in row.cells.values()]


@dataclass(frozen=True, slots=True)
class StandingView:
    """Where a challenger stands on a route, over all criteria of its objective."""

    runtime: str
    status: Status
    reason: str
    needs: Needs | None
    """Of the criterion that needs most; None when cases are not what is missing."""

    @property
    def sign(self) -> str:
        """Of its verdict."""
        return SIGNS[self.status]

    @property
    def word(self) -> str:
        """Of its verdict."""
        return WORDS[self.status]

    @property
    def needs_text(self) -> str | None:
        """What a verdict takes, where more cases would bring one."""
        return needs_text(self.needs) if self.status == "insufficient" else None


@dataclass(frozen=True, slots=True)
class RouteView:
    """What is recommended for an objective or one of its slices."""

    objective: str
    slice: str | None
    chain: tuple[str, ...]
    reason: str
    is_promoted: bool
    """Whether it leaves its baseline."""
    is_traffic: bool
    """Whether cases were observed on it: beside slices the objective's own route serves what no case had."""
    is_sensitive: bool
    cost: Gain
    latency: Gain
    standings: tuple[StandingView, ...]
    rescues: str | None
    """What the fallbacks do on the cases that the primary fails, in words."""
    warnings: tuple[str, ...]
    is_one_provider: bool
    """Whether one provider's outage would empty the chain."""

    @property
    def name(self) -> str:
        """What the route is called."""
        return place(self.objective, self.slice)


@dataclass(frozen=True, slots=True)
class ObjectiveView:
    """An objective with what is recommended for it."""

    name: str
    baseline: str
    challengers: tuple[str, ...]
    is_sensitive: bool
    optimize: str
    criteria: tuple[CriterionView, ...]
    standings: Mapping[tuple[str | None, str], StandingView]
    """The verdicts, by slice and runtime."""
    routes: tuple[RouteView, ...]
    """The whole one first, then its slices; none where nothing was decided."""
    decision_error: str | None

    @property
    def verdicts(self) -> dict[str, StandingView]:
        """On all cases together, by runtime."""
        return {runtime: standing for (where, runtime), standing in self.standings.items() if where is None}

    @property
    def moves(self) -> bool:
        """Whether anything leaves the baseline."""
        return any(route.is_promoted for route in self.routes)

    @property
    def traffic(self) -> list[RouteView]:
        """The routes that cases were observed on."""
        return [route for route in self.routes if route.is_traffic]

    @property
    def promoted(self) -> list[RouteView]:
        """Those of them that leave the baseline."""
        return [route for route in self.traffic if route.is_promoted]


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A runtime that gave no usable answer on some cases."""

    runtime: str
    cases: int
    reasons: tuple[tuple[str, int], ...]
    """Why, the most frequent first."""

    @property
    def text(self) -> str:
        """What happened, in words."""
        return f"{self.runtime} was unavailable in {count(self.cases, 'case')} (errors, not failures)"


@dataclass(frozen=True, slots=True)
class Headline:
    """A run in one line."""

    sign: str
    """For one that fails, and for one with something that can move; else empty."""
    text: str


@dataclass(frozen=True, slots=True)
class View:
    """Everything that reports show of a run."""

    run: RunInfo
    money: Money
    objectives: tuple[ObjectiveView, ...]
    criteria: tuple[CriterionView, ...]
    """Of all objectives, in the order of their collection."""
    runtimes: tuple[RuntimeFigures, ...]
    """Baselines first, then the cheapest first."""
    columns: tuple[str, ...]
    """The runtimes of the table of criteria, baselines first."""
    nonpasses: tuple[NonPassCase, ...]
    """The cases that did not pass, the most informative first."""
    kinds: CaseKinds
    """How each case went that did not simply pass, by criterion, case and runtime."""
    notices: tuple[str, ...]
    """What a reader must know of what was judged."""
    sampling: str | None
    """What adaptive sampling spared, and the order that it rests on."""
    assumptions: str
    """What the verdicts rest on, as far as it bears on them."""
    all_assumptions: str
    result: Result
    """What all of this is derived from."""
    warnings: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What fails the run."""
    next_steps: tuple[str, ...] = ()
    """Commands to go on with."""

    @property
    def baselines(self) -> list[str]:
        """The baselines, each once."""
        return list(dict.fromkeys(objective.baseline for objective in self.objectives))

    @property
    def is_estimated(self) -> bool:
        """Whether any cost rests on estimated token counts."""
        return any(runtime.cost.estimated for runtime in self.runtimes)

    @property
    def incomplete(self) -> str | None:
        """Why the evidence is incomplete; None where it is not."""
        if self.run.complete:
            return None
        return "; ".join(self.run.incomplete_reasons) or "some marked tests did not run"

    @property
    def incomplete_note(self) -> str | None:
        """What that means; None where the evidence is complete."""
        what = "" if self.run.shard else "incomplete evidence, which cannot be approved: "
        return None if self.incomplete is None else f"{what}{self.incomplete}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What its reader must know: which cases were not judged, then the warnings."""
        return (*self.notices, *self.warnings)

    @property
    def decided(self) -> list[ObjectiveView]:
        """The objectives with recommendations, those that move first."""
        known = [objective for objective in self.objectives if objective.routes]
        return sorted(known, key=lambda objective: not objective.moves)

    @property
    def routes(self) -> list[RouteView]:
        """The recommendations, those of objectives that move first."""
        return [route for objective in self.decided for route in objective.routes]

    @property
    def undecided(self) -> str:
        """Why nothing is decided, where nothing is."""
        if self.run.shard:
            return "it is one shard of a run"
        failed = any(objective.decision_error is not None for objective in self.objectives)
        return "deciding failed" if failed else "no criterion ran"

    @property
    def interval_note(self) -> str:
        """What the intervals of pass rates are; empty where there are none."""
        rated = (criterion for criterion in self.criteria if any(cell.rate for cell in criterion.cells))
        confidences = {criterion.confidence for criterion in rated}
        return interval_note(confidences) if confidences else ""

    @property
    def shares_requests(self) -> bool:
        """Whether the costs of the runtimes add up to more than the list cost of the calls."""
        costs = [runtime.cost.usd for runtime in self.runtimes]
        known = sum(cost for cost in costs if cost is not None)
        return not self.money.unpriced and None not in costs and known > 1.005 * (self.money.listed.usd or 0.0)

    @property
    def headline(self) -> Headline:
        """What can move, what that saves, and what fails."""
        number = len(self.findings)
        sign = "✗" if number else ""
        fails = "fails" if number == 1 else "fail"
        failing = f"; {count(number, 'finding')} {fails} the run" if number else ""
        if self.run.shard:
            return Headline(sign, f"one shard of a run, nothing is decided{failing}")
        if not self.decided:
            return Headline(sign, f"nothing is decided{failing}")
        promoted = [(objective, route) for objective in self.decided for route in objective.promoted]
        speeds = [route.latency.ratio for objective, route in promoted if objective.optimize == "latency"]
        gains = (_span([route.cost.ratio for _, route in promoted], "cheaper"), _span(speeds, "faster"))
        gained = " and ".join(filter(None, gains))
        sign = sign or ("✓" if promoted else "")
        return Headline(sign, f"{self.movement}{f', {gained}' if gained else ''}{failing}")

    @property
    def movement(self) -> str:
        """How many objectives can move, counted by the traffic that does."""
        decided = self.decided
        whole = sum(0 < len(objective.promoted) == len(objective.traffic) for objective in decided)
        text = f"{whole} of {count(len(decided), 'objective')} can move to a challenger"
        partial = [objective for objective in decided if 0 < len(objective.promoted) < len(objective.traffic)]
        if partial:
            promoted = sum(len(objective.promoted) for objective in partial)
            traffic = sum(len(objective.traffic) for objective in partial)
            text += f", {len(partial)} {'more ' if whole else ''}on some slices ({promoted} of {traffic})"
        return text

    @property
    def missing(self) -> list[CellView]:
        """The cells whose verdict is open, the whole before slices, the nearest first."""
        cells = [cell for criterion in self.criteria for cell in criterion.cells if cell.status == "insufficient"]
        return sorted(cells, key=lambda cell: (cell.slice is not None, distance(cell.needs)))

    @property
    def regressions(self) -> list[NonPassCase]:
        """The cases that the baseline passes and a challenger does not."""
        return [case for case in self.nonpasses if case.kind == "regression"]

    @property
    def unavailable(self) -> list[Unavailable]:
        """The runtimes that gave no usable answer, with the reasons."""
        reasons: dict[str, Counter[str]] = {}
        for case in self.nonpasses:
            if case.kind == "unavailable":
                reasons.setdefault(case.runtime, Counter())[without_ids(cause_of(case.message))] += 1
        return [
            Unavailable(name, sum(counts.values()), tuple(counts.most_common()))
            for name, counts in reasons.items()
        ]

    @property
    def attribution(self) -> list[AttributionView]:
        """What the prompt and what the model changed, what is certain first."""
        differences = [difference for criterion in self.criteria for difference in criterion.attribution]
        return sorted(differences, key=lambda difference: not difference.is_certain)

    def baseline_failures(self) -> Iterator[tuple[str, list[tuple[str, int]]]]:
        """Yield the baselines that fail cases of their own, with the criteria and how many of each.

        Loudly: whoever compares must know what with.
        """
        failed = [case for case in self.nonpasses if case.kind == "baseline"]
        for name in self.baselines:
            by_criterion = Counter(case.label for case in failed if case.runtime == name)
            if by_criterion:
                cells = [criterion.whole.cells.get(name) for criterion in self.criteria]
                cases = sum(cell.rate.ran for cell in cells if cell and cell.is_baseline and cell.rate)
                number = sum(by_criterion.values())
                text = f"the baseline {name} itself fails {number} of {count(cases, 'case')}"
                yield text, by_criterion.most_common()

    def unusable_references(self) -> Iterator[str]:
        """Yield the baselines that pass too little to be compared with."""
        labels = {criterion.id: criterion.label for criterion in self.criteria}
        for criterion in self.result.criteria:
            for cell in criterion.cells:
                unusable = cell.pass_rate is not None and cell.pass_rate < LEAST_BASELINE_RATE
                if cell.role == "baseline" and cell.slice is None and has_margin(criterion.bar) and unusable:
                    yield (
                        f"the baseline {cell.runtime} is not a usable reference on {labels[criterion.id]}: "
                        f"{cell.passed} of {count(cell.cases - cell.skipped, 'case')} passed"
                    )

    def route_warnings(self, *, everything: bool = True) -> dict[str, list[str]]:
        """Return the routes' warnings, each once, with the names of the routes that it concerns.

        Args:
            everything: Also that a baseline which stays on its own has nobody to take over, which its route shows.
        """
        concerned: dict[str, list[str]] = {}
        for route in self.routes:
            baseline_alone = len(route.chain) == 1 and not route.is_promoted and route.is_one_provider
            for warning in route.warnings:
                if everything or not (baseline_alone and warning.startswith(NOT_OUTAGE_PROOF)):
                    concerned.setdefault(warning, []).append(route.name)
        return concerned

    def saving(self) -> str | None:
        """Return what the cases would cost on the recommended primaries; None when a price is unknown."""
        result = self.result
        return saving(result.observations, result.criteria, result.objectives, estimated=self.is_estimated)

    def charts(self) -> list[dict[str, Any]]:
        """Return what charts show of each objective."""
        result = self.result
        return charts(result.observations, result.criteria, result.objectives, result.estimated)


def view_of_evidence(evidence: Evidence) -> View:
    """Return the view of a stored artifact, with what fails its run."""
    return view_of(result_of_evidence(evidence, strict="--proofmap-strict" if evidence.run.strict else None))


def view_of(result: Result, *, excluded: Collection[str] = (), next_steps: Iterable[str] = ()) -> View:
    """Return the view of what a run came to.

    Args:
        result: What it came to.
        excluded: Runtimes that were left out of the decision, and are not shown.
        next_steps: Commands to go on with.
    """
    labels = short_labels(criterion.id for criterion in result.criteria)
    criteria = {
        criterion.id: _criterion(criterion, labels[criterion.id], excluded) for criterion in result.criteria
    }
    figures = runtime_figures(result.observations, result.criteria, result.objectives, result.estimated)
    nonpasses, kinds = compare_cases(
        result.nonpasses, result.observations, result.criteria, result.objectives, labels
    )
    by_id = {criterion.id: criterion for criterion in result.criteria}
    estimated = any(runtime.cost.estimated for runtime in figures)
    return View(
        run=result.run,
        money=money_of(result.totals, estimated=estimated),
        objectives=tuple(
            _objective(
                objective,
                tuple(criteria[name] for name in objective.criteria if name in criteria),
                [by_id[name] for name in objective.criteria if name in by_id],
                excluded,
            )
            for objective in result.objectives
        ),
        criteria=tuple(criteria.values()),
        runtimes=tuple(runtime for runtime in figures if runtime.runtime not in excluded),
        columns=tuple(name for name in names_of_runtimes(result.objectives) if name not in excluded),
        nonpasses=tuple(case for case in nonpasses if case.runtime not in excluded),
        kinds=kinds,
        notices=tuple(_skipped(result.criteria, labels, excluded)),
        sampling=_sampling(result.criteria, excluded),
        assumptions=" ".join(assumptions(result.objectives, result.criteria)),
        all_assumptions=" ".join(assumptions(result.objectives, result.criteria, everything=True)),
        result=result,
        warnings=tuple(result.warnings),
        findings=tuple(result.findings),
        next_steps=tuple(next_steps),
    )


def _criterion(criterion: Criterion, label: str, excluded: Collection[str]) -> CriterionView:
    rows: dict[str | None, dict[str, CellView]] = {None: {}}
    for cell in criterion.cells:
        if cell.runtime not in excluded:
            rows.setdefault(cell.slice, {})[cell.runtime] = _cell(criterion, label, cell)
    slices = sorted(name for name in rows if name is not None)
    return CriterionView(
        id=criterion.id,
        label=label,
        bar=bar_text(criterion.bar),
        confidence=criterion.bar.confidence,
        whole=RowView(None, rows[None]),
        slices=tuple(RowView(name, rows[name]) for name in slices),
        attribution=tuple(
            _attributed(difference, label)
            for difference in criterion.attribution
            if difference.from_runtime not in excluded and difference.to_runtime not in excluded
        ),
    )


def _cell(criterion: Criterion, label: str, cell: Cell) -> CellView:
    ran = cell.passed + cell.failed + cell.errors
    if cell.status is not None:
        sign, word = SIGNS[cell.status], WORDS[cell.status]
    elif cell.failed and not baseline_meets_bar(criterion.bar, cell):
        # One that did not run, or could not be reached, has missed nothing.
        sign, word = OWN_BAR
    else:
        sign, word = "", "baseline"
    return CellView(
        criterion=criterion.id,
        label=label,
        runtime=cell.runtime,
        slice=cell.slice,
        is_baseline=cell.role == "baseline",
        status=cell.status,
        sign=sign,
        word=word,
        rate=PassRate.of(cell.passed, ran, criterion.bar.confidence, cell.interval) if ran else None,
        errors=Errors.of(cell),
        regressions=cell.regressions or 0,
        improvements=cell.improvements or 0,
        needs=cell.needs,
        reason=cell.reason,
    )


def _attributed(difference: AttributedDifference, label: str) -> AttributionView:
    low, high = difference.interval
    return AttributionView(
        label,
        difference.slice,
        difference.axis,
        difference.from_runtime,
        difference.to_runtime,
        f"{signed_points(difference.difference)} points ({signed_points(low)} to {signed_points(high)})",
        difference.pairs,
        not low <= 0 <= high,
    )


def _objective(
    objective: Objective,
    views: tuple[CriterionView, ...],
    criteria: Sequence[Criterion],
    excluded: Collection[str],
) -> ObjectiveView:
    standings: dict[tuple[str | None, str], StandingView] = {}
    by_slice: dict[str | None, list[StandingView]] = {}
    for verdict in objective.verdicts:
        if verdict.runtime not in excluded:
            needs = _needs(criteria, verdict.slice, verdict.runtime)
            standing = StandingView(verdict.runtime, verdict.status, verdict.reason, needs)
            standings[verdict.slice, verdict.runtime] = standing
            by_slice.setdefault(verdict.slice, []).append(standing)
    ordered = sorted(objective.recommendations, key=lambda route: (route.slice is not None, route.slice or ""))
    has_slices = any(route.slice is not None for route in ordered)
    return ObjectiveView(
        name=objective.name,
        baseline=objective.baseline,
        challengers=tuple(objective.challengers),
        is_sensitive=objective.sensitive,
        optimize=objective.optimize,
        criteria=views,
        standings=standings,
        routes=tuple(
            _route(objective, route, tuple(by_slice.get(route.slice, ())), has_slices=has_slices)
            for route in ordered
        ),
        decision_error=objective.decision_error,
    )


def _route(
    objective: Objective, route: Recommendation, standings: tuple[StandingView, ...], *, has_slices: bool
) -> RouteView:
    return RouteView(
        objective=objective.name,
        slice=route.slice,
        chain=tuple(route.chain) or (objective.baseline,),
        reason=route.reason,
        is_promoted=bool(route.chain) and route.chain[0] != objective.baseline,
        is_traffic=not has_slices or route.slice is not None,
        is_sensitive=objective.sensitive,
        cost=Gain(route.cost_ratio, route.cost_interval),
        latency=Gain(route.latency_ratio, route.latency_interval, ("faster", "slower")),
        standings=standings,
        rescues=_rescues(route),
        warnings=tuple(route.warnings),
        is_one_provider=route.outage_proof is False,
    )


def _needs(criteria: Iterable[Criterion], slice_name: str | None, runtime: str) -> Needs | None:
    """Return what the criterion that needs most needs; None when cases are not what is missing."""
    needs = []
    for criterion in criteria:
        sliced = any(cell.slice is not None for cell in criterion.cells)
        where = slice_name if sliced else None
        for cell in criterion.cells:
            if (cell.runtime, cell.slice, cell.status) == (runtime, where, "insufficient"):
                if cell.needs is None:
                    return None
                needs.append(cell.needs)
    if not needs:
        return None
    best = [need.best for need in needs]
    typical = [need.typical for need in needs]
    return Needs(
        best=None if None in best else max(number for number in best if number is not None),
        typical=None if None in typical else max(number for number in typical if number is not None),
        rerun=max((need.rerun or 0 for need in needs), default=0) or None,
    )


def _rescues(route: Recommendation) -> str | None:
    failures = route.fallbacks[0].primary_failures if route.fallbacks else 0
    if not failures:
        return None
    rescued = ", ".join(f"{fallback.runtime} passes {fallback.rescued}" for fallback in route.fallbacks)
    text = f"on its {count(failures, 'miss', 'misses')} {rescued}"
    if route.joint_pass_rate is not None:
        # Never 100 for less.
        text += f"; together {int(route.joint_pass_rate * 1000 + 1e-9) / 10:g} %"
    return text


def _span(ratios: Iterable[float | None], word: str) -> str:
    known = [ratio for ratio in ratios if ratio is not None and ratio > 1]
    if not known:
        return ""
    low, high = figure(min(known)), figure(max(known))
    return f"{low}× {word}" if low == high else f"{low} to {high}× {word}"


def _skipped(criteria: Iterable[Criterion], labels: Mapping[str, str], excluded: Collection[str]) -> Iterator[str]:
    """Yield, by criterion, how many of its cases nobody judged; adaptive sampling says itself what it spared."""
    for criterion in criteria:
        cells = [cell for cell in criterion.cells if cell.slice is None and cell.runtime not in excluded]
        counts = {
            cell.runtime: cell.skipped - (cell.adaptive.cases - cell.adaptive.asked if cell.adaptive else 0)
            for cell in cells
        }
        if not any(skipped > 0 for skipped in counts.values()):
            continue
        text = f"{labels[criterion.id]}: of {count(max(cell.cases for cell in cells), 'case')}"
        numbers = set(counts.values())
        if len(numbers) > 1:
            named = ", ".join(f"{number:,} on {name}" for name, number in counts.items() if number > 0)
            yield f"{text} were skipped: {named}"
            continue
        (number,) = numbers
        nothing = ", so that nothing was judged" if all(cell.pass_rate is None for cell in cells) else ""
        yield f"{text} {number:,} {'was' if number == 1 else 'were'} skipped{nothing}"


def _sampling(criteria: Iterable[Criterion], excluded: Collection[str]) -> str | None:
    """Return what adaptive sampling spared, and the order that it rests on."""
    rules = [(criterion, criterion.adaptive) for criterion in criteria if criterion.adaptive is not None]
    cells = [
        (criterion.bar.samples, cell.adaptive)
        for criterion, _ in rules
        for cell in criterion.cells
        if cell.slice is None and cell.adaptive is not None and cell.runtime not in excluded
    ]
    if not cells:
        return None
    seeds = ", ".join(map(str, sorted({rule.seed for _, rule in rules})))
    total = sum(samples * cell.cases for samples, cell in cells)
    spared = total - sum(samples * cell.asked for samples, cell in cells)
    text = (
        f"adaptive sampling (seed {seeds}): {spared:,} of {count(total, 'sample')} of challengers were not needed"
    )
    if not all(rule.early for _, rule in rules):
        text += "; where tests ran in no known order nobody qualified early"
    return text
