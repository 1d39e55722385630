"""Text from outside that is safe to print: nothing in it moves the cursor or turns the direction of writing."""

from __future__ import annotations

import re

__all__ = ["visible"]

# Control characters, marks of direction, separators of lines, and halves of surrogate pairs.
_HIDDEN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return a line of text with what a terminal would obey written as an escape, such as ``\x1b``."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
