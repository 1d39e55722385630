"""Text from outside in Markdown: it is shown as it is, and means nothing.

Names, messages and case ids may be written by a model, and a report is read where ``@name`` calls a person
and ``#1`` links an issue. GitHub looks for those in the rendered text and not in the source, so that escaping
alone does not help: it leaves the contents of ``<code>`` alone, and a comment ends a piece of text for it.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["clip", "clip_middle", "code", "prose", "shown"]

_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
# They join emoji and shape many scripts; after ASCII they only hide.
_JOINERS = frozenset("\u200c\u200d")
# Letters by category that are drawn as nothing.
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")

# Dots and slashes too, where they may be a host's: some pages make links of bare names.
_MEANINGFUL = re.compile(r"[\\`*_\[\]{}<>&|~:@^$#!]|\.(?=[^\W\d_])|/(?=/)")
# Words and figures that no reader of Markdown takes for anything else. Seven digits might be a commit.
_PLAIN = re.compile(
    r"""(?![a-f]{7,40}$)[^\W\d_]+(?:[-'’][^\W\d_]+)*
      |[-+±−–~≥≤<]*\d{1,6}(?:[.,/–-]\d{1,6})*[%×]?
      |[-–−→≥≤…·✓✗+%]""",
    re.VERBOSE,
)
# Begins a list where it is the first word of a line.
_LIST_MARK = re.compile(r"[-+]|\d+[.)]")
_OPENING, _CLOSING = '("“‘', ')"”’,.;:?%…'


def shown(text: str) -> str:
    r"""Return a text in one line, with each invisible character as an escape, such as ``\x1b``."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    line = " ".join(text.split())
    return "".join(
        _escape(each) if _is_invisible(each, line[index - 1] if index else "") else each
        for index, each in enumerate(line)
    )


def clip(text: str, limit: int) -> str:
    """Return a text in one line, or its beginning."""
    # What follows is not looked at: an answer may have ten million characters.
    line = shown(text[: 8 * limit])
    return line if len(line) <= limit and len(text) <= 8 * limit else f"{line[: limit - 1].rstrip()}…"


def clip_middle(text: str, limit: int) -> str:
    """Return a name in one line, or its beginning and its end."""
    if len(text) > 8 * limit:
        text = f"{text[: 4 * limit]} … {text[-4 * limit :]}"
    line = shown(text)
    if len(line) <= limit:
        return line
    tail = limit // 3
    return f"{line[: limit - tail - 1].rstrip()}…{line[-tail:].lstrip()}"


def code(text: str) -> str:
    """Return Markdown that shows a text, and nothing but it, as code."""
    return f"<code>{_escaped(shown(text))}</code>" if text.strip() else ""


def prose(text: str) -> str:
    """Return Markdown that shows a sentence: plain words as such, and all that might be more as code."""
    words = [word for word in shown(text).split(" ") if word]
    return " ".join(_word(word, is_first=index == 0) for index, word in enumerate(words))


def _word(text: str, *, is_first: bool) -> str:
    core = text.lstrip(_OPENING)
    before, core = text[: len(text) - len(core)], core.rstrip(_CLOSING)
    after = text[len(before) + len(core) :]
    if is_first and _LIST_MARK.fullmatch(text):
        return f"<code>{_escaped(text)}</code>"
    if core and not _PLAIN.fullmatch(core):
        return f"{before}<code>{_escaped(core)}</code>{after}"
    return before + core.replace("<", "&lt;").replace("~", "&#126;") + after


def _is_invisible(character: str, before: str) -> bool:
    if character in _JOINERS:
        return not before or before.isascii()
    return unicodedata.category(character) in _INVISIBLE or character in _BLANK_LETTERS


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _escaped(text: str) -> str:
    return _MEANINGFUL.sub(_entity, text)


def _entity(found: re.Match[str]) -> str:
    # An address is looked for when entities have become characters; a comment keeps its halves apart.
    return "&#64;<!-- -->" if found[0] == "@" else f"&#{ord(found[0])};"
