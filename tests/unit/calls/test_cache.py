"""The response cache on disk."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_answers import answer_of, request_of

from pytest_proofmap.calls.answer import Answer, Refusal
from pytest_proofmap.calls.cache.disk import DiskStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache folder as a project has it, not created yet."""
    return tmp_path / ".proofmap" / "cache"


@pytest.fixture
def store(folder: Path) -> Iterator[DiskStore]:
    """A store in the folder that must not warn."""
    store = DiskStore(folder, pytest.fail)
    yield store
    store.close()


def test_an_answer_is_found_again(store: DiskStore) -> None:
    """What was put is what is got, and other keys are misses."""
    request = request_of()
    store.put(request.key(), answer_of(request))
    assert store.get(request.key()) == answer_of(request)
    assert store.get(request_of("other").key()) is None


def test_an_answer_survives_the_process(folder: Path, store: DiskStore) -> None:
    """A second store on the same folder finds what the first one wrote, while both are open."""
    request = request_of()
    store.put(request.key(), answer_of(request))
    other = DiskStore(folder, pytest.fail)
    assert other.get(request.key()) == answer_of(request)
    other.close()


def test_a_reader_sees_what_another_store_writes_later(folder: Path, store: DiskStore) -> None:
    """A store that looked before the database existed finds an answer that another one wrote since."""
    request = request_of()
    assert store.get(request.key()) is None
    other = DiskStore(folder, pytest.fail)
    other.put(request.key(), answer_of(request))
    other.close()
    assert store.get(request.key()) == answer_of(request)


def test_a_new_answer_replaces_the_old_one(store: DiskStore) -> None:
    """Putting a key again keeps the newer answer alone."""
    request = request_of()
    store.put(request.key(), answer_of(request, "old"))
    store.put(request.key(), answer_of(request, "new"))
    assert [entry.answer.text for entry in store.entries()] == ["new"]


def test_answers_in_any_order_are_found(folder: Path, store: DiskStore) -> None:
    """The order of asking does not matter, and answers that came later are found as well."""
    requests = [request_of(str(number)) for number in range(200)]
    for request in requests[:150]:
        store.put(request.key(), answer_of(request))
    reader = DiskStore(folder, pytest.fail, readonly=True)
    shuffled = random.Random(1).sample(requests[:150], 150)
    for order in (requests[:150], shuffled, requests[149::-1]):
        assert [reader.get(request.key()) for request in order] == [answer_of(request) for request in order]
    for request in requests[150:]:
        store.put(request.key(), answer_of(request))
    assert [reader.get(request.key()) for request in requests] == [answer_of(request) for request in requests]
    reader.close()


def test_an_answer_that_changed_is_not_given_again(store: DiskStore) -> None:
    """An answer that was replaced or deleted after its neighbours were read is never given again."""
    requests = [request_of(str(number)) for number in range(20)]
    for request in requests:
        store.put(request.key(), answer_of(request))
    for request in requests[:5]:
        store.get(request.key())
    store.put(requests[6].key(), answer_of(requests[6], "replaced"))
    store.delete([requests[7].key()])
    assert store.get(requests[6].key()) == answer_of(requests[6], "replaced")
    assert store.get(requests[7].key()) is None


def test_a_refusal_is_kept(store: DiskStore) -> None:
    """A provider's refusal is an answer like any other."""
    request = request_of()
    refused = Answer(request.content(), None, Refusal("ContentPolicyViolationError", "no"))
    store.put(request.key(), refused)
    assert store.get(request.key()) == refused


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(text=st.text(st.characters(), max_size=20))
def test_any_text_is_kept(store: DiskStore, text: str) -> None:
    """Every Python string comes back, half surrogate pairs and control characters included."""
    request = request_of(text)
    store.put(request.key(), answer_of(request, text))
    assert store.get(request.key()) == answer_of(request, text)


def test_closing_twice_and_using_a_closed_store(store: DiskStore) -> None:
    """Closing twice is fine, and a closed store opens again when it is used."""
    request = request_of()
    store.put(request.key(), answer_of(request))
    store.close()
    store.close()
    assert store.get(request.key()) is not None


def test_reading_imports_no_diskcache_and_writes_nothing(folder: Path, store: DiskStore) -> None:
    """A run that finds every answer neither imports diskcache nor changes the folder."""
    request = request_of()
    store.put(request.key(), answer_of(request))
    store.close()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    script = (
        "import sys; from pathlib import Path; from pytest_proofmap.calls.cache.disk import DiskStore\n"
        "store = DiskStore(Path(sys.argv[1]), print)\n"
        "assert store.get(sys.argv[2]) is not None\n"
        "store.close()\n"
        "assert not {'diskcache', 'litellm', 'pydantic', 'pytest'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(folder), request.key()], check=True)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_nothing_is_evicted(folder: Path, store: DiskStore) -> None:
    """The database keeps every answer: no policy, no limit and no value outside of it."""
    big = request_of("big")
    store.put(big.key(), answer_of(big, "x" * 3_000_000))
    for number in range(30):
        request = request_of(str(number))
        store.put(request.key(), answer_of(request))
    assert len(list(store.entries())) == 31
    assert store.get(big.key()) == answer_of(big, "x" * 3_000_000)
    assert not list(folder.rglob("*.val"))


def test_threads_share_a_store(store: DiskStore) -> None:
    """Threads write and read through one store at the same time."""

    def work(thread: int) -> None:
        for number in range(20):
            request = request_of(f"{thread}-{number}")
            store.put(request.key(), answer_of(request))
            assert store.get(request.key()) == answer_of(request)
        store.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(store.entries())) == 80


def test_processes_share_a_folder(folder: Path) -> None:
    """Processes that create and fill one cache at the same time lose no answer."""
    script = (
        "import sys; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[3])\n"
        "from stored_answers import answer_of, request_of\n"
        "from pytest_proofmap.calls.cache.disk import DiskStore\n"
        "def fail(text): sys.exit(text)\n"
        "store = DiskStore(Path(sys.argv[1]), fail)\n"
        "for number in range(50):\n"
        "    request = request_of(f'{sys.argv[2]}-{number}')\n"
        "    store.put(request.key(), answer_of(request))\n"
        "store.close()\n"
    )
    here = str(Path(__file__).parent)
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(folder), str(number), here]) for number in range(3)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    store = DiskStore(folder, pytest.fail, readonly=True)
    assert len(list(store.entries())) == 150
    store.close()


def test_the_folder_is_marked_as_ours(folder: Path, store: DiskStore) -> None:
    """The new .proofmap folder keeps itself out of git and out of backups."""
    ours = folder.parent
    assert (ours / ".gitignore").read_text().splitlines()[-1] == "*"
    assert (ours / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")


def test_a_folder_of_the_user_is_left_alone(tmp_path: Path) -> None:
    """A folder that was there before is not declared ours."""
    DiskStore(tmp_path, pytest.fail).close()
    assert not (tmp_path / ".gitignore").exists()


def test_use_is_recorded_once_a_run(folder: Path, store: DiskStore) -> None:
    """The last day of use of each key is kept, and an earlier day never replaces a later one."""
    store.mark_used(["a", "b"], date(2026, 1, 1))
    store.mark_used(["b"], date(2026, 2, 1))
    store.mark_used(["b"], date(2025, 2, 1))
    assert store.last_used() == {"a": date(2026, 1, 1), "b": date(2026, 2, 1)}


def test_a_damaged_record_of_use_does_no_harm(folder: Path) -> None:
    """Without a readable record nothing counts as used, and recording again only warns."""
    warnings: list[str] = []
    store = DiskStore(folder, warnings.append)
    (folder / "used.db").write_bytes(b"no database" * 500)
    assert store.last_used() == {}
    store.mark_used(["a"], date(2026, 1, 1))
    store.mark_used(["b"], date(2026, 1, 1))
    assert len(warnings) == 1
    assert "cannot record which answers were used" in warnings[0]


def test_deleted_answers_are_gone(folder: Path, store: DiskStore) -> None:
    """Deleting removes the answers and their record of use, and nothing else."""
    kept, gone = request_of("kept"), request_of("gone")
    for request in (kept, gone):
        store.put(request.key(), answer_of(request))
    store.mark_used([kept.key(), gone.key()], date(2026, 1, 1))
    store.delete([gone.key()])
    assert store.get(gone.key()) is None
    assert [entry.key for entry in store.entries()] == [kept.key()]
    assert list(store.last_used()) == [kept.key()]


def test_entries_are_json_text(folder: Path, store: DiskStore) -> None:
    """The database holds plain JSON, readable by any other tool."""
    import sqlite3

    request = request_of("Grüße")
    store.put(request.key(), answer_of(request))
    store.close()
    database = sqlite3.connect(folder / "cache.db")
    ((key, mode, value),) = database.execute("SELECT key, mode, value FROM Cache").fetchall()
    database.close()
    assert (key, mode) == (request.key(), 1)
    assert json.loads(value)["request"]["messages"][0]["content"] == "Grüße"
