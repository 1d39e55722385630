"""What is sent to a model once, and how sending it can fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_proofmap.evidence.models import Price
    from pytest_proofmap.runtime.call_environment import CallEnvironment

__all__ = ["LAST_FAILURE", "NO_SERVER", "AttemptError", "LiveCall"]

NO_SERVER = "no server answers at "
"""How the message of a call begins for which no connection came about; the address follows."""

LAST_FAILURE = "the last one: "
"""What the reason of a call that is not made, because others failed, says before the last of these failures."""


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
    """Key of the request (:meth:`pytest_proofmap.runtime.request.Request.key`)."""
    runtime: str
    provider: str
    """Whose limits the call is under."""
    request: dict[str, Any]
    """The request's content (:meth:`pytest_proofmap.runtime.request.Request.content`)."""
    transport: dict[str, Any]
    """How to reach the model: ``api_base`` (expanded) and ``timeout_s``; perhaps ``api_key``,
    ``extra_headers``, ``headers``, ``organization``, and those ``params`` whose values came from the
    environment."""
    price: Price | None = None
    environment: CallEnvironment | None = None
    """The environment under which it was asked; None: that of the process that makes it."""
    pair: Pair | None = None
    """What its budget is reserved together with."""


class AttemptError(Exception):
    """One attempt gave no answer.

    Attributes:
        error_class: What failed, in LiteLLM's words where they are right.
        message: Redacted message.
        retryable: Whether sending the same request again may help.
        status: HTTP status of the response, if there was one.
        retry_after_s: What the provider asked to wait.
        fatal_for_runtime: Whether every further call of the runtime would fail as well.
        provider_fault: Whether the provider, and not the request, is at fault.
        maybe_paid: Whether the provider may have answered, and charged for, what never arrived.
    """

    def __init__(
        self,
        error_class: str,
        message: str,
        *,
        retryable: bool = False,
        status: int | None = None,
        retry_after_s: float | None = None,
        fatal_for_runtime: bool = False,
        provider_fault: bool = False,
        maybe_paid: bool = False,
    ) -> None:
        super().__init__(error_class, message)
        self.error_class = error_class
        self.message = message
        self.retryable = retryable
        self.status = status
        self.retry_after_s = retry_after_s
        self.fatal_for_runtime = fatal_for_runtime
        self.provider_fault = provider_fault
        self.maybe_paid = maybe_paid

    def __str__(self) -> str:
        return f"{self.error_class}: {self.message}"
