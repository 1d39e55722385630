"""The modules of a project, read without importing them: what their names are bound to.

Modules are looked for beside the importing file, in the folders above it up to the project's root, and in
``src`` below the root. Whatever is not found there is foreign and not followed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pytest_proofmap.collector import no_collection
from pytest_proofmap.evidence.syntax import attribute_chain

__all__ = ["Definition", "Module", "Modules", "imports_within"]

Function = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Definition:
    """Where a dotted name of the project is defined."""

    module: Module
    name: str
    """The name in its module, ``Class.member`` for a member of a class; empty for the whole module."""

    @property
    def identity(self) -> str:
        """The name without the folders that hold it, so that moving a folder changes nothing."""
        path = self.module.path
        return f"{path.parent.name if path.stem == '__init__' else path.stem}.{self.name}"


@dataclass(eq=False, slots=True)
class Module:
    """A module's statements by the names they bind."""

    path: Path
    tree: ast.Module
    bindings: dict[str, list[ast.stmt]] = field(default_factory=dict)
    stars: list[ast.ImportFrom] = field(default_factory=list)
    """``from … import *`` statements."""

    def members(self, name: str) -> list[ast.stmt]:
        """Return the statements that define ``name`` or ``Class.member``; empty when there are none."""
        head, _, rest = name.partition(".")
        found = self.bindings.get(head, [])
        while rest:
            head, _, rest = rest.partition(".")
            scope: dict[str, list[ast.stmt]] = {}
            for statement in found:
                if isinstance(statement, ast.ClassDef):
                    _bind(statement.body, scope, [])
            found = scope.get(head, [])
        return found


def imports_within(module: Module, statement: ast.stmt) -> Module | None:
    """Return a function's or class's own imports as a module, or None when it has none."""
    imports = [node for node in ast.walk(statement) if isinstance(node, (ast.Import, ast.ImportFrom))]
    if not imports or imports == [statement]:
        return None
    local = Module(module.path, module.tree)
    _bind(list[ast.stmt](imports), local.bindings, local.stars)
    return local


class Modules:
    """Reads each module of a project once.

    Args:
        rootdir: The project's root.
    """

    def __init__(self, rootdir: Path) -> None:
        self._rootdir = rootdir
        self._modules: dict[Path, Module | None] = {}
        self._found: dict[tuple[Path, str, int], Module | None] = {}

    def read(self, path: Path) -> Module | None:
        """Return the module in a file, or None when there is no Python that can be read."""
        if path not in self._modules:
            module = None
            try:
                # A finalizer that formats a traceback parses as well, which breaks a parse under way on Python
                # 3.11 (https://github.com/python/cpython/issues/106905).
                with no_collection():
                    module = Module(path, ast.parse(path.read_bytes()))
            except (OSError, SyntaxError, ValueError):
                pass
            else:
                _bind(module.tree.body, module.bindings, module.stars)
            self._modules[path] = module
        return self._modules[path]

    def above(self, path: Path) -> Iterator[Path]:
        """Yield the folder of a file and those above it, up to the root."""
        for folder in path.parents:
            yield folder
            if folder == self._rootdir:
                return

    def resolve(self, module: Module, chain: tuple[str, ...]) -> Definition | None:
        """Return what ``a.b.c`` names in a module: the longest part of it that the project defines."""
        return self._resolve(module, chain, frozenset())

    def find(self, module: Module, dotted: str, level: int = 0) -> Module | None:
        """Return the module that an import statement names, or None for a foreign one."""
        return self._find(module.path, dotted, level)

    def _resolve(
        self, module: Module, chain: tuple[str, ...], seen: frozenset[tuple[Path, str]]
    ) -> Definition | None:
        name, rest = chain[0], chain[1:]
        if (module.path, name) in seen:
            return None
        seen |= {(module.path, name)}
        for statement in reversed(module.bindings.get(name, [])):
            if isinstance(statement, ast.Import):
                return self._resolve_import(module, statement, chain, seen)
            if isinstance(statement, ast.ImportFrom):
                source = next(alias.name for alias in statement.names if (alias.asname or alias.name) == name)
                return self._resolve_from(module, statement, (source, *rest), seen)
        if name in module.bindings:
            return Definition(module, name)
        for star in module.stars:
            found = self._resolve_from(module, star, chain, seen)
            if found is not None:
                return found
        return None

    def _resolve_import(
        self, module: Module, statement: ast.Import, chain: tuple[str, ...], seen: frozenset[tuple[Path, str]]
    ) -> Definition | None:
        """Resolve ``import a.b`` then ``a.b.c``, or ``import a.b as x`` then ``x.c``."""
        for alias in statement.names:
            if alias.asname == chain[0]:
                chain = (*alias.name.split("."), *chain[1:])
                break
        for length in range(len(chain), 0, -1):
            target = self._find(module.path, ".".join(chain[:length]), 0)
            if target is not None:
                return self._resolve_in(target, chain[length:], seen)
        return None

    def _resolve_from(
        self,
        module: Module,
        statement: ast.ImportFrom,
        chain: tuple[str, ...],
        seen: frozenset[tuple[Path, str]],
    ) -> Definition | None:
        package = statement.module or ""
        target = self._find(module.path, package, statement.level)
        if target is not None and target is not module:
            found = self._resolve_in(target, chain, seen)
            if found is not None and found.name:
                return found
        submodule = self._find(module.path, f"{package}.{chain[0]}".lstrip("."), statement.level)
        if submodule is not None:
            return self._resolve_in(submodule, chain[1:], seen)
        return None

    def _resolve_in(
        self, module: Module, chain: tuple[str, ...], seen: frozenset[tuple[Path, str]]
    ) -> Definition | None:
        """Resolve the rest of a chain in a module; nothing left names the whole module."""
        found = self._resolve(module, chain, seen) if chain else None
        return found or Definition(module, "")

    def _find(self, path: Path, dotted: str, level: int) -> Module | None:
        key = (path.parent, dotted, level)
        if key not in self._found:
            self._found[key] = self._search(path, dotted, level)
        return self._found[key]

    def _search(self, path: Path, dotted: str, level: int) -> Module | None:
        parts = dotted.split(".") if dotted else []
        if level:
            folders = [path.parents[min(level, len(path.parents)) - 1]]
        else:
            folders = [*self.above(path), self._rootdir / "src"]
        for folder in folders:
            place = folder.joinpath(*parts)
            for file in ([place.with_name(f"{place.name}.py")] if parts else []) + [place / "__init__.py"]:
                if file.is_file():
                    return self.read(file)
        return None


def _bind(body: list[ast.stmt], bindings: dict[str, list[ast.stmt]], stars: list[ast.ImportFrom]) -> None:
    """Note which statements of a module or class bind, or change, which names."""
    for statement in body:
        if isinstance(statement, (ast.If, ast.Try)):
            handlers = statement.handlers if isinstance(statement, ast.Try) else []
            final = statement.finalbody if isinstance(statement, ast.Try) else []
            for part in (statement.body, *(handler.body for handler in handlers), statement.orelse, final):
                _bind(part, bindings, stars)
        elif isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            stars.append(statement)
        else:
            for name in dict.fromkeys(_names_bound(statement)):
                bindings.setdefault(name, []).append(statement)


def _names_bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (*Function, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, ast.Import):
        for alias in statement.names:
            yield alias.asname or alias.name.split(".", 1)[0]
    elif isinstance(statement, ast.ImportFrom):
        for alias in statement.names:
            yield alias.asname or alias.name
    else:
        for node in ast.walk(statement):
            # NAME = …, NAME[…] = …, NAME.attribute = …, NAME.append(…) at the top of a module.
            if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
                yield from _root(node)
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                chain = attribute_chain(node.value.func)
                if len(chain) > 1:
                    yield chain[0]


def _root(node: ast.AST) -> Iterator[str]:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id
