"""How a call is made: the protocol of a lane, and what a lane is given.

A lane only makes calls. Whether, when and how often one is made (limits, budget, retries, one call for all who ask
the same) is decided before, by the dispatcher.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.outcome import AttemptError, CallOutcome
from pytest_proofmap.evidence.models import Price

if TYPE_CHECKING:
    from pytest_proofmap.calls.environment import CallEnvironment

__all__ = ["DEFAULT_TIMEOUT_S", "AttemptGoneError", "Lane", "LiveCall", "Pair", "Partner", "SingleCallLane"]

DEFAULT_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Partner:
    """A runtime that is to answer the same case, and what a call of it may cost."""

    runtime: str
    model: str
    bounds: dict[str, Any]
    """What bounds its answer of the parameters: ``max_tokens``, ``max_completion_tokens``, ``n``."""
    price: Price


@dataclass(frozen=True, slots=True)
class Pair:
    """The samples that only tell something together: one case on each runtime."""

    case: str
    """Criterion, case and sample in one text."""
    partners: tuple[Partner, ...]
    """The runtimes that were not asked yet, as far as the asking process knows."""


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A request that has to be answered by the model itself."""

    key: str
    """Key of the request (:meth:`pytest_proofmap.calls.request.Request.key`)."""
    runtime: str
    provider: str
    """Whose limits the call is under."""
    request: dict[str, Any]
    """The request's content (:meth:`pytest_proofmap.calls.request.Request.content`)."""
    transport: dict[str, Any]
    """How to reach the model: ``api_base`` (expanded) and ``timeout_s``; perhaps ``api_key``,
    ``extra_headers``, ``headers``, ``organization``, and those ``params`` whose values came from the
    environment."""
    price: Price | None = None
    environment: CallEnvironment | None = None
    """The environment under which it was asked; None: that of the process that makes it."""
    pair: Pair | None = None
    """What its budget is reserved together with."""
    references: tuple[str, ...] = ()
    """Variables whose values it holds already; its failure rests on them as well."""


class Lane(Protocol):
    """A way to make calls."""

    async def submit(self, calls: Sequence[LiveCall]) -> Sequence[CallOutcome]:
        """Make calls once each, and return what came of them, in their order.

        A call that fails is an outcome whose failure has a ``cause``, never an exception. A lane may take its
        time: one that sends many calls at once returns when all of them are answered.
        """


class SingleCallLane(ABC):
    """A lane whose calls are made side by side and have nothing to do with each other."""

    @abstractmethod
    async def attempt(self, call: LiveCall) -> Answer:
        """Make one call, in the environment that it was asked under.

        Raises:
            AttemptError: No usable answer came.
        """

    async def submit(self, calls: Sequence[LiveCall]) -> Sequence[CallOutcome]:
        """Make calls, see :meth:`Lane.submit`."""
        if len(calls) == 1:
            # As nearly always: it needs no task of its own.
            return [await self._outcome(calls[0])]
        import asyncio  # Which pytest's process, that only describes calls, need not load.

        return await asyncio.gather(*map(self._outcome, calls))

    async def _outcome(self, call: LiveCall) -> CallOutcome:
        if call.environment is not None:
            call.environment.enter()
        try:
            return CallOutcome(await self.attempt(call))
        except AttemptError as error:
            return CallOutcome.failed_attempt(error)


class AttemptGoneError(AttemptError):
    """The process that was to make the attempt is gone."""

    def __init__(self) -> None:
        super().__init__("CallServiceError", "the process that was making this call is gone")
