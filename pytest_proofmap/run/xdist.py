"""What is asked of pytest-xdist."""

from __future__ import annotations

from typing import TypeVar

import pytest

__all__ = ["is_controller", "is_worker", "service_address", "share_of", "share_service"]

Item = TypeVar("Item", bound=pytest.Item)
ADDRESS = "proofmap_service"


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


def share_service(workerinput: dict[str, object], address: str | None) -> None:
    """Tell a worker where the controller's call service is."""
    workerinput[ADDRESS] = address
