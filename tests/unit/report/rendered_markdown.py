"""Markdown as a page shows it: rendered as GitHub does, then taken apart."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser

from markdown_it import MarkdownIt

__all__ = ["Rendered", "render"]

RENDERER = MarkdownIt("commonmark", {"html": True, "linkify": True}).enable(["table", "strikethrough", "linkify"])

UNSEEN = re.compile(
    r"(?<![\w/])@[\w-]"  # a mention
    r"|(?<!\w)(?:\#|GH-)\d"  # an issue
    r"|\b(?=[0-9a-f]*[0-9])[0-9a-f]{7,40}\b|\b[a-f]{7,40}\b"  # a commit
    r"|:[\w+-]+:"  # an emoji
    r"|\w@\w|www\.\w|://"  # an address
    r"|\$",  # a formula
    re.IGNORECASE,
)
"""What GitHub looks for in the text of a page, but for code."""


@dataclass
class Rendered(HTMLParser):
    """A rendered page.

    Attributes:
        text: What it shows, with every row of a table and every paragraph on a line of its own.
        tags: How often each element occurs.
        finds: What would be made a link, mention or picture of, after the page was rendered.
    """

    text: str = ""
    tags: Counter[str] = field(default_factory=Counter)
    finds: list[str] = field(default_factory=list)
    comments: Counter[str] = field(default_factory=Counter)
    _code: int = 0

    def __post_init__(self) -> None:
        """Start to read."""
        super().__init__(convert_charrefs=False)
        self._node = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an element."""
        self._end_of_node()
        self.tags[tag] += 1
        self._code += tag == "code"
        if attrs:
            self.tags[f"{tag} with attributes"] += 1

    def handle_endtag(self, tag: str) -> None:
        """Take its end."""
        self._end_of_node()
        self._code -= tag == "code"

    def handle_comment(self, data: str) -> None:
        """Take a comment, at which a piece of text ends."""
        self._end_of_node()
        self.comments[data] += 1

    def handle_data(self, data: str) -> None:
        """Take text."""
        self.text += data
        self._node += data

    def handle_charref(self, name: str) -> None:
        """Take a character by its number."""
        self.handle_data(chr(int(name[1:], 16) if name.startswith("x") else int(name)))

    def handle_entityref(self, name: str) -> None:
        """Take a character by its name."""
        self.handle_data({"lt": "<", "gt": ">", "amp": "&", "quot": '"'}[name])

    def handle_decl(self, decl: str) -> None:
        """Take a declaration, which nothing should make."""
        self.tags[f"!{decl}"] += 1

    def unknown_decl(self, data: str) -> None:
        """Take what is neither."""
        self.tags[f"!{data}"] += 1

    def handle_pi(self, data: str) -> None:
        """Take an instruction, which nothing should make."""
        self.tags[f"?{data}"] += 1

    def _end_of_node(self) -> None:
        if not self._code:
            self.finds += UNSEEN.findall(self._node)
        self._node = ""


def render(markdown: str) -> Rendered:
    """Return what a page makes of Markdown."""
    page = Rendered()
    page.feed(RENDERER.render(markdown))
    page.close()
    page._end_of_node()
    return page
