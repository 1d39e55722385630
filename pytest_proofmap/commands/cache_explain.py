"""``proofmap cache explain``: why a request was not found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_proofmap.commands.printing import say
from pytest_proofmap.commands.project import load_configuration, open_cache, open_recordings, rootdir_option
from pytest_proofmap.commands.stored_file import last_run
from pytest_proofmap.errors import EvidenceError, RequestError, did_you_mean

if TYPE_CHECKING:
    from pytest_proofmap.config import Configuration
    from pytest_proofmap.evidence.models import Call, Evidence, Sample
    from pytest_proofmap.runtime.cache import DiskStore
    from pytest_proofmap.runtime.explain import StoredRequest
    from pytest_proofmap.runtime.recordings import Recordings
    from pytest_proofmap.runtime.request import Request

__all__ = ["explain"]

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
    from pytest_proofmap.runtime.explain import compare, message_changes, nearest

    candidates = (each for each in _stored(store, recordings) if each.key != question.key)
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
    from pytest_proofmap.runtime.explain import StoredRequest
    from pytest_proofmap.runtime.request import Request

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
    from pytest_proofmap.runtime.request import Request

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
    from pytest_proofmap.runtime.request import Request

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
