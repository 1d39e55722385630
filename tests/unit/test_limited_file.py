"""Files that somebody else may have made are read up to a limit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pytest_proofmap.files import MOST_DEPTH, FileTooLargeError, check_depth, read_limited


def test_up_to_the_limit(tmp_path: Path) -> None:
    """A file of just the limit is read, a longer one is refused."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_limited(path, 5) == b"12345"
    with pytest.raises(FileTooLargeError, match="it has more than 0 kB"):
        read_limited(path, 4)
    with pytest.raises(OSError, match="No such file"):
        read_limited(tmp_path / "none", 5)


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX's here")
def test_what_is_no_file(tmp_path: Path) -> None:
    """What never ends is read up to the limit; where a file is wanted, a pipe is not waited for."""
    with pytest.raises(FileTooLargeError):
        read_limited(Path("/dev/zero"), 1000)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no ordinary file"):
        read_limited(tmp_path / "pipe", 1000, regular=True)


def nested(depth: int, within: str) -> Any:
    """Return lists or objects within each other."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if within == "list" else {"a": value}
    return value


@pytest.mark.parametrize("within", ["list", "dict"])
def test_depth(within: str) -> None:
    """As deep as anybody writes is fine, deeper is not."""
    check_depth(nested(MOST_DEPTH - 1, within))
    for depth in (MOST_DEPTH, 100_000):
        with pytest.raises(ValueError, match="nested more than 100 deep"):
            check_depth(nested(depth, within))
