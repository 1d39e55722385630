"""Which process makes a call, when several could."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from stored_answers import answer_of, request_of

from pytest_proofmap.calls.cache.disk import CallLocks, DiskStore, Holder
from pytest_proofmap.files import create_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="claims need locks on bytes of a file")

HOLDER = """
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pytest_proofmap.calls.cache.disk import CallLocks
claims = CallLocks(Path(sys.argv[1]))
print(claims.take("a"), flush=True)
sys.stdin.readline()
claims.give_back("a")
print("given back", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path: Path) -> subprocess.Popen[str]:
    """A process that has claimed the call ``a`` and gives it back when it is told a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_a_call_is_claimed_by_one_process(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    """Another process has it until it gives it back; other calls are free."""
    claims = CallLocks(tmp_path)
    assert not claims.take("a")
    assert claims.take("b")
    assert claims.take("b")
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdin.write("\n")
    other.stdin.flush()
    other.stdout.readline()
    assert claims.take("a")
    other.communicate()
    claims.close()


def test_the_dead_claim_nothing(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    """A process that was killed holds nobody up."""
    claims = CallLocks(tmp_path)
    assert not claims.take("a")
    other.kill()
    other.communicate()
    assert claims.take("a")
    claims.close()


def test_a_kept_answer_ends_the_claim(tmp_path: Path) -> None:
    """Keeping an answer, giving back and closing all end what the process claimed, and none harms twice."""
    store = DiskStore(tmp_path, pytest.fail)
    ends: list[Callable[[], None]] = [
        partial(store.put, "a", answer_of(request_of())),
        partial(store.give_back, "a"),
        store.close,
    ]
    for end in ends:
        assert store.claim("a", 1.0)
        end()
        end()
        assert _is_free(tmp_path)
    store.close()


def _is_free(folder: Path) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", HOLDER, str(folder)], input="\n\n", capture_output=True, text=True, check=True
    )
    return done.stdout.startswith("True")


def test_folder_without_trouble(tmp_path: Path) -> None:
    """An ordinary folder can lock; one without the file is not asked, and gets none."""
    claims = CallLocks(tmp_path)
    assert claims.trouble(create=False) is None
    assert list(tmp_path.iterdir()) == []
    assert claims.trouble(create=True) is None
    assert CallLocks(tmp_path / "missing").trouble(create=True) is None


AS_NOBODY = """
import os, sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from pytest_proofmap.errors import StoreError
from pytest_proofmap.calls.cache.disk import DiskStore
from pytest_proofmap.calls.cache.disk import CallLocks
if os.getuid() == 0:
    os.setuid(65534)
"""


def run_as_nobody(folder: Path, code: str) -> str:
    """Run code with ``folder`` as a user who owns nothing, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY + code, str(folder), *sys.path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user reaches."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_a_lock_file_that_cannot_be_opened_is_no_claim_of_another(open_folder: Path) -> None:
    """Nobody waits for a file of another user's: the call is made, and why nothing is claimed is known."""
    (open_folder / "claims.lock").touch()
    (open_folder / "claims.lock").chmod(0)
    code = "claims = CallLocks(Path(sys.argv[1]))\nprint(claims.take('a'), claims.unusable)"
    assert run_as_nobody(open_folder, code) == "True claims.lock cannot be opened: Permission denied\n"


@pytest.mark.parametrize("place", ["cache", "outer/cache"])
def test_a_cache_of_another_user(open_folder: Path, place: str) -> None:
    """What may not be read is a miss with one warning, and what could not be kept is not called for."""
    cache = open_folder / place
    store = DiskStore(cache, pytest.fail)
    store.put("a", answer_of(request_of("hi")))
    store.close()
    (open_folder / place.partition("/")[0]).chmod(0)
    code = """
warnings = []
store = DiskStore(Path(sys.argv[1]) / "PLACE", warnings.append, readonly=True)
print(store.get("a"), store.get("b"), list(store.entries()), store.last_used(), len(warnings))
print(warnings[0])
try:
    DiskStore(Path(sys.argv[1]) / "PLACE", print)
except StoreError as error:
    print(error)
""".replace("PLACE", place)
    try:
        said = run_as_nobody(open_folder, code)
    finally:
        (open_folder / place.partition("/")[0]).chmod(0o755)
    assert said.startswith("None None [] {} 1\n"), said
    assert "cannot be read (Permission denied), so its answers are misses" in said
    assert "cannot be written" in said


def test_who_holds_a_claim(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    """The process that has claimed a call is known, and whether somebody has stopped it."""
    if sys.platform != "linux":
        pytest.skip("Linux tells")
    claims = CallLocks(tmp_path)
    assert claims.holder("a") == Holder(other.pid, is_stopped=False)
    assert claims.holder("b") is None
    os.kill(other.pid, signal.SIGSTOP)
    os.waitpid(other.pid, os.WUNTRACED)
    assert claims.holder("a") == Holder(other.pid, is_stopped=True)
    os.kill(other.pid, signal.SIGCONT)
    other.communicate("\n\n")
    claims.close()


@pytest.mark.parametrize("left", [[], [".gitignore"]], ids=["nothing", "an empty file"])
def test_marks_of_a_folder_that_were_never_finished(tmp_path: Path, left: list[str]) -> None:
    """A process that was killed after it made our folder leaves no folder that is committed."""
    folder = tmp_path / ".proofmap"
    folder.mkdir()
    for name in left:
        (folder / name).touch()
    create_folder(folder / "cache")
    assert "*" in (folder / ".gitignore").read_text(encoding="utf-8")
    assert (folder / "CACHEDIR.TAG").exists()
    (folder / ".gitignore").unlink()
    create_folder(folder)
    assert not (folder / ".gitignore").exists()
