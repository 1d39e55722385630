"""Marks on functions, classes and modules, and what is said when one does not fit."""

from __future__ import annotations

import pytest
from small_project import CONFIGURATION, THREE_CASES, SmallProject


@pytest.fixture(autouse=True)
def calls_are_optional(project: SmallProject) -> None:
    """Let tests pass without asking: what is tested here is how they are collected."""
    project.configure('calls = "optional"\n' + CONFIGURATION)


SLICED = """
import enum
import pytest

class Tier(enum.Enum):
    GOLD = "gold, 24k"
    PLAIN = "plain"

@pytest.mark.parametrize("language, tier, case", [
    ("fr", Tier.GOLD, "a"), ("fr", Tier.PLAIN, "b"), ("de", Tier.GOLD, "c"),
])
@pytest.mark.qualify(slice_by=SLICE_BY)
def test_echo(runtime, language, tier, case):
    assert runtime.complete(case).text == case
"""


@pytest.fixture(autouse=True)
def key(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a key, as nothing here is asked with it."""
    monkeypatch.setenv("OPENAI_API_KEY", "not-used")


def refused(project: SmallProject, *words: str) -> None:
    """Check that pytest refuses the tests while collecting, in one clear error with these words."""
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert result.parseoutcomes().get("errors") == 1
    text = result.stdout.str()
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    assert "another exception" not in text
    said = " ".join(text.split())
    for word in words:
        assert word in said


def test_the_nearest_of_function_class_and_module(project: SmallProject) -> None:
    """A function's mark wins over its class's, and that over its module's, argument by argument."""
    project.write(
        "test_triage.py",
        """
import pytest

pytestmark = pytest.mark.qualify(objective="module", samples=2, confidence=0.9)

class TestTriage:
    pytestmark = pytest.mark.qualify(objective="class", samples=1)

    @pytest.mark.qualify(objective="function")
    def test_function(self, runtime):
        pass

    def test_class(self, runtime):
        pass

def test_module(runtime):
    pass
""",
    )
    project.run().assert_outcomes(passed=8)
    found = {
        each.id.rpartition("::")[2]: (each.objective, each.bar.samples, each.bar.confidence)
        for each in project.evidence().criteria
    }
    assert found == {
        "test_function": ("function", 1, 0.9),
        "test_class": ("class", 1, 0.9),
        "test_module": ("module", 2, 0.9),
    }


def test_the_objective_is_named_after_the_module(project: SmallProject) -> None:
    """Without ``objective`` it is the module's name without ``test_``."""
    project.write("test_triage.py", THREE_CASES.replace("runtime.complete(case).text", "case"))
    project.run()
    assert [each.name for each in project.evidence().objectives] == ["triage"]


def test_two_modules_that_default_to_one_name(project: SmallProject) -> None:
    """Two modules whose objectives would share a default name are refused."""
    project.write("pytest.ini", "[pytest]\naddopts = --import-mode=importlib\n")
    for folder in ("one", "two"):
        project.write(f"{folder}/test_triage.py", THREE_CASES)
    refused(project, "two/test_triage.py::test_echo", "'triage'", "one/test_triage.py", "qualify(objective=...)")


def test_two_modules_may_share_a_name_on_purpose(project: SmallProject) -> None:
    """An objective that both modules name groups their criteria."""
    for name in ("test_one.py", "test_two.py"):
        text = THREE_CASES.replace(".qualify", ".qualify(objective='triage')")
        project.write(name, text.replace("runtime.complete(case).text", "case"))
    project.run().assert_outcomes(passed=12)
    [objective] = project.evidence().objectives
    assert objective.criteria == ["test_one.py::test_echo", "test_two.py::test_echo"]


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("chalengers=['mini']", ["no argument 'chalengers'", "Did you mean 'challengers'?"]),
        ("challengers=['gtp']", ["unknown runtime 'gtp'", "Did you mean 'gpt'?", "proofmap.toml: gpt, mini"]),
        ("challengers=['gpt']", ["'gpt' is the baseline itself"]),
        ("samples='2'", ["samples = '2'", "valid integer"]),
        ("min_pass_rate=90", ["min_pass_rate = 90", "less than or equal to 1"]),
        ("baseline=None", ["qualify(baseline=None) is not allowed"]),
        ("slice_by='language'", ["slice_by names 'language'", "Allowed: case."]),
        ("slice_by='runtime'", ["slice_by names 'runtime'", "Allowed: case."]),
    ],
)
def test_a_bad_argument_is_a_collection_error(project: SmallProject, argument: str, words: list[str]) -> None:
    """A bad argument is one clear collection error that names the test."""
    project.write("test_triage.py", THREE_CASES.replace(".qualify", f".qualify({argument})"))
    refused(project, "test_triage.py::test_echo: ", *words)


def test_no_baseline_anywhere(project: SmallProject) -> None:
    """Without a baseline in mark and configuration the error says where to name one."""
    project.configure(CONFIGURATION.replace('baseline = "gpt"', ""))
    project.write("test_triage.py", THREE_CASES)
    refused(project, "test_triage.py::test_echo: no baseline", 'baseline = "NAME" in proofmap.toml')


def test_a_marked_test_without_the_fixture(project: SmallProject) -> None:
    """A marked test that does not use ``runtime`` is refused."""
    project.write("test_triage.py", "import pytest\n\n@pytest.mark.qualify\ndef test_one():\n    pass\n")
    refused(project, "test_triage.py::test_one: marked 'qualify' but does not use the fixture 'runtime'")


def test_the_fixture_without_a_mark(project: SmallProject) -> None:
    """A test that uses ``runtime`` without a mark is refused."""
    project.write("test_triage.py", "def test_one(runtime):\n    pass\n")
    refused(project, "test_triage.py::test_one: uses the fixture 'runtime' but is not marked")


def test_the_fixture_may_be_used_through_another(project: SmallProject) -> None:
    """A fixture of the project may use ``runtime`` on behalf of the test."""
    project.write(
        "test_triage.py",
        "import pytest\n\n@pytest.fixture\ndef name(runtime):\n    return runtime.name\n\n"
        "@pytest.mark.qualify\ndef test_one(name):\n    assert name in ('gpt', 'mini')\n",
    )
    project.run().assert_outcomes(passed=2)


def test_auxiliary_runtimes_need_a_mark(project: SmallProject) -> None:
    """A test that uses ``runtimes`` alone is told what it lacks."""
    project.write("test_triage.py", "def test_one(runtimes):\n    pass\n")
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_triage.py::test_one: uses the fixture 'runtimes' but is not qualified*"])


def test_a_mark_on_a_unittest_class(project: SmallProject) -> None:
    """A mark on a ``unittest`` class is refused rather than ignored: its tests take no fixtures."""
    project.write(
        "test_triage.py",
        "import pytest, unittest\n\n@pytest.mark.qualify\nclass TestOld(unittest.TestCase):\n"
        "    def test_one(self):\n        pass\n",
    )
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: test_triage.py::TestOld::test_one: marked 'qualify', but pytest does not *"]
    )


def test_duplicate_case_ids(project: SmallProject) -> None:
    """Two cases with one id are refused, because their evidence could not be told apart."""
    project.write(
        "test_triage.py",
        """
import pytest

@pytest.mark.parametrize("left", ["a", "b-a"])
@pytest.mark.parametrize("right", ["c-b", "c"])
@pytest.mark.qualify
def test_one(runtime, left, right):
    pass
""",
    )
    refused(project, "test_triage.py::test_one: two cases have the id 'c-b-a'", "ids that are unique")


def test_slices_by_several_arguments(project: SmallProject) -> None:
    """Slices are named by arguments and values in alphabetical order, percent-encoded; enum members by value."""
    project.write("test_triage.py", SLICED.replace("SLICE_BY", "['tier', 'language']"))
    for runtime in ("gpt", "mini"):
        project.record(runtime, {case: case for case in "abc"})
    project.run().assert_outcomes(passed=6)
    assert {sample.case: sample.slice for sample in project.evidence().samples} == {
        "fr-Tier.GOLD-a": "language=fr,tier=gold%2C%2024k",
        "fr-Tier.PLAIN-b": "language=fr,tier=plain",
        "de-Tier.GOLD-c": "language=de,tier=gold%2C%2024k",
    }
    assert {cell.slice for cell in project.criterion("test_echo").cells} == {
        None,
        "language=fr,tier=gold%2C%2024k",
        "language=fr,tier=plain",
        "language=de,tier=gold%2C%2024k",
    }


def test_cells_of_a_slice_count_its_cases(project: SmallProject) -> None:
    """A cell counts the cases of its slice, and the one without a slice all of them."""
    project.write("test_triage.py", SLICED.replace("SLICE_BY", "'language'"))
    project.record("gpt", {"a": "a", "b": "b", "c": "c"})
    project.record("mini", {"a": "a", "b": "?", "c": "c"})
    project.run().assert_outcomes(passed=5, xfailed=1)
    cells = {each: project.cell("test_echo", "mini", each) for each in (None, "language=fr", "language=de")}
    assert {name: (cell.cases, cell.passed) for name, cell in cells.items()} == {
        None: (3, 2),
        "language=fr": (2, 1),
        "language=de": (1, 1),
    }


def test_a_slice_value_that_production_could_not_name(project: SmallProject) -> None:
    """A value that is no string, whole number, truth value or enum member is refused."""
    project.write(
        "test_triage.py", THREE_CASES.replace(".qualify", ".qualify(slice_by='case')").replace('"a"', "0.5")
    )
    refused(project, "test_triage.py::test_echo: slice_by='case' has the value 0.5")


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("baseline='mini', challengers=['gpt']", ["baseline 'mini' differs from 'gpt'"]),
        ("confidence=0.9", ["confidence 0.9 differs from 0.95"]),
        ("slice_by='case'", ["slice_by ['case'] differs from ['other']"]),
    ],
)
def test_what_an_objective_shares(project: SmallProject, second: str, words: list[str]) -> None:
    """All criteria of an objective share baseline, confidence and slices."""
    text = THREE_CASES.replace(".qualify", ".qualify(slice_by='other')").replace('"case"', '"other, case"')
    text = text.replace("runtime, case", "runtime, other, case").replace('["a", "b", "c"]', '[("x", "a")]')
    text += f'\n@pytest.mark.parametrize("case", ["a"])\n@pytest.mark.qualify({second})\n'
    project.write("test_triage.py", text + "def test_second(runtime, case):\n    pass\n")
    refused(project, "test_triage.py::test_second: ", "test_triage.py::test_echo", "'triage'", *words)


def test_a_criterion_without_slices_joins_one_with(project: SmallProject) -> None:
    """A criterion without ``slice_by`` may share the objective of one that has it."""
    project.write(
        "test_triage.py",
        SLICED.replace("SLICE_BY", "'language'").replace("runtime.complete(case).text", "case")
        + "\n@pytest.mark.qualify\ndef test_form(runtime):\n    pass\n",
    )
    project.run().assert_outcomes(passed=8)


def test_a_broken_mark_does_not_hide_other_tests(project: SmallProject) -> None:
    """With ``--continue-on-collection-errors`` the tests of other modules run."""
    project.write("test_bad.py", THREE_CASES.replace(".qualify", ".qualify(samples=0)"))
    project.write("test_good.py", THREE_CASES.replace("runtime.complete(case).text", "case"))
    result = project.run("--continue-on-collection-errors")
    result.assert_outcomes(passed=6, errors=1)
    assert [each.name for each in project.evidence().objectives] == ["good"]


def test_a_runtime_that_was_not_asked_for_by_name(project: SmallProject) -> None:
    """Tests that get the fixture in another way are told that they have no runtime."""
    project.write(
        "test_other.py",
        """
import unittest
import pytest

@pytest.mark.usefixtures("runtime")
class Cases(unittest.TestCase):
    def test_method(self):
        pass

def test_dynamic(request):
    request.getfixturevalue("runtime")
""",
    )
    result = project.run()
    result.assert_outcomes(errors=1, failed=1)
    assert "AttributeError" not in result.stdout.str()
    assert str(result.stdout).count("so it has no runtime. Name 'runtime' among the arguments") >= 2


@pytest.mark.parametrize("name", ["triage/language=fr", "a/b/c=", "team/x=1,y=2"])
def test_an_objective_that_reads_as_a_slice_is_refused(project: SmallProject, name: str) -> None:
    """The lock would take its route for that of a slice of another objective."""
    mark = f"qualify(objective={name!r})"
    project.write("test_a.py", THREE_CASES.replace("qualify", mark))
    refused(project, "test_a.py::test_echo", f"objective = {name!r}", "the lock names so the slice", "Rename it")


def test_a_slash_alone_is_a_name(project: SmallProject) -> None:
    """Teams may order their objectives in folders."""
    project.write("test_a.py", THREE_CASES.replace("qualify", "qualify(objective='team/triage')"))
    project.record("gpt", {"a": "a", "b": "b", "c": "c"})
    project.record("mini", {"a": "a", "b": "b", "c": "c"})
    assert project.run("-q").ret == pytest.ExitCode.OK
    assert [each.name for each in project.evidence().objectives] == ["team/triage"]


@pytest.mark.parametrize(("one", "other"), [("1", "'1'"), ("True", "'true'"), ("True", "1")])
def test_values_that_would_be_one_slice_are_refused(project: SmallProject, one: str, other: str) -> None:
    """Different values of one name are two slices that production could not tell apart."""
    cases = f"[{one}, {other}]"
    project.write(
        "test_a.py",
        THREE_CASES.replace('["a", "b", "c"]', cases).replace("qualify", "qualify(slice_by='case')"),
    )
    if (one, other) == ("True", "1"):
        assert "would be one slice" not in project.run("--collect-only", "-q").stdout.str()
    else:
        refused(project, "test_a.py::test_echo", "would be one slice", "Give them one type")


OWN_RUNTIME = """
import pytest

@pytest.fixture
def runtime():
    return "docker"

@pytest.fixture
def image(runtime):
    return f"{runtime}:latest"

def test_fixture(runtime):
    assert runtime == "docker"

def test_through_another(image):
    assert image == "docker:latest"
"""


def test_a_runtime_of_the_projects_own_is_left_alone(project: SmallProject) -> None:
    """A fixture or an argument of that name in tests that are not marked has nothing to do with ProofMap."""
    project.write("test_own.py", OWN_RUNTIME)
    project.write(
        "test_argument.py",
        """
import pytest

@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_argument(runtime):
    assert runtime in ("docker", "podman")

class TestOne:
    @pytest.fixture(params=["a", "b"])
    def runtime(self, request):
        return request.param

    def test_inside(self, runtime):
        assert runtime in "ab"
""",
    )
    project.write("test_marked.py", THREE_CASES)
    for name in ("gpt", "mini"):
        project.record(name, {case: case for case in "abc"})
    project.run("-q").assert_outcomes(passed=12)
    project.run("-q", proofmap=False).assert_outcomes(passed=6, skipped=3)


def test_proofmaps_own_runtime_needs_the_mark(project: SmallProject) -> None:
    """Beside tests with a fixture of their own the rule stays for those that have none."""
    project.write("test_own.py", OWN_RUNTIME)
    project.write("test_a.py", "def test_one(runtime):\n    pass\n")
    refused(project, "test_a.py::test_one", "uses the fixture 'runtime' but is not marked")


@pytest.mark.parametrize("mark", ["@pytest.mark.qualify", ""])
def test_a_mark_on_a_single_case_is_refused(project: SmallProject, mark: str) -> None:
    """A bar is a whole criterion's, whether or not that is marked too."""
    cases = '["a", pytest.param("b", marks=pytest.mark.qualify(min_pass_rate=0.5))]'
    text = THREE_CASES.replace('["a", "b", "c"]', cases).replace("@pytest.mark.qualify", mark)
    project.write("test_a.py", text)
    refused(project, "test_a.py::test_echo", "the case 'b' is marked 'qualify' by pytest.param", "Put the mark on")


@pytest.mark.parametrize("cases", ["[]", "[each for each in 'abc' if each > 'x']"])
def test_an_empty_list_of_cases_is_refused(project: SmallProject, cases: str) -> None:
    """Nothing would be qualified, and pytest alone would skip it in silence."""
    project.write("test_a.py", THREE_CASES.replace('["a", "b", "c"]', cases))
    refused(project, "test_a.py::test_echo", "the list of cases that parametrize() is given for case is empty")


def test_an_empty_list_of_a_plain_test_is_pytests_business(project: SmallProject) -> None:
    """It is skipped, as without ProofMap."""
    project.write("test_a.py", "import pytest\n@pytest.mark.parametrize('x', [])\ndef test_x(x):\n    pass\n")
    project.run("-q").assert_outcomes(skipped=1)
