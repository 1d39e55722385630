"""Files are written whole, and what a killed process left beside them goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pytest_proofmap.files import write_whole


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


@pytest.mark.parametrize("mark", [".git", "proofmap.toml", "pyproject.toml", "pytest.ini"])
@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_link_out_of_the_project_is_refused(tmp_path: Path, mark: str, linked: str) -> None:
    """A checkout may bring one, and what it leads to is not the project's to write."""
    project, outside = tmp_path / "project", tmp_path / "outside"
    (project / "reports").mkdir(parents=True)
    outside.mkdir()
    (project / mark).touch()
    target = outside / "kept.json"
    target.write_text("theirs")
    if linked == "file":
        path = project / "reports" / "kept.json"
        path.symlink_to(target)
    else:
        (project / "out").symlink_to(outside)
        path = project / "out" / "kept.json"
    with pytest.raises(OSError, match="a link leads out of the project"), write_whole(path) as file:
        file.write("ours")
    assert target.read_text() == "theirs"
    with write_whole(path, anywhere=True) as file:
        file.write("ours")
    assert target.read_text() == "ours"


def test_a_link_within_the_project_is_followed(tmp_path: Path) -> None:
    """It stays a link, and the file that it stands for is replaced; outside of projects every link is followed."""
    for root in (tmp_path / "project", tmp_path / "plain"):
        (root / "a").mkdir(parents=True)
        (root / "link.json").symlink_to(root / "a" / "real.json")
        with write_whole(root / "link.json") as file:
            file.write("whole")
        assert (root / "link.json").is_symlink()
        assert (root / "a" / "real.json").read_text() == "whole"
        (tmp_path / "project" / "pyproject.toml").touch()
    (tmp_path / "plain" / "away.json").symlink_to(tmp_path / "elsewhere.json")
    with write_whole(tmp_path / "plain" / "away.json") as file:
        file.write("whole")
    assert (tmp_path / "elsewhere.json").read_text() == "whole"
