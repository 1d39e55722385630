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
LAYERS = ["evidence", "runtime", "decide", "approve", "prefetch", "run", "report", "commands"]
"""Each folder may import those before it."""

FOUNDATIONS = [
    "_version",
    "collector",
    "environment",
    "errors",
    "limited_file",
    "own_folder",
    "visible",
    "whole_file",
]
"""Modules that anyone may import and that import no folder of the package."""

WITHOUT_PYTEST = ["approve", "approved", "cli", "commands", "decide", "evidence", "runtime"]
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
            elif isinstance(node, ast.ImportFrom) and node.module == "pytest_proofmap":
                found += [Import(name, f"pytest_proofmap.{alias.name}", node in typed) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.append(Import(name, node.module, node in typed))
    return found


def test_a_folder_imports_earlier_ones_only() -> None:
    """A later folder may import an earlier one, never the other way round, not even for types."""
    wrong = [
        each
        for each in imports()
        if set(each.places) <= set(LAYERS) and LAYERS.index(each.places[1]) > LAYERS.index(each.places[0])
    ]
    assert wrong == []


def test_foundations_import_no_folder() -> None:
    """What everyone imports imports nothing of the package but its like."""
    wrong = [
        each
        for each in imports()
        if each.places[0] in FOUNDATIONS
        and each.imported.startswith("pytest_proofmap.")
        and each.places[1] not in FOUNDATIONS
    ]
    assert wrong == []


def test_the_configuration_knows_nothing_of_runs() -> None:
    """The configuration is read by all folders, and imports none that decides, runs or reports."""
    assert {each.places[1] for each in imports() if each.importer == "pytest_proofmap.config"} & set(
        LAYERS[2:]
    ) == set()


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
