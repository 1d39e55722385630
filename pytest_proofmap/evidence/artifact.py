"""Reading and writing the evidence artifact.

The samples and requests of a large run are written as they come, so that no second copy of them is held in
memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ValidationError

from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence.consistency import Sampled, find_inconsistency
from pytest_proofmap.evidence.models import (
    SCHEMA,
    Criterion,
    Evidence,
    Objective,
    RunInfo,
    RuntimeInfo,
    Totals,
)
from pytest_proofmap.limited_file import read_limited
from pytest_proofmap.whole_file import write_whole

__all__ = ["ArtifactParts", "artifact_sha256", "read_evidence", "write_evidence"]


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
