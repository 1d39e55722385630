"""Source code as text that says the same on every Python version.

:func:`canonical` writes a syntax tree without what does not change its meaning: positions, comments,
docstrings, and the fields that only some Python versions have.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

__all__ = ["attribute_chain", "canonical", "names_used", "without_case_marks"]

IGNORED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
CASE_MARKS = frozenset({"parametrize", "qualify"})
"""Marks whose arguments are cases and bars: they have fingerprints of their own."""

Scope = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


def canonical(node: object) -> str:
    """Return the canonical text of a syntax tree, or of a constant or list inside one.

    A tree may be as deep as Python's own parser allows, ``a + b + c + ...`` a thousand times: nothing recurses.
    """
    text: list[str] = []
    open_parts: list[object] = [node]
    while open_parts:
        part = open_parts.pop()
        if isinstance(part, _Text):
            text.append(part)
        else:
            open_parts += reversed(_parts(part))
    return "".join(text)


class _Text(str):
    """A piece of canonical text, told from a constant of the source."""

    __slots__ = ()


def _parts(node: object) -> list[object]:
    """Return what the canonical text of a node consists of: pieces of text, and what is still to be written."""
    if isinstance(node, ast.Constant):
        return [_Text(_constant(node.value))]
    if isinstance(node, ast.JoinedStr):
        return [_Text("JoinedStr("), *_with_commas(_joined(node.values)), _Text(")")]
    if isinstance(node, ast.AST):
        fields: list[object] = []
        for name, value in ast.iter_fields(node):
            if name in IGNORED_FIELDS or value is None or value == []:
                continue
            if name == "body" and isinstance(node, Scope):
                value = _without_docstring(node.body)
            elif name == "decorator_list":
                value = without_case_marks(value)
            fields += [_Text(f"{',' if fields else ''}{name}="), value]
        return [_Text(f"{type(node).__name__}("), *fields, _Text(")")]
    if isinstance(node, list):
        return [_Text("["), *_with_commas(node), _Text("]")]
    return [_Text(_constant(node))]


def _with_commas(parts: Iterable[object]) -> Iterator[object]:
    for position, part in enumerate(parts):
        if position:
            yield _Text(",")
        yield part


def without_case_marks(decorators: Iterable[ast.expr]) -> list[ast.expr]:
    """Return the decorators but for ``pytest.mark.parametrize`` and ``pytest.mark.qualify``."""
    return [decorator for decorator in decorators if not _is_case_mark(decorator)]


def attribute_chain(node: ast.AST) -> tuple[str, ...]:
    """Return ``("a", "b", "c")`` for the expression ``a.b.c``, and ``()`` for any other."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ()
    return (node.id, *reversed(names))


def names_used(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """Yield the names that a tree reads, each with the attributes taken from it.

    A name counts wherever it occurs, also where a local variable hides the module's.
    """
    nodes = [node]
    while nodes:
        node = nodes.pop()
        if isinstance(node, (ast.Name, ast.Attribute)):
            chain = attribute_chain(node)
            if chain:
                yield chain
                continue
        if not _is_case_mark(node):
            nodes += reversed([*ast.iter_child_nodes(node)])


def _is_case_mark(node: ast.AST) -> bool:
    chain = attribute_chain(node.func if isinstance(node, ast.Call) else node)
    return len(chain) > 1 and chain[-2] == "mark" and chain[-1] in CASE_MARKS


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return body[1:]
    return body


def _constant(value: object) -> str:
    # repr() of text depends on the Unicode tables of the Python version, ascii() does not.
    return hex(value) if type(value) is int else f"{type(value).__name__}:{value!a}"


def _joined(values: Iterable[ast.expr]) -> Iterator[object]:
    """Yield the parts of an f-string; Python versions differ in how they cut its constant text."""
    text = ""
    for value in values:
        if isinstance(value, ast.Constant):
            text += str(value.value)
            continue
        if text:
            yield _Text(_constant(text))
            text = ""
        yield value
    if text:
        yield _Text(_constant(text))
