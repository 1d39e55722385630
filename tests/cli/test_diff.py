"""``proofmap diff``: two artifacts or two locks compared."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import command_line
import pytest
from command_line import proofmap, store
from stored_evidence import decided, undecided

from pytest_proofmap.evidence.models import Evidence, Price
from pytest_proofmap.lock.file import write_lock
from pytest_proofmap.lock.models import Approval, Lock
from pytest_proofmap.lock.propose import ApprovalRequest, approved_routes, replace_objectives

X, Y = "t.py::test_x", "t.py::test_y"
GOOD = {"base": "P" * 60, "mini": "P" * 60, "haiku": "P" * 60}
FLAKY = GOOD | {"mini": "F" * 15 + "P" * 45}
APPROVAL = Approval(by="ada", at="2026-01-02T00:00:00Z", reason="", expires_at=None)


def run(outcomes: Mapping[str, Mapping[str, str]], name: str = "r1", **settings: Any) -> Evidence:
    """Return the evidence of a run that asked providers."""
    return decided(outcomes, run={"id": name}, **{"source": "live", **settings})


def lock_of(evidence: Evidence, approval: Approval = APPROVAL, **wanted: Any) -> Lock:
    """Return a lock with the routes that evidence recommends."""
    names = [objective.name for objective in evidence.objectives]
    return replace_objectives(
        Lock(), approved_routes(evidence, ApprovalRequest(**wanted), approval, "0" * 64), names
    )


def lock_file(lock: Lock, path: Path) -> Path:
    """Write a lock."""
    write_lock(path, lock)
    return path


words = partial(command_line.words, "diff")
comparison = partial(command_line.as_json, "diff")


@pytest.mark.parametrize("fail_on", [[], ["--fail-on", "regression"], ["--fail-on", "drift"]], ids=" ".join)
def test_the_same_again_holds(tmp_path: Path, fail_on: list[str]) -> None:
    """A second run with the same outcomes passes every check."""
    old, new = store(run({X: GOOD}), tmp_path / "old"), store(run({X: GOOD}, "r2"), tmp_path / "new")
    text = words(old, new, *fail_on)
    assert text.endswith("no change for the worse and no drift")
    assert "!" not in text


@pytest.mark.parametrize(
    ("fail_on", "status"), [([], 0), (["--fail-on", "regression"], 1), (["--fail-on", "drift"], 1)]
)
def test_a_regression(tmp_path: Path, fail_on: list[str], status: int) -> None:
    """A verdict that got worse is named with its reason, and fails only when asked to."""
    old, new = store(run({X: GOOD}), tmp_path / "old"), store(run({X: FLAKY}, "r2"), tmp_path / "new")
    text = words(old, new, *fail_on, status=status)
    assert "Verdicts that got worse (2) ✗ x: mini qualified → not qualified: worse than base" in text
    assert "! mini: 100 % → 75 % in 60 cases, −25.0 points (" in text
    assert "15 changed for the worse, 0 for the better: c0, c1, c2 and 12 more" in text
    assert "change for the worse: 2 verdicts got worse; the pass rate of mini dropped" in text
    assert ("this fails: --fail-on" in text) is bool(status)


@pytest.mark.parametrize(("fail_on", "status"), [("regression", 0), ("drift", 1)])
def test_latency_is_drift_and_no_regression(tmp_path: Path, fail_on: str, status: int) -> None:
    """Slower answers fail a check for drift only."""
    old = store(run({X: GOOD}, latency_s=1.0), tmp_path / "old")
    new = store(run({X: GOOD}, "r2", latency_s=1.3), tmp_path / "new")
    text = words(old, new, "--fail-on", fail_on, status=status)
    assert "! mini: 1.30× (1.30× to 1.30×) in 60 cases, slower" in text
    assert "drift: the latency of base, haiku, mini moved" in text


def test_lost_coverage(tmp_path: Path) -> None:
    """What is not covered any more is named, however well the rest does."""
    less = {X: {name: letters[:59] for name, letters in GOOD.items()}}
    old, new = store(run({X: GOOD, Y: GOOD}), tmp_path / "old"), store(run(less, "r2"), tmp_path / "new")
    text = words(old, new, "--fail-on", "regression", status=1)
    assert "Lost coverage: OLD has it, NEW lacks it (3) - objective y - criterion t.py::test_y" in text
    assert "- test_x: 1 case: c59" in text
    assert comparison(new, old, "--fail-on", "drift")["added"][0] == {
        "kind": "objective",
        "name": "y",
        "criterion": None,
        "runtime": None,
        "cases": [],
        "unavailable": 0,
    }


def test_another_model_and_another_test(tmp_path: Path) -> None:
    """A swapped model is told, and so is the part of a criterion's fingerprint that changed."""
    before = run({X: GOOD})
    data = json.loads(run({X: GOOD}, "r2").model_dump_json(by_alias=True))
    data["criteria"][0]["fingerprint"] = "source:9/bar:2/cases:3"
    for sample in data["samples"]:
        if sample["runtime"] == "mini":
            sample["calls"][0]["model"] = "mini-2026-05"
    new = tmp_path / "new"
    new.write_text(json.dumps(data))
    text = words(store(before, tmp_path / "old"), new)
    assert "- criterion t.py::test_x changed (source): 1 → 9" in text
    assert "- mini: mini (60 answers) → mini-2026-05 (60 answers)" in text
    assert "[source changed]" in text
    assert "drift: another model answered for mini" in text


def test_json_holds_everything(tmp_path: Path) -> None:
    """The JSON has flips and gains apart, and says of each measure whether it moved."""
    swapped = GOOD | {"mini": "F" * 30 + "P" * 30}
    before = GOOD | {"haiku": "F" * 30 + "P" * 30}
    old = store(run({X: before}, latency_s=1.0), tmp_path / "old")
    new = store(run({X: swapped}, "r2", latency_s=1.0), tmp_path / "new")
    found = comparison(old, new, "--fail-on", "regression", status=1)
    assert (found["compared"], found["regression"], found["drift"]) == ("evidence", True, True)
    assert [(each["scope"], each["runtime"], each["new"]) for each in found["worse"]] == [
        ("objective", "mini", "not_qualified"),
        ("criterion", "mini", "not_qualified"),
    ]
    assert {each["runtime"] for each in found["better"]} == {"haiku"}
    mini = next(each for each in found["rates"] if each["runtime"] == "mini")
    assert (mini["old"], mini["new"], mini["dropped"], len(mini["regressed"])) == (1.0, 0.5, True, 30)
    assert mini["interval"][0] < -0.5 < mini["interval"][1]
    assert {each["beyond_interval"] for each in (*found["costs"], *found["latencies"])} == {False}
    assert found["chains"][0]["old"] == ["mini", "base"]
    assert (found["old"]["run"]["id"], found["new"]["path"]) == ("r1", str(new))


def test_replayed_answers_are_said(tmp_path: Path) -> None:
    """A second run that asked nobody cannot show what providers changed."""
    old = store(run({X: GOOD}), tmp_path / "old")
    text = words(old, store(run({X: GOOD}, "r2", source="cache"), tmp_path / "new"))
    assert "! NEW has no live answer" in text
    assert "--proofmap-cache=refresh" in text
    assert "both are of the same run" in words(old, old)


def test_undecided_evidence_is_decided(tmp_path: Path) -> None:
    """An artifact without verdicts is decided by its own bars."""
    old = store(undecided({X: GOOD}), tmp_path / "old")
    found = comparison(old, store(run({X: FLAKY}, "r2"), tmp_path / "new"))
    assert len(found["worse"]) == 2


def test_verbose_names_every_case(tmp_path: Path) -> None:
    """With -v the criterion's own flip is there too, with -vv every case."""
    old, new = store(run({X: GOOD}), tmp_path / "old"), store(run({X: FLAKY}, "r2"), tmp_path / "new")
    assert "✗ test_x: mini" not in words(old, new)
    assert "✗ test_x: mini" in words(old, new, "-v")
    assert "c12, c13, c14" in words(old, new, "-vv")


def test_locks(tmp_path: Path) -> None:
    """Routes that came, went and changed are told with what was lost."""
    before = lock_of(run({X: GOOD, Y: GOOD}))
    dropped = run({X: FLAKY, "t.py::test_new": GOOD}, "r2")
    old, new = lock_file(before, tmp_path / "old.lock"), lock_file(lock_of(dropped), tmp_path / "new.lock")
    text = words(old, new, "--fail-on", "regression", status=1)
    assert "~ x: mini (then haiku, base) → haiku (then base) ! the runtime mini is gone" in text
    assert "+ new: new route, mini (then haiku, base)" in text
    assert "- y: the route is gone, was mini (then haiku, base)" in text
    assert "haiku passes 100 % of 60 cases, $0.40 for 1,000" in text
    found = comparison(old, new)
    assert (found["compared"], found["regression"]) == ("locks", True)
    assert {route["name"]: route["losses"] for route in found["routes"]} == {
        "new": [],
        "x": ["the runtime mini is gone"],
        "y": ["the route is gone"],
    }


def test_a_renewed_approval_is_no_drift(tmp_path: Path) -> None:
    """The same route, approved again, is told and fails nothing."""
    evidence = run({X: GOOD})
    again = Approval(by="bob", at="2026-03-04T00:00:00Z", reason="quarterly", expires_at="2026-06-04T00:00:00Z")
    old = lock_file(lock_of(evidence), tmp_path / "old.lock")
    new = lock_file(lock_of(evidence, again), tmp_path / "new.lock")
    text = words(old, new, "--fail-on", "drift")
    assert "~ x: still mini (then haiku, base), approved anew" in text
    assert "approved by bob on 2026-03-04, ends on 2026-06-04: quarterly before by ada on 2026-01-02" in text
    assert words(old, old).endswith("no route differs")


def test_other_grounds_of_a_route(tmp_path: Path) -> None:
    """The same chain on another criterion, runtime or price says which."""
    evidence = run({X: GOOD})
    (criterion,) = evidence.criteria
    mini = evidence.runtimes["mini"]
    price = Price(input_per_mtok=1, output_per_mtok=2)
    changed = evidence.model_copy(
        update={
            "criteria": [criterion.model_copy(update={"fingerprint": "source:1/bar:2/cases:9"})],
            "runtimes": evidence.runtimes
            | {
                "mini": mini.model_copy(update={"fingerprint": "mini2", "params": {"top_p": 1}}),
                "base": evidence.runtimes["base"].model_copy(update={"price": price}),
            },
        }
    )
    old = lock_file(lock_of(evidence), tmp_path / "old.lock")
    new = lock_file(lock_of(changed), tmp_path / "new.lock")
    text = words(old, new, "--fail-on", "regression")
    assert "~ x: still mini (then haiku, base), on other grounds" in text
    assert re.search(r"runtime mini changed: [0-9a-f]{12} → [0-9a-f]{12} \(params\)", text)
    assert "criterion t.py::test_x changed (cases): 3 → 9" in text
    assert "runtime base has another price" in text
    words(old, new, "--fail-on", "drift", status=1)


def test_bad_input(tmp_path: Path) -> None:
    """Two kinds of files, shards, strangers and broken locks are refused with what to do."""
    evidence = store(run({X: GOOD}), tmp_path / "evidence.json")
    lock = lock_file(lock_of(run({X: GOOD})), tmp_path / "proofmap.lock")
    shard = store(undecided({X: GOOD}, run={"shard": True}), tmp_path / "shard.json")
    edited = tmp_path / "edited.lock"
    edited.write_text(lock.read_text().replace('"cases": 60', '"cases": 61'))
    conflict = tmp_path / "conflict.lock"
    conflict.write_text("<<<<<<< ours\n" + lock.read_text() + ">>>>>>> theirs\n")
    stranger = tmp_path / "stranger.json"
    stranger.write_text('{"model": "m", "schema": "other/1"}')
    half = tmp_path / "half.json"
    half.write_bytes(evidence.read_bytes()[:300])
    for other, message in (
        (lock, "cannot compare evidence ("),
        (shard, "is one shard of a run"),
        (edited, "its digest does not match"),
        (conflict, "has merge conflicts"),
        (stranger, "is neither evidence nor a lock: its schema is 'other/1'"),
        (half, "is not an artifact of the schema 'proofmap.evidence/1'"),
        (tmp_path / "none.json", "cannot read"),
    ):
        done = proofmap("diff", evidence, other)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    empty = store(undecided({X: {"base": "S", "mini": "S"}}), tmp_path / "empty.json")
    done = proofmap("diff", empty, evidence, "--fail-on", "drift")
    assert (done.returncode, done.stdout) == (2, "")
    assert "have no answered case in common" in done.stderr
    done = proofmap("diff", evidence, evidence, "--fail-on", "loss")
    assert (done.returncode, "is not one of" in done.stderr) == (2, True)
