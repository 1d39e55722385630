"""What is kept out of the garbage collector's way, and what is not."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from pytest_proofmap.evidence.modules import Modules

# Its warning about an option that is not set would be an error in this process, with pytest 8.4.
WITHOUT_ASYNCIO = ("-p", "no:asyncio")


def test_parsing_leaves_the_collector_as_it_was(tmp_path: Path) -> None:
    """It is off while a module is parsed; who switched it off wants it so."""
    path = tmp_path / "module.py"
    for text in ("x = 1\n", "x = (\n"):
        path.write_text(text)
        Modules(tmp_path).read(path)
        assert gc.isenabled()
        gc.disable()
        try:
            Modules(tmp_path).read(path)
            assert not gc.isenabled()
        finally:
            gc.enable()


def test_garbage_of_tests_is_still_reported(pytester: pytest.Pytester) -> None:
    """What a run's tests leave behind is searched for errors in destructors, as pytest does at its end."""
    pytester.makepyfile(
        """
        class Leaky:
            def __init__(self):
                self.me = self
            def __del__(self):
                raise ValueError("never closed")

        def test_leaky():
            Leaky()
        """
    )
    result = pytester.runpytest_subprocess("--proofmap")
    assert "PytestUnraisableExceptionWarning" in result.stdout.str() + result.stderr.str()
    assert "never closed" in result.stdout.str() + result.stderr.str()


def test_nothing_stays_aside_after_a_run(pytester: pytest.Pytester) -> None:
    """A process that goes on after pytest has everything collected again."""
    pytester.makepyfile("def test_nothing(): pass")
    pytester.runpytest_inprocess("--proofmap", *WITHOUT_ASYNCIO).assert_outcomes(passed=1)
    assert gc.get_freeze_count() == 0


def test_collections_are_rarer_during_a_run_and_as_before_after_it(pytester: pytest.Pytester) -> None:
    """More may be made between two of them; a process that goes on after pytest notices nothing."""
    pytester.makepyfile("import gc\ndef test_threshold(): assert gc.get_threshold()[0] == 10_000")
    before = gc.get_threshold()
    pytester.runpytest_inprocess("--proofmap", *WITHOUT_ASYNCIO).assert_outcomes(passed=1)
    assert gc.get_threshold() == before


def test_thresholds_that_a_project_chose_are_kept(pytester: pytest.Pytester) -> None:
    """Who set them knows why."""
    pytester.makeconftest("import gc\ngc.set_threshold(123)")
    pytester.makepyfile("import gc\ndef test_threshold(): assert gc.get_threshold()[0] == 123")
    pytester.runpytest_subprocess("--proofmap").assert_outcomes(passed=1)


def test_the_end_of_the_process_is_quick_and_runs_what_others_registered(pytester: pytest.Pytester) -> None:
    """Functions that others registered for the end of the process run as ever."""
    pytester.makeconftest("import atexit\natexit.register(print, 'closed properly')")
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.run(sys.executable, "-m", "pytest", "--proofmap")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["closed properly"])
