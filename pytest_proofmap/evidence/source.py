"""The source part of a criterion's fingerprint.

It covers the test function and, transitively, what it uses of the same project: functions, classes,
constants, fixtures by name (and the automatic ones), setup functions, and imported names of project modules.
Files are read, never imported, so that a check without a test run finds the same fingerprint. What a program
decides while it runs (``getattr``, ``request.getfixturevalue``, data files) is not followed; a module that is
handed on whole counts whole.

A fingerprint says by which walk it was made, ``2.1a2b3c4d5e6f``: what an older walk made (``1a2b3c4d5e6f``) is
checked by that one, so that what was approved stays so.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence.fingerprints import walk_of
from pytest_proofmap.evidence.modules import (
    Definition,
    Module,
    Modules,
    PytestSettings,
    attribute_chain,
    canonical,
    imports_within,
    names_used,
    without_case_marks,
)

__all__ = ["UNKNOWN_SOURCE", "WALK", "SourceFingerprints", "is_unknown"]

WALK = 2
"""The present walk."""

UNKNOWN_SOURCE = f"{WALK}u"
"""Stands for the source of a test whose file is none that can be read: nothing can say whether it changed."""

Function = (ast.FunctionDef, ast.AsyncFunctionDef)

SETUP_FUNCTIONS = ("setup_module", "setup_function", "teardown_function", "teardown_module")
SETUP_METHODS = ("setup_class", "setup_method", "teardown_method", "teardown_class")

_DIGITS = 12


def is_unknown(source: str) -> bool:
    """Return whether the source part of a fingerprint, by whichever walk, stands for no source at all."""
    return source == f"{walk_of(source)}u"


class SourceFingerprints:
    """Fingerprints of test functions' sources; each file is read once.

    Args:
        rootdir: The project's root; nothing outside it is followed.
    """

    def __init__(self, rootdir: Path) -> None:
        self._rootdir = rootdir
        self._walks: dict[int, SourceWalk] = {}

    def of(self, criterion: str) -> str:
        """Return the fingerprint of a criterion's source.

        Args:
            criterion: Id of the criterion, ``tests/test_a.py::TestB::test_c``.

        Raises:
            EvidenceError: There is no Python file of the project that could hold it.
        """
        return self._walk(WALK).fingerprint(self._module(WALK, criterion), _names(criterion))

    def now(self, criterion: str, was: str) -> str | None:
        """Return the fingerprint that a criterion has now, by the walk that made an earlier one.

        Args:
            criterion: Id of the criterion.
            was: The earlier fingerprint.

        Returns:
            None when the test is gone; also what no walk of this version can have made.
        """
        number = walk_of(was)
        if number not in _WALKS:
            return None
        try:
            module = self._module(number, criterion)
        except EvidenceError:
            # Its file is gone or no longer Python, and the test with it.
            return None
        walk, names = self._walk(number), _names(criterion)
        found = walk.fingerprint(module, names)
        # A test that a program makes is nowhere to be seen, before as after: its module stands for it.
        is_made = walk.locate(module, names) is None and not (was.startswith(f"{number}m") or found == was)
        return None if is_made else found

    def names_asked(self, criterion: str) -> NamesAsked:
        """Return the runtimes and prompt packages that a criterion's code names outright, as far as it is seen."""
        try:
            module = self._module(WALK, criterion)
        except EvidenceError:
            # The same as for a test whose code names nothing: whoever asks has the configuration left to go by.
            return NamesAsked(frozenset(), frozenset())
        return self._walk(WALK).names_asked(module, _names(criterion))

    def _walk(self, number: int) -> SourceWalk:
        if number not in self._walks:
            self._walks[number] = _WALKS[number](self._rootdir)
        return self._walks[number]

    def _module(self, number: int, criterion: str) -> Module:
        file = criterion.split("::", 1)[0]
        path = self._inside(file)
        module = self._walk(number).modules.read(path) if path is not None else None
        if module is None or not _names(criterion):
            raise EvidenceError(f"{criterion}: {file!r} is no Python file of the project that can be read.")
        return module

    def _inside(self, file: str) -> Path | None:
        """Return the path of a file below the root; None for others: ids also come with files from strangers."""
        place = PurePosixPath(file)
        path = self._rootdir / file
        try:
            inside = path.resolve().is_relative_to(self._rootdir.resolve()) and not path.is_dir()
        except (OSError, ValueError, RuntimeError):
            # A name that is too long, a null byte, and before Python 3.13 a circle of links:
            # https://docs.python.org/3/library/pathlib.html#pathlib.Path.resolve
            return None
        return path if inside and ".." not in place.parts else None


def _names(criterion: str) -> list[str]:
    return criterion.split("::")[1:]


class NamesAsked(NamedTuple):
    """What a criterion's code names outright, whatever the course of the test."""

    runtimes: frozenset[str]
    """``NAME`` of ``runtimes["NAME"]``."""
    packages: frozenset[tuple[str | None, str]]
    """Runtime and package of ``runtimes["NAME"].run("PACKAGE")``; None for the runtime under test."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """A definition's own text, and what it uses."""

    text: str
    uses: tuple[Definition, ...]
    asks: tuple[str, ...]
    """Names of its arguments and of the fixtures it is marked to use."""
    members: tuple[str, ...]
    """What it takes from its own instance, which a subclass may define anew."""
    inherited: tuple[str, ...]
    """What it takes from ``super()``."""
    is_fixture: bool


class SourceWalk:
    """The present walk over a project's syntax trees.

    Args:
        rootdir: The project's root.
    """

    number = WALK

    def __init__(self, rootdir: Path) -> None:
        self._settings = self._settings_of(rootdir)
        self.modules = Modules(rootdir, self._settings.pythonpath)
        self._units: dict[tuple[Path, str], _Unit] = {}
        self._fixtures: dict[Path, dict[str, list[Definition]]] = {}
        self._scopes: dict[Path, list[Module]] = {}

    def fingerprint(self, module: Module, names: list[str]) -> str:
        """Return the fingerprint of a test of a module."""
        start = self.locate(module, names)
        # Tests that a program makes have no statement of their own: all of their module stands for them.
        own, *used = self._reached(start or Definition(module, ""), module, names[:-1])
        texts = [self._unit(own).text, *sorted({self._unit(definition).text for definition in used})]
        return self._written(hashlib.sha256("\n".join(texts).encode()).hexdigest()[:_DIGITS], made=start is None)

    def locate(self, module: Module, names: list[str]) -> Definition | None:
        """Return where a test is defined, perhaps in a module that it was imported from; None: nowhere."""
        target = self.modules.resolve(module, (names[0],))
        if target is None or not target.name:
            return None
        return self._member(target.module, ".".join([target.name, *names[1:]]))

    def names_asked(self, module: Module, names: list[str]) -> NamesAsked:
        """Return what a test, and the functions that it uses, ask of ``runtime`` and ``runtimes`` by name."""
        start = self.locate(module, names)
        asked = NamesAsked(frozenset(), frozenset())
        for definition in self._reached(start, module, names[:-1]) if start is not None else ():
            for statement in definition.module.members(definition.name):
                if isinstance(statement, Function):
                    more = _names_asked(statement)
                    asked = NamesAsked(asked.runtimes | more.runtimes, asked.packages | more.packages)
        return asked

    def _settings_of(self, rootdir: Path) -> PytestSettings:
        return PytestSettings.of(rootdir)

    def _written(self, digest: str, *, made: bool) -> str:
        return f"{self.number}{'m' if made else ''}.{digest}"

    def _reached(self, start: Definition, module: Module, classes: list[str]) -> list[Definition]:
        """Return a test and all that it uses, the test itself first."""
        own = self._unit(start)
        holders = self._holders(module, classes)
        reached = [start]
        seen: set[tuple[Path, str]] = {(start.module.path, start.name)}
        asked: set[str] = set()
        queue = [*own.uses, *self._through(own, holders), *self._implied(module, holders)]
        names = [*own.asks, *self._automatic(module, holders)]
        while queue or names:
            while names:
                name = names.pop()
                if name not in asked:
                    asked.add(name)
                    queue += self._fixture(name, module, holders)
            if not queue:
                break
            definition = queue.pop()
            key = (definition.module.path, definition.name)
            if key not in seen:
                seen.add(key)
                reached.append(definition)
                unit = self._unit(definition)
                queue += [*unit.uses, *self._through(unit, holders)]
                if unit.is_fixture:
                    names += unit.asks
        return reached

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
        members: dict[str, None] = {}
        inherited: dict[str, None] = {}
        owner = definition.name.rpartition(".")[0]
        for statement in statements:
            receiver = ""
            if isinstance(statement, Function):
                arguments = [*statement.args.posonlyargs, *statement.args.args]
                receiver = arguments[0].arg if owner and arguments else ""
                asks += [argument.arg for argument in (*arguments, *statement.args.kwonlyargs)]
                asks += _fixtures_of_marks(statement.decorator_list)
            local = imports_within(module, statement)
            inherited.update(dict.fromkeys(_taken_from_super(statement)))
            for chain in dict.fromkeys(names_used(statement)):
                if chain[0] == receiver and len(chain) > 1:
                    members[chain[1]] = None
                    target = self._member(module, f"{owner}.{chain[1]}")
                else:
                    target = self.modules.resolve(local, chain) if local else None
                    target = target or self.modules.resolve(module, chain)
                    if target is None:
                        lines += _foreign(module, chain[0])
                if target is not None and target != definition:
                    uses[target] = None
                    lines.append(f"{'.'.join(chain)}={target.identity}")
        is_fixture = any(map(_is_fixture, statements))
        return _Unit("\n".join(lines), tuple(uses), tuple(asks), tuple(members), tuple(inherited), is_fixture)

    def _through(self, unit: _Unit, holders: list[Definition]) -> Iterator[Definition]:
        """Yield what a unit takes from its instance, as the class that a test was collected from has it."""
        for holder in holders:
            for name in unit.members:
                definition = self._member(holder.module, f"{holder.name}.{name}")
                if definition is not None:
                    yield definition
            for name in unit.inherited:
                for ancestor in self._ancestors(holder):
                    if ancestor.module.members(f"{ancestor.name}.{name}"):
                        yield Definition(ancestor.module, f"{ancestor.name}.{name}")

    def _member(self, module: Module, name: str) -> Definition | None:
        """Return where ``name`` or ``Class.member`` is defined, looking through the bases of the class."""
        if module.members(name):
            return Definition(module, name)
        owner, _, member = name.rpartition(".")
        for base in self._bases(Definition(module, owner)) if owner else ():
            definition = self._member(base.module, f"{base.name}.{member}")
            if definition is not None:
                return definition
        return None

    def _bases(self, owner: Definition) -> Iterator[Definition]:
        """Yield the project's classes that a class derives from directly."""
        for statement in owner.module.members(owner.name):
            for base in statement.bases if isinstance(statement, ast.ClassDef) else []:
                chain = attribute_chain(base)
                target = self.modules.resolve(owner.module, chain) if chain else None
                if target is not None and target.name and target != owner:
                    yield target

    def _ancestors(self, holder: Definition) -> list[Definition]:
        """Return a class with all of the project's classes that it derives from, each once."""
        ancestors = [holder]
        for ancestor in ancestors:
            ancestors += [base for base in self._bases(ancestor) if base not in ancestors]
        return ancestors

    def _holders(self, module: Module, classes: list[str]) -> list[Definition]:
        """Return where the classes around a test are defined, the outermost first."""
        located = (self.locate(module, classes[:depth]) for depth in range(1, len(classes) + 1))
        return [definition for definition in located if definition is not None]

    def _implied(self, module: Module, holders: list[Definition]) -> Iterator[Definition]:
        """Yield the setup functions that run around a test without being named by it."""
        for name in SETUP_FUNCTIONS:
            definition = self.locate(module, [name])
            if definition is not None:
                yield definition
        for holder in holders:
            for name in SETUP_METHODS:
                definition = self._member(holder.module, f"{holder.name}.{name}")
                if definition is not None:
                    yield definition

    def _scope(self, module: Module) -> list[Module]:
        """Return the modules whose fixtures a test module sees, nearest first."""
        if module.path not in self._scopes:
            scope = [module]
            for folder in self.modules.above(module.path):
                conftest = self.modules.read(folder / "conftest.py")
                if conftest is not None and conftest is not module:
                    scope.append(conftest)
            for seer in list(scope):
                for statement in seer.members("pytest_plugins"):
                    for node in ast.walk(statement):
                        if isinstance(node, ast.Constant) and isinstance(node.value, str):
                            plugin = self.modules.find(seer, node.value)
                            if plugin is not None and plugin not in scope:
                                scope.append(plugin)
            self._scopes[module.path] = scope
        return self._scopes[module.path]

    def _fixture(self, name: str, module: Module, holders: list[Definition]) -> Iterator[Definition]:
        """Yield every definition of a fixture that a test sees: one that overrides may use the other."""
        for holder in reversed(holders):
            definition = self._member(holder.module, f"{holder.name}.{name}")
            if definition is not None and any(map(_is_fixture, definition.module.members(definition.name))):
                yield definition
        for seer in self._scope(module):
            yield from self._fixture_table(seer).get(name, [])
            imported = self.modules.resolve(seer, (name,))
            if (
                imported is not None
                and imported.module is not seer
                and any(map(_is_fixture, imported.module.members(imported.name)))
            ):
                yield imported

    def _fixture_table(self, module: Module) -> dict[str, list[Definition]]:
        """Return the fixtures of a module, its own and imported ones, by the name they are asked for by."""
        if module.path not in self._fixtures:
            # First, so that modules that import each other end.
            table = self._fixtures[module.path] = {}
            for binding in module.bindings:
                _enter(table, binding, Definition(module, binding))
                imported = self.modules.resolve(module, (binding,))
                if imported is not None and imported.name and imported.module is not module:
                    _enter(table, binding, imported)
            for star in module.stars:
                source = self.modules.find(module, star.module or "", star.level)
                if source is not None:
                    for name, definitions in self._fixture_table(source).items():
                        table.setdefault(name, []).extend(definitions)
        return self._fixtures[module.path]

    def _automatic(self, module: Module, holders: list[Definition]) -> Iterator[str]:
        """Yield the names of the fixtures that a test uses without asking."""
        yield from self._settings.usefixtures
        yield from _fixtures_of_pytestmark(module.members("pytestmark"))
        for seer in self._scope(module):
            for name, definitions in self._fixture_table(seer).items():
                if any(
                    _fixture_option(statement, "autouse")
                    for definition in definitions
                    for statement in definition.module.members(definition.name)
                ):
                    yield name
        for holder in holders:
            for owner in self._ancestors(holder):
                yield from _fixtures_of_pytestmark(owner.module.members(f"{owner.name}.pytestmark"))
                yield from _automatic_of_class(owner.module.members(owner.name))


class FirstWalk(SourceWalk):
    """The walk of the first version: it checks what was approved by it.

    It did not follow tests to the modules that they are imported from, nor code on pytest's ``pythonpath``, nor
    what a class or conftest imports or inherits of automatic fixtures. It is not to be changed.
    """

    number = 1

    def locate(self, module: Module, names: list[str]) -> Definition | None:
        """Return the statement that binds a test's name in its module, be it an import."""
        return self._member(module, ".".join(names))

    def _settings_of(self, rootdir: Path) -> PytestSettings:
        return PytestSettings()

    def _written(self, digest: str, *, made: bool) -> str:
        return digest

    def _through(self, unit: _Unit, holders: list[Definition]) -> Iterator[Definition]:
        return iter(())

    def _holders(self, module: Module, classes: list[str]) -> list[Definition]:
        return [Definition(module, ".".join(classes[:depth])) for depth in range(1, len(classes) + 1)]

    def _implied(self, module: Module, holders: list[Definition]) -> Iterator[Definition]:
        for name in SETUP_FUNCTIONS:
            if name in module.bindings:
                yield Definition(module, name)
        for holder in holders:
            for name in SETUP_METHODS:
                definition = self._member(module, f"{holder.name}.{name}")
                if definition is not None:
                    yield definition

    def _fixture_table(self, module: Module) -> dict[str, list[Definition]]:
        if module.path not in self._fixtures:
            table = self._fixtures[module.path] = {}
            for binding in module.bindings:
                _enter(table, binding, Definition(module, binding))
        return self._fixtures[module.path]

    def _automatic(self, module: Module, holders: list[Definition]) -> Iterator[str]:
        for seer in self._scope(module):
            for name, definitions in self._fixture_table(seer).items():
                if any(
                    _fixture_option(statement, "autouse")
                    for definition in definitions
                    for statement in seer.bindings[definition.name]
                ):
                    yield name
        for holder in holders:
            yield from _automatic_of_class(module.members(holder.name))


_WALKS: dict[int, type[SourceWalk]] = {1: FirstWalk, 2: SourceWalk}


def _enter(table: dict[str, list[Definition]], binding: str, definition: Definition) -> None:
    """Note what of a definition is a fixture, by the name it is asked for by."""
    for statement in definition.module.members(definition.name):
        if _is_fixture(statement):
            table.setdefault(_fixture_option(statement, "name") or binding, []).append(definition)


def _automatic_of_class(statements: list[ast.stmt]) -> Iterator[str]:
    """Yield the fixtures that a class's tests use by its marks, and its own automatic ones."""
    for statement in statements:
        if isinstance(statement, ast.ClassDef):
            yield from _fixtures_of_marks(statement.decorator_list)
            for member in statement.body:
                if isinstance(member, Function) and _fixture_option(member, "autouse"):
                    yield member.name


_ASKING = ("run", "arun", "render")

_Conditional = (ast.If, ast.IfExp, ast.BoolOp, ast.While, ast.Match, ast.ExceptHandler, ast.Lambda, *Function)


def _names_asked(function: ast.FunctionDef | ast.AsyncFunctionDef) -> NamesAsked:
    """Return what a function asks of its arguments ``runtime`` and ``runtimes``, whatever its conditions."""
    arguments = {
        argument.arg for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    }
    runtimes: set[str] = set()
    packages: set[tuple[str | None, str]] = set()
    nodes: list[ast.AST] = [*function.body]
    while nodes:
        node = nodes.pop()
        if isinstance(node, _Conditional):
            continue
        nodes += ast.iter_child_nodes(node)
        named = _runtime_named(node, arguments)
        if named is not None:
            runtimes.add(named)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _ASKING:
            package = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            asked = node.func.value
            auxiliary = _runtime_named(asked, arguments)
            is_under_test = isinstance(asked, ast.Name) and asked.id == "runtime" and "runtime" in arguments
            if isinstance(package, str) and (is_under_test or auxiliary is not None):
                packages.add((auxiliary, package))
    return NamesAsked(frozenset(runtimes), frozenset(packages))


def _runtime_named(node: ast.AST, arguments: set[str]) -> str | None:
    """Return ``NAME`` of ``runtimes["NAME"]`` where ``runtimes`` is an argument."""
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == "runtimes"
        and "runtimes" in arguments
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    ):
        return node.slice.value
    return None


def _taken_from_super(statement: ast.stmt) -> Iterator[str]:
    """Yield the names of what a statement takes from ``super()``."""
    for node in ast.walk(statement):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Call)
            and attribute_chain(node.value.func) == ("super",)
        ):
            yield node.attr


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


def _fixtures_of_pytestmark(statements: list[ast.stmt]) -> Iterator[str]:
    """Yield the fixtures that the variable ``pytestmark`` of a module or class says its tests use."""
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                yield from _fixtures_of_marks([node])


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
