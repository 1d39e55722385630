"""The folder that ProofMap keeps for itself in a project: never committed, never backed up."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["EVIDENCE_FILE", "FOLDER_NAME", "PARTIAL_FILE", "create_folder"]

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
