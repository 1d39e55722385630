"""The evidence that a command takes, and files that may be evidence or a lock, told apart by their schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_proofmap.commands.printing import say
from pytest_proofmap.commands.project import as_typed
from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.own_folder import EVIDENCE_FILE, PARTIAL_FILE

if TYPE_CHECKING:
    from pytest_proofmap.approve.models import Lock
    from pytest_proofmap.evidence.models import Evidence

__all__ = ["last_run", "last_whole_run", "read_decided", "read_evidence_or_lock"]

_HEAD_BYTES = 4096
LARGEST_BYTES = 64 * 2**20
"""How far a schema is looked for that does not stand first."""
_SCHEMA_FIRST = re.compile(rb'\s*\{\s*"schema"\s*:\s*"(?P<schema>[^"]*)"')
_LOCK, _EVIDENCE = "proofmap.lock/", "proofmap.evidence/"


def last_whole_run(rootdir: Path | None = None) -> Path:
    """Return the artifact of the last whole run, and say where that of a partial run is newer.

    Args:
        rootdir: The project's root; None: the one around the working directory.

    Raises:
        EvidenceError: There is none, but one of a partial run.
    """
    root = _rootdir() if rootdir is None else rootdir
    whole, partial = root / EVIDENCE_FILE, root / PARTIAL_FILE
    if not partial.exists() or (whole.exists() and _written(partial) <= _written(whole)):
        return whole
    why = _reasons(partial)
    if not whole.exists():
        raise EvidenceError(
            f"there is no whole evidence in {as_typed(whole)!r}, but that of a partial run in "
            f"{as_typed(partial)!r}{why}. "
            "Run all of it: pytest --proofmap; or give the partial one by name."
        )
    say(
        f"Note: this is the last whole run; a newer partial one is in {as_typed(partial)}{why}. "
        "Give it by name to see it.",
        err=True,
    )
    return whole


def last_run(rootdir: Path) -> Path:
    """Return the artifact of the last run, whole or partial."""
    written = [path for path in (rootdir / EVIDENCE_FILE, rootdir / PARTIAL_FILE) if path.exists()]
    return max(written, key=_written, default=rootdir / EVIDENCE_FILE)


def _rootdir() -> Path:
    """Return the project's root: with a configuration, or with evidence where there is none."""
    from pytest_proofmap.config import find_rootdir

    here = Path.cwd()
    root = find_rootdir(here)
    holding = (each for each in (root, *here.parents) if last_run(each).exists())
    return next(holding, root)


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns


def _reasons(path: Path) -> str:
    """Return in brackets why an artifact is incomplete, as far as it can be read."""
    from pytest_proofmap.evidence.stream import read_parts

    try:
        run = next(part.value for part in read_parts(path) if part.section == "run")
        reasons = "; ".join(map(str, run["incomplete_reasons"]))
    except (EvidenceError, StopIteration, LookupError, TypeError):
        return ""
    return f" ({reasons})" if reasons else ""


def read_evidence_or_lock(path: Path) -> Evidence | Lock:
    """Read an artifact, decided where it was not, or a lock.

    Raises:
        EvidenceError: The file is neither, or it is evidence that cannot be read or is one shard of a run.
        LockError: It is a lock that cannot be read or was edited by hand.
    """
    schema = _schema(path)
    if schema.startswith(_LOCK):
        from pytest_proofmap.approve.lock import read_lock

        return read_lock(path)
    if not schema.startswith(_EVIDENCE):
        raise EvidenceError(
            f"{str(path)!r} is neither evidence nor a lock: its schema is {schema!r}. Evidence is written by "
            "pytest --proofmap, a lock by proofmap approve."
        )
    return read_decided(path)


def read_decided(path: Path) -> Evidence:
    """Read an artifact, and decide on it by its own bars where it holds no verdicts.

    Raises:
        EvidenceError: It cannot be read, or is one shard of a run.
    """
    from pytest_proofmap.decide.decision import decide_evidence, is_decided
    from pytest_proofmap.evidence.artifact import read_evidence

    evidence = read_evidence(path)
    if evidence.run.shard:
        raise EvidenceError(
            f"{str(path)!r} is one shard of a run and has no verdicts of its own. Join all shards first: "
            "proofmap merge"
        )
    if not is_decided(evidence):
        return decide_evidence(evidence)
    return evidence


def _schema(path: Path) -> str:
    """Return the schema that a file names; of a large file mostly its beginning is read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            found = _SCHEMA_FIRST.match(head)
            content = head if found else head + file.read(LARGEST_BYTES)
    except OSError as error:
        raise EvidenceError(
            f"cannot read {str(path)!r}: {error.strerror or error}. Evidence is written by pytest --proofmap, a "
            "lock by proofmap approve."
        ) from None
    if found:
        return found["schema"].decode("utf-8", "replace")
    try:
        schema = json.loads(content).get("schema")
    except (ValueError, AttributeError, RecursionError):
        # Cut in half or with merge conflicts: what it meant to be is said by the reader of that kind.
        return _LOCK if _LOCK.encode() in content or path.suffix == ".lock" else _EVIDENCE
    return schema if isinstance(schema, str) else repr(schema)
