"""Reading and writing ``proofmap.lock``.

The file is JSON with sorted keys, one entry a line, so that approvals of different routes merge in git. A route's
digest covers the route and all that it names but prices: whatever was edited by hand is found.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pytest_proofmap.errors import LockError
from pytest_proofmap.files import FileTooLargeError, check_depth, read_limited, write_whole
from pytest_proofmap.lock.models import LOCK_SCHEMA, Lock, LockedPrompt, LockedRuntime, Route, route_parts
from pytest_proofmap.text import canonical_json

__all__ = ["broken_digests", "join", "parse_lock", "read_lock", "sides", "signed", "write_lock"]

LARGEST_BYTES = 64 * 2**20
"""No lock of reviewable size comes near it."""

_CONFLICT = re.compile(r"^(<{7}|\|{7}|={7}|>{7})( .*)?$")


def read_lock(path: Path) -> Lock:
    """Read a lock, and check that nobody edited its routes by hand.

    Raises:
        LockError: It cannot be read, is of another schema, has merge conflicts, or a digest does not match.
    """
    lock = parse_lock(read_text(path), str(path))
    for name in broken_digests(lock):
        raise LockError(
            f"{path}: the route {name!r} is not what was approved: its digest does not match. Undo the change, or "
            f"approve the route anew: proofmap approve EVIDENCE --objective {route_parts(name)[0]}"
        )
    return lock


def read_text(path: Path) -> str:
    """Read a lock's text.

    Raises:
        LockError: It cannot be read.
    """
    try:
        return read_limited(path, LARGEST_BYTES).decode("utf-8").replace("\r\n", "\n")
    except FileTooLargeError:
        raise LockError(f"{path} has more than {LARGEST_BYTES // 2**20} MB: that is no lock.") from None
    except OSError as error:
        raise LockError(
            f"cannot read the lock {str(path)!r}: {error.strerror or error}. "
            "Make one with: proofmap approve EVIDENCE"
        ) from None
    except UnicodeDecodeError:
        raise LockError(f"{path} is not UTF-8 text, so it is no lock. Take it from version control.") from None


def parse_lock(text: str, where: str) -> Lock:
    """Read a lock's text, whether or not its digests match.

    Args:
        text: The file's text.
        where: What to call the file in messages.

    Raises:
        LockError: It has merge conflicts, is not JSON or not of the schema.
    """
    if any(_CONFLICT.match(line) for line in text.splitlines()):
        raise LockError(
            f"{where} has merge conflicts. Approvals of different routes are joined by: proofmap approve --resolve"
        )
    try:
        content = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_each_key_once
        )
        check_depth(content)
        # Half a surrogate pair has no UTF-8 form, and what is shown of it is not what is there.
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise LockError(f"{where} is not JSON: {error}. Take it from version control.") from None
    if not isinstance(content, dict) or content.get("schema") != LOCK_SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else None
        raise LockError(
            f"{where} has the schema {found!r}; this version of ProofMap reads {LOCK_SCHEMA!r}. Use the version "
            "that wrote it, or approve anew."
        )
    try:
        lock = Lock.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise LockError(f"{where}: {place}: {problem['msg']}. Take the file from version control.") from None
    for name, route in lock.routes.items():
        _check_names(lock, name, route, where)
    return lock


def write_lock(path: Path, lock: Lock) -> None:
    """Write a lock whole, without entries that no route names.

    Raises:
        LockError: It cannot be written.
    """
    content = _pruned(lock).model_dump(mode="json", by_alias=True)
    try:
        with write_whole(path) as file:
            file.write(json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise LockError(f"cannot write the lock {str(path)!r}: {error.strerror or error}.") from None


def digest_of(name: str, route: Route, lock: Lock) -> str:
    """Return the digest of a route, its name and the entries that it names, less prices."""
    covered = {
        "name": name,
        "route": route.model_dump(mode="json", exclude={"digest"}),
        "runtimes": {key: lock.runtimes[key].model_dump(mode="json", exclude={"price"}) for key in route.chain},
        "prompts": {key: lock.prompts[key].model_dump(mode="json") for key in route.prompts},
    }
    return hashlib.sha256(canonical_json(covered).encode("utf-8", "surrogatepass")).hexdigest()


def signed(lock: Lock, names: Iterable[str]) -> Lock:
    """Return the lock with the digests of some routes made anew."""
    routes = {
        name: lock.routes[name].model_copy(update={"digest": digest_of(name, lock.routes[name], lock)})
        for name in names
    }
    return lock.model_copy(update={"routes": {**lock.routes, **routes}})


def broken_digests(lock: Lock) -> Iterator[str]:
    """Yield the names of the routes that are not what was approved."""
    for name, route in lock.routes.items():
        if digest_of(name, route, lock) != route.digest:
            yield name


def sides(text: str) -> tuple[str, str]:
    """Return both sides of a text with git's conflict markers.

    Raises:
        LockError: It has none, or not in their order.
    """
    ours: list[str] = []
    theirs: list[str] = []
    into: tuple[list[str], ...] = (ours, theirs)
    follows = {"": "<", "<": "|=", "|": "=", "=": ">", ">": "<"}
    last = ""
    for line in text.splitlines(keepends=True):
        marker = _CONFLICT.match(line.rstrip("\r\n"))
        if marker is None:
            for side in into:
                side.append(line)
            continue
        kind = marker.group(1)[0]
        if kind not in follows[last]:
            raise LockError(
                f"conflict marker {kind * 7!r} in a place where git writes none: mend the file by hand."
            )
        last = kind
        into = {"<": (ours,), "|": (), "=": (theirs,), ">": (ours, theirs)}[kind]
    if last != ">":
        raise LockError("there are no merge conflicts, or they are cut off: nothing to resolve.")
    return "".join(ours), "".join(theirs)


def join(ours: Lock, theirs: Lock, base: Lock | None = None) -> Lock:
    """Return both locks in one, each route as the side has it that changed it.

    Args:
        ours: One side.
        theirs: The other.
        base: What both come from. Without it a route that one side lacks counts as added by the other.

    Raises:
        LockError: Both sides changed a route, each in its own way: a person must say which was meant.
    """
    before = base.routes if base else {}
    routes = {}
    for name in sorted(ours.routes.keys() | theirs.routes.keys()):
        one, other, was = ours.routes.get(name), theirs.routes.get(name), before.get(name)
        if one not in (other, was) and other != was:
            raise LockError(
                f"both sides approved the route {name!r}, differently. Take one side (git checkout --ours or "
                "--theirs) and approve the other's evidence again."
            )
        taken = other if one == was else one
        if taken is not None:
            routes[name] = taken
    return Lock(
        runtimes={**ours.runtimes, **theirs.runtimes},
        prompts={**ours.prompts, **theirs.prompts},
        routes=routes,
    )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:20]!r} is too large")
    return number


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of two equal keys a reviewer may read the first, and JSON takes the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} comes twice in one object")
    return found


def _check_names(lock: Lock, name: str, route: Route, where: str) -> None:
    for kind, keys, entries in (
        ("runtimes", route.chain, lock.runtimes),
        ("prompts", route.prompts, lock.prompts),
    ):
        missing = [key for key in keys if key not in entries]
        if missing:
            raise LockError(
                f"{where}: the route {name!r} names {missing[0]!r}, which {kind!r} does not hold. Take the file "
                "from version control."
            )


def _pruned(lock: Lock) -> Lock:
    runtimes = {key for route in lock.routes.values() for key in route.chain}
    prompts = {key for route in lock.routes.values() for key in route.prompts}
    return lock.model_copy(
        update={"runtimes": _only(lock.runtimes, runtimes), "prompts": _only(lock.prompts, prompts)}
    )


def _only(entries: dict[str, Any], keys: Iterable[str]) -> dict[str, LockedRuntime] | dict[str, LockedPrompt]:
    return {key: entries[key] for key in sorted(keys)}
