"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

__all__ = ["write_whole"]

_LEFT_AFTER_S = 3600.0
"""A temporary file that is older was left by a process that was killed: no write takes so long."""


@contextlib.contextmanager
def write_whole(
    path: Path, written: Callable[[Path], None] | None = None, *, anywhere: bool = False
) -> Iterator[IO[str]]:
    """Open a text file that takes its place only when it was written to the end.

    A reader sees the old file or the new one, never a part. The folder is created where it is missing.

    Args:
        path: The file.
        written: Is given the whole file before it takes its place: from then on another process may replace it.
            The file takes its place whatever becomes of that.
        anywhere: Whether a link may lead out of the project, as one to a cache on another disk does.

    Raises:
        OSError: The file could not be written, or it is a link that leads out of its project; the old one is
            untouched.
    """
    if not anywhere:
        _refuse_link_out(path)
    # Replacing a link would cut it off from the file that it stands for.
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    _remove_left(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        try:
            if written is not None:
                written(Path(temporary))
        finally:
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _refuse_link_out(path: Path) -> None:
    """Refuse a file of a project that is, or lies behind, a link to somewhere else: a checkout may bring one.

    Raises:
        OSError: It is one.
    """
    lexical = Path(os.path.abspath(path))
    real = Path(os.path.realpath(path))
    project = _project_of(lexical)
    if project is not None and not real.is_relative_to(os.path.realpath(project)):
        raise OSError(errno.ELOOP, f"a link leads out of the project, to {str(real)!r}")


def _project_of(path: Path) -> Path | None:
    """Return the folder of the project that a path is written in: its repository, or that of its settings."""
    for marks in (_REPOSITORY, _SETTINGS):
        for folder in path.parents:
            if any((folder / mark).exists() for mark in marks):
                return folder
    return None


_REPOSITORY = (".git", ".hg")
_SETTINGS = ("proofmap.toml", "pyproject.toml", "pytest.ini", "pytest.toml", "tox.ini", "setup.cfg")


def _remove_left(path: Path) -> None:
    """Remove what processes that were killed while they wrote the same file have left beside it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_AFTER_S:
                left.unlink()


def _umask() -> int:
    # The only portable way to read it is to set it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
