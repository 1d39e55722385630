"""The run's budget: the worst case is reserved before a call is sent, and settled afterwards."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from pytest_proofmap.calls.answer import Billed, Usage
from pytest_proofmap.calls.costs import MTOK, cost_usd
from pytest_proofmap.calls.lanes.lane import Pair, Partner
from pytest_proofmap.calls.outcome import CallRecord
from pytest_proofmap.calls.request import SampleId
from pytest_proofmap.evidence.models import Price

if TYPE_CHECKING:
    from pytest_proofmap.config import RuntimeConfig

__all__ = ["Budget", "CasePairs", "Grant", "cannot_carry", "plain_usd", "worst_case_usd"]

FIRST_COMPLETION_TOKENS = 1024
"""Assumed length of a completion without ``max_tokens`` before any was seen, unless the model allows less."""

_TOKENS_PER_MESSAGE = 8

Grant = Literal["granted", "wait", "refused"]
"""``wait``: it may fit once the calls under way are settled."""


@dataclass(slots=True)
class _Case:
    """One case on all of its runtimes, so that the money is not spent on one side alone."""

    needs_usd: dict[str, float] = field(default_factory=dict)
    """By runtime that is to be asked still, the worst case of its call."""
    settled: set[str] = field(default_factory=set)
    """Runtimes that were asked, or need no call."""
    is_reserved: bool = False
    """Whether what the runtimes need is reserved."""
    refusal: str | None = None
    """Why no runtime is asked on this case."""


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
    shortfall: str | None = None
    """Why no call is made at all, once it shows that the first ones do not fit."""
    _granted: bool = False
    """Whether any call was let through."""
    _cases: dict[str, _Case] = field(default_factory=dict)

    def reserve(self, worst_usd: float) -> Grant:
        """Reserve the worst case of a call, if it fits."""
        if self.limit_usd is not None:
            used = self.spent_usd + self.doubtful_usd
            if used + self.reserved_usd + worst_usd > self.limit_usd:
                return "wait" if self.reserved_usd > 0 and used + worst_usd <= self.limit_usd else "refused"
        self.reserved_usd += worst_usd
        self._granted = True
        return "granted"

    def reserve_case(self, case: str, runtime: str, worst_usd: Mapping[str, float]) -> Grant:
        """Reserve the worst case of a call together with those of the other runtimes on the same case.

        Args:
            case: The case.
            runtime: The runtime that is asked.
            worst_usd: By runtime: of this call, and of the calls that are to follow.
        """
        known = self._cases.setdefault(case, _Case())
        worst = worst_usd[runtime]
        if not known.is_reserved:
            # Whoever comes first asks for all; another of the case may have come and be waiting.
            expected = {name: usd for name, usd in worst_usd.items() if name not in known.settled}
            known.needs_usd = {**expected, **known.needs_usd, runtime: worst}
            grant = self.reserve(sum(known.needs_usd.values()))
            known.is_reserved = grant == "granted"
        else:
            more = worst - known.needs_usd.get(runtime, 0.0)
            grant = self.reserve(more) if more > 0 else "granted"
            if grant == "granted" and more < 0:
                self._release(-more)
        if grant == "granted":
            known.needs_usd.pop(runtime, None)
            known.settled.add(runtime)
        return grant

    def refuse(self, case: str | None, worst_usd: Mapping[str, float]) -> str:
        """Return why a call is not made; where its case was not begun, it is asked on no runtime.

        Where no call was made before, none is after: a budget that cannot carry the first calls says so once, for
        the whole run.

        Args:
            case: The case; None: the call stands for itself.
            worst_usd: By runtime: of this call, and of the calls that are to follow.
        """
        known = self._cases.setdefault(case, _Case()) if case is not None else _Case()
        needs = known.needs_usd or worst_usd
        if not self._granted:
            self.shortfall = f"not called: {cannot_carry(self.limit_usd or 0.0, needs)}"
            return self.shortfall
        refusal = self.refusal(sum(needs.values()))
        if not known.is_reserved:
            known.refusal = refusal
        return refusal

    def free(self, case: str, runtime: str) -> None:
        """Give back what was kept for a runtime on a case: its answer is there already."""
        known = self._cases.setdefault(case, _Case())
        needed_usd = known.needs_usd.pop(runtime, 0.0)
        if known.is_reserved:
            self._release(needed_usd)
        known.settled.add(runtime)

    def refusal_of(self, case: str | None) -> str | None:
        """Return why no runtime is asked on a case, or None."""
        known = self._cases.get(case) if case is not None else None
        return self.shortfall or (known.refusal if known is not None else None)

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
            f"not called: the budget of {plain_usd(self.limit_usd or 0.0)} is used up ({spent}; this call may "
            f"cost ${worst_usd:.4f}). What was paid is kept; raise --proofmap-budget or budget_usd to go on."
        )

    def _release(self, worst_usd: float) -> None:
        self.reserved_usd = max(0.0, self.reserved_usd - worst_usd)


BOUNDS = ("max_completion_tokens", "max_tokens", "n")
"""Parameters that bound how long an answer gets."""


class CasePairs:
    """Which samples share a case, as one process knows it, so that money is spent on all of them or on none.

    Args:
        runtimes: Returns the runtimes that this run asks on a sample's case.
        price: Returns a runtime's price.
    """

    def __init__(
        self,
        runtimes: Callable[[SampleId], Iterable[RuntimeConfig]],
        price: Callable[[RuntimeConfig], Price | None],
    ) -> None:
        self._runtimes = runtimes
        self._price = price
        self._looked_up: set[tuple[str, str]] = set()
        """Cases and runtimes whose first call was found or asked."""

    def pair_of(self, call: CallRecord, sample: SampleId) -> Pair | None:
        """Return what the budget of a call is reserved together with; None: it stands for itself."""
        if call.auxiliary is not None:
            return None
        case = _case_of(sample)
        self._looked_up.add((case, sample.runtime))
        runtimes = {runtime.name: runtime for runtime in self._runtimes(sample)}
        defaults = runtimes[sample.runtime].params
        asked = {name: value for name, value in call.request.params.items() if defaults.get(name) != value}
        partners = []
        for runtime in runtimes.values():
            price = self._price(runtime)
            if (case, runtime.name) not in self._looked_up and price is not None:
                params = {**runtime.params, **asked}
                bounds = {name: params.get(name) for name in BOUNDS}
                partners.append(Partner(runtime.name, runtime.model, bounds, price))
        return Pair(case, tuple(partners))

    def free(self, call: CallRecord, sample: SampleId) -> str | None:
        """Return the case on which a sample needs no money now that a call is answered; None: not its first."""
        case = _case_of(sample)
        if call.auxiliary is not None or (case, sample.runtime) in self._looked_up:
            return None
        self._looked_up.add((case, sample.runtime))
        return case


def _case_of(sample: SampleId) -> str:
    """Return a text for what a sample has in common with those of the other runtimes."""
    return f"{sample.criterion}[{sample.case}]#{sample.sample}"


def cannot_carry(budget_usd: float, worst_usd: Mapping[str, float]) -> str:
    """Say that a budget is below the worst case of one call of each runtime, and what to do.

    Args:
        budget_usd: The budget.
        worst_usd: The worst case of one call, by runtime. Those are named that alone do not fit, or all where
            each would.
    """
    dearest_first = sorted(worst_usd.items(), key=lambda each: (-each[1], each[0]))
    too_dear = [each for each in dearest_first if each[1] > budget_usd] or dearest_first
    calls = ", ".join(f"one worst-case call to {name} reserves {_exact_usd(usd)}" for name, usd in too_dear)
    return (
        f"the budget of {plain_usd(budget_usd)} cannot carry one call of each runtime: {calls}. Raise "
        f"--proofmap-budget or budget_usd to {_exact_usd(sum(worst_usd.values()), up=True)} or more, or bound the "
        "answers with max_tokens."
    )


def plain_usd(usd: float) -> str:
    """Return an amount as a person writes it, without an exponent."""
    return f"${Decimal(repr(float(usd))).normalize():f}"


def _exact_usd(usd: float, *, up: bool = False) -> str:
    """Return an amount with four decimals, or two digits where it is smaller.

    Args:
        usd: The amount.
        up: Whether what is returned must cover it.
    """
    decimals = 4 if usd >= 0.0001 or usd <= 0 else 1 - math.floor(math.log10(usd))
    if up:
        # As an exact decimal, so that an amount that has no more decimals stays as it is.
        usd = math.ceil(Decimal(repr(usd)).scaleb(decimals)) / 10**decimals
    return f"${usd:.{decimals}f}"


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
    tokens_in, tokens_out = input_tokens_at_most(request), output_tokens_at_most(request, unbounded)
    params = request.get("params") or {}
    tier = params.get("service_tier")
    billed = Billed(service_tier=tier if isinstance(tier, str) else None)
    usages = [(Usage(tokens_in, tokens_out), billed)]
    # A price for cached input above the ordinary one does not occur, but would count.
    usages.append((Usage(tokens_in, tokens_out, cached_input_tokens=tokens_in), billed))
    if "cache_control" in json.dumps(request.get("messages") or [], default=str):
        counts = {"cache_write_tokens": tokens_in, "cache_write_1h_tokens": tokens_in}
        usages.append((Usage(tokens_in, tokens_out), billed._replace(counts=counts)))
    plain = (tokens_in * price.input_per_mtok + tokens_out * price.output_per_mtok) / MTOK
    return max(plain, *(cost_usd(usage, price, each) or 0.0 for usage, each in usages)) + _search_fee(
        request, price
    )


def _search_fee(request: dict[str, Any], price: Price) -> float:
    """Return the fee for a search that a request asks for."""
    listed, params = price.listed or {}, request.get("params") or {}
    fees = listed.get("search_context_cost_per_query")
    asks = "web_search" in json.dumps([params.get("web_search_options"), request.get("tools")], default=str)
    if not (
        asks or params.get("web_search_options") is not None or listed.get("litellm_provider") == "perplexity"
    ):
        return 0.0
    return max((fee for fee in fees.values() if isinstance(fee, int | float)), default=0.0) if fees else 0.0
