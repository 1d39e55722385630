"""Joining the artifacts of the shards of one run.

Shards are read one after another, part by part. What stays in memory of a sample is a digest; its text goes
on to whoever asked for it. Everything that two shards both hold must agree: a conflict is an error that names
both files.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence.ages import AnswerAge
from pytest_proofmap.evidence.artifact import (
    SOURCE_RANK,
    Charge,
    Part,
    Sampled,
    find_inconsistency,
    read_parts,
    total,
)
from pytest_proofmap.evidence.models import (
    SCHEMA,
    Criterion,
    Evidence,
    GitState,
    Objective,
    PromptVariant,
    RunInfo,
    RuntimeInfo,
    Sample,
    Totals,
)

__all__ = ["ShardMerger"]

MOST_MISSING = 1_000_000
"""How many absent samples are counted: a bar may claim any number of them."""

FINGERPRINT_PARTS = {"source": "the test's source", "bar": "its bar", "cases": "its cases"}


class MergedSample(NamedTuple):
    """A sample that no shard before held."""

    sample: Sample
    text: str
    """Its JSON, in one line."""
    repeated: bool
    """Whether its criterion is, or may be, sampled more than once a case."""


@dataclass(slots=True)
class ShardMerger:
    """Joins shards: exhaust :meth:`samples`, then ask for the rest.

    Args:
        paths: The artifacts, in the order in which their samples are wanted.
    """

    paths: Sequence[Path]
    warnings: list[str] = field(default_factory=list)
    """What a reader of the result must know."""
    runs: list[RunInfo] = field(default_factory=list)
    runtimes: dict[str, RuntimeInfo] = field(default_factory=dict)
    prompts: dict[str, dict[str, PromptVariant]] = field(default_factory=dict)
    _criteria: dict[str, Criterion] = field(default_factory=dict)
    _objectives: dict[str, Objective] = field(default_factory=dict)
    _from: dict[tuple[str, ...], int] = field(default_factory=dict)
    """Number of the file that something was first found in."""
    _requests: dict[bytes, bytes] = field(default_factory=dict)
    """By digest of the key: digest of the content, and number of the file."""
    _new_requests: list[tuple[str, str]] = field(default_factory=list)
    _seen: dict[bytes, bytes] = field(default_factory=dict)
    """By digest of the sample's identity: digest of what it says, and number of the file."""
    _sampled: Sampled = field(default_factory=Sampled)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _charges: dict[bytes, Charge] = field(default_factory=dict)
    _spent_usd: float = 0.0
    _over_budget: int = 0

    def samples(self) -> Iterator[MergedSample]:
        """Yield the samples of all shards, each once.

        Raises:
            EvidenceError: A file is no artifact, or two files disagree.
        """
        for number, path in enumerate(self.paths):
            yield from self._read(number, path)
        problem = find_inconsistency(self.objectives(), self.criteria(), self.runtimes, self._sampled)
        if problem is not None:
            names = ", ".join(str(path) for path in self.paths)
            raise EvidenceError(f"{names}: together they contradict themselves: {problem}.")
        if not any(run.shard for run in self.runs):
            self.warnings.append(
                "none of the files is a shard (--proofmap-shard): each run has decided for itself before"
            )

    def take_requests(self) -> list[tuple[str, str]]:
        """Return key and JSON of the requests that were found since the last call."""
        found, self._new_requests = self._new_requests, []
        return found

    def criteria(self) -> list[Criterion]:
        """Return the criteria, undecided."""
        return list(self._criteria.values())

    def objectives(self) -> list[Objective]:
        """Return the objectives, undecided."""
        return list(self._objectives.values())

    def totals(self) -> Totals:
        """Return the totals over distinct requests; what each shard paid was paid."""
        return total(self._charges.values()).model_copy(update={"spent_usd": self._spent_usd})

    def ages(self) -> Iterator[AnswerAge]:
        """Yield when the distinct answers were made."""
        for charge in self._charges.values():
            if charge.age is not None:
                yield AnswerAge(*charge.age)

    def run(self, *, strict: bool) -> RunInfo:
        """Return what the joined run was.

        Args:
            strict: Whether every challenger is to qualify.
        """
        reasons = list(self._missing())
        if self._over_budget:
            reasons.append(f"{self._over_budget} samples were not called because the budget was used up")
        first = self.runs[0]
        litellm = next((run.versions.litellm for run in self.runs if run.versions.litellm), None)
        others = {name: model for run in self.runs for name, model in (run.other_runtimes or {}).items()}
        others = {name: model for name, model in others.items() if name not in self.runtimes}
        return RunInfo(
            id=uuid.uuid4().hex,
            started_at=min(run.started_at for run in self.runs),
            finished_at=max(run.finished_at for run in self.runs),
            versions=first.versions.model_copy(update={"litellm": litellm}),
            git=self._git(),
            complete=not reasons,
            incomplete_reasons=reasons,
            strict=strict,
            texts_left_out=any(run.texts_left_out for run in self.runs),
            other_runtimes=others or None,
            max_age_days=first.max_age_days,
        )

    def _read(self, number: int, path: Path) -> Iterator[MergedSample]:
        head: dict[str, Any] = {}
        before = self._spent_usd
        single: set[str] = set()
        for part in read_parts(path):
            if part.section == "samples":
                sample = _sample(path, part)
                self._sampled.add(sample)
                if self._is_new(number, sample):
                    yield MergedSample(sample, _one_line(part), sample.criterion not in single)
            elif part.section == "requests" and part.key is not None:
                self._add_request(number, part)
            else:
                head[part.section] = part.value
                if part.section == "criteria":
                    single = _sampled_once(path, part)
        shard = _head(path, head)
        self._spent_usd = before + shard.totals.spent_usd
        self._add_run(number, shard.run)
        for name, runtime in shard.runtimes.items():
            self._unite(number, self.runtimes, runtime, "runtime", name)
        for package, variants in shard.prompts.items():
            known = self.prompts.setdefault(package, {})
            for variant, prompt in variants.items():
                self._unite(number, known, prompt, "prompt", package, variant)
        for criterion in shard.criteria:
            self._add_criterion(number, criterion)
        for objective in shard.objectives:
            self._add_objective(number, objective)

    def _is_new(self, number: int, sample: Sample) -> bool:
        """Take in a sample; return whether it is the first of its kind."""
        for call in sample.calls:
            age = (call.runtime or sample.runtime, call.model or "", call.made_at) if call.made_at else None
            charge = Charge("", call.source, call.cost_usd, call.error is None, call.runtime, age)
            key = _digest(call.key)
            known = self._charges.get(key)
            if known is None or SOURCE_RANK[charge.source] < SOURCE_RANK[known.source]:
                self._charges[key] = charge
        identity = _identity(sample.criterion, sample.case, sample.runtime, sample.sample)
        digest = _digest([sample.outcome, [_content(call) for call in sample.calls]])
        if identity in self._seen and _file_of(self._seen[identity]) == number:
            raise EvidenceError(
                f"{str(self.paths[number])!r} contradicts itself: it holds sample {sample.sample} of case "
                f"{sample.case!r} of {sample.criterion} on {sample.runtime} twice. Make a new one with: pytest "
                "--proofmap"
            )
        first = _first_file(self._seen, identity, digest, number)
        if first is None:
            raise EvidenceError(
                f"{self._files(_file_of(self._seen[identity]), number)} disagree: the sample of case "
                f"{sample.case!r} of {sample.criterion} on {sample.runtime} has another outcome or answer in "
                "each. Shards of one run hold a sample once, or share a cache (cache_url, recordings) so that "
                "they repeat one answer. Leave one of the two files out."
            )
        if first != number:
            return False
        self._counts[sample.criterion, sample.runtime] += 1
        self._over_budget += any(call.error and call.error.class_ == "BudgetError" for call in sample.calls)
        return True

    def _add_request(self, number: int, part: Part) -> None:
        assert part.key is not None
        digest = _digest(part.value)
        key = _digest(part.key)
        first = _first_file(self._requests, key, digest, number)
        if first is None:
            raise self._conflict(_file_of(self._requests[key]), number, f"the request {part.key[:12]}")
        if first == number:
            self._new_requests.append((part.key, _one_line(part)))

    def _add_run(self, number: int, run: RunInfo) -> None:
        for other, known in enumerate(self.runs):
            if known.id == run.id:
                raise EvidenceError(
                    f"{self._files(other, number)} are the same run ({run.id}). Give each shard once."
                )
        self.runs.append(run)

    def _add_criterion(self, number: int, criterion: Criterion) -> None:
        known = self._criteria.get(criterion.id)
        if known is None:
            self._criteria[criterion.id] = criterion.model_copy(
                update={"cells": [], "attribution": [], "broken": None}
            )
            self._from["criterion", criterion.id] = number
            return
        first = self._from["criterion", criterion.id]
        if known.fingerprint != criterion.fingerprint:
            raise EvidenceError(
                f"{self._files(first, number)} disagree on {criterion.id}: {_differences(known, criterion)}. "
                "Shards of one run have the same tests: run them on one commit."
            )
        same = ("objective", "bar", "collected", "challengers")
        differing = [name for name in same if getattr(known, name) != getattr(criterion, name)]
        if differing:
            raise self._conflict(first, number, f"{', '.join(differing)} of {criterion.id}")

    def _add_objective(self, number: int, objective: Objective) -> None:
        known = self._objectives.get(objective.name)
        if known is None:
            self._objectives[objective.name] = objective.model_copy(update={"verdicts": [], "recommendations": []})
            self._from["objective", objective.name] = number
            return
        same = ("baseline", "optimize", "p95_latency_s", "max_cost_per_1k_usd")
        differing = [name for name in same if getattr(known, name) != getattr(objective, name)]
        if differing:
            first = self._from["objective", objective.name]
            raise self._conflict(first, number, f"{', '.join(differing)} of the objective {objective.name!r}")
        self._objectives[objective.name] = known.model_copy(
            update={
                "challengers": list(dict.fromkeys([*known.challengers, *objective.challengers])),
                "criteria": list(dict.fromkeys([*known.criteria, *objective.criteria])),
                "sensitive": known.sensitive or objective.sensitive,
            }
        )

    def _unite(self, number: int, known: dict[str, Any], found: object, kind: str, *names: str) -> None:
        """Add what a file holds under the last name, or check that it is what is known."""
        if known.setdefault(names[-1], found) != found:
            raise self._conflict(self._from[(kind, *names)], number, f"the {kind} {'.'.join(names)!r}")
        self._from.setdefault((kind, *names), number)

    def _missing(self) -> Iterator[str]:
        """Yield, per criterion, which collected samples no shard holds."""
        for criterion in self._criteria.values():
            objective = self._objectives.get(criterion.objective)
            if objective is None:
                continue
            runtimes = (objective.baseline, *(criterion.challengers or objective.challengers))
            expected = len(criterion.collected) * criterion.bar.samples
            for runtime in runtimes:
                if self._counts[criterion.id, runtime] < expected:
                    missing = list(islice(self._absent(criterion, runtime), MOST_MISSING))
                    if missing:
                        yield (
                            f"{criterion.id}: {len(missing)} of {expected} samples on {runtime} are in none of "
                            f"the files, such as case {missing[0]!r}"
                        )

    def _absent(self, criterion: Criterion, runtime: str) -> Iterator[str]:
        for case in criterion.collected:
            for sample in range(criterion.bar.samples):
                if _identity(criterion.id, case, runtime, sample) not in self._seen:
                    yield case

    def _git(self) -> GitState | None:
        states = [run.git for run in self.runs]
        commits = {state.commit if state else None for state in states}
        if len(commits) > 1:
            named = ", ".join(sorted(commit[:12] if commit else "none" for commit in commits))
            self.warnings.append(f"the shards were made on different commits: {named}")
            return None
        first = states[0]
        return first and GitState(commit=first.commit, dirty=any(state.dirty for state in states if state))

    def _files(self, first: int, second: int) -> str:
        return f"{str(self.paths[first])!r} and {str(self.paths[second])!r}"

    def _conflict(self, first: int, second: int, what: str) -> EvidenceError:
        return EvidenceError(
            f"{self._files(first, second)} disagree on {what}. Shards of one run have one configuration, the "
            "same prompts and the same tests: run them on one commit."
        )


def _sample(path: Path, part: Part) -> Sample:
    try:
        return Sample.model_validate(part.value)
    except ValidationError as error:
        raise _unreadable(path, error, "samples") from None


def _one_line(part: Part) -> str:
    return part.text if "\n" not in part.text else json.dumps(part.value, ensure_ascii=False)


def _sampled_once(path: Path, part: Part) -> set[str]:
    """Return the criteria that are sampled once a case."""
    try:
        criteria = TypeAdapter(list[Criterion]).validate_python(part.value)
    except ValidationError as error:
        raise _unreadable(path, error, "criteria") from None
    return {criterion.id for criterion in criteria if criterion.bar.samples == 1}


def _head(path: Path, parts: dict[str, Any]) -> Evidence:
    """Return an artifact without its requests and samples."""
    try:
        json.dumps(parts, ensure_ascii=False, allow_nan=False).encode()
        return Evidence.model_validate({"samples": [], **parts, "requests": {}})
    except ValidationError as error:
        raise _unreadable(path, error) from None
    except (ValueError, RecursionError) as error:
        # Half a surrogate pair, a number that is none, endless depth: it could not be written again.
        raise EvidenceError(
            f"{str(path)!r} is not an artifact of the schema {SCHEMA!r}: {error}. "
            "Make a new one with: pytest --proofmap"
        ) from None


def _unreadable(path: Path, error: ValidationError, *where: str) -> EvidenceError:
    problem = error.errors()[0]
    place = ".".join([*where, *(str(part) for part in problem["loc"])]) or "the file"
    return EvidenceError(
        f"{str(path)!r} is not an artifact of the schema {SCHEMA!r}: {place}: {problem['msg']}. "
        "Make a new one with: pytest --proofmap"
    )


def _differences(known: Criterion, criterion: Criterion) -> str:
    """Return which parts of two fingerprints differ, in words."""
    before, after = known.fingerprint.split("/"), criterion.fingerprint.split("/")
    differing = [
        FINGERPRINT_PARTS.get(name, name)
        for (name, _, was), (_, _, now) in zip(_split(before), _split(after), strict=False)
        if was != now
    ]
    return f"{' and '.join(differing) or 'its fingerprint'} is not the same"


def _split(parts: Iterable[str]) -> list[tuple[str, str, str]]:
    return [part.partition(":") for part in parts]


def _content(call: Any) -> list[Any]:
    """Return what two samples of one shard each must share: what was asked, and what was answered."""
    return [call.key, call.text, call.tool_calls, call.finish_reason, call.error and call.error.class_]


def _identity(criterion: str, case: str, runtime: str, sample: int) -> bytes:
    return _digest([criterion, case, runtime, sample])


def _first_file(known: dict[bytes, bytes], key: bytes, digest: bytes, number: int) -> int | None:
    """Return the file that something was first found in, or None when it said something else there."""
    # One bytes object for both: there may be millions.
    found = known.setdefault(key, digest + number.to_bytes(2, "big"))
    return _file_of(found) if found[:-2] == digest else None


def _file_of(found: bytes) -> int:
    return int.from_bytes(found[-2:], "big")


def _digest(content: object) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=12).digest()
