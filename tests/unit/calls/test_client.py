"""Single attempts through the real LiteLLM over a real socket, on both of its ways to OpenAI's API."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_provider import FakeProvider, Fault

from pytest_proofmap.calls.environment import CallEnvironment, answer_by_call
from pytest_proofmap.calls.lanes.lane import LiveCall
from pytest_proofmap.calls.lanes.litellm import LiteLLMLane
from pytest_proofmap.calls.outcome import AttemptError
from pytest_proofmap.redaction import Redactor

KEY = "sk-a-key-that-nobody-may-see"
DRIVER = Path(__file__).parent / "attempt_driver.py"
FAULTS: tuple[Fault, ...] = (
    "rate_limit",
    "server_error",
    "unavailable",
    "unauthorized",
    "forbidden",
    "not_found",
    "bad_request",
    "content_policy",
    "context_window",
    "echo_authorization",
    "html",
    "half_json",
    "no_choices",
    "reset",
    "hang",
    "error_object",
    "error_object_500",
    "error_object_429",
    "too_long",
)


def openai_error(code: str | None, message: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    """Return an error body as OpenAI sends it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


REFUSED: dict[str, tuple[int, Any, str]] = {
    "filter": (
        400,
        {"error": {"message": "Not this.", "code": "content_filter", "status": 400, "innererror": {"code": "x"}}},
        "ContentPolicyViolationError",
    ),
    "inner": (
        400,
        {"error": {"message": "No.", "code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
        "ContentPolicyViolationError",
    ),
    "flagged": (400, openai_error("invalid_prompt", "Flagged."), "ContentPolicyViolationError"),
    "moderated": (
        403,
        {"error": {"code": 403, "message": "Moderated.", "metadata": {"reasons": ["x"], "flagged_input": "…"}}},
        "ContentPolicyViolationError",
    ),
    "long": (400, openai_error("context_length_exceeded", "Too many."), "ContextWindowExceededError"),
    "too-large": (413, openai_error("context_length_exceeded", "Too many."), "ContextWindowExceededError"),
    "llama": (
        400,
        {"error": {"code": 400, "message": "Too big.", "type": "exceed_context_size_error", "n_ctx": 9}},
        "ContextWindowExceededError",
    ),
    # Without any code: what only LiteLLM's reading of the words tells.
    "vllm": (
        400,
        {"object": "error", "message": "This model's maximum context length is 9.", "type": "BadRequestError",
         "param": None, "code": 400},
        "ContextWindowExceededError",
    ),
}  # fmt: skip
"""Refusals as providers word them: status, body, and what they are."""

NOT_REFUSED: dict[str, tuple[int, Any, str]] = {
    # A message that repeats what the user wrote is no code.
    "echo-policy": (400, openai_error("invalid_value", "Bad: 'content_policy_violation'"), "BadRequestError"),
    "echo-code": (400, openai_error("invalid_value", 'Bad: {"code": "content_filter"}'), "BadRequestError"),
    "echo-long": (
        400,
        openai_error("unsupported_parameter", "This model's maximum context length is"),
        "BadRequestError",
    ),
    # Another status passes, whatever the words.
    "busy": (429, openai_error(None, "prompt is too long", "rate_limit_error"), "RateLimitError"),
    "broken": (500, openai_error("content_filter", "content_policy_violation"), "InternalServerError"),
    "down": (503, openai_error(None, "This model's maximum context length is"), "ServiceUnavailableError"),
    "denied": (403, openai_error("insufficient_permissions", "Not this model."), "PermissionDeniedError"),
}
"""Failures that look like refusals: status, body, and what they are."""

TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": null}'}}


def call(model: str, base: str | None, **content: Any) -> dict[str, Any]:
    """Return a call as the driver reads it."""
    request = {
        "model": model if "/" in model else f"openai/{model}",
        "api_base": None,
        "messages": [{"role": "user", "content": "hi"}],
        "params": content.get("params", {}),
        "tools": content.get("tools"),
        "response_format": content.get("response_format"),
        "sample": 0,
    }
    transport = {"api_base": base, "timeout_s": 1.0, "api_key": KEY, **content.get("transport", {})}
    return {"request": request, "transport": {k: v for k, v in transport.items() if v is not None}}


@dataclass(frozen=True)
class Made:
    """What a driver made."""

    results: dict[str, dict[str, Any]]
    environment: dict[str, str]
    stdout: str
    provider: FakeProvider

    def error(self, name: str) -> dict[str, Any]:
        """Return the failure of a call."""
        error: dict[str, Any] = self.results[name]["error"]
        return error

    def answer(self, name: str) -> dict[str, Any]:
        """Return the answer of a call."""
        answer: dict[str, Any] = self.results[name]["answer"]
        return answer


@pytest.fixture(scope="module", params=["plain-http", "openai-client"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """All attempts of this module, made by one process for each of the two ways."""
    folder = tmp_path_factory.mktemp("project")
    (folder / ".env").write_text("FROM_DOTENV=1\nOPENAI_API_KEY=sk-from-dotenv-file\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
    if request.param == "openai-client":
        environment["EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER"] = "false"
    with FakeProvider() as provider:
        for fault in FAULTS:
            provider.script(fault, always=fault, retry_after="7")
        provider.script("served", served_model="served-2024", usage={
            "prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24,
            "prompt_tokens_details": {"cached_tokens": 8},
        })  # fmt: skip
        provider.script("odd_delay", always="unavailable", retry_after="\u0663 Uhr")
        elsewhere = f"{provider.url}/elsewhere?key=sk-in-the-address"
        provider.script("redirected", always="redirect", message=elsewhere)
        provider.script("no-usage", usage=None)
        provider.script("tool", tool_calls=[TOOL_CALL], finish_reason="tool_calls")
        provider.script("cut", finish_reason="length")
        url = provider.url
        calls: dict[str, dict[str, Any]] = {fault: call(fault, url) for fault in FAULTS}
        calls |= {name: call(name, url) for name in ("served", "no-usage", "tool", "cut", "odd_delay")}
        calls["redirected"] = call("redirected", url, transport={"extra_headers": {"X-Api-Key": KEY}})
        for name, (status, body, _) in (REFUSED | NOT_REFUSED).items():
            provider.script(name, reply=(status, body))
            calls[name] = call(name, url)
        calls["params"] = call(
            "params",
            url,
            params={"temperature": 0, "frobnicate": 1},
            tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            response_format={"type": "json_object"},
            transport={"extra_headers": {"X-Mine": "yes"}, "headers": {"X-Other": "too"}},
        )
        calls["rejected"] = call("gpt-4o", url, params={"reasoning_effort": "high"})
        calls["dead"] = call("m", "http://127.0.0.1:1/v1")
        calls["no-provider"] = call("no/such-provider", None)
        calls["no-key"] = call("gpt-4o", None, transport={"api_key": None})
        calls["own-server"] = call("m", url, transport={"api_key": None})
        process = subprocess.run(
            [sys.executable, "-W", "error", str(DRIVER)],
            input=json.dumps(list(calls.values())),
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            timeout=120,
        )
        assert process.returncode == 0, process.stderr
        stdout, _, result = process.stdout.partition("RESULT")
        output = json.loads(result)
        results = dict(zip(calls, output["results"], strict=True))
        yield Made(results, output["environment"], stdout, provider)


@pytest.mark.parametrize(
    ("fault", "error_class", "status", "retryable"),
    [
        ("rate_limit", "RateLimitError", 429, True),
        ("server_error", "InternalServerError", 500, True),
        ("unavailable", "ServiceUnavailableError", 503, True),
        ("unauthorized", "AuthenticationError", 401, False),
        ("forbidden", "PermissionDeniedError", 403, False),
        ("not_found", "NotFoundError", 404, False),
        ("bad_request", "BadRequestError", 400, False),
        ("html", "InvalidResponseError", None, True),
        ("half_json", "InvalidResponseError", None, True),
        ("no_choices", "InvalidResponseError", None, True),
        ("reset", "APIConnectionError", None, True),
        ("dead", "APIConnectionError", None, True),
        ("hang", "Timeout", None, True),
        ("error_object", "APIError", None, True),
        ("error_object_500", "InternalServerError", 500, True),
        ("error_object_429", "RateLimitError", 429, True),
        ("too_long", "ResponseTooLargeError", None, False),
        ("odd_delay", "ServiceUnavailableError", 503, True),
        ("redirected", "RedirectError", 307, False),
        ("rejected", "UnsupportedParamsError", 400, False),
        ("no-provider", "BadRequestError", 400, False),
        ("no-key", "AuthenticationError", 401, False),
    ],
)
def test_failures_have_honest_classes(
    made: Made, fault: str, error_class: str, status: int | None, retryable: bool
) -> None:
    """Each failure is named for what happened, and is repeated only if that may help."""
    error = made.error(fault)
    assert (error["error_class"], error["status"], error["retryable"]) == (error_class, status, retryable)
    assert error["fatal_for_runtime"] is (status in (307, 401, 403, 404))
    assert error["provider_fault"] is (error_class == "InvalidResponseError" or retryable)


@pytest.mark.parametrize("fault", FAULTS)
def test_one_attempt_is_one_request(made: Made, fault: Fault) -> None:
    """LiteLLM does not repeat anything behind our back."""
    assert len(made.provider.received(fault)) == 1


def test_only_what_may_be_charged_is_doubtful(made: Made) -> None:
    """An attempt may have been charged when an answer was begun or none can be known of, and not otherwise."""
    doubtful = {name for name in made.results if made.results[name].get("error", {}).get("maybe_paid")}
    within_success = {"html", "half_json", "no_choices", "error_object", "error_object_500", "too_long"}
    assert doubtful == {*within_success, "reset", "hang"}


def test_retry_after(made: Made) -> None:
    """What the provider asks to wait is read from its header."""
    assert made.error("rate_limit")["retry_after_s"] == 7
    assert made.error("unavailable")["retry_after_s"] == 7
    assert made.error("server_error")["retry_after_s"] is None


def test_messages_are_the_providers_own(made: Made) -> None:
    """A message is what the provider said, without LiteLLM's wrapping."""
    assert made.error("rate_limit")["message"] == "Rate limit reached, please slow down."
    assert made.error("hang")["message"] == "no complete response within 1 s"
    assert "no choices" in made.error("no_choices")["message"]
    assert "OPENAI_API_KEY" in made.error("no-key")["message"]
    assert "read no .env file" in made.error("no-key")["message"]


def test_messages_are_redacted(made: Made) -> None:
    """A provider that repeats the key does not get it into a message."""
    assert made.provider.received("echo_authorization")[0].headers["authorization"] == f"Bearer {KEY}"
    assert "[redacted]" in made.error("echo_authorization")["message"]
    assert KEY not in json.dumps(made.results)


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [("content_policy", "ContentPolicyViolationError"), ("context_window", "ContextWindowExceededError")],
)
def test_refusals_are_answers(made: Made, fault: str, error_class: str) -> None:
    """What the same request meets every time is the model's answer."""
    answer = made.answer(fault)
    assert answer["response"] is None
    assert answer["refusal"]["class"] == error_class


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_told_by_status_and_code(made: Made, name: str) -> None:
    """A refusal is known by the code in its body, in whatever words and with whatever version of LiteLLM."""
    answer = made.answer(name)
    assert answer["response"] is None
    assert answer["refusal"]["class"] == REFUSED[name][2]


@pytest.mark.parametrize("name", NOT_REFUSED)
def test_words_make_no_refusal(made: Made, name: str) -> None:
    """Neither an echo of the prompt nor a failure that passes is taken for the model's answer."""
    status, _, error_class = NOT_REFUSED[name]
    error = made.error(name)
    assert (error["error_class"], error["status"]) == (error_class, status)
    assert error["retryable"] is (status in (429, 500, 503))


def test_answer_is_plain(made: Made) -> None:
    """An answer is an OpenAI-format completion and nothing else."""
    answer = made.answer("served")
    response = answer["response"]
    assert response["model"] == "served-2024"
    assert response["usage"]["prompt_tokens_details"]["cached_tokens"] == 8
    assert response["choices"][0]["message"]["content"] == "ok"
    assert not {"_hidden_params", "_response_headers", "headers"} & set(response)
    assert 0 < answer["latency_s"] < 1
    assert answer["made_at"].endswith("Z")


def test_missing_usage_is_unknown(made: Made) -> None:
    """A model that reports no usage used an unknown number of tokens, not zero."""
    assert "usage" not in made.answer("no-usage")["response"]


def test_tool_calls_and_finish_reason(made: Made) -> None:
    """Tool calls arrive whole, and why the model stopped is kept."""
    choice = made.answer("tool")["response"]["choices"][0]
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"] == TOOL_CALL["function"]
    assert made.answer("cut")["response"]["choices"][0]["finish_reason"] == "length"


def test_everything_of_the_request_is_sent(made: Made) -> None:
    """Parameters, tools, response format and headers reach the wire; nothing is dropped."""
    received = made.provider.received("params")[0]
    assert received.body["temperature"] == 0
    assert received.body["frobnicate"] == 1
    assert received.body["tools"][0]["function"]["name"] == "f"
    assert received.body["response_format"] == {"type": "json_object"}
    assert "stream" not in received.body
    assert (received.headers["x-mine"], received.headers["x-other"]) == ("yes", "too")


def test_a_server_of_ones_own_needs_no_key(made: Made) -> None:
    """With an api_base and no key anywhere the call is made all the same."""
    assert made.answer("own-server")["response"]["choices"]


def test_no_traces(made: Made) -> None:
    """Nothing is printed, no warning escapes and .env is not loaded."""
    assert made.stdout == ""
    assert "FROM_DOTENV" not in made.environment
    assert "OPENAI_API_KEY" not in made.environment


def test_redirects_are_not_followed(made: Made) -> None:
    """What the request was sent with goes to nobody else, and the address is named without what may be secret."""
    assert [request.path for request in made.provider.received("redirected")] == ["/v1/chat/completions"]
    error = made.error("redirected")
    assert f"{made.provider.url}/elsewhere (status 307)" in error["message"]
    assert "sk-in" not in error["message"]
    assert error["fatal_for_runtime"]


def test_long_responses_name_the_limit(made: Made) -> None:
    """No more is read than the limit, and the message says how to raise it."""
    message = made.error("too_long")["message"]
    assert "1 MB" in message
    assert "max_response_mb" in message
    assert made.error("too_long")["maybe_paid"]


@pytest.mark.parametrize("provider", ["aiohttp_openai", "hosted_vllm", "deepseek"])
def test_bounds_hold_over_aiohttp(provider: str, tmp_path: Path) -> None:
    """Providers that LiteLLM reaches by aiohttp follow no redirect and read no more than the limit either."""
    with FakeProvider() as server:
        server.script("redirected", always="redirect", message=f"{server.url}/elsewhere?key=sk-in-the-address")
        server.script("too_long", always="too_long")
        names = ("redirected", "too_long", "fine")
        calls = [call(name, server.url, transport={"extra_headers": {"X-Api-Key": KEY}}) for name in names]
        for each in calls:
            each["request"]["model"] = each["request"]["model"].replace("openai/", f"{provider}/")
        process = subprocess.run(
            [sys.executable, str(DRIVER)],
            input=json.dumps(calls),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=120,
        )
        assert process.returncode == 0, process.stderr
        redirected, too_long, fine = json.loads(process.stdout.partition("RESULT")[2])["results"]
        assert "answer" in fine, fine
        assert [request.path for request in server.received("redirected")] == ["/v1/chat/completions"]
        assert (redirected["error"]["error_class"], redirected["error"]["status"]) == ("RedirectError", 307)
        assert f"{server.url}/elsewhere (status 307)" in redirected["error"]["message"]
        assert (too_long["error"]["error_class"], too_long["error"]["maybe_paid"]) == (
            "ResponseTooLargeError",
            True,
        )


def test_a_server_that_is_down_is_named(made: Made) -> None:
    """The address is in the message, the same for every call that meant to reach it."""
    message = made.error("dead")["message"]
    assert message.startswith("no server answers at http://127.0.0.1:1/v1 (")


@pytest.mark.parametrize("model", ["bedrock/anthropic.claude-x", "bedrock/converse/amazon.nova-pro-v1:0"])
def test_each_call_brings_its_own_credentials(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of AWS that a test has set go to LiteLLM with each of its calls, and those of no other call."""
    client = LiteLLMLane(Redactor({}))
    given: list[dict[str, Any]] = []

    async def acompletion(**arguments: Any) -> Any:
        given.append(arguments)
        raise ConnectionRefusedError

    async def ready() -> None:
        """Import nothing."""

    async def ask(variables: dict[str, str], params: dict[str, Any]) -> None:
        CallEnvironment(variables).enter()
        request = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "params": params}
        with pytest.raises(AttemptError):
            await client.attempt(LiveCall("key", "runtime", "bedrock", request, {}))

    async def ask_all() -> None:
        # Each in a task, and so in an environment, of its own.
        await asyncio.gather(
            ask({"AWS_ACCESS_KEY_ID": "one", "AWS_SECRET_ACCESS_KEY": "a", "AWS_REGION": "eu-west-1"}, {}),
            ask({"AWS_ACCESS_KEY_ID": "two", "AWS_SESSION_TOKEN": "t", "AWS_REGION_NAME": "us-east-1"}, {}),
            ask({"AWS_ACCESS_KEY_ID": "three"}, {"aws_region_name": "eu-north-1"}),
            ask({}, {}),
        )

    monkeypatch.setattr(client, "prepare", ready)
    monkeypatch.setattr(client, "_litellm", SimpleNamespace(acompletion=acompletion))
    environment = dict(os.environ)
    answer_by_call()
    try:
        asyncio.run(ask_all())
    finally:
        os.environ.__class__ = os._Environ
        del os.environ.own  # type: ignore[attr-defined]  # as answer_by_call has set it
    assert dict(os.environ) == environment
    assert [{name: value for name, value in each.items() if name.startswith("aws_")} for each in given] == [
        {"aws_access_key_id": "one", "aws_secret_access_key": "a", "aws_region_name": "eu-west-1"},
        {"aws_access_key_id": "two", "aws_session_token": "t", "aws_region_name": "us-east-1"},
        # Some of one account and some of another would be neither.
        {"aws_region_name": "eu-north-1"},
        {},
    ]
