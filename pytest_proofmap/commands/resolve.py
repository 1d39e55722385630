"""``proofmap approve --resolve``: the lock of a merge in which two branches approved different routes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from pytest_proofmap.approve.lock import broken_digests, join, parse_lock, read_text, sides, write_lock
from pytest_proofmap.approve.models import Lock
from pytest_proofmap.commands.git import ask_git
from pytest_proofmap.commands.project import as_typed
from pytest_proofmap.errors import LockError

__all__ = ["resolve_conflicts"]


class _Versions(NamedTuple):
    """The texts of a lock that a merge has to do with."""

    base: str | None
    """What both sides come from; None: neither had a lock, or it is not known."""
    ours: str
    theirs: str


def resolve_conflicts(path: Path, *, dry_run: bool) -> None:
    """Join both sides of a lock with merge conflicts.

    Raises:
        LockError: It has no conflicts, or both sides changed a route, each in its own way.
    """
    marked = _Versions(None, *sides(read_text(path)))
    staged = _staged(path)
    try:
        lock = _joined(staged or marked, path)
    except LockError as error:
        if staged is None:
            raise
        # Somebody may have mended by hand what cannot be joined, and left the rest.
        try:
            lock = _joined(marked, path)
        except LockError:
            raise error from None
    if dry_run:
        click.echo(f"both sides can be joined: {len(lock.routes)} routes; nothing was written (--dry-run)")
        return
    write_lock(path, lock)
    click.echo(f"joined both sides into {as_typed(path)}: {len(lock.routes)} routes")


def _staged(path: Path) -> _Versions | None:
    """Return the versions that git's index holds of a file in an unfinished merge.

    The text between conflict markers is not enough: git sets them around lines, so that what stands between them
    may be halves of two routes.
    """
    base, ours, theirs = (
        ask_git(path.parent, "cat-file", "blob", f":{stage}:./{path.name}") for stage in (1, 2, 3)
    )
    return None if ours is None or theirs is None else _Versions(base, ours, theirs)


def _joined(versions: _Versions, path: Path) -> Lock:
    """Return one lock of three.

    Raises:
        LockError: A side is no lock, both changed a route, or the outcome is not what was approved.
    """
    lock = join(
        parse_lock(versions.ours, f"our side of {path}"),
        parse_lock(versions.theirs, f"their side of {path}"),
        None if versions.base is None else parse_lock(versions.base, f"what both sides of {path} come from"),
    )
    for name in broken_digests(lock):
        raise LockError(f"{path}: joined, the route {name!r} is not what was approved. Approve it anew.")
    return lock
