"""The lock in LiteLLM's terms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_lock import RUNTIMES, lock_of, route_to

from pytest_proofmap.errors import LockError
from pytest_proofmap.lock.litellm import router_arguments

LISTS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")


def test_a_chain_becomes_deployments_of_its_own() -> None:
    """Each rung is a model group with one deployment, which names its runtime's model, endpoint and prompt."""
    lock = lock_of({"triage": route_to("mini", "base")})
    models = router_arguments(lock, lock.routes)["model_list"]
    assert models == [
        {
            "model_name": "triage",
            "litellm_params": {
                "model": "openai/mini",
                "api_base": "os.environ/MINI_BASE",
                "prompt_id": "triage.mini@ba9876543210",
            },
            "model_info": {"id": "triage#0:mini@0123456789ab"},
        },
        {
            "model_name": "triage#1:base",
            "litellm_params": {
                "model": "openai/base",
                "api_base": "os.environ/BASE_BASE",
                "temperature": 0,
                "prompt_id": "triage.default@ba9876543210",
            },
            "model_info": {"id": "triage#1:base@0123456789ab"},
        },
    ]


def test_headers_that_choose_the_model_stay_as_approved() -> None:
    """Who adds headers of the transport in production does not take away those that the approval rests on."""
    lock = lock_of({"triage": route_to("mini", "base")})
    key = lock.routes["triage"].chain[0]
    chosen = {"extra_headers": {"x-model-route": "little"}}
    lock.runtimes[key] = lock.runtimes[key].model_copy(update={"params": chosen})
    transport = {"mini": {"extra_headers": {"x-model-route": "other", "X-Trace": "1"}}}
    first = router_arguments(lock, lock.routes, transport=transport)["model_list"][0]
    assert first["litellm_params"]["extra_headers"] == {"x-model-route": "little", "X-Trace": "1"}


def test_a_route_with_two_packages() -> None:
    """A route that was approved with two prompt packages has a chain for each."""
    prompts = {name: [{"role": "user", "content": "{{ ticket }}"}] for name in ("sum.default", "triage.default")}
    lock = lock_of({"triage": route_to("mini", "base", prompts=[*prompts])}, prompts=prompts)
    arguments = router_arguments(lock, lock.routes)
    assert [each["model_name"] for each in arguments["model_list"]] == [
        "triage:sum",
        "triage:sum#1:base",
        "triage:triage",
        "triage:triage#1:base",
    ]
    plain = router_arguments(lock, lock.routes, with_prompts=False)
    assert [each["model_name"] for each in plain["model_list"]] == ["triage", "triage#1:base"]
    assert all("prompt_id" not in each["litellm_params"] for each in plain["model_list"])


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="*#:"), min_size=1),
        st.permutations(sorted(RUNTIMES)).flatmap(lambda order: st.integers(1, 3).map(lambda size: order[:size])),
        min_size=1,
        max_size=4,
    )
)
def test_fallbacks_lead_from_rung_to_rung_and_nowhere_else(chains: dict[str, list[str]]) -> None:
    """Every group has one entry in each of the three lists, which are alike; hops have none to go to."""
    lock = lock_of({name: route_to(*chain) for name, chain in chains.items()})
    arguments = router_arguments(lock, lock.routes)
    groups = [each["model_name"] for each in arguments["model_list"]]
    ids = [each["model_info"]["id"] for each in arguments["model_list"]]
    assert len(set(ids)) == len(ids)
    assert all(each.isascii() and each.isprintable() for each in ids)
    first, *others = (arguments[name] for name in LISTS)
    assert all(other == first for other in others)
    assert first
    assert all(len(entry) == 1 for entry in first)
    ways = {group: hops for entry in first for group, hops in entry.items()}
    assert sorted(ways) == sorted(groups)
    for name, chain in chains.items():
        hops = [f"{name}#{index}:{runtime}" for index, runtime in enumerate(chain) if index]
        assert ways[name] == hops
        assert all(ways[hop] == [] for hop in hops)


def test_a_long_chain_is_walked_to_its_end() -> None:
    """LiteLLM gives up after five hops unless it is told otherwise."""
    runtimes = {f"r{index}": {"model": f"openai/r{index}"} for index in range(9)}
    lock = lock_of({"triage": route_to(*runtimes, prompts=())}, runtimes=runtimes)
    assert router_arguments(lock, lock.routes)["max_fallbacks"] == 8
    short = lock_of({"triage": route_to("mini", "base")})
    assert router_arguments(short, short.routes)["max_fallbacks"] == 5


def test_transport_is_added_by_runtime() -> None:
    """What reaches a runtime is in each of its deployments and in no other's."""
    lock = lock_of({"triage": route_to("mini", "base"), "other": route_to("base", "mini")})
    arguments = router_arguments(lock, lock.routes, transport={"mini": {"api_key": "os.environ/KEY"}})
    keys = {each["model_info"]["id"]: each["litellm_params"].get("api_key") for each in arguments["model_list"]}
    assert {name: key for name, key in keys.items() if key} == {
        "triage#0:mini@0123456789ab": "os.environ/KEY",
        "other#1:mini@0123456789ab": "os.environ/KEY",
    }


def test_a_name_that_litellm_takes_for_a_pattern() -> None:
    """An objective with a star is refused: LiteLLM would serve other names by it."""
    lock = lock_of({"tri*ge": route_to("mini", "base")})
    with pytest.raises(LockError, match=r"takes the route 'tri\*ge' for a pattern"):
        router_arguments(lock, lock.routes)


def test_two_routes_of_one_model_name() -> None:
    """A route that is named as another one's hop is refused."""
    lock = lock_of({"triage": route_to("mini", "base"), "triage#1:base": route_to("base")})
    with pytest.raises(LockError, match="share LiteLLM's model name 'triage#1:base'"):
        router_arguments(lock, lock.routes)


def test_a_lock_without_routes() -> None:
    """Nothing to route is an error: LiteLLM would take an empty list for its global one."""
    lock = lock_of({})
    with pytest.raises(LockError, match="has no routes"):
        router_arguments(lock, lock.routes)
