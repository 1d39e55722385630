"""What an HTML report holds, unpacked as the page does."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any

__all__ = ["embedded", "unpacked"]

_ELEMENT = re.compile(r'<script type="text/plain" id="(index|block)-(\d+)">([^<]*)</script>')


def unpacked(element: str) -> Any:
    """Return what the content of an element holds."""
    return json.loads(gzip.decompress(base64.b64decode(element)))


def embedded(page: str) -> dict[str, list[Any]]:
    """Return the indexes and the blocks of a page."""
    found: dict[str, list[Any]] = {"index": [], "block": []}
    for kind, number, content in _ELEMENT.findall(page):
        assert int(number) == len(found[kind])
        found[kind].append(unpacked(content))
    return found
