"""What an outage leaves of routes, and what other prices move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from stored_evidence import decided

from pytest_proofmap.calls.costs import call_cost
from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.decide.whatif import Survivors, outages, price_effects, providers, routes_of, survivors
from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence.models import Evidence, Price
from pytest_proofmap.lock.models import Approval, Lock, approved_chains
from pytest_proofmap.lock.propose import ApprovalRequest, approved_routes

X, Y = "t.py::test_x", "t.py::test_y"
GOOD = {"base": "P" * 60, "mini": "P" * 59 + "F", "haiku": "P" * 60}
PROVIDERS = {"base": "openai", "mini": "openai", "haiku": "anthropic"}


def evidence(
    outcomes: Mapping[str, Mapping[str, str]], served_by: Mapping[str, str] = PROVIDERS, **settings: Any
) -> Evidence:
    """Return decided evidence whose runtimes have several providers."""
    found = decided(outcomes, **settings)
    runtimes = {
        name: info.model_copy(update={"provider": served_by[name]}) for name, info in found.runtimes.items()
    }
    return decide_evidence(found.model_copy(update={"runtimes": runtimes}))


def after(found: Evidence, *down: str) -> Survivors:
    """Return what is left of the only route."""
    (route,) = survivors(routes_of(found), down)
    return route


def names(rungs: Any) -> list[str]:
    """Return the runtimes of rungs."""
    return [rung.runtime for rung in rungs]


def test_the_primary_is_down() -> None:
    """The next rung takes over, with its standing, its figures and what they differ by."""
    route = after(evidence({X: GOOD}), "mini")
    assert (names(route.chain), names(route.left)) == (["mini", "haiku", "base"], ["haiku", "base"])
    assert route.fate == "taken_over"
    assert (route.left[0].standing, route.left[1].standing) == ("qualified", "baseline")
    assert route.left[0].pass_rate == 1.0
    assert route.pass_rate_change == pytest.approx(1 / 60)
    assert route.chain[0].cost_per_1k_usd == pytest.approx(0.2)
    assert route.cost_change == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("down", "left", "fate"),
    [
        (["openai"], ["haiku"], "taken_over"),
        (["anthropic"], ["mini", "base"], "thinner"),
        (["haiku", "base"], ["mini"], "thinner"),
        (["openai", "haiku"], [], "nothing_left"),
        (["openai", "anthropic"], [], "nothing_left"),
    ],
    ids=" ".join,
)
def test_fates(down: list[str], left: list[str], fate: str) -> None:
    """Providers take all their runtimes along, and several things are down together."""
    route = after(evidence({X: GOOD}), *down)
    assert (names(route.left), route.fate) == (left, fate)


def test_a_runtime_that_no_chain_has() -> None:
    """A runtime outside of every chain leaves the routes as they are."""
    found = evidence({X: GOOD | {"haiku": "F" * 60}})
    assert after(found, "haiku").fate == "untouched"
    assert names(after(found, "openai").others) == ["haiku"]
    assert after(found, "openai").others[0].standing == "not_qualified"


def test_a_sensitive_objective_is_left_with_nothing() -> None:
    """The baseline alone serves it, so its outage leaves nothing, although another runtime qualifies."""
    found = evidence({X: GOOD})
    objectives = [objective.model_copy(update={"sensitive": True}) for objective in found.objectives]
    route = after(decide_evidence(found.model_copy(update={"objectives": objectives})), "openai")
    assert (names(route.chain), route.fate) == (["base"], "nothing_left")
    assert [(rung.runtime, rung.standing) for rung in route.others] == [("haiku", "qualified")]
    assert route.cost_change is None


def test_every_provider_in_turn() -> None:
    """Readiness walks the providers of the chains, one at a time."""
    routes = routes_of(evidence({X: GOOD, Y: {"base": "P" * 60, "mini": "P" * 60}}))
    assert providers(routes) == ["anthropic", "openai"]
    anthropic, openai = outages(routes)
    assert [route.fate for route in anthropic.routes] == ["thinner", "untouched"]
    assert [route.fate for route in openai.routes] == ["taken_over", "nothing_left"]
    assert [route.objective for route in openai.with_fate("nothing_left")] == ["y"]


def test_slices_are_routes() -> None:
    """Each slice has its own chain and its own figures."""
    letters = "".join("F" if index % 2 else "P" for index in range(120))
    found = evidence({X: {"base": "P" * 120, "mini": letters}}, slices=["lang=de", "lang=fr"])
    routes = {route.slice: route for route in routes_of(found)}
    assert names(routes["lang=de"].chain) == ["mini", "base"]
    assert routes["lang=fr"].others[0].pass_rate == 0.0
    fates = {route.slice: route.fate for route in survivors(list(routes.values()), ["mini"])}
    assert fates == {None: "untouched", "lang=de": "taken_over", "lang=fr": "untouched"}


def test_unknown_names() -> None:
    """A name that no route knows is an error that names the known ones."""
    with pytest.raises(
        EvidenceError, match=r"runtime 'openay'. Did you mean 'openai'\? There are: anthropic, base"
    ):
        survivors(routes_of(evidence({X: GOOD})), ["openay"])
    with pytest.raises(EvidenceError, match="There are: none"):
        survivors([], ["openai"])


def test_an_unknown_price() -> None:
    """Where a price is unknown so is what a change of runtime costs."""
    found = evidence({X: GOOD}, unpriced=["haiku"])
    route = after(found, "mini")
    haiku = next(rung for rung in route.chain if rung.runtime == "haiku")
    assert haiku.cost_per_1k_usd is None
    assert after(found, "mini", "base").cost_change is None


def test_a_lock_has_the_figures_of_its_evidence() -> None:
    """The routes of a lock show what the evidence showed when they were approved."""
    found = evidence({X: GOOD, Y: GOOD}, objective="job", slices=["lang=de", "lang=fr"])
    approval = Approval(by="ada", at="2026-01-02T00:00:00Z", reason="", expires_at=None)
    lock: Lock = approved_routes(found, ApprovalRequest(), approval, "0" * 64)
    assert routes_of(found)
    for approved, recommended in zip(approved_chains(lock), routes_of(found), strict=True):
        assert approved[:2] == recommended[:2]
        assert {rung.standing for rung in approved.chain} == {"approved"}
        assert [
            (rung.runtime, rung.provider, rung.pass_rate, rung.cost_per_1k_usd) for rung in approved.chain
        ] == [(rung.runtime, rung.provider, rung.pass_rate, rung.cost_per_1k_usd) for rung in recommended.chain]


def test_other_prices() -> None:
    """A price decides anew who is cheapest, and every other route stays."""
    found = evidence({X: GOOD, Y: {"base": "P" * 60, "haiku": "P" * 60}})
    effects = price_effects(found, {"mini": Price(input_per_mtok=3, output_per_mtok=3)}, call_cost)
    moved, kept = effects
    assert (moved.is_moved, kept.is_moved) == (True, False)
    assert names(moved.old.chain) == ["mini", "haiku", "base"]
    assert names(moved.new.chain) == ["haiku", "mini", "base"]
    assert moved.reason.startswith("5.0× cheaper")
    with pytest.raises(EvidenceError, match="no runtime 'maxi'"):
        price_effects(found, {"maxi": Price(input_per_mtok=1, output_per_mtok=1)}, call_cost)
