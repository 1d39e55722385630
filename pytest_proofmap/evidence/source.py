"""The source part of a criterion's fingerprint.

It covers the test function and, transitively, what it uses of the same project: functions, classes,
constants, fixtures by name (and the automatic ones), setup functions, and imported names of project modules.
Files are read, never imported, so that a check without a test run finds the same fingerprint. What a program
decides while it runs (``getattr``, ``request.getfixturevalue``, data files) is not followed; a module that is
handed on whole counts whole.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence.modules import Definition, Module, Modules, imports_within
from pytest_proofmap.evidence.syntax import attribute_chain, canonical, names_used, without_case_marks

__all__ = ["SourceFingerprints"]

Function = (ast.FunctionDef, ast.AsyncFunctionDef)

SETUP_FUNCTIONS = ("setup_module", "setup_function", "teardown_function", "teardown_module")
SETUP_METHODS = ("setup_class", "setup_method", "teardown_method", "teardown_class")


@dataclass(frozen=True, slots=True)
class _Unit:
    """A definition's own text, and what it uses."""

    text: str
    uses: tuple[Definition, ...]
    asks: tuple[str, ...]
    """Names of its arguments and of the fixtures it is marked to use."""
    is_fixture: bool


class SourceFingerprints:
    """Fingerprints of test functions' sources; each file is read once.

    Args:
        rootdir: The project's root; nothing outside it is followed.
    """

    def __init__(self, rootdir: Path) -> None:
        self._modules = Modules(rootdir)
        self._rootdir = rootdir
        self._units: dict[tuple[Path, str], _Unit] = {}
        self._fixtures: dict[Path, dict[str, list[str]]] = {}
        self._scopes: dict[Path, list[Module]] = {}

    def of(self, criterion: str) -> str:
        """Return the fingerprint of a criterion's source: 12 hexadecimal digits.

        Args:
            criterion: Id of the criterion, ``tests/test_a.py::TestB::test_c``.

        Raises:
            EvidenceError: The file holds no such test function.
        """
        file, *names = criterion.split("::")
        module = self._modules.read(self._rootdir / file)
        if module is None or not names:
            raise EvidenceError(f"{criterion}: {file!r} is no Python file that can be read.")
        start = self._member(module, ".".join(names))
        if start is None:
            # Tests that a program makes have no statement of their own: all of their module stands for them.
            start = Definition(module, "")
        texts = self._collect(start, module, names[:-1])
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]

    def defines(self, criterion: str) -> bool:
        """Say whether the test function of a criterion is still there."""
        file, *names = criterion.split("::")
        module = self._modules.read(self._rootdir / file)
        return module is not None and bool(names) and self._member(module, ".".join(names)) is not None

    def _collect(self, start: Definition, module: Module, classes: list[str]) -> list[str]:
        """Return the texts of a test and of all that it uses, the test's own first."""
        own = self._unit(start)
        texts: set[str] = set()
        seen: set[tuple[Path, str]] = {(start.module.path, start.name)}
        asked: set[str] = set()
        queue = [*own.uses, *self._implied(module, classes)]
        names = [*own.asks, *self._automatic(module, classes)]
        while queue or names:
            while names:
                name = names.pop()
                if name not in asked:
                    asked.add(name)
                    queue += self._fixture(name, module, classes)
            if not queue:
                break
            definition = queue.pop()
            key = (definition.module.path, definition.name)
            if key not in seen:
                seen.add(key)
                unit = self._unit(definition)
                texts.add(unit.text)
                queue += unit.uses
                if unit.is_fixture:
                    names += unit.asks
        return [own.text, *sorted(texts)]

    def _unit(self, definition: Definition) -> _Unit:
        key = (definition.module.path, definition.name)
        if key not in self._units:
            self._units[key] = self._describe(definition)
        return self._units[key]

    def _describe(self, definition: Definition) -> _Unit:
        module = definition.module
        statements = module.members(definition.name) if definition.name else module.tree.body
        lines = [canonical(statement) for statement in statements]
        uses: dict[Definition, None] = {}
        asks: list[str] = []
        owner = definition.name.rpartition(".")[0]
        for statement in statements:
            receiver = ""
            if isinstance(statement, Function):
                arguments = [*statement.args.posonlyargs, *statement.args.args]
                receiver = arguments[0].arg if owner and arguments else ""
                asks += [argument.arg for argument in (*arguments, *statement.args.kwonlyargs)]
                asks += _fixtures_of_marks(statement.decorator_list)
            local = imports_within(module, statement)
            for chain in dict.fromkeys(names_used(statement)):
                if chain[0] == receiver and len(chain) > 1:
                    target = self._member(module, f"{owner}.{chain[1]}")
                else:
                    target = self._modules.resolve(local, chain) if local else None
                    target = target or self._modules.resolve(module, chain)
                    if target is None:
                        lines += _foreign(module, chain[0])
                if target is not None and target != definition:
                    uses[target] = None
                    lines.append(f"{'.'.join(chain)}={target.identity}")
        return _Unit("\n".join(lines), tuple(uses), tuple(asks), any(map(_is_fixture, statements)))

    def _member(self, module: Module, name: str) -> Definition | None:
        """Return where ``name`` or ``Class.member`` is defined, looking through the bases of the class."""
        if module.members(name):
            return Definition(module, name)
        owner, _, member = name.rpartition(".")
        for statement in module.members(owner) if owner else []:
            for base in statement.bases if isinstance(statement, ast.ClassDef) else []:
                chain = attribute_chain(base)
                target = self._modules.resolve(module, chain) if chain else None
                if target is not None and target.name and target != Definition(module, owner):
                    found = self._member(target.module, f"{target.name}.{member}")
                    if found is not None:
                        return found
        return None

    def _implied(self, module: Module, classes: list[str]) -> Iterator[Definition]:
        """Yield the setup functions that run around a test without being named by it."""
        for name in SETUP_FUNCTIONS:
            if name in module.bindings:
                yield Definition(module, name)
        for depth in range(1, len(classes) + 1):
            for name in SETUP_METHODS:
                found = self._member(module, ".".join([*classes[:depth], name]))
                if found is not None:
                    yield found

    def _scope(self, module: Module) -> list[Module]:
        """Return the modules whose fixtures a test module sees, nearest first."""
        if module.path not in self._scopes:
            scope = [module]
            for folder in self._modules.above(module.path):
                conftest = self._modules.read(folder / "conftest.py")
                if conftest is not None and conftest is not module:
                    scope.append(conftest)
            for seer in list(scope):
                for statement in seer.members("pytest_plugins"):
                    for node in ast.walk(statement):
                        if isinstance(node, ast.Constant) and isinstance(node.value, str):
                            plugin = self._modules.find(seer, node.value)
                            if plugin is not None and plugin not in scope:
                                scope.append(plugin)
            self._scopes[module.path] = scope
        return self._scopes[module.path]

    def _fixture(self, name: str, module: Module, classes: list[str]) -> Iterator[Definition]:
        """Yield every definition of a fixture that a test sees: one that overrides may use the other."""
        for depth in range(len(classes), 0, -1):
            found = self._member(module, ".".join([*classes[:depth], name]))
            if found is not None and any(map(_is_fixture, found.module.members(found.name))):
                yield found
        for seer in self._scope(module):
            for binding in self._fixture_table(seer).get(name, []):
                yield Definition(seer, binding)
            imported = self._modules.resolve(seer, (name,))
            if (
                imported is not None
                and imported.module is not seer
                and any(map(_is_fixture, imported.module.members(imported.name)))
            ):
                yield imported

    def _fixture_table(self, module: Module) -> dict[str, list[str]]:
        """Return the fixtures of a module: the name they are asked for by, and their functions' names."""
        if module.path not in self._fixtures:
            table: dict[str, list[str]] = {}
            for binding, statements in module.bindings.items():
                for statement in statements:
                    if _is_fixture(statement):
                        table.setdefault(_fixture_option(statement, "name") or binding, []).append(binding)
            self._fixtures[module.path] = table
        return self._fixtures[module.path]

    def _automatic(self, module: Module, classes: list[str]) -> Iterator[str]:
        """Yield the names of the fixtures that a test uses without asking."""
        for seer in self._scope(module):
            for name, bindings in self._fixture_table(seer).items():
                if any(
                    _fixture_option(statement, "autouse")
                    for binding in bindings
                    for statement in seer.bindings[binding]
                ):
                    yield name
        for depth in range(1, len(classes) + 1):
            for statement in module.members(".".join(classes[:depth])):
                if isinstance(statement, ast.ClassDef):
                    yield from _fixtures_of_marks(statement.decorator_list)
                    for member in statement.body:
                        if isinstance(member, Function) and _fixture_option(member, "autouse"):
                            yield member.name


def _fixture_decorators(statement: ast.stmt) -> Iterator[ast.expr]:
    if isinstance(statement, Function):
        for decorator in statement.decorator_list:
            chain = attribute_chain(decorator.func if isinstance(decorator, ast.Call) else decorator)
            if chain and chain[-1] == "fixture":
                yield decorator


def _is_fixture(statement: ast.stmt) -> bool:
    return any(True for _ in _fixture_decorators(statement))


def _fixture_option(statement: ast.stmt, option: str) -> str:
    """Return the text of a fixture's constant option; empty when it is unset or false."""
    for decorator in _fixture_decorators(statement):
        for keyword in decorator.keywords if isinstance(decorator, ast.Call) else []:
            if keyword.arg == option and isinstance(keyword.value, ast.Constant) and keyword.value.value:
                return str(keyword.value.value)
    return ""


def _fixtures_of_marks(decorators: list[ast.expr]) -> list[str]:
    """Return the names in ``pytest.mark.usefixtures(...)``."""
    return [
        argument.value
        for decorator in without_case_marks(decorators)
        if isinstance(decorator, ast.Call) and attribute_chain(decorator.func)[-1:] == ("usefixtures",)
        for argument in decorator.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def _foreign(module: Module, name: str) -> list[str]:
    """Return which import of another project's module a name stands for."""
    for statement in module.bindings.get(name, []):
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            source = statement.module or "" if isinstance(statement, ast.ImportFrom) else ""
            return [
                f"{name}=import {source}:{alias.name}"
                for alias in statement.names
                if name in (alias.asname, alias.name, alias.name.split(".", 1)[0])
            ]
    return []
