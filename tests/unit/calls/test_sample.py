"""The record of one sample: its calls, their rounds and its latency."""

from __future__ import annotations

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.outcome import CallOutcome, CallRecord, Failure
from pytest_proofmap.calls.request import Request, SampleId
from pytest_proofmap.calls.sample import SampleRecord
from pytest_proofmap.evidence.models import Call, Sample


def record() -> SampleRecord:
    """Return the record of a sample that has not begun."""
    return SampleRecord(SampleId("t.py::test", "fr", "language=fr", "mini", "challenger", 1))


def request(text: str = "hi") -> Request:
    """Return a request."""
    return Request("openai/mini", [{"role": "user", "content": text}], {}, sample=1)


def begin(sample: SampleRecord, key: str, auxiliary: str | None = None) -> CallRecord:
    """Begin a call."""
    return sample.add(key, request(key), auxiliary=auxiliary, prompt=None)


def finish(sample: SampleRecord, call: CallRecord, latency_s: float | None = 1.0) -> None:
    """Give a call an answer."""
    response = {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}]}
    answer = Answer(request=call.request.content(), response=response, latency_s=latency_s)
    sample.finish(call, CallOutcome(answer, source="cache", cost_usd=0.5, usage=answer.usage))


def test_the_same_request_again_is_the_same_call() -> None:
    """Asking the same again in one sample is no second call, but a judge's like request is one of its own."""
    sample = record()
    first = begin(sample, "a")
    assert begin(sample, "a") is first
    assert begin(sample, "a", auxiliary="judge") is not first
    assert len(sample.calls) == 2


def test_calls_one_after_another_add_up() -> None:
    """The latency of a sample is the sum of its rounds."""
    sample = record()
    for key, latency_s in (("a", 1.0), ("b", 2.0)):
        finish(sample, begin(sample, key), latency_s)
    assert sample.latency_s() == 3.0


def test_of_calls_side_by_side_the_slowest_counts() -> None:
    """Calls that were under way together are one round."""
    sample = record()
    calls = [begin(sample, key) for key in "abc"]
    for call, latency_s in zip(calls, (1.0, 3.0, 2.0), strict=True):
        finish(sample, call, latency_s)
    finish(sample, begin(sample, "d"), 0.5)
    assert sample.latency_s() == 3.5


def test_an_unknown_latency_makes_the_samples_unknown() -> None:
    """Without one of the latencies nothing is claimed; without calls neither."""
    sample = record()
    assert sample.latency_s() is None
    finish(sample, begin(sample, "a"), 1.0)
    finish(sample, begin(sample, "b"), None)
    assert sample.latency_s() is None


def test_a_judges_latency_is_not_the_samples() -> None:
    """Auxiliary calls do not count."""
    sample = record()
    finish(sample, begin(sample, "a"), 1.0)
    finish(sample, begin(sample, "b", auxiliary="judge"), 5.0)
    assert sample.latency_s() == 1.0


def test_the_first_failed_call_is_the_samples_error() -> None:
    """A sample knows why its first failed call failed, whatever came after."""
    sample = record()
    for key in "ab":
        call = begin(sample, key)
        sample.finish(call, CallOutcome(failure=Failure("call", "TimeoutError", key, attempts=3)))
    finish(sample, begin(sample, "c"))
    assert str(sample.error) == "TimeoutError: a"
    model = Sample.model_validate(sample.content())
    assert model.calls[0].error is not None
    assert (model.calls[0].error.class_, model.calls[0].error.message) == ("TimeoutError", "a")
    assert (model.calls[0].attempts, model.calls[0].model, model.calls[0].text) == (3, "openai/mini", "")


def test_what_the_artifact_holds() -> None:
    """The model has the sample's identity, its outcome and its calls."""
    sample = record()
    finish(sample, begin(sample, "a"))
    sample.outcome, sample.message = "failed", "no"
    content = sample.content()
    assert list(content) == [name for name in Sample.model_fields if name not in Sample.added]
    assert list(content["calls"][0]) == [name for name in Call.model_fields if name not in Call.added]
    model = Sample.model_validate(content)
    assert (model.criterion, model.case, model.slice) == ("t.py::test", "fr", "language=fr")
    assert (model.runtime, model.role, model.sample) == ("mini", "challenger", 1)
    assert (model.outcome, model.message, model.latency_s) == ("failed", "no", 1.0)
    [call] = model.calls
    assert (call.source, call.cost_usd, call.text, call.finish_reason) == ("cache", 0.5, "hello", "stop")
    assert (call.runtime, call.error, call.prompt) == (None, None, None)


def test_a_sample_without_an_outcome_was_not_run_to_its_end() -> None:
    """What was cut short is an error and never passed."""
    assert record().content()["outcome"] == "error"
