"""The artifact is written whole or not at all, and read with clear errors."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence import artifact
from pytest_proofmap.evidence.artifact import ArtifactParts, read_evidence, write_evidence
from pytest_proofmap.evidence.models import Bar, Criterion, Objective, RunInfo, RuntimeInfo, Totals, Versions

RUN = RunInfo(
    id="1",
    started_at="2026-01-01T00:00:00.000Z",
    finished_at="2026-01-01T00:00:01.000Z",
    versions=Versions(proofmap="0", pytest="8", python="3.10", litellm=None),
    complete=True,
)
GPT = RuntimeInfo(model="openai/gpt", provider="openai", params={}, fingerprint="0")
OBJECTIVE = Objective(name="t", baseline="gpt", challengers=[], criteria=["t.py::test"])
BAR = Bar(kind="all_pass", min_pass_rate=1.0, max_failure_rate=0.25, margin=None, confidence=0.95, samples=1)
CRITERION = Criterion(id="t.py::test", objective="t", fingerprint="source:1", collected=["fr \u2028 é"], bar=BAR)
TOTALS = Totals(calls=0, live=0, cached=0, recorded=0, spent_usd=0.0, list_usd=0.0)


def parts(samples: Iterator[str] | None = None) -> ArtifactParts:
    """Return the parts of an artifact of one undecided criterion."""
    return ArtifactParts(
        run=RUN,
        runtimes={"gpt": GPT},
        prompts_json="{}",
        requests=iter([("k1", '{"messages":[],"params":{}}'), ("k2", '{"messages":[],"params":{"a":1}}')]),
        objectives=[OBJECTIVE],
        criteria=[CRITERION],
        samples=samples or iter([]),
        totals=TOTALS,
    )


SAMPLE = json.dumps(
    {
        "criterion": "t.py::test",
        "case": "fr \u2028 \u00e9",
        "runtime": "gpt",
        "role": "baseline",
        "sample": 0,
        "outcome": "passed",
        "message": "",
        "calls": [],
    },
    ensure_ascii=False,
)


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    """The parts come back through the models."""
    path = tmp_path / "deep" / "evidence.json"
    write_evidence(path, parts(iter([SAMPLE])))
    evidence = read_evidence(path)
    assert (evidence.run, evidence.totals) == (RUN, TOTALS)
    assert list(evidence.requests) == ["k1", "k2"]
    assert [sample.case for sample in evidence.samples] == ["fr \u2028 \u00e9"]


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([SAMPLE, SAMPLE], "is there twice"),
        ([SAMPLE.replace("fr ", "de ")], "which was not among its 1 collected cases"),
        ([SAMPLE, SAMPLE.replace('"sample": 0', '"sample": 1')], "each case is sampled 1 times"),
    ],
    ids=["twice", "phantom case", "phantom repeat"],
)
def test_samples_that_no_run_can_hold(tmp_path: Path, samples: list[str], words: str) -> None:
    """A sample that was never collected, or counts twice, is a contradiction and no evidence."""
    path = tmp_path / "evidence.json"
    write_evidence(path, parts(iter(samples)))
    with pytest.raises(EvidenceError, match=words):
        read_evidence(path)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    """A write that fails in the middle leaves the old artifact and nothing else."""

    def broken() -> Iterator[str]:
        yield SAMPLE
        raise KeyboardInterrupt

    path = tmp_path / "evidence.json"
    write_evidence(path, parts())
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_evidence(path, parts(broken()))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_others_may_read_it_as_any_file(tmp_path: Path) -> None:
    """The file has the permissions of any new file, not those of a private temporary one."""
    path = tmp_path / "evidence.json"
    write_evidence(path, parts())
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the evidence"),
        ("", "is not an artifact of the schema 'proofmap.evidence/1'"),
        ("{", "is not an artifact"),
        ("[]", "is not an artifact"),
        ('{"schema": "proofmap.evidence/9"}', "schema"),
        ('{"schema": "proofmap.lock/1"}', "schema"),
    ],
)
def test_what_is_no_artifact(tmp_path: Path, content: str | None, words: str) -> None:
    """A file that is missing, cut or of another schema is named with how to make one."""
    path = tmp_path / "evidence.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(EvidenceError) as caught:
        read_evidence(path)
    assert words in str(caught.value)
    assert "evidence.json" in str(caught.value)
    assert "pytest --proofmap" in str(caught.value)


def test_half_an_artifact(tmp_path: Path) -> None:
    """Half of a file is refused, wherever it was cut."""
    path = tmp_path / "evidence.json"
    write_evidence(path, parts(iter([SAMPLE])))
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2, 97):
        path.write_bytes(whole[:length])
        with pytest.raises(EvidenceError):
            read_evidence(path)


def test_fields_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    """An artifact with fields that this version does not know can be read."""
    path = tmp_path / "evidence.json"
    write_evidence(path, parts(iter([SAMPLE])))
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["run"]["later"] = raw["later"] = 1
    path.write_text(json.dumps(raw), encoding="utf-8")
    assert read_evidence(path).run == RUN


def written(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write an artifact with a change in it."""
    path = tmp_path / "evidence.json"
    write_evidence(path, parts(iter([SAMPLE])))
    raw = json.loads(path.read_text(encoding="utf-8"))
    change(raw)
    path.write_text(json.dumps(raw), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw["samples"][0].update(runtime="other"), "a sample names the runtime 'other'"),
        (lambda raw: raw["samples"][0].update(criterion="x"), "a sample names the criterion 'x'"),
        (lambda raw: raw["criteria"][0].update(objective="x"), "criterion 't.py::test' names the objective 'x'"),
        (lambda raw: raw["objectives"][0].update(baseline="x"), "objective 't' names the runtime 'x'"),
        (lambda raw: raw["objectives"][0].update(criteria=[]), "do not both name each other"),
        (lambda raw: raw["criteria"].append(raw["criteria"][0]), "the criterion 't.py::test' is there twice"),
        (lambda raw: raw["objectives"].append(raw["objectives"][0]), "the objective 't' is there twice"),
    ],
)
def test_parts_that_contradict_each_other(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    """What names something that is not there is refused by name, before anything is made of it."""
    with pytest.raises(EvidenceError) as caught:
        read_evidence(written(tmp_path, change))
    assert words in str(caught.value)


def deep(depth: int) -> list[Any]:
    """Return lists within each other."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300, 10**400, 10**4299])
def test_numbers_that_are_none(tmp_path: Path, value: float) -> None:
    """Money is finite, and no more than there is."""
    with pytest.raises(EvidenceError):
        read_evidence(written(tmp_path, lambda raw: raw["totals"].update(spent_usd=value)))


def test_what_is_nested_without_end(tmp_path: Path) -> None:
    """Depth is bounded where the file is parsed."""
    path = tmp_path / "evidence.json"
    for text in ("[" * 10**6, '{"schema":' * 10**5, json.dumps(deep(500))):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(EvidenceError, match="is not an artifact"):
            read_evidence(path)


def test_a_file_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger file than any run writes is refused by its size, and so is a pipe that does not end."""
    path = tmp_path / "evidence.json"
    with path.open("wb") as file:
        file.truncate(artifact.LARGEST_BYTES + 1)
    with pytest.raises(EvidenceError, match="it has more than 512 MB"):
        read_evidence(path)
    monkeypatch.setattr(artifact, "LARGEST_BYTES", 2**20)
    if os.path.exists("/dev/zero"):
        with pytest.raises(EvidenceError, match="it has more than 1 MB"):
            read_evidence(Path("/dev/zero"))
