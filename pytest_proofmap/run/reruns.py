"""Refuses plugins that make something else of a sample than one attempt, made once and in this process.

Those that run a failed test again leave the best of several attempts, which is no evidence. Those that repeat
every test make several cases of one. Those that fork for each test lose what it found out.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pytest_proofmap.errors import ConfigurationError

__all__ = ["refuse_reruns"]

RERUN_OPTIONS = {"reruns": "--reruns", "retries": "--retries", "force_flaky": "--force-flaky"}
RERUN_INI = ("reruns", "retries")
RERUN_MARKS = ("flaky", "retry")
RERUN_ATTRIBUTE = "_flaky_max_runs"
"""What the decorator of the plugin ``flaky`` leaves on a test function or class."""
REPEAT_PLUGINS = ("repeat", "pytest_repeat")
"""Names under which pytest-repeat is loaded: projects have options and marks of its common names too."""
FORK_PLUGIN = "pytest_forked"


def refuse_reruns(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    """Check that no plugin would run marked items again, repeat them or fork for them.

    Raises:
        ConfigurationError: One would.
    """
    active = [flag for name, flag in RERUN_OPTIONS.items() if config.getoption(name, None)]
    active += [f"{name} in the ini file" for name in RERUN_INI if _ini(config, name)]
    if active:
        raise ConfigurationError(
            f"{active[0]} would run qualified tests again until they pass, and the best of several attempts "
            "is no evidence. Leave it out with --proofmap; to measure repeats use "
            "qualify(samples=N) or --proofmap-samples=N."
        )
    has = config.pluginmanager.hasplugin
    repeats, forks = any(map(has, REPEAT_PLUGINS)), has(FORK_PLUGIN)
    repeating = ["--count"] if repeats and config.getoption("count") > 1 else []
    repeating += ["--flake-finder"] if config.getoption("flake_finder_enable", False) else []
    if repeating:
        raise ConfigurationError(
            f"{repeating[0]} would make several cases of each one, all with the same answer. Leave it out with "
            "--proofmap; to measure repeats use qualify(samples=N) or --proofmap-samples=N."
        )
    if forks and config.getoption("forked"):
        raise ConfigurationError(
            "--forked would run each qualified test in a process that takes its evidence with it. Leave it out "
            "with --proofmap; pytest-xdist (-n 2) runs tests in processes of their own."
        )
    decorates = has("flaky")
    for item in items:
        _refuse_marks(item, repeats=repeats, forks=forks)
        if decorates and isinstance(item, pytest.Function) and hasattr(item.obj, RERUN_ATTRIBUTE):
            raise ConfigurationError(_again(item, "the decorator 'flaky'"))


def _refuse_marks(item: pytest.Item, *, repeats: bool, forks: bool) -> None:
    for mark in item.iter_markers():
        if mark.name in RERUN_MARKS:
            raise ConfigurationError(_again(item, f"the mark {mark.name!r}"))
        if repeats and mark.name == "repeat":
            raise ConfigurationError(
                f"{item.nodeid}: the mark 'repeat' would make several cases of each one, all with the same "
                "answer. Remove it; to measure repeats use qualify(samples=N)."
            )
        if forks and mark.name == "forked":
            raise ConfigurationError(
                f"{item.nodeid}: the mark 'forked' would run this qualified test in a process that takes its "
                "evidence with it. Remove it; pytest-xdist (-n 2) runs tests in processes of their own."
            )


def _again(item: pytest.Item, what: str) -> str:
    return (
        f"{item.nodeid}: {what} would run this qualified test again until it passes, and the best of several "
        "attempts is no evidence. Remove it; to measure repeats use qualify(samples=N)."
    )


def _ini(config: pytest.Config, name: str) -> object:
    try:
        value = config.getini(name)
    except (KeyError, ValueError):
        return None
    return value not in ("", "0", 0, None, []) and value
