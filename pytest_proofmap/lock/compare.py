"""Two locks compared, route by route: chains, runtimes, prompts, criteria and approvals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pytest_proofmap.lock.models import Approval, Lock, LockedRuntime, Route, RouteDecision
from pytest_proofmap.lock.staleness import Change, changes, fingerprints_of_route

__all__ = ["LockDifference", "RouteDifference", "compare_locks"]


class RouteDifference(NamedTuple):
    """What differs between a route and the route of the same name in another lock."""

    name: str
    old_chain: tuple[str, ...]
    """Names of its runtimes; empty: the route is new."""
    new_chain: tuple[str, ...]
    """Empty: the route is gone."""
    changed: tuple[Change, ...] = ()
    """Runtimes, prompts and criteria whose fingerprint is another one, or that are no longer part of it."""
    runtime_fields: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """What differs in each runtime that both chains name: ``model``, ``params``, ``price`` and so on."""
    rewritten_prompts: tuple[str, ...] = ()
    """Keys of prompt variants whose messages differ under one name, which no change of their file explains."""
    added_prompts: tuple[str, ...] = ()
    """Keys of prompt variants that stand in for no other."""
    added_criteria: tuple[str, ...] = ()
    old_decision: RouteDecision | None = None
    new_decision: RouteDecision | None = None
    old_approval: Approval | None = None
    new_approval: Approval | None = None

    @property
    def is_renewed(self) -> bool:
        """Whether the route was approved again."""
        return None not in (self.old_approval, self.new_approval) and self.old_approval != self.new_approval

    @property
    def is_moved(self) -> bool:
        """Whether it serves, or rests on, something else than before, whoever approved it and when."""
        return bool(
            self.old_chain != self.new_chain
            or self.changed
            or self.runtime_fields
            or self.rewritten_prompts
            or self.added_prompts
            or self.added_criteria
            or self.old_decision != self.new_decision
        )

    @property
    def losses(self) -> tuple[str, ...]:
        """What the route lost, in words."""
        if not self.new_chain:
            return ("the route is gone",)
        if not self.old_chain:
            return ()
        lost = [f"the runtime {name} is gone" for name in self.old_chain if name not in self.new_chain]
        lost += [
            f"the criterion {change.name} is no longer part of it"
            for change in self.changed
            if change.kind == "criterion" and change.new is None
        ]
        if self.old_decision == "promoted" != self.new_decision:
            lost.append(f"the challenger {self.old_chain[0]} no longer serves it first")
        return tuple(lost)


class LockDifference(NamedTuple):
    """What differs between two locks."""

    routes: list[RouteDifference]
    """Only routes that differ, by name."""

    @property
    def is_regression(self) -> bool:
        """Whether a route, a runtime of a chain or a criterion is gone, or a promotion was taken back."""
        return any(route.losses for route in self.routes)

    @property
    def is_drift(self) -> bool:
        """Whether any route serves, or rests on, something else than before."""
        return any(route.is_moved for route in self.routes)


def compare_locks(old: Lock, new: Lock) -> LockDifference:
    """Compare two locks; prices count, although no approval hangs on them."""
    found = []
    for name in sorted(old.routes.keys() | new.routes.keys()):
        before, after = old.routes.get(name), new.routes.get(name)
        difference = _difference(name, before, old, after, new)
        if difference.is_moved or difference.is_renewed:
            found.append(difference)
    return LockDifference(found)


class _Present:
    """The fingerprints that a route holds."""

    def __init__(self, route: Route, lock: Lock) -> None:
        self.fingerprints = fingerprints_of_route(route, lock)

    def runtime(self, name: str) -> str | None:
        """Return a runtime's fingerprint."""
        return self.fingerprints.runtimes.get(name) or self.fingerprints.auxiliary_runtimes.get(name)

    def prompt(self, name: str, variant: str) -> str | None:
        """Return the first digits of a prompt variant's hash."""
        return self.fingerprints.prompts.get((name, variant)) or self.fingerprints.auxiliary_prompts.get(
            (name, variant)
        )

    knows_all = True
    knows_hooks = True

    def messages(self, name: str, variant: str) -> None:
        """Return nothing: what a lock's prompts hold is compared by itself."""

    def criterion(self, name: str, was: str) -> str | None:
        """Return a criterion's fingerprint."""
        return self.fingerprints.criteria.get(name)


def _difference(name: str, before: Route | None, old: Lock, after: Route | None, new: Lock) -> RouteDifference:
    if before is None or after is None:
        return RouteDifference(
            name,
            _chain(before, old),
            _chain(after, new),
            old_decision=before.decision if before else None,
            new_decision=after.decision if after else None,
            old_approval=before.approval if before else None,
            new_approval=after.approval if after else None,
        )
    then, now = fingerprints_of_route(before, old), _Present(after, new)
    variants = {(old.prompts[key].name, old.prompts[key].variant) for key in before.prompts}
    return RouteDifference(
        name,
        _chain(before, old),
        _chain(after, new),
        tuple(changes(then, now)),
        dict(_runtime_fields(before, old, after, new)),
        tuple(key for key in after.prompts if key in before.prompts and old.prompts[key] != new.prompts[key]),
        tuple(key for key in after.prompts if (new.prompts[key].name, new.prompts[key].variant) not in variants),
        tuple(criterion for criterion in after.criteria if criterion not in before.criteria),
        before.decision,
        after.decision,
        before.approval,
        after.approval,
    )


def _chain(route: Route | None, lock: Lock) -> tuple[str, ...]:
    return tuple(lock.runtimes[key].name for key in route.chain) if route else ()


def _runtime_fields(before: Route, old: Lock, after: Route, new: Lock) -> Iterator[tuple[str, tuple[str, ...]]]:
    was = {old.runtimes[key].name: old.runtimes[key] for key in before.chain}
    for key in after.chain:
        runtime = new.runtimes[key]
        earlier = was.get(runtime.name, runtime)
        different = [
            field for field in LockedRuntime.model_fields if getattr(earlier, field) != getattr(runtime, field)
        ]
        if different:
            yield runtime.name, tuple(different)
