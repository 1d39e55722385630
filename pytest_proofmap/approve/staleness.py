"""Whether what was evaluated is still what the project holds.

Fingerprints are the proof: of runtimes as configured, of prompt variants as rendered, and of criteria as written.
Files are read, nothing is called and no test is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, Protocol

from pytest_proofmap.approve.models import Lock, Route
from pytest_proofmap.config import Configuration
from pytest_proofmap.errors import ConfigurationError, EvidenceError, PromptError
from pytest_proofmap.evidence.fingerprint import configured_fingerprint, criterion_parts
from pytest_proofmap.evidence.models import Evidence
from pytest_proofmap.evidence.source import SourceFingerprints
from pytest_proofmap.runtime.prompts import PromptLibrary

__all__ = [
    "Change",
    "Claims",
    "EvidenceFingerprints",
    "Fingerprints",
    "Project",
    "changes",
    "claims_of_evidence",
    "claims_of_route",
    "way_out",
]

Part = Literal["source", "bar", "cases"]


class Change(NamedTuple):
    """A fingerprint that is no longer what it was."""

    kind: Literal["runtime", "prompt", "criterion"]
    name: str
    """Name of the runtime, the prompt variant or the criterion."""
    old: str
    new: str | None
    """None: it is no longer there."""
    part: Part | None = None
    """The part of a criterion's fingerprint that changed."""

    @property
    def text(self) -> str:
        """The change in words."""
        what = f"{self.kind} {self.name}"
        if self.new is None:
            return f"{what} is gone (was {self.old})"
        part = f" ({self.part})" if self.part else ""
        return f"{what} changed{part}: {self.old} → {self.new}"


class Claims(NamedTuple):
    """What some evidence or approval was about, by fingerprint."""

    runtimes: Mapping[str, str]
    prompts: Mapping[tuple[str, str], str]
    """By package and variant the first 12 digits of the file's hash."""
    criteria: Mapping[str, str]


class Fingerprints(Protocol):
    """The fingerprints that hold now."""

    def runtime(self, name: str) -> str | None:
        """Return a runtime's fingerprint; None when there is none of this name."""

    def prompt(self, name: str, variant: str) -> str | None:
        """Return the first 12 digits of a prompt variant's hash; None when it is gone."""

    def criterion(self, name: str) -> str | None:
        """Return a criterion's fingerprint, or those of its parts that are known; None when it is gone."""


class EvidenceFingerprints:
    """The fingerprints that evidence holds."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._criteria = {each.id: each.fingerprint for each in evidence.criteria}

    def runtime(self, name: str) -> str | None:
        """Return a runtime's fingerprint."""
        found = self._evidence.runtimes.get(name)
        return found.fingerprint if found else None

    def prompt(self, name: str, variant: str) -> str | None:
        """Return the first 12 digits of a prompt variant's hash."""
        found = self._evidence.prompts.get(name, {}).get(variant)
        return found.sha256[:12] if found else None

    def criterion(self, name: str) -> str | None:
        """Return a criterion's fingerprint."""
        return self._criteria.get(name)


class Project:
    """The fingerprints of a project's files, each computed once.

    Args:
        configuration: The project's configuration.
        criteria: Whole fingerprints of the criteria that were collected.
        collected_all: Whether every test was collected, so that any other criterion is gone. Else the source
            fingerprint of others is taken from their files.
    """

    def __init__(
        self,
        configuration: Configuration,
        criteria: Mapping[str, str] | None = None,
        *,
        collected_all: bool = False,
    ) -> None:
        self._configuration = configuration
        self._criteria = criteria or {}
        self._collected_all = collected_all
        self._sources = SourceFingerprints(configuration.rootdir)
        self._prompts = PromptLibrary(configuration.prompts_path, rootdir=configuration.rootdir)
        self._known: dict[str, str | None] = {}

    def runtime(self, name: str) -> str | None:
        """Return a runtime's fingerprint; None when it is not configured."""
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

    def criterion(self, name: str) -> str | None:
        """Return a criterion's fingerprint, its source part alone where it was not collected; None: it is gone."""
        if name in self._criteria or self._collected_all:
            return self._criteria.get(name)
        if name not in self._known:
            try:
                self._known[name] = f"source:{self._sources.of(name)}" if self._sources.defines(name) else None
            except EvidenceError:
                self._known[name] = None
        return self._known[name]


def claims_of_evidence(evidence: Evidence, objectives: Iterable[str]) -> Claims:
    """Return what the evidence on some objectives is about."""
    chosen = [each for each in evidence.objectives if each.name in set(objectives)]
    criteria = {each.id: each.fingerprint for each in evidence.criteria if each.objective in set(objectives)}
    runtimes = {name for each in chosen for name in (each.baseline, *each.challengers)}
    return Claims(
        {name: info.fingerprint for name, info in evidence.runtimes.items() if name in runtimes},
        {
            (name, variant): found.sha256[:12]
            for name, variants in evidence.prompts.items()
            for variant, found in variants.items()
        },
        criteria,
    )


def claims_of_route(route: Route, lock: Lock) -> Claims:
    """Return what a route was approved on."""
    prompts = {
        (lock.prompts[key].name, lock.prompts[key].variant): key.rpartition("@")[2] for key in route.prompts
    }
    runtimes = {lock.runtimes[key].name: key.rpartition("@")[2] for key in route.chain}
    return Claims(runtimes, prompts, route.criteria)


def changes(claims: Claims, present: Fingerprints) -> Iterator[Change]:
    """Yield every fingerprint that is no longer what was claimed."""
    for name, old in claims.runtimes.items():
        new = present.runtime(name)
        if new != old:
            yield Change("runtime", name, old, new)
    for (name, variant), old in claims.prompts.items():
        new = present.prompt(name, variant)
        if new != old:
            yield Change("prompt", name if variant == "default" else f"{name}.{variant}", old, new)
    for name, old in claims.criteria.items():
        new = present.criterion(name)
        if new is None:
            yield Change("criterion", name, old, None)
            continue
        before, after = _parts(old), _parts(new)
        for part in after:
            if before.get(part) != after[part]:
                yield Change("criterion", name, before.get(part, ""), after[part], part)


def way_out(route: str) -> str:
    """Return what to do about a route that no evidence can be approved for, as nothing evaluates its objective."""
    return f"mend or restore its tests, or approve what took its place and delete the route {route} from the lock"


def _parts(fingerprint: str) -> dict[Part, str]:
    """Return the parts of a criterion's fingerprint, ``source:…/bar:…/cases:…``."""
    found = criterion_parts(fingerprint)
    parts: tuple[Part, ...] = ("source", "bar", "cases")
    return {part: found[part] for part in parts if part in found}
