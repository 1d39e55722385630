"""The source part of a fingerprint: blind to looks, and awake to every edit of the project's own code."""

from __future__ import annotations

import ast
import copy
import io
import random
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_proofmap.evidence.source import SourceFingerprints

TEST_FILE = '''
"""Module docstring."""

import re

import pytest

from checks import Rule, no_comma, threshold as limit
import words

PATTERN = re.compile("a{2,3}", re.IGNORECASE)
WEIGHTS = {"short": 1.5, "long": (2, 3)}


@pytest.fixture
def rule(request):
    """A fixture."""
    with words.opened("x") as source:
        yield Rule(limit, name=f"{source!r:>10}-{limit:.2f}")


@pytest.mark.qualify
@pytest.mark.parametrize("case", ["one", "two"])
def test_answer(runtime, rule, case, *, strict=True):
    """Docstring."""
    text = runtime.complete(case, temperature=0).text
    assert rule.holds(text) and not PATTERN.search(text)
    if (found := no_comma(text)) is False or len(text) > WEIGHTS["long"][0]:
        raise ValueError(f"{case}: {found}")
    for index, word in enumerate(text.split(), start=1):
        assert word not in words.FORBIDDEN or index % 7 == 3
    else:
        assert [each.lower() for each in text if each.isalpha()]
    match text:
        case "yes" | "no":
            assert strict
        case _:
            pass
'''

CHECKS = '''
from dataclasses import dataclass

from words import FORBIDDEN, clean

threshold = 3 * 2 - 1


def no_comma(text, sep=","):
    """Say whether there is no comma."""
    return sep not in clean(text)


@dataclass
class Rule:
    """A rule."""

    limit: int = 4
    name: str = "rule"

    def holds(self, text):
        try:
            return self._count(text) <= self.limit
        except (TypeError, ValueError):
            return False

    def _count(self, text):
        total = 0
        while text and total < 100:
            total += 1 if text[0] in FORBIDDEN else 2
            text = text[1:]
        return total
'''

WORDS = """
from contextlib import contextmanager

FORBIDDEN = frozenset({"alas", "verily"})


@contextmanager
def opened(name):
    yield (lambda suffix="!": name + suffix)()


def clean(text):
    return text.strip().replace("\\t", " ") if text else ""
"""

FILES = {"tests/test_a.py": TEST_FILE, "tests/checks.py": CHECKS, "tests/words.py": WORDS}
CRITERION = "tests/test_a.py::test_answer"
OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Mod: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.Eq: ast.NotEq, ast.Lt: ast.LtE, ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
}  # fmt: skip


def fingerprint(folder: Path, files: dict[str, str]) -> str:
    """Write a project and return its criterion's fingerprint."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return SourceFingerprints(folder).of(CRITERION)


def is_docstring(parent: ast.AST, node: ast.AST) -> bool:
    """Say whether an expression is the docstring of what holds it."""
    body = getattr(parent, "body", None)
    return isinstance(body, list) and body[:1] == [node] and isinstance(node, ast.Expr)


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what may be edited: no docstrings, no marks of cases and bars."""
    for child in ast.iter_child_nodes(tree):
        if is_docstring(tree, child) and isinstance(tree, (ast.Module, ast.FunctionDef, ast.ClassDef)):
            continue
        if "pytest.mark" in ast.unparse(child) and isinstance(child, (ast.Call, ast.Attribute)):
            continue
        yield child
        yield from nodes(child)


def edit(node: ast.AST) -> bool:
    """Change what a node means; False where no edit is known for it."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or node.value is None:
            node.value = not node.value
        elif isinstance(node.value, (int, float)):
            node.value += 1
        elif isinstance(node.value, str):
            node.value += "x"
        return True
    if isinstance(node, ast.Attribute):
        node.attr += "_other"
        return True
    if isinstance(node, ast.keyword) and node.arg is not None:
        node.arg += "_other"
        return True
    for field in ("op", "ops"):
        value = getattr(node, field, None)
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, ast.AST) and type(first) in OPERATORS:
            other = OPERATORS[type(first)]()
            setattr(node, field, [other, *value[1:]] if isinstance(value, list) else other)
            return True
    if isinstance(node, ast.Return) and node.value is not None:
        node.value = ast.UnaryOp(ast.Not(), node.value)
        return True
    if isinstance(node, ast.Call) and node.args:
        node.args = node.args[1:]
        return True
    if isinstance(node, (ast.If, ast.While, ast.IfExp)):
        node.test = ast.UnaryOp(ast.Not(), node.test)
        return True
    return False


def edits(name: str) -> Iterator[str]:
    """Yield a file's text with one edit after another of what it does."""
    tree = ast.parse(FILES[name])
    for index in range(len(list(nodes(tree)))):
        changed = copy.deepcopy(tree)
        node = list(nodes(changed))[index]
        if edit(node):
            yield ast.unparse(ast.fix_missing_locations(changed))


@pytest.mark.parametrize("name", FILES)
def test_no_edit_of_what_is_done_escapes(tmp_path: Path, name: str) -> None:
    """Each constant, operator, attribute, argument, condition and result counts, wherever the test reaches it."""
    before = fingerprint(tmp_path, FILES)
    count = 0
    for text in edits(name):
        count += 1
        assert fingerprint(tmp_path, {name: text}) != before, text
    assert count > 10


def test_another_formatter_changes_nothing(tmp_path: Path) -> None:
    """Source that is written anew from its syntax tree is the same source."""
    before = fingerprint(tmp_path, FILES)
    assert fingerprint(tmp_path, {name: ast.unparse(ast.parse(text)) for name, text in FILES.items()}) == before


def redressed(text: str, seed: int) -> str:
    """Return a source with other comments, blank lines, indentation and line ends."""
    choice = random.Random(seed)
    depth = choice.choice(["  ", "\t", "     "])
    inside = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        for line in range(token.start[0] + 1, token.end[0] + 1)
        if token.type == tokenize.STRING
    }
    lines = []
    for number, line in enumerate(text.split("\n"), start=1):
        if number not in inside:
            bare = line.lstrip(" ")
            line = depth * ((len(line) - len(bare)) // 4) + bare
            if bare and choice.random() < 0.3:
                line += f"  # {choice.random()}"
            if choice.random() < 0.2:
                lines.append("")
        lines.append(line)
    return choice.choice(["\n", "\r\n"]).join(lines)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_looks_do_not_count(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Comments, blank lines, indentation and line ends are not what a test does."""
    folder = tmp_path_factory.mktemp("project")
    before = fingerprint(folder, FILES)
    assert fingerprint(folder, {name: redressed(text, seed) for name, text in FILES.items()}) == before
