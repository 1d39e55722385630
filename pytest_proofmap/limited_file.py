"""Reading files that somebody else may have made: never more of them than is stated."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

__all__ = ["MOST_DEPTH", "FileTooLargeError", "check_depth", "read_limited"]

MOST_DEPTH = 100
"""Of lists and objects within each other in JSON."""


class FileTooLargeError(OSError):
    """A file is larger than anything of its kind."""

    def __init__(self, limit: int) -> None:
        size = f"{limit // 2**20:,} MB" if limit >= 2**20 else f"{limit // 2**10:,} kB"
        super().__init__(None, f"it has more than {size}, which is the most that is read")


def read_limited(path: Path, limit: int, *, regular: bool = False) -> bytes:
    """Return a file's content.

    Args:
        path: The file; a pipe is read as well.
        limit: The most bytes that it may have.
        regular: Refuse what is no ordinary file, such as a pipe that nobody writes to.

    Raises:
        OSError: It cannot be read, or it is larger (:class:`FileTooLargeError`).
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | (_NO_WAIT if regular else 0))
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if regular and not stat.S_ISREG(status.st_mode):
            raise OSError(None, "it is no ordinary file")
        if stat.S_ISREG(status.st_mode) and status.st_size > limit:
            raise FileTooLargeError(limit)
        content = file.read(limit + 1)
    if len(content) > limit:
        raise FileTooLargeError(limit)
    return content


_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


def check_depth(value: Any) -> None:
    """Check that JSON data is not nested more deeply than anybody writes it, so that walking over it is safe.

    Raises:
        ValueError: It is.
    """
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [
            item
            for holder in level
            if isinstance(holder, (dict, list))
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not level:
            return
    raise ValueError(f"lists and objects are nested more than {MOST_DEPTH} deep")
