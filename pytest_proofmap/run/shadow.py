"""Explores a test without anyone noticing.

A *shadow* is a copy of a test item with a stash, markers, keywords, properties and report sections of its
own. It goes through the hooks that set up, run and tear down a test, restricted to pytest's own
implementations, those of the project's ``conftest.py`` files and those of plugins that execute tests (such as
pytest-asyncio). No report is made, and no other plugin sees it.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import shutil
import signal
import sys
import sysconfig
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest
from _pytest.tmpdir import tmppath_result_key

from pytest_proofmap.run.suspension import Suspended

__all__ = ["EXPLORATION_LIMIT_S", "ShadowRunner"]

EXPLORATION_LIMIT_S = 60.0
"""How long one exploration of a test may take, without the waiting for answers; then it is left alone."""

EXECUTORS = ("anyio", "pytest_asyncio", "pytest_proofmap", "pytest_trio", "pytest_twisted")
"""Packages whose hooks take part: they execute tests."""


class ShadowRunner:
    """Explores items of one session.

    Args:
        session: The session whose items are explored.
    """

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._relays: dict[frozenset[Any], QuietRelay] = {}
        self._foreign: frozenset[Any] | None = None

    def explore(self, item: pytest.Function, nextitem: pytest.Item | None) -> pytest.Function:
        """Set up, run and tear down a shadow of an item, and swallow whatever comes of it.

        Args:
            item: The item.
            nextitem: What is explored or run next: fixtures that both use stay set up. None: nothing is.

        Returns:
            The shadow, whose stash holds what the exploration left there.

        Raises:
            KeyboardInterrupt: The user wants to stop.
        """
        shadow = self._shadow(item)
        relay: QuietRelay = shadow.__dict__["_quiet_relay"]
        with _silence(self._session.config), _time_limit():
            # The real run reports every outcome, so that all but the user's own wish to stop is dropped here.
            with _swallowing():
                relay.pytest_runtest_setup(item=shadow)
                relay.pytest_runtest_call(item=shadow)
            with _swallowing():
                relay.pytest_runtest_teardown(item=shadow, nextitem=nextitem)
        self._forget(shadow)
        _forget_soft_failures()
        return shadow

    def _shadow(self, item: pytest.Function) -> pytest.Function:
        shadow = copy.copy(item)
        shadow.__class__ = _shadow_class(type(item))
        shadow.stash = shadow._store = pytest.Stash()
        shadow.stash[tmppath_result_key] = {"setup": True, "call": True}
        shadow.own_markers = list(item.own_markers)
        shadow.user_properties = list(item.user_properties)
        shadow._report_sections = []
        shadow.keywords = _own_keywords(shadow, item)
        if shadow.__dict__.get("_instance") is not None:
            shadow.__dict__.pop("_instance")
            shadow.__dict__.pop("_obj", None)
        shadow.__dict__["_quiet_relay"] = self._relay(item)
        shadow._initrequest()
        return shadow

    def _relay(self, item: pytest.Function) -> QuietRelay:
        if self._foreign is None:
            self._foreign = _foreign_plugins(self._session.config)
        elsewhere = frozenset(getattr(item.ihook, "remove_mods", ()))
        if elsewhere not in self._relays:
            self._relays[elsewhere] = QuietRelay(self._session.config, self._foreign | elsewhere)
        return self._relays[elsewhere]

    def _forget(self, shadow: pytest.Function) -> None:
        folder = shadow.funcargs.get("tmp_path")
        if isinstance(folder, Path):
            shutil.rmtree(folder, ignore_errors=True)
        shadow.funcargs = {}
        for definitions in shadow._fixtureinfo.name2fixturedefs.values():
            for definition in definitions:
                # pytest takes a fixture that was suspended, and so has neither value nor exception, for one
                # that was never set up, and leaves the finalizers of others on it.
                if definition.cached_result is None:
                    definition._finalizers.clear()


class QuietRelay:
    """The hooks of a shadow: those that report are silent, those that run call no foreign plugin."""

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


def _own_keywords(shadow: pytest.Item, item: pytest.Item) -> Any:
    """Return the item's keywords for its shadow, so that a mark added to one is not on the other."""
    keywords: Any = type(item.keywords)(shadow)  # type: ignore[call-arg]  # pytest's NodeKeywords
    keywords._markers = dict(item.keywords._markers)  # type: ignore[attr-defined]  # as above
    return keywords


@cache
def _shadow_class(item_class: type[pytest.Function]) -> type[pytest.Function]:
    quiet = property(lambda shadow: shadow.__dict__["_quiet_relay"])
    return type(item_class.__name__, (item_class,), {"__slots__": (), "ihook": quiet})


def _bare_report(item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport:
    """Return the report of a subtest, as passed: pytest counts failed ones by the item's id."""
    report = pytest.TestReport.from_item_and_call(item, call)
    report.outcome, report.longrepr = "passed", None
    return report


def _nothing(**_: Any) -> None:
    """Take no notice."""


def _forget_soft_failures() -> None:
    """Drop what a shadow's soft assertions noted: pytest-check would show it as a failure of the next test."""
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


def _foreign_plugins(config: pytest.Config) -> frozenset[Any]:
    """Return the plugins that must not see shadows: those installed beside pytest that execute no tests."""
    manager = config.pluginmanager
    places = tuple({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    return frozenset(plugin for plugin in manager.get_plugins() if _is_foreign(plugin, places))


def _is_foreign(plugin: object, places: tuple[str, ...]) -> bool:
    module = plugin if isinstance(plugin, ModuleType) else sys.modules.get(type(plugin).__module__)
    package = (getattr(module, "__name__", "") or "").partition(".")[0]
    if package in ("_pytest", "pytest", *EXECUTORS):
        return False
    file = getattr(module, "__file__", None) or ""
    return file.startswith(places) or "site-packages" in Path(file).parts


@contextlib.contextmanager
def _silence(config: pytest.Config) -> Iterator[None]:
    """Keep warnings and live logs of an exploration from the user: the real run shows them."""
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    root = logging.getLogger()
    live = [getattr(plugin, name, None) for name in ("log_cli_handler", "log_file_handler")]
    removed = [handler for handler in live if handler in root.handlers]
    for handler in removed:
        root.removeHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for handler in removed:
            root.addHandler(handler)


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    """Suspend an exploration that takes too long; timeouts of tests guard only the real run.

    It needs the alarm signal, so it holds in the main thread on systems that have one, and leaves a handler
    that somebody else has installed alone.
    """
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not usable or signal.getsignal(signal.SIGALRM) not in (signal.SIG_DFL, None):
        yield
        return
    signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, EXPLORATION_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _give_up(signum: int, frame: FrameType | None) -> None:
    raise Suspended
