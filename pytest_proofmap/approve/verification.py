"""Whether the approved routes still stand, from files alone: nothing is called and no test is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Literal, NamedTuple

from pytest_proofmap.approve.lock import broken_digests
from pytest_proofmap.approve.models import Lock, Route, route_parts
from pytest_proofmap.approve.staleness import (
    Fingerprints,
    changes,
    claims_of_route,
    fingerprinted_by_older,
    replaced_entries,
    way_out,
)
from pytest_proofmap.evidence.ages import is_older

__all__ = ["Problem", "expiry_of", "verify"]

DAYS_AHEAD = 14
"""How long before an approval expires, or a model is retired, is warned of it."""


class Problem(NamedTuple):
    """Something about a route."""

    route: str
    kind: Literal[
        "digest",
        "content",
        "no_cases",
        "stale",
        "older",
        "unchecked",
        "expired",
        "expires",
        "retired",
        "retires",
        "unpinned",
        "old",
        "superseded",
        "history",
    ]
    text: str
    next_step: str
    is_finding: bool
    """False: a warning."""


def verify(
    lock: Lock,
    present: Fingerprints,
    now: datetime,
    retired_on: Callable[[str], date | None],
    max_age_days: int = 0,
    forgotten: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Problem]:
    """Yield what is wrong with the routes of a lock, and what soon will be.

    Args:
        lock: The lock, whether or not its digests match.
        present: The fingerprints that now hold.
        now: The present time, with its zone.
        retired_on: Returns when a model is retired; None: not known.
        max_age_days: Answers older than so many days are named; 0: none is.
        forgotten: By route, why the history of looks is older than what the route was approved on.
    """
    broken = set(broken_digests(lock))
    for name, route in lock.routes.items():
        objective = route_parts(name)[0]
        again = f"run pytest --proofmap, then: proofmap approve --objective {objective}"
        if not any(present.criterion(criterion, was) for criterion, was in route.criteria.items()):
            again = way_out(name)
        undo = "undo the edit (git log -p on the lock), or approve anew"
        if name in broken:
            yield Problem(name, "digest", "was edited by hand: its digest does not match", undo, True)
        for text in replaced_entries(route, lock, present):
            yield Problem(name, "content", f"is not what was approved: {text}", undo, True)
        if route.criteria and not route.evidence.cases:
            yield Problem(name, "no_cases", "was approved on no case at all", again, True)
        if name in forgotten:
            newer = "take the newer proofmap.history from version control, or merge both"
            yield Problem(name, "history", forgotten[name], newer, True)
        for kind, text in _ages(route, now, max_age_days):
            yield Problem(name, kind, text, "ask again: pytest --proofmap --proofmap-cache=refresh", False)
        if route.from_hooks and not present.knows_hooks:
            text = (
                f"{', '.join(route.from_hooks)}: pytest_proofmap_runtimes says what it is, and only pytest asks it"
            )
            yield Problem(name, "unchecked", text, "check it too: proofmap verify --collect", False)
        older = fingerprinted_by_older(route)
        if older:
            text = (
                f"{', '.join(older)}: checked as the older version of ProofMap did that approved it, which "
                "did not follow imported tests, nor code on pytest's pythonpath"
            )
            yield Problem(name, "older", text, again, False)
        for change in changes(claims_of_route(route, lock), present):
            yield Problem(name, "stale", change.text, again, True)
        yield from _expiry(name, route, now, again)
        for key in route.chain:
            yield from _model(name, lock.runtimes[key].name, lock.runtimes[key].model, now.date(), retired_on)


def expiry_of(route: Route) -> datetime | None:
    """Return when a route's approval ends; None: never."""
    if route.approval.expires_at is None:
        return None
    ends = datetime.fromisoformat(route.approval.expires_at.replace("Z", "+00:00"))
    return ends if ends.tzinfo is not None else ends.replace(tzinfo=timezone.utc)


def _expiry(name: str, route: Route, now: datetime, again: str) -> Iterator[Problem]:
    ends = expiry_of(route)
    if ends is None:
        return
    if ends <= now:
        yield Problem(name, "expired", f"the approval ended on {ends.date()}", again, True)
    elif ends <= now + timedelta(days=DAYS_AHEAD):
        yield Problem(name, "expires", f"the approval ends on {ends.date()}", again, False)


def _model(
    route: str, runtime: str, model: str, today: date, retired_on: Callable[[str], date | None]
) -> Iterator[Problem]:
    ends = retired_on(model)
    move = f"qualify a successor of {runtime} as a challenger"
    if ends is not None and ends <= today:
        yield Problem(route, "retired", f"{runtime}: the model {model} was retired on {ends}", move, False)
    elif ends is not None and ends <= today + timedelta(days=DAYS_AHEAD):
        yield Problem(route, "retires", f"{runtime}: the model {model} is retired on {ends}", move, False)
    if model.endswith(("-latest", ":latest")):
        text = f"{runtime}: {model} is an alias, and may mean another model tomorrow"
        yield Problem(route, "unpinned", text, "name a dated model", False)


def _ages(route: Route, now: datetime, max_age_days: int) -> Iterator[tuple[Literal["old", "superseded"], str]]:
    """Yield on which old answers a route was approved, or on answers of models that served before."""
    if not max_age_days:
        return
    for runtime, made_at in route.evidence.oldest_answers.items():
        if is_older(made_at, max_age_days, now):
            text = f"answers of {runtime} are older than {max_age_days} days, the oldest from {made_at[:10]}"
            yield "old", f"was approved on old answers: {text}"
    for runtime, number in route.evidence.superseded.items():
        yield "superseded", f"was approved on {number:,} answers of {runtime} made before its model changed"
