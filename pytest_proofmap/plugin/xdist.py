"""A run on several processes: what pytest-xdist's workers are told, and the call service that they share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import pytest

from pytest_proofmap.calls.service.connection import Connection
from pytest_proofmap.calls.service.launcher import ServiceProcess, Surroundings
from pytest_proofmap.calls.service.protocol import ServiceSettings
from pytest_proofmap.errors import CallError, StoreError
from pytest_proofmap.redaction import Redactor

__all__ = ["ServiceLauncher", "instruct", "is_controller", "is_worker", "place_of", "refuse", "run_id", "share_of"]


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
    # A worker must not end while the controller knows of tests that it has collected. Its usage error would be an
    # empty run to the controller: https://github.com/pytest-dev/pytest-xdist/issues/109
    session.items.clear()
    report = pytest.CollectReport(session.nodeid or "proofmap", "failed", reason, None)
    session.ihook.pytest_collectreport(report=report)


def is_worker(config: pytest.Config) -> bool:
    """Return whether this process is a worker of pytest-xdist."""
    # As xdist.is_xdist_worker, without importing xdist where nobody uses it:
    # https://github.com/pytest-dev/pytest-xdist/blob/v3.8.0/src/xdist/plugin.py#L349
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
    part = 1 / count if index < count else NEXT_TO_NOTHING
    here = is_here(node)
    # xdist sends this dictionary when the worker starts, right after this hook. execnet carries plain values
    # alone. https://github.com/pytest-dev/pytest-xdist/blob/v3.8.0/src/xdist/workermanage.py#L349
    node.workerinput[RUN] = run
    node.workerinput[PLACE] = tuple(WorkerPlace(index, count, service if here else None, 0.0 if here else part))


def is_here(node: Any) -> bool:
    """Return whether a worker runs on this machine and in this folder."""
    return _is_here(node.gateway.spec)


def _is_here(spec: Any) -> bool:
    return bool(spec.popen) and not spec.chdir and not spec.via


class ServiceLauncher:
    """Starts call services, and joins the one that is shared.

    Args:
        config: pytest's configuration.
        redactor: Knows the secrets.
        settings: Returns what a service for the whole run needs to know.
        notify: Shows the user at once what the run waits for; called in a thread of its own.
    """

    def __init__(
        self,
        config: pytest.Config,
        redactor: Redactor,
        settings: Callable[[], ServiceSettings],
        notify: Callable[[str], None],
    ) -> None:
        self._notify = notify
        self._config = config
        self._redactor = redactor
        self._settings = settings
        self._shared: Connection | None = None
        self._surroundings = Surroundings.now([config.rootpath, config.invocation_params.dir])
        self._prepared: ServiceProcess | None = None

    def prepare(self) -> None:
        """Start the process of a service, which waits for something to do: before the first test, in its thread.

        A test may have changed all that a process is started from, and may ask from a thread of its own.
        """
        place = place_of(self._config)
        if self._prepared is None and (place is None or place.address is None):
            self._prepared = ServiceProcess(self._surroundings)

    def connect(self) -> Connection:
        """Return a connection of this process to a service.

        Raises:
            StoreError: Answers could not be kept.
            CallError: The service did not come up.
        """
        place = place_of(self._config)
        if place is None:
            return self._start(1.0)
        if place.address is not None:
            connection = Connection.join(place.address, self._redactor)
            connection.notify = self._notify
            try:
                assert connection.address
            except (CallError, StoreError, OSError, ValueError):
                connection.close()
            else:
                return connection
        return self._start(place.part)

    def share(self, node: Any) -> str | None:
        """Return the address of the service that workers in this folder share, started for the first of them.

        Args:
            node: xdist's side of a worker; for one elsewhere no service is started.

        Raises:
            StoreError: Answers could not be kept.
            CallError: The service did not come up.
        """
        if self._shared is None and is_here(node):
            self._shared = self._start(shared_part(node.nodemanager.specs))
        return self._shared.address if self._shared else None

    def status(self) -> Future[dict[str, Any]] | None:
        """Ask the shared service for its figures; None when there is none."""
        return self._shared.status() if self._shared is not None else None

    def close(self) -> None:
        """End the shared service, and the process that nobody needed."""
        if self._shared is not None:
            self._shared.close()
        if self._prepared is not None:
            self._prepared.end()
            self._prepared = None

    def _start(self, part: float) -> Connection:
        process = self._prepared or ServiceProcess(self._surroundings)
        self._prepared = None
        connection = Connection.start(part_of(self._settings(), part), self._redactor, process)
        connection.notify = self._notify
        return connection


def part_of(settings: ServiceSettings, part: float) -> ServiceSettings:
    """Return the settings of a service with a part of the budget and of the limits, each of them at least one."""
    return replace(
        settings,
        limits={
            provider: {name: limit and max(1, int(limit * part)) for name, limit in limits.items()}
            for provider, limits in settings.limits.items()
        },
        budget_usd=None if settings.budget_usd is None else settings.budget_usd * part,
    )
