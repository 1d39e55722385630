"""Reading an artifact part by part, so that a large one is never in memory as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence.models import SCHEMA

__all__ = ["Part", "criteria_of_whole_run", "read_parts"]

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
