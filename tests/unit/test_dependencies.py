"""What ProofMap depends on: no release that is known to be malicious, and licences as documented."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

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


CONSTRAINTS = ROOT / ".ci" / "constraints"
RESOLVED = {
    "demo": ((), ()),
    "test": (("dev",), ()),
    "everyday": (("everyday",), ()),
    "proxy": (("dev",), ("proxy",)),
    "lowest": (("dev",), ("redis",)),
}
"""Groups and extras that each set of constraints is made for, beside the dependencies."""


def of_group(name: str) -> list[Requirement]:
    """Return the requirements of a dependency group."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    requirements: list[Requirement] = []
    for entry in table[name]:
        requirements += of_group(entry["include-group"]) if isinstance(entry, dict) else [Requirement(entry)]
    return requirements


def constraints(name: str) -> dict[str, list[Requirement]]:
    """Return the versions of a set of constraints, by package; several where Pythons have different ones."""
    versions: dict[str, list[Requirement]] = {}
    for line in (CONSTRAINTS / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            requirement = Requirement(line)
            versions.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return versions


@pytest.mark.parametrize("name", RESOLVED)
def test_constraints_fit_what_is_required(name: str) -> None:
    """Every requirement has a version that it allows; after a change of pyproject.toml: ``make constraints``."""
    groups, extras = RESOLVED[name]
    table = project()
    required = [Requirement(line) for line in table["dependencies"]]
    required += [Requirement(line) for extra in extras for line in table["optional-dependencies"][extra]]
    required += [requirement for group in groups for requirement in of_group(group)]
    fixed = constraints(name)
    for requirement in required:
        versions = fixed[canonicalize_name(requirement.name)]
        for version in versions:
            [exact] = version.specifier
            assert requirement.specifier.contains(exact.version, prereleases=True), (requirement, version)


def test_lowest_constraints_are_the_lower_bounds() -> None:
    """The job with the lowest dependencies has what ``pyproject.toml`` promises to work."""
    fixed = constraints("lowest")
    bounds = {}
    for line in project()["dependencies"]:
        requirement = Requirement(line)
        [bound] = [each.version for each in requirement.specifier if each.operator == ">="]
        bounds[requirement.name] = Version(bound)
    lowest = {name: {Version(next(iter(each.specifier)).version) for each in fixed[name]} for name in bounds}
    assert lowest == {name: {bound} for name, bound in bounds.items()}


def test_a_demo_has_the_versions_of_the_tests() -> None:
    """Whoever tries the examples has what was tested, and installs nothing twice."""
    tested = constraints("test")
    assert {name: [str(each.specifier) for each in tested[name]] for name in constraints("demo")} == {
        name: [str(each.specifier) for each in versions] for name, versions in constraints("demo").items()
    }
