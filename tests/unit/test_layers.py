"""Data flows one way through the package, and some of it works without pytest."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest_proofmap

PACKAGE = Path(pytest_proofmap.__file__).parent
FLOORS = [
    *("_version", "text", "errors", "files", "environment", "redaction", "parameters", "collector"),
    *("config", "evidence", "prompts", "calls", "hookspecs", "decide", "lock", "scaffold", "approved"),
    *("report", "prefetch", "plugin", "cli"),
]
"""Folders and modules at the top, from the ground up: each may import those before it."""

WITHOUT_PYTEST = ["approved", "calls", "cli", "config", "decide", "evidence", "lock", "prompts", "report"]
IMPURE = {
    *("asyncio", "datetime", "http", "os", "pathlib", "random", "secrets", "shutil", "socket"),
    *("subprocess", "tempfile", "threading", "time", "urllib", "uuid"),
}


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


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield each module of the package but its root."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        if name != "pytest_proofmap":
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def imports() -> list[Import]:
    """Return every import of the package, also those inside of functions."""
    found = []
    names = {name for name, _ in modules()}
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
    """Each module can be read after those that it imports."""
    names = {name for name, _ in modules()}
    below: dict[str, set[str]] = {}
    for each in imports():
        if each.imported in names and not each.for_types:
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


def test_decisions_are_pure() -> None:
    """What decides has no clock, disk, network, randomness or pytest."""
    wrong = [
        each
        for each in imports()
        if each.places[0] == "decide" and each.imported.split(".")[0] in IMPURE | {"pytest", "litellm"}
    ]
    assert wrong == []


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
