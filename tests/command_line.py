"""The command ``proofmap``, run as a user runs it: in this process, or as the installed script."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from pytest_proofmap.cli import main
from pytest_proofmap.evidence.models import Evidence

__all__ = ["SCRIPT", "as_json", "proofmap", "store", "words"]

SCRIPT = Path(sys.executable).with_name("proofmap")
"""The installed script: a third of a second before it does anything."""


def proofmap(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, without a terminal, and return what it said."""
    plain = {
        name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")
    }
    encoding, _, errors = environment.get("PYTHONIOENCODING", "utf-8").partition(":")
    errors = errors or "strict"
    out = io.TextIOWrapper(io.BytesIO(), encoding, errors)
    err = io.TextIOWrapper(io.BytesIO(), encoding, "backslashreplace")
    status = 0
    with (
        mock.patch.dict(os.environ, {**plain, **environment}, clear=True),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main.main([*map(str, arguments)], prog_name="proofmap")
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    texts = []
    for stream in (out, err):
        stream.flush()
        raw = stream.buffer
        assert isinstance(raw, io.BytesIO)
        # Pages are written in UTF-8 whatever the encoding is, and what is ASCII is UTF-8 too.
        said = raw.getvalue().decode("utf-8" if encoding == "ascii" else encoding, errors)
        texts.append(said.replace(os.linesep, "\n"))
    return subprocess.CompletedProcess([*map(str, arguments)], status, *texts)


def store(evidence: Evidence, path: Path) -> Path:
    """Write evidence to a file."""
    path.write_text(evidence.model_dump_json(by_alias=True), encoding="utf-8")
    return path


def words(*arguments: str | Path, status: int = 0) -> str:
    """Return what a command printed, in one line, having checked that it fits and how it ended."""
    done = proofmap(*arguments)
    assert (done.returncode, done.stderr) == (status, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    return " ".join(done.stdout.split())


def as_json(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    """Return what a command with ``--json`` printed, having checked how it ended."""
    done = proofmap(*arguments, "--json")
    assert (done.returncode, done.stderr) == (status, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
