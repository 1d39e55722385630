"""The engine answers requests: from what is there, else by one call, whoever asks and however it waits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_proofmap.calls.answer import Answer, LiveCall
from pytest_proofmap.calls.cache.store import MemoryStore
from pytest_proofmap.calls.recordings import Recordings
from pytest_proofmap.calls.request import Request
from pytest_proofmap.calls.service.connection import CallResult, Connection
from pytest_proofmap.config import RuntimeConfig, load
from pytest_proofmap.errors import CallError
from pytest_proofmap.plugin.engine import CacheMode, Engine
from pytest_proofmap.plugin.sample import CallRecord, SampleId, SampleRecord
from pytest_proofmap.prefetch.suspension import DryRun, Suspended
from pytest_proofmap.redaction import Redactor

RUNTIME = RuntimeConfig(name="mini", model="openai/mini")


class Service:
    """Stands in for a connection to the call service: calls stay open until they are answered."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.store = MemoryStore()
        self.calls: list[tuple[LiveCall, Future[CallResult]]] = []

    def submit(self, call: LiveCall, **_: object) -> Future[CallResult]:
        """Note a call."""
        future: Future[CallResult] = Future()
        self.calls.append((call, future))
        return future

    def answer(self, number: int = 0, *, shared: bool = False, cost_usd: float | None = 0.5) -> None:
        """Answer a call, and keep the answer first, as the service does."""
        call, future = self.calls[number]
        answer = answer_to(call.request)
        self.store.put(call.key, answer)
        future.set_result(CallResult(answer, shared=shared, cost_usd=cost_usd))


def answer_to(content: dict[str, Any], text: str = "yes") -> Answer:
    """Return an answer of this run."""
    message = {"role": "assistant", "content": text}
    return Answer(request=content, response={"choices": [{"finish_reason": "stop", "message": message}]}, run="r")


def engine_of(
    tmp_path: Path, service: Service, mode: CacheMode = "auto", key_of: Callable[[Request], str] | None = None
) -> Engine:
    """Return an engine whose calls go to a stand-in."""
    (tmp_path / "proofmap.toml").write_text('[runtimes.mini]\nmodel = "openai/mini"\n', encoding="utf-8")
    return Engine(
        load(tmp_path),
        run="r",
        mode=mode,
        recordings=Recordings([], tmp_path),
        store=service.store,
        connect=lambda: cast(Connection, service),
        hook=None,
        key_of=key_of,
        warn=lambda _: None,
        redactor=Redactor({}),
    )


def sample(case: str = "a", dry_run: DryRun | None = None) -> SampleRecord:
    """Return the record of a sample."""
    return SampleRecord(SampleId("t.py::test", case, None, "mini", "challenger", 0), dry_run=dry_run)


def begin(engine: Engine, record: SampleRecord, prompt: str = "hi") -> CallRecord:
    """Begin a call of a sample."""
    request = Request("openai/mini", [{"role": "user", "content": prompt}], {})
    key, _ = engine.identity(request)
    return record.begin(key, request, auxiliary=None, prompt=None)


def test_one_call_for_all_who_ask(tmp_path: Path) -> None:
    """The same request of a second sample is no second call, and both get the answer."""
    service = Service()
    engine = engine_of(tmp_path, service)
    first, second = sample("a"), sample("b")
    asked = [begin(engine, record) for record in (first, second)]
    pending = [engine.ask(call, RUNTIME, {}, record) for call, record in zip(asked, (first, second), strict=True)]
    assert pending[0] is pending[1] is not None
    assert len(service.calls) == 1
    service.answer()
    for call, record in zip(asked, (first, second), strict=True):
        engine.fetch(call, RUNTIME, {}, record)
        assert call.text == "yes"
    assert len(service.calls) == 1


def test_a_dry_run_is_suspended_and_a_real_one_waits(tmp_path: Path) -> None:
    """How a sample waits is a property of the sample, not of the engine."""
    service = Service()
    engine = engine_of(tmp_path, service)
    dry_run = DryRun()
    dry_run.enter("call")
    dry = sample(dry_run=dry_run)
    with pytest.raises(Suspended):
        engine.fetch(begin(engine, dry), RUNTIME, {}, dry)
    assert len(dry_run.pending) == 1
    assert dry.awaited == []
    service.answer()
    real = sample()
    call = begin(engine, real)
    engine.fetch(call, RUNTIME, {}, real)
    assert call.text == "yes"
    assert real.awaited == []  # The answer was there.


def test_a_request_that_a_dry_run_must_not_send_is_not_sent(tmp_path: Path) -> None:
    """A request that differs from the dry run before reaches no service."""
    service = Service()
    engine = engine_of(tmp_path, service)
    record = sample(dry_run=DryRun(["another key"]))
    with pytest.raises(Suspended):
        engine.fetch(begin(engine, record), RUNTIME, {}, record)
    assert service.calls == []
    assert not engine.has_asked


def test_a_failed_request_is_not_sent_again(tmp_path: Path) -> None:
    """Its failure is every later sample's, too."""
    service = Service()
    engine = engine_of(tmp_path, service)
    first, second = sample("a"), sample("b")
    call = begin(engine, first)
    assert engine.ask(call, RUNTIME, {}, first) is not None
    service.calls[0][1].set_result(CallResult.failed("Timeout", "too slow", attempts=3))
    again = begin(engine, second)
    engine.fetch(again, RUNTIME, {}, second)
    with pytest.raises(CallError, match="too slow"):
        again.outcome()
    assert len(service.calls) == 1


@pytest.mark.parametrize("shared", [True, False])
def test_what_was_paid_is_known_though_nobody_comes_back(tmp_path: Path, shared: bool) -> None:
    """A call that no sample took is paid all the same; an answer that others paid for is not."""
    service = Service()
    engine = engine_of(tmp_path, service)
    record = sample()
    assert engine.ask(begin(engine, record), RUNTIME, {}, record) is not None
    assert engine.paid_calls() == []
    service.answer(shared=shared)
    paid = engine.paid_calls()
    assert [(call.cost_usd, call.asked_for) for call in paid] == (
        [] if shared else [(0.5, "t.py::test[a] on mini")]
    )


def test_a_replay_sends_nothing(tmp_path: Path) -> None:
    """A missing answer is a failure at once, also in a dry run."""
    service = Service()
    engine = engine_of(tmp_path, service, mode="replay")
    record = sample()
    call = begin(engine, record)
    engine.fetch(call, RUNTIME, {}, record)
    with pytest.raises(CallError, match="no recorded or cached answer"):
        call.outcome()
    assert service.calls == []


def test_the_project_s_key_is_the_one_that_counts(tmp_path: Path) -> None:
    """Requests that share it share one call, and what is sent is the first of them as it is."""
    service = Service()
    engine = engine_of(tmp_path, service, key_of=lambda request: "k" * 64)
    first, second = sample("a"), sample("b")
    one, other = begin(engine, first, "at 12:00"), begin(engine, second, "at 13:00")
    assert one.key == other.key
    assert engine.ask(one, RUNTIME, {}, first) is engine.ask(other, RUNTIME, {}, second)
    assert [call.request["messages"][0]["content"] for call, _ in service.calls] == ["at 12:00"]
