"""``proofmap approve --resolve`` in a merge of two branches, each with approvals of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from command_line import proofmap
from stored_lock import lock_of, route_to

from pytest_proofmap.lock.file import read_lock, signed, write_lock

Approvers = Mapping[str, str]
"""By route who approved it."""


def git(folder: Path, *arguments: str) -> int:
    """Run git in a folder as somebody, and return its exit status."""
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, check=False, timeout=60
    ).returncode


def commit(folder: Path, approvers: Approvers) -> None:
    """Commit a lock with some routes."""
    lock = lock_of(dict.fromkeys(approvers, route_to("mini", "base")))
    for name, by in approvers.items():
        route = lock.routes[name]
        lock.routes[name] = route.model_copy(update={"approval": route.approval.model_copy(update={"by": by})})
    write_lock(folder / "proofmap.lock", signed(lock, approvers))
    git(folder, "add", "proofmap.lock")
    assert git(folder, "commit", "--allow-empty", "-m", "approve") == 0


def merge(folder: Path, base: Approvers, ours: Approvers, theirs: Approvers) -> Path:
    """Merge two branches that conflict, and return the lock."""
    git(folder, "init", "-b", "main")
    (folder / "pyproject.toml").touch()
    commit(folder, base)
    git(folder, "checkout", "-b", "theirs")
    commit(folder, theirs)
    git(folder, "checkout", "main")
    commit(folder, ours)
    assert git(folder, "merge", "theirs") != 0
    return folder / "proofmap.lock"


def approvers(lock: Path) -> Approvers:
    """Return by route who approved it."""
    return {name: route.approval.by for name, route in read_lock(lock).routes.items()}


def test_a_neighbour_beside_a_route_approved_anew(tmp_path: Path) -> None:
    """Nothing is lost where git sets its markers around halves of two routes."""
    ours, theirs = {"sentiment": "Ada", "triage": "Ann"}, {"order_id": "Eve", "triage": "Eve"}
    lock = merge(tmp_path, {"triage": "Ann"}, ours, theirs)
    done = proofmap("approve", "--resolve", "--rootdir", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert approvers(lock) == {"order_id": "Eve", "sentiment": "Ada", "triage": "Eve"}


def test_what_both_approved_is_not_joined(tmp_path: Path) -> None:
    """The route that both approved is named, and the file stays; mended by hand it is taken as it then stands."""
    ours, theirs = {"a": "Ada", "b": "Ada"}, {"b": "Eve", "c": "Eve"}
    lock = merge(tmp_path, {}, ours, theirs)
    text = lock.read_bytes()
    done = proofmap("approve", "--resolve", "--rootdir", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "both sides approved the route 'b', differently" in done.stderr
    assert lock.read_bytes() == text

    write_lock(lock, lock_of({"a": route_to("mini", "base")}))
    whole = lock.read_text(encoding="utf-8")
    lock.write_text(f"<<<<<<< ours\n{whole}=======\n{whole}>>>>>>> theirs\n", encoding="utf-8")
    assert proofmap("approve", "--resolve", "--rootdir", tmp_path).returncode == 0
    assert read_lock(lock).routes.keys() == {"a"}


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """It says what would be joined."""
    lock = merge(tmp_path, {}, {"a": "Ada"}, {"b": "Eve"})
    text = lock.read_bytes()
    done = proofmap("approve", "--resolve", "--dry-run", "--rootdir", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 routes; nothing was written" in done.stdout
    assert lock.read_bytes() == text


@pytest.mark.parametrize(
    "arguments",
    [
        ["evidence.json"],
        ["--objective", "a"],
        ["--chain", "base"],
        ["--by", "Ada"],
        ["--reason", "cheap"],
        ["--expires", "3"],
        ["--allow-sensitive"],
        ["--require-clean"],
    ],
)
def test_nothing_is_approved_on_the_way(tmp_path: Path, arguments: list[str]) -> None:
    """What belongs to an approval is refused, and not left aside in silence."""
    done = proofmap("approve", "--resolve", *arguments, "--rootdir", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--resolve joins what was approved, and takes no" in " ".join(done.stderr.split())
