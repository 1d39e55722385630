"""Valid documents with something in them that somebody else thought of."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from pytest_proofmap.files import check_depth

__all__ = ["HOSTILE", "damaged", "hostile_values"]

HOSTILE: Sequence[Any] = (
    None,
    True,
    0,
    -1,
    1,
    2,
    2**31,
    2**63,
    10**30,
    10**400,
    -(10**18),
    0.5,
    1.5,
    -0.0,
    5e-324,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "0",
    "a",
    " ",
    "\x00",
    "\x1b[2J\x1b]0;title\x07",
    "\ud800",
    "\u202e\u2028",
    "../../etc/passwd",
    "/etc/passwd",
    "os.environ/HOME",
    "os.environ/",
    "{{ ''.__class__ }}",
    "{% for i in range(9) %}",
    "proofmap.lock/1",
    "2025-01-01T00:00:00Z",
    "x" * 5000,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"type": "object"},
    ["a", "a"],
    {"role": "user"},
    {"role": 5, "content": []},
    {"role": "user", "content": "{{ x }}"},
)
"""Values that a careless reader stumbles over."""


def _deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def hostile_values() -> st.SearchStrategy[Any]:
    """Values for any place of a document."""
    return st.one_of(
        st.sampled_from(HOSTILE).map(copy.deepcopy),
        st.sampled_from([90, 150, 250]).map(_deep),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
    )


@st.composite
def damaged(draw: st.DrawFn, documents: Sequence[Any]) -> Any:
    """A document of which some places were changed, removed, doubled or exchanged."""
    document = copy.deepcopy(documents[draw(st.integers(0, len(documents) - 1))])
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(document))
        if not places:
            return draw(hostile_values())
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        change = draw(st.sampled_from(["set", "set", "set", "remove", "double", "swap", "rename"]))
        if change == "set":
            holder[key] = draw(hostile_values())
        elif change == "remove":
            del holder[key]
        elif change == "double" and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif change == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from(["", "a", "../x", "\x1b[2J", "x" * 300]))] = holder.pop(key)
        else:
            other, its_key = places[draw(st.integers(0, len(places) - 1))]
            # Deep values within deep values would be too much for the copying itself.
            with contextlib.suppress(ValueError):
                check_depth(other[its_key])
                holder[key] = copy.deepcopy(other[its_key])
    return document


def _places(document: Any) -> Any:
    """Yield every place of a document as its holder and key, those below it included."""
    found: Iterable[Any] = ()
    if isinstance(document, dict):
        found = document.items()
    elif isinstance(document, list):
        found = enumerate(document)
    for key, value in list(found):
        yield document, key
        yield from _places(value)
