"""What comes of a live call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_proofmap.runtime.answer import Answer

__all__ = ["Failure", "FailureKind", "Landing"]

FailureKind = Literal["call", "budget", "shortfall", "store", "circuit"]
"""``circuit``: not called, because its runtime or its provider was given up before; ``shortfall``: no call is
made at all, because the budget cannot carry the first."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call gave no answer that can be used."""

    kind: FailureKind
    error_class: str
    message: str
    attempts: int = 0
    environment: tuple[str, ...] = ()
    """Names of the variables that it rests on: where one of them is different, it tells nothing."""


@dataclass(frozen=True, slots=True)
class Landing:
    """What came of a call."""

    answer: Answer | None
    failure: Failure | None = None
    shared: bool = False
    """The answer was paid for by someone else's call, or found in the store meanwhile."""
    cost_usd: float | None = None
