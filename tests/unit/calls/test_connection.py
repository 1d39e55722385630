"""The call service as a real process: started, shared, told of the environment, and never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_provider import FakeProvider

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.cache.disk import DiskStore
from pytest_proofmap.calls.lanes.lane import LiveCall
from pytest_proofmap.calls.outcome import CallOutcome, Failure
from pytest_proofmap.calls.request import Request
from pytest_proofmap.calls.service.connection import Connection
from pytest_proofmap.calls.service.protocol import ServiceSettings
from pytest_proofmap.errors import CallError, StoreError
from pytest_proofmap.evidence.models import Price

WAIT_S = 60.0
PRICE = Price(input_per_mtok=1.0, output_per_mtok=2.0)


def live(url: str | None, model: str = "m", text: str = "hi", **transport: Any) -> LiveCall:
    """Return a call of a model on a server."""
    request = Request(f"openai/{model}", [{"role": "user", "content": text}], {})
    settings = {"api_base": url, "timeout_s": 20.0, **transport}
    return LiveCall(request.key(), f"runtime-{model}", "openai", request.content(), settings, PRICE)


def never(call: LiveCall) -> Answer | None:
    """Stand for a hook that must not run."""
    raise AssertionError("the hook ran")


def say(text: str) -> Answer:
    """Return an answer as a hook gives it."""
    return Answer(request={}, response={"choices": [{"message": {"content": text}}]})


def failure_of(outcome: CallOutcome) -> Failure:
    """Return why a call gave no usable answer."""
    assert outcome.failure is not None
    return outcome.failure


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    """One server for the tests of this module."""
    with FakeProvider() as server:
        yield server


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shared service keeps its answers."""
    return tmp_path_factory.mktemp("service") / "cache"


@pytest.fixture(scope="module")
def service(directory: Path) -> Iterator[Connection]:
    """One service for the tests that need LiteLLM, which imports it once."""
    connection = Connection.start(ServiceSettings({"kind": "disk", "directory": str(directory)}))
    yield connection
    connection.close()


@pytest.fixture
def memory() -> Iterator[Connection]:
    """A fresh service that keeps its answers in memory."""
    connection = Connection.start(ServiceSettings({"kind": "memory"}))
    yield connection
    connection.close()


def test_answer_is_on_disk_when_it_arrives(service: Connection, provider: FakeProvider, directory: Path) -> None:
    """A live call gives an answer with its cost, and the cache has it by then."""
    call = live(provider.url, text="first")
    result = service.submit(call).result(WAIT_S)
    assert result.answer is not None
    assert result.answer.text == "ok"
    assert (result.failure, result.shared, result.attempts) == (None, False, 1)
    assert result.cost_usd == pytest.approx(20 / 1e6)
    store = DiskStore(directory, pytest.fail, readonly=True)
    assert store.get(call.key) == result.answer
    store.close()


def test_failure_arrives_with_class_and_message(service: Connection, provider: FakeProvider) -> None:
    """A failing call says what failed and how often it was tried."""
    provider.script("locked", always="unauthorized")
    result = service.submit(live(provider.url, "locked")).result(WAIT_S)
    assert result.answer is None
    failure = failure_of(result)
    assert (failure.kind, failure.error_class, failure.attempts) == ("call", "AuthenticationError", 1)
    assert failure.message == "Incorrect API key provided."
    again = service.submit(live(provider.url, "locked", text="more")).result(WAIT_S)
    assert failure_of(again).kind == "circuit"
    assert len(provider.received("locked")) == 1


def test_faults_are_retried_over_the_wire(service: Connection, provider: FakeProvider) -> None:
    """A server that recovers costs attempts and no answer."""
    provider.script("shaky", faults=["server_error", "reset"])
    result = service.submit(live(provider.url, "shaky")).result(WAIT_S)
    assert result.attempts == 3
    assert len(provider.received("shaky")) == 3


def test_rate_limits_are_outwaited(service: Connection, provider: FakeProvider) -> None:
    """A provider that bears four calls at once answers all of many."""
    provider.script("narrow", parallel=4, latency_s=0.01)
    calls = [live(provider.url, "narrow", text=str(number)) for number in range(24)]
    results = [future.result(WAIT_S) for future in [service.submit(call) for call in calls]]
    assert [result.failure for result in results if result.answer is None] == []


def test_two_clients_share_flights(service: Connection, provider: FakeProvider) -> None:
    """Two processes that ask for the same key cause one call, and both get the answer."""
    provider.script("slow", latency_s=0.3)
    other = Connection.join(service.address)
    try:
        call = live(provider.url, "slow")
        futures = [connection.submit(call) for connection in (service, other, service, other)]
        results = [future.result(WAIT_S) for future in futures]
    finally:
        other.close()
    assert len(provider.received("slow")) == 1
    assert {result.answer.text for result in results if result.answer} == {"ok"}
    assert sorted(result.shared for result in results) == [False, True, True, True]


def test_a_leaving_client_ends_nothing(service: Connection, provider: FakeProvider) -> None:
    """When one of several clients leaves, the service goes on for the others."""
    Connection.join(service.address).close()
    assert service.submit(live(provider.url, text="still there")).result(WAIT_S).answer is not None


def test_environment_changes_reach_the_service(
    service: Connection, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that a test sets, or takes away, counts from the next call on."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-set-by-the-test")
    service.submit(live(provider.url, "keyed", text="with")).result(WAIT_S)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-changed-by-the-test")
    service.submit(live(provider.url, "keyed", text="changed")).result(WAIT_S)
    monkeypatch.delenv("OPENAI_API_KEY")
    service.submit(live(provider.url, "keyed", text="without")).result(WAIT_S)
    sent = [request.headers["authorization"] for request in provider.received("keyed")]
    assert sent == ["Bearer sk-set-by-the-test", "Bearer sk-changed-by-the-test", "Bearer none"]


def test_status(service: Connection, provider: FakeProvider) -> None:
    """The status tells what was done and spent, by provider."""
    service.submit(live(provider.url, text="for the status")).result(WAIT_S)
    status = service.status().result(WAIT_S)
    assert status["in_flight"] == 0
    assert status["spent_usd"] > 0
    assert status["providers"]["openai"]["done"] >= 1


def test_hook_runs_in_the_clients_process(memory: Connection) -> None:
    """The user's own client runs here, in a thread, once per key; limits and the store stay there."""
    threads = []

    def hook(call: LiveCall) -> Answer:
        threads.append(threading.current_thread())
        return say(call.request["messages"][0]["content"].upper())

    first = memory.submit(live(None, text="hello"), hook=hook).result(WAIT_S)
    second = memory.submit(live(None, text="hello"), hook=never).result(WAIT_S)
    assert first.answer is not None
    assert first.answer.text == "HELLO"
    assert second.answer == first.answer
    assert second.shared
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


def test_failing_hook_is_an_error(memory: Connection) -> None:
    """An exception of the user's own client is the call's error, named and redacted."""

    def hook(call: LiveCall) -> Answer:
        raise LookupError("agent refused sk-1234567890abcdef")

    result = memory.submit(live(None), hook=hook).result(WAIT_S)
    failure = failure_of(result)
    assert (failure.error_class, failure.message) == ("LookupError", "agent refused [redacted]")


def test_hanging_hook_is_cut_off(memory: Connection) -> None:
    """The runtime's timeout holds for the user's own client too."""
    release = threading.Event()

    def hook(call: LiveCall) -> Answer | None:
        release.wait(WAIT_S)
        return None

    result = memory.submit(live(None, timeout_s=0.05), hook=hook).result(WAIT_S)
    release.set()
    assert failure_of(result).error_class == "Timeout"
    assert "0.05 s" in failure_of(result).message


def test_passing_hook_leaves_it_to_litellm(service: Connection, provider: FakeProvider) -> None:
    """A hook that returns None passes the call on."""
    result = service.submit(live(provider.url, "passed"), hook=lambda call: None).result(WAIT_S)
    assert result.answer is not None
    assert len(provider.received("passed")) == 1


def test_slow_hooks_run_side_by_side(memory: Connection) -> None:
    """Hooks of several calls run at the same time."""
    together = threading.Barrier(4, timeout=WAIT_S)

    def hook(call: LiveCall) -> Answer:
        together.wait()
        return say("met")

    futures = [memory.submit(live(None, text=str(number)), hook=hook) for number in range(4)]
    assert [future.result(WAIT_S).attempts for future in futures] == [1, 1, 1, 1]


def test_a_crowd_at_one_provider_holds_up_no_other(memory: Connection) -> None:
    """However many calls to a provider wait, one to another starts at once, and all are counted as waiting."""
    release = threading.Event()

    def hook(call: LiveCall) -> Answer:
        if call.provider == "openai":
            assert release.wait(WAIT_S)
        return say(call.request["messages"][0]["content"])

    crowd = [memory.submit(live(None, text=str(number)), hook=hook) for number in range(300)]
    other = replace(live(None, text="quick"), key="quick", provider="elsewhere")
    answer = memory.submit(other, hook=hook).result(WAIT_S).answer
    assert answer is not None
    assert answer.text == "quick"
    status = memory.status().result(WAIT_S)
    providers = status["providers"]["openai"]
    assert providers["in_flight"] + providers["waiting"] == status["in_flight"] + status["waiting"] == 300
    release.set()
    answers = [flight.result(WAIT_S).answer for flight in crowd]
    assert [answer and answer.text for answer in answers] == [str(number) for number in range(300)]


def test_dying_service_fails_every_call(memory: Connection) -> None:
    """When the process dies the open calls, and later ones, say so and say what it last wrote."""
    begun, release = threading.Event(), threading.Event()

    def hook(call: LiveCall) -> Answer:
        begun.set()
        release.wait(WAIT_S)
        return say("too late")

    future = memory.submit(live(None), hook=hook)
    assert begun.wait(WAIT_S)
    os.kill(_process(memory).pid, signal.SIGKILL)
    result = future.result(WAIT_S)
    release.set()
    failure = failure_of(result)
    assert (failure.kind, failure.error_class) == ("call", "CallServiceError")
    assert "exit status: -9" in failure.message
    later = memory.submit(live(None, text="later"), hook=never).result(WAIT_S)
    assert failure_of(later).error_class == "CallServiceError"
    assert memory.status().result(WAIT_S) == {}


def test_unusable_store_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    """A store that cannot be opened is the result of every call."""
    (tmp_path / "file").write_text("")
    settings = ServiceSettings({"kind": "disk", "directory": str(tmp_path / "file" / "cache")})
    connection = Connection.start(settings)
    result = connection.submit(live(None), hook=never).result(WAIT_S)
    failure = failure_of(result)
    assert (failure.kind, failure.error_class) == ("store", "StoreError")
    assert "file" in failure.message
    with pytest.raises(StoreError):
        _ = connection.address
    connection.close()


def test_unkept_answer_is_handed_over(tmp_path: Path) -> None:
    """An answer that could not be kept arrives beside the failure."""
    folder = tmp_path / "cache"
    connection = Connection.start(ServiceSettings({"kind": "disk", "directory": str(folder)}))
    _ = connection.address

    def hook(call: LiveCall) -> Answer:
        for path in folder.glob("*"):
            path.unlink()
        folder.rmdir()
        folder.write_text("in the way")
        return say("paid")

    result = connection.submit(live(None), hook=hook).result(WAIT_S)
    connection.close()
    assert failure_of(result).kind == "store"
    assert result.answer is not None
    assert result.answer.text == "paid"


def test_closing_leaves_nothing(memory: Connection) -> None:
    """After closing, the process, its socket and its folder are gone, and calls are refused."""
    path = Path(memory.address.partition(":")[2].rpartition("#")[0])
    process = _process(memory)
    memory.close()
    memory.close()
    assert process.poll() == 0
    assert not path.parent.exists()
    assert failure_of(memory.submit(live(None), hook=never).result(WAIT_S)).error_class == "CallServiceError"


def test_closing_before_it_is_up() -> None:
    """A service that was never needed can be closed at once."""
    connection = Connection.start(ServiceSettings({"kind": "memory"}))
    future: Future[CallOutcome] = connection.submit(live(None), hook=never)
    connection.close()
    assert failure_of(future.result(WAIT_S)).error_class == "CallServiceError"


def test_strangers_are_not_served(memory: Connection) -> None:
    """Without the token nothing is answered, and the socket's folder is the user's alone."""
    where, _, _ = memory.address.rpartition("#")
    path = Path(where.partition(":")[2])
    assert path.parent.stat().st_mode & 0o077 == 0
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(WAIT_S)
        stranger.connect(str(path))
        stranger.sendall(b'{"op":"hello","token":"guess"}\n{"op":"status"}\n')
        assert stranger.recv(1000) == b""
    with pytest.raises(CallError):
        _ = Connection.join(f"{where}x#token").address


def test_tcp_where_no_unix_socket_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a temporary folder of too long a name the service listens on loopback."""
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    connection = Connection.start(ServiceSettings({"kind": "memory"}))
    assert connection.address.startswith("tcp:127.0.0.1:")
    assert connection.submit(live(None), hook=lambda call: say("tcp")).result(WAIT_S).answer is not None
    connection.close()
    assert list(long.iterdir()) == []


@pytest.fixture(params=["unix", "tcp"])
def reached(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Connection]:
    """A fresh service that listens on a Unix socket, or on loopback as where no such socket fits."""
    if request.param == "tcp":
        long = tmp_path / ("x" * 120)
        long.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(long))
    connection = Connection.start(ServiceSettings({"kind": "memory"}))
    assert connection.address.startswith(f"{request.param}:")
    yield connection
    connection.close()


@contextlib.contextmanager
def stranger_to(connection: Connection) -> Iterator[socket.socket]:
    """Connect to a service without saying anything."""
    kind, _, place = connection.address.rpartition("#")[0].partition(":")
    with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as stranger:
        stranger.settimeout(WAIT_S)
        if kind == "unix":
            stranger.connect(place)
        else:
            host, _, port = place.partition(":")
            stranger.connect((host, int(port)))
        yield stranger


def assert_cut_off(stranger: socket.socket) -> None:
    """Check that the service closes the connection without a word."""
    with contextlib.suppress(ConnectionResetError):
        assert stranger.recv(1000) == b""


@pytest.mark.parametrize(
    "first", [b"x" * 5000, b'{"op":"hello","token":"' + b"x" * 5000 + b'"}\n', b'{"op":"hello","token":"guess"}\n']
)
def test_strangers_may_say_little(reached: Connection, first: bytes) -> None:
    """Before the token is shown a short line is read, and no more kept."""
    with stranger_to(reached) as stranger:
        stranger.sendall(first)
        assert_cut_off(stranger)


def test_strangers_have_little_time(reached: Connection) -> None:
    """Who says nothing, or never ends a line, is cut off; who knows the token is served meanwhile."""
    with stranger_to(reached) as silent, stranger_to(reached) as slow:
        slow.sendall(b'{"op":')
        assert reached.submit(live(None), hook=lambda call: say("served")).result(WAIT_S).answer is not None
        assert_cut_off(silent)
        assert_cut_off(slow)


@pytest.mark.parametrize("depth", [150, 400, 2000])
def test_an_answer_too_deep_to_be_kept(memory: Connection, depth: int) -> None:
    """It is an error at once; what can be read back is kept."""

    def hook(call: LiveCall) -> Answer:
        nested: Any = "x"
        for _ in range(depth):
            nested = [nested]
        return say("deep")._replace(response={"choices": [{"message": {"content": "deep", "more": nested}}]})

    result = memory.submit(live(None, text=f"deep {depth}"), hook=hook).result(WAIT_S)
    if depth == 150:
        assert result.answer is not None
    else:
        assert (result.answer, result.attempts) == (None, 1)
        assert failure_of(result).error_class in ("InvalidResponseError", "RecursionError")


def test_blocked_sockets_do_not_matter(memory: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins that replace socket.socket do not cut the service off."""
    address = memory.address

    def blocked(*_: object, **__: object) -> None:
        raise RuntimeError("sockets are blocked")

    monkeypatch.setattr(socket, "socket", blocked)
    other = Connection.join(address)
    assert other.submit(live(None), hook=lambda call: say("in")).result(WAIT_S).answer is not None
    other.close()


CLIENT = """
import json, os, signal, sys
sys.path.insert(0, {tests!r})
from test_connection import Connection, ServiceSettings, live
connection = Connection.start(ServiceSettings({{"kind": "disk", "directory": {directory!r}}}))
futures = [connection.submit(live({url!r}, "quick", text=str(i))) for i in range(40)]
slow = [connection.submit(live({url!r}, "slow", text=str(i))) for i in range(4)]
answered = [future.result(60).answer.request["messages"][0]["content"] for future in futures]
print(json.dumps({{"pid": connection._process._process.pid, "answered": answered}}), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_client_leaves_no_process_and_no_loss(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """After kill -9 of pytest's process the service ends by itself; what was answered or under way is kept."""
    fake_provider.script("slow", latency_s=1.0)
    code = CLIENT.format(
        tests=str(Path(__file__).parent), directory=str(tmp_path / "cache"), url=fake_provider.url
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(fake_provider_path()).parent)}
    client = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    assert client.returncode == -signal.SIGKILL, client.stderr
    told = json.loads(client.stdout)
    _wait_for_end(told["pid"])
    store = DiskStore(tmp_path / "cache", pytest.fail, readonly=True)
    assert len(told["answered"]) == 40
    assert all(store.get(live(fake_provider.url, "quick", text=text).key) for text in told["answered"])
    sent = {request.body["messages"][0]["content"] for request in fake_provider.received("slow")}
    assert sent
    assert all(store.get(live(fake_provider.url, "slow", text=text).key) for text in sent)
    store.close()


def fake_provider_path() -> str:
    """Return where the fake provider's module is."""
    import fake_provider as module

    assert module.__file__ is not None
    return module.__file__


def _process(connection: Connection) -> subprocess.Popen[bytes]:
    assert connection._process is not None
    return connection._process._process


def _wait_for_end(pid: int) -> None:
    """Wait until a process that is not our child is gone."""
    deadline = threading.Event()
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        deadline.wait(0.05)
    pytest.fail(f"process {pid} is still there")
