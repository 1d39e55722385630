"""A lock in use: which environment its Routers are made with. What makes a Router is replaced by what notes it."""

from __future__ import annotations

from typing import Any

import pytest
from stored_lock import lock_of, route_to

from pytest_proofmap.errors import ConfigurationError
from pytest_proofmap.lock import litellm as router
from pytest_proofmap.lock.serve import ServedLock

RUNTIMES = {
    "mini": {
        "model": "openai/mini",
        "api_base": "os.environ/MINI_BASE",
        "params": {"extra_body": {"tokens": ["os.environ/MINI_TOKEN"]}},
    }
}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, Any]]]:
    """The parameters of the deployments of each Router that was made."""
    found: list[list[dict[str, Any]]] = []

    def new_router(arguments: dict[str, Any]) -> object:
        found.append([entry["litellm_params"] for entry in arguments["model_list"]])
        return object()

    monkeypatch.setattr(router, "new_router", new_router)
    monkeypatch.setattr(router, "register_prompts", lambda templates: None)
    monkeypatch.setenv("MINI_BASE", "http://one/v1")
    monkeypatch.setenv("MINI_TOKEN", "first")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return found


@pytest.fixture
def served() -> ServedLock:
    """A lock with one runtime, whose endpoint and one parameter name environment variables."""
    return ServedLock(lock_of({"free": route_to("mini", prompts=())}, runtimes=RUNTIMES), {})


def test_the_environment_is_read_at_the_call(
    served: ServedLock, made: list[list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Router is made once and kept, until a variable that it was made with changes."""
    route = served.lock.routes["free"]
    first = served.router("free", route)
    assert served.router("free", route) is first
    assert made == [
        [
            {
                "model": "openai/mini",
                "api_base": "http://one/v1",
                "extra_body": {"tokens": ["first"]},
                "api_key": "none",
            }
        ]
    ]
    monkeypatch.setenv("MINI_TOKEN", "second")
    assert served.router("free", route) is not first
    assert made[-1][0]["extra_body"] == {"tokens": ["second"]}
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    served.router("free", route)
    assert "api_key" not in made[-1][0]
    assert len(made) == 3
    monkeypatch.delenv("MINI_BASE")
    with pytest.raises(ConfigurationError, match="the environment variable MINI_BASE is not set"):
        served.router("free", route)
    assert served.lock.runtimes["mini@0123456789ab"].api_base == "os.environ/MINI_BASE"


def test_what_a_proxy_needs_is_checked(
    served: ServedLock, made: list[list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every variable of the lock must be set."""
    served.check_environment()
    monkeypatch.delenv("MINI_TOKEN")
    with pytest.raises(ConfigurationError, match="the environment variable MINI_TOKEN is not set"):
        served.check_environment()
    assert made == []
