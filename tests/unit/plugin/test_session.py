"""One process of a run: which record a test has, and what a worker hands over at its end."""

from __future__ import annotations

import json

from small_project import THREE_CASES, SmallProject

from pytest_proofmap.calls.lookup import PaidCall

SPY = """
import pytest
from pytest_proofmap.prefetch.prefetch import ASKED_IN_DRY_RUN
from pytest_proofmap.plugin.session import PAID_OUTPUT, RECORD, SESSION
from types import SimpleNamespace

def pytest_proofmap_call(runtime, request):
    return request.messages[-1]["content"]

@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    record = item.stash[RECORD]
    kind = "real" if record.gate is None else "dry"
    with open("records.txt", "a") as file:
        file.write(f"{kind} {record.asked_in_dry_run}\\n")
    return (yield)

def pytest_sessionfinish(session):
    run = session.config.stash[SESSION]
    paid = run.paid_calls()
    node = SimpleNamespace(workeroutput={PAID_OUTPUT: '[["k", 0.5, "t.py::test", "a", "mini"]]'})
    run.receive_the_rest(node)
    run.receive_the_rest(SimpleNamespace())
    with open("paid.txt", "w") as file:
        file.write(f"{len(paid)} {[call.key for call in run.recorder.unused_calls()]}")
"""


def test_a_record_says_whether_its_run_is_dry(project: SmallProject) -> None:
    """The record of a copy belongs to its dry run, and the real one knows whether that has asked."""
    project.write("conftest.py", SPY)
    project.write("test_it.py", THREE_CASES)
    project.run("-p", "no:cacheprovider").assert_outcomes(passed=6)
    records = (project.folder / "records.txt").read_text(encoding="utf-8").splitlines()
    assert [record for record in records if record.startswith("real")] == ["real True"] * 6
    assert "dry False" in records

    (project.folder / "records.txt").unlink()
    project.run("-p", "no:cacheprovider", "--proofmap-concurrency=0").assert_outcomes(passed=6)
    assert (project.folder / "records.txt").read_text(encoding="utf-8").splitlines() == ["real False"] * 6


def test_what_workers_have_paid_for_is_taken_in(project: SmallProject) -> None:
    """A call that no sample of any process used is unused; a worker that crashed handed nothing over."""
    project.write("conftest.py", SPY)
    project.write("test_it.py", THREE_CASES)
    project.run("-p", "no:cacheprovider").assert_outcomes(passed=6)
    assert (project.folder / "paid.txt").read_text(encoding="utf-8") == "6 ['k']"


def test_a_paid_call_travels_as_plain_values() -> None:
    """It comes out of JSON as it went in."""
    call = PaidCall("k", None, "t.py::test", "", "mini")
    assert PaidCall(*json.loads(json.dumps(call))) == call
    assert call.asked_for == "t.py::test on mini"
