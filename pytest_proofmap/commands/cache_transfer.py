"""``proofmap cache export`` and ``import``: move answers between the cache and recordings."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_proofmap.commands.project import (
    count_answers,
    load_configuration,
    made_by,
    open_cache,
    open_recordings,
    require_runtimes,
    rootdir_option,
)
from pytest_proofmap.errors import RecordingsError

if TYPE_CHECKING:
    from pytest_proofmap.config import Configuration
    from pytest_proofmap.runtime.answer import Answer
    from pytest_proofmap.runtime.recordings import Recordings

__all__ = ["export", "import_"]

EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--runtime", "runtimes", multiple=True, help="Only answers of this runtime; may be repeated.")
@click.option("--model", help="Only answers of this model id.")
@click.option("--evidence", type=EXISTING_FILE, help="Only answers that this run used.")
@click.option("--replace", is_flag=True, help="Drop answers from OUT that are not exported now.")
@rootdir_option
def export(
    out: Path,
    runtimes: tuple[str, ...],
    model: str | None,
    evidence: Path | None,
    replace: bool,
    rootdir: Path | None,
) -> None:
    """Write cached answers to the recordings file OUT, to be committed.

    Answers that OUT already holds stay, unless the cache has another one for the same request; --replace
    drops them. With --evidence, answers that the run used from recordings are written as well. When OUT is
    one of the project's recordings, it does not repeat what another one of them holds.
    """
    from pytest_proofmap.runtime.recordings_file import read_recordings, same_answer, write_recordings

    configuration = load_configuration(rootdir)
    require_runtimes(configuration, runtimes)

    def is_wanted(answer: Answer) -> bool:
        return (model is None or answer.request.get("model") == model) and (
            not runtimes or made_by(answer, runtimes, configuration)
        )

    used = None if evidence is None else _answered_keys(evidence)
    before = {each.key: each.answer for each in read_recordings(out)} if out.exists() else {}
    with open_cache(configuration) as store, open_recordings(configuration, without=out) as others:
        exported = {
            entry.key: entry.answer
            for entry in store.entries()
            if (used is None or entry.key in used) and is_wanted(entry.answer)
        }
        missing = 0
        for key in sorted((used or set()) - exported.keys()):
            recorded = before.get(key) or others.get(key)
            if recorded is None:
                missing += 1
            elif is_wanted(recorded):
                exported[key] = recorded
        elsewhere = (
            _recorded_elsewhere(exported, others, out) if _is_recordings_file(out, configuration) else set()
        )
    exported = {key: answer for key, answer in exported.items() if key in before or key not in elsewhere}
    if elsewhere:
        click.echo(f"{count_answers(len(elsewhere))} in other recordings of the project already.", err=True)
    if not exported and not elsewhere:
        click.echo("No stored answer matches; nothing was written.", err=True)
        raise click.exceptions.Exit(1)
    if not exported:
        return
    # An answer that says the same keeps its line, so that a diff shows what changed.
    kept = {key: old for key, old in before.items() if key in exported and same_answer(old, exported[key])}
    after = {**({} if replace else before), **exported, **kept}
    write_recordings(out, after.values())
    new, dropped = len(exported.keys() - before.keys()), len(before.keys() - after.keys())
    changed = len(exported) - new - len(kept)
    click.echo(f"{out}: {count_answers(len(after))} ({new} new, {changed} changed, {dropped} dropped)")
    if missing and not runtimes and model is None:
        click.echo(f"{count_answers(missing)} of the run: neither cached nor recorded any more.", err=True)
        raise click.exceptions.Exit(1)


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=EXISTING_FILE)
@click.option("--replace", is_flag=True, help="Let imported answers replace cached ones that differ.")
@rootdir_option
def import_(files: tuple[Path, ...], replace: bool, rootdir: Path | None) -> None:
    """Read the answers of recordings FILES into the cache."""
    from pytest_proofmap.runtime.recordings_file import read_recordings, same_answer

    configuration = load_configuration(rootdir)
    for file in files:
        # A broken line is found before anything is imported.
        for _ in read_recordings(file):
            pass
    tally: Counter[str] = Counter()
    with open_cache(configuration, readonly=False) as store:
        for file in files:
            for recording in read_recordings(file):
                cached = store.get(recording.key)
                if cached is not None and same_answer(cached, recording.answer):
                    tally["already there"] += 1
                elif cached is not None and not replace:
                    tally["kept as cached, with another answer (--replace imports these)"] += 1
                else:
                    store.put(recording.key, recording.answer)
                    tally["imported" if cached is None else "replaced"] += 1
        result = ", ".join(f"{number} {what}" for what, number in tally.items())
        click.echo(f"{store.directory}: {result or 'nothing to import'}")


def _answered_keys(evidence: Path) -> set[str]:
    """Return the keys of the calls of a run that got an answer."""
    from pytest_proofmap.evidence.artifact import read_evidence

    run = read_evidence(evidence)
    return {call.key for sample in run.samples for call in sample.calls if call.error is None}


def _is_recordings_file(out: Path, configuration: Configuration) -> bool:
    try:
        name = out.resolve().relative_to(configuration.rootdir.resolve()).as_posix()
    except ValueError:
        name = str(out.resolve())
    return any(fnmatch(name, pattern) for pattern in configuration.recordings)


def _recorded_elsewhere(exported: dict[str, Answer], others: Recordings, out: Path) -> set[str]:
    """Return the keys that other recordings answer in the same way.

    Raises:
        RecordingsError: One of them answers differently.
    """
    from pytest_proofmap.runtime.recordings_file import same_answer

    for key in exported:
        other = others.find(key)
        if other is not None and not same_answer(other.answer, exported[key]):
            raise RecordingsError(
                f"{other.file}, line {other.line}, records another answer to a request that would be written "
                f"to {out} (key {key[:12]}); nothing was written. Export to {other.file} in its place, or "
                "delete that line first."
            )
    return {key for key in exported if key in others}
