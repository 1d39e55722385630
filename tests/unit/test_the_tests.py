"""The tests themselves: each says what holds, none sleeps, and none asserts what cannot be otherwise."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ALWAYS_TRUE = (ast.GeneratorExp, ast.Lambda, ast.Tuple, ast.JoinedStr)


@cache
def trees() -> dict[str, ast.Module]:
    """Return the modules of the tests by their path."""
    return {
        str(path.relative_to(TESTS)): ast.parse(path.read_text(encoding="utf-8")) for path in TESTS.rglob("*.py")
    }


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the test functions of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def without_a_sentence(tree: ast.AST) -> Iterator[int]:
    """Yield the lines of tests that do not say in a sentence what holds."""
    for test in functions_of(tree):
        if not (ast.get_docstring(test) or "").partition("\n")[0].endswith((".", "!", "?")):
            yield test.lineno


def sleeping(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that sleep for luck: anywhere but in a loop that waits for something."""
    waits = {
        id(inner)
        for loop in ast.walk(tree)
        if isinstance(loop, ast.While) and not isinstance(loop.test, ast.Constant)
        for inner in ast.walk(loop)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep" and id(node) not in waits:
            yield node.lineno


def certain(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that assert what cannot be otherwise."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assert):
            continue
        if isinstance(node.test, ALWAYS_TRUE) or (isinstance(node.test, ast.Constant) and node.test.value):
            yield node.lineno
        for inner in ast.walk(node.test):
            if isinstance(inner, ast.Compare) and _is_certain(inner):
                yield node.lineno
            # Whatever a thing is, it is no more than itself.
            if (
                isinstance(inner, ast.BinOp)
                and isinstance(inner.op, ast.Add)
                and isinstance(inner.left, ast.BinOp)
                and isinstance(inner.left.op, ast.Sub)
                and ast.dump(inner.left.right) == ast.dump(inner.right)
            ):
                yield node.lineno


def _is_certain(comparison: ast.Compare) -> bool:
    left, operator, right = comparison.left, comparison.ops[0], comparison.comparators[0]
    # A call may give another thing each time, which is what some tests are about.
    if ast.dump(left) == ast.dump(right) and not any(isinstance(node, ast.Call) for node in ast.walk(left)):
        return True
    counts = isinstance(left, ast.Call) and ast.unparse(left.func) in ("len", "sum")
    return counts and isinstance(operator, ast.GtE) and ast.unparse(right) == "0"


@pytest.mark.parametrize("rule", [without_a_sentence, sleeping, certain])
def test_no_test_breaks_a_rule(rule: Callable[[ast.AST], Iterator[int]]) -> None:
    """Every test says in a sentence what holds, waits for what it waits for, and can fail."""
    assert len(trees()) > 100
    assert [f"{path}:{line}" for path, tree in sorted(trees().items()) for line in rule(tree)] == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (without_a_sentence, "def test_a():\n    pass"),
        (without_a_sentence, "async def test_a():\n    '''a title'''"),
        (sleeping, "time.sleep(1)"),
        (sleeping, "while True:\n    time.sleep(1)"),
        (certain, "assert (x for x in y)"),
        (certain, "assert (x, 'says why')"),
        (certain, "assert 'words'"),
        (certain, "assert a == a"),
        (certain, "assert count == 20 - paid + paid"),
        (certain, "assert len(found) >= 0"),
    ],
)
def test_what_breaks_a_rule_is_seen(rule: Callable[[ast.AST], Iterator[int]], text: str) -> None:
    """Each kind is found in the least that has it."""
    assert list(rule(ast.parse(text)))
