"""Text that is safe to show, and the one JSON text of a value.

Text from outside is safe to print where nothing in it moves the cursor, hides, or turns the writing around.
"""

from __future__ import annotations

import json
import re

__all__ = ["canonical_json", "visible", "visible_lines"]


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no white space, UTF-8 characters as they are.

    Raises:
        TypeError: The value holds something that JSON cannot express.
        ValueError: The value holds NaN or an infinity.
    """
    return _CANONICAL.encode(value)


# Control characters, marks of direction, separators of lines, halves of surrogate pairs, and what takes no room
# at all. The joiners U+200C and U+200D stay: whole scripts and emoji are written with them.
_HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f"
)
_IN_A_LINE = re.compile(f"[\n{_HIDDEN}]")
_IN_LINES = re.compile(f"[{_HIDDEN}]")
# What pytest itself paints with: colours and bold, and nothing that would hide a text.
_COLOURED = re.compile(rf"(\x1b\[(?:(?:0?[01]|2[24]|[349][0-79]|10[0-7])(?:;(?=\d))?)*m)|[{_HIDDEN}]")


def visible(text: str) -> str:
    r"""Return a line of text with what a terminal would obey written as an escape, such as ``\x1b``."""
    return _IN_A_LINE.sub(_escape, text)


def visible_lines(text: str, *, colours: bool = False) -> str:
    """Return a text that may have several lines, each of them visible.

    Args:
        text: The text.
        colours: Whether to keep the sequences that only colour.
    """
    return (_COLOURED if colours else _IN_LINES).sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    if found.lastindex:
        return found[0]
    return found[0].encode("unicode_escape").decode("ascii")
