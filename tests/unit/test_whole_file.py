"""Files are written whole, and what a killed process left beside them goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pytest_proofmap.whole_file import write_whole


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """An old temporary file of the same name goes with the next write; one in use and other files stay."""
    old, young, other = (tmp_path / name for name in (".a.json.1.tmp", ".a.json.2.tmp", ".b.json.1.tmp"))
    long_ago = time.time() - 7200
    for path in (old, young, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (long_ago, long_ago))
    with write_whole(tmp_path / "a.json") as file:
        file.write("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.json.2.tmp", ".b.json.1.tmp", "a.json"]
    assert (tmp_path / "a.json").read_text() == "whole"


def test_what_looks_at_the_whole_file_cannot_lose_it(tmp_path: Path) -> None:
    """The file is there before it takes its place, and takes it whatever becomes of who looked at it."""
    path = tmp_path / "a.json"
    path.write_text("old", encoding="utf-8")
    seen = []

    def look(written: Path) -> None:
        seen.append((written.read_text(encoding="utf-8"), path.read_text(encoding="utf-8")))
        raise RuntimeError("a report that cannot be made")

    with pytest.raises(RuntimeError, match="cannot be made"), write_whole(path, look) as file:
        file.write("new")
    assert seen == [("new", "old")]
    assert path.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]
