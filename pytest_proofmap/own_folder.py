"""The folder that ProofMap keeps for itself in a project, never committed, never backed up; and the user's own.

Where a project's folder is another user's, and closed, what was paid goes to a folder of this user alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path

__all__ = ["EVIDENCE_FILE", "FOLDER_NAME", "PARTIAL_FILE", "create_folder", "is_closed", "private_folder"]

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
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise OSError(f"{folder} is not a folder of this user alone")
    return folder


def _owner(path: Path) -> int | None:
    """Return who owns a path, or the nearest folder around it that can be told of; None: nobody can be told."""
    for each in (path, *path.absolute().parents):
        try:
            return os.stat(each).st_uid
        except OSError:
            continue
    return None
