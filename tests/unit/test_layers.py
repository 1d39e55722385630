"""Data flows one way through the package, and some of it works without pytest."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest_proofmap

PACKAGE = Path(pytest_proofmap.__file__).parent
FLOORS = [
    *("_version", "text", "errors", "files", "environment", "redaction", "parameters"),
    *("config", "evidence", "prompts", "calls", "hookspecs", "decide", "lock", "scaffold", "approved"),
    *("report", "prefetch", "plugin", "cli"),
]
"""Folders and modules at the top, from the ground up: each may import those before it."""

WITHOUT_PYTEST = ["approved", "calls", "cli", "config", "decide", "evidence", "lock", "prompts", "report"]
BELOW_DECIDE = {"pytest_proofmap.errors", "pytest_proofmap.text"} | {
    f"pytest_proofmap.evidence{module}" for module in ("", ".fingerprints", ".models")
}
"""What decisions stand on, directly or through each other: plain data, its text form and errors."""
PURE_LIBRARY = {
    *("__future__", "bisect", "collections", "dataclasses", "decimal", "difflib", "enum", "functools", "hashlib"),
    *(
        "itertools",
        "json",
        "math",
        "operator",
        "pydantic",
        "re",
        "shlex",
        "statistics",
        "types",
        "typing",
        "urllib.parse",
    ),
}
"""What gives the same for the same arguments; pydantic checks data. What these import for themselves is theirs."""
RECOGNISED_TYPES = {
    *("datetime.date", "datetime.time", "datetime.timedelta", "pathlib.PurePath", "uuid.UUID"),
}
"""Types of values that fingerprints are made of: of modules with a clock, a disk or randomness these alone."""


class Import(NamedTuple):
    """One module's import of another."""

    importer: str
    imported: str
    for_types: bool
    """Under ``if TYPE_CHECKING``."""

    @property
    def places(self) -> tuple[str, str]:
        """Folder, or module at the top, of both within the package."""
        return self.importer.split(".")[1], (*self.imported.split("."), "")[1]


@cache
def trees() -> dict[str, ast.Module]:
    """Return each module of the package but its root, by name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    del found["pytest_proofmap"]
    return found


def modules() -> Iterable[tuple[str, ast.Module]]:
    """Return the name and the syntax tree of each of them."""
    return trees().items()


@cache
def imports() -> list[Import]:
    """Return every import of the package, also those inside of functions."""
    found = []
    names = trees().keys()
    for name, tree in modules():
        blocks = (node for node in ast.walk(tree) if isinstance(node, ast.If))
        typed = {
            inner
            for block in blocks
            if ast.unparse(block.test) == "TYPE_CHECKING"
            for statement in block.body
            for inner in ast.walk(statement)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found += [Import(name, alias.name, node in typed) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                modules_of_it = whole & names or {node.module}
                found += [Import(name, imported, node in typed) for imported in sorted(modules_of_it)]
    return found


def test_every_room_has_its_floor() -> None:
    """The floors name every folder and every module at the top of the package, and nothing else."""
    assert {name.split(".")[1] for name, _ in modules()} == set(FLOORS)


def test_imports_lead_downwards() -> None:
    """A floor may import the ones below it, never the other way round, not even for types or within functions."""
    wrong = [
        each
        for each in imports()
        if set(each.places) <= set(FLOORS) and FLOORS.index(each.places[1]) > FLOORS.index(each.places[0])
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Each module can be read after those that it imports, for types or within functions, too."""
    names = {name for name, _ in modules()}
    below: dict[str, set[str]] = {}
    for each in imports():
        if each.imported in names:
            below.setdefault(each.importer, set()).add(each.imported)
    while leaves := {name for name in below if not below[name] & below.keys()}:
        below = {name: imported for name, imported in below.items() if name not in leaves}
    assert below == {}


def test_two_files_import_litellm() -> None:
    """LiteLLM's habits are contained in one place for the call service, in another for production."""
    importers = {each.importer for each in imports() if each.imported.split(".")[0] == "litellm"}
    assert importers == {"pytest_proofmap.calls.lanes.litellm", "pytest_proofmap.lock.litellm"}


def test_litellm_is_imported_at_the_place_of_use() -> None:
    """No module imports LiteLLM when it is loaded itself."""
    for name, tree in modules():
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "litellm" not in ast.unparse(node).split(".")[0].split(), name


def test_config_knows_nothing_of_calls() -> None:
    """The configuration is plain data, below all that asks a model."""
    assert FLOORS.index("config") < FLOORS.index("calls")
    assert [each for each in imports() if each.places == ("config", "calls")] == []


def test_decisions_are_pure() -> None:
    """What decides has no clock, disk, network, randomness or pytest, and neither has what it imports.

    The rule: from ``decide`` on, module after module, imports within functions included, the package is imported
    no further than ``BELOW_DECIDE``, and of what is installed only ``PURE_LIBRARY`` and ``RECOGNISED_TYPES``.
    """
    below: dict[str, set[str]] = {}
    for each in imports():
        if not each.for_types:
            below.setdefault(each.importer, set()).add(each.imported)
    reached: set[str] = set()
    ahead = {name for name, _ in modules() if name.split(".")[1] == "decide"}
    while ahead:
        module = ahead.pop()
        reached.add(module)
        ahead |= {name for name in below.get(module, ()) if name.startswith("pytest_proofmap.")} - reached
    assert {name for name in reached if name.split(".")[1] != "decide"} <= BELOW_DECIDE
    wrong = {
        (module, name)
        for module in reached
        for name in below.get(module, ())
        if name.split(".")[0] != "pytest_proofmap" and not _is_pure(name)
    }
    assert {(module, name) for module, name in wrong if not _uses_types_only(module, name)} == set()


def _is_pure(name: str) -> bool:
    return name in PURE_LIBRARY or name.split(".")[0] in PURE_LIBRARY


def _uses_types_only(module: str, imported: str) -> bool:
    """Return whether a module takes nothing but recognised types from another one, and asks nothing of these."""
    taken, local = set(), {imported: imported}
    for node in ast.walk(trees()[module]):
        if isinstance(node, ast.ImportFrom) and node.module == imported:
            local |= {alias.asname or alias.name: f"{imported}.{alias.name}" for alias in node.names}
            taken |= {f"{imported}.{alias.name}" for alias in node.names}
    for node in ast.walk(trees()[module]):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            if first in local:
                taken.add(f"{local[first]}.{rest}")
    return taken <= RECOGNISED_TYPES


def test_deciding_loads_nothing_impure_of_the_package() -> None:
    """In a fresh interpreter, importing all of ``decide`` loads no other module of the package than it may."""
    names = [name for name, _ in modules() if name.split(".")[1] == "decide"]
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n    importlib.import_module(name)\n"
        "print(*(name for name in sys.modules if name.startswith('pytest_proofmap.')), sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert loaded >= set(names)
    assert loaded - set(names) <= BELOW_DECIDE | {"pytest_proofmap._version"}


def test_hooks_live_at_the_top_only() -> None:
    """Hooks of pytest are implemented in modules at the top.

    ``plugin.py`` has those of every run, ``hooks.py`` those of runs with ``--proofmap``, and ``collected.py`` that
    of the collection that ``proofmap verify`` starts.
    """
    own = {"plugin", "hooks", "hookspecs", "collected"}
    for name, tree in modules():
        if name.split(".")[-1] in own:
            continue
        functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
        hooks = [node.name for node in functions if node.name.startswith("pytest_")]
        assert hooks == [], name


def test_production_and_commands_work_without_pytest() -> None:
    """All but pytest's side can be imported where pytest is not installed, and imports no LiteLLM."""
    names = [
        name for name, _ in modules() if name.split(".")[1] in WITHOUT_PYTEST and not name.endswith("__main__")
    ]
    program = (
        "import importlib, sys\n"
        "sys.modules['pytest'] = sys.modules['_pytest'] = None\n"
        f"for name in {names!r}:\n    importlib.import_module(name)\n"
        "print('litellm' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
