"""Wherever pytest is started and however it imports, the evidence is the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from everyday_project import PLAIN_SUMMARY, EverydayProject
from small_project import isolate


def run_in(folder: Path, *arguments: str) -> pytest.RunResult:
    """Run ``pytest --proofmap`` in a folder."""
    done = subprocess.run(
        (sys.executable, "-m", "pytest", "-p", "proofmap", "--proofmap", *arguments),
        cwd=folder,
        env=isolate(dict(os.environ)),
        capture_output=True,
        text=True,
        check=False,
    )
    return pytest.RunResult(done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), 0.0)


@pytest.mark.parametrize("place", ["below", "above", "rootdir", "file", "ini-file", "no ini-file", "link"])
def test_places_to_start_from(
    everyday: EverydayProject, plain_facts: dict[str, Any], tmp_path: Path, place: str
) -> None:
    """The rootdir of pytest decides where the configuration, the recordings and the evidence are."""
    root = everyday.folder
    above = root.parent
    if place == "below":
        result = run_in(root / "tests")
    elif place == "above":
        result = run_in(above, f"{root.name}/tests")
    elif place == "rootdir":
        result = run_in(above, f"--rootdir={root}", f"{root.name}/tests")
    elif place == "file":
        result = run_in(Path("/"), f"{root}/tests/test_everyday.py")
    elif place == "ini-file":
        result = run_in(above, "-c", f"{root}/pytest.ini", f"{root}/tests")
    elif place == "no ini-file":
        (root / "pytest.ini").unlink()
        result = run_in(above, f"--rootdir={root}", f"{root}/tests")
    else:
        link = tmp_path.parent / f"{tmp_path.name}-link"
        link.symlink_to(root, target_is_directory=True)
        result = run_in(link)
    result.assert_outcomes(**PLAIN_SUMMARY)
    assert everyday.facts() == plain_facts


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_import_modes(everyday: EverydayProject, plain_facts: dict[str, Any], mode: str) -> None:
    """The import mode changes nothing about the evidence."""
    everyday.run_apart(f"--import-mode={mode}").assert_outcomes(**PLAIN_SUMMARY)
    assert everyday.facts() == plain_facts


def test_modules_of_one_name(everyday: EverydayProject) -> None:
    """Under --import-mode=importlib modules of one name in two folders are told apart."""
    text = (
        'import pytest\n\n\n@pytest.mark.qualify(objective="{0}")\n'
        'def test_greets(runtime):\n    assert runtime.complete("Greet Ann").text == "Hello Ann"\n'
    )
    for name in ("a", "b"):
        everyday.write(f"tests/{name}/test_same.py", text.format(name))
    everyday.run_apart("--import-mode=importlib", "tests/a", "tests/b").assert_outcomes(passed=4)
    assert [criterion.id for criterion in everyday.evidence().criteria] == [
        "tests/a/test_same.py::test_greets",
        "tests/b/test_same.py::test_greets",
    ]


def test_nested_conftest_files(everyday: EverydayProject) -> None:
    """Fixtures and hooks of conftest.py files in folders hold for the marked tests below them."""
    everyday.write("tests/a/conftest.py", 'import pytest\n\n\n@pytest.fixture\ndef name():\n    return "An"\n')
    everyday.write(
        "tests/a/b/conftest.py",
        "import pytest\n\n\n@pytest.fixture\ndef name(name):\n    return name + 'n'\n\n\n"
        "def pytest_collection_modifyitems(items):\n    items.reverse()\n",
    )
    everyday.write(
        "tests/a/b/test_deep.py",
        'import pytest\n\n\n@pytest.mark.qualify(objective="deep")\n'
        'def test_greets(runtime, name):\n    assert runtime.complete(f"Greet {name}").text == "Hello Ann"\n',
    )
    everyday.run_apart("tests/a").assert_outcomes(passed=2)
    assert everyday.outcomes() == {("", "gpt"): "passed", ("", "mini"): "passed"}
