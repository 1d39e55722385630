"""Recorded answers that are committed with the project, read-only: JSON Lines, UTF-8, one answer a line.

Each line holds the whole request. Keys are computed from it, so that no change of the key's schema makes a
recording useless. Only the place of each answer stays in memory. Reading a file through takes some 30 microseconds
a line, so the places are kept in a folder of ours and used again while size, times and inode of the file are
the same.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.request import KEY_SCHEMA, Request
from pytest_proofmap.errors import RecordingsError
from pytest_proofmap.files import create_folder, read_limited, write_whole
from pytest_proofmap.text import canonical_json

__all__ = ["Recordings", "find_recordings", "read_recordings", "same_answer", "write_recordings"]


LONGEST_LINE = 256 * 2**20
"""Longest line that is read, in bytes: messages may hold pictures."""

_CONFLICT_MARKERS = (b"<<<<<<<", b"|||||||", b"=======", b">>>>>>>")


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded answer and where it lies."""

    key: str
    """Computed from the recorded request."""
    answer: Answer
    file: Path
    line: int
    """Number of the line, from 1."""
    offset: int
    """Where the line starts, in bytes."""
    length: int
    """Length of the line in bytes."""


def read_recordings(file: Path) -> Iterator[Recording]:
    """Yield the answers of a file in order, whether or not a key comes twice.

    Raises:
        RecordingsError: The file cannot be read, or a line is not a recorded answer.
    """
    offset = 0
    try:
        # Bytes, because text would also be split at characters such as U+2028 inside of an answer.
        with open(file, "rb") as lines:
            for number in itertools.count(1):
                line = lines.readline(LONGEST_LINE + 1)
                if not line:
                    break
                if len(line) > LONGEST_LINE:
                    raise RecordingsError(
                        f"{file}, line {number}: the line is longer than {LONGEST_LINE // 2**20} MB: that is no "
                        "recorded answer. Restore the file, or delete the line."
                    )
                if not line.isspace():
                    key, answer = _parse(file, number, line)
                    yield Recording(key, answer, file, number, offset, len(line))
                offset += len(line)
    except OSError as error:
        raise RecordingsError(
            f"{file}: this recordings file cannot be read ({error.strerror or error})."
        ) from error


def write_recordings(path: Path, answers: Iterable[Answer]) -> None:
    """Write a recordings file whole, in an order that the answers' requests alone decide.

    Model, first user message, remaining request and sample decide the order, so that a new case or a new
    answer changes few lines.

    Raises:
        RecordingsError: The file cannot be written.
    """
    lines = sorted(((_order(answer.request), answer) for answer in answers), key=lambda pair: pair[0])
    try:
        with write_whole(path) as file:
            file.writelines(answer._replace(run=None, lane=None).to_json() + "\n" for _, answer in lines)
    except OSError as error:
        raise RecordingsError(
            f"{path}: the recordings cannot be written ({error.strerror or error}); nothing was changed."
        ) from error


def same_answer(answer: Answer, other: Answer) -> bool:
    """Return whether two answers say the same, whenever and however fast they were made."""
    return answer.response == other.response and answer.refusal == other.refusal


def _parse(file: Path, number: int, line: bytes) -> tuple[str, Answer]:
    if line.startswith(_CONFLICT_MARKERS):
        raise RecordingsError(
            f"{file}, line {number}: this is the marker of a git merge conflict. Keep the lines of both "
            "sides, each is one answer, and delete the markers."
        )
    try:
        answer = Answer.from_json(line)
        return Request.from_content(answer.request).key(), answer
    except KeyError as error:
        reason = f"its 'request' has no {error}"
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = str(error)
    start = line[:60].decode("utf-8", "replace").rstrip()
    raise RecordingsError(
        f"{file}, line {number}: not a recorded answer ({reason}): {start!r}. A line is one whole JSON "
        f"object with 'request' and 'response'. Restore it ('git checkout -- {file.name}'), or delete the "
        "line and record the answer again."
    )


def _order(request: dict[str, Any]) -> tuple[str, str, str, int]:
    first = next((each.get("content") for each in request["messages"] if each.get("role") == "user"), "")
    text = first if isinstance(first, str) else canonical_json(first)
    rest = {name: value for name, value in request.items() if name != "sample"}
    return str(request["model"]), text, canonical_json(rest), request.get("sample") or 0


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
    return [
        Place(recording.key, recording.offset, recording.length, recording.line)
        for recording in read_recordings(file)
    ]


def _stamp(file: Path) -> list[int]:
    try:
        status = file.stat()
    except OSError as error:
        raise RecordingsError(
            f"{file}: this recordings file cannot be read ({error.strerror or error})."
        ) from error
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


class Recordings:
    """The recorded answers of a project, by key; safe to use from several threads.

    Args:
        patterns: File names or glob patterns, relative to ``rootdir``.
        rootdir: The project's root directory.
        cache_dir: The cache's folder, to keep an index of each file in, so that an unchanged file is not
            parsed again; None: keep none.
        key_of: Returns the key of a request where the project says what enters it.

    Raises:
        RecordingsError: A named file does not exist, a line cannot be read, or two lines give different
            answers to one request.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        rootdir: Path,
        cache_dir: Path | None = None,
        *,
        key_of: Callable[[Request], str] | None = None,
    ) -> None:
        # The index holds keys that every project has in common.
        index_dir = None if cache_dir is None or key_of is not None else cache_dir / "recordings"
        self._key_of = key_of
        self._lock = threading.Lock()
        self._handles: dict[Path, BinaryIO] = {}
        self._found: dict[str, tuple[Path, Place]] = {}
        try:
            for file in find_recordings(patterns, rootdir):
                for place in places(file, index_dir):
                    known = self._found.setdefault(self._key(file, place), (file, place))
                    # Requests that differ and share a key by the project's own rule have the first one's answer.
                    if known[1] is not place and known[1].key == place.key:
                        self._require_same_answer(known, (file, place))
        except RecordingsError:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, key: object) -> bool:
        return key in self._found

    def get(self, key: str) -> Answer | None:
        """Return the recorded answer of a key, or None.

        Raises:
            RecordingsError: The file changed since it was loaded.
        """
        found = self._found.get(key)
        return None if found is None else self._read(*found)

    def find(self, key: str) -> Recording | None:
        """Return the recorded answer of a key with its place, or None.

        Raises:
            RecordingsError: The file changed since it was loaded.
        """
        found = self._found.get(key)
        return None if found is None else self._recording(*found)

    def entries(self) -> Iterator[Recording]:
        """Yield every recorded answer, each key once.

        Raises:
            RecordingsError: A file changed since it was loaded.
        """
        for found in self._found.values():
            yield self._recording(*found)

    def close(self) -> None:
        """Close the files; closing twice is fine, and reading again reopens them."""
        with self._lock:
            while self._handles:
                self._handles.popitem()[1].close()

    def _key(self, file: Path, place: Place) -> str:
        if self._key_of is None:
            return place.key
        return self._key_of(Request.from_content(self._read(file, place).request))

    def _recording(self, file: Path, place: Place) -> Recording:
        answer = self._read(file, place)
        return Recording(place.key, answer, file, place.line, place.offset, place.length)

    def _read(self, file: Path, place: Place) -> Answer:
        try:
            with self._lock:
                handle = self._handles.get(file)
                if handle is None:
                    # Unbuffered, because each read asks for exactly one line; open until close().
                    handle = self._handles[file] = open(file, "rb", buffering=0)  # noqa: SIM115
                handle.seek(place.offset)
                line = handle.read(place.length)
            return Answer.from_json(line)
        except (OSError, ValueError, RecursionError) as error:
            raise RecordingsError(
                f"{file}, line {place.line}: the file changed after it was loaded ({error}). Run again."
            ) from error

    def _require_same_answer(self, first: tuple[Path, Place], second: tuple[Path, Place]) -> None:
        if not same_answer(self._read(*first), self._read(*second)):
            (file, place), (other_file, other_place) = first, second
            raise RecordingsError(
                f"{other_file}, line {other_place.line}: {file}, line {place.line}, records another answer "
                f"to the same request (key {place.key[:12]}). A request has one recorded answer: delete one "
                "of the two lines."
            )


def find_recordings(patterns: Sequence[str], rootdir: Path) -> list[Path]:
    """Return the files that the patterns name, each once, in a stable order.

    Raises:
        RecordingsError: A name without wildcards is not a file.
    """
    files: dict[Path, None] = {}
    for pattern in patterns:
        if not glob.has_magic(pattern):
            files[_named_file(pattern, rootdir)] = None
            continue
        for name in sorted(glob.glob(pattern, root_dir=rootdir, recursive=True)):
            if (rootdir / name).is_file():
                files[rootdir / name] = None
    return list(files)


def _named_file(name: str, rootdir: Path) -> Path:
    path = rootdir / name
    if path.is_dir():
        raise RecordingsError(
            f"{path}: 'recordings' names a folder. Name its files, for example {name.rstrip('/') + '/*.jsonl'!r}."
        )
    if not path.is_file():
        raise RecordingsError(
            f"{path}: this recordings file does not exist. Correct 'recordings' in the configuration, or "
            f"make the file with 'proofmap cache export {name}' after a run; a pattern such as "
            "'recordings/*.jsonl' may match nothing."
        )
    return path
