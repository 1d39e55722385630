"""The modules of a project, read without importing them: what their names are bound to.

Modules are looked for beside the importing file, in the folders above it up to the project's root, in ``src``
below the root, and in the folders that are said to be on the path. Whatever is not found there is foreign and not
followed. Only ordinary files of a stated size are read.

Source code as text that says the same on every Python version.

:func:`canonical` writes a syntax tree without what does not change its meaning: positions, comments,
docstrings, and the fields that only some Python versions have.
"""

from __future__ import annotations

import ast
import configparser
import gc
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_proofmap.files import read_limited

__all__ = [
    "Definition",
    "Module",
    "Modules",
    "PytestSettings",
    "attribute_chain",
    "canonical",
    "imports_within",
    "names_used",
    "without_case_marks",
]


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


Function = (ast.FunctionDef, ast.AsyncFunctionDef)

LARGEST_BYTES = 16 * 2**20
"""No module that somebody wrote comes near it."""


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
        statements = self.bindings.get(head, [])
        while rest:
            head, _, rest = rest.partition(".")
            scope: dict[str, list[ast.stmt]] = {}
            for statement in statements:
                if isinstance(statement, ast.ClassDef):
                    _bind(statement.body, scope, [])
            statements = scope.get(head, [])
        return statements


@dataclass(frozen=True, slots=True)
class PytestSettings:
    """What pytest's own settings say of a project's code."""

    pythonpath: tuple[Path, ...] = ()
    """Folders of the project that pytest puts on the path."""
    usefixtures: tuple[str, ...] = ()
    """Fixtures that every test uses."""

    @classmethod
    def of(cls, rootdir: Path) -> PytestSettings:
        """Read the settings at a project's root, from the first file that pytest would take.

        Options of the command line do not count: a fingerprint is the same whoever asks for it.
        """
        for name, section in _SETTINGS:
            table = _read_settings(rootdir / name, section)
            if table is not None:
                folders = [rootdir / folder for folder in _words(table.get("pythonpath"))]
                root = rootdir.resolve()
                return cls(
                    tuple(folder for folder in folders if folder.resolve().is_relative_to(root)),
                    tuple(_words(table.get("usefixtures"))),
                )
        return cls()


# In the order in which pytest looks: https://docs.pytest.org/en/stable/reference/customize.html
_SETTINGS = (
    *(("pytest.toml", "pytest"), (".pytest.toml", "pytest"), ("pytest.ini", "pytest"), (".pytest.ini", "pytest")),
    *(("pyproject.toml", "tool.pytest"), ("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")),
)


def _read_settings(path: Path, section: str) -> Mapping[str, object] | None:
    """Return a file's settings of pytest; None when there is none that pytest would take."""
    try:
        text = read_limited(path, LARGEST_BYTES, regular=True).decode("utf-8-sig")
    except (OSError, ValueError):
        # pytest itself fails on one that it cannot read or decode: there is no run that this could misjudge.
        return None
    if path.suffix == ".toml":
        return _read_toml_settings(text, section)
    # pytest reads them by iniconfig, which interpolates nothing.
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    try:
        parser.read_string(text)
    except configparser.Error:
        return None
    if parser.has_section(section):
        return dict(parser[section])
    return {} if path.name.endswith("pytest.ini") else None


def _read_toml_settings(text: str, section: str) -> Mapping[str, object] | None:
    # At the place of use: projects without such a file are read wherever the standard library is.
    if sys.version_info >= (3, 11):  # When the standard library got it: https://peps.python.org/pep-0680/
        import tomllib
    else:
        import tomli as tomllib
    try:
        table: object = tomllib.loads(text)
    except (ValueError, RecursionError):
        # No TOML, or nested more deeply than the parser goes.
        return None
    for name in section.split("."):
        table = table.get(name) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        return {} if section == "pytest" else None
    inner = table.get("ini_options")
    return inner if isinstance(inner, dict) else table


def _words(value: object) -> list[str]:
    """Return a setting that holds several words, as a list or in one text."""
    if isinstance(value, str):
        try:
            return shlex.split(value, comments=True)
        except ValueError:
            # A quotation without an end, which pytest refuses.
            return []
    return [element for element in value if isinstance(element, str)] if isinstance(value, list) else []


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
        path: Further folders of the project that modules are imported from, such as pytest's ``pythonpath``.
    """

    def __init__(self, rootdir: Path, path: Sequence[Path] = ()) -> None:
        self._rootdir = rootdir
        self._path = path
        self._modules: dict[Path, Module | None] = {}
        self._found: dict[tuple[Path, str, int], Module | None] = {}

    def read(self, path: Path) -> Module | None:
        """Return the module in a file, or None when there is no Python that can be read."""
        if path not in self._modules:
            module = None
            # A finalizer that formats a traceback parses as well, which breaks a parse under way on Python 3.11
            # (https://github.com/python/cpython/issues/106905).
            collects = gc.isenabled()
            gc.disable()
            try:
                module = Module(path, ast.parse(read_limited(path, LARGEST_BYTES, regular=True)))
            except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
                # The last two are the parser's own, about nesting that Python itself could not run.
                pass
            else:
                _bind(module.tree.body, module.bindings, module.stars)
            finally:
                if collects:
                    gc.enable()
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
            definition = self._resolve_from(module, star, chain, seen)
            if definition is not None:
                return definition
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
            definition = self._resolve_in(target, chain, seen)
            if definition is not None and definition.name:
                return definition
        submodule = self._find(module.path, f"{package}.{chain[0]}".lstrip("."), statement.level)
        if submodule is not None:
            return self._resolve_in(submodule, chain[1:], seen)
        return None

    def _resolve_in(
        self, module: Module, chain: tuple[str, ...], seen: frozenset[tuple[Path, str]]
    ) -> Definition | None:
        """Resolve the rest of a chain in a module; nothing left names the whole module."""
        definition = self._resolve(module, chain, seen) if chain else None
        return definition or Definition(module, "")

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
            folders = [*self.above(path), self._rootdir / "src", *self._path]
        for folder in folders:
            place = folder.joinpath(*parts)
            for file in ([place.with_name(f"{place.name}.py")] if parts else []) + [place / "__init__.py"]:
                if file.is_file():
                    return self.read(file)
        return None


def _bind(body: list[ast.stmt], bindings: dict[str, list[ast.stmt]], stars: list[ast.ImportFrom]) -> None:
    """Note which statements of a module or class bind, or change, which names."""
    # A chain of elif is as deep as it is long, so that nothing recurses.
    statements = body[::-1]
    while statements:
        statement = statements.pop()
        if isinstance(statement, (ast.If, ast.Try)):
            handlers = statement.handlers if isinstance(statement, ast.Try) else []
            final = statement.finalbody if isinstance(statement, ast.Try) else []
            parts = (statement.body, *(handler.body for handler in handlers), statement.orelse, final)
            statements += [inner for part in parts for inner in part][::-1]
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
