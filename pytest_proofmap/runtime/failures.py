"""What went wrong in an attempt, told from the exception that a client library raised.

LiteLLM's own class is often a wrong guess: a cut connection, a response that is no JSON and a missing key all
arrive as ``InternalServerError``, and a 500 can arrive as ``BadRequestError``. So the HTTP status decides,
then the chain of causes, and the class only where neither says anything. Nothing is imported for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from pytest_proofmap.runtime.attempt import AttemptError
from pytest_proofmap.runtime.redaction import Redactor
from pytest_proofmap.visible import visible

__all__ = ["REFUSALS", "classify", "readable_message", "retry_after_s"]

REFUSALS = frozenset({"ContentPolicyViolationError", "ContextWindowExceededError"})
"""Failures that the same request meets every time: they are the model's answer."""

RETRYABLE_STATUS = frozenset({408, 409, 429})
FATAL_STATUS = frozenset({401, 403, 404})

_CLASS_OF_STATUS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "PaymentRequiredError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "Timeout",
    409: "ConflictError",
    413: "RequestTooLargeError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    500: "InternalServerError",
    502: "BadGatewayError",
    503: "ServiceUnavailableError",
    504: "GatewayTimeoutError",
}
_TIMEOUTS = frozenset({"APITimeoutError", "ReadTimeout", "SocketTimeoutError", "Timeout", "TimeoutError"})
_UNREADABLE = frozenset({"APIResponseValidationError", "JSONDecodeError"})
_MAX_MESSAGE = 600
_PREFIX = re.compile(r"^(?:litellm\.)?\w*(?:Error|Exception|Timeout)(?: Error)?(?::| - )\s*")


def classify(error: BaseException, redactor: Redactor) -> AttemptError:
    """Return the failure that an exception stands for.

    Args:
        error: What the client library raised.
        redactor: Takes secrets out of the message.
    """
    names = {name for cause in _causes(error) for name in _class_names(cause)}
    status = _status(error)
    message = readable_message(str(error), redactor)
    if _is_response_error(error, names):
        return _of_status(error, status or 500, message)
    if names & _TIMEOUTS:
        return AttemptError("Timeout", message, retryable=True, provider_fault=True, maybe_paid=True)
    if names & _UNREADABLE or "Empty or invalid response" in message:
        return AttemptError("InvalidResponseError", message, retryable=True, provider_fault=True, maybe_paid=True)
    if "choices" in message and names & {"APIError"}:
        message = f"the response has no choices ({message})"
        return AttemptError("InvalidResponseError", message, retryable=True, provider_fault=True, maybe_paid=True)
    missing = next((cause for cause in _causes(error) if isinstance(cause, ImportError)), None)
    transport = _transport_cause(error)
    if missing is not None and (transport is None or transport is error):
        message = f"{missing}; install what LiteLLM needs for this provider"
        return AttemptError("ImportError", redactor.redact(message), fatal_for_runtime=True)
    if transport is not None:
        detail = str(transport).strip() or type(transport).__name__
        message = readable_message(f"{type(transport).__name__}: {detail}", redactor, strip=False)
        refused = isinstance(transport, ConnectionRefusedError) or "ConnectorError" in type(transport).__name__
        return AttemptError(
            "APIConnectionError", message, retryable=True, provider_fault=True, maybe_paid=not refused
        )
    if "Missing credentials" in message or "AuthenticationError" in names:
        return AttemptError("AuthenticationError", message, status=401, fatal_for_runtime=True)
    if status is not None and not (status == 500 and type(error).__module__.startswith("litellm")):
        return _of_status(error, status, message)
    if status is None and type(error).__name__ == "APIError":
        # A gateway's error object with the status of a success, for trouble behind it.
        return AttemptError("APIError", message, retryable=True, provider_fault=True, maybe_paid=True)
    return AttemptError(type(error).__name__, message)


def readable_message(text: str, redactor: Redactor, *, strip: bool = True) -> str:
    """Return a provider's message without LiteLLM's wrapping, on one line, redacted, short and safe to print."""
    while strip and (shorter := _PREFIX.sub("", text, count=1)) != text:
        text = shorter
    text = _provider_message(text)
    text = visible(" ".join(redactor.redact(text).split()))
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE - 1]}…"


def retry_after_s(error: BaseException, now: datetime | None = None) -> float | None:
    """Return what the ``Retry-After`` header of a response asks to wait, in seconds from now."""
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        for headers in (getattr(cause, "litellm_response_headers", None), getattr(response, "headers", None)):
            value = headers.get("retry-after") if headers else None
            if value is not None:
                return _seconds(str(value), now or datetime.now(timezone.utc))
    return None


def _of_status(error: BaseException, status: int, message: str) -> AttemptError:
    name = _CLASS_OF_STATUS.get(status) or ("InternalServerError" if status >= 500 else type(error).__name__)
    if status == 400:
        name = type(error).__name__
    server = status >= 500
    return AttemptError(
        name,
        message,
        retryable=server or status in RETRYABLE_STATUS,
        status=status,
        retry_after_s=retry_after_s(error),
        fatal_for_runtime=status in FATAL_STATUS,
        provider_fault=server or status in RETRYABLE_STATUS,
    )


def _is_response_error(error: BaseException, names: set[str]) -> bool:
    """Whether the provider itself sent a status that is an error."""
    if "HTTPStatusError" in names:
        return True
    for cause in _causes(error):
        # LiteLLM's own exceptions are subclasses of the client's, also where it invented the status.
        if type(cause).__module__.startswith("openai") and "APIStatusError" in _class_names(cause):
            return True
    # Without such a cause a status of 500 or 408 may be LiteLLM's own invention.
    status = _status(error)
    return status is not None and 400 <= status != 500 and status != 408 and not names & _UNREADABLE


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and status >= 400 else None


def _transport_cause(error: BaseException) -> BaseException | None:
    """Return the innermost cause that is a fault of the connection."""
    found = None
    for cause in _causes(error):
        module = type(cause).__module__.partition(".")[0]
        named = {"ConnectError", "ReadError", "WriteError", "CloseError", "RemoteProtocolError", "ProxyError"}
        if (
            isinstance(cause, OSError)
            or (module == "httpx" and type(cause).__name__ in named)
            or (module == "aiohttp" and "ClientError" in _class_names(cause))
            or type(cause).__name__ in ("APIConnectionError", "EndpointConnectionError")
        ):
            found = cause
    return found


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _class_names(error: BaseException) -> set[str]:
    return {error_type.__name__ for error_type in type(error).__mro__}


def _provider_message(text: str) -> str:
    """Return the message inside a provider's JSON error object, or the text as it is."""
    start = text.find("{")
    if start < 0:
        return text
    try:
        body, _ = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return text
    error = body.get("error", body) if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) and message else text


def _seconds(value: str, now: datetime) -> float | None:
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=timezone.utc)
    return max(0.0, (at - now).total_seconds())
