"""Where each recorded answer lies in its file.

Reading a file through takes some 30 microseconds a line, so the result is kept in a folder of ours and used
again while size, times and inode of the file are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from pytest_proofmap.errors import RecordingsError
from pytest_proofmap.limited_file import read_limited
from pytest_proofmap.own_folder import create_folder
from pytest_proofmap.runtime.recordings_file import read_recordings
from pytest_proofmap.runtime.request import KEY_SCHEMA
from pytest_proofmap.whole_file import write_whole

__all__ = ["Place", "places"]

_FORMAT = 1
LARGEST_INDEX = 2**30
_SETTLED_NS = 2_000_000_000
"""A file that changed less than this ago may change again within one tick of the file system's clock."""


class Place(NamedTuple):
    """Where one recorded answer lies in its file."""

    key: str
    offset: int
    length: int
    line: int


def places(file: Path, index_dir: Path | None = None) -> list[Place]:
    """Return the place of every answer of a file, from the kept index where it still holds.

    Raises:
        RecordingsError: The file cannot be read, or a line of it is not a recorded answer.
    """
    if index_dir is None:
        return _read_through(file)
    stamp = _stamp(file)
    path = os.path.abspath(file)
    kept = index_dir / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        head, *found = json.loads(read_limited(kept, LARGEST_INDEX, regular=True))
        if head == [_FORMAT, KEY_SCHEMA, path, stamp]:
            return [_checked(Place(*place), stamp[0]) for place in found]
    found = _read_through(file)
    if stamp == _stamp(file) and time.time_ns() - max(stamp[1:3]) > _SETTLED_NS:
        # The index saves time and nothing else: a folder that cannot be written is fine.
        with contextlib.suppress(OSError):
            create_folder(index_dir)
            with write_whole(kept, anywhere=True) as index:
                index.write(json.dumps([[_FORMAT, KEY_SCHEMA, path, stamp], *found]))
    return found


def _checked(place: Place, size: int) -> Place:
    """Return a place that may be one.

    Raises:
        ValueError: It lies outside of the file, or is none.
    """
    key, offset, length, line = place
    if type(key) is not str or not type(offset) is type(length) is type(line) is int:
        raise ValueError("not an index that was written here")
    if offset < 0 or length < 0 or offset + length > size:
        raise ValueError("the place of an answer lies outside of its file")
    return place


def _read_through(file: Path) -> list[Place]:
    return [Place(found.key, found.offset, found.length, found.line) for found in read_recordings(file)]


def _stamp(file: Path) -> list[int]:
    try:
        status = file.stat()
    except OSError as error:
        raise RecordingsError(
            f"{file}: this recordings file cannot be read ({error.strerror or error})."
        ) from error
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
