"""What a run leaves to its reader: the HTML page, the Markdown summaries, and the commands to go on with.

The files are made from the artifact as it was written, so that what the project took out of it stays out of them.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_proofmap.errors import LockError, RecordingsError
from pytest_proofmap.evidence.artifact import artifact_sha256, read_evidence
from pytest_proofmap.files import write_whole
from pytest_proofmap.report.figures import command
from pytest_proofmap.report.result import Finding, Result

if TYPE_CHECKING:
    import pytest

    from pytest_proofmap.evidence.models import Evidence
    from pytest_proofmap.plugin.finish import RunResult
    from pytest_proofmap.plugin.session import QualificationSession
    from pytest_proofmap.report.view import View

__all__ = ["estimated_in", "next_steps", "run_again", "view_of_run", "write_report_files"]


def view_of_run(result: RunResult) -> View:
    """Return the view of a run that just ended, with the findings and warnings that it has by now."""
    if result.view is None:
        # Here, because workers and runs without a summary need none of it.
        from pytest_proofmap.report.view import view_of

        recorder = result.recorder
        rows = recorder.observations
        # What could not be written cannot be read again either.
        samples = recorder.samples() if recorder.failure is None else ()
        result.view = view_of(
            Result(
                run=result.run,
                totals=result.totals,
                criteria=result.criteria,
                objectives=result.objectives,
                observations=rows,
                nonpasses=recorder.nonpasses,
                estimated=estimated_in(samples, {row.runtime for row in rows}),
            )
        )
    return replace(result.view, warnings=tuple(result.warnings), findings=tuple(result.findings))


def estimated_in(samples: Iterable[str], runtimes: set[str]) -> frozenset[str]:
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
    return frozenset(estimated)


def next_steps(run: QualificationSession, result: RunResult) -> tuple[str, ...]:
    """Return the commands to go on with after a run."""
    if result.artifact is None:
        return ()
    folder = run.config.invocation_params.dir
    artifact = _as_typed(result.artifact, folder)
    return (
        *_again(run, result),
        *_exports(run, result, artifact),
        *_approval(run, result, artifact),
        *([] if run.config.option.proofmap_html else [command("proofmap", "report", "--html", artifact)]),
    )


def run_again(config: pytest.Config) -> str:
    """Return the command of a run, without the option that made it a plan only."""
    given = [arg for arg in config.invocation_params.args if arg != "--proofmap-plan"]
    return command("pytest", *map(str, given))


def _again(run: QualificationSession, result: RunResult) -> list[str]:
    """Return the command that asks again for what is missing through no fault of the tests."""
    from pytest_proofmap.plugin.finish import INTERRUPTED

    cut_short = any(reason.startswith(INTERRUPTED) for reason in result.run.incomplete_reasons)
    unanswered = run.mode != "replay" and any(
        sample.error_kind == "unavailable" for sample in result.recorder.nonpasses
    )
    return [run_again(run.config)] if cut_short or unanswered else []


def _approval(run: QualificationSession, result: RunResult, artifact: Path) -> list[str]:
    """Return the command that approves what was recommended; none when nothing would move."""
    if result.findings or result.run.shard or not result.run.complete:
        return []
    present = _primaries(run.configuration.lock_path)
    moves = (
        recommendation.chain[0] != present.get((objective.name, recommendation.slice), objective.baseline)
        for objective in result.objectives
        for recommendation in objective.recommendations
    )
    return [command("proofmap", "approve", artifact)] if any(moves) else []


def _exports(run: QualificationSession, result: RunResult, artifact: Path) -> list[str]:
    """Return the commands that bring live answers into the recordings; none where none are configured."""
    live = [
        charge.key for charge in result.recorder.charges.values() if charge.source == "live" and charge.answered
    ]
    if run.mode == "off" or not live or not run.configuration.recordings:
        return []
    folder = run.config.invocation_params.dir
    models = _models_by_file(run, live) or {_new_file(run): set()}
    # Where each file holds one model's answers it stays so.
    distinct = len({next(iter(model), "") for model in models.values()}) == len(models)
    by_model = len(models) > 1 and distinct and all(len(model) == 1 for model in models.values())
    commands = []
    for file, names in models.items():
        only = ["--model", *names] if by_model else []
        out = _as_typed(file, folder)
        commands.append(command("proofmap", "cache", "export", out, "--evidence", artifact, *only))
    return commands


def _models_by_file(run: QualificationSession, keys: list[str]) -> dict[Path, set[str]]:
    """Return the recordings files that hold other answers to the requests, with the models asked."""
    from pytest_proofmap.calls.recordings import Recordings

    models: dict[Path, set[str]] = {}
    try:
        recordings = Recordings(run.configuration.recordings, run.configuration.rootdir)
        with closing(recordings):
            for key in keys:
                found = recordings.find(key)
                if found is not None:
                    models.setdefault(found.file, set()).add(str(found.answer.request.get("model")))
    except RecordingsError:
        # A named file that is not there yet is what the command makes.
        return models
    return dict(sorted(models.items()))


def _new_file(run: QualificationSession) -> Path:
    """Return a name for recordings that the first configured pattern matches."""
    pattern = run.configuration.recordings[0]
    return run.configuration.rootdir / pattern.replace("**/", "").replace("*", "answers")


def _primaries(path: Path) -> dict[tuple[str, str | None], str]:
    """Return the approved primary of each objective and slice; none without a lock that can be read."""
    if not path.exists():
        return {}
    from pytest_proofmap.lock.file import read_lock
    from pytest_proofmap.lock.models import route_parts

    try:
        lock = read_lock(path)
    except LockError:
        return {}
    return {route_parts(name): lock.runtimes[route.chain[0]].name for name, route in lock.routes.items()}


def _as_typed(path: Path, folder: Path) -> Path:
    """Return a path as someone in a folder would type it."""
    try:
        return path.relative_to(folder)
    except ValueError:
        return path


STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable in which GitHub Actions names the file that a job's page shows."""


def write_report_files(run: QualificationSession, result: RunResult, written: Path) -> None:
    """Write the reports that were asked for; what could not be written is a finding.

    Args:
        run: The run.
        result: What it came to.
        written: The evidence as it was written, which takes the place of the artifact only after this.
    """
    option = run.config.option
    html, markdown = option.proofmap_html, option.proofmap_md
    # A shard has nothing to show: a job's page shows the joined evidence.
    step_summary = None if option.proofmap_shard else os.environ.get(STEP_SUMMARY)
    if not (html or markdown or step_summary):
        return
    from pytest_proofmap.report.view import view_of_evidence

    evidence = read_evidence(written)
    view = replace(
        view_of_evidence(evidence),
        warnings=tuple(result.warnings),
        findings=tuple(result.findings),
        next_steps=next_steps(run, result),
    )
    folder = run.config.rootpath
    places = ((_write_html, html), (_write_markdown, markdown), (_append_step_summary, step_summary))
    for write, place in places:
        if not place:
            continue
        try:
            write(folder / place, evidence, view, written)
        except OSError as error:
            result.findings.append(
                Finding(
                    f"the report could not be written to {place}: {error.strerror or error}",
                    "make room or choose another place; proofmap report makes it from the evidence",
                )
            )


def _write_html(path: Path, evidence: Evidence, view: View, artifact: Path) -> None:
    from pytest_proofmap.report.html.document import html_report

    _write(path, html_report(evidence, view, artifact_sha256=artifact_sha256(artifact)))


def _write_markdown(path: Path, evidence: Evidence, view: View, artifact: Path) -> None:
    from pytest_proofmap.report.markdown import COMMENT_BYTES, markdown_report

    _write(path, [markdown_report(view, COMMENT_BYTES)])


def _append_step_summary(path: Path, evidence: Evidence, view: View, artifact: Path) -> None:
    from pytest_proofmap.report.markdown import STEP_SUMMARY_BYTES, markdown_report

    # Other commands of the same step may have written to it.
    with path.open("ab+") as file:
        written = file.seek(0, os.SEEK_END)
        file.seek(max(0, written - 1))
        gap = "\n\n" if written and file.read(1) != b"\n" else "\n" if written else ""
        report = markdown_report(view, STEP_SUMMARY_BYTES - written - len(gap))
        if not report:
            raise OSError(errno.EFBIG, f"{written:,} bytes are in it, and GitHub shows no more than 1 MiB")
        file.write((gap + report).encode())


def _write(path: Path, parts: Iterable[str]) -> None:
    with write_whole(path) as file:
        for part in parts:
            file.write(part)
