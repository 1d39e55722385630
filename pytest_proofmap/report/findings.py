"""What fails a run, and what to do about it: the one place that says so, for a run and for stored evidence.

Some of it fails the run's own tests as well: a baseline's miss where every case must pass, a baseline's error, a
test that broke. Evidence outlives its run, so that every page and command finds it again here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pytest_proofmap.calls.answer import NO_SERVER
from pytest_proofmap.decide.served import ForeignAnswers
from pytest_proofmap.decide.stats.binomial import binomial_at_least
from pytest_proofmap.decide.wording import count
from pytest_proofmap.evidence.models import Cell, Criterion, Objective
from pytest_proofmap.report.nonpasses import Miss, by_cause, cause_of

if TYPE_CHECKING:
    pass

__all__ = ["NEVER_ASKED", "Finding", "baseline_misses_bar", "findings_of", "not_kept"]

NEVER_ASKED = "never asked"
"""How the message of a sample begins that passed without asking its runtime."""

TOLD_ELSEWHERE = ("ReplayMissError", "StoreError")
"""Classes of failures that have a finding of their own."""

NO_MISS = ("ImportError", "ModuleNotFoundError", "NameError", "SyntaxError", "UnboundLocalError")
"""Classes of exceptions that nobody would name as a miss of the model."""


class Finding(NamedTuple):
    """A reason why the run fails."""

    text: str
    next_step: str


def findings_of(
    criteria: Sequence[Criterion],
    objectives: Sequence[Objective],
    misses: Sequence[Miss],
    foreign: Sequence[ForeignAnswers],
    *,
    strict: str | None,
    left_out: Collection[str] = (),
) -> list[Finding]:
    """Return what fails a run, as far as its evidence tells.

    Args:
        criteria: The decided criteria.
        objectives: The decided objectives.
        misses: The samples that did not pass.
        foreign: The answers that came from another model than the one that was asked.
        strict: The option that demands that every challenger qualifies; None: nothing does.
        left_out: Challengers that this demand does not concern.
    """
    shown = [miss for miss in misses if miss.runtime not in left_out]
    return [
        *_undecided(objectives),
        *_missing_answers(shown),
        *_broken_criteria(criteria),
        *_broken_tests(shown),
        *_unavailable_baselines(shown),
        *_missing_baselines(criteria, shown),
        *_low_baselines(criteria),
        *(Finding(each.text, each.next_step) for each in foreign),
        *(_unqualified(objectives, strict, left_out) if strict is not None else ()),
    ]


def not_kept(reason: str) -> Finding:
    """Return that answers were paid and could not be kept."""
    return Finding(reason, "make room for the cache or set cache_dir, and run again")


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


def _undecided(objectives: Iterable[Objective]) -> Iterator[Finding]:
    """Yield the objectives that could not be decided: what was observed is kept, and no verdict is made up."""
    for objective in objectives:
        if objective.decision_error is not None:
            yield Finding(
                f"{objective.name} could not be decided: {objective.decision_error}",
                "every answer is in the evidence: report this with it, and decide again once it is mended: "
                "proofmap decide EVIDENCE",
            )


def _missing_answers(misses: Sequence[Miss]) -> Iterator[Finding]:
    """Yield that answers were missing while calls were off, and that none could be kept."""
    missed = [miss for miss in misses if miss.exception == "ReplayMissError"]
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
    unkept = next((miss.message for miss in misses if miss.exception == "StoreError"), None)
    if unkept is not None:
        yield not_kept(unkept)


def _broken_criteria(criteria: Iterable[Criterion]) -> Iterator[Finding]:
    """Yield the criteria whose test breaks on answers of the model that is trusted today."""
    for criterion in criteria:
        if criterion.broken is not None:
            yield Finding(
                f"the test {criterion.id} seems broken: {criterion.broken}",
                "mend the test; where such an exception is the model's miss, name its class: "
                "qualify(miss=[ClassName])",
            )


def _broken_tests(misses: Iterable[Miss]) -> Iterator[Finding]:
    """Yield what broke tests, whatever the model: each cause once."""
    broken = [
        miss
        for miss in misses
        if miss.error_kind == "test" and not miss.xfailed and miss.exception not in TOLD_ELSEWHERE
    ]
    for group in by_cause(broken):
        first, tests = group[0], count(len(group), "test")
        where = f" ({first.raised_at})" if first.raised_at else ""
        named = f", such as {first.test}" if len(group) > 1 else f": {first.test}"
        if first.message.startswith(NEVER_ASKED):
            yield Finding(f"{tests} {first.message}{named}", _way_to_ask(first))
        else:
            yield Finding(f"{tests} broke by {first.message}{where}{named}", _way_to_mend(first))


def _way_to_ask(miss: Miss) -> str:
    if "dry run" in miss.message:
        return (
            "keep no answer from one run of a test to the next, such as in a memo or a module's dict: ProofMap "
            "keeps them itself; or qualify(prefetch=False)"
        )
    return (
        "ask the fixture 'runtime' in each test, whose answers ProofMap keeps itself; where a case needs no "
        "model: qualify(calls='optional')"
    )


def _way_to_mend(miss: Miss) -> str:
    text = "mend what it names, and run again: answers come from the cache"
    own = miss.raised_at is None or miss.message.startswith(("before ", "setup failed: "))
    if own or miss.exception is None or miss.exception in NO_MISS:
        return text
    return f"{text}; where the model causes it, name it a miss: qualify(miss=[{miss.exception}])"


def _unavailable_baselines(misses: Iterable[Miss]) -> Iterator[Finding]:
    """Yield why baselines gave no usable answer: each cause once."""
    unavailable = [
        miss
        for miss in misses
        if miss.role == "baseline" and miss.error_kind == "unavailable" and miss.exception not in TOLD_ELSEWHERE
    ]
    for group in by_cause(unavailable):
        first, cause = group[0], cause_of(group[0].message)
        again = "run again: what was answered comes from the cache"
        if NO_SERVER in cause:
            again = f"start that server, or set the api_base of one that answers, and {again}"
        yield Finding(
            f"the baseline {first.runtime} was unavailable in {count(len(group), 'test')}: {cause}", again
        )


def _missing_baselines(criteria: Iterable[Criterion], misses: Iterable[Miss]) -> Iterator[Finding]:
    """Yield the criteria of which every case must pass and the baseline's tests failed."""
    failed: dict[tuple[str, str], set[str]] = {}
    for miss in misses:
        if miss.role == "baseline" and miss.outcome == "failed" and not miss.xfailed:
            failed.setdefault((miss.criterion, miss.runtime), set()).add(miss.case)
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
            if cell.role == "baseline" and cell.slice is None and baseline_misses_bar(criterion, cell):
                rate = criterion.bar.min_pass_rate or 0.0
                yield Finding(
                    f"the baseline {cell.runtime} does not meet its own bar on {criterion.id}: "
                    f"{cell.passed} of {cell.cases - cell.skipped} cases passed, the bar is {rate:.0%}",
                    "mend the baseline or the criterion, or lower min_pass_rate",
                )


def _unqualified(objectives: Iterable[Objective], demand: str, left_out: Collection[str]) -> Iterator[Finding]:
    """Yield the challengers that are not qualified on an objective, where an option asks for all of them."""
    for objective in objectives:
        for verdict in objective.verdicts:
            if verdict.slice is None and verdict.status != "qualified" and verdict.runtime not in left_out:
                yield Finding(
                    f"{demand}: {verdict.runtime} is {verdict.status.replace('_', ' ')} on "
                    f"{objective.name}: {verdict.reason}",
                    "leave the challenger out, or add the cases that the verdict needs",
                )
