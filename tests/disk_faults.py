"""Builds what makes the disk fail under a process, or kills it inside a write."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["build", "faults"]

SOURCE = Path(__file__).with_name("disk_faults.c")


def build(folder: Path) -> Path | None:
    """Compile the library into a folder; None where that cannot be done."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        return None
    library = folder / "disk_faults.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, check=False)
    return library if done.returncode == 0 else None


def faults(
    library: Path,
    path: str,
    *,
    program: str | None = None,
    kill_at: int | None = None,
    count: Path | None = None,
    room: int | None = None,
    locks: int | None = None,
    no_mapping: bool = False,
) -> dict[str, str]:
    """Return the environment variables that let the disk fail.

    Args:
        library: What :func:`build` returned.
        path: Only files whose path contains this.
        program: Only processes whose command line contains this.
        kill_at: Kill the process inside this change of such a file, counted from 1.
        count: A file that gets one byte for each change.
        room: Bytes beyond which such a file cannot grow, as on a full disk.
        locks: Number of the error with which locking fails.
        no_mapping: Refuse shared memory.
    """
    chosen = {
        "PROGRAM": program,
        "KILL_AT": kill_at,
        "COUNT": count,
        "ROOM": room,
        "LOCKS": locks,
        "MMAP": 1 if no_mapping else None,
    }
    named = {f"DISK_FAULT_{name}": str(value) for name, value in chosen.items() if value is not None}
    return {"LD_PRELOAD": str(library), "DISK_FAULT_PATH": path, **named}
