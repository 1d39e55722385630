"""Finds the answer to a request: recordings, then the cache, then the model.

One engine serves one process. It never imports LiteLLM: live calls are made by the call service, another
process, which is started at the first request that needs it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_proofmap.calls.answer import Answer, Pair, Partner
from pytest_proofmap.calls.cache.store import AnswerStore
from pytest_proofmap.calls.costs import bill_of
from pytest_proofmap.calls.lanes.hook import HookClient
from pytest_proofmap.calls.prices import price_of
from pytest_proofmap.calls.recordings import Recordings
from pytest_proofmap.calls.request import Request
from pytest_proofmap.calls.service.connection import FORKED, CallResult, Connection, LiveCall
from pytest_proofmap.config import Configuration, RuntimeConfig
from pytest_proofmap.environment import expand_environment, holds_reference, references_in
from pytest_proofmap.errors import (
    BudgetError,
    CallError,
    ConfigurationError,
    ReplayMissError,
    RequestError,
    ShortfallError,
)
from pytest_proofmap.evidence.models import Price, PromptRef
from pytest_proofmap.files import real_files
from pytest_proofmap.plugin.sample import CallRecord, PaidCall, SampleId, SampleRecord
from pytest_proofmap.prefetch.plan import Found, Plan
from pytest_proofmap.prefetch.suspension import let_siblings_ask, wait, wait_async
from pytest_proofmap.prompts.library import PromptLibrary, RenderedMessages
from pytest_proofmap.redaction import Redactor, secrets_of_transport

__all__ = ["CacheMode", "Engine"]

CacheMode = Literal["auto", "replay", "refresh", "off"]


@dataclass(slots=True)
class Tally:
    """What a process has called so far."""

    failed: dict[str, tuple[CallError, CallResult]] = field(default_factory=dict)
    """Failures by key: a failed request is not sent again in the same run, where what it rests on is the same."""
    unkept: str | None = None
    """Why answers cannot be kept, once that has happened."""


class Engine:
    """Answers requests in one process.

    Args:
        configuration: The project's configuration.
        run: Id of the run.
        mode: What ``--proofmap-cache`` says.
        recordings: The committed recordings.
        store: Where answers are kept.
        connect: Starts or joins the call service; called at most once.
        key_of: Returns the key of a request where the project says what enters it (``pytest_proofmap_key``).
        hook: Runs the project's own client (``pytest_proofmap_call``), or None when there is none.
        warn: Shows a warning to the user.
        redactor: Knows the secrets, which requests must not hold.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        run: str,
        mode: CacheMode,
        recordings: Recordings,
        store: AnswerStore,
        connect: Callable[[], Connection],
        hook: HookClient | None,
        key_of: Callable[[Request], str] | None = None,
        warn: Callable[[str], None],
        redactor: Redactor,
    ) -> None:
        self.configuration = configuration
        self.redactor = redactor
        self.mode = mode
        self.tally = Tally()
        self.prompts = PromptLibrary(configuration.prompts_path, rootdir=configuration.rootdir)
        self.lock = threading.Lock()
        """Held while calls are looked up or begun: a test may ask from threads of its own."""
        self.plan: Plan | None = None
        """Where requests are written down in place of being sent, in a run that only plans."""
        self._run = run
        self._recordings = recordings
        self._store = store
        self._connect = connect
        self._connection: Connection | None = None
        self._hook = hook
        self._key_of = key_of
        self.warn = warn
        self._owner = os.getpid()
        self._pending: dict[str, Future[CallResult]] = {}
        self._asked_under: dict[str, Mapping[str, str]] = {}
        """The environment that each of them was asked under: elsewhere its failure tells nothing."""
        self._fresh: dict[str, Answer] = {}
        self._unkept: dict[str, Answer] = {}
        """Answers that were paid and could not be kept: this run at least uses them."""
        self.partners: Callable[[SampleId], Iterable[str]] | None = None
        """Returns the other runtimes of a sample's case that this run asks; set where there is a budget."""
        self._looked_up: set[tuple[str, str]] = set()
        """Cases and runtimes whose first call was found or asked."""
        self._prices: dict[str, Price | None] = {}
        self._warned_settings: set[str] = set()
        self._asked_for: dict[str, SampleId] = {}
        """The sample that asked first, by the key of what was sent."""
        self._paid: dict[str, PaidCall] = {}
        self._used: set[str] = set()
        self._free: set[str] = set()

    def runtime_config(self, name: str) -> RuntimeConfig:
        """Return a runtime by name.

        Raises:
            ConfigurationError: It is not configured and no LiteLLM model id.
        """
        return self.configuration.runtime(name)

    def runtime_names(self) -> list[str]:
        """Return the names of the configured runtimes."""
        return sorted(self.configuration.runtimes)

    def price(self, runtime: RuntimeConfig) -> Price | None:
        """Return a runtime's price: declared, else LiteLLM's bundled one, else None."""
        if runtime.name not in self._prices:
            self._prices[runtime.name] = price_of(runtime)
        return self._prices[runtime.name]

    def render(self, package: str, variant: str | None, variables: dict[str, Any]) -> RenderedMessages:
        """Render a prompt package.

        Raises:
            PromptError: The package, its variant or a variable does not fit.
        """
        with real_files():
            template = self.prompts.get(package, variant)
        if template.ignored_settings and template.file not in self._warned_settings:
            self._warned_settings.add(template.file)
            settings = ", ".join(template.ignored_settings)
            self.warn(f"{template.file}: {settings} in the front matter is ignored: the runtime decides it.")
        return RenderedMessages(template.render(variables), PromptRef(name=package, variant=template.variant))

    def refuse_forked(self) -> None:
        """Refuse to ask in a process that the test has forked, also for what is cached: the sample is elsewhere.

        Raises:
            RequestError: This is such a process.
        """
        if os.getpid() != self._owner:
            raise RequestError(FORKED)

    def identity(self, request: Request) -> tuple[str, str]:
        """Return the key of a request, and the canonical JSON of all that is sent.

        Raises:
            RequestError: The project's hook gave no key.
            TypeError: The request holds something that JSON cannot express.
            ValueError: The request holds NaN or an infinity.
        """
        key, text = request.identity()
        return (key if self._key_of is None else self._key_of(request)), text

    def fetch(
        self, call: CallRecord, runtime: RuntimeConfig, transport: dict[str, Any], record: SampleRecord
    ) -> None:
        """Give a call its answer or its failure, waiting for the model if need be.

        Raises:
            Suspended: This is a dry run and the answer is on its way.
        """
        pending = self.ask(call, runtime, transport, record)
        if pending is not None:
            with self._waiting(call, record):
                self._take(call, runtime, record, wait(pending, record.dry_run))

    async def afetch(
        self, call: CallRecord, runtime: RuntimeConfig, transport: dict[str, Any], record: SampleRecord
    ) -> None:
        """Do what :meth:`fetch` does without blocking the event loop."""
        import asyncio  # Which a run of ordinary tests need not load.

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise RequestError(
                "acomplete and arun need a running asyncio event loop, which other async libraries such as trio "
                "do not have. Ask with complete or run, or run the test on asyncio."
            ) from None
        await let_siblings_ask()
        pending = self.ask(call, runtime, transport, record)
        if pending is not None:
            with self._waiting(call, record):
                self._take(call, runtime, record, await wait_async(pending, record.dry_run))

    def ask(
        self, call: CallRecord, runtime: RuntimeConfig, transport: dict[str, Any], record: SampleRecord
    ) -> Future[CallResult] | None:
        """Look a call's answer up, and ask the model where there is none.

        Returns:
            What the answer will come with; None when the call has its answer or its failure already.

        Raises:
            Suspended: This is a dry run whose request must not be sent.
        """
        dry_run = record.dry_run
        with self.lock:
            if dry_run is not None:
                dry_run.meet()
            if self._lookup(call, runtime, record):
                return None
            if dry_run is not None:
                dry_run.admit(call.key, record.position(call))
            return self._submit(call, runtime, transport, record)

    def find(self, key: str) -> Found | None:
        """Return the answer of a key from this run, the recordings or the cache, or None."""
        with real_files():
            return self._find(key)

    def _find(self, key: str) -> Found | None:
        looks_back = self.mode in ("auto", "replay")
        if looks_back:
            recorded = self._recordings.get(key)
            if recorded is not None:
                self._free.add(key)
                return Found(recorded, "recording")
        answer = self._unkept.get(key) or self._fresh.pop(key, None) or self._store.get(key)
        paid_now = answer is not None and answer.run == self._run
        if answer is None or not (looks_back or paid_now):
            return None
        self._used.add(key)
        if paid_now:
            return Found(answer, "live")
        self._free.add(key)
        return Found(answer, "cache")

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
            for key, pending in list(self._pending.items()):
                if pending.done():
                    self._keep(key, pending.result())
            return list(self._paid.values())

    def close(self) -> None:
        """End the call service, if one was started, and close the store."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._hook is not None:
            self._hook.close()
        self._store.close()

    @contextmanager
    def _waiting(self, call: CallRecord, record: SampleRecord) -> Iterator[None]:
        """Take a call out of its sample when all who waited for it have given up."""
        with self.lock:
            call.waiters += 1
        try:
            yield
        finally:
            with self.lock:
                call.waiters -= 1
                if not call.done and not call.waiters and record.dry_run is None:
                    record.withdraw(call)

    def _take(self, call: CallRecord, runtime: RuntimeConfig, record: SampleRecord, result: CallResult) -> None:
        """Give a call what it waited for."""
        with self.lock:
            self._keep(call.key, result)
            if not self._lookup(call, runtime, record):
                # Asked under what the test has changed since: it is this call's failure all the same.
                record.fail(call, _error_of(result), attempts=result.attempts)

    def _lookup(self, call: CallRecord, runtime: RuntimeConfig, record: SampleRecord) -> bool:
        """Finish a call from what is known; return False when the model must be asked."""
        if call.done:
            return True
        pending = self._pending.get(call.key)
        if pending is not None and pending.done():
            self._keep(call.key, pending.result())
        failed = self.tally.failed.get(call.key)
        # A dry run need not know better: where the environment differs each time it would ask without end.
        if failed is not None and (record.dry_run is not None or failed[1].holds()):
            record.fail(call, failed[0], attempts=failed[1].attempts)
            return True
        if call.key in self._pending:
            return False
        found = self.find(call.key)
        if self.plan is not None:
            self._note(self.plan, call, runtime, found)
        if found is None:
            return False
        if self.partners is not None:
            self._note_free(call, record)
        price = self.price(runtime)
        usage, billed = found.answer.usage, found.answer.billed
        cost, unpriced = bill_of(found.answer, usage, billed, price)
        if unpriced and price is not None:
            self.warn(_unknown_cost(runtime, unpriced))
        record.finish(call, found.answer, usage, source=found.source, cost_usd=cost, billed=billed.counts)
        if call.key in self._unkept:
            record.unkept = self.tally.unkept
        return True

    def _submit(
        self, call: CallRecord, runtime: RuntimeConfig, transport: dict[str, Any], record: SampleRecord
    ) -> Future[CallResult]:
        """Return what the answer of a call will come with, asking the model unless that is under way."""
        under = self._connection.environment if self._connection is not None else None
        if call.key not in self._pending or self._asked_under.get(call.key) is not under:
            self._asked_for[call.key] = record.id
            self._pending[call.key] = self._ask(call, runtime, transport, self._pair(call, record))
            if self._connection is not None:
                self._asked_under[call.key] = self._connection.environment
        pending = self._pending[call.key]
        (record.awaited if record.dry_run is None else record.dry_run.pending).append(pending)
        return pending

    def _note(self, plan: Plan, call: CallRecord, runtime: RuntimeConfig, found: Found | None) -> None:
        price = self.price(runtime)
        if found is not None:
            plan.note_found(runtime, price, call.key, found)
        else:
            plan.note_call(runtime, price, call.key, call.request)

    def _pair(self, call: CallRecord, record: SampleRecord) -> Pair | None:
        """Return what the budget of a call is reserved together with; None: it stands for itself."""
        if self.partners is None or call.auxiliary is not None:
            return None
        id = record.id
        case = _case_of(id)
        self._looked_up.add((case, id.runtime))
        own = self.configuration.runtime(id.runtime).params
        asked = {name: value for name, value in call.request.params.items() if own.get(name) != value}
        partners = []
        for name in self.partners(id):
            runtime = self.configuration.runtime(name)
            price = self.price(runtime)
            if (case, name) not in self._looked_up and price is not None:
                params = {**runtime.params, **asked}
                partners.append(Partner(name, runtime.model, {each: params.get(each) for each in BOUNDS}, price))
        return Pair(case, tuple(partners))

    def _note_free(self, call: CallRecord, record: SampleRecord) -> None:
        """Remember that a sample's first call needs no money, and give back what was kept for it."""
        case = _case_of(record.id)
        if call.auxiliary is None and (case, record.id.runtime) not in self._looked_up:
            self._looked_up.add((case, record.id.runtime))
            if self._connection is not None:
                self._connection.free(case, record.id.runtime)

    def _ask(
        self, call: CallRecord, runtime: RuntimeConfig, transport: dict[str, Any], pair: Pair | None
    ) -> Future[CallResult]:
        if self.mode == "replay":
            # No call will tell of a variable that a test has set.
            self.redactor.add_environment(os.environ)
            return _settled(_replay_miss(call, runtime))
        if self.tally.unkept is not None:
            return _settled(CallResult.failed("StoreError", f"not called: {self.tally.unkept}", kind="store"))
        references = references_in([runtime.api_base, transport, call.request.params])
        try:
            expanded = _expanded(call, runtime, transport)
        except ConfigurationError as error:
            unset = {name: os.environ.get(name) for name in references}
            return _settled(CallResult.failed("ConfigurationError", str(error), environment=unset))
        self.redactor.add(*secrets_of_transport(expanded))
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
            ),
            hook=self._hook,
            references=references,
        )

    def _keep(self, key: str, result: CallResult) -> None:
        """Keep what came of a call for those who ask for it."""
        if self._pending.pop(key, None) is None:
            return
        self._asked_under.pop(key, None)
        answer = result.answer or result.unkept
        if answer is not None and not result.shared:
            asked_for = self._asked_for[key]
            self._paid[key] = PaidCall(
                key, result.cost_usd, asked_for.criterion, asked_for.case, asked_for.runtime
            )
        if result.kind == "store":
            self.tally.unkept = result.message
        if result.unkept is not None:
            self._unkept[key] = result.unkept
            return
        if result.answer is None:
            self.tally.failed[key] = (_error_of(result), result)
            return
        self._fresh[key] = result.answer
        if self.mode == "off":
            self._store.put(key, result.answer)


_ERROR_TYPES: dict[str, type[CallError]] = {
    "replay": ReplayMissError,
    "budget": BudgetError,
    "shortfall": ShortfallError,
}


def _error_of(result: CallResult) -> CallError:
    return _ERROR_TYPES.get(result.kind, CallError)(result.error_class, result.message)


def _expanded(call: CallRecord, runtime: RuntimeConfig, transport: dict[str, Any]) -> dict[str, Any]:
    """Return how to reach the model, with the environment's values in place of their names.

    Raises:
        ConfigurationError: A named variable is not set.
    """
    where = f"runtime {runtime.name!r}"
    expanded: dict[str, Any] = {
        "api_base": expand_environment(runtime.api_base, f"{where}: api_base"),
        "timeout_s": transport.pop("timeout", None) or runtime.timeout_s,
    }
    for name in ("max_retries", "num_retries"):
        transport.pop(name, None)
    for name, value in transport.items():
        expanded[name] = expand_environment(value, f"{where}: {name}")
    # The request itself keeps the names, so that no value gets into keys, cache and evidence.
    params = {
        name: expand_environment(value, f"{where}: {name}")
        for name, value in call.request.params.items()
        if holds_reference(value) and runtime.params.get(name) == value
    }
    return {**expanded, "params": params} if params else expanded


BOUNDS = ("max_completion_tokens", "max_tokens", "n")
"""Parameters that bound how long an answer gets."""


def _case_of(id: SampleId) -> str:
    """Return a text for what a sample has in common with those of the other runtimes."""
    return f"{id.criterion}[{id.case}]#{id.sample}"


def _unknown_cost(runtime: RuntimeConfig, unpriced: tuple[str, ...]) -> str:
    """Say why answers of a runtime have no known cost."""
    # Without the numbers, so that it is said once.
    what = ", ".join(text.split(" ", 1)[1] if text[:1].isdigit() else text for text in unpriced)
    return (
        f"the cost of some answers of {runtime.name} is unknown: they are billed for {what}, and no price of "
        "that is known. Declare it in its price (cache_write_per_mtok, audio_input_per_mtok, search_usd, ...), or "
        "ask again with --proofmap-cache=refresh, which prices answers as they come."
    )


def _settled(result: CallResult) -> Future[CallResult]:
    future: Future[CallResult] = Future()
    future.set_result(result)
    return future


def _replay_miss(call: CallRecord, runtime: RuntimeConfig) -> CallResult:
    message = (
        f"no recorded or cached answer of {runtime.name!r} for request {call.key[:12]} and calls are off "
        "(--proofmap-cache=replay). Run with --proofmap-cache=auto to make the call, or see why with: "
        f"proofmap cache explain --key {call.key[:12]}"
    )
    return CallResult.failed("ReplayMissError", message, kind="replay")
