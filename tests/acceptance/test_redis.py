"""A team's shared cache on a real Redis server."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer, StartRedis, redis_server
from small_project import CONFIGURATION, THREE_CASES, SmallProject, echo_hook

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.cache import redis as redis_store
from pytest_proofmap.calls.cache.redis import RedisStore
from pytest_proofmap.calls.lanes.lane import LiveCall, SingleCallLane
from pytest_proofmap.calls.outcome import AttemptError, CallOutcome
from pytest_proofmap.calls.service import dispatcher as dispatcher_module
from pytest_proofmap.calls.service.dispatcher import Dispatcher
from pytest_proofmap.config import load
from pytest_proofmap.errors import ConfigurationError, StoreError

__all__ = ["redis_server"]

PASSWORD = "hunter2/%23secret"

ANSWER = Answer(
    request={"model": "m/m", "messages": []},
    response={"choices": [{"message": {"content": "yes é"}}]},
    latency_s=0.5,
)


def use(project: SmallProject, url: str) -> None:
    """Let a project keep its answers on a server."""
    project.configure(f'cache_url = "{url}"\n{CONFIGURATION}')
    project.write("test_echo.py", THREE_CASES)


@pytest.fixture
def echo(project: SmallProject) -> SmallProject:
    """A project whose runtimes answer with the prompt, through a hook that counts."""
    project.write("conftest.py", echo_hook())
    return project


def store_at(url: str, folder: Path, **options: Any) -> RedisStore:
    """Open a store whose warnings nobody expects."""

    def warn(text: str) -> None:
        raise AssertionError(text)

    return RedisStore(url, options.pop("warn", warn), rescue=folder / "unsent", **options)


def test_answers_are_shared(echo: SmallProject, redis_server: StartRedis, tmp_path_factory: Any) -> None:
    """What one project's run has paid for, another machine's run finds."""
    use(echo, redis_server().url)
    result = echo.run()
    result.assert_outcomes(passed=6)
    assert len(echo.calls()) == 6
    assert not (echo.folder / ".proofmap" / "cache").exists()

    elsewhere = SmallProject(tmp_path_factory.mktemp("elsewhere"))
    elsewhere.write("proofmap.toml", (echo.folder / "proofmap.toml").read_text())
    elsewhere.write("test_echo.py", THREE_CASES)
    elsewhere.write("conftest.py", echo_hook())
    result = elsewhere.run_apart()
    result.assert_outcomes(passed=6)
    assert elsewhere.calls() == []
    assert elsewhere.evidence().totals.cached == 6


def test_answers_never_expire(echo: SmallProject, redis_server: StartRedis) -> None:
    """Answers are kept as readable JSON under a namespace, without a time to live."""
    server = redis_server()
    use(echo, server.url)
    echo.run()
    client = server.client
    keys = client.keys("proofmap:1:answer:*")
    assert len(keys) == 6
    assert {client.ttl(key) for key in keys} == {-1}
    assert {Answer.from_json(client.get(key)).text for key in keys} == {"a", "b", "c"}
    assert all(client.ttl(key) > 0 for key in client.keys("*") if key not in keys)


def test_refresh_calls_anew(echo: SmallProject, redis_server: StartRedis) -> None:
    """``--proofmap-cache=refresh`` replaces what is on the server."""
    use(echo, redis_server().url)
    echo.run()
    echo.run("--proofmap-cache=refresh").assert_outcomes(passed=6)
    assert len(echo.calls()) == 12
    echo.run().assert_outcomes(passed=6)
    assert len(echo.calls()) == 12


def _down(server: RedisServer) -> None:
    server.stop()


def _full(server: RedisServer) -> None:
    server.client.config_set("maxmemory", "1")


def _replica(server: RedisServer) -> None:
    server.client.replicaof("127.0.0.1", "1")


def _slow(server: RedisServer) -> None:
    server.client.client_pause(60_000)


@pytest.mark.parametrize(
    ("trouble", "named"),
    [
        (_down, "cannot be reached"),
        (_full, "is out of memory"),
        (_replica, "is a read-only replica"),
        (_slow, "does not answer in time"),
    ],
)
def test_unusable_servers_are_found_before_anything_is_paid(
    echo: SmallProject,
    redis_server: StartRedis,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[RedisServer], None],
    named: str,
) -> None:
    """A server that is down, full, read-only or slow ends the run before the first call, and says why."""
    monkeypatch.setattr(redis_store, "ANSWER_TIMEOUT_S", 0.3)
    server = redis_server(password=PASSWORD)
    monkeypatch.setenv("CACHE_URL", f"redis://:hunter2%2F%2523secret@127.0.0.1:{server.port}/0")
    use(echo, "os.environ/CACHE_URL")
    trouble(server)
    result = echo.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    output = result.stdout.str() + result.stderr.str()
    assert f"No call was made: the Redis server redis://127.0.0.1:{server.port}/0 {named}" in output
    assert "--proofmap-cache=replay" in output
    assert "hunter2" not in output
    assert echo.calls() == []
    assert not echo.artifact.exists()


@pytest.mark.parametrize("given", ["", ":wrong-secret@", "someone:wrong-secret@"])
def test_wrong_passwords_are_found_and_not_shown(
    echo: SmallProject, redis_server: StartRedis, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """A wrong or missing password ends the run before the first call, and is not repeated."""
    server = redis_server(password=PASSWORD)
    monkeypatch.setenv("CACHE_URL", f"redis://{given}127.0.0.1:{server.port}/0")
    use(echo, "os.environ/CACHE_URL")
    result = echo.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    output = result.stdout.str() + result.stderr.str()
    assert "refuses the user name or the password" in output
    assert "wrong-secret" not in output
    assert echo.calls() == []


def test_right_passwords_come_from_the_environment(
    echo: SmallProject, redis_server: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL may stand in an environment variable, which the call service reads as well."""
    server = redis_server(password=PASSWORD)
    monkeypatch.setenv("CACHE_URL", f"redis://:hunter2%2F%2523secret@127.0.0.1:{server.port}/0")
    use(echo, "os.environ/CACHE_URL")
    echo.run().assert_outcomes(passed=6)
    assert "hunter2" not in echo.artifact.read_text()


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis://:secret-word@host:6379/0", "holds a password"),
        ("redis://user:secret/word@host:6379/0", "holds a password"),
        ("redis://host:6379/0?password=secret-word", "holds a password"),
        ("http://host:6379", "'http://host:6379' is not allowed: it starts with redis://"),
    ],
)
def test_urls_that_do_not_belong_into_the_file(tmp_path: Path, url: str, named: str) -> None:
    """A password in the file, or another scheme, is an error of the configuration that shows no secret."""
    (tmp_path / "proofmap.toml").write_text(f'cache_url = "{url}"\n')
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path)
    assert named in str(caught.value)
    assert "os.environ/" in str(caught.value)
    assert "secret" not in str(caught.value).replace("secrets never", "")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:secret-word", "nonsense"])
def test_urls_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A URL in the environment that names no server is an error that does not repeat it."""
    monkeypatch.setenv("CACHE_URL", url)
    with pytest.raises(ConfigurationError, match="is not the URL of a server") as caught:
        store_at("os.environ/CACHE_URL", tmp_path)
    assert "secret" not in str(caught.value)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error says what to install."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'pytest-proofmap\[redis\]'"):
        store_at("redis://127.0.0.1:1", tmp_path)


@pytest.mark.parametrize(
    ("policy", "warned"), [("allkeys-lru", True), ("noeviction", False), ("volatile-lru", False)]
)
def test_evicting_servers_are_warned_of(
    echo: SmallProject, redis_server: StartRedis, policy: str, warned: bool
) -> None:
    """A server that deletes answers when it is full is used, with a warning."""
    use(echo, redis_server("--maxmemory-policy", policy).url)
    result = echo.run()
    result.assert_outcomes(passed=6)
    assert ("maxmemory-policy 'allkeys-lru'" in " ".join(result.stdout.str().split())) is warned


def test_a_failure_in_the_middle_loses_nothing(echo: SmallProject, redis_server: StartRedis) -> None:
    """An answer that the server does not take is kept here, fails the run and is sent by the next one."""
    server = redis_server()
    fill = f"import redis\n    redis.Redis(port={server.port}).config_set('maxmemory', '1')\n    return prompt"
    echo.write("conftest.py", echo_hook(fill))
    use(echo, server.url)
    result = echo.run("--proofmap-concurrency=0")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    output = " ".join(result.stdout.str().split())
    assert "A paid answer could not be sent" in output
    assert "is out of memory" in output
    assert len(echo.calls()) == 1

    server.client.config_set("maxmemory", "0")
    echo.write("conftest.py", echo_hook())
    echo.run().assert_outcomes(passed=6)
    assert len(echo.calls()) == 6
    assert len(server.client.keys("proofmap:1:answer:*")) == 6


def test_a_restart_in_the_middle_is_borne(
    tmp_path: Path, redis_server: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that comes back soon is asked again."""
    server = redis_server()
    store = store_at(server.url, tmp_path)
    server.stop()
    starting = threading.Thread(target=server.start)
    starting.start()
    store.put("k", ANSWER)
    starting.join()
    assert store_at(server.url, tmp_path).get("k") == ANSWER
    store.close()
    store.close()


def test_a_lost_server_is_asked_once(
    tmp_path: Path, redis_server: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a server is given up, every further question fails at once."""
    monkeypatch.setattr(redis_store, "PATIENT_RETRIES", 1)
    server = redis_server()
    store = store_at(server.url, tmp_path)
    server.stop()
    with pytest.raises(StoreError, match="cannot be reached"):
        store.get("k")
    server.start()
    with pytest.raises(StoreError, match=r"It is kept in .*unsent"):
        store.put("k", ANSWER)
    store.close()

    store = store_at(server.url, tmp_path)
    assert store.get("k") == ANSWER
    assert server.client.get("proofmap:1:answer:k") is not None


def test_replay_needs_no_server(project: SmallProject) -> None:
    """A replay of recordings asks no server, and one that lacks an answer says what it could not read."""
    project.configure(f'cache_url = "os.environ/CACHE_URL"\n{CONFIGURATION}')
    project.write("test_echo.py", THREE_CASES)
    for runtime in ("gpt", "mini"):
        project.record(runtime, {case: case for case in "abc"})
    result = project.run("--proofmap-cache=replay")
    result.assert_outcomes(passed=6)
    assert "CACHE_URL" not in result.stdout.str()

    (project.folder / "recordings" / "gpt.jsonl").unlink()
    result = project.run("--proofmap-cache=replay")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "the environment variable CACHE_URL is not set" in " ".join(result.stdout.str().split())


def test_unreadable_entries_are_misses(tmp_path: Path, redis_server: StartRedis) -> None:
    """What is no answer of ours is a miss with one warning, and a new answer replaces it."""
    server = redis_server()
    server.client.set("proofmap:1:answer:k", "{")
    server.client.set("proofmap:1:answer:l", "[]")
    warnings: list[str] = []
    store = store_at(server.url, tmp_path, warn=warnings.append)
    assert store.get("k") is None
    assert store.get("l") is None
    assert len(warnings) == 1
    store.put("k", ANSWER)
    assert store_at(server.url, tmp_path).get("k") == ANSWER


def test_what_was_read_is_not_asked_again(tmp_path: Path, redis_server: StartRedis) -> None:
    """The answers read last stay in memory, no more than fit."""
    server = redis_server()
    store_at(server.url, tmp_path).put("k", ANSWER)
    store = store_at(server.url, tmp_path)
    assert store.get("k") == ANSWER
    server.client.flushall()
    assert store.get("k") == ANSWER
    assert store_at(server.url, tmp_path).get("k") is None


def call(key: str = "k", timeout_s: float = 5.0) -> LiveCall:
    """Return a call."""
    request = {"model": "m/m", "messages": [], "params": {}}
    return LiveCall(key, "r", "p", request, {"timeout_s": timeout_s})


class Machine(SingleCallLane):
    """The dispatcher of one of several machines that share a server."""

    def __init__(self, url: str, folder: Path, fails: bool = False) -> None:
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()
        self.calls = 0
        self.fails = fails
        self.store = store_at(url, folder)
        self.dispatcher = Dispatcher(self.store, self, store_is_remote=True)

    async def attempt(self, call: LiveCall) -> Answer:
        """Answer when the gate is open."""
        self.calls += 1
        self.asked.set()
        await self.gate.wait()
        if self.fails:
            raise AttemptError("BadRequestError", "no")
        return ANSWER

    def ask(self, call: LiveCall) -> asyncio.Task[CallOutcome]:
        """Ask the dispatcher."""
        return asyncio.ensure_future(self.dispatcher.submit(call))


def test_one_machine_makes_a_call(
    tmp_path: Path, redis_server: StartRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who needs a key that another machine is getting waits for it, and calls others meanwhile."""
    monkeypatch.setattr(dispatcher_module, "POLL_S", (0.005, 0.01))
    url = redis_server().url

    async def scenario() -> None:
        one, two = Machine(url, tmp_path), Machine(url, tmp_path)
        first = one.ask(call())
        await one.asked.wait()
        second = two.ask(call())
        two.gate.set()
        assert (await two.ask(call("other"))).failure is None
        assert not second.done()
        one.gate.set()
        landings = await asyncio.gather(first, second)
        assert landings[0].answer == landings[1].answer is not None
        assert [landing.shared for landing in landings] == [False, True]
        assert (one.calls, two.calls) == (1, 1)
        one.dispatcher.close()
        two.dispatcher.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("ending", ["fails", "dies"])
def test_another_machine_takes_over(
    tmp_path: Path, redis_server: StartRedis, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """When a call failed elsewhere, or its machine died and the lease ran out, this machine makes it."""
    monkeypatch.setattr(dispatcher_module, "POLL_S", (0.005, 0.01))
    monkeypatch.setattr(dispatcher_module, "LEASE_MARGIN_S", 0.2)
    url = redis_server().url

    async def scenario() -> None:
        one, two = Machine(url, tmp_path, fails=True), Machine(url, tmp_path)
        two.gate.set()
        timeout_s = 30.0 if ending == "fails" else 0.1
        first = one.ask(call(timeout_s=timeout_s))
        await one.asked.wait()
        second = two.ask(call(timeout_s=timeout_s))
        if ending == "fails":
            one.gate.set()
            assert (await first).failure is not None
        else:
            first.cancel()
        landing = await second
        assert landing.failure is None
        assert not landing.shared
        assert two.calls == 1
        one.dispatcher.close()
        two.dispatcher.close()

    asyncio.run(scenario())
