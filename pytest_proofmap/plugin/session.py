"""One process of a qualification run: it ties pytest's events to the calls and to the recorder.

What the project says of the run comes first: its configuration, its secrets, and the runtimes that are asked for.
"""

from __future__ import annotations

import json
import os
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import date, datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_proofmap.calls.budget import CasePairs
from pytest_proofmap.calls.cache.disk import DiskStore
from pytest_proofmap.calls.cache.store import AnswerStore, MemoryStore, open_cache, service_store
from pytest_proofmap.calls.lanes.hook import HookClient, KeyHook
from pytest_proofmap.calls.lookup import CacheMode, Lookup, PaidCall
from pytest_proofmap.calls.recordings import Recordings
from pytest_proofmap.calls.request import SampleId
from pytest_proofmap.calls.sample import SampleRecord
from pytest_proofmap.calls.service.protocol import ServiceSettings
from pytest_proofmap.config import Configuration, RuntimeConfig, load, parse_runtime
from pytest_proofmap.environment import with_known_references
from pytest_proofmap.errors import ConfigurationError, MarkerError
from pytest_proofmap.evidence.models import PromptRef
from pytest_proofmap.files import EVIDENCE_FILE, FOLDER_NAME, PARTIAL_FILE, create_folder, real_files
from pytest_proofmap.parameters import part_key_headers
from pytest_proofmap.plugin import xdist
from pytest_proofmap.plugin.criteria import RUNTIME_FIXTURE, CriteriaRegistry, CriterionFacts, facts_of
from pytest_proofmap.plugin.handles import Runtime, Runtimes
from pytest_proofmap.plugin.outcomes import Wording, make_visible, observe_call, observe_setup, show
from pytest_proofmap.plugin.recorder import Recorder, SamplePayload
from pytest_proofmap.plugin.selection import Selection
from pytest_proofmap.plugin.xdist import ServiceLauncher
from pytest_proofmap.prefetch.item_copy import DRY_RUN
from pytest_proofmap.prefetch.prefetch import ASKED_IN_DRY_RUN
from pytest_proofmap.prompts.library import PromptLibrary, RenderedMessages
from pytest_proofmap.redaction import MIN_SECRET_LENGTH, Redactor, secrets_of_transport

if TYPE_CHECKING:
    from pytest_proofmap.plugin.adaptive import AdaptiveSampler

__all__ = ["RECORD", "SESSION", "QualificationSession"]


def configuration_of(config: pytest.Config) -> Configuration:
    """Return the configuration, with the runtimes that the project's hooks add.

    Raises:
        ConfigurationError: It is not allowed, or a hook returned what is no runtime.
    """
    configuration = load(config.rootpath)
    for runtimes in config.hook.pytest_proofmap_runtimes(config=config):
        if runtimes is not None and not isinstance(runtimes, Mapping):
            raise ConfigurationError(
                f"pytest_proofmap_runtimes returned {runtimes!r}; allowed: runtimes by name, such as "
                '{"rules-v2": {"model": "acme/rules"}}, or None.'
            )
        for name, table in (runtimes or {}).items():
            if name in configuration.runtimes:
                raise ConfigurationError(
                    f"pytest_proofmap_runtimes: the runtime {name!r} is configured in {configuration.source} "
                    "too. Remove one of the two."
                )
            source = "pytest_proofmap_runtimes"
            runtime = parse_runtime(name, table, source)
            configuration.add_runtime(configuration.with_key_headers(runtime, f"{source}: {name}"))
    return configuration


def redactor_of(config: pytest.Config, configuration: Configuration) -> Redactor:
    """Return what knows the secrets of the environment, of the configuration and of the project's hooks.

    Raises:
        ConfigurationError: A hook returned something that is no secret.
    """
    redactor = Redactor(os.environ)
    for runtime in configuration.runtimes.values():
        hidden, _ = part_key_headers(runtime.params, runtime.key_headers)
        written = {**hidden, "params": runtime.params, "api_base": runtime.api_base}
        redactor.add(*secrets_of_transport(with_known_references(written)))
    for secrets in config.hook.pytest_proofmap_secrets(config=config):
        if isinstance(secrets, str) or not isinstance(secrets, Iterable):
            raise ConfigurationError(
                f"pytest_proofmap_secrets returned a {type(secrets).__name__}; allowed: a list of strings."
            )
        for secret in secrets:
            if not isinstance(secret, str) or len(secret.strip()) < MIN_SECRET_LENGTH:
                raise ConfigurationError(
                    "pytest_proofmap_secrets returned something that is no secret; allowed: strings of at least "
                    f"{MIN_SECRET_LENGTH} characters, since a shorter one is part of ordinary words."
                )
            redactor.declare(secret)
    return redactor


def restriction_of(config: pytest.Config, configuration: Configuration) -> tuple[str, ...] | None:
    """Return the runtimes that ``--proofmap-runtimes`` leaves, or None when it leaves all.

    Raises:
        ConfigurationError: There is no such runtime.
    """
    names: tuple[str, ...] | None = config.option.proofmap_runtimes
    for name in names or ():
        try:
            configuration.runtime(name)
        except ConfigurationError as error:
            raise ConfigurationError(f"--proofmap-runtimes: {error}") from None
    return names


SHOWS_SETUP = ("setupshow", "setuponly", "setupplan", "trace")
"""Options that show each fixture or stop in each test."""

PAYLOAD_ATTRIBUTE = "proofmap_evidence"
PAID_OUTPUT = "proofmap_paid"


class QualificationSession:
    """The run as one process sees it: the only process, the controller of xdist, or a worker.

    Args:
        config: pytest's configuration, with ``--proofmap`` given.

    Raises:
        ConfigurationError: The configuration or an option is not allowed.
        StoreError: Answers could not be kept.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.started_at = datetime.now(timezone.utc)
        self.id = xdist.run_id(config) or uuid.uuid4().hex
        self.mode: CacheMode = config.option.proofmap_cache
        self.configuration = configuration_of(config)
        self.redactor = redactor_of(config, self.configuration)
        self.keeps_texts = self.configuration.store_texts and not config.option.proofmap_no_texts
        """Whether the evidence holds prompts and answers."""
        self._wording = Wording(self.redactor, texts=self.keeps_texts)
        self.registry = CriteriaRegistry(
            self.configuration,
            runtimes=restriction_of(config, self.configuration),
            samples=config.option.proofmap_samples,
        )
        self.selection = Selection()
        self.is_worker = xdist.is_worker(config)
        self.adaptive: AdaptiveSampler | None = None
        if config.option.proofmap_adaptive:
            from pytest_proofmap.plugin.adaptive import AdaptiveSampler

            seed = config.option.proofmap_adaptive_seed
            self.adaptive = AdaptiveSampler(self.registry, seed, spread=self.is_worker)
        self.warnings: list[str] = []
        self.facts: dict[str, CriterionFacts] = {}
        self.recorder: Recorder | None = None
        if not self.is_worker:
            self.recorder = Recorder(self.artifact_path.parent)
        self.notice: str | None = None
        """What to say at the end in place of a summary."""
        self._sent: set[str] = set()
        self._announced = False
        self._launcher = ServiceLauncher(config, self.redactor, self._service_settings, self.notify)

    @property
    def artifact_path(self) -> Path:
        """Where the artifact of a whole run is written."""
        return self.config.rootpath / (self.config.option.proofmap_json or EVIDENCE_FILE)

    def artifact_path_of(self, *, complete: bool) -> Path:
        """Return where the artifact is written: one that is incomplete replaces no whole one, unless asked to."""
        asked = complete or self.config.option.proofmap_json
        return self.artifact_path if asked else self.config.rootpath / PARTIAL_FILE

    @property
    def concurrency(self) -> int:
        """Calls under way at once; 0: no prefetch, one call at a time."""
        option = self.config.option.proofmap_concurrency
        return self.configuration.concurrency if option is None else int(option)

    @property
    def budget_usd(self) -> float | None:
        """The most that this run may spend, in USD."""
        option = self.config.option.proofmap_budget
        return self.configuration.budget_usd if option is None else float(option)

    @cached_property
    def lookup(self) -> Lookup:
        """What answers requests; made before the first test that is marked."""
        return Lookup(
            run=self.id,
            mode=self.mode,
            recordings=self._recordings,
            store=self._store,
            connect=self._launcher.connect,
            hook_client=HookClient.of(self.config.hook.pytest_proofmap_call),
            key_of=self._key_of,
            warn=self.warn,
            redactor=self.redactor,
        )

    @cached_property
    def _prompts(self) -> PromptLibrary:
        return PromptLibrary(self.configuration.prompts_path, rootdir=self.configuration.rootdir)

    @cached_property
    def _shows_setup(self) -> bool:
        return any(getattr(self.config.option, name, False) for name in SHOWS_SETUP)

    @cached_property
    def _paints(self) -> bool:
        # pytest has no terminal writer under -p no:terminal.
        has_terminal = self.config.pluginmanager.hasplugin("terminalreporter")
        return has_terminal and self.config.get_terminal_writer().hasmarkup

    @cached_property
    def _store(self) -> AnswerStore:
        if self.mode == "off":
            return MemoryStore()
        return open_cache(self.configuration, self.warn, readonly=self.mode == "replay")

    def warn(self, message: str) -> None:
        """Keep a warning for the summary, once."""
        if message not in self.warnings:
            self.warnings.append(message)

    def notify(self, text: str) -> None:
        """Show at once what the run waits for, and keep it for the summary; called from a thread."""
        self.warn(text)
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and self.config.get_verbosity() >= 0:
            reporter.ensure_newline()
            reporter.write_line(f"proofmap: {text}")
            reporter.flush()

    def prepare(self, items: list[pytest.Item]) -> None:
        """Make ready for the first test: what cannot be read ends the run before it has spent anything.

        Args:
            items: The tests that run.

        Raises:
            RecordingsError: A recordings file cannot be read.
            StoreError: Answers could not be kept.
        """
        self._open_lookup()
        self._pair_up(items)
        if self.mode != "replay" and not self.config.option.proofmap_plan:
            self._launcher.prepare()
        if self.adaptive is not None:
            self.adaptive.arrange(items)

    def stored_requests(self) -> Iterator[Mapping[str, Any]]:
        """Yield the requests that recordings and the cache hold answers to.

        Raises:
            NotImplementedError: The store is a server's, which does not list what it holds.
        """
        for recording in self._recordings.entries():
            yield recording.answer.request
        if not isinstance(self._store, DiskStore):
            raise NotImplementedError
        for entry in self._store.entries():
            yield entry.answer.request

    def _open_lookup(self) -> Lookup:
        """Open recordings and cache: where they cannot be read, the run ends before it has spent anything."""
        return self.lookup

    def _pair_up(self, items: Iterable[pytest.Item]) -> None:
        """Tell the look-up which samples share a case, so that a budget is spent on all of them or on none."""
        if self.budget_usd is None or self.mode == "replay":
            return
        runtimes: defaultdict[tuple[str, str, int], list[str]] = defaultdict(list)
        for item in items:
            sample = self.registry.identify(item)
            if sample is not None:
                runtimes[sample.criterion, sample.case, sample.sample].append(sample.runtime)

        def runtimes_of(sample: SampleId) -> list[RuntimeConfig]:
            names = runtimes[sample.criterion, sample.case, sample.sample]
            return [self.configuration.runtime(name) for name in names]

        self.lookup.pairs = CasePairs(runtimes_of, self.lookup.price)

    def begin(self, item: pytest.Item) -> None:
        """Start the record of a marked item.

        Raises:
            pytest.skip.Exception: Adaptive sampling has decided without it.
        """
        sample = self.registry.identify(item)
        if sample is not None:
            record = item.stash[RECORD] = SampleRecord(
                sample,
                self.lookup,
                item.stash.get(DRY_RUN, None),
                asked_in_dry_run=item.stash.get(ASKED_IN_DRY_RUN, False),
            )
            if self.adaptive is not None:
                self.adaptive.spare(record)
            self._hand_over(item, sample)

    def _hand_over(self, item: pytest.Item, sample: SampleId) -> None:
        """Give a test its runtime, as the fixture would: the detour through it costs a third of a trivial test.

        A fixture that the project puts in its place, and options that show fixtures, take the detour. pytest fills
        in what is not among ``funcargs`` yet: https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/fixtures.py#L876
        """
        # pytest sets up a fixture only for a name that is not in funcargs yet (`_fillfixtures`):
        # https://github.com/pytest-dev/pytest/blob/main/src/_pytest/fixtures.py
        if isinstance(item, pytest.Function) and not self._shows_setup:
            definitions = item._fixtureinfo.name2fixturedefs.get(RUNTIME_FIXTURE, ())
            if len(definitions) == 1:
                item.funcargs[RUNTIME_FIXTURE] = self.runtime(item, sample.runtime)
                # Mostly asked for by that fixture alone, and made anew it takes a twelfth of a trivial test.
                item.funcargs.setdefault("request", item._request)

    def report(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        """Take the outcome from a report, and word the report."""
        record = item.stash.get(RECORD, None)
        if record is None:
            return
        if call.when == "teardown":
            self._deliver(record, report)
            return
        if call.when == "call":
            observe_call(record, call, self._wording, self.registry.plan_of(record.id).rules, self.config.rootpath)
        elif call.excinfo is not None:
            observe_setup(record, call, self._wording, self.config.rootpath)
        if record.outcome not in (None, "passed") or record.running:
            show(report, record, self.registry.plan_of(record.id).bar)
            make_visible(report, colours=self._paints)

    def receive(self, report: pytest.TestReport) -> None:
        """Take in the sample that a worker attached to a report."""
        if self.recorder is None:
            return
        text = report.__dict__.pop(PAYLOAD_ATTRIBUTE, None)
        if text is None:
            return
        payload, extra = json.loads(text)
        self._take(SamplePayload.from_json(payload))
        for fact in extra["criteria"]:
            facts = CriterionFacts.model_validate_json(fact)
            self.facts.setdefault(facts.criterion.id, facts)
        self.selection.add(extra["selection"] or ())
        for warning in extra["warnings"]:
            self.warn(warning)

    def runtime(self, item: pytest.Item, name: str) -> Runtime:
        """Return the runtime under test of an item."""
        dry_run = item.stash.get(DRY_RUN, None)
        return Runtime(self.configuration.runtime(name), item.stash[RECORD], self, dry_run)

    def runtimes(self, item: pytest.Item) -> Runtimes:
        """Return the runtimes for auxiliary calls of an item.

        Raises:
            MarkerError: The item is not marked.
        """
        record = item.stash.get(RECORD, None)
        if record is None:
            raise MarkerError(
                f"{item.nodeid}: uses the fixture 'runtimes' but is not qualified. "
                "Add @pytest.mark.qualify(...) and the fixture 'runtime' to the test."
            )
        return Runtimes(record, self, item.stash.get(DRY_RUN, None))

    def render(self, package: str, variant: str | None, variables: dict[str, Any]) -> RenderedMessages:
        """Render a prompt package.

        Raises:
            PromptError: The package, its variant or a variable does not fit.
        """
        with real_files():
            template = self._prompts.get(package, variant)
        if template.ignored_settings:
            settings = ", ".join(template.ignored_settings)
            self.warn(f"{template.file}: {settings} in the front matter is ignored: the runtime decides it.")
        return RenderedMessages(template.render(variables), PromptRef(name=package, variant=template.variant))

    def paid_calls(self) -> list[PaidCall]:
        """Return the calls that this process has paid for."""
        return self.lookup.paid_calls() if "lookup" in self.__dict__ else []

    def hand_over_the_rest(self) -> None:
        """Send the controller of xdist, at the end of a worker, what no report of a test holds."""
        if self.is_worker:
            paid = json.dumps(self.paid_calls())
            self.config.workeroutput[PAID_OUTPUT] = paid  # type: ignore[attr-defined]  # xdist's

    def receive_the_rest(self, node: Any) -> None:
        """Take in what a worker sent at its end; one that crashed sent nothing."""
        text = getattr(node, "workeroutput", {}).get(PAID_OUTPUT)
        if self.recorder is not None and text is not None:
            self.recorder.note_paid(PaidCall(*call) for call in json.loads(text))

    def collected_facts(self) -> dict[str, CriterionFacts]:
        """Return the facts of the criteria: of this process, or as the workers sent them."""
        if not self.facts and self.registry.criteria:
            sampling = self.adaptive.sampling_of if self.adaptive is not None else None
            self.facts = facts_of(self.registry, self.config.rootpath, sampling)
        return self.facts

    def service_status(self) -> Future[dict[str, Any]] | None:
        """Ask the call service for its figures; None when no call was made."""
        return self._launcher.status() or (self.lookup.status() if "lookup" in self.__dict__ else None)

    def close(self) -> None:
        """End the call service and close the store."""
        if "lookup" in self.__dict__:
            if isinstance(self._store, DiskStore):
                self._store.mark_used(self.lookup.used_keys(), date.today())
            self.lookup.close()
        elif "_store" in self.__dict__:
            # Opened to look what there is, in a run that was refused then.
            self._store.close()
        if "_recordings" in self.__dict__:
            self._recordings.close()
        self._launcher.close()
        if self.recorder is not None:
            self.recorder.close()

    def _deliver(self, record: SampleRecord, report: pytest.TestReport) -> None:
        if record.outcome is None:
            return
        if self.adaptive is not None:
            self.adaptive.take(record)
        if self.recorder is not None:
            self._take(self._payload(record))
            return
        extra: dict[str, Any] = {"criteria": [], "selection": None, "warnings": list(self.warnings)}
        if not self._announced:
            self._announced = True
            extra["criteria"] = [facts.model_dump_json() for facts in self.collected_facts().values()]
            extra["selection"] = self.selection.to_json()
        setattr(report, PAYLOAD_ATTRIBUTE, json.dumps([self._payload(record).to_json(), extra]))

    def _payload(self, record: SampleRecord) -> SamplePayload:
        repeated = self.registry.plan_of(record.id).bar.samples > 1
        payload = SamplePayload.of(
            record, self._sent, repeated=repeated, texts=self.keeps_texts, redactor=self.redactor
        )
        # Items live as long as the session; the answers of thousands of them must not.
        record.calls.clear()
        return payload

    def _take(self, payload: SamplePayload) -> None:
        recorder = self.recorder
        assert recorder is not None
        # Without evidence the tests go on, so that answers are kept; the end of the run tells it.
        if not recorder.samples_count:
            try:
                self.claim_artifact_folder(self.artifact_path)
            except OSError as error:
                recorder.failure = error
        try:
            recorder.add(payload)
        except OSError as error:
            recorder.failure = recorder.failure or error

    def claim_artifact_folder(self, path: Path) -> None:
        """Make the folder of an artifact; ProofMap's own folder is kept out of version control.

        Raises:
            OSError: It cannot be made.
        """
        folder = path.parent
        if folder == self.config.rootpath / FOLDER_NAME:
            create_folder(folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)

    def instruct_worker(self, node: Any) -> None:
        """Tell a worker of xdist of the run, and start the call service that all in this folder share.

        Raises:
            StoreError: Answers could not be kept.
            CallError: The call service did not come up.
        """
        address = None if self.mode == "replay" else self._launcher.share(node)
        xdist.instruct(node, run=self.id, service=address)

    @cached_property
    def _recordings(self) -> Recordings:
        configuration = self.configuration
        patterns = configuration.recordings if self.mode in ("auto", "replay") else []
        return Recordings(patterns, configuration.rootdir, configuration.cache_path, key_of=self._key_of)

    @cached_property
    def _key_of(self) -> KeyHook | None:
        return KeyHook.of(self.config.hook.pytest_proofmap_key)

    def _service_settings(self) -> ServiceSettings:
        configuration = self.configuration
        return ServiceSettings(
            store={"kind": "memory"} if self.mode == "off" else service_store(configuration),
            concurrency=max(1, self.concurrency),
            limits={name: limits.model_dump() for name, limits in configuration.limits.items()},
            budget_usd=self.budget_usd,
            max_response_mb=configuration.max_response_mb,
            refresh=self.mode == "refresh",
            run=self.id,
        )


SESSION = pytest.StashKey[QualificationSession]()
"""The run of this process, on ``config.stash``."""

RECORD = pytest.StashKey[SampleRecord]()
"""The sample that an item is, on ``item.stash``."""
