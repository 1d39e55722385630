"""What ProofMap depends on: no release that is known to be malicious, and licences as documented."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "dependencies.md"
MALICIOUS = {"litellm": ["1.82.7", "1.82.8", "1.107.0"]}
ROW = re.compile(r"^\| \[`(?P<name>[\w-]+)`\]\(\S+\) \| (?P<purpose>.+) \| (?P<licence>.+) \|$", re.MULTILINE)


def project() -> dict[str, Any]:
    """Return the project's table of ``pyproject.toml``."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def required() -> dict[str, Requirement]:
    """Return what a user installs with ProofMap, by name, extras included."""
    table = project()
    extras = [line for extra in table["optional-dependencies"].values() for line in extra]
    requirements = [Requirement(line) for line in (*table["dependencies"], *extras)]
    return {requirement.name: requirement for requirement in reversed(requirements)}


def documented() -> dict[str, str]:
    """Return the licence that the page gives for each dependency."""
    return {row["name"]: row["licence"] for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}


@pytest.mark.parametrize(("name", "versions"), MALICIOUS.items())
def test_malicious_releases_are_excluded(name: str, versions: list[str]) -> None:
    """No installer may choose a release that is known to be malicious."""
    allowed = required()[name].specifier
    assert [version for version in versions if allowed.contains(version, prereleases=True)] == []


def test_the_page_names_every_dependency() -> None:
    """The page has a row for each dependency, and for nothing else."""
    assert sorted(documented()) == sorted(required())


@pytest.mark.parametrize("name", sorted(required()))
def test_licences(name: str) -> None:
    """The licence on the page is the one that the installed package declares."""
    try:
        declared = metadata(name)
    except PackageNotFoundError:
        pytest.skip("not installed here")
    names = ("License-Expression", "License", "Classifier")
    texts = [text for name in names for text in declared.get_all(name) or []]
    said = [text for text in texts if not text.startswith("License") or "OSI Approved" in text]
    licence = documented()[name]
    assert any(licence.split("-")[0].lower() in text.lower() for text in said), (licence, said[:3])
