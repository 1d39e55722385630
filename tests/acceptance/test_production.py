"""Production through the lock: real servers on loopback, the real LiteLLM, and an outage of the primary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_provider import FakeProvider, Fault
from production_driver import Application
from stored_lock import locked, route_to

WAYS = ["run", "arun"]
ERRORS: tuple[Fault, ...] = (
    *("context_window", "content_policy", "server_error", "unavailable", "rate_limit"),
    *("bad_request", "not_found", "half_json", "reset"),
)


@dataclass
class Scene:
    """Three servers, one for each runtime of the lock, and the application that calls them."""

    servers: dict[str, FakeProvider]
    application: Application

    def ask(self, how: str = "run", route: str = "triage", **more: Any) -> Any:
        """Ask for the triage of a ticket."""
        arguments = {"positional": ["triage"], "ticket": "late", "language": "en", **more.pop("arguments", {})}
        return self.application.ask(how=how, route=route, arguments=arguments, **more)

    def sent(self, runtime: str) -> dict[str, Any]:
        """Return the last request that reached a runtime's server."""
        return self.servers[runtime].requests[-1].body

    def counts(self) -> list[int]:
        """Return how many requests each server has got."""
        return [server.count for server in self.servers.values()]


@pytest.fixture(scope="module")
def application() -> Iterator[Application]:
    """The process of an application; each test loads a lock of its own."""
    with Application() as running:
        yield running


@pytest.fixture
def scene(tmp_path: Path, application: Application) -> Iterator[Scene]:
    """The servers answer with the name of their runtime; the application has read the lock."""
    lock = locked(
        tmp_path / "proofmap.lock",
        {
            "triage": route_to("mini", "haiku", "base"),
            "free": route_to("base", "haiku", prompts=(), decision="baseline_retained"),
            "alone": route_to("mini", prompts=["triage.mini"]),
        },
    )
    servers = {name: FakeProvider() for name in ("mini", "haiku", "base")}
    environment = {f"{name.upper()}_BASE": server.url for name, server in servers.items()}
    for name, server in servers.items():
        server.script(name, text=f"from {name}")
    try:
        application.load(lock, environment)
        yield Scene(servers, application)
    finally:
        for server in servers.values():
            server.close()


def test_the_qualified_fallback_answers_with_its_own_prompt(scene: Scene) -> None:
    """The primary answers; when its server is killed, the next rung does, with the prompt approved for it."""
    for way in WAYS:
        assert scene.ask(way) == {"text": "from mini", "rung": "mini", "position": 0}
        assert scene.sent("mini") == {
            "model": "mini",
            "messages": [{"role": "user", "content": "Ticket (en): late"}],
        }
    assert scene.counts() == [2, 0, 0]

    scene.servers["mini"].close()
    for way in WAYS:
        assert scene.ask(way) == {"text": "from haiku", "rung": "haiku", "position": 1}
        assert scene.sent("haiku") == {
            "model": "haiku",
            "messages": [
                {"role": "system", "content": "Sort the ticket. One word."},
                {"role": "user", "content": "late"},
            ],
        }

    scene.servers["haiku"].close()
    for way in WAYS:
        assert scene.ask(way) == {"text": "from base", "rung": "base", "position": 2}
        assert scene.sent("base")["temperature"] == 0

    scene.servers["base"].close()
    for way in WAYS:
        assert scene.ask(way)["error"] == "InternalServerError"


def test_every_error_takes_the_same_way(scene: Scene) -> None:
    """Context-window and content-policy errors, too, lead to the next rung and not past it."""
    for error in ERRORS:
        for way in WAYS:
            scene.servers["mini"].script("mini", faults=[error], text="from mini")
            before = scene.counts()
            assert scene.ask(way)["rung"] == "haiku", error
            # After some errors, such as 404, LiteLLM leaves a deployment alone for five seconds.
            primary, *rest = (now - then for now, then in zip(scene.counts(), before, strict=True))
            assert (primary <= 1, rest) == (True, [1, 0]), error


def test_no_error_leaks_out_of_a_route(scene: Scene) -> None:
    """A route of one rung fails on its own, and each of its errors is asked for once."""
    for error in ("context_window", "content_policy", "server_error"):
        scene.servers["mini"].script("mini", faults=[error])
        assert "error" in scene.ask(route="alone")
    assert scene.counts() == [3, 0, 0]


def test_parameters_of_a_call(scene: Scene) -> None:
    """Further parameters reach each rung, an explicit override replaces a qualified one, messages may follow."""
    follow = [{"role": "assistant", "content": "refund"}, {"role": "user", "content": "sure?"}]
    scene.servers["mini"].script("mini", always="bad_request")
    for way in WAYS:
        more = {"params": {"max_tokens": 9}, "override": {"temperature": 1}, "follow": follow}
        assert scene.ask(way, arguments=more)["rung"] == "haiku"
        sent = scene.sent("haiku")
        assert (sent["max_tokens"], sent["temperature"], sent["messages"][2:]) == (9, 1, follow)
        assert len(sent["messages"]) == 4
    for way in ("complete", "acomplete"):
        free = scene.application.ask(how=way, route="free", arguments={"positional": ["hi"], "max_tokens": 3})
        assert free["rung"] == "base"
        assert scene.sent("base") == {
            "model": "base",
            "messages": [{"role": "user", "content": "hi"}],
            "temperature": 0,
            "max_tokens": 3,
        }


def test_what_cannot_be_rendered_is_asked_of_nobody(scene: Scene) -> None:
    """A missing variable is the caller's mistake: no rung is called."""
    assert scene.application.ask(
        how="run", route="triage", arguments={"positional": ["triage"], "ticket": "late"}
    ) == {
        "error": "PromptError",
        "message": "prompts/triage.mini.prompt:1: the variable 'language' is missing; the prompt uses language, "
        "ticket; given: ticket.",
    }
    assert scene.counts() == [0, 0, 0]


def test_a_router_of_ones_own(scene: Scene) -> None:
    """A real Router of the whole lock renders each rung's prompt, and its answers say which rung it was."""
    arguments = {"messages": [], "prompt_variables": {"ticket": "late", "language": "en"}}
    for way in ("router", "arouter"):
        answer = scene.application.ask(how=way, route="triage", arguments=arguments, router={"num_retries": 0})
        assert answer == {"text": "from mini", "rung": "mini"}
    scene.servers["mini"].close()
    for way in ("router", "arouter"):
        answer = scene.application.ask(how=way, route="triage", arguments=arguments, router={"num_retries": 0})
        assert answer == {"text": "from haiku", "rung": "haiku"}
        assert scene.sent("haiku")["messages"][0]["content"] == "Sort the ticket. One word."
    missing = scene.application.ask(
        how="router", route="triage", arguments={"messages": [], "prompt_variables": {}}, router={"num_retries": 0}
    )
    assert missing["error"] == "BadRequestError"
    assert "the variable 'ticket' is missing" in missing["message"]
