from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence.modules import LARGEST_BYTES
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


def write(rootdir: Path, project: Project) -> None:
    """Write the files of a project."""
    for name, text in project.items():
        path = rootdir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")


@pytest.fixture
def fingerprint(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a project and gives a criterion's fingerprint."""
    count = 0

    def of(project: Project, criterion: str = "tests/test_a.py::test_one") -> str:
        nonlocal count
        count += 1
        rootdir = tmp_path / f"project{count}"
        write(rootdir, project)
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

    assert re.fullmatch(r"2\.[0-9a-f]{12}", fingerprint(project, "test_a.py::test_one"))


def test_a_test_made_by_a_program_has_its_module(fingerprint: Callable[..., str]) -> None:
    """A test without a statement of its own has the fingerprint of its whole module."""
    project = {"test_a.py": "for name in ['test_one']:\n    globals()[name] = lambda runtime: runtime\nx = 1\n"}

    assert fingerprint(project, "test_a.py::test_one") != fingerprint(
        changed("test_a.py", "x = 1", "x = 2", project), "test_a.py::test_one"
    )


IMPORTED: Project = {
    "lib/shared.py": "LIMIT = 1\n\n\ndef test_b(runtime):\n    assert LIMIT\n",
    "test_a.py": "from lib.shared import test_b\nfor name in ['test_one']:\n"
    "    globals()[name] = lambda runtime: runtime\n",
}


@pytest.mark.parametrize(
    ("project", "criterion", "first"),
    [
        (PROJECT, "tests/test_a.py::test_one", "c6b1a511b529"),
        (CLASSES, "tests/test_a.py::TestOne::test_one", "f6caca8a49e2"),
        (CLASSES, "tests/test_a.py::TestOne::test_two", "157b59f06216"),
        (IMPORTED, "test_a.py::test_b", "79203f1bea0e"),
    ],
)
def test_what_the_first_walk_approved_is_checked_by_it(
    tmp_path: Path, project: Project, criterion: str, first: str
) -> None:
    """A fingerprint of the first version, written down when it was made, is found again."""
    write(tmp_path, project)
    sources = SourceFingerprints(tmp_path)
    assert sources.now(criterion, first) == first
    assert sources.now(criterion, sources.of(criterion)) == sources.of(criterion)
    assert sources.now(criterion, "9.0123456789ab") is None


FOLLOWED: dict[str, tuple[str, Project]] = {
    "imported test": (
        "t.py::test_x",
        {"t.py": "from a import test_x\n", "a.py": "def test_x(runtime): assert 1\n"},
    ),
    "renamed test": (
        "t.py::test_x",
        {"t.py": "from a import check as test_x\n", "a.py": "def check(runtime): assert 1\n"},
    ),
    "starred test": ("t.py::test_x", {"t.py": "from a import *\n", "a.py": "def test_x(runtime): assert 1\n"}),
    "imported class": (
        "t.py::TestX::test_x",
        {"t.py": "from a import TestX\n", "a.py": "class TestX:\n    def test_x(self, runtime): assert 1\n"},
    ),
    "starred class": (
        "t.py::TestX::test_x",
        {
            "t.py": "from a import *\n",
            "a.py": "from b import Base\nclass TestX(Base): pass\n",
            "b.py": "class Base:\n    def test_x(self, runtime): assert 1\n",
        },
    ),
    "what a subclass overrides": (
        "t.py::TestX::test_x",
        {
            "t.py": "from a import Base\nclass TestX(Base):\n    def limit(self): return 1\n",
            "a.py": "class Base:\n    def limit(self): return 0\n"
            "    def test_x(self, runtime): assert self.limit()\n",
        },
    ),
    "super": (
        "t.py::TestX::test_x",
        {
            "t.py": "from a import Base\nclass TestX(Base):\n    def test_x(self, runtime): super().check()\n",
            "a.py": "class Base:\n    def check(self): assert 1\n",
        },
    ),
    "pythonpath": (
        "tests/t.py::test_x",
        {
            "pytest.ini": "[pytest]\npythonpath = app/code  # ours\n",
            "tests/t.py": "from rules import LIMIT\ndef test_x(runtime): assert LIMIT\n",
            "app/code/rules.py": "LIMIT = 1\n",
        },
    ),
    "pythonpath in toml": (
        "tests/t.py::test_x",
        {
            "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['app']\n",
            "tests/t.py": "import rules\ndef test_x(runtime): assert rules.LIMIT\n",
            "app/rules.py": "LIMIT = 1\n",
        },
    ),
    "imported automatic fixture": (
        "t.py::test_x",
        {
            "conftest.py": "from fixes import *\n",
            "fixes.py": "import pytest\n@pytest.fixture(autouse=True)\ndef seed(): return 1\n",
            "t.py": "def test_x(runtime): pass\n",
        },
    ),
    "renamed imported fixture": (
        "t.py::test_x",
        {
            "conftest.py": "from fixes import make\n",
            "fixes.py": "import pytest\n@pytest.fixture(name='seed')\ndef make(): return 1\n",
            "t.py": "def test_x(runtime, seed): pass\n",
        },
    ),
    "pytestmark": (
        "t.py::test_x",
        {
            "conftest.py": "import pytest\n@pytest.fixture\ndef seed(): return 1\n",
            "t.py": "import pytest\npytestmark = [pytest.mark.usefixtures('seed')]\ndef test_x(runtime): pass\n",
        },
    ),
    "usefixtures of the settings": (
        "t.py::test_x",
        {
            "setup.cfg": "[tool:pytest]\nusefixtures = seed\n",
            "conftest.py": "import pytest\n@pytest.fixture\ndef seed(): return 1\n",
            "t.py": "def test_x(runtime): pass\n",
        },
    ),
    "automatic fixture of a base": (
        "t.py::TestX::test_x",
        {
            "a.py": "import pytest\n\nclass Base:\n"
            "    @pytest.fixture(autouse=True)\n    def seed(self): return 1\n",
            "t.py": "from a import Base\nclass TestX(Base):\n    def test_x(self, runtime): pass\n",
        },
    ),
    "imported setup": (
        "t.py::test_x",
        {
            "a.py": "def setup_module(): return 1\n",
            "t.py": "from a import setup_module\ndef test_x(runtime): pass\n",
        },
    ),
    "executed": ("t.py::test_x", {"t.py": "exec('def test_x(runtime): assert 1')\n"}),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_wherever_a_test_comes_from_its_changes_count(tmp_path: Path, name: str) -> None:
    """Imported, inherited and executed tests, and what pytest itself brings in, are seen."""
    criterion, project = FOLLOWED[name]
    write(tmp_path / "one", project)
    write(tmp_path / "two", {file: text.replace("1", "2") for file, text in project.items()})
    was = SourceFingerprints(tmp_path / "one").of(criterion)
    assert SourceFingerprints(tmp_path / "one").now(criterion, was) == was
    assert SourceFingerprints(tmp_path / "two").now(criterion, was) not in (was, None)


def test_a_test_that_is_gone_is_told_from_one_that_is_made(tmp_path: Path) -> None:
    """A statement that is no longer there is lost coverage; a program's test has its module, which changed."""
    write(tmp_path, {"t.py": "def test_x(runtime): pass\n"})
    was = SourceFingerprints(tmp_path).of("t.py::test_x")
    write(tmp_path, {"t.py": "def test_y(runtime): pass\n"})
    assert SourceFingerprints(tmp_path).now("t.py::test_x", was) is None
    write(tmp_path, {"t.py": "exec('def test_x(runtime): pass')\n"})
    made = SourceFingerprints(tmp_path).of("t.py::test_x")
    write(tmp_path, {"t.py": "exec('def test_x(runtime): pass')\nx = 1\n"})
    assert SourceFingerprints(tmp_path).now("t.py::test_x", made) not in (made, None)


@pytest.mark.skipif(sys.platform == "win32", reason="devices and pipes are files on POSIX")
def test_files_from_strangers_are_not_opened(tmp_path: Path) -> None:
    """An id may name any file: only ordinary Python files of the project, of a stated size, are read."""
    root = tmp_path / "project"
    write(tmp_path, {"outside.py": "def test_x(runtime): pass\n", "project/ok.py": "def test_x(runtime): pass\n"})
    os.mkfifo(root / "pipe.py")
    (root / "zero.py").symlink_to("/dev/zero")
    (root / "link.py").symlink_to(tmp_path / "outside.py")
    (root / "large.py").write_bytes(b"#" * (LARGEST_BYTES + 1))
    (root / "folder.py").mkdir()
    sources = SourceFingerprints(root)
    assert sources.now("ok.py::test_x", "2.0") is not None
    files = ["../outside.py", "a/../ok.py", str(tmp_path / "outside.py"), "/dev/zero", "pipe.py", "zero.py"]
    for file in [*files, "link.py", "large.py", "folder.py", "nul\0.py", "", "x" * 5000]:
        for was in ("0123456789ab", "2.0123456789ab", "2m.0123456789ab"):
            assert sources.now(f"{file}::test_x", was) is None, file


@pytest.mark.parametrize(
    "body",
    [
        "assert 1" + " + 1" * 1500,
        "x" + ".a" * 1500,
        "x" + "()" * 150,
        "[" * 90 + "]" * 90,
        "if x: pass\n" + "".join(f"    elif x == {n}: pass\n" for n in range(90)),
    ],
)
def test_deep_syntax_has_a_source(fingerprint: Callable[..., str], body: str) -> None:
    """Nothing recurses over what Python's own parser takes; what it does not take is an unreadable file."""
    project = {"t.py": f"def test_x(runtime):\n    {body}\n"}
    try:
        ast.parse(project["t.py"])
    except (RecursionError, MemoryError, SyntaxError):
        pytest.skip("this version of Python does not parse it")
    assert fingerprint(project, "t.py::test_x").startswith("2.")


def test_what_python_cannot_parse_is_an_unreadable_file(fingerprint: Callable[..., str]) -> None:
    """Nesting without end crashes nothing."""
    for body in ("(" * 100_000 + ")" * 100_000, "-" * 200_000 + "1", "x" + "()" * 100_000):
        project = {"t.py": f"def test_x(runtime):\n    {body}\n"}
        try:
            ast.parse(project["t.py"])
        except (RecursionError, MemoryError, SyntaxError):
            with pytest.raises(EvidenceError, match="no Python file"):
                fingerprint(project, "t.py::test_x")
        else:  # Python 3.10 takes some of it.
            assert fingerprint(project, "t.py::test_x").startswith("2.")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A criterion whose file is gone has no fingerprint."""
    sources = SourceFingerprints(tmp_path)

    with pytest.raises(EvidenceError, match=r"test_gone\.py"):
        sources.of("test_gone.py::test_one")
    assert sources.now("test_gone.py::test_one", "2.0123456789ab") is None


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
