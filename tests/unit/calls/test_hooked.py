"""The project's own client, asked from any thread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_proofmap.calls.lanes import hook
from pytest_proofmap.calls.lanes.hook import HookClient
from pytest_proofmap.calls.lanes.lane import LiveCall
from pytest_proofmap.calls.request import Request
from pytest_proofmap.errors import CallError


def client(function: Any) -> HookClient:
    """Return a client that asks one implementation."""
    return HookClient(function)


def call(text: str = "hi") -> LiveCall:
    """Return a call."""
    request = Request("acme/rules", [{"role": "user", "content": text}], {"v": 1}, sample=2)
    return LiveCall(
        key=request.key(), runtime="rules", provider="acme", request=request.content(), transport={}, price=None
    )


@pytest.fixture
def asynchronous() -> Iterator[HookClient]:
    """A client whose implementation is a coroutine."""

    async def answer(runtime: str, request: Request) -> str:
        await asyncio.sleep(0)
        return f"{runtime} {request.messages[0]['content']}"

    made = client(answer)
    yield made
    made.close()


def test_a_text_becomes_a_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain text is kept as an OpenAI-format completion of the model that was asked, with how long it took."""
    monkeypatch.setattr(hook, "time", SimpleNamespace(perf_counter=iter((7.0, 9.5)).__next__))
    answer = client(lambda runtime, request: f"{runtime} {request.sample} {request.params['v']}")(call())
    assert answer is not None
    assert (answer.text, answer.finish_reason, answer.model) == ("rules 2 1", "stop", "acme/rules")
    assert answer.request == call().request
    assert answer.latency_s == 2.5
    assert answer.made_at is not None


def test_an_empty_text_is_an_answer() -> None:
    """An empty text is an answer, and None is none."""
    answer = client(lambda runtime, request: "")(call())
    assert answer is not None
    assert answer.text == ""
    assert client(lambda runtime, request: None)(call()) is None


def test_a_completion_is_kept_as_it_is() -> None:
    """A chat completion keeps its usage and model."""
    response = {
        "model": "acme/rules-7",
        "choices": [{"message": {"role": "assistant", "content": "x"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    answer = client(lambda runtime, request: response)(call())
    assert answer is not None
    assert (answer.model, answer.finish_reason, answer.usage.output_tokens) == ("acme/rules-7", "length", 4)


@pytest.mark.parametrize("given", [3, b"x", [], {}, {"choices": []}, {"choices": None}, {"choices": "x"}])
def test_what_is_no_answer(given: object) -> None:
    """Anything else is an error that shows it and says what is allowed."""
    with pytest.raises(CallError, match=r"pytest_proofmap_call returned .*; allowed: the answer's text") as caught:
        client(lambda runtime, request: given)(call())
    assert repr(given) in str(caught.value)


def test_an_exception_is_a_call_error() -> None:
    """An exception keeps its class and message."""

    def fail(runtime: str, request: Request) -> str:
        raise ConnectionError("down")

    with pytest.raises(CallError) as caught:
        client(fail)(call())
    assert (caught.value.error_class, caught.value.message) == ("ConnectionError", "down")


def test_a_coroutine_is_run(asynchronous: HookClient) -> None:
    """A coroutine runs on a loop of its own, whichever thread asks."""
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(asynchronous, [call(str(number)) for number in range(20)]))
    assert [answer.text if answer else None for answer in answers] == [f"rules {number}" for number in range(20)]


def test_a_coroutine_that_raises() -> None:
    """An exception of a coroutine is an error all the same."""

    async def fail(runtime: str, request: Request) -> str:
        raise ConnectionError("down")

    made = client(fail)
    with pytest.raises(CallError, match="ConnectionError: down"):
        made(call())
    made.close()
    made.close()
