"""The response cache with files that somebody or something has damaged."""

from __future__ import annotations

import os
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from stored_answers import answer_of, request_of

from pytest_proofmap.calls.cache.disk import DiskStore
from pytest_proofmap.calls.cache.text_disk import TextDisk
from pytest_proofmap.errors import StoreError, UnusableEntryError


class Bomb:
    """A value whose pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


class Warnings(list[str]):
    """What the store warned of."""


@pytest.fixture
def warnings() -> Warnings:
    """The warnings of the store under test."""
    return Warnings()


@pytest.fixture
def store(tmp_path: Path, warnings: Warnings) -> Iterator[DiskStore]:
    """A store with 200 answers in a fresh folder."""
    store = DiskStore(tmp_path / "cache", warnings.append)
    for number in range(200):
        request = request_of(str(number))
        store.put(request.key(), answer_of(request, "a long answer " * 20))
    store.close()
    yield store
    store.close()


def tamper(store: DiskStore, statement: str, *arguments: object) -> None:
    """Change the database behind the store's back."""
    store.close()
    with closing(sqlite3.connect(store.directory / "cache.db")) as database, database:
        database.execute(statement, arguments)


def readable(store: DiskStore) -> int:
    """Return how many of the first 200 answers can be read."""
    return sum(store.get(request_of(str(number)).key()) is not None for number in range(200))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param('{"request": {', id="cut"),
        pytest.param("[]", id="no object"),
        pytest.param('{"request": {}}', id="no response"),
        pytest.param("[" * 200_000, id="nested"),
        pytest.param(b"\xff\xfe\x00", id="bytes"),
        pytest.param(7, id="number"),
        pytest.param(None, id="null"),
    ],
)
def test_a_broken_entry_is_a_miss_with_one_warning(store: DiskStore, warnings: Warnings, value: object) -> None:
    """What is not an answer is a miss; it warns once, and the other entries stay."""
    for number in (3, 4):
        tamper(store, "UPDATE Cache SET value = ? WHERE key = ?", value, request_of(str(number)).key())
    assert store.get(request_of("3").key()) is None
    assert store.get(request_of("4").key()) is None
    assert readable(store) == 198
    assert len(list(store.entries())) == 198
    assert len(warnings) == 1
    assert "not an answer that ProofMap wrote and counts as a miss" in warnings[0]


def test_a_new_answer_replaces_a_broken_entry(store: DiskStore, warnings: Warnings) -> None:
    """A miss is called again, and its answer mends the entry in place."""
    request = request_of("3")
    tamper(store, "UPDATE Cache SET value = '', mode = 4, filename = '../x' WHERE key = ?", request.key())
    store.put(request.key(), answer_of(request, "again"))
    again = store.get(request.key())
    assert again is not None
    assert again.text == "again"
    assert readable(store) == 200
    assert not list(store.directory.glob("overflow*"))


def test_a_planted_pickle_does_not_run(store: DiskStore, warnings: Warnings, tmp_path: Path) -> None:
    """A pickle in a value, in a key or in a file beside the database is never loaded."""
    bomb, request = tmp_path / "bomb", request_of("3")
    payload = pickle.dumps(Bomb(bomb))
    (store.directory / "planted.val").write_bytes(payload)
    tamper(store, "UPDATE Cache SET mode = 4, value = ? WHERE key = ?", payload, request.key())
    tamper(
        store,
        "UPDATE Cache SET mode = 4, value = NULL, filename = 'planted.val' WHERE key = ?",
        request_of("4").key(),
    )
    tamper(store, "INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 1, '{}')", payload)
    assert readable(store) == 198
    assert len(list(store.entries())) == 198
    store.put(request.key(), answer_of(request))
    store.delete([request_of("4").key()])
    assert not bomb.exists()
    assert len(warnings) == 1


def test_a_file_that_a_row_names_is_neither_read_nor_deleted(store: DiskStore, tmp_path: Path) -> None:
    """A row that names a file outside of the cache gets no hold of it, also when it is replaced."""
    outside, request = tmp_path / "outside", request_of("3")
    outside.write_text(answer_of(request, "planted").to_json())
    tamper(store, "UPDATE Cache SET mode = 3, value = NULL, filename = '../outside' WHERE key = ?", request.key())
    assert store.get(request.key()) is None
    store.put(request.key(), answer_of(request))
    store.delete([request.key()])
    assert outside.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("get", "x"), ("_disk", "x"), ("disk_unknown", 1), ("sqlite_journal_mode", "off"), ("sqlite_x", 1)],
)
def test_hostile_settings_are_not_obeyed(store: DiskStore, warnings: Warnings, name: str, value: object) -> None:
    """A database with settings of another hand is used no further; new answers go beside it."""
    tamper(store, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", name, value)
    store = DiskStore(store.directory, warnings.append)
    request = request_of("new")
    store.put(request.key(), answer_of(request))
    assert store.get(request.key()) == answer_of(request)
    store.close()
    assert (store.directory / "overflow-1" / "cache.db").exists()
    assert len(warnings) == 1
    assert name in warnings[0]


def test_a_foreign_trigger_is_not_obeyed(store: DiskStore, warnings: Warnings) -> None:
    """A database with objects that are not the cache's is used no further."""
    tamper(store, "CREATE TRIGGER sneaky AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END")
    store = DiskStore(store.directory, warnings.append)
    request = request_of("new")
    store.put(request.key(), answer_of(request))
    assert store.get(request.key()) == answer_of(request)
    store.close()
    assert "sneaky" in warnings[0]


def test_a_file_that_is_no_database(tmp_path: Path, warnings: Warnings) -> None:
    """What is not a database is left untouched: misses with one warning, and answers go beside it."""
    file = tmp_path / "cache.db"
    file.write_bytes(b"this is no database " * 500)
    store = DiskStore(tmp_path, warnings.append)
    request = request_of()
    assert store.get(request.key()) is None
    store.put(request.key(), answer_of(request))
    assert store.get(request.key()) == answer_of(request)
    store.close()
    assert file.read_bytes() == b"this is no database " * 500
    assert len(warnings) == 1
    for part in ("is damaged", "proofmap cache export", "proofmap cache import", str(tmp_path)):
        assert part in warnings[0]
    second = DiskStore(tmp_path, warnings.append)
    assert second.get(request.key()) == answer_of(request)
    second.close()
    assert len(warnings) == 1


def test_a_full_disk_is_no_damage(tmp_path: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SQLite cannot read for want of room is told so, and nobody is advised to delete it."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "cache.db").write_text("unreadable" * 1000)
    monkeypatch.setattr("pytest_proofmap.calls.cache.disk.is_full", lambda folder: True)
    with closing(DiskStore(folder, warnings.append)) as store:
        assert store.get("a" * 64) is None
    [warning] = warnings
    assert "is full" in warning
    assert "Free some space" in warning
    assert "delete" not in warning


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    """A file that a stopped process left empty is filled."""
    (tmp_path / "cache.db").touch()
    store = DiskStore(tmp_path, pytest.fail)
    request = request_of()
    assert store.get(request.key()) is None
    store.put(request.key(), answer_of(request))
    assert store.get(request.key()) == answer_of(request)
    store.close()


@pytest.mark.parametrize("seed", range(12))
def test_broken_pages_cost_only_their_own_entries(store: DiskStore, warnings: Warnings, seed: int) -> None:
    """With a broken page the rest is read, new answers are kept, and the file is not replaced."""
    file = store.directory / "cache.db"
    content = bytearray(file.read_bytes())
    pages = len(content) // 4096
    assert pages > 30
    page = 2 + seed * (pages - 3) // 12
    content[page * 4096 : (page + 1) * 4096] = bytes(range(256)) * 16
    file.write_bytes(content)
    inode = file.stat().st_ino
    listed = {entry.key for entry in store.entries()}
    found = readable(store)
    request = request_of("new")
    store.put(request.key(), answer_of(request))
    assert store.get(request.key()) == answer_of(request)
    # Reading ahead finds some that a broken index has lost: which, depends on where it begins.
    assert abs(readable(store) - found) <= 2
    assert len(listed) >= 150
    assert file.stat().st_ino == inode
    assert len(warnings) <= 2


def test_a_cut_file_keeps_what_is_left(store: DiskStore, warnings: Warnings) -> None:
    """A file cut in half is no crash, and a new answer is kept."""
    file = store.directory / "cache.db"
    os.truncate(file, file.stat().st_size // 2)
    readable(store)
    request = request_of("new")
    store.put(request.key(), answer_of(request))
    assert store.get(request.key()) == answer_of(request)
    assert len(list(store.entries())) > 20


def test_damage_during_a_run(store: DiskStore, warnings: Warnings) -> None:
    """A database that breaks while it is open loses no answer that comes later."""
    request, later = request_of("new"), request_of("later")
    store.put(request.key(), answer_of(request))
    tamper(store, "PRAGMA wal_checkpoint(TRUNCATE)")
    with open(store.directory / "cache.db", "r+b") as file:
        file.seek(4096)
        file.write(b"\xaa" * (os.path.getsize(file.name) - 4096))
    store.put(later.key(), answer_of(later))
    assert store.get(later.key()) == answer_of(later)
    assert len(warnings) == 1


def test_an_overflow_may_break_too(tmp_path: Path, warnings: Warnings) -> None:
    """Each damaged overflow is followed by another one, to a limit that is loud."""
    (tmp_path / "cache.db").write_bytes(b"x" * 5000)
    for number in range(1, 9):
        (tmp_path / f"overflow-{number}").mkdir()
        (tmp_path / f"overflow-{number}" / "cache.db").write_bytes(b"x" * 5000)
    request = request_of()
    store = DiskStore(tmp_path, warnings.append)
    store.put(request.key(), answer_of(request))
    assert store.get(request.key()) == answer_of(request)
    store.close()
    (tmp_path / "overflow-9" / "cache.db").write_bytes(b"x" * 5000)
    store = DiskStore(tmp_path, warnings.append)
    with pytest.raises(StoreError, match=r"A paid answer could not be kept.*overflows"):
        store.put(request.key(), answer_of(request))
    store.close()


def test_the_disk_class_refuses_everything_but_text(tmp_path: Path) -> None:
    """Pickles, bytes, numbers and files are refused on the way in and on the way out."""
    disk = TextDisk(str(tmp_path))
    for key in (("a",), b"a", 1, None):
        with pytest.raises(TypeError, match="a key of the cache is a str"):
            disk.put(key)
    for value in (b"a", 1, object(), None):
        with pytest.raises(TypeError, match="a value of the cache is a str"):
            disk.store(value, False)
    rows: list[tuple[int, str | None, object]] = [
        (4, None, b"pickle"),
        (1, None, b"bytes"),
        (2, "file", None),
        (3, "file", None),
        (1, "file", "text"),
    ]
    for mode, filename, value in rows:
        with pytest.raises(UnusableEntryError):
            disk.fetch(mode, filename, value, False)
    for stored, raw in ((b"pickle", 0), (b"bytes", 1), ("text", 0)):
        with pytest.raises(UnusableEntryError):
            disk.get(stored, raw)
