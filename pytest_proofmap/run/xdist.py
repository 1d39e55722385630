"""What is asked of pytest-xdist."""

from __future__ import annotations

from typing import TypeVar

import pytest

__all__ = ["instruct", "is_controller", "is_worker", "run_id", "service_address", "share_of"]

Item = TypeVar("Item", bound=pytest.Item)
ADDRESS = "proofmap_service"
RUN = "proofmap_run"


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def is_controller(config: pytest.Config) -> bool:
    """Return whether this process hands its tests to workers of pytest-xdist."""
    return not is_worker(config) and bool(config.getoption("tx", None))


def service_address(config: pytest.Config) -> str | None:
    """Return where a worker finds the controller's call service."""
    workerinput = getattr(config, "workerinput", None)
    return workerinput.get(ADDRESS) if workerinput is not None else None


def share_of(config: pytest.Config, items: list[Item]) -> list[Item]:
    """Return every n-th item in a worker of n, all items elsewhere.

    A worker learns only in small parts which items it will run, so that each looks ahead for its share of
    all; whoever runs an item finds its answers in the shared store.
    """
    workerinput = getattr(config, "workerinput", None)
    if workerinput is None:
        return items
    number = int(str(workerinput["workerid"]).lstrip("gw"))
    return items[number % workerinput["workercount"] :: workerinput["workercount"]]


def run_id(config: pytest.Config) -> str | None:
    """Return the id of the run that a worker is part of."""
    workerinput = getattr(config, "workerinput", None)
    return workerinput.get(RUN) if workerinput is not None else None


def instruct(workerinput: dict[str, object], *, run: str, service: str | None) -> None:
    """Tell a worker which run it is part of and where the controller's call service is."""
    workerinput[RUN] = run
    workerinput[ADDRESS] = service
