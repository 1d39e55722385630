"""Reading and writing the evidence artifact, its totals, and whether its parts name each other rightly.

The samples and requests of a large run are written as they come, and read part by part, so that no second copy of
them is held in memory.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

from pydantic import BaseModel, ValidationError

from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence.models import (
    SCHEMA,
    AuxiliaryTotals,
    Criterion,
    Evidence,
    Objective,
    RunInfo,
    RuntimeInfo,
    Sample,
    Source,
    Totals,
)
from pytest_proofmap.files import read_limited, write_whole

__all__ = [
    "SOURCE_RANK",
    "ArtifactParts",
    "Charge",
    "Part",
    "Sampled",
    "artifact_sha256",
    "criteria_of_whole_run",
    "find_inconsistency",
    "read_evidence",
    "read_parts",
    "total",
    "write_evidence",
]


CHUNK = 1 << 20
"""Characters that are read at once."""

LARGE = {"requests": "{}", "samples": "[]"}
"""The sections that come element by element, with what encloses them."""


class Part(NamedTuple):
    """A section of an artifact, or one element of a large section."""

    section: str
    key: str | None
    """Key of a request; None elsewhere."""
    value: Any
    text: str
    """The value as it is written in the file."""


def read_parts(path: Path) -> Iterator[Part]:
    """Yield the parts of an artifact in the order of the file.

    Raises:
        EvidenceError: The file is not there or not a JSON object.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogatepass") as file:
            yield from _sections(_Scanner(file))
    except OSError as error:
        raise EvidenceError(
            f"cannot read the evidence {str(path)!r}: {error.strerror or error}. Make one with: pytest --proofmap"
        ) from None
    except (ValueError, RecursionError) as error:
        raise EvidenceError(
            f"{str(path)!r} is not an artifact of the schema {SCHEMA!r}: {error}. "
            "Make a new one with: pytest --proofmap"
        ) from None


def criteria_of_whole_run(path: Path) -> frozenset[str]:
    """Return the ids of the criteria of an artifact; none where it is not the whole evidence of a run.

    What stands behind the criteria, the samples above all, is not read.
    """
    try:
        for part in read_parts(path):
            if part.section == "run" and not part.value["complete"]:
                break
            if part.section == "criteria":
                return frozenset(str(criterion["id"]) for criterion in part.value)
    except (EvidenceError, LookupError, TypeError):
        pass  # What cannot be read is no evidence.
    return frozenset()


def _sections(scanner: _Scanner) -> Iterator[Part]:
    for section in scanner.members():
        enclosed = LARGE.get(section)
        if enclosed is None or scanner.peek() != enclosed[0]:
            yield Part(section, None, *scanner.value())
        elif section == "requests":
            for key in scanner.members():
                yield Part(section, key, *scanner.value())
        else:
            for _ in scanner.elements():
                yield Part(section, None, *scanner.value())
    if scanner.peek():
        raise ValueError("there is more after the end of the object")


class _Scanner:
    """Walks over JSON text that is read as it goes."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._place = 0
        self._ended = False

    def members(self) -> Iterator[str]:
        """Yield the keys of the object that starts here, each time standing at its value."""
        for _ in self.elements("{}"):
            key, _ = self.value()
            if not isinstance(key, str):
                raise ValueError("the key of an object is not a string")
            self._take(":")
            yield key

    def elements(self, enclosed: str = "[]") -> Iterator[None]:
        """Yield at each element of the array that starts here."""
        self._take(enclosed[0])
        if self.peek() != enclosed[1]:
            while True:
                yield
                if self.peek() != ",":
                    break
                self._take(",")
        self._take(enclosed[1])

    def value(self) -> tuple[Any, str]:
        """Return the value that starts here and its text."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError:
                if self._ended:
                    raise
            else:
                # A number that ends with the text may go on in what is not read yet.
                if end < len(self._text) or self._ended:
                    text = self._text[self._place : end]
                    self._place = end
                    return value, text
            self._read()

    def peek(self) -> str:
        """Return the next character that is no white space; empty at the end."""
        while True:
            while self._place < len(self._text):
                if self._text[self._place] not in " \t\r\n":
                    return self._text[self._place]
                self._place += 1
            if self._ended:
                return ""
            self._read()

    def _take(self, character: str) -> None:
        found = self.peek()
        if found != character:
            raise ValueError(f"expected {character!r} and found {found!r}" if found else "the file ends early")
        self._place += 1

    def _read(self) -> None:
        rest = self._text[self._place :]
        # Doubling keeps a value that is larger than a chunk from being parsed over and over.
        more = self._file.read(max(CHUNK, len(rest)))
        self._ended = not more
        self._text = rest + more
        self._place = 0


SOURCE_RANK: dict[Source, int] = {"live": 0, "cache": 1, "recording": 2}
"""Of several sources of one answer the lowest counts: what was paid was paid."""


class Charge(NamedTuple):
    """What one distinct request cost and where its answer came from."""

    key: str
    source: Source
    cost_usd: float | None
    answered: bool
    auxiliary: str | None = None
    """Name of the runtime of an auxiliary call; None for the runtime under test."""
    age: tuple[str, str, str] | None = None
    """Runtime, served model and time of the answer (:class:`pytest_proofmap.evidence.ages.AnswerAge`)."""
    hooked: bool = False
    """Whether the project's own client gave the answer."""


def total(charges: Iterable[Charge]) -> Totals:
    """Return the totals over distinct requests."""
    counts: dict[Source, int] = {"live": 0, "cache": 0, "recording": 0}
    spent = listed = 0.0
    unpriced = calls = 0
    auxiliary: dict[str, AuxiliaryTotals] = {}
    for charge in charges:
        calls += 1
        if charge.auxiliary is not None:
            known = auxiliary.get(charge.auxiliary, AuxiliaryTotals(calls=0, list_usd=0.0))
            auxiliary[charge.auxiliary] = AuxiliaryTotals(
                calls=known.calls + 1,
                list_usd=known.list_usd + (charge.cost_usd or 0.0),
                unpriced=known.unpriced + (charge.answered and charge.cost_usd is None),
            )
        if not charge.answered:
            continue
        counts[charge.source] += 1
        if charge.cost_usd is None:
            unpriced += 1
            continue
        listed += charge.cost_usd
        if charge.source == "live":
            spent += charge.cost_usd
    return Totals(
        calls=calls,
        live=counts["live"],
        cached=counts["cache"],
        recorded=counts["recording"],
        spent_usd=spent,
        list_usd=listed,
        unpriced=unpriced,
        auxiliary=dict(sorted(auxiliary.items())),
    )


@dataclass(slots=True)
class Sampled:
    """What samples are of: no more than must be remembered of millions of them."""

    runtimes: set[tuple[str, str]] = field(default_factory=set)
    """Criterion and runtime."""
    cases: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Cases by criterion."""
    last: dict[str, int] = field(default_factory=dict)
    """The highest number of a sample, by criterion."""

    def add(self, sample: Sample) -> None:
        """Take in a sample."""
        criterion = sys.intern(sample.criterion)
        self.runtimes.add((criterion, sys.intern(sample.runtime)))
        self.cases[criterion].add(sys.intern(sample.case))
        self.last[criterion] = max(sample.sample, self.last.get(criterion, 0))


class _Reference(NamedTuple):
    place: str
    name: str


def find_inconsistency(
    objectives: Sequence[Objective],
    criteria: Sequence[Criterion],
    runtimes: Collection[str],
    sampled: Sampled,
) -> str | None:
    """Return what a part of some evidence names that is not there, or what is there twice; None if all is well.

    Args:
        objectives: The objectives.
        criteria: The criteria.
        runtimes: Names of the runtimes.
        sampled: What the samples are of.
    """
    names, ids = [objective.name for objective in objectives], [criterion.id for criterion in criteria]
    for kind, found in (("objective", names), ("criterion", ids)):
        if len(set(found)) < len(found):
            return f"the {kind} {next(name for name in found if found.count(name) > 1)!r} is there twice"
    # Without criteria nothing is decided, and the samples are read for their calls alone.
    seen = sorted(sampled.runtimes) if criteria else []
    owners = (_Reference(f"criterion {criterion.id!r}", criterion.objective) for criterion in criteria)
    tested = (_Reference("a sample", criterion) for criterion, _ in seen)
    used = (_Reference("a sample", runtime) for _, runtime in seen)
    checks: tuple[tuple[str, Collection[str], Iterable[_Reference]], ...] = (
        ("objective", set(names), owners),
        ("criterion", set(ids), chain(_criteria_named(objectives), tested)),
        ("runtime", set(runtimes), chain(_runtimes_named(objectives, criteria), used)),
    )
    for kind, known, references in checks:
        for reference in references:
            if reference.name not in known:
                return f"{reference.place} names the {kind} {reference.name!r}, which is not there"
    return _strayed(objectives, criteria) or _outsider(objectives, criteria) or _never_collected(criteria, sampled)


def _never_collected(criteria: Iterable[Criterion], sampled: Sampled) -> str | None:
    """Return a sample that no run of a criterion's collected cases can hold: it would be counted all the same."""
    for criterion in criteria:
        phantoms = sampled.cases[criterion.id].difference(criterion.collected)
        if phantoms:
            more = f" and {len(phantoms) - 1} more" if len(phantoms) > 1 else ""
            return (
                f"a sample is of the case {min(phantoms)!r}{more} of {criterion.id!r}, which was not among its "
                f"{len(criterion.collected)} collected cases"
            )
        if sampled.last.get(criterion.id, 0) >= criterion.bar.samples:
            return (
                f"a sample of {criterion.id!r} has the number {sampled.last[criterion.id]}, where each case is "
                f"sampled {criterion.bar.samples} times, counted from 0"
            )
    return None


def _outsider(objectives: Iterable[Objective], criteria: Sequence[Criterion]) -> str | None:
    """Return what verdicts, recommendations or criteria say of a runtime that their objective does not have."""
    for objective in objectives:
        members = {objective.baseline, *objective.challengers}
        own = [criterion for criterion in criteria if criterion.objective == objective.name]
        named = {verdict.runtime for verdict in objective.verdicts}
        named |= {name for recommendation in objective.recommendations for name in recommendation.chain}
        named |= {
            name
            for criterion in own
            for name in (*criterion.challengers, *(cell.runtime for cell in criterion.cells))
        }
        if named - members:
            return (
                f"objective {objective.name!r} speaks of {min(named - members)!r}, which is not among its runtimes"
            )
    return None


def _strayed(objectives: Iterable[Objective], criteria: Iterable[Criterion]) -> str | None:
    """Return a criterion that its objective does not list, or the reverse."""
    listed = {(objective.name, criterion) for objective in objectives for criterion in objective.criteria}
    owned = {(criterion.objective, criterion.id) for criterion in criteria}
    stray = next(iter(sorted(listed ^ owned)), None)
    return (
        None if stray is None else f"objective {stray[0]!r} and criterion {stray[1]!r} do not both name each other"
    )


def _criteria_named(objectives: Iterable[Objective]) -> Iterator[_Reference]:
    for objective in objectives:
        for name in objective.criteria:
            yield _Reference(f"objective {objective.name!r}", name)


def _runtimes_named(objectives: Iterable[Objective], criteria: Iterable[Criterion]) -> Iterator[_Reference]:
    for objective in objectives:
        chains = (name for recommendation in objective.recommendations for name in recommendation.chain)
        verdicts = (verdict.runtime for verdict in objective.verdicts)
        for name in (objective.baseline, *objective.challengers, *verdicts, *chains):
            yield _Reference(f"objective {objective.name!r}", name)
    for criterion in criteria:
        for name in (*criterion.challengers, *(cell.runtime for cell in criterion.cells)):
            yield _Reference(f"criterion {criterion.id!r}", name)


LARGEST_BYTES = 512 * 2**20
"""Of an artifact that is read as a whole."""


@dataclass(frozen=True, slots=True)
class ArtifactParts:
    """The parts of an artifact, the large ones as JSON texts that are read once."""

    run: RunInfo
    runtimes: dict[str, RuntimeInfo]
    prompts_json: str
    requests: Iterable[tuple[str, str]]
    """Key and JSON text of each request."""
    objectives: list[Objective]
    criteria: list[Criterion]
    samples: Iterable[str]
    """JSON text of each sample."""
    totals: Totals


def write_evidence(path: Path, parts: ArtifactParts, written: Callable[[Path], None] | None = None) -> None:
    """Write the artifact whole: a reader finds the old one or the new one, never half of one.

    Args:
        path: The artifact's file.
        parts: What it holds.
        written: Is given the whole file before it takes its place.

    Raises:
        OSError: The file cannot be written.
    """
    with write_whole(path, written) as file:
        file.write(f'{{"schema": "{SCHEMA}",\n"run": {_json(parts.run)},\n"runtimes": {{')
        _write_joined(file, (f"{json.dumps(name)}: {_json(info)}" for name, info in parts.runtimes.items()))
        file.write(f'}},\n"prompts": {parts.prompts_json},\n"requests": {{')
        _write_joined(file, (f"{json.dumps(key)}: {text}" for key, text in parts.requests))
        file.write('},\n"objectives": [')
        _write_joined(file, map(_json, parts.objectives))
        file.write('],\n"criteria": [')
        _write_joined(file, map(_json, parts.criteria))
        file.write('],\n"samples": [')
        _write_joined(file, parts.samples)
        file.write(f'],\n"totals": {_json(parts.totals)}}}\n')


def read_evidence(path: Path) -> Evidence:
    """Read an artifact.

    Raises:
        EvidenceError: The file is not there, not JSON, or not of the schema.
    """
    try:
        text = read_limited(path, LARGEST_BYTES)
    except OSError as error:
        raise EvidenceError(
            f"cannot read the evidence {str(path)!r}: {error.strerror or error}. Make one with: pytest --proofmap"
        ) from None
    try:
        evidence = Evidence.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the file"
        more = error.error_count() - 1
        others = f" ({more} more problems)" if more else ""
        raise EvidenceError(
            f"{str(path)!r} is not an artifact of the schema {SCHEMA!r}: {where}: {problem['msg']}{others}. "
            "Make a new one with: pytest --proofmap"
        ) from None
    sampled = Sampled()
    for sample in evidence.samples:
        sampled.add(sample)
    problem_found = find_inconsistency(
        evidence.objectives, evidence.criteria, evidence.runtimes, sampled
    ) or _sampled_twice(evidence)
    if problem_found is not None:
        raise EvidenceError(
            f"{str(path)!r} contradicts itself: {problem_found}. Make a new one with: pytest --proofmap"
        )
    return evidence


def _sampled_twice(evidence: Evidence) -> str | None:
    """Return a sample that is there twice: it would count twice."""
    seen = set()
    for sample in evidence.samples if evidence.criteria else ():
        identity = (sample.criterion, sample.case, sample.runtime, sample.sample)
        if identity in seen:
            of = f"case {sample.case!r} of {sample.criterion!r} on {sample.runtime!r}"
            return f"sample {sample.sample} of {of} is there twice"
        seen.add(identity)
    return None


def artifact_sha256(path: Path) -> str:
    """Return the SHA-256 of an artifact's file, in hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _json(model: BaseModel) -> str:
    return model.model_dump_json(by_alias=True)


def _write_joined(file: IO[str], texts: Iterable[str]) -> None:
    separator = "\n"
    for text in texts:
        file.write(separator + text)
        separator = ",\n"
