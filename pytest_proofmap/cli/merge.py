"""``proofmap merge``: join the evidence of a run's shards, and decide over all of it."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from pytest_proofmap.cli.inputs import load_configuration, lock_option, verbosity_options

if TYPE_CHECKING:
    from pytest_proofmap.decide.decision import Decision
    from pytest_proofmap.decide.served import ForeignAnswers
    from pytest_proofmap.evidence.merge import ShardMerger
    from pytest_proofmap.evidence.models import Evidence, RunInfo, Sample
    from pytest_proofmap.lock.history import LookBook
    from pytest_proofmap.report.nonpasses import NonPass
    from pytest_proofmap.report.result import Finding
    from pytest_proofmap.report.view import View

__all__ = ["merge"]


@click.command()
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the joined artifact here.",
)
@click.option("--strict", is_flag=True, help="Demand that every challenger qualifies.")
@lock_option
@verbosity_options
def merge(
    shards: tuple[Path, ...], output: Path, strict: bool, lock_file: Path | None, verbose: int, quiet: bool
) -> None:
    """Join the artifacts SHARDS of one run, made with --proofmap-shard, and decide once over all of them.

    Criteria, runtimes, prompts and requests that several shards hold must be the same, and samples that
    several hold must agree.

    Exit status: 0 it holds; 1 samples are missing, a baseline misses its bar or was unavailable, a test broke or
    never asked its runtime, with --strict a challenger is not qualified, or with --lock an approved route is stale
    or has regressed; 2 bad input.
    """
    from pytest_proofmap.evidence.merge import ShardMerger

    merger = ShardMerger(shards)
    rows = _Rows()
    with _temporary() as samples, _temporary() as requests:
        for sample, text, repeated in merger.samples():
            samples.write(text + "\n")
            rows.take(sample, repeated=repeated)
            for key, request in merger.take_requests():
                requests.write(f"{key} {request}\n")
        for key, request in merger.take_requests():
            requests.write(f"{key} {request}\n")
        run = merger.run(strict=strict)
        book = _look_book()
        decision = rows.decide(merger, run, book)
        _write(output, merger, run, decision, samples, requests)
        if run.complete:
            book.keep()
    view = rows.view(merger, run, decision, output, lock_file)
    _print(view, merger, -1 if quiet else verbose)
    if view.result.exit_status:
        raise click.exceptions.Exit(view.result.exit_status)


def _look_book() -> LookBook:
    """Return the history of looks of the project around the working directory."""
    from pytest_proofmap.lock.history import LookBook

    configuration = load_configuration(None)
    return LookBook(configuration.lock_path, configuration.rootdir)


class _Rows:
    """What decisions and tables need of the samples."""

    def __init__(self) -> None:
        from pytest_proofmap.decide.observation import Observation

        self.observations: list[Observation] = []
        self.nonpasses: list[NonPass] = []
        self.estimated: set[str] = set()
        self.foreign: list[ForeignAnswers] = []

    def take(self, sample: Sample, *, repeated: bool) -> None:
        """Take in a sample.

        Args:
            sample: The sample.
            repeated: Whether its case may have several.
        """
        from pytest_proofmap.decide.observation import observe
        from pytest_proofmap.report.nonpasses import NonPass

        row = observe([sample], [sample.criterion] if repeated else [])[0]
        # Each was read from text of its own: millions of rows must not hold millions of equal names.
        self.observations.append(
            row._replace(
                criterion=sys.intern(row.criterion),
                case=sys.intern(row.case),
                runtime=sys.intern(row.runtime),
                slice=row.slice and sys.intern(row.slice),
                served=row.served and sys.intern(row.served),
            )
        )
        nonpass = NonPass.of(sample)
        if nonpass is not None:
            self.nonpasses.append(nonpass)
        if any(call.usage_estimated for call in sample.calls if call.runtime is None):
            self.estimated.add(sample.runtime)

    def decide(self, merger: ShardMerger, run: RunInfo, book: LookBook) -> Decision:
        """Decide on everything that was taken in."""
        from pytest_proofmap.decide.served import foreign_answers

        self.foreign = foreign_answers(merger.runtimes, run.other_runtimes or {}, self.observations)
        blocks = [answers.block for answers in self.foreign]
        return book.decide(
            merger.criteria(), merger.objectives(), merger.runtimes, self.observations, blocks=blocks
        )

    def view(
        self, merger: ShardMerger, run: RunInfo, decision: Decision, output: Path, lock_file: Path | None
    ) -> View:
        """Return what the summary shows."""
        from pytest_proofmap.evidence.ages import told_of_run
        from pytest_proofmap.report.figures import command
        from pytest_proofmap.report.result import Result, lock_findings
        from pytest_proofmap.report.view import view_of

        evidence = self._evidence(merger, run, decision)
        against, warnings = (
            ([], []) if lock_file is None else lock_findings(evidence, lock_file, strict=run.strict)
        )
        result = Result(
            run=run,
            totals=merger.totals(),
            criteria=decision.criteria,
            objectives=decision.objectives,
            observations=self.observations,
            nonpasses=self.nonpasses,
            estimated=frozenset(self.estimated),
            warnings=(*merger.warnings, *told_of_run(merger.ages(), run), *warnings),
            findings=(*_findings(run, decision, self.nonpasses, self.foreign), *against),
        )
        return view_of(result, next_steps=[command("proofmap", "report", "--text", "-v", output)])

    def _evidence(self, merger: ShardMerger, run: RunInfo, decision: Decision) -> Evidence:
        """Return the evidence without its samples, at which routes do not look."""
        from pytest_proofmap.evidence.models import Evidence

        return Evidence(
            run=run,
            runtimes=merger.runtimes,
            prompts=merger.prompts,
            objectives=decision.objectives,
            criteria=decision.criteria,
            samples=[],
            totals=merger.totals(),
        )


def _findings(
    run: RunInfo, decision: Decision, nonpasses: list[NonPass], foreign: list[ForeignAnswers]
) -> tuple[Finding, ...]:
    from pytest_proofmap.report.result import Finding, findings_of

    strict = "--strict" if run.strict else None
    findings = findings_of(decision.criteria, decision.objectives, nonpasses, foreign, strict=strict)
    if not run.complete:
        findings.append(
            Finding(
                f"the shards are not the whole run: {'; '.join(run.incomplete_reasons)}",
                "give all shards, and run those again that were not run to their end",
            )
        )
    return tuple(findings)


def _write(
    output: Path, merger: ShardMerger, run: RunInfo, decision: Decision, samples: IO[str], requests: IO[str]
) -> None:
    from pytest_proofmap.errors import EvidenceError
    from pytest_proofmap.evidence.artifact import ArtifactParts, write_evidence

    prompts = {
        name: {variant: prompt.model_dump() for variant, prompt in sorted(variants.items())}
        for name, variants in sorted(merger.prompts.items())
    }
    parts = ArtifactParts(
        run=run,
        runtimes=merger.runtimes,
        prompts_json=json.dumps(prompts, ensure_ascii=False),
        requests=((key, text) for key, _, text in (line.partition(" ") for line in _lines(requests))),
        objectives=decision.objectives,
        criteria=decision.criteria,
        samples=_lines(samples),
        totals=merger.totals(),
    )
    try:
        write_evidence(output, parts)
    except OSError as error:
        raise EvidenceError(
            f"cannot write the evidence to {str(output)!r}: {error.strerror or error}. Choose another place "
            "with -o."
        ) from None


def _print(view: View, merger: ShardMerger, verbosity: int) -> None:
    from pytest_proofmap.cli.output import print_summary

    click.echo(f"{len(merger.runs)} shards joined")
    print_summary(view, verbosity)


def _temporary() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogatepass", newline="\n")


def _lines(file: IO[str]) -> Iterator[str]:
    file.seek(0)
    for line in file:
        yield line.rstrip("\n")
