"""Which process makes a call, when several could."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from stored_answers import answer_of, request_of

from pytest_proofmap.runtime.cache import DiskStore
from pytest_proofmap.runtime.claims import Claims

pytestmark = pytest.mark.skipif(os.name != "posix", reason="claims need locks on bytes of a file")

HOLDER = """
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pytest_proofmap.runtime.claims import Claims
claims = Claims(Path(sys.argv[1]))
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
    claims = Claims(tmp_path)
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
    claims = Claims(tmp_path)
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
    claims = Claims(tmp_path)
    assert claims.trouble(create=False) is None
    assert list(tmp_path.iterdir()) == []
    assert claims.trouble(create=True) is None
    assert Claims(tmp_path / "missing").trouble(create=True) is None
