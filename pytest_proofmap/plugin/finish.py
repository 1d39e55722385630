"""The end of a run: decide, hold the evidence against the approved routes, find what fails it, write it all."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from pytest_proofmap._version import __version__
from pytest_proofmap.calls.budget import plain_usd
from pytest_proofmap.calls.prices import price_of
from pytest_proofmap.config import Configuration
from pytest_proofmap.decide.decision import Decision
from pytest_proofmap.decide.observation import unvaried_samples
from pytest_proofmap.decide.served import ForeignAnswers, foreign_answers
from pytest_proofmap.decide.wording import count
from pytest_proofmap.errors import EvidenceError, HistoryError, LockError, ProofmapError
from pytest_proofmap.evidence.ages import AnswerAge, told_of_run
from pytest_proofmap.evidence.artifact import ArtifactParts, criteria_of_whole_run, total, write_evidence
from pytest_proofmap.evidence.fingerprints import configured_fingerprint
from pytest_proofmap.evidence.models import (
    Criterion,
    Evidence,
    GitState,
    Objective,
    RunInfo,
    RuntimeInfo,
    Totals,
    Versions,
)
from pytest_proofmap.files import EVIDENCE_FILE, ask_git, write_whole
from pytest_proofmap.lock.history import LookBook
from pytest_proofmap.plugin.criteria import CriterionFacts, objectives_of
from pytest_proofmap.plugin.recorder import Recorder, describe_calls_ahead, describe_unused_calls
from pytest_proofmap.plugin.session import QualificationSession
from pytest_proofmap.prefetch.plan import PLAN
from pytest_proofmap.prompts.library import PromptLibrary
from pytest_proofmap.report.result import Finding, findings_of, not_kept

if TYPE_CHECKING:
    from pytest_proofmap.report.view import View

__all__ = ["INTERRUPTED", "RESULT", "RunResult", "finish"]

INTERRUPTED = "the run was interrupted"
"""How the reason begins that the evidence of an interrupted run is incomplete."""

WAIT_S = 2.0
"""How long an interrupted run waits for the call service to say what is under way."""


@dataclass(slots=True)
class RunResult:
    """What a finished run shows."""

    run: RunInfo
    runtimes: dict[str, RuntimeInfo]
    criteria: list[Criterion]
    objectives: list[Objective]
    totals: Totals
    recorder: Recorder
    foreign: list[ForeignAnswers] = field(default_factory=list)
    """Answers that came from another model than the one that was asked."""
    findings: list[Finding] = field(default_factory=list)
    """What fails the run at its end."""
    warnings: list[str] = field(default_factory=list)
    artifact: Path | None = None
    """Where the evidence was written; None when it could not be."""
    history: LookBook | None = None
    """What looks have seen, to be kept once the evidence is written."""
    view: View | None = None
    """The figures that its reports show; None until the first of them asks."""


RESULT = pytest.StashKey[RunResult]()
"""The result of the run, on ``config.stash``."""


WriteReports = Callable[[QualificationSession, RunResult, Path], None]
"""Writes what is shown beside the evidence, which it finds in a file: from there another run cannot replace it."""


def finish(
    run: QualificationSession,
    session: pytest.Session,
    exitstatus: int | pytest.ExitCode,
    write_reports: WriteReports,
) -> None:
    """Decide on what came in, write the artifact and fail the session where the run has failed.

    Does nothing in a worker, and in a run without marked tests.
    """
    recorder = run.recorder
    run.hand_over_the_rest()
    if recorder is not None:
        recorder.note_paid(run.paid_calls())
    facts = run.collected_facts()
    if recorder is None or not facts or PLAN in session.config.stash:
        return
    config = session.config
    has_samples = bool(recorder.samples_count) or bool(config.option.proofmap_shard)
    if not has_samples and (config.option.collectonly or exitstatus != pytest.ExitCode.OK):
        # It ended before the first test.
        run.notice = _unused_calls(run, recorder, interrupted=True)
        return
    result = _result(run, recorder, list(facts.values()), interrupted=_interrupted(exitstatus))
    try:
        result.findings = [*_find(run, result), *_gate(run, result)]
    except Exception as error:
        # Whatever goes wrong in telling what fails the run, the evidence that was paid for is written.
        result.findings = [
            Finding(
                f"what fails the run could not be told: {type(error).__name__}: {error}",
                "every answer is in the evidence: report this with it",
            )
        ]
    config.stash[RESULT] = result
    try:
        if has_samples:  # Else the evidence of an earlier run stays.
            result.artifact = run.artifact_path_of(complete=result.run.complete)
            if result.artifact != run.artifact_path:
                result.warnings.append(_set_apart(run, result.artifact))
            _write(run, result, result.artifact, lambda written: write_reports(run, result, written))
            if result.run.complete and result.history is not None:
                result.history.keep()
    except HistoryError as error:
        result.findings.append(
            Finding(str(error), "without it this look is not counted: mend it and run again, from the cache")
        )
    except ProofmapError as error:
        result.artifact = None
        result.findings.append(
            Finding(f"the evidence was not written: {error}", "mend it and run again: answers come from the cache")
        )
    except OSError as error:
        recorder.failure, result.artifact = error, None
        again = "again" if run.mode == "off" else "again: answers come from the cache"
        result.findings.append(
            Finding(
                f"the evidence could not be written to {_as_given(run, result)}: {error.strerror or error}",
                f"make room or choose another place with --proofmap-json=PATH, and run {again}",
            )
        )
    if result.findings and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _result(
    run: QualificationSession, recorder: Recorder, facts: list[CriterionFacts], *, interrupted: bool
) -> RunResult:
    configuration = run.configuration
    runtimes = _runtimes(facts, recorder, configuration)
    shard = bool(run.config.option.proofmap_shard)
    criteria, objectives = [fact.criterion for fact in facts], objectives_of(facts, configuration)
    others = {name: runtime.model for name, runtime in configuration.runtimes.items() if name not in runtimes}
    foreign = [] if shard else foreign_answers(runtimes, others, recorder.observations)
    decision = Decision(criteria, objectives)
    history = LookBook(configuration.lock_path, configuration.rootdir)
    if not shard:
        blocks = [answers.block for answers in foreign]
        decision = history.decide(criteria, objectives, runtimes, recorder.observations, memo={}, blocks=blocks)
    warnings = [*run.warnings, *_unvaried(recorder, runtimes)]
    reasons = list(_incomplete(run, recorder, facts, interrupted=interrupted))
    info = RunInfo(
        id=run.id,
        started_at=_timestamp(run.started_at),
        finished_at=_timestamp(datetime.now(timezone.utc)),
        versions=_versions(recorder, has_hook=bool(run.config.hook.pytest_proofmap_call.get_hookimpls())),
        git=_git(run.config.rootpath),
        complete=not reasons,
        shard=shard,
        incomplete_reasons=reasons,
        strict=bool(run.config.option.proofmap_strict),
        texts_left_out=not run.keeps_texts,
        other_runtimes=others or None,
        max_age_days=configuration.max_age_days,
    )
    warnings += told_of_run((AnswerAge(*charge.age) for charge in recorder.charges.values() if charge.age), info)
    unused = _unused_calls(run, recorder, interrupted=interrupted)
    if unused is not None:
        warnings.append(unused)
    return RunResult(
        info,
        runtimes,
        decision.criteria,
        decision.objectives,
        recorder.totals(),
        recorder,
        foreign,
        [],
        warnings,
        history=history,
    )


def _set_apart(run: QualificationSession, artifact: Path) -> str:
    """Return where partial evidence is, and what to do for evidence that counts."""
    root = run.config.rootpath
    stays = f"; {EVIDENCE_FILE} stays as it was" if run.artifact_path.exists() else ""
    place = artifact.relative_to(root).as_posix()
    if run.config.option.proofmap_shard:
        return f"this shard is in {place}{stays}; the next one replaces it unless --proofmap-json=PATH says where"
    return f"this partial run is in {place}{stays}; for evidence that counts run all of it: pytest --proofmap"


def _as_given(run: QualificationSession, result: RunResult) -> str:
    given = run.config.option.proofmap_json
    if given:
        return str(given)
    path = run.artifact_path_of(complete=result.run.complete)
    return path.relative_to(run.config.rootpath).as_posix()


def _write(run: QualificationSession, result: RunResult, path: Path, written: Callable[[Path], None]) -> None:
    recorder = result.recorder
    if recorder.failure is not None:
        raise recorder.failure
    parts = ArtifactParts(
        run=result.run,
        runtimes=result.runtimes,
        prompts_json=_prompts_json(recorder, run.configuration),
        requests=recorder.requests(),
        objectives=result.objectives,
        criteria=result.criteria,
        samples=recorder.samples(),
        totals=result.totals,
    )
    run.claim_artifact_folder(path)
    if run.config.hook.pytest_proofmap_evidence.get_hookimpls():
        _write_annotated(run, parts, path, written)
    else:
        write_evidence(path, parts, written)


def _write_annotated(
    run: QualificationSession, parts: ArtifactParts, path: Path, written: Callable[[Path], None]
) -> None:
    """Let the project annotate or redact the evidence, check what it made of it, and write that alone.

    Raises:
        EvidenceError: The project's hook raised, or what it left is no evidence.
    """
    with tempfile.TemporaryDirectory(prefix=".evidence-", dir=path.parent) as folder:
        unedited = Path(folder) / "evidence.json"
        write_evidence(unedited, parts)
        evidence: dict[str, Any] = json.loads(unedited.read_bytes())
    try:
        run.config.hook.pytest_proofmap_evidence(config=run.config, evidence=evidence)
        Evidence.model_validate(evidence)
        text = json.dumps(evidence, ensure_ascii=False, allow_nan=False)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise EvidenceError(f"pytest_proofmap_evidence left {where} wrong: {problem['msg']}") from error
    except Exception as error:
        raise EvidenceError(f"pytest_proofmap_evidence raised {type(error).__name__}: {error}") from error
    with write_whole(path, written) as file:
        file.write(text)


def _incomplete(
    run: QualificationSession, recorder: Recorder, facts: list[CriterionFacts], *, interrupted: bool
) -> Iterator[str]:
    shard = run.config.option.proofmap_shard
    if shard:
        yield "it is a shard: 'proofmap merge' joins all shards and decides"
    restriction = run.config.option.proofmap_runtimes
    yield from run.selection.reasons()
    yield from () if shard else _not_collected(run, facts)
    used = {name for fact in facts for name in fact.runtimes}
    if restriction is not None and not shard and used - set(restriction):
        yield f"--proofmap-runtimes left out {', '.join(sorted(used - set(restriction)))}"
    expected = sum(
        fact.criterion.bar.samples
        * len(fact.criterion.collected)
        * sum(restriction is None or name in restriction for name in fact.runtimes)
        for fact in facts
    )
    if recorder.over_budget:
        were = "was" if recorder.over_budget == 1 else "were"
        why = "cannot carry one call of each runtime" if recorder.shortfall else "was used up"
        yield f"{count(recorder.over_budget, 'sample')} {were} skipped because the budget {why}"
    missing = 0 if shard else max(0, expected - recorder.samples_count)
    if interrupted:
        yield INTERRUPTED + (f": {missing} of {count(expected, 'sample')} did not run" if missing else "")
    elif missing:
        yield f"{missing} of {count(expected, 'sample')} did not run: deselected or stopped"


def _not_collected(run: QualificationSession, facts: list[CriterionFacts]) -> Iterator[str]:
    """Yield that the evidence of a whole run holds criteria of files that this run did not look into.

    A criterion that is gone from a file that was collected is gone; a file that was not may still hold it.
    """
    root, known = run.config.rootpath, {fact.criterion.id for fact in facts}
    for path in dict.fromkeys((run.artifact_path, root / EVIDENCE_FILE)):
        files = {criterion.partition("::")[0] for criterion in criteria_of_whole_run(path) - known}
        left = sorted(file for file in files - run.selection.files if (root / file).is_file())
        if left:
            such = left[0] if len(left) == 1 else f"{count(len(left), 'file')} such as {left[0]}"
            whole = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
            yield (
                f"{such} was not collected, whose criteria the whole evidence in {whole} holds (delete this "
                "evidence where that is meant for good)"
            )
            return


def _interrupted(exitstatus: int | pytest.ExitCode) -> bool:
    return exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR)


def _runtimes(
    facts: Iterable[CriterionFacts], recorder: Recorder, configuration: Configuration
) -> dict[str, RuntimeInfo]:
    """Return the runtimes under test, and those that their tests asked besides."""
    names = dict.fromkeys(name for fact in facts for name in fact.runtimes)
    names |= dict.fromkeys(sorted(recorder.auxiliary))
    return {name: _runtime_info(configuration, name) for name in names}


def _runtime_info(configuration: Configuration, name: str) -> RuntimeInfo:
    runtime = configuration.runtime(name)
    return RuntimeInfo(
        model=runtime.model,
        provider=runtime.provider,
        params=runtime.key_params,
        variant=runtime.variant,
        api_base=runtime.api_base,
        price=price_of(runtime),
        served=runtime.served,
        fingerprint=configured_fingerprint(runtime),
        transport=runtime.transport_references or None,
        origin="hook" if name in configuration.from_hooks else None,
    )


def _prompts_json(recorder: Recorder, configuration: Configuration) -> str:
    library = PromptLibrary(configuration.prompts_path, rootdir=configuration.rootdir)
    for name, variant in recorder.prompts:
        library.get(name, variant)
    used = {
        name: {variant: prompt.model_dump() for variant, prompt in sorted(variants.items())}
        for name, variants in sorted(library.used().items())
    }
    return json.dumps(used, ensure_ascii=False)


def _unvaried(recorder: Recorder, runtimes: Mapping[str, RuntimeInfo]) -> Iterator[str]:
    """Yield where repeated samples say nothing that one would not say."""
    temperatures = {name: info.params.get("temperature") for name, info in runtimes.items()}
    for criterion, runtime, cases, samples in unvaried_samples(recorder.observations, temperatures):
        asked = temperatures[runtime]
        at = "at the model's default temperature" if asked is None else f"at temperature {asked}"
        yield (
            f"{runtime} gave {samples} byte-identical answers to each of {count(cases, 'case')} of "
            f"{criterion.rpartition('::')[2]} {at}: its samples count as one. Something between may keep answers "
            "(a gateway's cache); otherwise one sample is enough"
        )


def _versions(recorder: Recorder, *, has_hook: bool) -> Versions:
    live = [charge for charge in recorder.charges.values() if charge.source == "live"]
    # Whose a failure was is not known: with a client of the project's own it is taken for that one's.
    called = any(not charge.hooked and (charge.answered or not has_hook) for charge in live)
    return Versions(
        proofmap=__version__,
        pytest=pytest.__version__,
        python=platform.python_version(),
        litellm=metadata.version("litellm") if called else None,
    )


def _git(folder: Path) -> GitState | None:
    commit = (ask_git(folder, "rev-parse", "HEAD") or "").strip()
    status = ask_git(folder, "status", "--porcelain", "--untracked-files=no") if commit else None
    return GitState(commit=commit, dirty=bool(status.strip())) if commit and status is not None else None


def _timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _find(run: QualificationSession, result: RunResult) -> list[Finding]:
    """Return why the run fails at its end."""
    strict = "--proofmap-strict" if run.config.option.proofmap_strict else None
    findings = findings_of(
        result.criteria, result.objectives, result.recorder.nonpasses, result.foreign, strict=strict
    )
    kept = result.recorder.unsaved
    if kept is not None and not any(finding.text == kept for finding in findings):
        findings.append(not_kept(kept))
    return [*findings, *_over_budget(run, result)]


def _over_budget(run: QualificationSession, result: RunResult) -> Iterator[Finding]:
    skipped, shortfall = result.recorder.over_budget, result.recorder.shortfall
    if not skipped:
        return
    were = f"{count(skipped, 'sample')} {'was' if skipped == 1 else 'were'} skipped"
    next_step = "go on with a larger budget: pytest --proofmap --proofmap-budget=USD"
    if shortfall is not None:
        # Workers on other hosts have a part of the budget each, and another's may have sufficed.
        nothing = "" if result.totals.live else "; nothing was called"
        yield Finding(f"{shortfall.removeprefix('not called: ')} {were}{nothing}", next_step)
    else:
        yield Finding(
            f"the budget of {plain_usd(run.budget_usd or 0.0)} was used up: {were}, for a call "
            "needs room for the longest answer; what was paid is kept",
            next_step,
        )


def _gate(run: QualificationSession, result: RunResult) -> list[Finding]:
    """Return what fails the run because of the lock; what only warns is added to the result's warnings.

    A project without a lock has no gate, nor has a shard: it decides nothing.
    """
    path = run.configuration.lock_path
    if result.run.shard or not path.exists():
        return []
    from pytest_proofmap.decide.compare import whole_criteria
    from pytest_proofmap.lock.file import read_lock
    from pytest_proofmap.lock.gate import check_routes
    from pytest_proofmap.lock.staleness import Project

    try:
        lock = read_lock(path)
    except LockError as error:
        return [Finding(str(error), "proofmap verify says what is wrong with the lock")]
    artifact, folder = run.artifact_path, run.config.invocation_params.dir
    shown = str(artifact.relative_to(folder) if artifact.is_relative_to(folder) else artifact)
    # The configuration has taken in what the hooks give.
    project = Project(
        run.configuration, {criterion.id: criterion.fingerprint for criterion in result.criteria}, from_hooks={}
    )
    # Which samples the budget left out is not among the observations.
    seen = [] if result.recorder.over_budget else result.recorder.observations
    selected = ((row.criterion, row.runtime) for row in seen)
    findings = []
    for problem in check_routes(
        lock,
        result.objectives,
        result.criteria,
        project,
        whole=whole_criteria(result.run, result.criteria, result.objectives, selected),
        strict=bool(run.config.option.proofmap_strict),
        evidence=shown if result.run.complete else None,
    ):
        if problem.fails:
            findings.append(Finding(problem.text, problem.next_step))
        else:
            result.warnings.append(f"{problem.text} ({problem.next_step})")
    return findings


def _unused_calls(run: QualificationSession, recorder: Recorder, *, interrupted: bool) -> str | None:
    """Say which calls no sample came to use, or None when there are none.

    Args:
        run: The run.
        recorder: What came in.
        interrupted: Whether calls may still be under way, of which the call service alone knows.
    """
    kept = run.mode != "off"
    if not interrupted:
        calls = recorder.unused_calls()
        cases = recorder.cases()
        ran = sum((call.criterion, call.case, call.runtime) in cases for call in calls)
        return describe_unused_calls(calls, ran=ran, kept=kept)
    asked = run.service_status()
    if asked is None:
        return None
    try:
        status = asked.result(WAIT_S)
    except (FutureTimeoutError, KeyboardInterrupt):
        return None
    used = sum(charge.source == "live" for charge in recorder.charges.values())
    return describe_calls_ahead(status, used, total(recorder.charges.values()).spent_usd, kept=kept)
