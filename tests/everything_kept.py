"""Looks for a text in everything that was printed or lies on disk, packed or not."""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

__all__ = ["find_in_files", "find_in_text"]

_PACKED = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")


# Shorter ones would be found in base64 by chance.
_SHORTEST = 8


def find_in_files(folder: Path, needles: Sequence[str], *, without: Iterable[Path] = ()) -> list[str]:
    """Return the files below a folder that hold a needle, with the needle."""
    left_out = set(without)
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path not in left_out)
    return [
        f"{path.relative_to(folder)} holds {found}"
        for path in files
        for found in find_in_text(path.read_bytes(), needles)
    ]


def find_in_text(content: bytes | str, needles: Sequence[str]) -> list[str]:
    """Return the needles that some content holds, as they are, in base64, or in what is packed within it."""
    assert all(len(needle) >= _SHORTEST for needle in needles)
    raw = content.encode() if isinstance(content, str) else content
    layers = [raw, *_unpacked(raw)]
    return [needle for needle in needles if any(form in layer for form in _forms(needle) for layer in layers)]


def _forms(needle: str) -> Iterator[bytes]:
    yield needle.encode()
    yield needle.encode("utf-16-le")
    for skipped in range(3):
        # Base64 takes three bytes at a time, so that only what is at both ends depends on the neighbours.
        whole = needle.encode()[skipped:]
        yield base64.b64encode(whole[: len(whole) // 3 * 3])


def _unpacked(content: bytes) -> Iterator[bytes]:
    """Yield what base64 blocks within some content hold, decompressed where they are compressed."""
    for match in _PACKED.finditer(content):
        try:
            packed = base64.b64decode(match[0], validate=True)
        except binascii.Error:
            continue
        for decompress in (gzip.decompress, zlib.decompress):
            try:
                yield decompress(packed)
            except (OSError, EOFError, zlib.error):
                continue
