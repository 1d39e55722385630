"""The commands that a run leaves to its reader."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_proofmap.run.finish import RunResult
    from pytest_proofmap.run.session import QualificationSession

__all__ = ["command", "next_steps"]


def command(*words: str | Path) -> str:
    """Return a command line, quoted for a shell."""
    return shlex.join(str(word) for word in words)


def next_steps(run: QualificationSession, result: RunResult) -> tuple[str, ...]:
    """Return the commands to go on with after a run."""
    if result.artifact is None:
        return ()
    artifact = _as_typed(result.artifact, run.config.invocation_params.dir)
    steps = []
    if run.mode != "off" and result.totals.live:
        out = _recordings_to_write(run)
        if out is not None:
            steps.append(command("proofmap", "cache", "export", out, "--evidence", artifact))
    steps.append(command("proofmap", "report", "--text", artifact))
    steps.append(command("proofmap", "decide", artifact, "--help"))
    return tuple(steps)


def _recordings_to_write(run: QualificationSession) -> Path | None:
    """Return the recordings file that live answers belong into; None when none is configured."""
    from pytest_proofmap.errors import RecordingsError
    from pytest_proofmap.runtime.recordings import find_recordings

    configuration = run.configuration
    if not configuration.recordings:
        return None
    try:
        files = find_recordings(configuration.recordings, configuration.rootdir)
    except RecordingsError:
        files = []
    folder = run.config.invocation_params.dir
    if files:
        return _as_typed(files[0], folder)
    pattern = configuration.recordings[0].replace("**/", "").replace("*", "answers")
    return _as_typed(configuration.rootdir / pattern, folder)


def _as_typed(path: Path, folder: Path) -> Path:
    """Return a path as someone in a folder would type it."""
    try:
        return path.relative_to(folder)
    except ValueError:
        return path
