"""What exceptions of client libraries are taken for, where no real server can bring them about."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_proofmap.calls.lanes.failures import classify, readable_message, refusal_of, retry_after_s
from pytest_proofmap.redaction import Redactor

REDACTOR = Redactor({})


class APIConnectionError(Exception):  # The name is what the rule looks at.
    """As LiteLLM calls whatever it cannot name."""


class StatusError(Exception):
    """An error with a status and headers, as most client libraries raise it."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__("said so")
        self.status_code = status
        self.litellm_response_headers = headers or {}


def caused(error: Exception, cause: BaseException) -> Exception:
    """Return an error raised because of another one."""
    error.__cause__ = cause
    return error


def test_missing_library_stops_the_runtime() -> None:
    """A provider whose library is not installed is not retried, and the message names what is missing."""
    error = caused(APIConnectionError("No module named 'boto3'"), ModuleNotFoundError("No module named 'boto3'"))
    failure = classify(error, REDACTOR)
    assert (failure.error_class, failure.retryable, failure.fatal_for_runtime) == ("ImportError", False, True)
    assert "boto3" in failure.message


def test_innermost_connection_fault_is_named() -> None:
    """A connection fault is told by its innermost cause."""
    error = caused(APIConnectionError("Connection error."), ConnectionResetError(104, "Connection reset by peer"))
    failure = classify(error, REDACTOR)
    assert failure.error_class == "APIConnectionError"
    assert failure.message == "ConnectionResetError: [Errno 104] Connection reset by peer"
    assert failure.maybe_paid


def test_refused_connection_cost_nothing() -> None:
    """Nothing was sent where nobody listens."""
    failure = classify(caused(APIConnectionError("x"), ConnectionRefusedError(111, "refused")), REDACTOR)
    assert failure.retryable
    assert not failure.maybe_paid


@pytest.mark.parametrize("status", [408, 409, 429, 502, 503, 504, 529])
def test_statuses_that_may_pass(status: int) -> None:
    """These statuses are retried and count against the provider."""
    failure = classify(StatusError(status), REDACTOR)
    assert failure.retryable
    assert failure.provider_fault


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_statuses_that_stay(status: int) -> None:
    """These statuses are not retried."""
    assert not classify(StatusError(status), REDACTOR).retryable


def test_error_object_without_a_status_may_pass() -> None:
    """Gateways send one with the status of a success while what is behind them is in trouble."""
    kind = type("APIError", (Exception,), {"status_code": None})
    failure = classify(kind("upstream is overloaded"), REDACTOR)
    assert (failure.error_class, failure.message) == ("APIError", "upstream is overloaded")
    assert failure.retryable
    assert failure.provider_fault


def litellms(name: str, status: int, message: str, **attributes: Any) -> Exception:
    """Return an exception as LiteLLM makes it, by its class's name."""
    kind = type(name, (Exception,), {"__module__": "litellm.exceptions"})
    error: Exception = kind(message)
    vars(error).update(status_code=status, **attributes)
    return error


def test_the_status_of_the_response_counts() -> None:
    """LiteLLM 1.80 calls a 503 a BadRequestError with status 400: what was sent decides."""
    sent = caused(Exception("x"), StatusError(503))
    vars(sent.__cause__)["response"] = SimpleNamespace(status_code=503, text="busy", headers={})
    failure = classify(caused(litellms("BadRequestError", 400, "busy"), sent), REDACTOR)
    assert (failure.error_class, failure.status, failure.retryable) == ("ServiceUnavailableError", 503, True)


def test_a_response_that_litellm_made_up_is_none() -> None:
    """A cut connection arrives with a response of status 500 that no provider sent."""
    made_up = SimpleNamespace(status_code=500, text="", headers={})
    error = litellms("InternalServerError", 500, "Connection error.", response=made_up)
    failure = classify(caused(error, ConnectionResetError(104, "reset")), REDACTOR)
    assert (failure.error_class, failure.status) == ("APIConnectionError", None)


def test_an_unread_stream_is_no_obstacle() -> None:
    """A response whose text cannot be read tells by its status and by LiteLLM's class."""

    class Unread:
        status_code = 400

        @property
        def text(self) -> str:
            raise RuntimeError("ResponseNotRead")

    sent = Exception("x")
    vars(sent)["response"] = Unread()
    refusal = refusal_of(caused(litellms("ContextWindowExceededError", 400, "too long"), sent), REDACTOR)
    assert refusal is not None
    assert refusal.error_class == "ContextWindowExceededError"


@pytest.mark.parametrize("code", ["unsupported_value", "model_not_supported"])
def test_another_code_overrules_litellms_class(code: str) -> None:
    """A refusal that LiteLLM reads into a message is none where the provider's code says something else."""
    sent = Exception("x")
    vars(sent)["body"] = {"message": "content_policy_violation", "type": "invalid_request_error", "code": code}
    error = caused(litellms("ContentPolicyViolationError", 400, "content_policy_violation"), sent)
    assert refusal_of(error, REDACTOR) is None
    assert classify(error, REDACTOR).error_class == "BadRequestError"


def test_a_missing_key_says_where_none_is_read() -> None:
    """Who keeps keys in .env is told that nobody reads it; a key that the provider refused was there."""
    missing = classify(litellms("AuthenticationError", 401, "Missing Anthropic API Key"), REDACTOR)
    assert missing.fatal_for_runtime
    assert "no .env file" in missing.message
    assert classify(type("OpenAIError", (Exception,), {})("Missing credentials."), REDACTOR).message.endswith(
        "or let a plugin load them"
    )
    refused = caused(litellms("AuthenticationError", 401, "wrong"), StatusError(401))
    vars(refused.__cause__)["response"] = SimpleNamespace(status_code=401, text="wrong", headers={})
    assert ".env" not in classify(refused, REDACTOR).message


def test_unknown_exception_keeps_its_name() -> None:
    """What says nothing about itself is shown as it is, and not repeated."""
    failure = classify(ZeroDivisionError("division by zero"), REDACTOR)
    assert (failure.error_class, failure.message, failure.retryable) == (
        "ZeroDivisionError",
        "division by zero",
        False,
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("12", 12.0), ("0.5", 0.5), ("-3", 0.0), ("Tue, 01 Jul 2025 12:00:30 GMT", 30.0), ("soon", None)],
)
def test_forms_of_retry_after(value: str, seconds: float | None) -> None:
    """Retry-After is a number of seconds or a date."""
    now = datetime(2025, 7, 1, 12, 0, 0, tzinfo=timezone.utc)
    assert retry_after_s(StatusError(429, {"retry-after": value}), now) == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("litellm.RateLimitError: RateLimitError: OpenAIException - Slow down.", "Slow down."),
        ('litellm.BadRequestError: AnthropicException - {"error": {"message": "Too long"}}', "Too long"),
        ('Something {"error": "plain"}', "plain"),
        ("two\n lines", "two lines"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07 \u202eback", r"\x1b[31mred\x1b[0m \x1b]0;title\x07 \u202eback"),
        ('not JSON: {"a', 'not JSON: {"a'),
    ],
)
def test_readable_messages(text: str, message: str) -> None:
    """A message is one line, the provider's own words."""
    assert readable_message(text, REDACTOR) == message


def test_long_messages_are_cut() -> None:
    """A page of HTML does not fill the terminal."""
    assert len(readable_message("x" * 100_000, REDACTOR)) == 600
