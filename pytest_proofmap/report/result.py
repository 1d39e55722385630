"""What a run came to: its decided evidence, and what fails it. Every report and exit status starts from here.

What fails a run is told in this one place, with what to do about it, for a run that just ended and for stored
evidence. Some of it fails the run's own tests as well: a baseline that fails where every case must pass, a
baseline's error, a test that broke. Evidence outlives its run, so that every page and command finds it again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pytest_proofmap.calls.outcome import NO_SERVER
from pytest_proofmap.decide.compare import selected_samples, whole_criteria
from pytest_proofmap.decide.observation import Observation, observe
from pytest_proofmap.decide.served import ForeignAnswers, foreign_in
from pytest_proofmap.decide.stats.binomial import binomial_at_least
from pytest_proofmap.decide.wording import count
from pytest_proofmap.evidence.ages import answers_of, told_of_run
from pytest_proofmap.evidence.models import Cell, Criterion, Evidence, Objective, RunInfo, Totals
from pytest_proofmap.report.nonpasses import NonPass, by_cause, cause_of

__all__ = [
    "NEVER_ASKED",
    "Finding",
    "Result",
    "findings_of",
    "is_below_own_bar",
    "lock_findings",
    "not_kept",
    "result_of_evidence",
]

NEVER_ASKED = "never asked"
"""How the message of a sample begins that passed without asking its runtime."""

TOLD_ELSEWHERE = ("ReplayMissError", "StoreError")
"""Classes of failures that have a finding of their own."""

NOT_THE_MODEL = ("ImportError", "ModuleNotFoundError", "NameError", "SyntaxError", "UnboundLocalError")
"""Classes of exceptions that no answer of a model causes."""


class Finding(NamedTuple):
    """A reason why the run fails."""

    text: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to, whether it just ended or is stored."""

    run: RunInfo
    totals: Totals
    criteria: Sequence[Criterion]
    objectives: Sequence[Objective]
    observations: Sequence[Observation]
    nonpasses: Sequence[NonPass]
    """The samples that did not pass."""
    estimated: frozenset[str]
    """Runtimes whose token counts were estimated."""
    warnings: Sequence[str] = ()
    findings: Sequence[Finding] = ()
    """What fails the run."""

    @property
    def exit_status(self) -> int:
        """Of the commands: 0 it holds, 1 something fails it."""
        return 1 if self.findings else 0


def result_of_evidence(evidence: Evidence, *, strict: str | None = None, excluded: Collection[str] = ()) -> Result:
    """Return what a stored run came to.

    Args:
        evidence: The decided artifact.
        strict: The option that demands that every challenger qualifies; None: nothing does.
        excluded: Challengers that this demand does not concern.
    """
    rows = observe(evidence.samples)
    nonpasses = [known for sample in evidence.samples if (known := NonPass.of(sample)) is not None]
    return Result(
        run=evidence.run,
        totals=evidence.totals,
        criteria=evidence.criteria,
        objectives=evidence.objectives,
        observations=rows,
        nonpasses=nonpasses,
        # A judge's counts are not those of the runtime that it judges.
        estimated=frozenset(
            sample.runtime
            for sample in evidence.samples
            if any(call.usage_estimated for call in sample.calls if call.runtime is None)
        ),
        warnings=tuple(told_of_run(answers_of(evidence), evidence.run)),
        findings=tuple(
            findings_of(
                evidence.criteria,
                evidence.objectives,
                nonpasses,
                foreign_in(evidence, rows),
                strict=strict,
                excluded=excluded,
            )
        ),
    )


def lock_findings(
    evidence: Evidence, path: Path, *, strict: bool, objectives: Collection[str] = ()
) -> tuple[list[Finding], list[str]]:
    """Return what an artifact says against the approved routes: what fails, and what only warns.

    Args:
        evidence: The decided artifact.
        path: The lock.
        strict: Whether thin evidence on an approved primary fails too.
        objectives: The objectives that were chosen from the artifact; none: all.

    Raises:
        LockError: The lock cannot be read or was edited by hand.
    """
    # Each run imports this module, and few are asked for a lock.
    from pytest_proofmap.lock.file import read_lock
    from pytest_proofmap.lock.gate import check_routes
    from pytest_proofmap.lock.models import route_parts
    from pytest_proofmap.lock.staleness import EvidenceFingerprints

    lock = read_lock(path)
    if objectives:
        chosen = {name: route for name, route in lock.routes.items() if route_parts(name)[0] in objectives}
        lock = lock.model_copy(update={"routes": chosen})
    checks = list(
        check_routes(
            lock,
            evidence.objectives,
            evidence.criteria,
            EvidenceFingerprints(evidence),
            whole=whole_criteria(evidence.run, evidence.criteria, evidence.objectives, selected_samples(evidence)),
            strict=strict,
        )
    )
    failing = [Finding(check.text, check.next_step) for check in checks if check.fails]
    return failing, [f"{check.text} ({check.next_step})" for check in checks if not check.fails]


def findings_of(
    criteria: Sequence[Criterion],
    objectives: Sequence[Objective],
    nonpasses: Sequence[NonPass],
    foreign: Sequence[ForeignAnswers],
    *,
    strict: str | None,
    excluded: Collection[str] = (),
) -> list[Finding]:
    """Return what fails a run, as far as its evidence tells.

    Args:
        criteria: The decided criteria.
        objectives: The decided objectives.
        nonpasses: The samples that did not pass.
        foreign: The answers that came from another model than the one that was asked.
        strict: The option that demands that every challenger qualifies; None: nothing does.
        excluded: Challengers that this demand does not concern.
    """
    shown = [sample for sample in nonpasses if sample.runtime not in excluded]
    return [
        *_undecided(objectives),
        *_missing_answers(shown),
        *_broken_criteria(criteria),
        *_broken_tests(shown),
        *_unavailable_baselines(shown),
        *_failing_baselines(criteria, shown),
        *_low_baselines(criteria),
        *(Finding(answers.text, answers.next_step) for answers in foreign),
        *(_unqualified(objectives, strict, excluded) if strict is not None else ()),
    ]


def not_kept(reason: str) -> Finding:
    """Return that answers were paid and could not be kept."""
    return Finding(reason, "make room for the cache or set cache_dir, and run again")


def is_below_own_bar(criterion: Criterion, cell: Cell) -> bool:
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


def _undecided(objectives: Iterable[Objective]) -> Iterator[Finding]:
    """Yield the objectives that could not be decided: what was observed is kept, and no verdict is made up."""
    for objective in objectives:
        if objective.decision_error is not None:
            yield Finding(
                f"{objective.name} could not be decided: {objective.decision_error}",
                "every answer is in the evidence: report this with it, and decide again once it is mended: "
                "proofmap decide EVIDENCE",
            )


def _missing_answers(nonpasses: Sequence[NonPass]) -> Iterator[Finding]:
    """Yield that answers were missing while calls were off, and that none could be kept."""
    missing = [sample for sample in nonpasses if sample.exception == "ReplayMissError"]
    if missing:
        first = missing[0]
        runtimes = ", ".join(sorted({sample.runtime for sample in missing}))
        yield Finding(
            f"{count(len(missing), 'sample')} found no answer and calls are off (--proofmap-cache=replay): "
            f"{runtimes}",
            "see why: proofmap cache explain --criterion "
            f"{first.criterion!r} --case {first.case!r} --runtime {first.runtime}; "
            "make the calls: pytest --proofmap --proofmap-cache=auto",
        )
    unsaved = next((sample.message for sample in nonpasses if sample.exception == "StoreError"), None)
    if unsaved is not None:
        yield not_kept(unsaved)


def _broken_criteria(criteria: Iterable[Criterion]) -> Iterator[Finding]:
    """Yield the criteria whose test breaks on answers of the model that is trusted today."""
    for criterion in criteria:
        if criterion.broken is not None:
            yield Finding(
                f"the test {criterion.id} seems broken: {criterion.broken}",
                "mend the test; where such an exception is the model's miss, name its class: "
                "qualify(miss=[ClassName])",
            )


def _broken_tests(nonpasses: Iterable[NonPass]) -> Iterator[Finding]:
    """Yield what broke tests, whatever the model: each cause once."""
    broken = [
        sample
        for sample in nonpasses
        if sample.error_kind == "test" and not sample.xfailed and sample.exception not in TOLD_ELSEWHERE
    ]
    for group in by_cause(broken):
        first, tests = group[0], count(len(group), "test")
        where = f" ({first.raised_at})" if first.raised_at else ""
        named = f", such as {first.test}" if len(group) > 1 else f": {first.test}"
        if first.message.startswith(NEVER_ASKED):
            yield Finding(f"{tests} {first.message}{named}", _way_to_ask(first))
        else:
            yield Finding(f"{tests} broke by {first.message}{where}{named}", _way_to_fix(first))


def _way_to_ask(sample: NonPass) -> str:
    if "dry run" in sample.message:
        return (
            "keep no answer from one run of a test to the next, such as in a memo or a module's dict: ProofMap "
            "keeps them itself; or qualify(prefetch=False)"
        )
    return (
        "ask the fixture 'runtime' in each test, whose answers ProofMap keeps itself; where a case needs no "
        "model: qualify(calls='optional')"
    )


def _way_to_fix(sample: NonPass) -> str:
    text = "mend what it names, and run again: answers come from the cache"
    is_ours = sample.raised_at is None or sample.message.startswith(("before ", "setup failed: "))
    if is_ours or sample.exception is None or sample.exception in NOT_THE_MODEL:
        return text
    return f"{text}; where the model causes it, name it a miss: qualify(miss=[{sample.exception}])"


def _unavailable_baselines(nonpasses: Iterable[NonPass]) -> Iterator[Finding]:
    """Yield why baselines gave no usable answer: each cause once."""
    baselines = [sample for sample in nonpasses if sample.role == "baseline"]
    unavailable = [
        sample
        for sample in baselines
        if sample.error_kind == "unavailable" and sample.exception not in TOLD_ELSEWHERE
    ]
    for group in by_cause(unavailable):
        first, cause = group[0], cause_of(group[0].message)
        again = "run again: what was answered comes from the cache"
        if NO_SERVER in cause:
            again = f"start that server, or set the api_base of one that answers, and {again}"
        yield Finding(
            f"the baseline {first.runtime} was unavailable in {count(len(group), 'test')}: {cause}", again
        )


def _failing_baselines(criteria: Iterable[Criterion], nonpasses: Iterable[NonPass]) -> Iterator[Finding]:
    """Yield the criteria of which every case must pass and the baseline's tests failed."""
    failed: dict[tuple[str, str], set[str]] = {}
    for sample in nonpasses:
        if sample.role == "baseline" and sample.outcome == "failed" and not sample.xfailed:
            failed.setdefault((sample.criterion, sample.runtime), set()).add(sample.case)
    for criterion in criteria:
        bar = criterion.bar
        if bar.kind != "all_pass" or not bar.baseline_must_pass or criterion.broken is not None:
            continue
        for cell in criterion.cells:
            cases = failed.get((criterion.id, cell.runtime))
            if cases and cell.role == "baseline" and cell.slice is None:
                yield Finding(
                    f"the baseline {cell.runtime} does not pass every case of {criterion.id}: "
                    f"{len(cases)} of {count(cell.cases - cell.skipped, 'case')} did not pass",
                    "mend the baseline or the criterion, or decide by another bar: qualify(min_pass_rate=...) or "
                    "qualify(margin=...)",
                )


def _low_baselines(criteria: Iterable[Criterion]) -> Iterator[Finding]:
    """Yield the criteria whose own bar their baseline does not meet, beyond chance."""
    for criterion in criteria:
        for cell in criterion.cells:
            if cell.role == "baseline" and cell.slice is None and is_below_own_bar(criterion, cell):
                rate = criterion.bar.min_pass_rate or 0.0
                yield Finding(
                    f"the baseline {cell.runtime} does not meet its own bar on {criterion.id}: "
                    f"{cell.passed} of {cell.cases - cell.skipped} cases passed, the bar is {rate:.0%}",
                    "mend the baseline or the criterion, or lower min_pass_rate",
                )


def _unqualified(objectives: Iterable[Objective], demand: str, excluded: Collection[str]) -> Iterator[Finding]:
    """Yield the challengers that are not qualified on an objective, where an option asks for all of them."""
    for objective in objectives:
        for verdict in objective.verdicts:
            if verdict.slice is None and verdict.status != "qualified" and verdict.runtime not in excluded:
                yield Finding(
                    f"{demand}: {verdict.runtime} is {verdict.status.replace('_', ' ')} on "
                    f"{objective.name}: {verdict.reason}",
                    "leave the challenger out, or add the cases that the verdict needs",
                )
