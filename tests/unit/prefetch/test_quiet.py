"""What a dry run must leave as it was: random numbers, debuggers, threads' hooks, alarms."""

from __future__ import annotations

import bdb
import logging
import random
import signal
import sys
import threading

import pytest
from _pytest.debugging import pytestPDB

from pytest_proofmap.errors import CallError
from pytest_proofmap.prefetch import quiet
from pytest_proofmap.prefetch.quiet import Quiet, Stopped, quiet_suspensions
from pytest_proofmap.prefetch.suspension import DryRun, Suspended


def test_random_numbers_go_on_as_before(pytestconfig: pytest.Config) -> None:
    """Numbers drawn in a dry run are drawn again after it."""
    numpy = pytest.importorskip("numpy")
    state, numpy_state = random.getstate(), numpy.random.get_state()
    with Quiet(pytestconfig).around(DryRun()):
        random.seed(5)
        numpy.random.seed(5)
    assert random.getstate() == state
    assert numpy.random.get_state()[2:] == numpy_state[2:]
    assert (numpy.random.get_state()[1] == numpy_state[1]).all()


@pytest.mark.parametrize("start", ["breakpoint", "pytest", "bdb"])
def test_debuggers_end_a_dry_run(pytestconfig: pytest.Config, start: str) -> None:
    """Every way into a debugger ends it, and all are given back."""
    before = sys.breakpointhook, pytestPDB.__dict__["_init_pdb"], bdb.Bdb.set_trace
    dry_run = DryRun()
    starts = {
        "breakpoint": lambda: sys.breakpointhook(),
        "pytest": pytestPDB.set_trace,
        "bdb": lambda: bdb.Bdb().set_trace(),
    }
    with Quiet(pytestconfig).around(dry_run), pytest.raises(Stopped):
        starts[start]()  # type: ignore[no-untyped-call]  # typeshed knows none of bdb
    assert dry_run.is_stopped
    assert (sys.breakpointhook, pytestPDB.__dict__["_init_pdb"], bdb.Bdb.set_trace) == before


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs the alarm signal")
@pytest.mark.parametrize(("phase", "raised"), [("call", Stopped), ("teardown", CallError)])
def test_a_dry_run_ends_in_time(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, phase: str, raised: type[BaseException]
) -> None:
    """A body is ended by what no test catches, a teardown by an error that lets the others go on."""
    monkeypatch.setattr(quiet, "DRY_RUN_LIMIT_S", 0.05)
    dry_run = DryRun()
    dry_run.enter("teardown" if phase == "teardown" else "call")
    before = signal.getsignal(signal.SIGALRM)
    if before not in (signal.SIG_DFL, None):
        pytest.skip("somebody else uses the alarm")
    with pytest.raises(raised), Quiet(pytestconfig).around(dry_run):
        threading.Event().wait(60)
    assert dry_run.is_stopped
    assert signal.getsignal(signal.SIGALRM) == before


def test_suspensions_of_threads_and_tasks_are_reported_by_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Other errors of threads and tasks still are, and the hooks are given back."""
    reported: list[type[BaseException]] = []

    def note(arguments: threading.ExceptHookArgs) -> None:
        reported.append(arguments.exc_type)

    monkeypatch.setattr(threading, "excepthook", note)

    def fail(error: BaseException) -> None:
        raise error

    with quiet_suspensions():
        for error in (Suspended(), ValueError("of the project")):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join()
            logging.getLogger("asyncio").error("never retrieved", exc_info=error)
    assert reported == [ValueError]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError]
    assert threading.excepthook is note
