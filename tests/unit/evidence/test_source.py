from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence.source import SourceFingerprints

Project = dict[str, str]

TEST_FILE = '''
import json
import re

import pytest
import rules
from checks import no_comma as check

CASES = [("a", 1), ("b", 2)]
LIMIT = 3
PATTERN = re.compile("x" * LIMIT)
UNUSED = 1


@pytest.fixture
def client(settings):
    return settings


def unused():
    return UNUSED


@pytest.mark.qualify(baseline="one", challengers=["two"])
@pytest.mark.parametrize("text, number", CASES)
def test_one(runtime, client, text, number):
    """Docstring."""
    assert check(json.loads(runtime.complete(text).text)) and rules.SHORT.match(text)
    assert PATTERN.search(f"{text!r:>{number}} and {number:.2f}" "more")
'''

PROJECT: Project = {
    "tests/test_a.py": TEST_FILE,
    "tests/conftest.py": "import pytest\n\n@pytest.fixture\ndef settings():\n    return 1\n",
    "tests/checks.py": "def comma():\n    return ','\n\n\ndef no_comma(text):\n    return comma() not in text\n",
    "tests/rules.py": "import re\n\nSHORT = re.compile('.{3}')\nLONG = re.compile('.{30}')\n",
}


@pytest.fixture
def fingerprint(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a project and gives a criterion's fingerprint."""
    count = 0

    def of(project: Project, criterion: str = "tests/test_a.py::test_one") -> str:
        nonlocal count
        count += 1
        rootdir = tmp_path / f"project{count}"
        for name, text in project.items():
            path = rootdir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        return SourceFingerprints(rootdir).of(criterion)

    return of


def changed(name: str, old: str, new: str, project: Project = PROJECT) -> Project:
    """Return a project with a replacement in one file."""
    assert old in project[name]
    return {**project, name: project[name].replace(old, new)}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tests/test_a.py", "assert PATTERN", "assert not PATTERN"),
        ("tests/test_a.py", "LIMIT = 3", "LIMIT = 4"),
        ("tests/test_a.py", "def client(settings):\n    return", "def client(settings):\n    return not"),
        ("tests/test_a.py", "from checks import no_comma as", "from checks import comma as"),
        ("tests/test_a.py", "import json", "import yaml as json"),
        ("tests/test_a.py", '"more"', '"less"'),
        ("tests/conftest.py", "return 1", "return 2"),
        ("tests/checks.py", "','", "';'"),
        ("tests/rules.py", "{3}", "{4}"),
    ],
)
def test_changes_of_what_the_test_uses_count(
    fingerprint: Callable[..., str], file: str, old: str, new: str
) -> None:
    """Whatever the test uses, in whichever module of the project, is in its fingerprint."""
    assert fingerprint(changed(file, old, new)) != fingerprint(PROJECT)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tests/test_a.py", '"""Docstring."""', '"""Another."""'),
        ("tests/test_a.py", '    """Docstring."""\n', "\n    # a comment\n\n"),
        ("tests/test_a.py", "UNUSED = 1", "UNUSED = 2"),
        ("tests/test_a.py", '("b", 2)', '("b", 3), ("c", 4)'),
        ("tests/test_a.py", 'challengers=["two"]', 'challengers=["two", "three"], margin=0.1'),
        ("tests/test_a.py", '@pytest.mark.qualify(baseline="one", challengers=["two"])\n', ""),
        ("tests/test_a.py", '"x" * LIMIT', "'x'*LIMIT"),
        ("tests/rules.py", "{30}", "{40}"),
        ("tests/checks.py", "def comma", "# a comment\n\n\ndef comma"),
    ],
)
def test_changes_without_meaning_do_not_count(
    fingerprint: Callable[..., str], file: str, old: str, new: str
) -> None:
    """Docstrings, comments, layout, unused names, cases and bars are not the source."""
    assert fingerprint(changed(file, old, new)) == fingerprint(PROJECT)


def test_layout_of_folders_does_not_count(fingerprint: Callable[..., str]) -> None:
    """The same files elsewhere in the project have the same fingerprint."""
    moved = {name.replace("tests/", "suite/deep/"): text for name, text in PROJECT.items()}

    assert fingerprint(moved, "suite/deep/test_a.py::test_one") == fingerprint(PROJECT)


def test_swapped_imports_count(fingerprint: Callable[..., str]) -> None:
    """Two imports that trade names change what the test does."""
    project = {
        "checks.py": "def a():\n    return 1\n\n\ndef b():\n    return 2\n",
        "test_a.py": "from checks import a as x, b as y\n\n\ndef test_one(runtime):\n    assert x() and not y()\n",
    }
    swapped = changed("test_a.py", "a as x, b as y", "b as x, a as y", project)

    assert fingerprint(swapped, "test_a.py::test_one") != fingerprint(project, "test_a.py::test_one")


LAYOUTS: list[tuple[str, Project]] = [
    (
        "package",
        {"a/__init__.py": "", "a/rules.py": "BAN = 1", "test_a.py": "import a.rules\nx = a.rules.BAN"},
    ),
    ("alias", {"a/__init__.py": "", "a/rules.py": "BAN = 1", "test_a.py": "import a.rules as r\nx = r.BAN"}),
    (
        "submodule",
        {"a/__init__.py": "", "a/rules.py": "BAN = 1", "test_a.py": "from a import rules\nx = rules.BAN"},
    ),
    ("namespace", {"a/rules.py": "BAN = 1", "test_a.py": "from a.rules import BAN\nx = BAN"}),
    (
        "reexport",
        {"a/__init__.py": "from .r import *", "a/r.py": "BAN = 1", "test_a.py": "from a import BAN\nx = BAN"},
    ),
    ("src", {"src/a.py": "BAN = 1", "tests/test_a.py": "import a\nx = a.BAN"}),
    (
        "relative",
        {"tests/__init__.py": "", "tests/a.py": "BAN = 1", "tests/test_a.py": "from . import a\nx = a.BAN"},
    ),
    ("whole", {"a.py": "BAN = 1", "test_a.py": "import a\nx = vars(a)"}),
    (
        "guarded",
        {
            "a.py": "BAN = 1",
            "test_a.py": "try:\n    from a import BAN\nexcept ImportError:\n    BAN = 2\nx = BAN",
        },
    ),
    ("changed later", {"test_a.py": "x = {}\nx['a'] = 1\nx.update(BAN = 1)"}),
]


@pytest.mark.parametrize(("files"), [pytest.param(files, id=name) for name, files in LAYOUTS])
def test_every_way_to_import_is_followed(fingerprint: Callable[..., str], files: Project) -> None:
    """A constant counts however it gets into the test module."""
    test = next(name for name in files if name.endswith("test_a.py"))
    project = {**files, test: files[test] + "\n\n\ndef test_one(runtime):\n    assert x\n"}
    other = {name: text.replace("BAN = 1", "BAN = 5") for name, text in project.items()}

    assert fingerprint(project, f"{test}::test_one") != fingerprint(other, f"{test}::test_one")


def test_local_imports_are_followed(fingerprint: Callable[..., str]) -> None:
    """An import inside the test counts like one at the top."""
    project = {
        "a.py": "BAN = 1",
        "test_a.py": "def test_one(runtime):\n    from a import BAN as b\n    assert b\n",
    }

    assert fingerprint(changed("a.py", "1", "2", project), "test_a.py::test_one") != fingerprint(
        project, "test_a.py::test_one"
    )


CLASSES: Project = {
    "tests/base.py": "class Base:\n    LIMIT = 1\n    def check(self):\n        return self.LIMIT\n"
    "    def test_two(self, runtime):\n        assert self.check()\n",
    "tests/test_a.py": "import pytest\nfrom base import Base\n\n\n@pytest.mark.usefixtures('database')\n"
    "class TestOne(Base):\n    OTHER = 1\n"
    "    @pytest.fixture\n    def own(self):\n        return 7\n"
    "    def setup_method(self):\n        self.ready = True\n"
    "    def test_one(self, runtime, own):\n        assert self.check()\n",
    "tests/conftest.py": "import pytest\npytest_plugins = ['more']\n\n@pytest.fixture(autouse=True)\n"
    "def seed():\n    return 11\n",
    "tests/more.py": "import pytest\n\n@pytest.fixture(name='database')\ndef make():\n    return 13\n",
}


@pytest.mark.parametrize("number", ["LIMIT = 1", "return 7", "True", "return 11", "return 13"])
def test_methods_count_with_what_surrounds_them(fingerprint: Callable[..., str], number: str) -> None:
    """Inherited members, setup methods, automatic fixtures and those of marks and plugins are followed."""
    criterion = "tests/test_a.py::TestOne::test_one"
    other = {name: text.replace(number, f"{number} + 1") for name, text in CLASSES.items()}

    assert fingerprint(other, criterion) != fingerprint(CLASSES, criterion)


def test_other_members_of_the_class_do_not_count(fingerprint: Callable[..., str]) -> None:
    """A method's fingerprint does not change with what it does not use."""
    criterion = "tests/test_a.py::TestOne::test_one"

    assert fingerprint(changed("tests/test_a.py", "OTHER = 1", "OTHER = 2", CLASSES), criterion) == fingerprint(
        CLASSES, criterion
    )


def test_inherited_tests_have_a_source(fingerprint: Callable[..., str]) -> None:
    """A test that its class inherits is found in the base."""
    criterion = "tests/test_a.py::TestOne::test_two"

    assert fingerprint(
        changed("tests/base.py", "assert self", "assert not self", CLASSES), criterion
    ) != fingerprint(CLASSES, criterion)


def test_overridden_fixtures_count_with_what_they_override(fingerprint: Callable[..., str]) -> None:
    """A fixture that asks for the one of its own name brings both in."""
    override = "\n\n@pytest.fixture\ndef settings(settings):\n    return settings\n"
    project = {**PROJECT, "tests/test_a.py": TEST_FILE + override}

    assert fingerprint(changed("tests/conftest.py", "return 1", "return 2", project)) != fingerprint(project)


def test_recursion_and_circular_imports_end(fingerprint: Callable[..., str]) -> None:
    """Functions and modules that use each other are followed once."""
    project = {
        "a.py": "from b import *\nfrom b import ping\n\n\ndef pong(n):\n    return n and ping(n - 1)\n",
        "b.py": "from a import *\nfrom a import pong\n\n\ndef ping(n):\n    return n and pong(n - 1)\n",
        "test_a.py": "from a import ping, nothing\n\n\ndef test_one(runtime):\n    assert ping(3) or nothing\n",
    }

    assert len(fingerprint(project, "test_a.py::test_one")) == 12


def test_a_test_made_by_a_program_has_its_module(fingerprint: Callable[..., str]) -> None:
    """A test without a statement of its own has the fingerprint of its whole module."""
    project = {"test_a.py": "for name in ['test_one']:\n    globals()[name] = lambda runtime: runtime\nx = 1\n"}

    assert fingerprint(project, "test_a.py::test_one") != fingerprint(
        changed("test_a.py", "x = 1", "x = 2", project), "test_a.py::test_one"
    )


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A criterion whose file is gone has no fingerprint."""
    sources = SourceFingerprints(tmp_path)

    with pytest.raises(EvidenceError, match=r"test_gone\.py"):
        sources.of("test_gone.py::test_one")
    assert not sources.defines("test_gone.py::test_one")


def test_each_file_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many criteria of one module do not read it again."""
    count = 500
    tests = "\n\n".join(f"def test_{n}(runtime):\n    assert check({n})" for n in range(count))
    (tmp_path / "checks.py").write_text("def check(n):\n    return n\n")
    (tmp_path / "test_a.py").write_text(f"from checks import check\n\n\n{tests}\n")
    parsed: list[bytes] = []
    parse = ast.parse

    def count_parse(source: bytes) -> ast.Module:
        parsed.append(source)
        return parse(source)

    monkeypatch.setattr(ast, "parse", count_parse)
    sources = SourceFingerprints(tmp_path)

    assert len({sources.of(f"test_a.py::test_{n}") for n in range(count)}) == count
    assert len(parsed) == 2


OTHER_PYTHONS = sorted(
    path
    for version in ("3.10", "3.11", "3.12", "3.13", "3.14")
    for path in Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python")
)


@pytest.mark.parametrize("python", OTHER_PYTHONS, ids=lambda path: path.parent.parent.name)
def test_every_python_version_agrees(tmp_path: Path, python: Path) -> None:
    """The fingerprint is the same on every supported Python version that is installed here."""
    sample = TEST_FILE + SYNTAX
    for name, text in {**PROJECT, "tests/test_a.py": sample}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    criteria = ["tests/test_a.py::test_one", "tests/test_a.py::test_syntax"]
    script = (
        "import sys, pathlib; from pytest_proofmap.evidence.source import SourceFingerprints as S; "
        "s = S(pathlib.Path(sys.argv[1])); print(*[s.of(c) for c in sys.argv[2:]])"
    )
    package = Path(__file__).parents[3]
    there = subprocess.run(
        [python, "-B", "-c", script, tmp_path, *criteria],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(package), "PATH": os.environ["PATH"]},
    )
    sources = SourceFingerprints(tmp_path)

    assert there.stdout.split() == [sources.of(criterion) for criterion in criteria], sys.version


SYNTAX = r'''

class Rules:
    """Docstring
      over lines."""

    BANNED: dict[str, int] = {**{}, "a": 1}

    @staticmethod
    async def check(a, /, b: int = -1, *c, d=..., **e) -> None:
        """Docstring."""
        async with a as x, b as y:
            yield [z async for z in x if not z] or {y: lambda q=1: (yield)}


def test_syntax(runtime, big=10**30, text=u"\u00e9\U0001F9FF\ud800", raw=rb"\x00"):
    global CASES
    value = f"a{runtime!r}b" f"{big:>{LIMIT}}" "c" f"{{}}{text=}{1:}" f""
    value += f'{value + f"{text}"}' f"""{
        value}"""
    with open(value) as one, open(value) as two:
        del one, two
    match value:
        case {"a": [1, *_], **rest} if rest:
            pass
        case None | True | Rules(BANNED=1):
            return value[1:2, ..., ::3]
    try:
        assert (n := 1_000) and 1e22 and 2j and -0.0, "no"
    except (ValueError, TypeError) as error:
        raise RuntimeError from error
    else:
        nonlocal_ = [*value, *(x for x in value)]
    finally:
        print(*value, sep="\N{EM DASH}")
    return (yield from Rules().check(nonlocal_))
'''
