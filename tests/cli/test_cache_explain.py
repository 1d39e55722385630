"""``proofmap cache explain``: why a request was a miss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from stored_evidence import NOTHING_KNOWN, call, content, runtime_of, sample

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.cache.disk import DiskStore
from pytest_proofmap.calls.recordings import write_recordings
from pytest_proofmap.calls.request import Request
from pytest_proofmap.cli import main

TICKET = "Dear support, my order 17 has not arrived yet. Please refund me."
Run = Callable[..., Result]


def request_of(text: str = TICKET, **changes: Any) -> Request:
    """Return a request of the runtime ``big``."""
    fields: dict[str, Any] = {"model": "m/big", "params": {"temperature": 0}, **changes}
    return Request(messages=[{"role": "user", "content": text}], **fields)


def answer_to(request: Request) -> Answer:
    """Return an answer to a request."""
    return Answer(request.content(), {"choices": [{"message": {"role": "assistant", "content": "yes"}}]})


def sample_of(
    case: str, runtime: str, *calls: tuple[Request, str | None], asked_of: str | None = None
) -> dict[str, Any]:
    """Return a sample of the artifact whose calls have the error classes given."""
    return sample(
        runtime,
        case,
        "error",
        criterion="tests/test_a.py::test_a",
        role="challenger",
        sample=calls[0][0].sample,
        calls=[
            call(
                request.key(),
                **NOTHING_KNOWN,
                error=error and {"class": error, "message": ""},
                attempts=0,
                text="",
                runtime=asked_of,
            )
            for request, error in calls
        ],
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a cached and a recorded answer; the working directory is in it."""
    (tmp_path / "proofmap.toml").write_text(
        'recordings = ["recordings/*.jsonl"]\n'
        '[runtimes.big]\nmodel = "m/big"\n'
        '[runtimes.judge]\nmodel = "m/judge"\n'
    )
    cached, recorded = answer_to(request_of()), answer_to(request_of("Hello there"))
    store = DiskStore(tmp_path / ".proofmap" / "cache", pytest.fail)
    store.put(request_of().key(), cached)
    store.close()
    write_recordings(tmp_path / "recordings" / "r.jsonl", [recorded])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(project: Path) -> Run:
    """Run ``proofmap cache explain``."""

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(main, ["cache", "explain", *map(str, arguments)])

    return run


def write_evidence(project: Path, requests: list[Request], samples: list[dict[str, Any]]) -> Path:
    """Write the artifact of a replay where the command looks for it."""
    asked = {
        request.key(): {
            "messages": request.messages,
            "params": request.params,
            "tools": request.tools,
            "response_format": request.response_format,
        }
        for request in requests
    }
    runtimes = {"big": runtime_of("f", model="m/big", provider="m", params={"temperature": 0})}
    data = content(samples, runtimes=runtimes, requests=asked, objectives=[], criteria=[])
    path = project / ".proofmap" / "evidence.json"
    path.write_text(json.dumps(data))
    return path


def test_a_miss_is_explained_by_its_nearest_neighbour(run: Run, project: Path) -> None:
    """The first miss of the last run is shown with what differs from the nearest stored request."""
    missed = request_of(TICKET.replace("17", "18"), params={"temperature": 0.5})
    other = request_of("Something else")
    samples = [
        sample_of("fine", "big", (request_of(), None)),
        sample_of("t18", "big", (missed, "ReplayMissError")),
        sample_of("other", "big", (other, "ReplayMissError")),
    ]
    write_evidence(project, [request_of(), missed, other], samples)
    result = run()
    assert result.exit_code == 1, result.output
    for part in (
        f"Key {missed.key()}",
        "Asked by tests/test_a.py::test_a, case 't18', runtime big, sample 0. (1 other miss in this run)",
        "neither recorded nor cached",
        "Nearest stored request: cached",
        "same  model:           m/big",
        'DIFF  params:          {"temperature": 0.5}',
        '      stored:          {"temperature": 0}',
        "my order [-17-] {+18+} has not arrived",
        "differs in: messages, params.",
    ):
        assert part in result.output


def test_calls_are_chosen_by_criterion_case_and_runtime(run: Run, project: Path) -> None:
    """The filters choose among the calls of the run, auxiliary ones included."""
    one, two = request_of("one"), request_of("two", model="m/judge")
    samples = [
        sample_of("a", "big", (one, "ReplayMissError")),
        sample_of("b", "big", (two, "ReplayMissError"), asked_of="judge"),
    ]
    path = write_evidence(project, [one, two], samples)
    assert f"Key {two.key()}" in run("--case", "b").output
    assert f"Key {two.key()}" in run("--runtime", "judge", "--evidence", path).output
    assert f"Key {one.key()}" in run("--runtime", "big", "--criterion", "tests/test_a.py::test_a").output
    assert f"Key {two.key()}" in run("--key", two.key()[:10]).output
    assert "redacted" not in run("--case", "b").output


def test_the_sample_index_is_an_ingredient(run: Run, project: Path) -> None:
    """A further sample of a recorded case differs by its index alone."""
    missed = request_of("Hello there", sample=1)
    write_evidence(project, [missed], [sample_of("a", "big", (missed, "ReplayMissError"))])
    result = run()
    assert "Nearest stored request: recorded in " in result.output
    assert "differs in: sample." in result.output


def test_a_stored_request_is_no_finding(run: Run, project: Path) -> None:
    """A request that is stored is shown with its place, and the exit status is 0."""
    write_evidence(project, [request_of()], [sample_of("a", "big", (request_of(), None))])
    result = run("--case", "a")
    assert result.exit_code == 0
    assert "The answer is cached in " in result.output
    result = run("--key", request_of().key())
    assert result.exit_code == 0


def test_a_key_is_looked_up_without_a_run(run: Run, project: Path) -> None:
    """Without an artifact a stored key is found among cache and recordings."""
    result = run("--key", request_of("Hello there").key()[:12])
    assert result.exit_code == 0, result.output
    assert f"recorded in {project / 'recordings' / 'r.jsonl'}, line 1" in result.output


def test_a_request_from_a_file(run: Run, project: Path) -> None:
    """A request may come from a file, alone or as a line of a recordings file."""
    (project / "q.json").write_text(json.dumps(request_of("Hello you").content()))
    result = run("--request", "q.json")
    assert result.exit_code == 1
    assert "Hello [-there-] {+you+}" in result.output
    assert run("--request", "recordings/r.jsonl").exit_code == 0


def test_an_empty_store(run: Run, project: Path) -> None:
    """Where nothing is stored the ingredients are shown alone."""
    (project / ".proofmap" / "cache" / "cache.db").unlink()
    (project / "recordings" / "r.jsonl").unlink()
    (project / "q.json").write_text(json.dumps(request_of().content()))
    result = run("--request", "q.json")
    assert result.exit_code == 1
    assert "No other answer is stored" in result.output
    assert "m/big" in result.output


def test_a_redacted_request_is_named_as_such(run: Run, project: Path) -> None:
    """When the artifact does not hold the request as it was asked, the explanation says so."""
    missed = request_of("my password is hunter2")
    path = write_evidence(project, [missed], [sample_of("a", "big", (missed, "ReplayMissError"))])
    path.write_text(path.read_text().replace("hunter2", "[redacted]"))
    result = run()
    assert result.exit_code == 1
    assert "a secret was redacted" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--case", "fnie"], "Did you mean 'fine'?"),
        (["--criterion", "tests/test_b.py::test_a"], "Did you mean 'tests/test_a.py::test_a'?"),
        (["--runtime", "bog"], "Did you mean 'big'?"),
        (["--key", "ffff0000ffff"], "has no such call"),
        ([], "has no replay miss"),
        (["--request", "proofmap.toml"], "no request can be read from it"),
        (["--request", "list.json"], "no request can be read from it"),
        (["--request", "partial.json"], "'model'"),
        (["--evidence", "proofmap.toml"], "proofmap.toml"),
        (["--evidence", "none.json"], "none.json"),
    ],
)
def test_bad_input(run: Run, project: Path, arguments: list[str], message: str) -> None:
    """A question that cannot be answered is bad input with the reason."""
    (project / "list.json").write_text("[1]")
    (project / "partial.json").write_text('{"messages": []}')
    write_evidence(project, [request_of()], [sample_of("fine", "big", (request_of(), None))])
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output


def test_without_a_run_it_says_how_to_make_one(run: Run) -> None:
    """Without an artifact the message says what to do."""
    result = run()
    assert result.exit_code == 2
    assert "pytest --proofmap" in result.output
