"""The response cache with files that somebody or something has damaged."""

from __future__ import annotations

import errno
import os
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from stored_answers import answer_of, request_of

from pytest_proofmap.calls.cache import text_disk
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
    """A database with settings of another hand is set aside, its answers are kept without them."""
    tamper(store, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", name, value)
    store = DiskStore(store.directory, warnings.append)
    request = request_of("new")
    store.put(request.key(), answer_of(request))
    assert store.get(request.key()) == answer_of(request)
    assert readable(store) == 200
    store.close()
    assert (store.directory / "set-aside-1" / "cache.db").exists()
    with closing(sqlite3.connect(store.directory / "cache.db")) as database:
        settings = dict(database.execute("SELECT key, value FROM Settings").fetchall())
    assert settings.get(name) != value
    assert len(warnings) == 1
    assert name in warnings[0]
    assert str(store.directory / "set-aside-1") in warnings[0]


def test_a_foreign_trigger_is_not_obeyed(store: DiskStore, warnings: Warnings) -> None:
    """A database with objects that are not the cache's is set aside, and its answers are kept."""
    tamper(store, "CREATE TRIGGER sneaky AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END")
    store = DiskStore(store.directory, warnings.append)
    request = request_of("new")
    store.put(request.key(), answer_of(request))
    assert store.get(request.key()) == answer_of(request)
    assert readable(store) == 200
    store.close()
    assert "sneaky" in warnings[0]


def test_a_file_that_is_no_database(tmp_path: Path, warnings: Warnings) -> None:
    """What is not a database is set aside untouched: misses with one warning, and new answers are kept."""
    file = tmp_path / "cache.db"
    file.write_bytes(b"this is no database " * 500)
    store = DiskStore(tmp_path, warnings.append)
    request = request_of()
    assert store.get(request.key()) is None
    assert list(store.entries()) == []
    assert file.read_bytes() == b"this is no database " * 500
    store.put(request.key(), answer_of(request))
    assert store.get(request.key()) == answer_of(request)
    store.close()
    assert (tmp_path / "set-aside-1" / "cache.db").read_bytes() == b"this is no database " * 500
    assert len(warnings) == 1
    for part in ("is damaged", str(file), str(tmp_path / "set-aside-1")):
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
    with closing(DiskStore(folder, warnings.append)) as store, pytest.raises(StoreError, match="is full"):
        store.put("a" * 64, answer_of(request_of()))
    assert [path.name for path in folder.glob("*.db")] == ["cache.db"]
    assert not list(folder.glob("overflow-*"))


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
    """With a broken page the rest is read, also after new answers to those that are lost were kept."""
    file = store.directory / "cache.db"
    content = bytearray(file.read_bytes())
    pages = len(content) // 4096
    assert pages > 30
    page = 2 + seed * (pages - 3) // 12
    content[page * 4096 : (page + 1) * 4096] = bytes(range(256)) * 16
    file.write_bytes(content)
    listed = {entry.key for entry in store.entries()}
    found = {key for key in (request_of(str(number)).key() for number in range(200)) if store.get(key) is not None}
    assert len(listed) >= 150
    for number in range(200):
        request = request_of(str(number))
        if request.key() not in found:
            store.put(request.key(), answer_of(request))
    request = request_of("new")
    store.put(request.key(), answer_of(request))
    assert store.get(request.key()) == answer_of(request)
    assert readable(store) == 200
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


def fill(folder: Path, texts: dict[str, str]) -> None:
    """Write answers to a database."""
    with closing(DiskStore(folder, pytest.fail)) as store:
        for name, text in texts.items():
            store.put(request_of(name).key(), answer_of(request_of(name), text))


def texts_of(store: DiskStore, names: str) -> str:
    """Return the texts of the answers to some requests, a dot for a miss."""
    found = (store.get(request_of(name).key()) for name in names)
    return "".join("." if answer is None else answer.text or "" for answer in found)


@pytest.fixture
def overflowed(tmp_path: Path) -> Path:
    """A cache as earlier versions left it when its database, and the first one beside it, were damaged."""
    fill(tmp_path, {"a": "1", "b": "1", "c": "1"})
    fill(tmp_path / "overflow-1", {"b": "2", "d": "2"})
    fill(tmp_path / "overflow-2", {"c": "3", "d": "3", "e": "3"})
    return tmp_path


def content_of(folder: Path) -> dict[Path, bytes]:
    """Return what is in a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_overflows_of_earlier_versions_are_merged(overflowed: Path) -> None:
    """Of two answers to one request the later is kept, with its time, and nothing is deleted."""
    with closing(DiskStore(overflowed / "overflow-2", pytest.fail, readonly=True)) as store:
        times = {entry.key: entry.stored_at for entry in store.entries()}
    with closing(DiskStore(overflowed, pytest.fail)) as store:
        assert texts_of(store, "abcdef") == "12333."
        entries = {entry.key: entry.stored_at for entry in store.entries()}
    assert len(entries) == 5
    assert {key: entries[key] for key in times} == times
    assert not list(overflowed.glob("overflow-*"))
    assert sorted(path.name for path in overflowed.glob("set-aside-*")) == ["set-aside-1", "set-aside-2"]
    # An earlier version that still runs may write to it once more.
    fill(overflowed / "overflow-1", {"f": "4"})
    with closing(DiskStore(overflowed, pytest.fail)) as store:
        assert texts_of(store, "abcdef") == "123334"
    assert not list(overflowed.glob("overflow-*"))


def test_overflows_are_read_where_nothing_may_be_written(overflowed: Path) -> None:
    """Read-only mode finds every answer in its place, and leaves the folder as it was."""
    before = content_of(overflowed)
    with closing(DiskStore(overflowed, pytest.fail, readonly=True)) as store:
        assert texts_of(store, "abcdef") == "12333."
        assert sorted(entry.answer.text or "" for entry in store.entries()) == ["1", "2", "3", "3", "3"]
    assert {path: content for path, content in content_of(overflowed).items() if path in before} == before


def test_overflows_beside_a_damaged_database_are_merged(overflowed: Path, warnings: Warnings) -> None:
    """The damaged one is set aside as well, under a name that is told in one warning."""
    (overflowed / "cache.db").write_bytes(b"x" * 5000)
    with closing(DiskStore(overflowed, warnings.append)) as store:
        assert texts_of(store, "abcde") == ".2333"
    assert not list(overflowed.glob("overflow-*"))
    [warning] = warnings
    assert str(overflowed / "set-aside-3") in warning
    assert (overflowed / "set-aside-3" / "cache.db").read_bytes() == b"x" * 5000


def test_an_overflow_may_be_damaged_too(overflowed: Path) -> None:
    """What can be read of it is merged, and the rest stays set aside."""
    (overflowed / "overflow-1" / "cache.db").write_bytes(b"x" * 5000)
    with closing(DiskStore(overflowed, pytest.fail)) as store:
        assert texts_of(store, "abcde") == "11333"
    assert (overflowed / "set-aside-1" / "cache.db").read_bytes() == b"x" * 5000


def test_what_cannot_be_merged_is_read_from_where_it_is(
    overflowed: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or a folder that cannot be renamed, loses nothing."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", fail)
    with closing(DiskStore(overflowed, warnings.append)) as store:
        assert texts_of(store, "abcde") == "12333"
    [warning] = warnings
    assert "is full" in warning
    monkeypatch.undo()
    with closing(DiskStore(overflowed, pytest.fail)) as store:
        assert texts_of(store, "abcde") == "12333"
    assert not list(overflowed.glob("overflow-*"))


KILLED = """
import os, sys
from pathlib import Path
from pytest_proofmap.calls.cache import database, text_disk
from pytest_proofmap.calls.cache.disk import DiskStore
place, number = sys.argv[2], int(sys.argv[3])
holder = {"keep_later": text_disk.TextCache, "_move_side_files": database, "rename": os}[place]
usual = getattr(holder, place)
def one_too_many(*arguments):
    global number
    if number == 0:
        os._exit(9)
    number -= 1
    return usual(*arguments)
setattr(holder, place, one_too_many)
store = DiskStore(Path(sys.argv[1]), print)
sys.path.insert(0, sys.argv[4])
from stored_answers import answer_of, request_of
store.put(request_of("new").key(), answer_of(request_of("new"), "n"))
"""


def run_killed(folder: Path, place: str, number: int) -> int:
    """Open the store and write to it in a process that ends when a function is called once too often."""
    here = str(Path(__file__).parent)
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), place, str(number), here], check=False, timeout=60
    ).returncode


@pytest.mark.parametrize(
    ("place", "number"), [("keep_later", 0), ("keep_later", 2), ("keep_later", 4), ("rename", 1)]
)
def test_a_merge_that_is_killed_is_done_again(overflowed: Path, place: str, number: int) -> None:
    """Whenever a process is killed while it merges, the next one finds every answer."""
    assert run_killed(overflowed, place, number) == 9
    with closing(DiskStore(overflowed, pytest.fail, readonly=True)) as store:
        assert texts_of(store, "abcde") == "12333"
    with closing(DiskStore(overflowed, pytest.fail)) as store:
        assert texts_of(store, "abcde") == "12333"
    assert not list(overflowed.glob("overflow-*"))


@pytest.mark.parametrize(("place", "number"), [("rename", 0), ("_move_side_files", 0), ("keep_later", 100)])
def test_a_process_that_is_killed_while_it_sets_aside_loses_nothing(
    store: DiskStore, warnings: Warnings, place: str, number: int
) -> None:
    """The next one goes on where it was, with what only the database's log held."""
    tamper(store, "CREATE TRIGGER sneaky AFTER DELETE ON Cache BEGIN SELECT 1; END")
    with closing(sqlite3.connect(store.directory / "cache.db")) as reader:
        reader.execute("SELECT count(*) FROM Cache").fetchone()
        # It stays in the log for as long as somebody else has the database open.
        tamper(store, "UPDATE Cache SET store_time = store_time + 1")
        assert (store.directory / "cache.db-wal").stat().st_size
        assert run_killed(store.directory, place, number) == 9
    with closing(DiskStore(store.directory, warnings.append)) as next_store:
        request = request_of("new")
        next_store.put(request.key(), answer_of(request, "n"))
        assert readable(next_store) == 200
        assert len(list(next_store.entries())) == 201
    assert not list(store.directory.glob("overflow-*"))


def test_other_processes_go_on_while_one_sets_aside(store: DiskStore, warnings: Warnings) -> None:
    """A store that has the damaged database open finds what others write next, and they find what it writes."""
    before, after = request_of("before"), request_of("after")
    other = DiskStore(store.directory, warnings.append)
    other.put(before.key(), answer_of(before))
    assert readable(other) == 200
    with closing(sqlite3.connect(store.directory / "cache.db")) as database, database:
        database.execute("CREATE TRIGGER sneaky AFTER INSERT ON Cache BEGIN SELECT 1; END")
    fresh = DiskStore(store.directory, warnings.append)
    request = request_of("new")
    fresh.put(request.key(), answer_of(request))
    assert (store.directory / "set-aside-1").is_dir()
    assert other.get(request.key()) == answer_of(request)
    other.put(after.key(), answer_of(after))
    assert fresh.get(after.key()) == answer_of(after)
    assert (readable(other), readable(fresh)) == (200, 200)
    assert fresh.get(before.key()) == answer_of(before)
    other.close()
    fresh.close()
    assert len(warnings) == 1


def test_an_answer_that_is_written_while_another_process_sets_aside_is_kept(
    store: DiskStore, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written to the file that has just been moved, and perhaps read already, it is written to the new one too."""
    request, later = request_of("new"), request_of("later")
    other = DiskStore(store.directory, warnings.append)
    other.prepare_to_write()
    usual = text_disk.TextCache.set

    def move_first(cache: object, *arguments: object) -> object:
        monkeypatch.undo()
        with closing(sqlite3.connect(store.directory / "cache.db")) as database, database:
            database.execute("CREATE TRIGGER sneaky AFTER UPDATE ON Settings BEGIN SELECT 1; END")
        with closing(DiskStore(store.directory, warnings.append)) as fresh:
            fresh.put(later.key(), answer_of(later))
        return usual(cache, *arguments)

    monkeypatch.setattr(text_disk.TextCache, "set", move_first)
    other.put(request.key(), answer_of(request))
    other.close()
    with closing(DiskStore(store.directory, pytest.fail, readonly=True)) as fresh:
        assert fresh.get(request.key()) == answer_of(request)
        assert fresh.get(later.key()) == answer_of(later)


def test_processes_that_find_the_damage_at_once_lose_nothing(store: DiskStore) -> None:
    """Several set aside and merge at the same time: each answer is found, carried over once."""
    tamper(store, "CREATE TRIGGER sneaky AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END")
    script = (
        "import sys; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[3])\n"
        "from stored_answers import answer_of, request_of\n"
        "from pytest_proofmap.calls.cache.disk import DiskStore\n"
        "store = DiskStore(Path(sys.argv[1]), print)\n"
        "for number in range(20):\n"
        "    request = request_of(f'{sys.argv[2]}-{number}')\n"
        "    store.put(request.key(), answer_of(request))\n"
        "store.close()\n"
    )
    arguments = [sys.executable, "-c", script, str(store.directory)]
    here = str(Path(__file__).parent)
    processes = [subprocess.Popen([*arguments, str(number), here]) for number in range(4)]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    with closing(DiskStore(store.directory, pytest.fail)) as merged:
        assert len(list(merged.entries())) == 280
    assert not list(store.directory.glob("overflow-*"))
    assert [path.name for path in store.directory.glob("set-aside-*")] == ["set-aside-1"]


def test_a_disk_that_damages_all_that_is_written_is_loud(
    store: DiskStore, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new database that is damaged as well is an error, since the answer was paid."""

    def fail(*_: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    request = request_of("new")
    monkeypatch.setattr(text_disk.TextCache, "set", fail)
    with pytest.raises(StoreError, match=r"A paid answer could not be kept.*damaged as soon as it is written"):
        store.put(request.key(), answer_of(request))
    monkeypatch.undo()
    assert readable(store) == 200


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
