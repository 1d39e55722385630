"""The response cache in places where it cannot write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stored_answers import answer_of, request_of

from pytest_proofmap.calls.cache.disk import DiskStore
from pytest_proofmap.calls.request import Request
from pytest_proofmap.errors import StoreError

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a small file system with the options given; skipped where mounting is not permitted."""
    place = tmp_path / "mount"

    def mount(options: str) -> Path:
        place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if sys.platform != "linux" or shutil.which("mount") is None:
            pytest.skip("needs Linux and mount")
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting is not permitted")
        return place

    yield mount
    while place.is_mount():
        # Lazily: the traceback of a failed opening keeps its connection alive for a moment.
        subprocess.run(["umount", "-l", str(place)], check=True)


def remount_read_only(place: Path) -> None:
    """Make a mounted file system read-only."""
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)


def test_a_read_only_folder_cannot_be_opened_for_writing(mount: Mount) -> None:
    """Opening for writing fails before anything is paid, and says what to do."""
    place = mount("size=1m")
    DiskStore(place / "cache", pytest.fail).close()
    remount_read_only(place)
    with pytest.raises(StoreError) as caught:
        DiskStore(place / "cache", pytest.fail)
    for part in (str(place / "cache"), "cache_dir", "--proofmap-cache=replay", "--proofmap-cache=off"):
        assert part in str(caught.value)
    with pytest.raises(StoreError, match="Read-only file system"):
        DiskStore(place / "new", pytest.fail)


def test_a_read_only_folder_can_be_replayed(mount: Mount) -> None:
    """Read-only mode finds the answers on a read-only file system."""
    place = mount("size=4m")
    store = DiskStore(place / "cache", pytest.fail)
    request = request_of()
    store.put(request.key(), answer_of(request))
    store.close()
    remount_read_only(place)
    replay = DiskStore(place / "cache", pytest.fail, readonly=True)
    assert replay.get(request.key()) == answer_of(request)
    assert replay.get(request_of("other").key()) is None
    assert len(list(replay.entries())) == 1
    replay.close()


def test_a_path_below_a_file_is_no_folder(tmp_path: Path) -> None:
    """A cache_dir that lies below a regular file is refused with the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Not a directory"):
        DiskStore(tmp_path / "file" / "cache", pytest.fail)


def test_a_cache_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A cache_dir that is a regular file is refused with the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="File exists"):
        DiskStore(tmp_path / "file", pytest.fail)


def test_replay_needs_no_folder(tmp_path: Path) -> None:
    """Read-only mode on a folder that does not exist finds nothing and creates nothing."""
    store = DiskStore(tmp_path / "none", pytest.fail, readonly=True)
    assert store.get(request_of().key()) is None
    assert list(store.entries()) == []
    assert store.last_used() == {}
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_replay_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    """Read-only mode leaves neither changes nor files behind, and records no use."""
    from datetime import date

    store = DiskStore(tmp_path, pytest.fail)
    request = request_of()
    store.put(request.key(), answer_of(request))
    store.close()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    replay = DiskStore(tmp_path, pytest.fail, readonly=True)
    replay.get(request.key())
    replay.mark_used([request.key()], date(2026, 1, 1))
    replay.close()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_full_disk_is_loud_and_loses_nothing(mount: Mount) -> None:
    """On a full disk the answer that cannot be kept is an error; the earlier ones stay, and space helps."""
    place = mount("size=1m")
    store = DiskStore(place / "cache", pytest.fail)
    kept: list[Request] = []

    def fill() -> None:
        while True:
            request = request_of(str(len(kept)))
            store.put(request.key(), answer_of(request, "x" * 20_000))
            kept.append(request)

    with pytest.raises(StoreError) as caught:
        fill()
    for part in ("A paid answer could not be kept", "is full", str(place / "cache"), "cache_dir"):
        assert part in str(caught.value)
    assert len(kept) > 5
    failed = request_of(str(len(kept)))
    with pytest.raises(StoreError, match="is full"):
        store.put(failed.key(), answer_of(failed, "x" * 20_000))
    assert all(store.get(request.key()) for request in kept)
    subprocess.run(["mount", "-o", "remount,size=8m", str(place)], check=True)
    store.put(failed.key(), answer_of(failed))
    store.close()
    again = DiskStore(place / "cache", pytest.fail)
    assert len(list(again.entries())) == len(kept) + 1
    again.close()


def test_a_disk_that_is_full_from_the_start(mount: Mount) -> None:
    """A full disk is found before anything is paid, when the writer is opened ahead."""
    place = mount("size=64k")
    store = DiskStore(place / "cache", pytest.fail)
    (place / "filler").write_bytes(b"x" * (os.statvfs(place).f_bavail * os.statvfs(place).f_frsize))
    with pytest.raises(StoreError, match=r"No call was made.*is full"):
        store.prepare_to_write()
    store.close()


def test_a_locked_database_is_loud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that cannot be kept because another process holds the lock is an error that says so."""
    import sqlite3

    from pytest_proofmap.calls.cache import text_disk as cache_disk

    monkeypatch.setattr(cache_disk, "LOCK_TIMEOUT_S", 0.01)
    store = DiskStore(tmp_path, pytest.fail)
    request = request_of()
    store.put(request.key(), answer_of(request))
    other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"another process keeps the response cache .* locked"):
        store.put(request.key(), answer_of(request, "new"))
    other.execute("ROLLBACK")
    other.close()
    store.put(request.key(), answer_of(request, "new"))
    found = store.get(request.key())
    assert found is not None
    assert found.text == "new"
    store.close()


@pytest.mark.parametrize("opened", [True, False], ids=["open", "not yet open"])
def test_waiting_for_a_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: bool) -> None:
    """What a write waits for is told once while it waits; the answer is kept when the other process goes on."""
    import sqlite3

    from pytest_proofmap.calls.cache import text_disk as cache_disk

    monkeypatch.setattr(cache_disk, "LOCK_TIMEOUT_S", 0.05)
    told: list[str] = []
    request = request_of()
    DiskStore(tmp_path, pytest.fail).prepare_to_write()
    other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)

    def go_on(text: str) -> None:
        told.append(text)
        other.execute("ROLLBACK")

    store = DiskStore(tmp_path, pytest.fail, tell=go_on)
    if opened:
        store.prepare_to_write()
    other.execute("BEGIN IMMEDIATE")
    store.put(request.key(), answer_of(request))
    other.close()
    assert len(told) == 1
    assert "another process keeps the response cache" in told[0]
    found = store.get(request.key())
    assert found is not None
    store.close()


def test_a_folder_that_is_deleted_under_way_loses_nothing_after(tmp_path: Path) -> None:
    """An answer that comes after someone deleted the cache is kept in a new one, not in a file without a name."""
    folder = tmp_path / "cache"
    store = DiskStore(folder, pytest.fail)
    first, second = request_of("first"), request_of("second")
    store.put(first.key(), answer_of(first))
    shutil.rmtree(folder)
    store.put(second.key(), answer_of(second))
    store.close()
    later = DiskStore(folder, pytest.fail, readonly=True)
    assert later.get(first.key()) is None
    assert later.get(second.key()) == answer_of(second)
    later.close()
