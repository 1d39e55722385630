"""The format of a recordings file: JSON Lines, UTF-8, one answer with its whole request a line."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_proofmap.errors import RecordingsError
from pytest_proofmap.runtime.answer import Answer
from pytest_proofmap.runtime.request import Request
from pytest_proofmap.visible import canonical_json
from pytest_proofmap.whole_file import write_whole

__all__ = ["Recording", "read_recordings", "same_answer", "write_recordings"]

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


def same_answer(one: Answer, other: Answer) -> bool:
    """Return whether two answers say the same, whenever and however fast they were made."""
    return one.response == other.response and one.refusal == other.refusal


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
