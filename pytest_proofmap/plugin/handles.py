"""The objects behind the fixtures ``runtime`` and ``runtimes``.

What leaves a method that tests call.

Its traceback ends in the test, because what ProofMap raises on purpose explains itself without its own code. And
it is noted in the sample's record: neither a mistake in a request nor a fault of ProofMap may count as the model's
miss, whatever the test makes of the exception.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, ParamSpec, Protocol, TypeVar, cast

from pytest_proofmap.calls.answer import Reply
from pytest_proofmap.calls.outcome import CallOutcome
from pytest_proofmap.calls.request import Request, response_format_of
from pytest_proofmap.calls.sample import Pending, SampleRecord
from pytest_proofmap.config import Configuration, RuntimeConfig
from pytest_proofmap.errors import PromptError, ProofmapError, RefusalError, RequestError
from pytest_proofmap.evidence.models import PromptRef, Role
from pytest_proofmap.parameters import TRANSPORT_PARAMS, part_key_headers, problem_with_answerer
from pytest_proofmap.prefetch.suspension import DryRun, let_siblings_ask, wait, wait_async
from pytest_proofmap.prompts.library import Message, RenderedMessages

__all__ = ["Runtime", "Runtimes"]


class Noting(Protocol):
    """What has methods that tests call."""

    def _note(self, error: Exception) -> None:
        """Take notice of what a method raises."""


P = ParamSpec("P")
R = TypeVar("R")


def ends_at_the_call(method: Callable[P, R]) -> Callable[P, R]:
    """Make a method that tests call, sync or async, raise ProofMap's errors where it was called, and note all."""
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def acall(*args: P.args, **kwargs: P.kwargs) -> Any:
            __tracebackhide__ = True
            try:
                return await method(*args, **kwargs)
            except ProofmapError as error:
                cast("Noting", args[0])._note(error)
                raise error.with_traceback(None) from None
            except Exception as error:
                cast("Noting", args[0])._note(error)
                raise

        return cast("Callable[P, R]", acall)

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        try:
            return method(*args, **kwargs)
        except ProofmapError as error:
            cast("Noting", args[0])._note(error)
            raise error.with_traceback(None) from None
        except Exception as error:
            cast("Noting", args[0])._note(error)
            raise

    return call


DECIDED_ELSEWHERE = {
    "model": "the runtime's configuration",
    "messages": "the first argument",
    "api_base": "the runtime's configuration",
    "base_url": "the runtime's configuration",
}


class Project(Protocol):
    """What a test may use of the project."""

    @property
    def configuration(self) -> Configuration:
        """The configuration, with every runtime."""

    def render(self, package: str, variant: str | None, variables: dict[str, Any]) -> RenderedMessages:
        """Render a prompt package.

        Raises:
            PromptError: The package, its variant or a variable does not fit.
        """


class Runtime:
    """A runtime, as a test calls it.

    Every call is recorded in the sample that the test is; its answer comes from the recordings, the cache or
    the model, whichever has it first.
    """

    __slots__ = ("_auxiliary", "_config", "_dry_run", "_project", "_record")

    def __init__(
        self,
        config: RuntimeConfig,
        record: SampleRecord,
        project: Project,
        dry_run: DryRun | None,
        *,
        auxiliary: bool = False,
    ) -> None:
        self._config = config
        self._record = record
        self._project = project
        self._dry_run = dry_run
        """How the sample waits: a dry run is suspended, a real one blocks."""
        self._auxiliary = auxiliary

    @property
    def name(self) -> str:
        """The runtime's name."""
        return self._config.name

    @property
    def role(self) -> Role:
        """``baseline`` or ``challenger``: the role of the sample."""
        return self._record.id.role

    @property
    def model(self) -> str:
        """The LiteLLM model id that is asked."""
        return self._config.model

    @property
    def sample(self) -> int:
        """Index of this attempt at the case, from 0."""
        return self._record.id.sample

    @ends_at_the_call
    def complete(self, prompt: str | list[Message], **params: Any) -> Reply:
        """Ask the runtime and wait for its answer.

        Args:
            prompt: A user message, or a list of OpenAI-format messages.
            **params: LiteLLM's parameters, such as ``tools``, ``temperature`` or ``response_format`` (also a
                pydantic class); the runtime's own are the defaults.

        Raises:
            RequestError: The prompt or a parameter is not something that can be sent.
            RefusalError: The model refused: content policy or context window.
            CallError: No usable answer came; the sample's outcome is then ``error``.
        """
        return self._complete(prompt, params)

    @ends_at_the_call
    async def acomplete(self, prompt: str | list[Message], **params: Any) -> Reply:
        """Ask the runtime without blocking the event loop; see :meth:`complete`."""
        return await self._acomplete(prompt, params)

    @ends_at_the_call
    def run(self, package: str, /, *, params: dict[str, Any] | None = None, **variables: Any) -> Reply:
        """Render a prompt package in this runtime's variant and ask.

        Args:
            package: Name of the package: ``triage`` for ``prompts/triage.prompt``.
            params: Parameters of the call, as in :meth:`complete`.
            **variables: Variables of the prompt.

        Raises:
            PromptError: The package, its variant or a variable does not fit.
            RefusalError: As in :meth:`complete`.
            CallError: As in :meth:`complete`.
        """
        return self._complete(self.render(package, **variables), params or {})

    @ends_at_the_call
    async def arun(self, package: str, /, *, params: dict[str, Any] | None = None, **variables: Any) -> Reply:
        """Render a prompt package and ask without blocking the event loop; see :meth:`run`."""
        return await self._acomplete(self.render(package, **variables), params or {})

    @ends_at_the_call
    def render(self, package: str, /, **variables: Any) -> list[Message]:
        """Render a prompt package in this runtime's variant, to start a conversation from it.

        Raises:
            PromptError: The package, its variant or a variable does not fit.
        """
        if not isinstance(package, str):
            raise PromptError(f"the prompt package is named by a string, not by {package!r}")
        return self._project.render(package, self._config.variant, variables)

    def _note(self, error: Exception) -> None:
        """Take notice of what a method raises; a failed call is in the record, an own refusal is the model's."""
        refused = isinstance(error, RefusalError) and not self._auxiliary
        if not refused and error is not self._record.error:
            self._record.own_errors.append(error)

    def _complete(self, prompt: str | list[Message], params: dict[str, Any]) -> Reply:
        request, transport, response_class = self._request(prompt, params)
        outcome = self._record.ask(
            request, self._config, transport, auxiliary=self._auxiliary, prompt=_package_of(prompt)
        )
        if isinstance(outcome, Pending):
            with outcome.waited_for():
                wait(outcome.future, self._dry_run)
                outcome = outcome.take()
        return _reply(outcome, response_class)

    async def _acomplete(self, prompt: str | list[Message], params: dict[str, Any]) -> Reply:
        request, transport, response_class = self._request(prompt, params)
        call = self._record.begin(request, self._config, auxiliary=self._auxiliary, prompt=_package_of(prompt))
        outcome: CallOutcome | Pending = call.outcome
        if not call.is_done:
            _require_asyncio()
            await let_siblings_ask()
            outcome = self._record.answer(call, self._config, transport)
        if isinstance(outcome, Pending):
            with outcome.waited_for():
                await wait_async(outcome.future, self._dry_run)
                outcome = outcome.take()
        return _reply(outcome, response_class)

    def _request(
        self, prompt: str | list[Message], params: dict[str, Any]
    ) -> tuple[Request, dict[str, Any], type[Any] | None]:
        merged = {**self._config.params, **params}
        if params:
            _refuse_params_set_elsewhere(params)
        if merged.get("stream"):
            raise RequestError("stream=True cannot be qualified: leave it out and read Reply.text.")
        transport = {name: merged.pop(name) for name in TRANSPORT_PARAMS & merged.keys()}
        if transport:
            transport, chosen = part_key_headers(transport, self._config.key_headers)
            merged |= chosen
            timeout = transport.get("timeout")
            if timeout is not None and not (type(timeout) in (int, float) and 0 < timeout < math.inf):
                raise RequestError(
                    f"timeout={timeout!r} is not allowed: give the seconds of one attempt, above 0."
                )
        tools = merged.pop("tools", None)
        response_format, response_class = _response_format(merged.pop("response_format", None))
        request = Request(
            model=self._config.model,
            messages=_messages(prompt),
            params=merged,
            api_base=self._config.api_base,
            tools=tools,
            response_format=response_format,
            sample=self._record.id.sample,
        )
        return request, transport, response_class

    def __reduce__(self) -> NoReturn:
        raise RequestError(
            f"the runtime {self.name!r} cannot be handed to another process: calls from there would be counted by "
            "nobody and be in no evidence. Ask in the test's own process and hand the answers over, or use "
            "threads."
        )

    def __repr__(self) -> str:
        return f"<Runtime {self.name!r} ({self.role}) {self.model}>"


class Runtimes:
    """Any configured runtime by name, for auxiliary calls: a judge, a rewriter.

    Their calls are cached and costed, apart from those of the runtime under test, and are never evidence for
    it.
    """

    __slots__ = ("_dry_run", "_project", "_record")

    def __init__(self, record: SampleRecord, project: Project, dry_run: DryRun | None) -> None:
        self._record = record
        self._project = project
        self._dry_run = dry_run

    @ends_at_the_call
    def __getitem__(self, name: str) -> Runtime:
        """Return a runtime by name.

        Raises:
            ConfigurationError: The name is not configured and is not a LiteLLM model id.
        """
        config = self._project.configuration.runtime(name)
        return Runtime(config, self._record, self._project, self._dry_run, auxiliary=True)

    def _note(self, error: Exception) -> None:
        """Take notice that a runtime could not be had."""
        self._record.own_errors.append(error)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._project.configuration.runtimes))


def _package_of(prompt: str | list[Message]) -> PromptRef | None:
    """Return the prompt package that messages were rendered from, if they were."""
    return prompt.prompt if isinstance(prompt, RenderedMessages) else None


def _reply(outcome: CallOutcome, response_class: type[Any] | None) -> Reply:
    """Return an answer as the test gets it.

    Raises:
        CallError: There is no usable answer.
        RefusalError: The model refused.
    """
    answer = outcome.require_answer()
    if answer.refusal is not None:
        raise RefusalError(f"{answer.refusal.error_class}: {answer.refusal.message}")
    return Reply(answer, cached=outcome.source != "live", cost_usd=outcome.cost_usd, response_class=response_class)


def _require_asyncio() -> None:
    """Refuse another event loop than asyncio's.

    Raises:
        RequestError: There is none of asyncio's that runs.
    """
    import asyncio  # Which a run of ordinary tests need not load.

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RequestError(
            "acomplete and arun need a running asyncio event loop, which other async libraries such as trio "
            "do not have. Ask with complete or run, or run the test on asyncio."
        ) from None


def _refuse_params_set_elsewhere(params: dict[str, Any]) -> None:
    for name in DECIDED_ELSEWHERE.keys() & params.keys():
        raise RequestError(f"{name}={params[name]!r} cannot be given here: {DECIDED_ELSEWHERE[name]} sets it.")
    problem = problem_with_answerer(params)
    if problem is not None:
        raise RequestError(f"{problem}.")


def _messages(prompt: str | list[Message]) -> list[Message]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if not isinstance(prompt, list) or not prompt:
        raise RequestError(
            f"the prompt is {prompt!r}; give a string, or a list of messages such as "
            '[{"role": "user", "content": "..."}].'
        )
    for message in prompt:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RequestError(
                f"the message {message!r} is not allowed: a message is a dict with a 'role' and 'content', "
                "such as Reply.message."
            )
    return list(prompt)


def _response_format(value: Any) -> tuple[dict[str, Any] | None, type[Any] | None]:
    if value is None or isinstance(value, dict):
        return value, None
    if inspect.isclass(value) and hasattr(value, "model_json_schema"):
        return response_format_of(value), value
    raise RequestError(
        f"response_format={value!r} is not allowed: give a pydantic class or an OpenAI-format dict."
    )
