"""What a test gets back from a runtime."""

from __future__ import annotations

from typing import Any

from pytest_proofmap.errors import ReplyError
from pytest_proofmap.runtime.answer import Answer, Usage
from pytest_proofmap.runtime.request import plain_copy

__all__ = ["Reply"]


class Reply:
    """A model's answer, as a test sees it.

    The same object describes a live, a cached and a recorded answer; :attr:`cached` tells them apart. What it
    returns is the test's own: changing it changes neither the evidence nor another reply.
    """

    __slots__ = ("_answer", "_cached", "_cost_usd", "_own", "_parsed", "_response_class")

    def __init__(
        self, answer: Answer, *, cached: bool, cost_usd: float | None, response_class: type[Any] | None = None
    ) -> None:
        self._answer = answer
        self._cached = cached
        self._cost_usd = cost_usd
        self._response_class = response_class
        self._parsed: Any = None
        self._own: dict[str, Any] | None = None
        """This reply's own copy of the response, made when a part of it is first asked for."""

    @property
    def text(self) -> str:
        """The answer's text, ``""`` when the model sent none."""
        return self._answer.text

    @property
    def parsed(self) -> Any:
        """The answer as an instance of the pydantic class given as ``response_format``.

        Raises:
            ReplyError: No pydantic class was given.
            pydantic.ValidationError: The text is not JSON of that class, which makes the test fail.
        """
        if self._response_class is None:
            raise ReplyError(
                "Reply.parsed needs a pydantic class: runtime.complete(..., response_format=MyModel). "
                "Without one, read Reply.text."
            )
        if self._parsed is None:
            self._parsed = self._response_class.model_validate_json(self._answer.text)
        return self._parsed

    @property
    def message(self) -> dict[str, Any]:
        """The assistant message, to append to a conversation; a copy each time."""
        message: dict[str, Any] = plain_copy(self._answer.message)
        return message

    @property
    def tool_calls(self) -> list[Any]:
        """The tool calls in OpenAI format, empty when the model made none."""
        return self._answer._replace(response=self.raw).tool_calls or []

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped: ``stop``, ``length``, ``tool_calls``, ``content_filter``."""
        return self._answer.finish_reason

    @property
    def usage(self) -> Usage:
        """The tokens used: input, output, cached input, reasoning."""
        return self._answer.usage

    @property
    def cost_usd(self) -> float | None:
        """Cost of the answer in USD; None when the price or the usage is unknown."""
        return self._cost_usd

    @property
    def latency_s(self) -> float | None:
        """Duration of the real call in seconds, also when it is replayed; None when it was not recorded."""
        return self._answer.latency_s

    @property
    def model(self) -> str | None:
        """The model that served the answer."""
        return self._answer.model or self._answer.request.get("model")

    @property
    def cached(self) -> bool:
        """Whether the answer came from the cache or from recordings."""
        return self._cached

    @property
    def raw(self) -> dict[str, Any]:
        """The whole response as an OpenAI-format dict."""
        if self._own is None:
            self._own = plain_copy(self._answer.response or {})
        return self._own

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        return f"<Reply {text!r} from {self.model}>"
