"""The pytest plugin: hooks that delegate.

Without ``--proofmap`` only the marker, the options, the fixtures and a skip are there, and nothing beyond
pytest and the standard library is imported.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from pytest_proofmap import hookspecs
from pytest_proofmap.fixtures import NEEDS_OPTION, runtime, runtimes
from pytest_proofmap.options import MARK, MARK_HELP, add_options

if TYPE_CHECKING:
    from pytest_proofmap.run.lookahead import LookAhead
    from pytest_proofmap.run.session import QualificationSession

__all__ = ["runtime", "runtimes"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that projects may implement."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and start a run when one is asked for."""
    config.addinivalue_line("markers", MARK_HELP)
    if config.option.proofmap:
        _start(config)
    elif config.option.proofmap_plan:
        raise pytest.UsageError("--proofmap-plan plans a run with --proofmap. Add --proofmap.")
    else:
        config.pluginmanager.register(SkipMarked(), "proofmap-skip")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the run."""
    for name in ("proofmap-skip", "proofmap-plan", "proofmap-run"):
        plugin = config.pluginmanager.unregister(name=name) if config.pluginmanager.has_plugin(name) else None
        if isinstance(plugin, RunHooks):
            plugin.run.close()


def _start(config: pytest.Config) -> None:
    from pytest_proofmap.errors import ProofmapError
    from pytest_proofmap.run.lookahead import LookAhead
    from pytest_proofmap.run.session import SESSION, QualificationSession

    try:
        run = QualificationSession(config)
    except ProofmapError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[SESSION] = run
    config.pluginmanager.register(RunHooks(run, LookAhead(run)), "proofmap-run")
    if config.option.proofmap_plan:
        config.pluginmanager.register(PlanHooks(run), "proofmap-plan")


class SkipMarked:
    """Skips marked tests in a run without ``--proofmap``."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Skip what is marked."""
        skip = pytest.mark.skip(reason=NEEDS_OPTION)
        for item in items:
            # Keywords also hold the names of folders and modules, but finding a mark among them is quick.
            if MARK in item.keywords and item.get_closest_marker(MARK) is not None:
                item.add_marker(skip)


class PlanHooks:
    """pytest's events in a run with ``--proofmap-plan``, beside those of every run."""

    def __init__(self, run: QualificationSession) -> None:
        self.run = run

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Plan, and run nothing."""
        from pytest_proofmap.run.lookahead import make_plan
        from pytest_proofmap.run.plan import PLAN

        session.config.stash[PLAN] = make_plan(self.run, session)
        return True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the plan."""
        from pytest_proofmap.report.plan import write_plan

        write_plan(self.run, terminalreporter)


class RunHooks:
    """pytest's events in a run with ``--proofmap``."""

    def __init__(self, run: QualificationSession, look_ahead: LookAhead) -> None:
        self.run = run
        self.look_ahead = look_ahead

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> Generator[None, None, None]:
        """Parametrize by runtime after everything else, so that its name is last in the id."""
        from pytest_proofmap.errors import MarkerError

        yield
        problem = None
        try:
            self.run.registry.parametrize(metafunc)
        except MarkerError as error:
            problem = str(error)
        if problem is not None:  # Raised outside of the handler, else pytest shows the problem twice.
            pytest.fail(problem, pytrace=False)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Check what can be checked before anything is spent."""
        from pytest_proofmap.errors import ProofmapError
        from pytest_proofmap.run.xdist import refuse

        try:
            self.run.check_before_spending(session)
        except ProofmapError as error:
            refuse(session, str(error))

    def pytest_report_collectionfinish(self) -> list[str]:
        """Say which criteria cannot reach a verdict, before anything is spent."""
        return self.run.foresee()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Look ahead before the first test runs."""
        with self.look_ahead.around_tests(session):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Wait for a test's answers before any clock of the test ticks."""
        with self.look_ahead.around_test(item):
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Start the record of a sample."""
        self.run.begin(item)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Tell reports of subtests from the test's own."""
        with self.run.body(item):
            yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Take a sample's outcome, and word its report."""
        report = yield
        self.run.report(item, call, report)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in what a worker sent."""
        self.run.receive(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport
    ) -> tuple[str, str, tuple[str, Mapping[str, bool]]] | None:
        """Give evidence its own letters and words."""
        from pytest_proofmap.run.outcomes import status

        return status(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
        """Decide, and write the evidence."""
        from pytest_proofmap.run.finish import finish

        finish(self.run, session, exitstatus)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show what was decided."""
        from pytest_proofmap.report.terminal import write_summary
        from pytest_proofmap.run.outcomes import put_plain_skips_first

        put_plain_skips_first(terminalreporter.stats)
        write_summary(self.run, terminalreporter)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of pytest-xdist of the run and where it stands."""
        from pytest_proofmap.errors import ProofmapError

        try:
            self.run.instruct_worker(node)
        except ProofmapError as error:
            raise pytest.UsageError(str(error)) from error
