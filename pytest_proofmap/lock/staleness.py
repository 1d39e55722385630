"""Whether what was evaluated is still what the project holds, and whether the approved routes still stand.

Fingerprints are the proof: of runtimes as configured, of prompt variants as rendered, and of criteria as written.
Files are read, nothing is called and no test is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

from pytest_proofmap.config import Configuration
from pytest_proofmap.errors import ConfigurationError, PromptError
from pytest_proofmap.evidence.ages import is_older
from pytest_proofmap.evidence.fingerprints import (
    CriterionPart,
    changed_parts,
    configured_fingerprint,
    criterion_fingerprint,
    criterion_parts,
    runtime_fingerprint,
    runtime_key,
    walk_of,
)
from pytest_proofmap.evidence.models import Evidence
from pytest_proofmap.evidence.source import WALK, SourceFingerprints
from pytest_proofmap.lock.file import broken_digests
from pytest_proofmap.lock.models import Lock, Route, route_parts
from pytest_proofmap.prompts.library import PromptLibrary

__all__ = [
    "Change",
    "EvidenceFingerprints",
    "Fingerprints",
    "Problem",
    "Project",
    "auxiliary_claims",
    "changes",
    "fingerprinted_by_older",
    "fingerprints_of_evidence",
    "fingerprints_of_route",
    "replaced_entries",
    "verify",
    "way_out",
]


class Change(NamedTuple):
    """A fingerprint that is no longer what it was."""

    kind: Literal["runtime", "prompt", "criterion"]
    name: str
    """Name of the runtime, the prompt variant or the criterion."""
    old: str
    new: str | None
    """None: it is no longer there."""
    part: CriterionPart | None = None
    """The part of a criterion's fingerprint that changed."""

    @property
    def text(self) -> str:
        """The change in words."""
        what = f"{self.kind} {self.name}"
        if self.new is None:
            return f"{what} is gone (was {self.old})"
        part = f" ({self.part})" if self.part else ""
        return f"{what} changed{part}: {self.old} → {self.new}"


class FingerprintSet(NamedTuple):
    """What some evidence or approval was about, by fingerprint."""

    runtimes: Mapping[str, str]
    prompts: Mapping[tuple[str, str], str]
    """By package and variant the first 12 digits of the file's hash."""
    criteria: Mapping[str, str]
    auxiliary_runtimes: Mapping[str, str] = MappingProxyType({})
    """Of the runtimes that the criteria ask besides: judges, rewriters."""
    auxiliary_prompts: Mapping[tuple[str, str], str] = MappingProxyType({})
    from_hooks: frozenset[str] = frozenset()
    """Names of the runtimes that the project's hooks gave."""


class Fingerprints(Protocol):
    """The fingerprints that hold now."""

    knows_all: bool
    """Whether an auxiliary runtime or prompt that is not there is gone; else it may only not have been asked."""
    knows_hooks: bool
    """Whether the runtimes that the project's hooks give are known: only pytest can ask these."""

    def runtime(self, name: str) -> str | None:
        """Return a runtime's fingerprint; None when there is none of this name."""

    def prompt(self, name: str, variant: str) -> str | None:
        """Return the first 12 digits of a prompt variant's hash; None when it is gone."""

    def messages(self, name: str, variant: str) -> list[dict[str, Any]] | None:
        """Return a prompt variant's message templates; None when they are not known."""

    def criterion(self, name: str, was: str) -> str | None:
        """Return a criterion's fingerprint, or those of its parts that are known; None when it is gone.

        Args:
            name: Id of the criterion.
            was: The fingerprint that it is to be compared with: it says by which walk its source was made.
        """


class EvidenceFingerprints:
    """The fingerprints that evidence holds."""

    knows_all = False
    knows_hooks = True

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._criteria = {criterion.id: criterion.fingerprint for criterion in evidence.criteria}

    def runtime(self, name: str) -> str | None:
        """Return a runtime's fingerprint."""
        found = self._evidence.runtimes.get(name)
        return found.fingerprint if found else None

    def prompt(self, name: str, variant: str) -> str | None:
        """Return the first 12 digits of a prompt variant's hash."""
        found = self._evidence.prompts.get(name, {}).get(variant)
        return found.sha256[:12] if found else None

    def messages(self, name: str, variant: str) -> list[dict[str, Any]] | None:
        """Return a prompt variant's message templates."""
        found = self._evidence.prompts.get(name, {}).get(variant)
        return found.messages if found else None

    def criterion(self, name: str, was: str) -> str | None:
        """Return a criterion's fingerprint."""
        return self._criteria.get(name)


class Project:
    """The fingerprints of a project's files, each computed once.

    Args:
        configuration: The project's configuration.
        criteria: Whole fingerprints of the criteria that were collected.
        collected_all: Whether every test was collected, so that any other criterion is gone. Else the source
            fingerprint of others is taken from their files.
        from_hooks: Fingerprints of the runtimes that the project's hooks give; None: these were not asked.
    """

    knows_all = True

    def __init__(
        self,
        configuration: Configuration,
        criteria: Mapping[str, str] | None = None,
        *,
        collected_all: bool = False,
        from_hooks: Mapping[str, str] | None = None,
    ) -> None:
        self._configuration = configuration
        self._criteria = criteria or {}
        self._collected_all = collected_all
        self.knows_hooks = from_hooks is not None
        self._from_hooks = from_hooks or {}
        self._sources = SourceFingerprints(configuration.rootdir)
        self._prompts = PromptLibrary(configuration.prompts_path, rootdir=configuration.rootdir)
        self._known: dict[tuple[str, str], str | None] = {}

    def runtime(self, name: str) -> str | None:
        """Return a runtime's fingerprint; None when it is not configured."""
        if name in self._from_hooks:
            return self._from_hooks[name]
        try:
            runtime = self._configuration.runtime(name)
        except ConfigurationError:
            return None
        return configured_fingerprint(runtime)

    def prompt(self, name: str, variant: str) -> str | None:
        """Return the first digits of a prompt variant's hash; None when there is no such file."""
        try:
            template = self._prompts.get(name, variant)
        except PromptError:
            return None
        # A package without variants stands in for one that is gone, and renders something else.
        return template.sha256[:12] if template.variant == variant else None

    def messages(self, name: str, variant: str) -> list[dict[str, Any]] | None:
        """Return a prompt variant's message templates; None when there is no such file."""
        try:
            template = self._prompts.get(name, variant)
        except PromptError:
            return None
        return template.messages

    def criterion(self, name: str, was: str) -> str | None:
        """Return a criterion's fingerprint, its source part alone where it was not collected; None: it is gone."""
        source = criterion_parts(was).get("source", "")
        collected = self._criteria.get(name)
        if collected is None:
            if self._collected_all:
                return None
            now = self._source(name, source)
            return None if now is None else f"source:{now}"
        parts = criterion_parts(collected)
        if walk_of(source) == walk_of(parts["source"]):
            return collected
        return criterion_fingerprint(**{**parts, "source": self._source(name, source) or parts["source"]})

    def _source(self, name: str, was: str) -> str | None:
        if (name, was) not in self._known:
            self._known[name, was] = self._sources.now(name, was)
        return self._known[name, was]


def fingerprints_of_evidence(evidence: Evidence, objectives: Iterable[str]) -> FingerprintSet:
    """Return what the evidence on some objectives is about."""
    chosen = [objective for objective in evidence.objectives if objective.name in set(objectives)]
    criteria = {
        criterion.id: criterion.fingerprint
        for criterion in evidence.criteria
        if criterion.objective in set(objectives)
    }
    runtimes = {name for objective in chosen for name in (objective.baseline, *objective.challengers)}
    asked, rendered = auxiliary_claims(evidence, criteria)
    return FingerprintSet(
        {name: info.fingerprint for name, info in evidence.runtimes.items() if name in runtimes},
        {
            (name, variant): found.sha256[:12]
            for name, variants in evidence.prompts.items()
            for variant, found in variants.items()
        },
        criteria,
        asked,
        rendered,
    )


def auxiliary_claims(
    evidence: Evidence, criteria: Collection[str]
) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """Return fingerprints of the runtimes that some criteria asked besides, and of the prompts rendered for these.

    Evidence of the first version does not hold these runtimes: nothing is claimed of them then.
    """
    calls = [
        call
        for sample in evidence.samples
        if sample.criterion in criteria
        for call in sample.calls
        if call.runtime is not None
    ]
    runtimes = {call.runtime for call in calls if call.runtime in evidence.runtimes}
    rendered = {(call.prompt.name, call.prompt.variant or "default") for call in calls if call.prompt is not None}
    return (
        {name: evidence.runtimes[name].fingerprint for name in sorted(filter(None, runtimes))},
        {
            (name, variant): evidence.prompts[name][variant].sha256[:12]
            for name, variant in sorted(rendered)
            if variant in evidence.prompts.get(name, {})
        },
    )


def fingerprints_of_route(route: Route, lock: Lock) -> FingerprintSet:
    """Return what a route was approved on."""
    prompts = {
        (lock.prompts[key].name, lock.prompts[key].variant): key.rpartition("@")[2] for key in route.prompts
    }
    runtimes = {lock.runtimes[key].name: key.rpartition("@")[2] for key in route.chain}
    rendered = {}
    for title, digits in route.auxiliary_prompts.items():
        package, _, variant = title.rpartition(".")
        rendered[package, variant] = digits
    from_hooks = frozenset(route.from_hooks)
    return FingerprintSet(runtimes, prompts, route.criteria, route.auxiliary_runtimes, rendered, from_hooks)


def changes(fingerprints: FingerprintSet, present: Fingerprints) -> Iterator[Change]:
    """Yield every fingerprint that is no longer what was claimed."""
    for runtimes, is_auxiliary in ((fingerprints.runtimes, False), (fingerprints.auxiliary_runtimes, True)):
        for name, old in runtimes.items():
            new = present.runtime(name)
            if new is None and name in fingerprints.from_hooks and not present.knows_hooks:
                continue
            if new != old and _counts(new, present, is_auxiliary=is_auxiliary):
                yield Change("runtime", name, old, new)
    for prompts, is_auxiliary in ((fingerprints.prompts, False), (fingerprints.auxiliary_prompts, True)):
        for (name, variant), old in prompts.items():
            new = present.prompt(name, variant)
            if new != old and _counts(new, present, is_auxiliary=is_auxiliary):
                yield Change("prompt", name if variant == "default" else f"{name}.{variant}", old, new)
    for name, old in fingerprints.criteria.items():
        new = present.criterion(name, old)
        if new is None:
            yield Change("criterion", name, old, None)
            continue
        before, after = criterion_parts(old), criterion_parts(new)
        for part in changed_parts(old, new):
            yield Change("criterion", name, before.get(part, ""), after[part], part)


def replaced_entries(route: Route, lock: Lock, present: Fingerprints) -> Iterator[str]:
    """Yield what a route names whose content is not what its name in the lock says.

    A digest says that route and entries belong together, and whoever forges an entry can compute it anew; the name
    of an entry is made from what was evaluated.
    """
    if not route.criteria:
        yield "it names no criterion, so that nothing was evaluated"
    for key in route.chain:
        runtime = lock.runtimes[key]
        made = runtime_key(
            runtime.name,
            runtime_fingerprint(
                model=runtime.model,
                provider=runtime.provider,
                params=runtime.params,
                variant=runtime.variant,
                api_base=runtime.api_base,
                served=runtime.served,
            ),
        )
        if made != key:
            yield f"the runtime {key} does not hold what its name says (that would be {made})"
    for key in route.prompts:
        prompt = lock.prompts[key]
        name, _, digits = key.rpartition("@")
        if name != f"{prompt.name}.{prompt.variant}":
            yield f"the prompt {key} holds {prompt.name}.{prompt.variant}"
        elif present.prompt(prompt.name, prompt.variant) == digits:
            messages = present.messages(prompt.name, prompt.variant)
            if messages is not None and messages != prompt.messages:
                yield f"the messages of the prompt {key} are not those of {prompt.file}"


def fingerprinted_by_older(route: Route) -> list[str]:
    """Return the criteria of a route whose source was fingerprinted by an older walk than today's."""
    return [
        name for name, text in route.criteria.items() if walk_of(criterion_parts(text).get("source", "")) < WALK
    ]


def way_out(route: str) -> str:
    """Return what to do about a route that no evidence can be approved for, as nothing evaluates its objective."""
    return f"mend or restore its tests, or approve what took its place and delete the route {route} from the lock"


def _counts(new: str | None, present: Fingerprints, *, is_auxiliary: bool) -> bool:
    """Return whether a difference is one, where nothing may mean that nothing was asked."""
    return new is not None or not is_auxiliary or present.knows_all


DAYS_AHEAD = 14
"""How long before an approval expires, or a model is retired, is warned of it."""


class Problem(NamedTuple):
    """Something about a route."""

    route: str
    kind: Literal[
        "digest",
        "content",
        "no_cases",
        "stale",
        "older",
        "unchecked",
        "expired",
        "expires",
        "retired",
        "retires",
        "unpinned",
        "old",
        "superseded",
        "history",
    ]
    text: str
    next_step: str
    is_finding: bool
    """False: a warning."""


def verify(
    lock: Lock,
    present: Fingerprints,
    now: datetime,
    retired_on: Callable[[str], date | None],
    max_age_days: int = 0,
    forgotten: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Problem]:
    """Yield what is wrong with the routes of a lock, and what soon will be.

    Args:
        lock: The lock, whether or not its digests match.
        present: The fingerprints that now hold.
        now: The present time, with its zone.
        retired_on: Returns when a model is retired; None: not known.
        max_age_days: Answers older than so many days are named; 0: none is.
        forgotten: By route, why the history of looks is older than what the route was approved on.
    """
    broken = set(broken_digests(lock))
    for name, route in lock.routes.items():
        objective = route_parts(name)[0]
        again = f"run pytest --proofmap, then: proofmap approve --objective {objective}"
        if not any(present.criterion(criterion, was) for criterion, was in route.criteria.items()):
            again = way_out(name)
        undo = "undo the edit (git log -p on the lock), or approve anew"
        if name in broken:
            yield Problem(name, "digest", "was edited by hand: its digest does not match", undo, True)
        for text in replaced_entries(route, lock, present):
            yield Problem(name, "content", f"is not what was approved: {text}", undo, True)
        if route.criteria and not route.evidence.cases:
            yield Problem(name, "no_cases", "was approved on no case at all", again, True)
        if name in forgotten:
            newer = "take the newer proofmap.history from version control, or merge both"
            yield Problem(name, "history", forgotten[name], newer, True)
        for kind, text in _ages(route, now, max_age_days):
            yield Problem(name, kind, text, "ask again: pytest --proofmap --proofmap-cache=refresh", False)
        if route.from_hooks and not present.knows_hooks:
            text = (
                f"{', '.join(route.from_hooks)}: pytest_proofmap_runtimes says what it is, and only pytest asks it"
            )
            yield Problem(name, "unchecked", text, "check it too: proofmap verify --collect", False)
        older = fingerprinted_by_older(route)
        if older:
            text = (
                f"{', '.join(older)}: checked as the older version of ProofMap did that approved it, which "
                "did not follow imported tests, nor code on pytest's pythonpath"
            )
            yield Problem(name, "older", text, again, False)
        for change in changes(fingerprints_of_route(route, lock), present):
            yield Problem(name, "stale", change.text, again, True)
        yield from _expiry(name, route, now, again)
        for key in route.chain:
            yield from _model(name, lock.runtimes[key].name, lock.runtimes[key].model, now.date(), retired_on)


def expiry_of(route: Route) -> datetime | None:
    """Return when a route's approval ends; None: never."""
    if route.approval.expires_at is None:
        return None
    ends = datetime.fromisoformat(route.approval.expires_at.replace("Z", "+00:00"))
    return ends if ends.tzinfo is not None else ends.replace(tzinfo=timezone.utc)


def _expiry(name: str, route: Route, now: datetime, again: str) -> Iterator[Problem]:
    ends = expiry_of(route)
    if ends is None:
        return
    if ends <= now:
        yield Problem(name, "expired", f"the approval ended on {ends.date()}", again, True)
    elif ends <= now + timedelta(days=DAYS_AHEAD):
        yield Problem(name, "expires", f"the approval ends on {ends.date()}", again, False)


def _model(
    route: str, runtime: str, model: str, today: date, retired_on: Callable[[str], date | None]
) -> Iterator[Problem]:
    ends = retired_on(model)
    move = f"qualify a successor of {runtime} as a challenger"
    if ends is not None and ends <= today:
        yield Problem(route, "retired", f"{runtime}: the model {model} was retired on {ends}", move, False)
    elif ends is not None and ends <= today + timedelta(days=DAYS_AHEAD):
        yield Problem(route, "retires", f"{runtime}: the model {model} is retired on {ends}", move, False)
    if model.endswith(("-latest", ":latest")):
        text = f"{runtime}: {model} is an alias, and may mean another model tomorrow"
        yield Problem(route, "unpinned", text, "name a dated model", False)


def _ages(route: Route, now: datetime, max_age_days: int) -> Iterator[tuple[Literal["old", "superseded"], str]]:
    """Yield on which old answers a route was approved, or on answers of models that served before."""
    if not max_age_days:
        return
    for runtime, made_at in route.evidence.oldest_answers.items():
        if is_older(made_at, max_age_days, now):
            text = f"answers of {runtime} are older than {max_age_days} days, the oldest from {made_at[:10]}"
            yield "old", f"was approved on old answers: {text}"
    for runtime, number in route.evidence.superseded.items():
        yield "superseded", f"was approved on {number:,} answers of {runtime} made before its model changed"
