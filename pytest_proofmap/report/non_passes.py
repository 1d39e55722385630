"""What tables and findings show of a sample that did not pass, and what such samples have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from pytest_proofmap.calls.answer import LAST_FAILURE
from pytest_proofmap.evidence.models import ErrorKind, Outcome, Role, Sample

__all__ = ["Miss", "by_cause", "cause_of", "without_ids"]

# Ids that providers and ProofMap put into messages would tell apart what has one reason.
_VARYING = re.compile(r"\b(?:[a-z]+_)?(?=[0-9a-zA-Z-]*[0-9])[0-9a-zA-Z-]{12,}\b")


class Miss(NamedTuple):
    """A sample that did not pass, as tables show it."""

    criterion: str
    case: str
    slice: str | None
    runtime: str
    role: Role
    sample: int
    outcome: Outcome
    message: str
    error_kind: ErrorKind | None
    """Whose the error is; None for a failure."""
    exception: str | None
    """Class of the failed call, or of the exception that settled the outcome."""
    raised_at: str | None
    xfailed: bool
    """Whether the project expected the test to fail."""
    answer: str = ""
    """Beginning of the last answer, in one line."""

    @classmethod
    def of(cls, sample: Sample) -> Miss | None:
        """Return what is shown of a sample of an artifact, or None when it has nothing to miss.

        Artifacts from before errors had kinds told a model's unavailability alone by an error.
        """
        if sample.outcome not in ("failed", "error"):
            return None
        failed = next((call.error for call in sample.calls if call.error is not None), None)
        return cls(
            sample.criterion,
            sample.case,
            sample.slice,
            sample.runtime,
            sample.role,
            sample.sample,
            sample.outcome,
            sample.message,
            (sample.error_kind or "unavailable") if sample.outcome == "error" else None,
            sample.exception or (failed.class_ if failed is not None else None),
            sample.raised_at,
            bool(sample.xfailed),
        )

    @property
    def test(self) -> str:
        """The test's id, as pytest shows it."""
        parameters = f"{self.case}-{self.runtime}" if self.case else self.runtime
        return f"{self.criterion}[{parameters}]"


def without_ids(message: str) -> str:
    """Return a message without what differs each time: ids of requests and the like."""
    return _VARYING.sub("…", " ".join(message.split())) or "no message"


def cause_of(message: str) -> str:
    """Return why there was no answer: of a call that was not made after others failed, why those did."""
    return message.rpartition(LAST_FAILURE)[2]


def by_cause(misses: Iterable[Miss]) -> list[list[Miss]]:
    """Return samples in groups that have one cause, the largest first.

    One cause is one message, or one class of exception raised at one line, whatever it then says.
    """
    groups: dict[tuple[str | None, str], list[Miss]] = {}
    for miss in misses:
        said = (None, without_ids(cause_of(miss.message)))
        raised = said if miss.raised_at is None else (miss.exception, miss.raised_at)
        group = groups.get(raised) or groups.get(said) or []
        group.append(miss)
        groups.setdefault(raised, group)
        groups.setdefault(said, group)
    distinct = {id(group): group for group in groups.values()}
    return sorted(distinct.values(), key=len, reverse=True)
