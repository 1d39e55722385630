"""``proofmap merge`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import proofmap
from stored_evidence import undecided

from pytest_proofmap.evidence.artifact import read_evidence
from pytest_proofmap.evidence.models import Evidence

CRITERION = "tests/test_a.py::test_a"


def shards(folder: Path, baseline: str, challenger: str, count: int = 2) -> list[Path]:
    """Write the shards of a run, given one letter per case and runtime."""
    whole = undecided({CRITERION: {"base": baseline, "mini": challenger}})
    paths = []
    for number in range(count):
        samples = [each for each in whole.samples if int(each.case[1:]) % count == number]
        run = whole.run.model_copy(update={"id": f"shard{number}", "shard": True, "complete": False})
        shard = whole.model_copy(update={"samples": samples, "run": run})
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(shard.model_dump_json(by_alias=True), encoding="utf-8")
    return paths


def joined(folder: Path) -> Evidence:
    """Return the artifact that was written."""
    return read_evidence(folder / "out.json")


def test_shards_become_one_decided_artifact(tmp_path: Path) -> None:
    """The joined artifact is decided and complete, and the summary is shown."""
    done = proofmap("merge", *shards(tmp_path, "P" * 60, "P" * 60), "-o", tmp_path / "out.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 shards joined" in done.stdout
    assert "60/60" in done.stdout
    evidence = joined(tmp_path)
    assert evidence.run.complete
    assert evidence.objectives[0].verdicts[0].status == "qualified"
    assert len(evidence.samples) == 120


def test_quiet_shows_little(tmp_path: Path) -> None:
    """With -q the tables are left out."""
    done = proofmap("merge", "-q", *shards(tmp_path, "P" * 60, "P" * 60), "-o", tmp_path / "out.json")
    assert done.returncode == 0
    assert "60/60" not in done.stdout


def test_strict_demands_that_challengers_qualify(tmp_path: Path) -> None:
    """An insufficient challenger holds without --strict and is a finding with it."""
    paths = shards(tmp_path, "P" * 10, "P" * 10)
    assert proofmap("merge", *paths, "-o", tmp_path / "out.json").returncode == 0
    done = proofmap("merge", "--strict", *paths, "-o", tmp_path / "out.json")
    assert done.returncode == 1
    assert "--strict: mini is insufficient" in " ".join(done.stdout.split())
    assert joined(tmp_path).run.strict


def test_missing_samples_are_a_finding(tmp_path: Path) -> None:
    """The artifact is written, says that it is incomplete, and the status is 1."""
    first, _ = shards(tmp_path, "P" * 10, "P" * 10)
    done = proofmap("merge", first, "-o", tmp_path / "out.json")
    assert done.returncode == 1
    assert "the shards are not the whole run" in " ".join(done.stdout.split())
    assert not joined(tmp_path).run.complete


def test_the_output_may_be_one_of_the_shards(tmp_path: Path) -> None:
    """A shard is read to its end before the joined artifact takes its place."""
    first, second = shards(tmp_path, "P" * 10, "P" * 10)
    assert proofmap("merge", first, second, "-o", first).returncode == 0
    assert len(read_evidence(first).samples) == 20


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "Missing argument 'SHARDS...'"),
        (["0.json"], "Missing option '-o'"),
        (["none.json", "-o", "out.json"], "cannot read the evidence 'none.json'"),
        (["0.json", "0.json", "-o", "out.json"], "the same run"),
        (["0.json", "1.json", "-o", "0.json/out.json"], "cannot write the evidence"),
    ],
)
def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: str) -> None:
    """What cannot be read, joined or written has status 2 and no traceback."""
    shards(tmp_path, "P" * 4, "P" * 4)
    monkeypatch.chdir(tmp_path)
    done = proofmap("merge", *arguments)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_samples_that_disagree_write_nothing(tmp_path: Path) -> None:
    """Two outcomes of one sample are bad input, and no artifact is written."""
    first, second = shards(tmp_path, "P" * 4, "P" * 4)
    content = json.loads(second.read_text())
    content["samples"].append({**json.loads(first.read_text())["samples"][0], "outcome": "failed"})
    second.write_text(json.dumps(content))
    done = proofmap("merge", first, second, "-o", tmp_path / "out.json")
    assert done.returncode == 2
    assert "disagree: the sample of case 'c0'" in done.stderr
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(("case", "words"), [("c7", "not among its 5 collected cases"), ("c1", "twice")])
def test_phantom_samples_are_refused(tmp_path: Path, case: str, words: str) -> None:
    """Samples of cases that nobody collected, or that a file repeats, do not count: they are an error."""
    paths = shards(tmp_path, "P" * 5, "P" * 5)
    shard = json.loads(paths[1].read_text(encoding="utf-8"))
    shard["samples"] += [{**each, "case": case} for each in shard["samples"][:1]]
    paths[1].write_text(json.dumps(shard), encoding="utf-8")
    done = proofmap("merge", "--strict", *paths, "-o", tmp_path / "out.json")
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "out.json").exists()
