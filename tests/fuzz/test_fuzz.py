"""Damaged files and odd arguments meet ProofMap's own errors, and nothing else.

``PROOFMAP_FUZZ_INPUTS`` says how many inputs each test makes; a push makes few, a campaign many.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import targets
from damage import HOSTILE, damaged, hostile_values
from documents import ANSWERS, CONFIGURATION, EVIDENCE, LOCKS, PROMPTS, SEEDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

INPUTS = int(os.environ.get("PROOFMAP_FUZZ_INPUTS", "0"))


def inputs(few: int) -> settings:
    """Return the settings of a test: few inputs, unless a campaign says how many."""
    return settings(
        max_examples=INPUTS or few, deadline=None, derandomize=not INPUTS, suppress_health_check=list(HealthCheck)
    )


@pytest.mark.parametrize("target", sorted(targets.TARGETS))
def test_the_seeds_are_accepted(target: str) -> None:
    """What the inputs are made from is valid, so that damage reaches what lies behind the first check."""
    if target != "command_line":
        assert all(map(targets.TARGETS[target], SEEDS[target]))


@given(document=damaged(EVIDENCE))
@inputs(40)
def test_damaged_evidence(document: Any) -> None:
    """Every command that reads evidence."""
    targets.evidence(targets.plain(document))


@given(document=damaged(LOCKS))
@inputs(40)
def test_damaged_locks(document: Any) -> None:
    """Every command that reads a lock, its digests made to match, and production."""
    targets.lock(targets.plain(document))


@given(documents=st.lists(damaged(ANSWERS), min_size=1, max_size=3), cut=st.integers(0, 3))
@inputs(40)
def test_damaged_recordings(documents: list[Any], cut: int) -> None:
    """Recordings, the cache that they are imported to and the file that is exported from it."""
    content = b"\n".join(map(targets.plain, documents))
    targets.recordings(content[: len(content) - cut])


@given(place=st.lists(hostile_values(), max_size=6), others=st.lists(hostile_values(), max_size=2))
@inputs(60)
def test_a_planted_index(place: list[Any], others: list[Any]) -> None:
    """The index of a recordings file, which lies in the cache's folder."""
    targets.index(b", ".join(map(targets.plain, [place, *others])))


@given(document=damaged([CONFIGURATION, {"tool": {"proofmap": CONFIGURATION}}]))
@inputs(100)
def test_damaged_configurations(document: Any) -> None:
    """The configuration, in both of its places."""
    if isinstance(document, dict):
        try:
            text = _toml(document)
        except RecursionError:
            return
        targets.configuration(text.encode("utf-8", "replace"))


def _toml(value: Any, *, top: bool = True) -> str:
    """Return a value as inline TOML, or as near to it as TOML comes."""
    if isinstance(value, dict):
        members = [f"{json.dumps(name)} = {_toml(item, top=False)}" for name, item in value.items()]
        return "\n".join(members) if top else "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item, top=False) for item in value) + "]"
    if isinstance(value, float):
        return repr(value)
    return '""' if value is None else json.dumps(value)


PIECES = st.one_of(
    st.sampled_from(
        [
            *(
                "{{",
                "}}",
                "{%",
                "%}",
                "{#",
                "#}",
                " x ",
                "|join",
                "|map('upper')",
                "|format(1)",
                ".a",
                "[0]",
                "[::2]",
            ),
            *("for i in x", "endfor", "if x", "else", "endif", "macro m(a)", "endmacro", "m(1)", "set y = x", "~"),
            *(
                "call m(1)",
                "endcall",
                "filter upper",
                "endfilter",
                "caller()",
                "namespace(a=1)",
                "range(9)",
                "raw",
            ),
            *("loop.length", "recursive", "loop(x)", "'%s' %", "x.__class__", "self", "endraw"),
            *(
                "\nSystem:",
                "\nUser:",
                "---\n",
                "\ue000",
                "[x, x]",
                "{'a': x}",
                "is defined",
                "is in",
                "'x'",
                "-%}",
            ),
        ]
    ),
    st.text(max_size=5),
)


@given(pieces=st.lists(PIECES, max_size=14))
@inputs(150)
def test_templates_of_any_pieces(pieces: list[str]) -> None:
    """What Jinja reads, in any order."""
    targets.template("".join(pieces).encode("utf-8", "replace"))


YAML = st.one_of(
    st.sampled_from(
        [
            *(
                "input:",
                "\n  schema:",
                "\n    a: string",
                "\n    b(enum): [1, 2]",
                "\n    c(array, x): {}",
                ": ",
                "- ",
            ),
            *(
                "&a ",
                "*a",
                "!!python/object:os.x ",
                "!!int ",
                "!!binary ",
                "!!timestamp ",
                "2001-99-99",
                "? [1]\n: 2",
            ),
            *(
                "<<: ",
                "{",
                "}",
                "[",
                "]",
                "\n",
                "  ",
                "'",
                '"',
                "|\n",
                "9" * 5000,
                "0x",
                "1e999",
                ".nan",
                "\x00",
                "required: 5",
            ),
        ]
    ),
    st.text(max_size=5),
)


@given(matter=st.lists(YAML, max_size=10), body=st.sampled_from([*PROMPTS, "hi"]))
@inputs(100)
def test_front_matter_of_any_pieces(matter: list[str], body: str) -> None:
    """What YAML reads, in any order."""
    targets.prompt(f"---\n{''.join(matter)}\n---\n{body}".encode("utf-8", "replace"))


@given(content=st.binary(max_size=200), target=st.sampled_from(sorted(targets.TARGETS)))
@inputs(100)
def test_any_bytes(content: bytes, target: str) -> None:
    """Any bytes for any reader."""
    targets.TARGETS[target](content)


ARGUMENT = st.one_of(
    st.sampled_from(
        [
            *(
                "--json",
                "--text",
                "--html",
                "--md",
                "-o",
                "--output",
                "--lock",
                "--strict",
                "-v",
                "-q",
                "--verbose",
            ),
            *(
                "--down",
                "--price",
                "--objective",
                "--chain",
                "--by",
                "--reason",
                "--expires",
                "--resolve",
                "--dry-run",
            ),
            *(
                "--api-key",
                "--timeout",
                "--retries",
                "--older-than",
                "--unused-since",
                "--runtime",
                "--key",
                "--case",
            ),
            *("--criterion", "--collect", "--margin", "--min-pass-rate", "--max-failure-rate", "--confidence"),
            *(
                "--rootdir",
                ".",
                "x",
                "m=1,2",
                "m=nan,inf",
                "m=-1,1e999",
                "9" * 400,
                "nan",
                "-1",
            ),
            *("stats", "explain", "prune", "export", "import", "litellm", "litellm-proxy", "json", "HEAD:x", "="),
            *("a=os.environ/B", "1d", "0d", "99999999999w", "--", "-", ""),
        ]
    ),
    # Nothing that leads out of the folder: some of the commands write where they are told to.
    st.sampled_from([each for each in map(str, HOSTILE) if not set("/\0") & set(each) and each.isprintable()]),
    st.text(st.characters(exclude_characters="\0/.~", exclude_categories=["Cs"]), max_size=5),
)


@given(command=st.sampled_from(targets.READING_COMMANDS), arguments=st.lists(ARGUMENT, max_size=6))
@inputs(100)
def test_any_arguments(command: str, arguments: list[str]) -> None:
    """Any arguments for any command."""
    targets.command_line([command, *arguments])
