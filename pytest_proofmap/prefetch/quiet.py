"""Keeps a dry run quiet: it prints nothing, warns of nothing, stops nowhere and leaves random numbers alone."""

from __future__ import annotations

import bdb
import contextlib
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from _pytest.capture import CaptureManager, MultiCapture, _get_multicapture
from _pytest.debugging import pytestPDB

from pytest_proofmap.errors import CallError
from pytest_proofmap.prefetch.random_numbers import RandomNumbers, same_random_numbers
from pytest_proofmap.prefetch.suspension import DryRun, Suspended

__all__ = ["DRY_RUN_LIMIT_S", "Quiet", "quiet_suspensions"]

DRY_RUN_LIMIT_S = 60.0
"""How long one dry run of a test may take, without the waiting for answers; then it is left alone."""

SHOWS_OUTPUT = ("no", "tee-sys")
"""Methods of capturing (``--capture``) under which output reaches the terminal at once."""


class Stopped(BaseException):
    """Ends a dry run that must not go on, such as one that meets a breakpoint."""


class Quiet:
    """What keeps the dry runs of one session quiet.

    Args:
        config: pytest's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.random_numbers = RandomNumbers()
        self._config = config
        self._capture: MultiCapture[str] | None = None
        manager: CaptureManager | None = config.pluginmanager.get_plugin("capturemanager")
        # Elsewhere pytest's own hooks capture what a test prints, and keep it with the copy of the item. No public
        # attribute tells the method, which --capture, -s and --pdb choose:
        # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/capture.py#L777
        self._shows_output = manager is not None and manager._method in SHOWS_OUTPUT

    @contextlib.contextmanager
    def around(self, dry_run: DryRun) -> Iterator[None]:
        """Keep one dry run quiet."""
        with (
            self._without_output() if self._shows_output else contextlib.nullcontext(),
            self._without_logs(),
            warnings.catch_warnings(),
            self.random_numbers.around_dry_run(),
            _without_debuggers(dry_run),
            _time_limit(dry_run),
        ):
            warnings.simplefilter("ignore")
            yield

    @contextlib.contextmanager
    def around_teardown(self) -> Iterator[None]:
        """Keep the teardown of fixtures that dry runs have set up quiet."""
        with self._without_output(), self._without_logs(), warnings.catch_warnings(), same_random_numbers():
            warnings.simplefilter("ignore")
            yield

    @contextlib.contextmanager
    def _without_output(self) -> Iterator[None]:
        """Capture what is printed, and drop it."""
        manager: CaptureManager | None = self._config.pluginmanager.get_plugin("capturemanager")
        if manager is None:
            yield
            return
        sys.stdout.flush()
        sys.stderr.flush()
        outer = manager._global_capturing
        was_started = outer is not None and outer.is_started()
        if outer is not None and was_started:
            outer.suspend_capturing(in_=True)
        if self._capture is None:
            self._capture = _get_multicapture("fd")
            self._capture.start_capturing()
        else:
            self._capture.resume_capturing()
        # pytest's hooks around a test's phases, and fixtures such as capsys, suspend and resume what they find
        # here: https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/capture.py#L788
        manager._global_capturing = self._capture
        try:
            yield
        finally:
            self._capture.resume_capturing()
            self._capture.readouterr()
            self._capture.suspend_capturing(in_=True)
            manager._global_capturing = outer
            if outer is not None and was_started:
                outer.resume_capturing()

    @contextlib.contextmanager
    def _without_logs(self) -> Iterator[None]:
        """Keep what is logged off the terminal and out of the log file: the real run logs it."""
        # pytest adds these two to the root logger for as long as tests run; those that collect the records of one
        # test stay, as caplog reads them:
        # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/logging.py#L827
        plugin = self._config.pluginmanager.get_plugin("logging-plugin")
        root = logging.getLogger()
        live = [getattr(plugin, name, None) for name in ("log_cli_handler", "log_file_handler")]
        removed = [handler for handler in live if handler in root.handlers]
        for handler in removed:
            root.removeHandler(handler)
        try:
            yield
        finally:
            for handler in removed:
                root.addHandler(handler)

    def close(self) -> None:
        """Give back what all this needed."""
        self.random_numbers.close()
        if self._capture is not None:
            self._capture.stop_capturing()
            self._capture = None


@contextlib.contextmanager
def quiet_suspensions() -> Iterator[None]:
    """Keep suspensions that end in a thread or a task of a test from being reported as errors of the project."""
    report_thread = threading.excepthook
    tasks = logging.getLogger("asyncio")

    def report(arguments: threading.ExceptHookArgs) -> Any:
        if not issubclass(arguments.exc_type, Suspended | Stopped):
            report_thread(arguments)

    def is_no_suspension(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], Suspended | Stopped))

    # pytest's hook makes a warning of what it is given, which -W error makes a failure of the next real run:
    # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/threadexception.py#L133
    threading.excepthook = report
    tasks.addFilter(is_no_suspension)
    try:
        yield
    finally:
        tasks.removeFilter(is_no_suspension)
        if threading.excepthook is report:
            threading.excepthook = report_thread


@contextlib.contextmanager
def _without_debuggers(dry_run: DryRun) -> Iterator[None]:
    """End a dry run in place of stopping in it: the real run stops there, once."""

    def stop(*_: object, **__: object) -> None:
        dry_run.is_stopped = True
        raise Stopped

    hook: Callable[..., Any] = sys.breakpointhook
    # The name that `import pdb` gives, and the debugger that others derive theirs from. A test module may have
    # taken pytest's set_trace with `from pdb import set_trace`, which pytest puts there and which ends in
    # _init_pdb: https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/debugging.py#L76
    start, trace = pytestPDB.__dict__["_init_pdb"], bdb.Bdb.set_trace
    sys.breakpointhook = stop
    pytestPDB._init_pdb = stop  # type: ignore[method-assign]  # given back below
    bdb.Bdb.set_trace = stop  # type: ignore[method-assign]  # given back below
    try:
        yield
    finally:
        sys.breakpointhook = hook
        pytestPDB._init_pdb = start  # type: ignore[method-assign]  # as it was
        bdb.Bdb.set_trace = trace  # type: ignore[method-assign]  # as it was


@contextlib.contextmanager
def _time_limit(dry_run: DryRun) -> Iterator[None]:
    """End a dry run that takes too long; timeouts of tests guard only the real run.

    It needs the alarm signal, so it holds in the main thread on systems that have one, and leaves a handler
    that somebody else has installed alone.
    """
    # Python lets the main thread alone set handlers. pytest-timeout sets this one around real runs, when none of
    # ours is there: https://github.com/pytest-dev/pytest-timeout/blob/2.4.0/pytest_timeout.py#L324
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not usable or signal.getsignal(signal.SIGALRM) not in (signal.SIG_DFL, None):
        yield
        return

    def give_up(signum: int, frame: FrameType | None) -> None:
        dry_run.is_stopped = True
        if dry_run.is_torn_down:
            # As in DryRun._raise: the finalizers that are left must run.
            signal.setitimer(signal.ITIMER_REAL, DRY_RUN_LIMIT_S)
            raise CallError("DryRunError", f"the teardown took longer than {DRY_RUN_LIMIT_S:g} s")
        raise Stopped

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, DRY_RUN_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
