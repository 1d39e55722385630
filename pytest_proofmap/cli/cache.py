"""``proofmap cache``: look into the response cache, move answers to and from recordings, prune.

``explain`` says why a request was not found; ``export`` and ``import`` move answers to and from recordings.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_proofmap.cli.inputs import (
    count_answers,
    last_run,
    load_configuration,
    made_by,
    open_cache,
    open_recordings,
    require_runtimes,
    rootdir_option,
)
from pytest_proofmap.cli.output import say
from pytest_proofmap.errors import EvidenceError, RecordingsError, RequestError, did_you_mean

if TYPE_CHECKING:
    from pytest_proofmap.calls.answer import Answer
    from pytest_proofmap.calls.cache.disk import CacheEntry, DiskStore
    from pytest_proofmap.calls.explain import StoredRequest
    from pytest_proofmap.calls.recordings import Recordings
    from pytest_proofmap.calls.request import Request
    from pytest_proofmap.config import Configuration
    from pytest_proofmap.evidence.models import Call, Evidence, Sample

__all__ = ["cache"]


_COMPARED = 20_000
"""How many stored requests are compared at most; some 50 microseconds each."""
_MAX_CHANGES = 40


@dataclass(frozen=True)
class _Question:
    """The request to explain, and who asked it."""

    request: Request
    key: str
    asked_by: str


@click.command()
@click.option("--criterion", metavar="NODEID", help="Only calls of this criterion.")
@click.option("--case", metavar="ID", help="Only calls of this case.")
@click.option("--runtime", metavar="NAME", help="Only calls of this runtime.")
@click.option("--key", help="The call with this key; its first digits are enough.")
@click.option(
    "--request",
    "request_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The request in this JSON file: a line of a recordings file, or its 'request' alone.",
)
@click.option(
    "--evidence",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The run to look at; default: the last one, whole or partial.",
)
@rootdir_option
def explain(
    criterion: str | None,
    case: str | None,
    runtime: str | None,
    key: str | None,
    request_file: Path | None,
    evidence: Path | None,
    rootdir: Path | None,
) -> None:
    """Explain why a request was a miss: its key's ingredients beside the nearest stored request.

    Without options, the first miss of the last replay is explained. Exit status 1 when the request has no
    stored answer.
    """
    configuration = load_configuration(rootdir)
    with open_cache(configuration) as store, open_recordings(configuration) as recordings:
        if request_file is not None:
            question = _from_file(request_file)
        else:
            path = evidence or last_run(configuration.rootdir)
            known = _from_stores(key, store, recordings) if key and not path.exists() else None
            question = known or _from_evidence(path, configuration, criterion, case, runtime, key)
        is_stored = _show_whether_stored(question, store, recordings)
        _show_nearest(question, store, recordings)
    raise click.exceptions.Exit(0 if is_stored else 1)


def _show_whether_stored(question: _Question, store: DiskStore, recordings: Recordings) -> bool:
    places = []
    recorded = recordings.find(question.key)
    if recorded is not None:
        places.append(f"recorded in {recorded.file}, line {recorded.line}")
    if store.get(question.key) is not None:
        places.append(f"cached in {store.directory}")
    say(f"Key {question.key}")
    say(question.asked_by)
    say(f"The answer is {' and '.join(places) if places else 'neither recorded nor cached'}.")
    return bool(places)


def _show_nearest(question: _Question, store: DiskStore, recordings: Recordings) -> None:
    from pytest_proofmap.calls.explain import compare, message_changes, nearest

    candidates = (answer for answer in _stored(store, recordings) if answer.key != question.key)
    counted = list(islice(candidates, _COMPARED + 1))
    near = nearest(question.request, counted[:_COMPARED])
    if near is None:
        say("\nNo other answer is stored. Ingredients of the key:")
    else:
        say(f"\nNearest stored request: {near.place}, key {near.key[:12]}")
        if len(counted) > _COMPARED:
            say(f"(nearest of the first {_COMPARED:,} stored ones)")
    different = []
    for ingredient in compare(question.request, near.request if near else question.request):
        say(f"  {'same' if ingredient.is_same else 'DIFF'}  {ingredient.name + ':':<17}", end="")
        if ingredient.name == "messages":
            say(f"{len(ingredient.asked)} message(s)")
        else:
            say(_brief(ingredient.asked))
        if not ingredient.is_same:
            different.append(ingredient.name)
            if ingredient.name != "messages":
                say(f"        {'stored:':<17}{_brief(ingredient.stored)}")
    if near is None:
        return
    changes = message_changes(question.request, near.request)
    for change in changes[:_MAX_CHANGES]:
        say(f"  {change}")
    if len(changes) > _MAX_CHANGES:
        say(f"  … and {len(changes) - _MAX_CHANGES} more changes")
    if changes:
        say("  ([-only stored-] {+only asked+})")
    say(f"\nThe nearest stored request differs in: {', '.join(different)}.")


def _stored(store: DiskStore, recordings: Recordings) -> Iterator[StoredRequest]:
    from pytest_proofmap.calls.explain import StoredRequest
    from pytest_proofmap.calls.request import Request

    for recording in recordings.entries():
        place = f"recorded in {recording.file}, line {recording.line}"
        yield StoredRequest(recording.key, Request.from_content(recording.answer.request), place)
    for entry in store.entries():
        try:
            request = Request.from_content(entry.answer.request)
        except (KeyError, TypeError):
            continue
        made = f", made {entry.answer.made_at}" if entry.answer.made_at else ""
        yield StoredRequest(entry.key, request, f"cached{made}")


def _from_file(path: Path) -> _Question:
    from pytest_proofmap.calls.request import Request

    try:
        content = json.loads(path.read_bytes())
        request = Request.from_content(content.get("request", content))
        return _Question(request, request.key(), f"Asked by {path}.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(
            f"{path}: no request can be read from it ({type(error).__name__}: {error}). It must hold one "
            "JSON object with 'model' and 'messages', or a line of a recordings file."
        ) from error


def _from_stores(prefix: str, store: DiskStore, recordings: Recordings) -> _Question | None:
    for stored in _stored(store, recordings):
        if stored.key.startswith(prefix):
            return _Question(stored.request, stored.key, "Asked by no run known here.")
    return None


def _from_evidence(
    path: Path,
    configuration: Configuration,
    criterion: str | None,
    case: str | None,
    runtime: str | None,
    prefix: str | None,
) -> _Question:
    from pytest_proofmap.evidence.artifact import read_evidence

    evidence = read_evidence(path)
    _require_known(evidence, criterion, case, runtime)
    calls = [
        (sample, call)
        for sample in evidence.samples
        if criterion in (None, sample.criterion) and case in (None, sample.case)
        for call in sample.calls
        if runtime in (None, call.runtime or sample.runtime) and call.key.startswith(prefix or "")
    ]
    misses = [(sample, call) for sample, call in calls if call.error and call.error.class_ == "ReplayMissError"]
    if not calls or not (misses or prefix or criterion or case or runtime):
        what = "has no such call" if not calls else "has no replay miss"
        raise EvidenceError(
            f"{path}: the run {what}. Misses are recorded by a run with --proofmap-cache=replay; to ask "
            "about another call, name it with --criterion, --case, --runtime or --key, or give a --request."
        )
    sample, call = (misses or calls)[0]
    asked_by = f"Asked by {sample.criterion}, case {sample.case!r}, runtime {sample.runtime}"
    asked_by += f", sample {sample.sample}."
    others = len({call.key for _, call in misses} - {call.key})
    if others:
        asked_by += f" ({others} other {'miss' if others == 1 else 'misses'} in this run)"
    request = _request_of(evidence, configuration, sample, call)
    if request.key() != call.key:
        asked_by += (
            "\nNote: the run's evidence does not hold the request exactly as it was asked (a secret was "
            "redacted, or a hook changed it or its key), so differences below may be due to that."
        )
    return _Question(request, call.key, asked_by)


def _request_of(evidence: Evidence, configuration: Configuration, sample: Sample, call: Call) -> Request:
    from pytest_proofmap.calls.request import Request

    content = evidence.requests.get(call.key)
    if content is None:
        raise EvidenceError(f"the evidence holds no request with the key {call.key!r}. Run again.")
    name = call.runtime or sample.runtime
    runtime = evidence.runtimes.get(name) or configuration.runtime(name)
    return Request(
        model=runtime.model,
        messages=content.messages,
        params=content.params,
        api_base=runtime.api_base,
        tools=content.tools,
        response_format=content.response_format,
        sample=sample.sample,
    )


def _require_known(evidence: Evidence, criterion: str | None, case: str | None, runtime: str | None) -> None:
    called = {call.runtime for sample in evidence.samples for call in sample.calls if call.runtime}
    for option, value, known in (
        ("--criterion", criterion, {sample.criterion for sample in evidence.samples}),
        ("--case", case, {sample.case for sample in evidence.samples}),
        ("--runtime", runtime, {sample.runtime for sample in evidence.samples} | called),
    ):
        if value is not None and value not in known:
            raise click.UsageError(
                f"{option} {value!r} is not in the evidence.{did_you_mean(value, sorted(known))}"
            )


def _brief(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 400 else f"{text[:400]}…"


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
    from pytest_proofmap.calls.recordings import read_recordings, same_answer, write_recordings

    configuration = load_configuration(rootdir)
    require_runtimes(configuration, runtimes)

    def is_wanted(answer: Answer) -> bool:
        return (model is None or answer.request.get("model") == model) and (
            not runtimes or made_by(answer, runtimes, configuration)
        )

    used = None if evidence is None else _answered_keys(evidence)
    before = {recording.key: recording.answer for recording in read_recordings(out)} if out.exists() else {}
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
    from pytest_proofmap.calls.recordings import read_recordings, same_answer

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
    from pytest_proofmap.calls.recordings import same_answer

    for key in exported:
        other = others.find(key)
        if other is not None and not same_answer(other.answer, exported[key]):
            raise RecordingsError(
                f"{other.file}, line {other.line}, records another answer to a request that would be written "
                f"to {out} (key {key[:12]}); nothing was written. Export to {other.file} in its place, or "
                "delete that line first."
            )
    return {key for key in exported if key in others}


_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@click.group()
def cache() -> None:
    """Look into the response cache, move answers between it and recordings, and prune it."""


cache.add_command(explain)
cache.add_command(export)
cache.add_command(import_)


@dataclass
class _Share:
    """What the answers of one model add up to."""

    answers: int = 0
    bytes: int = 0
    oldest: date = date.max
    newest: date = date.min
    last_use: date = date.min

    def add(self, entry: CacheEntry, last_use: date) -> None:
        made = _made_at(entry).date()
        self.answers += 1
        self.bytes += entry.bytes
        self.oldest, self.newest = min(self.oldest, made), max(self.newest, made)
        self.last_use = max(self.last_use, last_use)


@cache.command()
@rootdir_option
def stats(rootdir: Path | None) -> None:
    """Show how many answers are kept, for which models, since when and how recently used."""
    from tabulate import tabulate

    configuration = load_configuration(rootdir)
    with open_cache(configuration) as store, open_recordings(configuration) as recordings:
        used = store.last_used()
        shares: dict[str, _Share] = {}
        for entry in store.entries():
            share = shares.setdefault(str(entry.answer.request.get("model")), _Share())
            share.add(entry, _last_use(entry, used))
        number = sum(share.answers for share in shares.values())
        click.echo(f"Response cache {store.directory}")
        click.echo(f"{count_answers(number)}, {_megabytes(store.size())} on disk")
        if shares:
            rows = [
                (name, share.answers, _megabytes(share.bytes), share.oldest, share.newest, share.last_use)
                for name, share in sorted(shares.items())
            ]
            click.echo()
            say(tabulate(rows, ["model", "answers", "size", "oldest", "newest", "last used"]))
            click.echo()
        click.echo(f"Recordings: {count_answers(len(recordings))}")


def _age(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,5})([hdw])", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not an age; write a number and h, d or w, such as 30d.")
    return int(match[1]) * _UNITS[match[2]]


@cache.command()
@click.option("--older-than", callback=_age, metavar="AGE", help="Answers made longer ago than AGE: 30d, 8w.")
@click.option("--unused-since", callback=_age, metavar="AGE", help="Answers that no run used for AGE.")
@click.option("--runtime", "runtimes", multiple=True, help="Answers of this runtime; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@rootdir_option
def prune(
    older_than: timedelta | None,
    unused_since: timedelta | None,
    runtimes: tuple[str, ...],
    dry_run: bool,
    rootdir: Path | None,
) -> None:
    """Delete answers from the cache for good; with several options, those that meet all of them."""
    if older_than is None and unused_since is None and not runtimes:
        raise click.UsageError("Say what to prune: --older-than, --unused-since or --runtime.")
    configuration = load_configuration(rootdir)
    require_runtimes(configuration, runtimes)
    now = datetime.now(timezone.utc)
    with open_cache(configuration, readonly=dry_run) as store:
        used = store.last_used()
        gone: list[str] = []
        size = kept = 0
        for entry in store.entries():
            if (
                (older_than is None or now - _made_at(entry) > older_than)
                and (unused_since is None or _last_use(entry, used) < (now - unused_since).date())
                and (not runtimes or made_by(entry.answer, runtimes, configuration))
            ):
                gone.append(entry.key)
                size += entry.bytes
            else:
                kept += 1
        if gone and not dry_run:
            store.delete(gone)
    verb = "Would delete" if dry_run else "Deleted"
    click.echo(f"{verb} {count_answers(len(gone))} ({_megabytes(size)}), {count_answers(kept)} kept.")


def _made_at(entry: CacheEntry) -> datetime:
    """Return when an answer was made; for an imported one that is before it was stored."""
    try:
        made = datetime.fromisoformat((entry.answer.made_at or "").replace("Z", "+00:00"))
    except ValueError:
        return datetime.fromtimestamp(entry.stored_at, timezone.utc)
    return made if made.tzinfo else made.replace(tzinfo=timezone.utc)


def _last_use(entry: CacheEntry, used: dict[str, date]) -> date:
    stored = datetime.fromtimestamp(entry.stored_at, timezone.utc).date()
    return max(stored, used.get(entry.key, stored))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
