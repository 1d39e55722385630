"""Joining the artifacts of shards, and reading an artifact part by part."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from stored_evidence import call, content, criterion_of, objective_of, sample

from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence import artifact as stream
from pytest_proofmap.evidence.artifact import read_parts
from pytest_proofmap.evidence.merge import ShardMerger

CRITERION = "tests/test_a.py::test_a"
CASES = ("c0", "c1", "c2")

Change = Callable[[dict[str, Any]], None]


def shard(name: str, cases: tuple[str, ...], change: Change | None = None) -> dict[str, Any]:
    """Return the artifact of a shard that ran some cases on both runtimes."""
    runtimes = ("gpt", "mini")
    samples = [
        sample(
            runtime,
            case,
            criterion=CRITERION,
            role="baseline" if runtime == "gpt" else "challenger",
            calls=[call(f"{runtime}-{case}", model=runtime)],
        )
        for case in cases
        for runtime in runtimes
    ]
    all_pass = {"kind": "all_pass", "min_pass_rate": 1.0, "margin": None}
    artifact = content(
        samples,
        run={
            "id": name,
            "started_at": f"2026-01-0{len(cases)}T00:00:00Z",
            "finished_at": f"2026-01-0{len(cases)}T01:00:00Z",
            "git": {"commit": "abc", "dirty": False},
            "complete": False,
            "shard": True,
        },
        runtimes={
            runtime: {"model": runtime, "provider": "openai", "params": {}, "fingerprint": f"print-{runtime}"}
            for runtime in runtimes
        },
        prompts={"p": {"default": {"file": "p.prompt", "sha256": "1", "messages": []}}},
        requests={each["calls"][0]["key"]: {"messages": [{}], "params": {}} for each in samples},
        objectives=[objective_of("a", [CRITERION], runtimes)],
        criteria=[criterion_of(CRITERION, "a", CASES, all_pass, fingerprint="source:1/bar:2/cases:3")],
        totals={
            "calls": len(samples),
            "live": len(samples),
            "spent_usd": 0.5 * len(samples),
            "list_usd": 0.5 * len(samples),
        },
    )
    if change is not None:
        change(artifact)
    return artifact


def written(folder: Path, *artifacts: Mapping[str, Any]) -> list[Path]:
    """Write artifacts to files named after their runs."""
    paths = []
    for artifact in artifacts:
        paths.append(folder / f"{artifact['run']['id']}.json")
        paths[-1].write_text(json.dumps(artifact), encoding="utf-8")
    return paths


def merged(folder: Path, *artifacts: Mapping[str, Any]) -> ShardMerger:
    """Return the merger of artifacts, all samples read."""
    merger = ShardMerger(written(folder, *artifacts))
    list(merger.samples())
    return merger


def test_shards_make_up_the_run(tmp_path: Path) -> None:
    """Shards that cover what was collected are one complete run."""
    merger = ShardMerger(written(tmp_path, shard("one", ("c0", "c2")), shard("two", ("c1",))))
    samples = list(merger.samples())

    assert [(each.sample.case, each.sample.runtime) for each in samples] == [
        (case, runtime) for case in ("c0", "c2", "c1") for runtime in ("gpt", "mini")
    ]
    assert all(json.loads(each.text)["case"] == each.sample.case for each in samples)
    assert len(merger.take_requests()) == 6
    assert not merger.take_requests()
    run = merger.run(strict=True)
    assert run.complete
    assert run.strict
    assert not run.shard
    assert (run.started_at, run.finished_at) == ("2026-01-01T00:00:00Z", "2026-01-02T01:00:00Z")
    assert run.git is not None
    assert run.git.commit == "abc"
    assert not merger.warnings
    assert merger.totals().spent_usd == pytest.approx(3.0)
    assert merger.totals().calls == 6


def test_missing_samples_are_named(tmp_path: Path) -> None:
    """A union that does not cover the collected cases is incomplete, and says what is missing."""
    run = merged(tmp_path, shard("one", ("c0",)), shard("two", ("c1",))).run(strict=False)
    assert not run.complete
    assert [reason for reason in run.incomplete_reasons if "case 'c2'" in reason and "1 of 3" in reason]
    assert len(run.incomplete_reasons) == 2


def test_samples_that_agree_count_once(tmp_path: Path) -> None:
    """A sample that two shards hold is one sample, its answers are counted once and paid twice."""

    def from_cache(artifact: dict[str, Any]) -> None:
        for each in artifact["samples"]:
            each["calls"][0].update(source="cache", attempts=0)
        artifact["totals"]["spent_usd"] = 0.0

    merger = merged(tmp_path, shard("one", CASES), shard("two", ("c1",), from_cache))
    assert merger.run(strict=False).complete
    totals = merger.totals()
    assert (totals.calls, totals.live, totals.cached, totals.spent_usd) == (6, 6, 0, 3.0)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda artifact: artifact["samples"][0].update(outcome="failed"), id="outcome"),
        pytest.param(lambda artifact: artifact["samples"][0]["calls"][0].update(text="no"), id="answer"),
    ],
)
def test_samples_that_disagree_are_an_error(tmp_path: Path, change: Change) -> None:
    """Two outcomes or answers of one sample are bad input that names the sample and both files."""
    with pytest.raises(EvidenceError, match=r"one\.json' and .*two\.json' disagree: the sample of case 'c0'"):
        merged(tmp_path, shard("one", CASES), shard("two", ("c0",), change))


def _change(*path: str | int, value: Any) -> Change:
    def change(artifact: dict[str, Any]) -> None:
        place = artifact
        for part in path[:-1]:
            place = place[part]  # type: ignore[index]  # a path may go through lists
        place[path[-1]] = value  # type: ignore[index]  # likewise

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            _change("criteria", 0, "fingerprint", value="source:9/bar:2/cases:3"),
            "the test's source is not the same",
        ),
        (
            _change("criteria", 0, "fingerprint", value="source:1/bar:9/cases:9"),
            "its bar and its cases is not the same",
        ),
        (_change("criteria", 0, "collected", value=["c0"]), "collected of tests/test_a.py::test_a"),
        (_change("objectives", 0, "baseline", value="mini"), "baseline of the objective 'a'"),
        (_change("objectives", 0, "max_cost_per_1k_usd", value=3.0), "max_cost_per_1k_usd of the objective"),
        (_change("runtimes", "mini", "model", value="other"), "the runtime 'mini'"),
        (_change("prompts", "p", "default", "sha256", value="2"), "the prompt 'p.default'"),
        (_change("requests", "mini-c0", "params", value={"seed": 1}), "the request mini-c0"),
    ],
)
def test_conflicts_name_both_files(tmp_path: Path, change: Change, named: str) -> None:
    """What shards of one run have in common must be the same in all of them."""
    with pytest.raises(EvidenceError) as caught:
        merged(tmp_path, shard("one", CASES), shard("two", ("c0",), change))
    assert named in str(caught.value)
    assert "one.json" in str(caught.value)
    assert "two.json" in str(caught.value)


def test_criteria_of_different_files_are_united(tmp_path: Path) -> None:
    """Shards may hold different criteria of one objective."""

    def other(artifact: dict[str, Any]) -> None:
        artifact["criteria"][0]["id"] = "tests/test_b.py::test_b"
        artifact["objectives"][0].update(criteria=["tests/test_b.py::test_b"], sensitive=True)
        for each in artifact["samples"]:
            each["criterion"] = "tests/test_b.py::test_b"

    merger = merged(tmp_path, shard("one", CASES), shard("two", CASES, other))
    assert merger.run(strict=False).complete
    (objective,) = merger.objectives()
    assert objective.criteria == [CRITERION, "tests/test_b.py::test_b"]
    assert objective.sensitive


def test_one_run_given_twice_is_an_error(tmp_path: Path) -> None:
    """The same artifact given twice would count its spending twice."""
    (path,) = written(tmp_path, shard("one", CASES))
    with pytest.raises(EvidenceError, match="the same run"):
        list(ShardMerger([path, path]).samples())


def test_budget_leaves_the_run_incomplete(tmp_path: Path) -> None:
    """Samples that a budget kept from being called make the run incomplete."""

    def over_budget(artifact: dict[str, Any]) -> None:
        artifact["samples"][0].update(outcome="skipped")
        artifact["samples"][0]["calls"][0].update(error={"class": "BudgetError", "message": "used up"})

    run = merged(tmp_path, shard("one", CASES, over_budget)).run(strict=False)
    assert run.incomplete_reasons == ["1 samples were not called because the budget was used up"]


def test_what_a_reader_must_know_is_a_warning(tmp_path: Path) -> None:
    """Different commits and runs that decided for themselves are told."""
    whole = _change("run", "shard", value=False)
    merger = merged(tmp_path, shard("one", CASES, whole))
    assert "none of the files is a shard" in merger.warnings[0]
    other = shard("two", ("c0",), _change("run", "git", "commit", value="def"))
    merger = merged(tmp_path, shard("three", CASES), other)
    assert merger.run(strict=False).git is None
    assert "different commits: abc, def" in merger.warnings[0]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"schema": 1} x', '{"samples": [{}]}', '{"samples": [1', '{"a" 1}']
)
def test_files_that_are_no_artifact_are_an_error(tmp_path: Path, text: str) -> None:
    """Whatever else a file holds is bad input that names it."""
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(EvidenceError, match=r"bad\.json' is not an artifact"):
        list(ShardMerger([path]).samples())


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(EvidenceError, match=r"cannot read the evidence .*none\.json"):
        list(ShardMerger([tmp_path / "none.json"]).samples())


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("chunk", [1, 7, 100, 1 << 20])
def test_parts_are_read_however_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, indent: int | None
) -> None:
    """The parts are the same wherever a chunk ends and however the file is laid out."""
    monkeypatch.setattr(stream, "CHUNK", chunk)
    artifact = shard("one", ("c0",), lambda artifact: artifact["samples"][0].update(message='\ud800 "],} \u00e9'))
    path = tmp_path / "one.json"
    path.write_text(json.dumps(artifact, indent=indent))
    parts = list(read_parts(path))
    assert [part.value for part in parts if part.section == "samples"] == artifact["samples"]
    assert {part.key: part.value for part in parts if part.section == "requests"} == artifact["requests"]
    others = {part.section: part.value for part in parts if part.section not in ("samples", "requests")}
    assert others == {key: value for key, value in artifact.items() if key not in ("samples", "requests")}
    assert all(json.loads(part.text) == part.value for part in parts)
    assert all("\n" not in each.text for each in ShardMerger([path]).samples())
