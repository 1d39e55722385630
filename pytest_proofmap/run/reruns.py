"""Refuses plugins that run a failed test again: "the best of n attempts" is no evidence."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pytest_proofmap.errors import ConfigurationError

__all__ = ["refuse_reruns"]

RERUN_OPTIONS = {"reruns": "--reruns", "retries": "--retries", "force_flaky": "--force-flaky"}
RERUN_INI = ("reruns", "retries")
RERUN_MARKS = ("flaky", "retry")


def refuse_reruns(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    """Check that no plugin would run marked items again.

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
    for item in items:
        name = next((mark.name for mark in item.iter_markers() if mark.name in RERUN_MARKS), None)
        if name is not None:
            raise ConfigurationError(
                f"{item.nodeid}: the mark {name!r} would run this qualified test again until it passes, "
                "and the best of several attempts is no evidence. Remove it; to measure repeats use "
                "qualify(samples=N)."
            )


def _ini(config: pytest.Config, name: str) -> object:
    try:
        value = config.getini(name)
    except (KeyError, ValueError):
        return None
    return value not in ("", "0", 0, None, []) and value
