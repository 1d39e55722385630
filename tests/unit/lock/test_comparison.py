"""Two locks compared, route by route."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_proofmap.lock.compare import RouteDifference, compare_locks
from pytest_proofmap.lock.models import Approval, Lock, LockedPrompt, LockedRuntime, Route, RouteEvidence

ADA = Approval(by="ada", at="2026-01-02T00:00:00Z", reason="", expires_at=None)
BOB = Approval(by="bob", at="2026-03-04T00:00:00Z", reason="again", expires_at=None)


def runtime(key: str, **fields: Any) -> LockedRuntime:
    """Return the runtime of a key."""
    name = key.partition("@")[0]
    plain: dict[str, Any] = {
        "name": name,
        "model": f"openai/{name}",
        "provider": "openai",
        "params": {},
        "variant": None,
        "api_base": None,
        "price": None,
    }
    return LockedRuntime.model_validate(plain | fields)


def prompt(key: str) -> LockedPrompt:
    """Return the prompt variant of a key."""
    name, variant = key.partition("@")[0].rsplit(".", 1)
    return LockedPrompt(name=name, variant=variant, file="f", messages=[])


def lock(**fields: Any) -> Lock:
    """Return a lock with one route, ``job``."""
    plain: dict[str, Any] = {
        "chain": ["mini@1", "base@1"],
        "prompts": ["job.default@1"],
        "decision": "promoted",
        "reason": "cheaper",
        "criteria": {"t": "source:1/bar:2/cases:3"},
        "evidence": RouteEvidence(run="r", sha256="0", cases=1, pass_rates={}),
        "approval": ADA,
        "digest": "",
    }
    runtimes = fields.pop("runtimes", {})
    route = Route(**(plain | fields))
    return Lock(
        runtimes={key: runtimes.get(key) or runtime(key) for key in route.chain},
        prompts={key: prompt(key) for key in route.prompts},
        routes={"job": route},
    )


def difference(old: Lock, new: Lock) -> RouteDifference:
    """Return what differs in the only route."""
    (route,) = compare_locks(old, new).routes
    return route


def test_equal_locks() -> None:
    """Equal locks differ in nothing."""
    assert compare_locks(lock(), lock()).routes == []


def test_added_and_removed_routes() -> None:
    """A new route is drift, and one that is gone a regression."""
    added = compare_locks(Lock(), lock())
    assert (added.is_regression, added.is_drift) == (False, True)
    assert (added.routes[0].old_chain, added.routes[0].new_chain) == ((), ("mini", "base"))
    removed = compare_locks(lock(), Lock())
    assert (removed.is_regression, removed.is_drift) == (True, True)
    assert removed.routes[0].losses == ("the route is gone",)


def test_a_renewed_approval() -> None:
    """An approval that was renewed is no drift."""
    found = compare_locks(lock(), lock(approval=BOB))
    assert (found.routes[0].is_renewed, found.is_drift, found.is_regression) == (True, False, False)


@pytest.mark.parametrize(
    ("fields", "losses"),
    [
        ({"chain": ["base@1", "mini@1"]}, ()),
        ({"chain": ["mini@1"]}, ("the runtime base is gone",)),
        ({"chain": ["mini@1", "haiku@1", "base@1"]}, ()),
        ({"decision": "baseline_retained"}, ("the challenger mini no longer serves it first",)),
        ({"criteria": {"t": "source:9/bar:2/cases:3"}}, ()),
        ({"criteria": {"u": "source:1/bar:2/cases:3"}}, ("the criterion t is no longer part of it",)),
        ({"prompts": ["job.default@2"]}, ()),
        ({"prompts": []}, ()),
        ({"prompts": ["job.default@1", "job.short@1"]}, ()),
    ],
)
def test_what_is_a_loss(fields: dict[str, Any], losses: tuple[str, ...]) -> None:
    """Everything that serves a route or that it rests on is drift; what is gone is a regression."""
    found = compare_locks(lock(), lock(**fields))
    assert found.is_drift
    assert found.routes[0].losses == losses
    assert found.is_regression is bool(losses)


def test_what_changed_is_named() -> None:
    """A runtime says which of its fields changed, a criterion which part, a prompt its variant."""
    new = lock(
        chain=["mini@2", "base@1"],
        prompts=["job.default@2", "job.short@1"],
        criteria={"t": "source:1/bar:2/cases:9", "u": "source:1/bar:1/cases:1"},
        runtimes={
            "mini@2": runtime("mini@2", params={"top_p": 1}, model="openai/mini-2"),
            "base@1": runtime("base@1", price={"input_per_mtok": 1, "output_per_mtok": 2}),
        },
    )
    route = difference(lock(), new)
    assert [change.text for change in route.changed] == [
        "runtime mini changed: 1 → 2",
        "prompt job changed: 1 → 2",
        "criterion t changed (cases): 3 → 9",
    ]
    assert route.runtime_fields == {"mini": ("model", "params"), "base": ("price",)}
    assert (route.added_prompts, route.added_criteria) == (("job.short@1",), ("u",))


def test_a_price_is_drift() -> None:
    """A price that changed is told although nothing has to be approved for it."""
    priced = runtime("mini@1", price={"input_per_mtok": 1, "output_per_mtok": 2})
    route = difference(lock(), lock(runtimes={"mini@1": priced}))
    assert route.runtime_fields == {"mini": ("price",)}
    assert route.losses == ()
