"""Runs a test dry, so that nobody notices.

What runs is a *copy* of a test item with a stash, markers, keywords, properties and report sections of its own.
It goes through the hooks that set up, run and tear down a test, restricted to pytest's own implementations, those
of the project's ``conftest.py`` files and those of plugins that execute, guard or seed tests. No report is made,
and no plugin that reports or measures sees it.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import pytest
from _pytest.fixtures import FixtureDef
from _pytest.outcomes import OutcomeException
from _pytest.tmpdir import tmppath_result_key

from pytest_proofmap.prefetch.quiet import Quiet
from pytest_proofmap.prefetch.suspension import DryRun

__all__ = ["DRY_RUN", "DryRunner", "Ended", "Ending", "owner_of"]

DRY_RUN = pytest.StashKey[DryRun]()
"""The dry run that a copy of an item is for, on the copy's stash."""

EXECUTORS = ("anyio", "pytest_asyncio", "pytest_proofmap", "pytest_trio", "pytest_twisted")
"""Packages whose hooks always take part: they execute tests."""

OBSERVERS = (
    *("allure_pytest", "ddtrace", "pytest_benchmark", "pytest_codspeed", "pytest_cov", "pytest_durations"),
    *("pytest_html", "pytest_memray", "pytest_monitor", "pytest_opentelemetry", "pytest_profiling"),
    *("pytest_reportportal", "pytest_timeout", "xdist"),
)
"""Packages that measure or report tests, known by name."""

REPORTS = frozenset(
    {
        *("pytest_runtest_protocol", "pytest_runtest_makereport", "pytest_runtest_logreport"),
        *("pytest_runtest_logstart", "pytest_runtest_logfinish", "pytest_report_teststatus"),
        "pytest_exception_interact",
    }
)
"""Hooks by which a package shows that it observes tests: what guards or seeds them has no need of these."""

Ending = Literal["suspended", "finished", "unfinished"]
"""How a dry run ended: at a call without an answer, by the test's own end, or by anything else, which says
nothing of the test: a failed setup, a breakpoint, an error of something that the copy disturbed."""


class Ended(NamedTuple):
    """What came of a dry run."""

    copy: pytest.Function
    """The copy, whose stash holds what it left there."""
    ending: Ending


class DryRunner:
    """Runs the items of one session dry.

    Args:
        session: The session.
    """

    def __init__(self, session: pytest.Session) -> None:
        self.quiet = Quiet(session.config)
        self._session = session
        self._relays: dict[frozenset[Any], QuietRelay] = {}
        self._observers: frozenset[Any] | None = None

    def run(self, item: pytest.Function, dry_run: DryRun) -> Ended:
        """Set up, run and tear down a copy of an item, and swallow whatever comes of it.

        The nodes above the item, and their fixtures, stay set up.

        Raises:
            KeyboardInterrupt: The user wants to stop.
        """
        copied = self._copy(item)
        copied.stash[DRY_RUN] = dry_run
        relay: QuietRelay = copied.__dict__["_quiet_relay"]
        is_finished = False
        with self.quiet.around(dry_run):
            # The real run reports every outcome, so that all but the user's own wish to stop is dropped here.
            with _swallowing():
                relay.pytest_runtest_setup(item=copied)
                dry_run.enter("call")
                is_finished = _ends_by_itself(lambda: relay.pytest_runtest_call(item=copied))
            dry_run.enter("teardown")
            self._end_set_ups()
            with _swallowing():
                # To pytest the item itself comes next, which shares every node with its copy but the copy.
                relay.pytest_runtest_teardown(item=copied, nextitem=item)
            dry_run.enter("over")
        self._forget(copied)
        _forget_soft_failures()
        if dry_run.suspended:
            return Ended(copied, "suspended")
        return Ended(copied, "finished" if is_finished and not dry_run.is_stopped else "unfinished")

    def _copy(self, item: pytest.Function) -> pytest.Function:
        copied = copy.copy(item)
        copied.__class__ = _copy_class(type(item))
        # Plugins of before pytest 7 know the stash as _store:
        # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/nodes.py#L224
        copied.stash = copied._store = pytest.Stash()
        # tmp_path looks up the outcome at its end, which pytest notes from the reports that a dry run does not
        # make: https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/tmpdir.py#L343
        copied.stash[tmppath_result_key] = {"setup": True, "call": True}
        copied.own_markers = list(item.own_markers)
        copied.user_properties = list(item.user_properties)
        copied._report_sections = []
        copied.keywords = _own_keywords(copied, item)
        # pytest makes an instance of the test's class for each item, and keeps it and its bound method with the
        # item: the copy's must be another one, for what a test sets on self.
        # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/python.py#L1764
        if copied.__dict__.get("_instance") is not None:
            copied.__dict__.pop("_instance")
            copied.__dict__.pop("_obj", None)
        copied.__dict__["_quiet_relay"] = self._relay(item)
        # A request of its own, as pytest gives one to an item that runs a second time:
        # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/runner.py#L130
        copied._initrequest()
        return copied

    def _relay(self, item: pytest.Function) -> QuietRelay:
        if self._observers is None:
            self._observers = _find_observers(self._session.config)
        # pytest's relay leaves out each conftest.py of another folder; so must the one in its place:
        # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/main.py#L741
        elsewhere = frozenset(getattr(item.ihook, "remove_mods", ()))
        if elsewhere not in self._relays:
            self._relays[elsewhere] = QuietRelay(self._session.config, self._observers | elsewhere)
        return self._relays[elsewhere]

    def _forget(self, copied: pytest.Function) -> None:
        folder = copied.funcargs.get("tmp_path")
        if isinstance(folder, Path):
            # pytest keeps the folders of the last three runs: one for each dry run would fill the disk. What
            # cannot be removed is removed along with pytest's own.
            shutil.rmtree(folder, ignore_errors=True)
        copied.funcargs = {}

    def _end_set_ups(self) -> None:
        """Let fixtures whose set-up a dry run has ended do what they have registered for their end.

        A suspension is none of the exceptions that pytest caches as a fixture's result. Without one
        ``FixtureDef.finish()`` takes the fixture for one that was never set up: what it has registered by
        ``request.addfinalizer`` is not called (https://github.com/pytest-dev/pytest/issues/15067), and in the next
        run ``execute()`` asserts that nothing is registered (https://github.com/pytest-dev/pytest/issues/14775).
        So it gets a result. The nodes' finalizers know these fixtures, of which a test may have asked for any by
        ``request.getfixturevalue``.
        """
        for finalizers, _ in reversed(list(self._session._setupstate.stack.values())):
            for finalizer in reversed(finalizers):
                definition = owner_of(finalizer)
                if (
                    isinstance(definition, FixtureDef)
                    and definition.cached_result is None
                    and definition._finalizers
                ):
                    definition.cached_result = (None, None, None)
                    with _swallowing():
                        finalizer()


def owner_of(finalizer: Callable[[], object]) -> object:
    """Return whose method a node's finalizer is.

    pytest adds ``node.teardown``, and for each fixture a partial of ``FixtureDef.finish``, and keeps no record of
    what belongs to whom: https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/fixtures.py#L1284
    """
    return getattr(finalizer.func if isinstance(finalizer, functools.partial) else finalizer, "__self__", None)


class QuietRelay:
    """The hooks of a copy: those that report are silent, those that run call no plugin that observes."""

    def __init__(self, config: pytest.Config, removed: frozenset[Any]) -> None:
        self._manager = config.pluginmanager
        self._removed = removed

    def __getattr__(self, name: str) -> Callable[..., Any]:
        caller: Callable[..., Any]
        if name == "pytest_runtest_makereport":
            caller = _bare_report
        elif name in ("pytest_runtest_logreport", "pytest_exception_interact", "pytest_warning_recorded"):
            caller = _nothing
        else:
            caller = self._manager.subset_hook_caller(name, remove_plugins=self._removed)
        self.__dict__[name] = caller
        return caller


def _own_keywords(copied: pytest.Item, item: pytest.Item) -> Any:
    """Return the item's keywords for its copy, so that a mark added to one is not on the other."""
    # NodeKeywords has no method to copy it, and refers to the node that it was made for:
    # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/mark/structures.py#L667
    keywords: Any = type(item.keywords)(copied)  # type: ignore[call-arg]  # pytest's NodeKeywords
    keywords._markers = dict(item.keywords._markers)  # type: ignore[attr-defined]  # as above
    return keywords


@functools.cache
def _copy_class(item_class: type[pytest.Function]) -> type[pytest.Function]:
    # Node.ihook is a property, so that no attribute of the copy could take its place; and fixtures of the project
    # look at the item's class: https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/nodes.py#L245
    quiet = property(lambda copied: copied.__dict__["_quiet_relay"])
    return type(item_class.__name__, (item_class,), {"__slots__": (), "ihook": quiet})


def _bare_report(item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport:
    """Return the report of a subtest, as passed.

    pytest counts failed ones by the item's id, which the copy shares, and fails the real run by that count:
    https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/subtests.py#L405
    """
    report = pytest.TestReport.from_item_and_call(item, call)
    report.outcome, report.longrepr = "passed", None
    return report


def _nothing(**_: Any) -> None:
    """Take no notice."""


def _forget_soft_failures() -> None:
    """Drop what a dry run's soft assertions noted: pytest-check would show it as a failure of the next test."""
    log = sys.modules.get("pytest_check.check_log")
    if log is not None:
        log.clear_failures()


@contextlib.contextmanager
def _swallowing() -> Iterator[None]:
    """Swallow whatever is raised, but for Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        return


def _ends_by_itself(body: Callable[[], object]) -> bool:
    """Run a test's body; return whether it came to an end that the test itself has foreseen."""
    try:
        body()
    except (AssertionError, OutcomeException):
        # Failed, skipped and the like: the real run ends so, too, and reports it.
        return True
    return True


def _find_observers(config: pytest.Config) -> frozenset[Any]:
    """Return the plugins that must not see dry runs: those installed beside pytest that report or measure."""
    manager = config.pluginmanager
    places = tuple({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    installed: dict[str, list[Any]] = {}
    for plugin in manager.get_plugins():
        package = _package_of(plugin, places)
        if package is not None:
            installed.setdefault(package, []).append(plugin)
    return frozenset(
        plugin
        for package, plugins in installed.items()
        if package in OBSERVERS or any(_hooks_of(manager, plugin) & REPORTS for plugin in plugins)
        for plugin in plugins
    )


def _package_of(plugin: object, places: tuple[str, ...]) -> str | None:
    """Return the package of a plugin that is installed beside pytest and executes no tests, else None."""
    module = plugin if isinstance(plugin, ModuleType) else sys.modules.get(type(plugin).__module__)
    package = (getattr(module, "__name__", "") or "").partition(".")[0]
    if package in ("_pytest", "pytest", *EXECUTORS):
        return None
    file = getattr(module, "__file__", None) or ""
    return package if file.startswith(places) or "site-packages" in Path(file).parts else None


def _hooks_of(manager: pytest.PytestPluginManager, plugin: object) -> set[str]:
    return {caller.name for caller in manager.get_hookcallers(plugin) or ()}
