"""The run's budget: the worst case is reserved before a call is sent, and settled afterwards."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_proofmap.evidence.models import Price

__all__ = ["Budget", "Grant", "worst_case_usd"]

FIRST_COMPLETION_TOKENS = 1024
"""Assumed length of a completion without ``max_tokens`` before any was seen, unless the model allows less."""

_TOKENS_PER_MESSAGE = 8
_MTOK = 1_000_000

Grant = Literal["granted", "wait", "refused"]
"""``wait``: it may fit once the calls under way are settled."""


@dataclass(slots=True)
class Budget:
    """Money that a run may spend; None for no bound. Amounts are USD."""

    limit_usd: float | None
    spent_usd: float = 0.0
    """What was paid for answers that arrived."""
    doubtful_usd: float = 0.0
    """Worst cases of attempts that may have been charged although no answer arrived."""
    reserved_usd: float = 0.0
    longest_completion: dict[str, int] = field(default_factory=dict)
    """Most output tokens of one answer seen, by model."""

    def reserve(self, worst_usd: float) -> Grant:
        """Reserve the worst case of a call, if it fits."""
        if self.limit_usd is not None:
            used = self.spent_usd + self.doubtful_usd
            if used + self.reserved_usd + worst_usd > self.limit_usd:
                return "wait" if self.reserved_usd > 0 and used + worst_usd <= self.limit_usd else "refused"
        self.reserved_usd += worst_usd
        return "granted"

    def settle(self, worst_usd: float, cost_usd: float) -> None:
        """Replace a reservation by what the call did cost."""
        self._release(worst_usd)
        self.spent_usd += cost_usd

    def doubt(self, worst_usd: float) -> None:
        """Replace a reservation by its worst case: nobody knows whether the attempt is charged."""
        self._release(worst_usd)
        self.doubtful_usd += worst_usd

    def saw(self, model: str, output_tokens: int | None) -> None:
        """Remember the longest completion of a model."""
        if output_tokens and output_tokens > self.longest_completion.get(model, 0):
            self.longest_completion[model] = output_tokens

    def completion_tokens(self, model: str, model_limit: int | None) -> int:
        """Return the length to expect at worst of a completion that the request does not bound."""
        longest = self.longest_completion.get(model)
        expected = 2 * longest if longest else FIRST_COMPLETION_TOKENS
        return min(expected, model_limit) if model_limit else expected

    def refusal(self, worst_usd: float) -> str:
        """Return why a call is not made."""
        spent = f"${self.spent_usd:.4f} spent"
        if self.doubtful_usd:
            spent += f", up to ${self.doubtful_usd:.4f} for attempts without an answer"
        return (
            f"not called: the budget of ${self.limit_usd or 0:g} is used up ({spent}; this call may cost "
            f"${worst_usd:.4f}). What was paid is kept; raise --proofmap-budget or budget_usd to go on."
        )

    def _release(self, worst_usd: float) -> None:
        self.reserved_usd = max(0.0, self.reserved_usd - worst_usd)


def input_tokens_at_most(request: dict[str, Any]) -> int:
    """Return a number of input tokens that a request does not exceed.

    A byte-level tokenizer never makes more tokens than there are bytes.
    """
    messages = request.get("messages") or []
    total = len(messages) * _TOKENS_PER_MESSAGE
    for part in (messages, request.get("tools"), request.get("response_format")):
        if part:
            total += len(json.dumps(part, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return total


def output_tokens_at_most(request: dict[str, Any], unbounded: int) -> int:
    """Return a number of output tokens that the answer should not exceed.

    Args:
        request: The request's content.
        unbounded: What to assume of one completion when the request sets no bound.
    """
    params = request.get("params") or {}
    bounds = [params.get(name) for name in ("max_tokens", "max_completion_tokens")]
    given = [bound for bound in bounds if isinstance(bound, int) and bound > 0]
    choices = params.get("n")
    return (max(given) if given else unbounded) * (choices if isinstance(choices, int) and choices > 0 else 1)


def worst_case_usd(request: dict[str, Any], price: Price, unbounded: int) -> float:
    """Return what a call may cost at worst.

    Args:
        request: The request's content.
        price: The runtime's price.
        unbounded: What to assume of one completion when the request sets no bound.
    """
    # A price for cached input above the ordinary one does not occur, but would count.
    input_price = max(price.input_per_mtok, price.cached_input_per_mtok or 0.0)
    tokens_in = input_tokens_at_most(request)
    return (tokens_in * input_price + output_tokens_at_most(request, unbounded) * price.output_per_mtok) / _MTOK
