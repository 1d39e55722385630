"""The recorder: each sample once, each request once, totals over distinct requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.outcome import CallOutcome
from pytest_proofmap.calls.request import Request, SampleId
from pytest_proofmap.calls.sample import SampleRecord
from pytest_proofmap.evidence.artifact import Charge, total
from pytest_proofmap.evidence.models import RecordedRequest, Sample, Source
from pytest_proofmap.plugin.recorder import Recorder, SamplePayload


def payload(
    case: str = "a",
    text: str = "hello",
    sent: set[str] | None = None,
    outcome: str = "failed",
    source: Source = "live",
    cost_usd: float | None = 0.5,
    prompt: str = "hi",
) -> SamplePayload:
    """Return the payload of a sample with one call."""
    record = SampleRecord(SampleId("t.py::test", case, None, "mini", "challenger", 0))
    request = Request("openai/mini", [{"role": "user", "content": prompt}], {})
    call = record.add(request.key(), request, auxiliary=None, prompt=None)
    response = {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": text}}]}
    answer = Answer(request=request.content(), response=response, latency_s=1.0)
    record.finish(call, CallOutcome(answer, source=source, cost_usd=cost_usd, usage=answer.usage))
    record.outcome = outcome  # type: ignore[assignment]  # a plain string where tests choose
    record.message = "no" if outcome == "failed" else ""
    return SamplePayload.of(record, set() if sent is None else sent, repeated=False)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """An empty recorder."""
    made = Recorder(tmp_path)
    yield made
    made.close()


def test_a_payload_travels_as_one_json_string() -> None:
    """What a worker sends arrives as it was, and is one string of ASCII."""
    sent = payload(text="caf\u00e9 \u2028 \U0001f600")
    text = sent.to_json()
    assert text.isascii()
    assert "\n" not in text
    assert SamplePayload.from_json(text) == sent


def test_the_same_sample_again_is_ignored(recorder: Recorder) -> None:
    """A sample that comes twice counts once."""
    for _ in range(2):
        recorder.add(payload())
    assert recorder.samples_count == len(list(recorder.samples())) == len(recorder.observations) == 1
    assert recorder.has("t.py::test", "a", "mini", 0)
    assert not recorder.has("t.py::test", "b", "mini", 0)


def test_a_request_is_kept_once(recorder: Recorder) -> None:
    """Samples that ask the same share one request, in one process and in several."""
    sent: set[str] = set()
    recorder.add(payload("a", sent=sent))
    recorder.add(payload("b", sent=sent))
    recorder.add(payload("c"))
    assert len(list(recorder.requests())) == 1
    [(key, text)] = recorder.requests()
    assert key in sent
    assert RecordedRequest.model_validate_json(text).messages == [{"role": "user", "content": "hi"}]


def test_samples_can_be_read_while_more_come(recorder: Recorder) -> None:
    """Reading what came in does not disturb what comes after."""
    recorder.add(payload("a"))
    assert len(list(recorder.samples())) == 1
    recorder.add(payload("b"))
    assert [json.loads(text)["case"] for text in recorder.samples()] == ["a", "b"]


def test_a_miss_is_kept_for_the_tables(recorder: Recorder) -> None:
    """A sample that did not pass is kept with its reason and the beginning of the answer in one line."""
    recorder.add(payload("a", text="one\n two " + "x" * 500))
    recorder.add(payload("b", outcome="passed"))
    [miss] = recorder.nonpasses
    assert (miss.case, miss.outcome, miss.message, miss.exception) == ("a", "failed", "no", None)
    assert miss.answer.startswith("one two xxx")
    assert len(miss.answer) == 200


@pytest.mark.parametrize("text", ["\ud83d", "\x00", "\u2028\u2029\x85", '"\\', "\U0001f600"])
def test_any_text_can_be_kept(recorder: Recorder, text: str) -> None:
    """Whatever a model answers or a test asks, the sample and its request can be read back."""
    recorder.add(payload(text=text, prompt=text))
    [sample], [(_, request)] = recorder.samples(), recorder.requests()
    readable = text.replace("\ud83d", "\ufffd")
    assert Sample.model_validate_json(sample).calls[0].text == readable
    assert RecordedRequest.model_validate_json(request).messages[0]["content"] == readable


def test_the_dearest_source_of_a_request_counts(recorder: Recorder) -> None:
    """A request that one process called and another found in the cache was called."""
    recorder.add(payload("a", source="cache"))
    recorder.add(payload("b", source="live"))
    recorder.add(payload("c", source="cache"))
    totals = recorder.totals()
    assert (totals.calls, totals.live, totals.cached, totals.spent_usd, totals.list_usd) == (1, 1, 0, 0.5, 0.5)


def test_totals() -> None:
    """Only live answers are spent; every priced answer is listed; an unknown price is counted apart."""
    totals = total(
        [
            Charge("a", "live", 0.1, True),
            Charge("b", "cache", 0.2, True),
            Charge("c", "recording", 0.4, True),
            Charge("d", "live", None, True),
            Charge("e", "live", None, False),
        ]
    )
    assert (totals.calls, totals.live, totals.cached, totals.recorded, totals.unpriced) == (5, 2, 1, 1, 1)
    assert totals.spent_usd == pytest.approx(0.1)
    assert totals.list_usd == pytest.approx(0.7)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """What cannot be written is an error, after the sample was counted."""
    recorder = Recorder(tmp_path / "nothing")
    with pytest.raises(OSError, match="nothing"):
        recorder.add(payload())
    assert recorder.samples_count == 1


def test_closing_twice_is_fine(recorder: Recorder) -> None:
    """A recorder may be closed twice, also when nothing came."""
    recorder.close()
    recorder.add(payload())
    recorder.close()
    recorder.close()
