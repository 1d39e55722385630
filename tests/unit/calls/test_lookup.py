"""Requests are answered from what is there, else by one call, whoever asks and however it waits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.cache.store import MemoryStore
from pytest_proofmap.calls.lanes.lane import LiveCall
from pytest_proofmap.calls.lookup import CacheMode, Lookup
from pytest_proofmap.calls.outcome import CallOutcome, CallRecord, Failure
from pytest_proofmap.calls.recordings import Recordings
from pytest_proofmap.calls.request import Request, SampleId
from pytest_proofmap.calls.sample import Pending, SampleRecord
from pytest_proofmap.calls.service.connection import Connection
from pytest_proofmap.config import RuntimeConfig
from pytest_proofmap.errors import CallError
from pytest_proofmap.prefetch.suspension import DryRun, Suspended, wait
from pytest_proofmap.redaction import Redactor

RUNTIME = RuntimeConfig(name="mini", model="openai/mini")


class Service:
    """Stands in for a connection to the call service: calls stay open until they are answered."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.store = MemoryStore()
        self.calls: list[tuple[LiveCall, Future[CallOutcome]]] = []

    def submit(self, call: LiveCall, **_: object) -> Future[CallOutcome]:
        """Note a call."""
        future: Future[CallOutcome] = Future()
        self.calls.append((call, future))
        return future

    def answer(self, number: int = 0, *, shared: bool = False, cost_usd: float | None = 0.5) -> None:
        """Answer a call, and keep the answer first, as the service does."""
        call, future = self.calls[number]
        answer = answer_to(call.request)
        self.store.put(call.key, answer)
        future.set_result(CallOutcome(answer, shared=shared, cost_usd=cost_usd))


def answer_to(content: dict[str, Any], text: str = "yes") -> Answer:
    """Return an answer of this run."""
    message = {"role": "assistant", "content": text}
    return Answer(request=content, response={"choices": [{"finish_reason": "stop", "message": message}]}, run="r")


def lookup_of(
    tmp_path: Path, service: Service, mode: CacheMode = "auto", key_of: Callable[[Request], str] | None = None
) -> Lookup:
    """Return a look-up whose calls go to a stand-in."""
    return Lookup(
        run="r",
        mode=mode,
        recordings=Recordings([], tmp_path),
        store=service.store,
        connect=lambda: cast(Connection, service),
        hook_client=None,
        key_of=key_of,
        warn=lambda _: None,
        redactor=Redactor({}),
    )


def sample(lookup: Lookup, case: str = "a", dry_run: DryRun | None = None) -> SampleRecord:
    """Return the record of a sample."""
    return SampleRecord(SampleId("t.py::test", case, None, "mini", "challenger", 0), lookup, dry_run)


def begin(record: SampleRecord, prompt: str = "hi") -> CallRecord:
    """Begin a call of a sample."""
    request = Request("openai/mini", [{"role": "user", "content": prompt}], {})
    return record.begin(request, RUNTIME, auxiliary=False, prompt=None)


def submitted(record: SampleRecord, prompt: str = "hi") -> Future[CallOutcome]:
    """Ask for a call whose answer is not there."""
    pending = record.answer(begin(record, prompt), RUNTIME, {})
    assert isinstance(pending, Pending)
    return pending.future


def outcome_of(record: SampleRecord, dry_run: DryRun | None = None) -> CallOutcome:
    """Ask as a test does, which waits in the way of its dry run or of a real run."""
    request = Request("openai/mini", [{"role": "user", "content": "hi"}], {})
    outcome = record.ask(request, RUNTIME, {})
    if isinstance(outcome, Pending):
        with outcome.waited_for():
            wait(outcome.future, dry_run)
            return outcome.take()
    return outcome


def test_one_call_for_all_who_ask(tmp_path: Path) -> None:
    """The same request of a second sample is no second call, and both get the answer."""
    service = Service()
    lookup = lookup_of(tmp_path, service)
    first, second = sample(lookup, "a"), sample(lookup, "b")
    assert submitted(first) is submitted(second)
    assert len(service.calls) == 1
    service.answer()
    for record in (first, second):
        assert outcome_of(record).require_answer().text == "yes"
        assert [call.text for call in record.calls] == ["yes"]
    assert len(service.calls) == 1


def test_a_dry_run_is_suspended_and_a_real_one_waits(tmp_path: Path) -> None:
    """How a sample waits is the asker's affair, and none of the look-up's."""
    service = Service()
    lookup = lookup_of(tmp_path, service)
    dry_run = DryRun()
    dry_run.enter("call")
    dry = sample(lookup, dry_run=dry_run)
    with pytest.raises(Suspended):
        outcome_of(dry, dry_run)
    assert len(dry_run.pending) == 1
    assert not dry.has_waited
    service.answer()
    real = sample(lookup)
    assert outcome_of(real).require_answer().text == "yes"
    assert not real.has_waited  # The answer was there.


def test_a_request_that_a_dry_run_must_not_send_is_not_sent(tmp_path: Path) -> None:
    """A request that differs from the dry run before reaches no service."""
    service = Service()
    lookup = lookup_of(tmp_path, service)
    record = sample(lookup, dry_run=DryRun(["another key"]))
    with pytest.raises(Suspended):
        outcome_of(record)
    assert service.calls == []
    assert not lookup.has_asked


class Sieve:
    """A gate of another kind than a dry run: it lets no request pass whose answer is not there."""

    def __init__(self) -> None:
        self.pending: list[Future[CallOutcome]] = []
        self.met = 0
        self.refused: list[int] = []

    def meet(self) -> None:
        """Count."""
        self.met += 1

    def admit(self, key: str, position: int) -> None:
        """Refuse."""
        self.refused.append(position)
        raise LookupError(key)


def test_who_gates_a_sample_need_be_no_dry_run(tmp_path: Path) -> None:
    """Whatever has the gate's methods says which requests are sent; what is there passes."""
    service = Service()
    lookup, gate = lookup_of(tmp_path, service), Sieve()
    record = SampleRecord(sample(lookup).id, lookup, gate)
    call = begin(record, "there")
    service.store.put(call.key, answer_to(call.request.content()))
    with pytest.raises(LookupError):
        outcome_of(record)
    assert isinstance(record.answer(call, RUNTIME, {}), CallOutcome)
    assert (gate.met, gate.refused, service.calls, call.text) == (2, [1], [], "yes")


def test_a_listener_is_told_of_what_is_looked_up(tmp_path: Path) -> None:
    """It gets each request with what is there, and nothing for one whose model must be asked."""
    service = Service()
    lookup = lookup_of(tmp_path, service)
    heard: list[tuple[str, str | None]] = []
    lookup.listener = lambda runtime, price, call, outcome: heard.append(
        (call.request.messages[0]["content"], outcome.source if outcome else None)
    )
    record = sample(lookup)
    call = begin(record, "there")
    service.store.put(call.key, answer_to(call.request.content()))
    record.answer(call, RUNTIME, {})
    submitted(record, "missing")
    assert heard == [("there", "live"), ("missing", None)]


def test_a_failed_request_is_not_sent_again(tmp_path: Path) -> None:
    """Its failure is every later sample's, too."""
    service = Service()
    lookup = lookup_of(tmp_path, service)
    submitted(sample(lookup, "a"))
    service.calls[0][1].set_result(CallOutcome(failure=Failure("call", "Timeout", "too slow", attempts=3)))
    outcome = outcome_of(sample(lookup, "b"))
    with pytest.raises(CallError, match="too slow"):
        outcome.require_answer()
    assert outcome.attempts == 3
    assert len(service.calls) == 1


def test_an_answer_that_could_not_be_saved_is_used(tmp_path: Path) -> None:
    """It is paid: every sample of this run that asks gets it, and knows; other requests are not sent any more."""
    service = Service()
    lookup = lookup_of(tmp_path, service)
    first, second = sample(lookup, "a"), sample(lookup, "b")
    submitted(first)
    call, future = service.calls[0]
    future.set_result(CallOutcome(answer_to(call.request), Failure("store", "StoreError", "disk full")))
    for record in (first, second):
        assert outcome_of(record).require_answer().text == "yes"
        assert record.unsaved == "disk full"
    assert submitted(second, "more").result().failure == Failure("store", "StoreError", "not called: disk full")


@pytest.mark.parametrize("shared", [True, False])
def test_what_was_paid_is_known_though_nobody_comes_back(tmp_path: Path, shared: bool) -> None:
    """A call that no sample took is paid all the same; an answer that others paid for is not."""
    service = Service()
    lookup = lookup_of(tmp_path, service)
    submitted(sample(lookup))
    assert lookup.paid_calls() == []
    service.answer(shared=shared)
    paid = lookup.paid_calls()
    assert [(call.cost_usd, call.asked_for) for call in paid] == (
        [] if shared else [(0.5, "t.py::test[a] on mini")]
    )


def test_a_replay_sends_nothing(tmp_path: Path) -> None:
    """A missing answer is a failure at once, also in a dry run."""
    service = Service()
    outcome = outcome_of(sample(lookup_of(tmp_path, service, mode="replay")))
    with pytest.raises(CallError, match="no recorded or cached answer"):
        outcome.require_answer()
    assert service.calls == []


def test_the_project_s_key_is_the_one_that_counts(tmp_path: Path) -> None:
    """Requests that share it share one call, and what is sent is the first of them as it is."""
    service = Service()
    lookup = lookup_of(tmp_path, service, key_of=lambda request: "k" * 64)
    assert submitted(sample(lookup, "a"), "at 12:00") is submitted(sample(lookup, "b"), "at 13:00")
    assert [call.request["messages"][0]["content"] for call, _ in service.calls] == ["at 12:00"]
