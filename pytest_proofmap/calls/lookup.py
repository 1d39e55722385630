"""Finds the answer to a request: what this run knows, then recordings, then the cache, then the model.

One look-up serves one process, whoever asks and however it waits. It never imports LiteLLM: live calls are made by
the call service, another process, which is started at the first request that needs it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.cache.store import AnswerStore
from pytest_proofmap.calls.costs import bill_of
from pytest_proofmap.calls.lanes.hook import HookClient
from pytest_proofmap.calls.lanes.lane import LiveCall
from pytest_proofmap.calls.outcome import CallOutcome, CallRecord, Failure
from pytest_proofmap.calls.prices import price_of
from pytest_proofmap.calls.recordings import Recordings
from pytest_proofmap.calls.request import Request, SampleId, describe_secret
from pytest_proofmap.calls.service.connection import FORKED, Connection, settled
from pytest_proofmap.config import RuntimeConfig
from pytest_proofmap.environment import expand_environment, holds_reference, references_in
from pytest_proofmap.errors import ConfigurationError, RequestError
from pytest_proofmap.evidence.models import Price, Source
from pytest_proofmap.files import real_files
from pytest_proofmap.redaction import Redactor, secrets_of_transport

if TYPE_CHECKING:
    from pytest_proofmap.calls.budget import CasePairs

__all__ = ["CacheMode", "Listener", "Lookup", "PaidCall"]

CacheMode = Literal["auto", "replay", "refresh", "off"]

Listener = Callable[[RuntimeConfig, "Price | None", CallRecord, "CallOutcome | None"], None]
"""Told of each request that was looked up in recordings and cache, and what was there; None: a call is needed."""


class PaidCall(NamedTuple):
    """A call that one process made and got an answer for; plain values only, because execnet carries it."""

    key: str
    cost_usd: float | None
    """None when it is unknown."""
    criterion: str
    case: str
    runtime: str
    """The runtime of the sample that asked first."""

    @property
    def asked_for(self) -> str:
        """The sample that asked first, in words."""
        case = f"[{self.case}]" if self.case else ""
        return f"{self.criterion}{case} on {self.runtime}"


class _Submitted(NamedTuple):
    """A call that is under way."""

    future: Future[CallOutcome]
    sample: SampleId
    """Who asked first."""
    environment: Mapping[str, str] | None
    """What it was asked under: elsewhere its failure tells nothing."""


class Lookup:
    """Answers requests in one process.

    Args:
        run: Id of the run.
        mode: What ``--proofmap-cache`` says.
        recordings: The committed recordings.
        store: Where answers are kept.
        connect: Starts or joins the call service; called at most once.
        hook_client: Runs the project's own client (``pytest_proofmap_call``), or None when there is none.
        key_of: Returns the key of a request where the project says what enters it (``pytest_proofmap_key``).
        warn: Shows a warning to the user.
        redactor: Knows the secrets, which requests must not hold.
    """

    def __init__(
        self,
        *,
        run: str,
        mode: CacheMode,
        recordings: Recordings,
        store: AnswerStore,
        connect: Callable[[], Connection],
        hook_client: HookClient | None,
        key_of: Callable[[Request], str] | None = None,
        warn: Callable[[str], None],
        redactor: Redactor,
    ) -> None:
        self.lock = threading.Lock()
        """Held while calls are begun, looked up or taken: a test may ask from threads of its own."""
        self.listener: Listener | None = None
        self.pairs: CasePairs | None = None
        """Which samples share a case; set where there is a budget."""
        self._run = run
        self._mode = mode
        self._recordings = recordings
        self._store = store
        self._connect = connect
        self._connection: Connection | None = None
        self._hook_client = hook_client
        self._key_of = key_of
        self._warn = warn
        self._redactor = redactor
        self._owner = os.getpid()
        self._submitted: dict[str, _Submitted] = {}
        self._taken: dict[str, CallOutcome] = {}
        """Answers that came and nobody has looked at yet, and those that were paid and could not be saved."""
        self._failed: dict[str, Failure] = {}
        """A failed request is not sent again in the same run, where what it rests on is the same."""
        self._unsaved: str | None = None
        """Why answers cannot be saved, once that has happened."""
        self._prices: dict[str, Price | None] = {}
        self._paid: dict[str, PaidCall] = {}
        self._used: set[str] = set()
        self._free: set[str] = set()

    def price(self, runtime: RuntimeConfig) -> Price | None:
        """Return a runtime's price: declared, else LiteLLM's bundled one, else None."""
        if runtime.name not in self._prices:
            self._prices[runtime.name] = price_of(runtime)
        return self._prices[runtime.name]

    def identify(self, request: Request, runtime: RuntimeConfig) -> tuple[Request, str]:
        """Return a request as it is now, whatever the test does with its parts later, and its key.

        Raises:
            RequestError: It is none that can be sent and kept, the project's hook gave no key, or the process that
                asks is one that the test has forked: the sample's record is elsewhere.
        """
        if os.getpid() != self._owner:
            raise RequestError(FORKED)
        try:
            request = request.copied()
            key, text = request.identity()
            if self._key_of is not None:
                key = self._key_of(request)
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestError(
                f"the request to {runtime.name!r} holds a value that JSON cannot express: {error}. "
                "Messages and parameters are made of strings, numbers, lists and dicts."
            ) from None
        origin = self._redactor.secret_in(text)
        if origin is not None:
            raise RequestError(describe_secret(origin))
        return request, key

    def find(
        self, call: CallRecord, runtime: RuntimeConfig, sample: SampleId, *, trusts_failures: bool
    ) -> CallOutcome | None:
        """Return what is known of a call, or None when its model must be asked or has not answered yet.

        Args:
            call: The call.
            runtime: The runtime that is asked.
            sample: The sample that asks.
            trusts_failures: Whether a failure counts although what it rests on may be different by now.
        """
        key = call.key
        submitted = self._submitted.get(key)
        if submitted is not None and submitted.future.done():
            self.take(key, submitted.future.result())
        failure = self._failed.get(key)
        if failure is not None and (trusts_failures or failure.holds()):
            return CallOutcome(failure=failure)
        if key in self._submitted:
            return None
        with real_files():
            outcome = self._stored(key, runtime)
        if self.listener is not None:
            self.listener(runtime, self.price(runtime), call, outcome)
        if outcome is not None and self.pairs is not None:
            case = self.pairs.free(call, sample)
            if case is not None and self._connection is not None:
                self._connection.free(case, sample.runtime)
        return outcome

    def _stored(self, key: str, runtime: RuntimeConfig) -> CallOutcome | None:
        """Return the answer of a key from recordings, from this run or from the cache, with its bill."""
        looks_back = self._mode in ("auto", "replay")
        answer = self._recordings.get(key) if looks_back else None
        source: Source = "recording"
        taken: CallOutcome | None = None
        if answer is None:
            taken = self._taken.get(key)
            if taken is None:
                answer = self._store.get(key)
            else:
                answer = taken.answer
                if taken.failure is None:
                    # From now on it is in the store: the answers of thousands of calls must not stay here.
                    del self._taken[key]
            if answer is None:
                return None
            source = "live" if answer.run == self._run else "cache"
            if source == "cache" and not looks_back:
                return None
            self._used.add(key)
        if source != "live":
            self._free.add(key)
        return self._billed(answer, source, taken, runtime)

    def _billed(
        self, answer: Answer, source: Source, taken: CallOutcome | None, runtime: RuntimeConfig
    ) -> CallOutcome:
        """Return an outcome with the bill of its answer, by the price of the runtime that is asked."""
        usage, billed, price = answer.usage, answer.billed, self.price(runtime)
        cost_usd, unpriced = bill_of(answer, usage, billed, price)
        if unpriced and price is not None:
            self._warn(_unknown_cost(runtime, unpriced))
        failure, shared = (None, False) if taken is None else (taken.failure, taken.shared)
        return CallOutcome(answer, failure, source, shared, cost_usd, usage, billed)

    def submit(
        self, call: CallRecord, runtime: RuntimeConfig, transport: dict[str, Any], sample: SampleId
    ) -> Future[CallOutcome]:
        """Return what the outcome of a call will come with, asking the model unless that is under way."""
        submitted = self._submitted.get(call.key)
        if submitted is None or submitted.environment is not self._environment():
            future = self._send(call, runtime, transport, sample)
            submitted = self._submitted[call.key] = _Submitted(future, sample, self._environment())
        return submitted.future

    def take(self, key: str, outcome: CallOutcome) -> None:
        """Take what came of a call, for all who ask for it."""
        submitted = self._submitted.pop(key, None)
        if submitted is None:
            return
        answer, failure, sample = outcome.answer, outcome.failure, submitted.sample
        if answer is not None and not outcome.shared:
            self._paid[key] = PaidCall(key, outcome.cost_usd, sample.criterion, sample.case, sample.runtime)
        if failure is not None and failure.kind == "store":
            self._unsaved = failure.message
        if answer is not None:
            self._taken[key] = outcome
            if self._mode == "off" and failure is None:
                self._store.put(key, answer)
        elif failure is not None:
            self._failed[key] = failure

    @property
    def has_asked(self) -> bool:
        """Whether a request of this process was ever not answered from what was there."""
        return self._connection is not None

    def status(self) -> Future[dict[str, Any]] | None:
        """Ask the call service for its figures; None when there is none."""
        return self._connection.status() if self._connection is not None else None

    def free_count(self) -> int:
        """Return how many answers this process found without a call of this run."""
        return len(self._free)

    def used_keys(self) -> set[str]:
        """Return the keys whose answers came from the cache or were kept there."""
        return self._used

    def paid_calls(self) -> list[PaidCall]:
        """Return the calls that this process has paid for, also those that nobody came back for."""
        with self.lock:
            for key, submitted in list(self._submitted.items()):
                if submitted.future.done():
                    self.take(key, submitted.future.result())
            return list(self._paid.values())

    def close(self) -> None:
        """End the call service, if one was started, and close the store."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._hook_client is not None:
            self._hook_client.close()
        self._store.close()

    def _environment(self) -> Mapping[str, str] | None:
        return self._connection.environment if self._connection is not None else None

    def _send(
        self, call: CallRecord, runtime: RuntimeConfig, transport: dict[str, Any], sample: SampleId
    ) -> Future[CallOutcome]:
        # Whatever comes of it: the other runtimes of its case are not to reserve money for it any more.
        pair = self.pairs.pair_of(call, sample) if self.pairs is not None else None
        if self._mode == "replay":
            # No call will tell of a variable that a test has set.
            self._redactor.add_environment(os.environ)
            return settled(_replay_miss(call, runtime))
        if self._unsaved is not None:
            return settled(CallOutcome.failed("StoreError", f"not called: {self._unsaved}", kind="store"))
        references = references_in([runtime.api_base, transport, call.request.params])
        try:
            expanded = _expanded(call, runtime, transport)
        except ConfigurationError as error:
            unset = {name: os.environ.get(name) for name in references}
            return settled(CallOutcome.failed("ConfigurationError", str(error), environment=unset))
        self._redactor.add(*secrets_of_transport(expanded))
        if self._connection is None:
            self._connection = self._connect()
        return self._connection.submit(
            LiveCall(
                key=call.key,
                runtime=runtime.name,
                provider=runtime.provider,
                request=call.request.content(),
                transport=expanded,
                price=self.price(runtime),
                pair=pair,
                references=tuple(references),
            ),
            hook=self._hook_client,
        )


def _expanded(call: CallRecord, runtime: RuntimeConfig, transport: dict[str, Any]) -> dict[str, Any]:
    """Return how to reach the model, with the environment's values in place of their names.

    Raises:
        ConfigurationError: A named variable is not set.
    """
    where = f"runtime {runtime.name!r}"
    expanded: dict[str, Any] = {
        "api_base": expand_environment(runtime.api_base, f"{where}: api_base"),
        "timeout_s": transport.get("timeout") or runtime.timeout_s,
    }
    for name, value in transport.items():
        if name not in _OURS:
            expanded[name] = expand_environment(value, f"{where}: {name}")
    # The request itself keeps the names, so that no value gets into keys, cache and evidence.
    params = {
        name: expand_environment(value, f"{where}: {name}")
        for name, value in call.request.params.items()
        if holds_reference(value) and runtime.params.get(name) == value
    }
    return {**expanded, "params": params} if params else expanded


_OURS = frozenset({"max_retries", "num_retries", "timeout"})
"""Parameters of the transport that are not passed on: attempts and their time are the dispatcher's."""


def _unknown_cost(runtime: RuntimeConfig, unpriced: tuple[str, ...]) -> str:
    """Say why answers of a runtime have no known cost."""
    # Without the numbers, so that it is said once.
    what = ", ".join(text.split(" ", 1)[1] if text[:1].isdigit() else text for text in unpriced)
    return (
        f"the cost of some answers of {runtime.name} is unknown: they are billed for {what}, and no price of "
        "that is known. Declare it in its price (cache_write_per_mtok, audio_input_per_mtok, search_usd, ...), or "
        "ask again with --proofmap-cache=refresh, which prices answers as they come."
    )


def _replay_miss(call: CallRecord, runtime: RuntimeConfig) -> CallOutcome:
    message = (
        f"no recorded or cached answer of {runtime.name!r} for request {call.key[:12]} and calls are off "
        "(--proofmap-cache=replay). Run with --proofmap-cache=auto to make the call, or see why with: "
        f"proofmap cache explain --key {call.key[:12]}"
    )
    return CallOutcome.failed("ReplayMissError", message, kind="replay")
