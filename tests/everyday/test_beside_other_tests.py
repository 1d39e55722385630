"""Tests of other kinds in the same project: unittest classes and doctests."""

from __future__ import annotations

from typing import Any

import pytest
from everyday_project import EverydayProject

UNITTEST = """
import unittest

import pytest


class TestPlain(unittest.TestCase):
    def test_plain(self):
        self.assertTrue(True)


class TestMarked(unittest.TestCase):
    @pytest.mark.qualify(objective="words")
    def test_marked(self):
        self.fail("nobody runs this")
"""


def test_unittest_classes_beside(everyday: EverydayProject, plain_facts: dict[str, Any]) -> None:
    """Unmarked methods of unittest classes run as always."""
    everyday.write("tests/test_unit.py", UNITTEST.partition("class TestMarked")[0])
    everyday.run_apart().assert_outcomes(passed=12, xfailed=2)
    assert everyday.facts() == plain_facts


@pytest.mark.parametrize(
    "change",
    [
        ("", ""),
        ("def test_marked(self)", "def test_marked(self, runtime)"),
        (
            '    @pytest.mark.qualify(objective="words")',
            "    @pytest.fixture(autouse=True)\n    def keep(self, runtime):\n        self.runtime = runtime\n\n"
            '    @pytest.mark.qualify(objective="words")',
        ),
    ],
    ids=["no runtime", "an argument", "a fixture"],
)
def test_marked_methods_of_unittest_classes(everyday: EverydayProject, change: tuple[str, str]) -> None:
    """A marked one is refused with its name and what to write instead; without --proofmap it is skipped."""
    everyday.write("tests/test_unit.py", UNITTEST.replace(*change) if change[0] else UNITTEST)
    result = everyday.run_apart()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: tests/test_unit.py::TestMarked::test_marked: marked 'qualify', but pytest does not parametrize*"]
    )
    everyday.run_apart(proofmap=False).assert_outcomes(passed=2, skipped=7)


def test_doctests_beside(everyday: EverydayProject, plain_facts: dict[str, Any]) -> None:
    """Doctests of modules and of text files run beside marked tests."""
    everyday.write("shop.py", 'def one():\n    """\n    >>> one()\n    1\n    """\n    return 1\n')
    everyday.write("notes.txt", ">>> 1 + 1\n2\n")
    everyday.run_apart("--doctest-modules", "--doctest-glob=*.txt").assert_outcomes(passed=13, xfailed=2)
    assert everyday.facts() == plain_facts


def test_doctests_in_a_marked_module(everyday: EverydayProject) -> None:
    """The mark of a module means its test functions, and not the doctests in it."""
    everyday.write(
        "tests/test_everyday.py",
        '"""\n>>> 1 + 1\n2\n"""\n\nimport pytest\n\npytestmark = pytest.mark.qualify(objective="names")\n\n\n'
        'def test_greets(runtime):\n    assert runtime.complete("Greet Ann").text == "Hello Ann"\n',
    )
    everyday.run_apart("--doctest-modules").assert_outcomes(passed=3)
    assert everyday.outcomes() == {("", "gpt"): "passed", ("", "mini"): "passed"}
