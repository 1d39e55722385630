"""The call service of a process: its own, or the one that all workers of pytest-xdist in a folder share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from pytest_proofmap.errors import CallError, StoreError
from pytest_proofmap.run import xdist
from pytest_proofmap.run.connection import Connection
from pytest_proofmap.run.service_process import ServiceProcess, Surroundings
from pytest_proofmap.run.wire import ServiceSettings
from pytest_proofmap.runtime.redaction import Redactor

__all__ = ["CallServices", "part_of"]


class CallServices:
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
        place = xdist.place_of(self._config)
        if self._prepared is None and (place is None or place.address is None):
            self._prepared = ServiceProcess(self._surroundings)

    def connect(self) -> Connection:
        """Return a connection of this process to a service.

        Raises:
            StoreError: Answers could not be kept.
            CallError: The service did not come up.
        """
        place = xdist.place_of(self._config)
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
        if self._shared is None and xdist.is_here(node):
            self._shared = self._start(xdist.shared_part(node.nodemanager.specs))
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
