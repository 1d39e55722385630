"""``--proofmap-plan``: what a run would call and what that may cost, without a single call.

Every test is run dry as it is before a run. What it asks for is looked up; a request whose answer is not
there is written down in place of being sent. What a test would ask after such an answer cannot be known, so
that the figures are a lower bound for conversations, and the plan says so.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

import pytest

from pytest_proofmap.calls.budget import FIRST_COMPLETION_TOKENS, input_tokens_at_most, worst_case_usd
from pytest_proofmap.calls.outcome import CallOutcome, CallRecord
from pytest_proofmap.calls.prices import max_output_tokens
from pytest_proofmap.calls.request import Request
from pytest_proofmap.config import RuntimeConfig
from pytest_proofmap.evidence.models import Price

__all__ = ["PLAN", "Plan", "RuntimePlan"]

_AUXILIARY = re.compile(r"""\bruntimes\[\s*["']([A-Za-z0-9_.-]+)["']\s*\]""")
"""How a test names the runtime of an auxiliary call."""

CHARACTERS_PER_TOKEN = 4
"""Rule of thumb for the least number of input tokens."""


@dataclass(slots=True)
class RuntimePlan:
    """What one runtime would be asked."""

    name: str
    price: Price | None
    recorded: set[str] = field(default_factory=set)
    """Keys of the requests that recordings answer."""
    cached: set[str] = field(default_factory=set)
    """Keys of the requests that the cache answers."""
    calls: dict[str, Request] = field(default_factory=dict)
    """Requests that would be sent, by key."""
    seen_completions: list[int] = field(default_factory=list)
    """Output tokens of the answers that are there."""
    model: str = ""

    def input_tokens(self) -> tuple[int, int]:
        """Return the least and the most input tokens that the calls may take."""
        most = [input_tokens_at_most(request.content()) for request in self.calls.values()]
        return sum(max(1, tokens // CHARACTERS_PER_TOKEN) for tokens in most), sum(most)

    def cost_usd(self) -> tuple[float, float] | None:
        """Return the least and the most that the calls may cost in USD; None when the price is unknown.

        The least takes completions as long as the median of those that are there, or none at all; the most
        is what the budget would reserve.
        """
        if self.price is None:
            return None
        typical = median(self.seen_completions) if self.seen_completions else 0
        most = sum(self._worst_usd(self.price))
        least = self.input_tokens()[0] * self.price.input_per_mtok
        least += len(self.calls) * typical * self.price.output_per_mtok
        return min(least / 1_000_000, most), most

    def dearest_usd(self) -> float:
        """Return what the dearest of the calls may cost in USD."""
        return max(self._worst_usd(self.price), default=0.0) if self.price is not None else 0.0

    def _worst_usd(self, price: Price) -> list[float]:
        """Return what the budget would reserve for each call."""
        longest = 2 * max(self.seen_completions) if self.seen_completions else FIRST_COMPLETION_TOKENS
        unbounded = min(longest, max_output_tokens(self.model) or longest)
        return [worst_case_usd(request.content(), price, unbounded) for request in self.calls.values()]


@dataclass(slots=True)
class Plan:
    """What a run would call."""

    runtimes: dict[str, RuntimePlan] = field(default_factory=dict)
    open_ended: set[str] = field(default_factory=set)
    """Node ids of the tests that may ask for more after an answer that is not there."""
    later_calls: Counter[str] = field(default_factory=Counter)
    """By auxiliary runtime (a judge), the calls that the source of these tests makes after such an answer."""
    unexplored: int = 0
    """How many tests are not run dry, because they are marked ``prefetch=False``."""

    def note(
        self, runtime: RuntimeConfig, price: Price | None, call: CallRecord, outcome: CallOutcome | None
    ) -> None:
        """Write down a request that was looked up: one that needs no call, or one that would be sent."""
        planned = self._of(runtime, price)
        if outcome is None or outcome.answer is None:
            planned.calls[call.key] = call.request
            return
        known = planned.recorded if outcome.source == "recording" else planned.cached
        if call.key not in known:
            known.add(call.key)
            if outcome.usage.output_tokens is not None:
                planned.seen_completions.append(outcome.usage.output_tokens)

    def note_open_ended(self, item: pytest.Item) -> None:
        """Write down a test that waits for an answer, and whom its source asks afterwards, once each."""
        self.open_ended.add(item.nodeid)
        try:
            source = inspect.getsource(getattr(item, "function", type(item)))
        except (OSError, TypeError):
            return
        self.later_calls.update(set(_AUXILIARY.findall(source)))

    def total_calls(self) -> int:
        """Return how many requests would be sent."""
        return sum(len(planned.calls) for planned in self.runtimes.values())

    def sorted(self) -> Iterable[RuntimePlan]:
        """Return the runtimes by name."""
        return [self.runtimes[name] for name in sorted(self.runtimes)]

    def _of(self, runtime: RuntimeConfig, price: Price | None) -> RuntimePlan:
        if runtime.name not in self.runtimes:
            self.runtimes[runtime.name] = RuntimePlan(runtime.name, price, model=runtime.model)
        return self.runtimes[runtime.name]


PLAN = pytest.StashKey[Plan]()
"""The plan of a run that only plans, on ``config.stash``."""
