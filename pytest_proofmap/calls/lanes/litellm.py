"""The one file that imports LiteLLM, and what it takes to keep its habits to itself.

It is used by the call service only, a process of its own, so what is set here for the whole process
(environment variables, warnings, the default executor) touches nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import inspect
import mmap
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_proofmap.calls.answer import Answer, Refusal
from pytest_proofmap.calls.costs import answer_cost
from pytest_proofmap.calls.lanes.failures import classify, readable_message, refusal_of
from pytest_proofmap.calls.lanes.http_bounds import DEFAULT_MAX_RESPONSE_MB, bound_http, plain_address, watch_http
from pytest_proofmap.calls.lanes.lane import DEFAULT_TIMEOUT_S, LiveCall, SingleCallLane
from pytest_proofmap.calls.outcome import NO_SERVER, AttemptError
from pytest_proofmap.calls.prices import is_listed
from pytest_proofmap.environment import NO_DOTENV
from pytest_proofmap.redaction import Redactor, secrets_of_transport

__all__ = ["LiteLLMLane"]

_GRACE_S = 2.0
"""LiteLLM's timeout bounds each read; what trickles in for longer is cut off after this much more."""

_DIRECT = contextvars.ContextVar("direct", default=False)
"""True while a call goes to OpenAI's API or one that speaks it, whose preparation never blocks."""


class LiteLLMLane(SingleCallLane):
    """Makes calls through LiteLLM.

    Args:
        redactor: Takes secrets out of messages.
        max_response_mb: The longest response that is read, in MB.
    """

    def __init__(self, redactor: Redactor, max_response_mb: int = DEFAULT_MAX_RESPONSE_MB) -> None:
        self._redactor = redactor
        self._max_response_mb = max_response_mb
        self._litellm: Any = None
        self._importing: asyncio.Future[Any] | None = None
        self._warming: asyncio.Task[None] | None = None
        self._is_internal: contextvars.ContextVar[bool] | None = None
        self._mcp_is_optional = False

    async def prepare(self) -> None:
        """Import LiteLLM, once, without holding up the event loop."""
        if self._litellm is None:
            loop = asyncio.get_running_loop()
            if self._importing is None:
                self._importing = loop.run_in_executor(None, _import_litellm)
            litellm = await asyncio.shield(self._importing)
            if self._litellm is None:
                self._litellm = litellm
                bound_http(self._max_response_mb)
                self._is_internal = _internal_call_flag()
                self._mcp_is_optional = _mcp_is_optional()
                loop.set_default_executor(_DirectExecutor(max_workers=4, thread_name_prefix="litellm"))
                self._warming = loop.create_task(self._warm())
        if self._warming is not None:
            await asyncio.shield(self._warming)

    async def attempt(self, call: LiveCall) -> Answer:
        """Send a request once.

        Returns:
            The answer, or the model's refusal.

        Raises:
            AttemptError: No usable answer came.
        """
        await self.prepare()
        arguments = self._arguments(call)
        timeout_s = arguments["timeout"]
        _DIRECT.set(call.request["model"].startswith("openai/"))
        self._silence()
        self._check_key(call, arguments)
        broken = watch_http()
        made_at = datetime.now(timezone.utc)
        started = time.perf_counter()
        try:
            response = await asyncio.wait_for(self._litellm.acompletion(**arguments), timeout_s + _GRACE_S)
        except Exception as error:
            if broken:
                broken[0].message = readable_message(broken[0].message, self._redactor, strip=False)
                raise broken[0] from error
            refusal = refusal_of(error, self._redactor)
            if refusal is not None:
                return self._answer(call, None, refusal, started, made_at)
            failure = classify(error, self._redactor)
            if failure.error_class == "APIConnectionError" and not failure.maybe_paid:
                failure.message = _nobody_at(arguments, failure.message)
            if failure.error_class == "Timeout" and failure.status is None:
                failure.message = f"no complete response within {timeout_s:g} s"
            raise failure from error
        answer = self._answer(call, _plain(response), None, started, made_at)
        return answer._replace(served=_served(response))

    async def priced(self, call: LiveCall, answer: Answer) -> Answer:
        """Return an answer with what LiteLLM says that it costs, where our own arithmetic does not reach.

        It is asked at once, while what the price hangs on (the hour) is as it was.
        """
        if not needs_litellm(call, answer):
            return answer
        await self.prepare()
        # Another thread, because what LiteLLM looks up for some providers may block.
        loop = asyncio.get_running_loop()
        usd = await loop.run_in_executor(None, _completion_cost, self._litellm, call.request, answer)
        return answer._replace(litellm_usd=usd)

    def _silence(self) -> None:
        """Have LiteLLM prepare no log record of this call: nobody reads it, and it takes a tenth of the time."""
        if self._is_internal is not None:
            self._is_internal.set(True)

    async def _warm(self) -> None:
        """Go once through the code of a call, to a port that refuses it.

        LiteLLM imports the last half second of itself at its first call, which would be counted as that
        model's latency.
        """
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            _DIRECT.set(True)
            with contextlib.suppress(Exception):
                await self._litellm.acompletion(
                    model="openai/gpt-4o",
                    messages=[{"role": "user", "content": ""}],
                    api_base=f"http://127.0.0.1:{unused.getsockname()[1]}/v1",
                    api_key="none",
                    timeout=1.0,
                    max_retries=0,
                )
        gc.freeze()

    def _arguments(self, call: LiveCall) -> dict[str, Any]:
        request, transport = call.request, call.transport
        arguments: dict[str, Any] = {
            **(request.get("params") or {}),
            **(transport.get("params") or {}),
            "model": request["model"],
            "messages": request["messages"],
            "timeout": float(transport.get("timeout_s") or DEFAULT_TIMEOUT_S),
            "max_retries": 0,
            "num_retries": 0,
        }
        # Should a provider repeat the credentials of a call, they go out of every message from now on.
        self._redactor.add(*secrets_of_transport(transport))
        headers = {
            **_account_headers(request["model"]),
            **(arguments.get("extra_headers") or {}),
            **(transport.get("headers") or {}),
            **(transport.get("extra_headers") or {}),
        }
        if headers:
            arguments["extra_headers"] = headers
        optional = {
            "tools": request.get("tools"),
            "response_format": request.get("response_format"),
            "api_base": transport.get("api_base"),
            "api_key": transport.get("api_key"),
            "organization": transport.get("organization"),
        }
        arguments.update({name: value for name, value in optional.items() if value is not None})
        for name, value in _credentials(request["model"], arguments).items():
            arguments.setdefault(name, value)
        if request.get("tools") and self._mcp_is_optional:
            arguments["_skip_mcp_handler"] = True
        return arguments

    def _check_key(self, call: LiveCall, arguments: dict[str, Any]) -> None:
        """Refuse a call to OpenAI itself without a key: it would only be told so by the network."""
        if not call.request["model"].startswith("openai/") or "api_key" in arguments:
            return
        if "api_base" in arguments or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE"):
            # LiteLLM and OpenAI's client insist on a key; a server of one's own often has none.
            if not os.environ.get("OPENAI_API_KEY"):
                arguments["api_key"] = "none"
        elif not any(os.environ.get(name) for name in ("OPENAI_API_KEY", "OPENAI_WORKLOAD_IDENTITY")):
            raise AttemptError(
                "AuthenticationError",
                f"no API key for {call.request['model']!r}: set OPENAI_API_KEY, or give the runtime's params "
                f'an api_key = "os.environ/NAME". {NO_DOTENV}',
                status=401,
                fatal_for_runtime=True,
            )

    def _answer(
        self,
        call: LiveCall,
        response: dict[str, Any] | None,
        refusal: Refusal | None,
        started: float,
        made_at: datetime,
    ) -> Answer:
        return Answer(
            request=call.request,
            response=response,
            refusal=refusal,
            latency_s=round(time.perf_counter() - started, 6),
            made_at=made_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )


def _nobody_at(arguments: dict[str, Any], said: str) -> str:
    """Return what to say when no connection came about: the same for all who meant to reach that server."""
    address = arguments.get("api_base")
    if address is None and str(arguments["model"]).startswith("openai/"):
        address = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
    return f"{NO_SERVER}{plain_address(str(address))} ({said})" if address else said


_CREDENTIALS = {
    "bedrock": {
        "aws_access_key_id": ("AWS_ACCESS_KEY_ID",),
        "aws_secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
        "aws_session_token": ("AWS_SESSION_TOKEN",),
        "aws_region_name": ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"),
    },
    "vertex_ai": {
        "vertex_credentials": ("VERTEXAI_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS"),
        "vertex_project": ("VERTEXAI_PROJECT",),
        "vertex_location": ("VERTEXAI_LOCATION",),
    },
}
"""What LiteLLM reads from the environment once and then keeps, by provider and parameter; what it is given it
keeps by its value (litellm/llms/bedrock/base_aws_llm.py, litellm/llms/vertex_ai/vertex_llm_base.py)."""


def _credentials(model: str, given: dict[str, Any]) -> dict[str, str]:
    """Return the credentials that a call's environment holds for its provider, unless the runtime names others."""
    parameters = _CREDENTIALS.get(model.partition("/")[0], {})
    if any(name.startswith("aws_") for name in given):
        return {}
    credentials = {
        parameter: next(filter(None, map(os.environ.get, names)), None) for parameter, names in parameters.items()
    }
    return {parameter: value for parameter, value in credentials.items() if value is not None}


def _account_headers(model: str) -> dict[str, str]:
    """Return what OpenAI's client reads when it is made, which LiteLLM does once for each key."""
    project = os.environ.get("OPENAI_PROJECT_ID") if model.startswith("openai/") else None
    return {"OpenAI-Project": project} if project else {}


def needs_litellm(call: LiveCall, answer: Answer) -> bool:
    """Return whether to ask LiteLLM: we cannot price an answer whose model the map has, and none is declared."""
    if answer.response is None or (call.price is not None and call.price.source == "declared"):
        return False
    if call.request["model"].partition("/")[0] in _ASKS_FOR_LOGIN or answer_cost(answer, call.price) is not None:
        return False
    return answer.usage.input_tokens is not None and is_listed(call.request["model"])


_ASKS_FOR_LOGIN = frozenset({"chatgpt", "github_copilot"})
"""Providers that LiteLLM logs in to when it is asked for a price."""


def _completion_cost(litellm: Any, request: dict[str, Any], answer: Answer) -> float | None:
    """Return what LiteLLM says that an answer costs; None: it does not know."""
    params = request.get("params") or {}
    arguments: dict[str, Any] = {"optional_params": params}
    for name in ("region_name", "vertex_location"):
        value = answer.served.get(name) or params.get(name)
        if isinstance(value, str):
            arguments[name] = value
    host = str(request.get("api_base") or "").partition("://")[2].partition("/")[0]
    if host.endswith(".api.openai.com"):
        region = host.removesuffix(".api.openai.com")
        arguments["data_residency"] = "fedramp" if region == "gov" else region
    try:
        # Named for the model that was asked: a server of one's own may call its models anything.
        response = litellm.ModelResponse(**{**(answer.response or {}), "model": request["model"]})
        if tier := answer.billed.service_tier:
            response.service_tier = tier
        known = inspect.signature(litellm.completion_cost).parameters
        arguments = {name: value for name, value in arguments.items() if name in known}
        usd = litellm.completion_cost(completion_response=response, model=request["model"], **arguments)
    except Exception as error:
        # Of whatever class: it is a price that is not known, and the answer is paid.
        print(f"LiteLLM does not know what an answer of {request['model']} costs: {error}", file=sys.stderr)
        return None
    # It says 0.0 of some that it does not know.
    return float(usd) if isinstance(usd, int | float) and usd > 0 else None


_TIER_OF_TRAFFIC = {
    "ON_DEMAND": "default",
    "ON_DEMAND_PRIORITY": "priority",
    "ON_DEMAND_FLEX": "flex",
    "FLEX": "flex",
    "BATCH": "flex",
}
"""What Gemini calls the service tiers."""


def _served(response: Any) -> dict[str, str]:
    """Return what decides an answer's price and LiteLLM keeps beside the response."""
    # No public field has it: https://github.com/BerriAI/litellm/blob/main/litellm/types/utils.py
    hidden = getattr(response, "_hidden_params", None)
    if not isinstance(hidden, dict):
        return {}
    fields, headers = hidden.get("provider_specific_fields"), hidden.get("additional_headers")
    traffic = str((fields if isinstance(fields, dict) else {}).get("traffic_type") or "").upper()
    served = {
        "service_tier": _TIER_OF_TRAFFIC.get(traffic),
        "region_name": hidden.get("region_name"),
        # A LiteLLM proxy says what it was charged.
        "cost_usd": (headers if isinstance(headers, dict) else {}).get("llm_provider-x-litellm-response-cost"),
    }
    return {name: str(value) for name, value in served.items() if value}


def _import_litellm() -> Any:
    # At import LiteLLM fetches a price map from the network and, unless it is in production, loads .env into
    # the environment: https://github.com/BerriAI/litellm/blob/main/litellm/__init__.py
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ["LITELLM_MODE"] = "PRODUCTION"
    os.environ["PYTHON_DOTENV_DISABLED"] = "1"
    warnings.simplefilter("ignore")
    gc.disable()  # A collection would visit every one of the million objects made here: a fifth of the time.
    try:
        import litellm
    finally:
        gc.enable()
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.drop_params = False
    litellm.modify_params = False
    litellm.num_retries = None
    # ProofMap computes costs itself; LiteLLM's own arithmetic is a fifth of its time for a call. What the package
    # holds by this name is called after each: https://github.com/BerriAI/litellm/blob/main/litellm/cost_calculator.py
    vars(litellm)["response_cost_calculator"] = _no_cost
    _use_plain_http(litellm)
    _count_tokens_later()
    return litellm


def _internal_call_flag() -> contextvars.ContextVar[bool] | None:
    """Return the flag by which LiteLLM marks calls that it makes for itself, where this version has it."""
    # It has no public switch that spares the logging: https://github.com/BerriAI/litellm/blob/main/litellm/_internal_context.py
    try:
        from litellm._internal_context import is_internal_call
    except ImportError:
        return None
    return is_internal_call


def _mcp_is_optional() -> bool:
    """Whether to tell LiteLLM that a request's tools are no MCP servers.

    Versions since 1.106 import the package ``mcp`` for any request with tools, and do not require it.
    """
    # `completion` pops the argument where it knows it; others would send it on: https://github.com/BerriAI/litellm/blob/main/litellm/main.py
    from litellm import main

    with Path(main.__file__).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        knows = text.find(b"_skip_mcp_handler") >= 0
    return knows and find_spec("mcp") is None


def _use_plain_http(litellm: Any) -> None:
    """Let calls to OpenAI's API take LiteLLM's own HTTP path instead of OpenAI's client.

    Most other providers take that path anyway, and it needs less than half of the processor time. It does not
    send OpenAI's organization and project, so with these set the calls stay with OpenAI's client.
    """
    # The switch is a variable of the environment, which `completion` reads at each call and which holds for all
    # calls of a process, those with an organization or project too:
    # https://github.com/BerriAI/litellm/blob/main/litellm/main.py
    from litellm import main

    original: Callable[..., Any] | None = getattr(main, "get_secret_bool", None)
    if original is None:
        return

    def get_secret_bool(name: str, *rest: Any, **named: Any) -> Any:
        if name == "EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER" and name not in os.environ:
            return _DIRECT.get() and not any(os.environ.get(variable) for variable in _OPENAI_ACCOUNT)
        return original(name, *rest, **named)

    vars(main)["get_secret_bool"] = get_secret_bool


def _count_tokens_later() -> None:
    """Load LiteLLM's tokenizer when something is counted, not at the first call.

    It takes 40 MB and a third of a second, and counts tokens only where a provider reports none.
    """
    # A module's `__getattr__` loads it at the first use, which any call is: https://github.com/BerriAI/litellm/blob/main/litellm/main.py
    from litellm import main

    if hasattr(main, "_load_module_encoding") and "encoding" not in vars(main):
        vars(main)["encoding"] = _LazyEncoding()


class _LazyEncoding:
    """Stands for LiteLLM's default encoding until it is used."""

    def __getattr__(self, name: str) -> Any:
        from litellm.main import _load_default_encoding

        return getattr(_load_default_encoding(), name)


_OPENAI_ACCOUNT = ("OPENAI_ORGANIZATION", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")


def _no_cost(*_: Any, **__: Any) -> None:
    return None


class _DirectExecutor(ThreadPoolExecutor):
    """Runs LiteLLM's preparation of a direct call at once: a thread would only wait for its turn.

    Everything else goes to the threads: looking up a host, or fetching credentials as other providers do.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        # `acompletion` hands its preparation over as a partial: https://github.com/BerriAI/litellm/blob/main/litellm/main.py
        if not (isinstance(fn, functools.partial) and _DIRECT.get()):
            return super().submit(fn, *args, **kwargs)
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _plain(response: Any) -> dict[str, Any]:
    """Return LiteLLM's response as a plain OpenAI-format object without noise.

    Raises:
        AttemptError: There is no choice in it.
    """
    plain: dict[str, Any] = response.model_dump(exclude_none=True)
    choices = plain.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0].get("message"), dict):
        # Gateways send this for a moment's trouble behind them, with the status of a success.
        raise AttemptError(
            "InvalidResponseError",
            "the response has no choices",
            retryable=True,
            provider_fault=True,
            maybe_paid=True,
        )
    for choice in choices:
        message = choice.get("message")
        if isinstance(message, dict):
            message.setdefault("content", None)
            if not message.get("provider_specific_fields"):
                message.pop("provider_specific_fields", None)
        if not choice.get("provider_specific_fields"):
            choice.pop("provider_specific_fields", None)
    usage = plain.get("usage")
    if not isinstance(usage, dict) or not any(isinstance(value, int) and value for value in usage.values()):
        # LiteLLM puts zeros where the model reported nothing.
        plain.pop("usage", None)
    return plain
