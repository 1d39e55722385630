"""What the summary of a run is made from: of a run that just ended, or of a stored artifact."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_proofmap.decide.observation import Observation, observe
from pytest_proofmap.decide.served import foreign_in
from pytest_proofmap.evidence.ages import answers_of, told_of_run
from pytest_proofmap.evidence.models import Criterion, Evidence, Objective, RunInfo, Totals
from pytest_proofmap.report.figures import RuntimeFigures, runtime_figures
from pytest_proofmap.report.labels import short_labels
from pytest_proofmap.report.misses import MissedCase, missed_cases
from pytest_proofmap.report.wording import plural
from pytest_proofmap.run.findings import Finding, findings_of
from pytest_proofmap.run.miss import Miss

if TYPE_CHECKING:
    from pytest_proofmap.run.finish import RunResult

__all__ = ["Summary", "summarize_evidence", "summarize_result"]


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that the text summary of a run shows."""

    run: RunInfo
    totals: Totals
    criteria: Sequence[Criterion]
    objectives: Sequence[Objective]
    figures: Sequence[RuntimeFigures]
    misses: Sequence[MissedCase]
    """The cases that did not pass, most telling first."""
    warnings: Sequence[str] = ()
    findings: Sequence[Finding] = ()
    """What fails the run."""
    next_steps: Sequence[str] = ()
    """Commands to go on with."""
    left_out: frozenset[str] = frozenset()
    """Runtimes that were left out of the decision and are not shown."""

    @property
    def estimated(self) -> bool:
        """Whether any cost rests on estimated token counts."""
        return any(one.estimated for one in self.figures)

    @property
    def notes(self) -> tuple[str, ...]:
        """What its reader must know: which cases were not judged, then the warnings."""
        return (*_skipped(self), *self.warnings)

    def shown(self, names: Iterable[str]) -> list[str]:
        """Return the runtimes that are not left out."""
        return [name for name in names if name not in self.left_out]


def _skipped(summary: Summary) -> Iterator[str]:
    """Yield, by criterion, how many of its cases nobody judged; adaptive sampling says itself what it left out."""
    labels = short_labels(criterion.id for criterion in summary.criteria)
    for criterion in summary.criteria:
        counts = {
            cell.runtime: (
                cell.skipped - (cell.adaptive.cases - cell.adaptive.asked if cell.adaptive else 0),
                cell,
            )
            for cell in criterion.cells
            if cell.slice is None and cell.runtime not in summary.left_out
        }
        if not any(skipped > 0 for skipped, _ in counts.values()):
            continue
        of = f"{labels[criterion.id]}: of {plural(max(cell.cases for _, cell in counts.values()), 'case')}"
        numbers = {skipped for skipped, _ in counts.values()}
        if len(numbers) == 1:
            (number,) = numbers
            nothing = (
                ", so that nothing was judged"
                if all(cell.pass_rate is None for _, cell in counts.values())
                else ""
            )
            yield f"{of} {number:,} {'was' if number == 1 else 'were'} skipped{nothing}"
        else:
            yield f"{of} were skipped: " + ", ".join(
                f"{number:,} on {name}" for name, (number, _) in counts.items() if number > 0
            )


def summarize_result(result: RunResult) -> Summary:
    """Return the summary of a run that just ended."""
    recorder = result.recorder
    rows = recorder.observations
    runtimes = {row.runtime for row in rows}
    summary = _summary(
        result.run,
        result.totals,
        result.criteria,
        result.objectives,
        rows,
        recorder.misses,
        # What could not be written cannot be read again either.
        _estimated(recorder.samples() if recorder.failure is None else (), runtimes),
    )
    return replace(summary, warnings=tuple(result.warnings), findings=tuple(result.findings))


def summarize_evidence(evidence: Evidence) -> Summary:
    """Return the summary of a stored artifact, with what fails its run."""
    misses = [miss for sample in evidence.samples if (miss := Miss.of(sample)) is not None]
    estimated = {
        sample.runtime
        for sample in evidence.samples
        if any(call.usage_estimated for call in sample.calls if call.runtime is None)
    }
    rows = observe(evidence.samples)
    summary = _summary(
        evidence.run,
        evidence.totals,
        evidence.criteria,
        evidence.objectives,
        rows,
        misses,
        estimated,
    )
    strict = "--proofmap-strict" if evidence.run.strict else None
    foreign = foreign_in(evidence, rows)
    findings = findings_of(evidence.criteria, evidence.objectives, misses, foreign, strict=strict)
    return replace(
        summary, warnings=tuple(told_of_run(answers_of(evidence), evidence.run)), findings=tuple(findings)
    )


def _summary(
    run: RunInfo,
    totals: Totals,
    criteria: Sequence[Criterion],
    objectives: Sequence[Objective],
    rows: Sequence[Observation],
    misses: Iterable[Miss],
    estimated: set[str],
) -> Summary:
    baselines = _baselines(criteria, objectives)
    return Summary(
        run=run,
        totals=totals,
        criteria=criteria,
        objectives=objectives,
        figures=runtime_figures(rows, criteria, objectives, estimated),
        misses=missed_cases(_as_collected(misses, criteria), rows, baselines),
    )


def _as_collected(misses: Iterable[Miss], criteria: Sequence[Criterion]) -> list[Miss]:
    """Return the samples in the order of their collection: from workers they come in any."""
    found = list(misses)
    if not found:
        return found
    places = {
        (criterion.id, case): (index, number)
        for index, criterion in enumerate(criteria)
        for number, case in enumerate(criterion.collected)
    }
    last = (len(criteria), 0)
    return sorted(found, key=lambda miss: places.get((miss.criterion, miss.case), last))


def _baselines(criteria: Sequence[Criterion], objectives: Sequence[Objective]) -> Mapping[str, str]:
    baseline_of = {objective.name: objective.baseline for objective in objectives}
    return {
        criterion.id: baseline_of[criterion.objective]
        for criterion in criteria
        if criterion.objective in baseline_of
    }


def _estimated(samples: Iterable[str], runtimes: set[str]) -> set[str]:
    """Return the runtimes with estimated token counts, from the JSON texts of their samples.

    Inside a JSON string the quotes would be escaped, so that no answer can look like the field. Decoding
    thousands of samples for one flag would take longer than deciding on them: those alone are decoded that have
    it, and until each runtime is known. A judge's counts are not those of the runtime that it judges.
    """
    estimated: set[str] = set()
    for text in samples:
        if '"usage_estimated":true' in text:
            sample = json.loads(text)
            if any(call["usage_estimated"] for call in sample["calls"] if call["runtime"] is None):
                estimated.add(sample["runtime"])
                if estimated >= runtimes:
                    break
    return estimated
