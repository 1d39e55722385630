"""pytest's events in a run with ``--proofmap``: hooks that delegate, and what SIGTERM does to the run."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import threading
from collections.abc import Generator, Mapping, Sequence
from types import FrameType
from typing import Any

import pytest

from pytest_proofmap.errors import MarkerError, ProofmapError
from pytest_proofmap.plugin.finish import finish
from pytest_proofmap.plugin.junit import add_suite_properties, add_test_properties, describes_tests
from pytest_proofmap.plugin.lookahead import LookAhead, make_plan
from pytest_proofmap.plugin.outcomes import put_plain_skips_first, status
from pytest_proofmap.plugin.preflight import check_before_spending
from pytest_proofmap.plugin.reports import write_report_files
from pytest_proofmap.plugin.session import RECORD, SESSION, QualificationSession
from pytest_proofmap.plugin.terminal import foreseen_lines, write_plan, write_summary
from pytest_proofmap.plugin.xdist import is_controller, refuse
from pytest_proofmap.prefetch.plan import PLAN

__all__ = ["start"]


class Termination:
    """What SIGTERM does to a run: it stops, keeps what was paid and says so, and exits with 143.

    A handler of the project is left alone, and so is a run that is not in the main thread, which gets no signals.

    Args:
        config: pytest's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.came = False
        self.is_finishing = False
        """True while the evidence is written, which is not to be cut short."""
        self._session: pytest.Session | None = None
        self._owner = os.getpid()
        # Python lets the main thread alone set handlers; a handler that is no default is the project's.
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._end)
            config.add_cleanup(self._restore)

    # Around RunHooks' own, which writes.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Let what was found out be written."""
        self._session, self.is_finishing = session, True
        return (yield)

    # After all that sets a status at the session's end, and after a signal that came meanwhile. pytest returns
    # what stands here: https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/main.py#L375
    def pytest_unconfigure(self) -> None:
        """Give a session that was terminated the exit status by which shells tell it."""
        if self.came and self._session is not None:
            self._session.exitstatus = 128 + signal.SIGTERM

    def _end(self, number: int, frame: FrameType | None) -> None:
        # A second one ends the process at once, and so does the first in a process that a test has forked.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() != self._owner:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self.came = True
        if not self.is_finishing:
            # The one exception that pytest ends a run on in an orderly way, with teardowns and the summary:
            # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/main.py#L339
            raise KeyboardInterrupt("SIGTERM")

    def _restore(self) -> None:
        # The process may live on, as where pytest.main() was called.
        if signal.getsignal(signal.SIGTERM) == self._end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


USUAL_THRESHOLDS = (700, 2000)
"""Python's own, before and since 3.13: objects made and not dropped that start a collection of the youngest."""
MADE_BETWEEN_COLLECTIONS = 10_000
"""The threshold of a run."""


def collect_less(config: pytest.Config) -> None:
    """Let more be made between two collections until pytest has ended, and search for no cycles after that.

    A run keeps nearly all that it makes, so that frequent collections find little. Thresholds that somebody has
    set are left alone. At the end of the process the interpreter would look for cycles among everything that the
    run has left, only to give the memory back a moment earlier; pytest has searched for the garbage of tests by
    then (https://github.com/pytest-dev/pytest/blob/main/src/_pytest/unraisableexception.py).
    What all of it saves of a cached run is in ``benchmarks/README.md``.
    """
    thresholds = gc.get_threshold()
    if thresholds[0] in USUAL_THRESHOLDS:
        gc.set_threshold(MADE_BETWEEN_COLLECTIONS, *thresholds[1:])
        config.add_cleanup(lambda: gc.set_threshold(*thresholds))
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def start(config: pytest.Config) -> None:
    """Start a run.

    Raises:
        ProofmapError: The configuration or an option is not allowed, or answers could not be kept.
    """
    collect_less(config)
    run = config.stash[SESSION] = QualificationSession(config)
    config.pluginmanager.register(RunHooks(run, LookAhead(run)), "proofmap-run")
    if not run.is_worker:
        config.pluginmanager.register(Termination(config), "proofmap-termination")
    if config.option.proofmap_plan:
        config.pluginmanager.register(PlanHooks(run), "proofmap-plan")


class PlanHooks:
    """pytest's events in a run with ``--proofmap-plan``, beside those of every run."""

    def __init__(self, run: QualificationSession) -> None:
        self.run = run

    # The first result ends this hook, and pytest's own implementation would run the tests:
    # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/hookspec.py#L594
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Plan, and run nothing."""
        session.config.stash[PLAN] = make_plan(self.run, session)
        return True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the plan."""
        write_plan(self.run, terminalreporter)


class RunHooks:
    """pytest's events in a run with ``--proofmap``, and those of pytest-xdist where it is there."""

    def __init__(self, run: QualificationSession, look_ahead: LookAhead) -> None:
        self.run = run
        self.look_ahead = look_ahead
        self._is_controller = is_controller(run.config)
        self._describes_tests = describes_tests(run.config)

    # Around all others, also the module's and the class's own functions, which pytest calls as plain ones:
    # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/python.py#L496
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> Generator[None, object, None]:
        """Parametrize by runtime after everything else, so that its name is last in the id."""
        yield
        problem = None
        try:
            self.run.registry.parametrize(metafunc)
        except MarkerError as error:
            problem = str(error)
        if problem is not None:  # Raised outside of the handler, else pytest shows the problem twice.
            pytest.fail(problem, pytrace=False)

    # Around --lf, which takes tests out of the result:
    # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/cacheprovider.py#L261
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Take in which files were collected."""
        report = yield
        self.run.selection.take(report, collector.config)
        return report

    # Before the worker of xdist reports what it has collected, of which nothing may be left when it is refused:
    # https://github.com/pytest-dev/pytest-xdist/blob/v3.8.0/src/xdist/remote.py#L257
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Check what can be checked before anything is spent."""
        try:
            check_before_spending(self.run, session)
        except ProofmapError as error:
            refuse(session, str(error))

    def pytest_report_collectionfinish(self, items: Sequence[pytest.Item]) -> list[str]:
        """Say which criteria cannot reach a verdict, before anything is spent."""
        return foreseen_lines(self.run.config, self.run.registry, items)

    # Around xdist's loop, too, which takes the place of pytest's:
    # https://github.com/pytest-dev/pytest-xdist/blob/v3.8.0/src/xdist/remote.py#L201
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Look ahead before the first test runs."""
        with self.look_ahead.around_tests(session):
            return (yield)

    # Around pytest-timeout's wrapper, which starts its clock here, and once for all reruns of
    # pytest-rerunfailures, which run within:
    # https://github.com/pytest-dev/pytest-timeout/blob/2.4.0/pytest_timeout.py#L179
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Wait for a test's answers before any clock of the test ticks."""
        self.look_ahead.before(item)
        try:
            return (yield)
        finally:
            self.look_ahead.after(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, Any, Any]:
        """Follow what fixtures of wider scope do in dry runs."""
        with self.look_ahead.around_fixture(fixturedef, request):
            return (yield)

    # Before pytest sets up fixtures, which ask for the record:
    # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/runner.py#L168
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Start the record of a sample."""
        self.run.begin(item)

    # Inside of all others, so that what they report of the test as a whole is told from its subtests.
    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Tell reports of subtests from the test's own."""
        record = item.stash.get(RECORD, None)
        if record is None:
            return (yield)
        record.running = True
        try:
            return (yield)
        finally:
            record.running = False

    # Around pytest's own, which knows what was expected to fail:
    # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/skipping.py#L277
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Take a sample's outcome, and word its report."""
        report = yield
        self.run.report(item, call, report)
        self.look_ahead.explain(item, call)
        if self._describes_tests:
            add_test_properties(self.run, item, report)
        return report

    # Before pytest's, of which the first to answer is asked alone:
    # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/skipping.py#L315
    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport
    ) -> tuple[str, str, tuple[str, Mapping[str, bool]]] | None:
        """Give evidence its own letters and words."""
        return status(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of pytest-xdist of the run and where it stands."""
        try:
            self.run.instruct_worker(node)
        except ProofmapError as error:
            raise pytest.UsageError(str(error)) from error

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Take in what a worker could not collect: that is all that it sends before its tests run."""
        if self._is_controller:
            self.run.selection.take(report, self.run.config)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take in what a worker sent at its end."""
        self.run.receive_the_rest(node)

    # Before those that show a report: it takes off what the worker attached, and the terminal asks for the status
    # at once. https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/terminal.py#L639
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in what a worker sent."""
        if self._is_controller:
            self.run.receive(report)

    # Before the JUnit file is written, which shows what was decided:
    # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/junitxml.py#L705
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
        """Decide, and write the evidence and the reports."""
        finish(self.run, session, exitstatus, write_report_files)
        add_suite_properties(session.config)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show what was decided."""
        put_plain_skips_first(terminalreporter.stats)
        write_summary(self.run, terminalreporter)

    def pytest_unconfigure(self) -> None:
        """End the run."""
        self.run.close()
