"""Files: written whole or not at all, read within a stated size, our own folder, and what git knows of them.

The folder is never committed and never backed up. What may be somebody else's file is read to a stated limit only,
and a test that works on the files of pyfakefs does not hide the disk's own.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

__all__ = [
    "EVIDENCE_FILE",
    "FOLDER_NAME",
    "MOST_DEPTH",
    "PARTIAL_FILE",
    "FileTooLargeError",
    "ask_git",
    "check_depth",
    "create_folder",
    "is_closed",
    "private_folder",
    "read_limited",
    "real_files",
    "write_whole",
]


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
        # After os.replace there is none, and the error on the way is the one to tell.
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
        # Another process may remove it at the same time; and what cannot be removed is in nobody's way.
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_AFTER_S:
                left.unlink()


def _umask() -> int:
    # The only portable way to read it is to set it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


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


FOLDER_NAME = ".proofmap"

EVIDENCE_FILE = f"{FOLDER_NAME}/evidence.json"
"""Where the evidence of the last whole run is, from the project's root."""

PARTIAL_FILE = f"{FOLDER_NAME}/partial.json"
"""Where the evidence of the last run is that did not hold all of the tests."""

_GITIGNORE = "# Created by ProofMap: answers and evidence of local runs are not committed.\n*\n"
_CACHEDIR_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This directory was made by ProofMap. Its cache holds paid answers: deleting them costs money.\n"
    "# What the tag means: https://bford.info/cachedir/\n"
)


def create_folder(directory: Path) -> None:
    """Create a directory, and mark it as ours where it did not exist before.

    The marks (``.gitignore`` and ``CACHEDIR.TAG``) go into the ``.proofmap`` folder on the way to it, or into
    the directory itself when it lies elsewhere. A folder that was there before is left as it is, unless it is our
    own and its marks were never finished: the tag is written last.

    Raises:
        OSError: The directory cannot be created.
    """
    marked = next((path for path in [directory, *directory.parents] if path.name == FOLDER_NAME), directory)
    is_new = not os.path.exists(marked)
    directory.mkdir(parents=True, exist_ok=True)
    tag, ignored = marked / "CACHEDIR.TAG", marked / ".gitignore"
    if is_new:
        _mark(ignored, tag)
    elif marked.name == FOLDER_NAME and not os.path.exists(tag):
        # A process that was killed just after it made the folder; whose folder cannot be written has other
        # trouble.
        with contextlib.suppress(OSError):
            _mark(ignored, tag)


def _mark(ignored: Path, tag: Path) -> None:
    if not os.path.exists(ignored) or not ignored.stat().st_size:
        ignored.write_text(_GITIGNORE, encoding="utf-8")
    tag.write_text(_CACHEDIR_TAG, encoding="utf-8")


def is_closed(directory: Path, file: str) -> bool:
    """Return whether another user's folder, or a file in it, may not be looked into by this one."""
    if os.name != "posix":
        return False
    try:
        os.stat(directory / file)
        is_open = os.access(directory / file, os.R_OK)
    except PermissionError:
        is_open = False
    except OSError:
        # It is not there yet, and its folder may be looked into.
        return False
    return not is_open and any(_owner(path) not in (None, os.geteuid()) for path in (directory / file, directory))


def private_folder(directory: Path, *, create: bool) -> Path:
    """Return the folder of this user alone that stands in for a project's one, below the user's cache folder.

    Args:
        directory: The project's folder.
        create: Make it where it is missing.

    Raises:
        OSError: It cannot be made, or is not this user's alone.
    """
    try:
        home = Path.home()
    except RuntimeError as error:
        raise OSError(f"this user has no home folder: {error}") from None
    given = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path is to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
    base = Path(given) if os.path.isabs(given) else home / ".cache"
    name = hashlib.sha256(os.fsencode(os.path.realpath(directory))).hexdigest()[:16]
    folder = base / "proofmap" / name
    if create:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    # Where it is not to be made it may be missing. lstat, as a link would be somebody else's choice of a folder.
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(folder)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise OSError(f"{folder} is not a folder of this user alone")
    return folder


def _owner(path: Path) -> int | None:
    """Return who owns a path, or the nearest folder around it that can be told of; None: nobody can be told."""
    for place in (path, *path.absolute().parents):
        try:
            return os.stat(place).st_uid
        except OSError:
            # Not there, or in a folder that is closed to this user: the folder around it tells.
            continue
    return None


_SEEN = nullcontext()


def real_files() -> AbstractContextManager[None]:
    """See the disk's own files where the test that runs works on those of pyfakefs.

    pyfakefs replaces ``os``, ``open`` and ``pathlib`` in every module that is loaded, this project's own included:
    neither the prompts nor the cache would be there. Pausing it is its own way to let code through.
    """
    module = sys.modules.get("pyfakefs.fake_filesystem_unittest")
    if module is None:
        return _SEEN
    patcher: Any = getattr(getattr(module, "Patcher", None), "PATCHER", None)
    # There is one patcher for all of its fixtures; it may be set up no more, or paused by the test itself.
    if patcher is None or not getattr(patcher, "is_patching", False):
        return _SEEN
    return _paused(patcher)


@contextmanager
def _paused(patcher: Any) -> Iterator[None]:
    patcher.pause()
    try:
        yield
    finally:
        patcher.resume()


GIT_TIMEOUT_S = 5.0


def ask_git(folder: Path, *arguments: str) -> str | None:
    """Return what git answers in a folder; None when it has no answer, or is not there."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        # No git, no repository, another user's (safe.directory), or a disk that hangs: what git knows is extra.
        return None
    return done.stdout
