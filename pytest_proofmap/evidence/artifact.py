"""Reading and writing the evidence artifact, and other files that must be whole or not there.

The samples and requests of a large run are written as they come, so that no second copy of them is held in
memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ValidationError

from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence.models import SCHEMA, Criterion, Evidence, Objective, RunInfo, RuntimeInfo, Totals

__all__ = ["ArtifactParts", "claim_folder", "read_evidence", "write_evidence", "write_whole"]

CACHEDIR_TAG = """Signature: 8a477f597d28d172789f06886806bc55
# This folder was made by pytest-proofmap. It holds paid answers: deleting it costs money.
# For information about cache directory tags, see https://bford.info/cachedir/spec.html
"""


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


def write_evidence(path: Path, parts: ArtifactParts) -> None:
    """Write the artifact whole: a reader finds the old one or the new one, never half of one.

    Raises:
        OSError: The file cannot be written.
    """
    with write_whole(path) as file:
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
        text = path.read_bytes()
    except OSError as error:
        raise EvidenceError(
            f"cannot read the evidence {str(path)!r}: {error.strerror or error}. "
            "Make one with: pytest --proofmap"
        ) from None
    try:
        return Evidence.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the file"
        more = error.error_count() - 1
        others = f" ({more} more problems)" if more else ""
        raise EvidenceError(
            f"{str(path)!r} is not an artifact of the schema {SCHEMA!r}: {where}: {problem['msg']}{others}. "
            "Make a new one with: pytest --proofmap"
        ) from None


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[IO[str]]:
    """Open a text file that takes its place only when it was written to the end.

    Raises:
        OSError: The folder or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def claim_folder(folder: Path) -> None:
    """Make ProofMap's own folder, kept out of version control and of backups.

    Raises:
        OSError: The folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ((".gitignore", "*\n"), ("CACHEDIR.TAG", CACHEDIR_TAG)):
        file = folder / name
        if not file.exists():
            file.write_text(content, encoding="utf-8")


def _json(model: BaseModel) -> str:
    return model.model_dump_json(by_alias=True)


def _write_joined(file: IO[str], texts: Iterable[str]) -> None:
    separator = "\n"
    for text in texts:
        file.write(separator)
        file.write(text)
        separator = ",\n"
