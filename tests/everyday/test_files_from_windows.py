"""Files that an editor or git on Windows has written are read like others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from everyday_project import CONFIGURATION, PLAIN_SUMMARY, EverydayProject

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

PACKAGE = """---
input:
  schema:
    name: string
---
System: Be brief.
Be polite.

User: Greet {{ name }}
"""

PACKAGE_TEST = """
import pytest


@pytest.mark.qualify(objective="names")
@pytest.mark.parametrize("name", ["Ann", "Bob"])
def test_greets(runtime, name):
    assert runtime.run("greet", name=name).text == f"Hello {name}"
"""


def rewrite(path: Path, *, mark: bool = False) -> None:
    """Give a file the line ends of Windows, and a byte-order mark."""
    content = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    path.write_bytes((BYTE_ORDER_MARK if mark else b"") + content)


@pytest.mark.parametrize("mark", [False, True], ids=["newlines", "byte-order mark"])
@pytest.mark.parametrize(
    "name",
    ["proofmap.toml", "recordings/gpt.jsonl", "tests/test_everyday.py"],
    ids=["configuration", "recordings", "tests"],
)
def test_files(everyday: EverydayProject, plain_facts: dict[str, Any], name: str, mark: bool) -> None:
    """Configuration, recordings and tests mean the same; fingerprints too."""
    rewrite(everyday.folder / name, mark=mark)
    everyday.run_apart("--proofmap-cache=replay").assert_outcomes(**PLAIN_SUMMARY)
    assert everyday.facts() == plain_facts


def test_prompt_packages(everyday: EverydayProject) -> None:
    """A package has one hash and one request whichever line ends git has given it."""
    everyday.write("tests/test_everyday.py", PACKAGE_TEST)
    package = everyday.write("prompts/greet.prompt", PACKAGE)
    everyday.hook()
    everyday.run_apart().assert_outcomes(passed=3, xfailed=1)
    before = everyday.facts()
    rewrite(package)
    everyday.run_apart("--proofmap-cache=replay").assert_outcomes(passed=3, xfailed=1)
    after = everyday.facts()
    assert after["prompts"] == before["prompts"]
    assert after["requests"] == before["requests"]


def test_a_prompt_package_with_a_byte_order_mark(everyday: EverydayProject) -> None:
    """A byte-order mark would be a part of the prompt that nobody sees, so it is refused."""
    everyday.write("tests/test_everyday.py", PACKAGE_TEST)
    rewrite(everyday.write("prompts/greet.prompt", PACKAGE), mark=True)
    result = everyday.run_apart()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = " ".join(result.stderr.str().split())
    assert said.count("starts with a byte-order mark. Save it as UTF-8 without one") == 1


@pytest.mark.skipif(os.sep == "\\", reason="on Windows a backslash does separate folders")
@pytest.mark.parametrize("line", ['prompts = "my\\\\prompts"', "cache_dir = '.proofmap\\cache'"])
def test_backslashes_in_paths(everyday: EverydayProject, line: str) -> None:
    """A path with the separators of Windows is refused where it would name another file, with its mending."""
    everyday.configure(f"{line}\n{CONFIGURATION}")
    result = everyday.run_apart()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "separates folders on Windows only. Write" in result.stderr.str()


def test_recordings_with_backslashes(everyday: EverydayProject) -> None:
    """So is a pattern of recordings, which would match nothing and have every answer paid again."""
    everyday.configure(CONFIGURATION.replace("recordings/*.jsonl", "recordings\\\\*.jsonl"))
    result = everyday.run_apart()
    assert (result.ret == pytest.ExitCode.OK) == (os.sep == "\\")
