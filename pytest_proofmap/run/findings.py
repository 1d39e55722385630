"""What fails a run at its end, beyond its tests, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from pytest_proofmap.decide.binomial import binomial_at_least
from pytest_proofmap.decide.wording import count
from pytest_proofmap.evidence.models import Cell, Criterion, Objective

if TYPE_CHECKING:
    from pytest_proofmap.run.finish import RunResult
    from pytest_proofmap.run.miss import Miss
    from pytest_proofmap.run.session import QualificationSession

__all__ = [
    "Finding",
    "baseline_findings",
    "baseline_misses_bar",
    "decision_findings",
    "find",
    "replay_findings",
    "strict_findings",
]


class Finding(NamedTuple):
    """A reason why the run fails."""

    text: str
    next_step: str


def find(run: QualificationSession, result: RunResult) -> list[Finding]:
    """Return why the run fails at its end."""
    findings = [
        *decision_findings(result.objectives),
        *replay_findings(result.recorder.misses),
        *_unkept(result),
        *_over_budget(run, result),
        *baseline_findings(result.criteria),
    ]
    if run.config.option.proofmap_strict:
        findings += strict_findings(result.objectives, "--proofmap-strict")
    return findings


def _unkept(result: RunResult) -> Iterator[Finding]:
    uncalled = (miss.message for miss in result.recorder.misses if miss.error_class == "StoreError")
    reason = result.recorder.unkept or next(uncalled, None)
    if reason is not None:
        yield Finding(reason, "make room for the cache or set cache_dir, and run again")


def _over_budget(run: QualificationSession, result: RunResult) -> Iterator[Finding]:
    skipped = result.recorder.over_budget
    if skipped:
        yield Finding(
            f"the budget of ${run.budget_usd or 0:g} was used up: {count(skipped, 'sample')} "
            f"{'was' if skipped == 1 else 'were'} skipped, for a call needs room for the longest answer; "
            "what was paid is kept",
            "go on with a larger budget: pytest --proofmap --proofmap-budget=USD",
        )


def baseline_misses_bar(criterion: Criterion, cell: Cell) -> bool:
    """Return whether a baseline's pass rate is below the criterion's own bar, beyond chance.

    Only a ``min_pass_rate`` below 1 is a bar of the baseline's own that its tests do not enforce. The test is
    the mirror of the challengers' verdict: P(Bin(n, 1 - p) >= failures) <= 1 - confidence. Without a
    confidence the observed rate decides.
    """
    rate, confidence = criterion.bar.min_pass_rate, criterion.bar.confidence
    if criterion.bar.kind not in ("min_pass_rate", "both") or rate is None or cell.pass_rate is None:
        return False
    if confidence == 0:
        return cell.pass_rate < rate
    return binomial_at_least(cell.failed, cell.passed + cell.failed, 1 - rate) <= 1 - confidence


def decision_findings(objectives: Iterable[Objective]) -> Iterator[Finding]:
    """Yield the objectives that could not be decided: what was observed is kept, and no verdict is made up."""
    for objective in objectives:
        if objective.decision_error is not None:
            yield Finding(
                f"{objective.name} could not be decided: {objective.decision_error}",
                "every answer is in the evidence: report this with it, and decide again once it is mended: "
                "proofmap decide EVIDENCE",
            )


def replay_findings(misses: Iterable[Miss]) -> Iterator[Finding]:
    """Yield that answers were missing while calls were off."""
    missed = [miss for miss in misses if miss.error_class == "ReplayMissError"]
    if missed:
        first = missed[0]
        runtimes = ", ".join(sorted({miss.runtime for miss in missed}))
        yield Finding(
            f"{count(len(missed), 'sample')} found no answer and calls are off (--proofmap-cache=replay): "
            f"{runtimes}",
            "see why: proofmap cache explain --criterion "
            f"{first.criterion!r} --case {first.case!r} --runtime {first.runtime}; "
            "make the calls: pytest --proofmap --proofmap-cache=auto",
        )


def baseline_findings(criteria: Iterable[Criterion]) -> Iterator[Finding]:
    """Yield the criteria whose own bar their baseline does not meet, beyond chance."""
    for criterion in criteria:
        for cell in criterion.cells:
            if cell.role == "baseline" and cell.slice is None and baseline_misses_bar(criterion, cell):
                rate = criterion.bar.min_pass_rate or 0.0
                yield Finding(
                    f"the baseline {cell.runtime} does not meet its own bar on {criterion.id}: "
                    f"{cell.passed} of {cell.cases - cell.skipped} cases passed, the bar is {rate:.0%}",
                    "mend the baseline or the criterion, or lower min_pass_rate",
                )


def strict_findings(objectives: Iterable[Objective], demand: str) -> Iterator[Finding]:
    """Yield the challengers that are not qualified on an objective.

    Args:
        objectives: The decided objectives.
        demand: The option that asks for all of them to qualify.
    """
    for objective in objectives:
        for verdict in objective.verdicts:
            if verdict.slice is None and verdict.status != "qualified":
                yield Finding(
                    f"{demand}: {verdict.runtime} is {verdict.status.replace('_', ' ')} on "
                    f"{objective.name}: {verdict.reason}",
                    "leave the challenger out, or add the cases that the verdict needs",
                )
