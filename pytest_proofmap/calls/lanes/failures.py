"""What went wrong in an attempt, told from the exception that a client library raised.

LiteLLM's own class and status are often a wrong guess, and another one in each of its versions: a cut
connection, a response that is no JSON and a missing key all arrive as ``InternalServerError``; a 500 and a 503
arrive as ``BadRequestError`` with status 400 (1.80); a content filter's refusal is recognised by words that a
new version of OpenAI's client no longer puts into its message. So what the provider itself sent decides, its
HTTP status and the error code in its body, then the chain of causes, and LiteLLM's class only where none of
these says anything. Nothing is imported for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from pytest_proofmap.calls.answer import Refusal
from pytest_proofmap.calls.outcome import AttemptError
from pytest_proofmap.environment import NO_DOTENV
from pytest_proofmap.redaction import Redactor
from pytest_proofmap.text import visible

__all__ = ["classify", "readable_message", "refusal_of", "retry_after_s"]

_CONTENT_POLICY = "ContentPolicyViolationError"
_CONTEXT_WINDOW = "ContextWindowExceededError"
_REFUSAL_OF_CODE = {
    # OpenAI, Azure OpenAI (its inner error too), Groq, OpenRouter, DeepSeek
    "content_policy_violation": _CONTENT_POLICY,
    "content_filter": _CONTENT_POLICY,
    "contentfilter": _CONTENT_POLICY,
    "content_filtered": _CONTENT_POLICY,
    "content_filter_error": _CONTENT_POLICY,
    "content_moderation": _CONTENT_POLICY,
    "moderation_blocked": _CONTENT_POLICY,
    "responsibleaipolicyviolation": _CONTENT_POLICY,
    "safety_violation": _CONTENT_POLICY,
    # OpenAI's reasoning models: "flagged as potentially violating our usage policy"
    "invalid_prompt": _CONTENT_POLICY,
    # Alibaba's Model Studio
    "data_inspection_failed": _CONTENT_POLICY,
    "datainspectionfailed": _CONTENT_POLICY,
    # OpenAI and all who follow it
    "context_length_exceeded": _CONTEXT_WINDOW,
    "context_window_exceeded": _CONTEXT_WINDOW,
    "model_context_window_exceeded": _CONTEXT_WINDOW,
    "max_context_length_exceeded": _CONTEXT_WINDOW,
    "context_length_error": _CONTEXT_WINDOW,
    # llama.cpp
    "exceed_context_size_error": _CONTEXT_WINDOW,
}
"""Failures that the same request meets every time: they are the model's answer."""

_REFUSAL_STATUS = frozenset({400, 403, 413, 422})
"""With another status nothing is a refusal: a 429 or 503 passes, whatever words are in its message."""

_SAYS_NOTHING = frozenset(
    {
        "",
        "bad_request",
        "bad_request_error",
        "badrequest",
        "badrequesterror",
        "error",
        "failed_precondition",
        "invalid_argument",
        "invalidparameter",
        "invalidrequest",
        "none",
        "null",
        "permission_error",
        "unprocessable_entity",
        "validation",
        "validation_error",
        "validationexception",
    }
)

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
_OF_UNREADABLE = (
    "Empty or invalid response",
    # LiteLLM 1.80, of a body that is no JSON: OpenAI's client hands it over as a text.
    "'str' object has no attribute 'model_dump'",
)
_MAX_MESSAGE = 600
_DELAY = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]*)?")
"""Seconds as HTTP has them; float() would also take "nan", "1_0" and the digits of other scripts."""
_MOST_PREFIXES = 8
_PREFIX = re.compile(r"^(?:litellm\.)?\w{0,64}?(?:Error|Exception|Timeout)(?: Error)?(?::| - )\s*")


def classify(error: BaseException, redactor: Redactor) -> AttemptError:
    """Return the failure that an exception stands for.

    Args:
        error: What the client library raised.
        redactor: Takes secrets out of the message.
    """
    names = {name for cause in _causes(error) for name in _class_names(cause)}
    sent = _sent_status(error)
    status = sent or _status(error)
    message = readable_message(str(error), redactor)
    if sent is None and (status == 401 or "Missing credentials" in message):
        # Nobody was asked: the client library itself found no key.
        message = f"{message.rstrip('.')}. {NO_DOTENV}"
    if _is_response_error(error, names, sent):
        return _of_status(error, status or 500, message)
    if names & _TIMEOUTS:
        return AttemptError("Timeout", message, retryable=True, provider_fault=True, maybe_paid=True)
    if names & _UNREADABLE or any(words in message for words in _OF_UNREADABLE):
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
    within = _status_within(error)
    if within is not None and (within >= 500 or within in RETRYABLE_STATUS):
        # A gateway's error object with the status of a success: what is behind it may have been paid.
        failure = _of_status(error, within, message)
        failure.maybe_paid = True
        return failure
    if "Missing credentials" in message or "AuthenticationError" in names:
        return AttemptError("AuthenticationError", message, status=401, fatal_for_runtime=True)
    if status is not None and not (status == 500 and type(error).__module__.startswith("litellm")):
        return _of_status(error, status, message)
    if status is None and type(error).__name__ == "APIError":
        # A gateway's error object with the status of a success, for trouble behind it.
        return AttemptError("APIError", message, retryable=True, provider_fault=True, maybe_paid=True)
    return AttemptError(type(error).__name__, message)


def refusal_of(error: BaseException, redactor: Redactor) -> Refusal | None:
    """Return the model's refusal that an exception stands for, or None when it is a failure.

    Args:
        error: What the client library raised.
        redactor: Takes secrets out of the message.
    """
    status = _sent_status(error) or _status(error)
    if status is not None and status not in _REFUSAL_STATUS:
        return None
    codes = [code for body in _bodies(error) for code in _codes(body)]
    refusal = next((_REFUSAL_OF_CODE[code] for code in codes if code in _REFUSAL_OF_CODE), None)
    if refusal is None and all(map(_says_nothing, codes)):
        named = {type(cause).__name__ for cause in _causes(error)}
        refusal = next((name for name in (_CONTENT_POLICY, _CONTEXT_WINDOW) if name in named), None)
    if refusal is None:
        return None
    return Refusal(refusal, readable_message(str(error), redactor))


def readable_message(text: str, redactor: Redactor, *, strip: bool = True) -> str:
    """Return a provider's message without LiteLLM's wrapping, on one line, redacted, short and safe to print."""
    for _ in range(_MOST_PREFIXES if strip else 0):
        text = _PREFIX.sub("", text, count=1)
    text = _provider_message(text)
    text = visible(" ".join(redactor.redact_start(text).split()))
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
    if status == 400 and _status(error) == 400 and type(error).__name__ not in (_CONTENT_POLICY, _CONTEXT_WINDOW):
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


def _is_response_error(error: BaseException, names: set[str], sent: int | None) -> bool:
    """Whether the provider itself sent a status that is an error."""
    if sent is not None or "HTTPStatusError" in names:
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


def _status_within(error: BaseException) -> int | None:
    """Return the code of an error object that came with the status of a success, None when there was none.

    LiteLLM raises it as a bare exception (litellm_core_utils/llm_response_utils/convert_dict_to_response.py).
    """
    codes = [str(getattr(cause, "status_code", "")) for cause in _causes(error) if type(cause) is Exception]
    return next((int(code) for code in codes if code.isascii() and code.isdigit() and len(code) == 3), None)


def _sent_status(error: BaseException) -> int | None:
    """Return the error status of the response that the provider sent, None when no cause holds one.

    LiteLLM puts responses of its own making into its exceptions, with status 500 for a connection that was cut,
    and some of its versions say 400 for a 500: so of its own exceptions only the HTTP client's kind counts.
    """
    sent = None
    for cause in _causes(error):
        if not type(cause).__module__.startswith("litellm") or "HTTPStatusError" in _class_names(cause):
            status = getattr(getattr(cause, "response", None), "status_code", None)
            sent = status if isinstance(status, int) and status >= 400 else sent
    return sent


def _bodies(error: BaseException) -> list[Any]:
    """Return the error objects of the response, of a message only where no cause holds the response's own.

    A message may repeat what the user wrote.
    """
    causes = list(_causes(error))
    bodies = [body for cause in causes if (body := getattr(cause, "body", None))]
    for cause in causes:
        try:
            text = getattr(getattr(cause, "response", None), "text", None)
        except Exception:  # httpx's ResponseNotRead, and whatever other clients raise of a stream
            continue
        bodies += _error_object(text)
    return bodies or [body for cause in causes for body in _error_object(str(cause))]


def _error_object(text: object) -> list[Any]:
    """Return the first JSON object of a text, in a list; an empty one where there is none."""
    start = text.find("{") if isinstance(text, str) else -1
    if not isinstance(text, str) or start < 0:
        return []
    try:
        return [json.JSONDecoder().raw_decode(text, start)[0]]
    except (ValueError, RecursionError):
        return []


def _codes(body: object, depth: int = 4) -> Iterator[str]:
    """Yield what an error object calls its kind, in lower case: its ``code``, ``type`` and ``status``."""
    if isinstance(body, list):
        body = body[0] if body else None
    if not isinstance(body, dict) or depth == 0:
        return
    for name in ("code", "type", "error_type", "status"):
        if isinstance(value := body.get(name), str | int):
            yield str(value).strip().lower()
    if isinstance(metadata := body.get("metadata"), dict) and "flagged_input" in metadata:
        yield "content_moderation"  # https://openrouter.ai/docs/api-reference/errors: with the bare code 403
    for name in ("error", "innererror", "inner_error"):
        yield from _codes(body.get(name), depth - 1)


def _says_nothing(code: str) -> bool:
    """Whether a code repeats the status: behind it may be a refusal that only the message tells."""
    return code in _SAYS_NOTHING or code.startswith("invalid_request") or code.lstrip("-").isdigit()


def _transport_cause(error: BaseException) -> BaseException | None:
    """Return the innermost cause that is a fault of the connection."""
    innermost = None
    for cause in _causes(error):
        module = type(cause).__module__.partition(".")[0]
        named = {"ConnectError", "ReadError", "WriteError", "CloseError", "RemoteProtocolError", "ProxyError"}
        if (
            isinstance(cause, OSError)
            or (module == "httpx" and type(cause).__name__ in named)
            or (module == "aiohttp" and "ClientError" in _class_names(cause))
            or type(cause).__name__ in ("APIConnectionError", "EndpointConnectionError")
        ):
            innermost = cause
    return innermost


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
    for body in _error_object(text):
        error = body.get("error", body)
        message = error.get("message") if isinstance(error, dict) else error
        if isinstance(message, str) and message:
            return message
    return text


def _seconds(value: str, now: datetime) -> float | None:
    if _DELAY.fullmatch(value.strip()):
        return max(0.0, float(value))
    try:
        at = parsedate_to_datetime(value)
        at = at if at.tzinfo is not None else at.replace(tzinfo=timezone.utc)
        return max(0.0, (at - now).total_seconds())
    except Exception:  # Whatever email.utils makes of what somebody else wrote: as if nothing were asked.
        return None
