"""What is asked of pytest-xdist.

Workers in the controller's own folder share its call service. A worker elsewhere, in another folder or on
another host, cannot reach that service or its cache: it starts a service of its own, with its share of the
budget and of the providers' limits.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import pytest

__all__ = [
    "WorkerPlace",
    "instruct",
    "is_controller",
    "is_here",
    "is_worker",
    "place_of",
    "refuse",
    "run_id",
    "share_of",
    "shared_part",
]

Item = TypeVar("Item", bound=pytest.Item)
PLACE = "proofmap_place"
RUN = "proofmap_run"
NEXT_TO_NOTHING = 1e-9
PLACES = pytest.StashKey[int]()
"""How many workers were told their place, on the controller's ``config.stash``."""


class WorkerPlace(NamedTuple):
    """Where a worker stands among the others; plain values only, because execnet carries it."""

    number: int
    """Number of the worker, from 0."""
    workers: int
    """How many workers there are."""
    address: str | None
    """Where the controller's call service is; None: nowhere that this worker can reach."""
    part: float
    """The part of the budget and of the limits that is this worker's own."""

    @property
    def is_apart(self) -> bool:
        """Whether the worker shares neither the controller's call service nor its folder."""
        return self.part > 0


def refuse(session: pytest.Session, reason: str) -> None:
    """End a run after its collection and before its first test.

    Raises:
        pytest.UsageError: Always but in a worker of pytest-xdist, which would take it for a crash: there the
            collection fails and nothing is left to run.
    """
    if not is_worker(session.config):
        raise pytest.UsageError(reason)
    session.items.clear()
    report = pytest.CollectReport(session.nodeid or "proofmap", "failed", reason, None)
    session.ihook.pytest_collectreport(report=report)


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def is_controller(config: pytest.Config) -> bool:
    """Return whether this process hands its tests to workers of pytest-xdist."""
    return not is_worker(config) and bool(config.getoption("tx", None))


def place_of(config: pytest.Config) -> WorkerPlace | None:
    """Return the place of this worker; None elsewhere."""
    workerinput = getattr(config, "workerinput", None)
    return WorkerPlace(*workerinput[PLACE]) if workerinput is not None else None


def share_of(config: pytest.Config, items: list[Item]) -> list[Item]:
    """Return every n-th item in a worker of n, all items elsewhere.

    A worker learns only in small parts which items it will run, so that each looks ahead for its share of
    all; whoever runs an item finds its answers in the shared store.
    """
    place = place_of(config)
    return items if place is None else items[place.number % place.workers :: place.workers]


def shared_part(specs: list[Any]) -> float:
    """Return the part of the budget and of the limits that the controller's call service has.

    Args:
        specs: execnet's specifications of all workers.
    """
    return sum(map(_is_here, specs)) / len(specs)


def run_id(config: pytest.Config) -> str | None:
    """Return the id of the run that a worker is part of."""
    workerinput = getattr(config, "workerinput", None)
    return workerinput.get(RUN) if workerinput is not None else None


def instruct(node: Any, *, run: str, service: str | None) -> None:
    """Tell a worker which run it is part of and where it stands.

    Args:
        node: xdist's side of the worker.
        run: Id of the run.
        service: Where the controller's call service is; a secret of this machine.
    """
    count = len(node.nodemanager.specs)
    index = node.config.stash.get(PLACES, 0)
    node.config.stash[PLACES] = index + 1
    # One that replaces a crashed worker gets nothing: what the crashed one has spent is unknown.
    own = 1 / count if index < count else NEXT_TO_NOTHING
    here = is_here(node)
    node.workerinput[RUN] = run
    node.workerinput[PLACE] = tuple(WorkerPlace(index, count, service if here else None, 0.0 if here else own))


def is_here(node: Any) -> bool:
    """Return whether a worker runs on this machine and in this folder."""
    return _is_here(node.gateway.spec)


def _is_here(spec: Any) -> bool:
    return bool(spec.popen) and not spec.chdir and not spec.via
