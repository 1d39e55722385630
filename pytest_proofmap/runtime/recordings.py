"""Recorded answers that are committed with the project, read-only.

Keys are computed from the recorded requests, so that no change of the key's schema makes a recording useless.
Only the place of each answer stays in memory.
"""

from __future__ import annotations

import glob
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from pytest_proofmap.errors import RecordingsError
from pytest_proofmap.runtime.answer import Answer
from pytest_proofmap.runtime.recordings_file import Recording, same_answer, write_recordings
from pytest_proofmap.runtime.recordings_index import Place, places
from pytest_proofmap.runtime.request import Request

__all__ = ["Recordings", "find_recordings", "write_recordings"]


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
