"""``--junitxml``: what was decided, in properties that readers of the format accept."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from small_project import CONFIGURATION, THREE_CASES, SmallProject, echo_hook

OUTCOMES = {"skipped", "error", "failure", "system-out", "system-err"}
MISS = 'return "a secret answer" if runtime == "mini" and prompt == "c" else prompt'
XUNIT1 = ("-o", "junit_family=xunit1")


@pytest.fixture
def project(project: SmallProject) -> SmallProject:
    """A project whose challenger misses one of three cases."""
    project.write("test_triage.py", THREE_CASES)
    project.write("conftest.py", echo_hook(MISS))
    return project


def suite_of(project: SmallProject, *, strict: bool = False) -> ET.Element:
    """Return the suite of the file, checked for what its readers ask for.

    Args:
        project: The project that was run.
        strict: Whether nothing may be in it that the schema of Jenkins' xUnit plugin does not know.
    """
    root = ET.parse(project.folder / "junit.xml").getroot()
    assert root.tag == "testsuites"
    (suite,) = root
    assert suite.tag == "testsuite"
    assert {"name", "tests", "failures", "errors"} <= set(suite.attrib)
    assert {child.tag for child in suite} <= {"properties", "testcase"}
    for holder in (suite, *suite.iter("testcase")):
        places = [index for index, child in enumerate(holder) if child.tag == "properties"]
        assert places in ([], [0]), "properties come first and once"
        for each in holder.findall("properties/property"):
            assert set(each.attrib) == {"name", "value"}
            assert not list(each)
            assert not (each.text or "").strip()
    for case in suite.iter("testcase"):
        assert {"name", "classname", "time"} <= set(case.attrib)
        assert {child.tag for child in case} <= (OUTCOMES if strict else OUTCOMES | {"properties"})
    return suite


def properties(element: ET.Element) -> dict[str, str]:
    """Return an element's properties, each of which it has once."""
    found = [(each.attrib["name"], each.attrib["value"]) for each in element.findall("properties/property")]
    assert max(Counter(name for name, _ in found).values(), default=1) == 1
    return dict(found)


def case_of(suite: ET.Element, name: str) -> dict[str, str]:
    """Return the properties of one test."""
    (case,) = [each for each in suite.iter("testcase") if each.attrib["name"] == name]
    return properties(case)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
@pytest.mark.parametrize("family", [[], XUNIT1])
def test_tests_have_properties(project: SmallProject, workers: list[str], family: list[str]) -> None:
    """Each marked test says once what its outcome is of, with and without xdist; other tests say nothing."""
    if workers:
        project.plugins.append("xdist")
    project.write("test_plain.py", "def test_plain(record_property):\n    record_property('own', 1)\n")
    arguments = [*workers, *family, "-W", "ignore:record_property is incompatible"]
    project.run_apart("--junitxml=junit.xml", *arguments).assert_outcomes(passed=6, xfailed=1)
    suite = suite_of(project)
    assert case_of(suite, "test_plain") == {"own": "1"}
    found = case_of(suite, "test_echo[c-mini]")
    assert found.pop("proofmap.cost_usd", None) is None
    assert found == {
        "proofmap.objective": "triage",
        "proofmap.criterion": "test_triage.py::test_echo",
        "proofmap.case": "c",
        "proofmap.runtime": "mini",
        "proofmap.role": "challenger",
        "proofmap.outcome": "failed",
    }
    assert case_of(suite, "test_echo[a-gpt]")["proofmap.role"] == "baseline"


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_the_suite_has_the_verdicts(project: SmallProject, workers: list[str]) -> None:
    """The suite says what was decided for each objective, slice and runtime, and what it cost."""
    if workers:
        project.plugins.append("xdist")
    cases = 'ids = [str(number) for number in range(24)]\n\n@pytest.mark.parametrize("case", ids)'
    tests = THREE_CASES.replace('@pytest.mark.parametrize("case", ["a", "b", "c"])', cases)
    project.write("test_triage.py", tests)
    for runtime in ("gpt", "mini"):
        project.record(runtime, {str(number): str(number) for number in range(24)})
    (project.folder / "conftest.py").unlink()
    project.run_apart("--junitxml=junit.xml", *workers).assert_outcomes(passed=48)
    suite = suite_of(project)
    found = properties(suite)
    assert re.fullmatch("[0-9a-f]{32}", found.pop("proofmap.run"))
    assert found == {
        "proofmap.complete": "true",
        "proofmap.findings": "0",
        "proofmap.calls": "48",
        "proofmap.spent_usd": "0",
        "proofmap.list_usd": "0.03408",
        "proofmap.verdict[triage][mini]": "qualified",
        "proofmap.chain[triage]": "mini, gpt",
        "proofmap.cost_ratio[triage]": "10.83",
        "proofmap.latency_ratio[triage]": "1",
    }
    assert case_of(suite, "test_echo[7-mini]")["proofmap.cost_usd"] == "0.00012"


def test_slices_and_samples(project: SmallProject) -> None:
    """Slices and repeated samples are named, in the tests and in the suite."""
    project.write(
        "test_triage.py",
        THREE_CASES.replace("qualify", 'qualify(slice_by="case", samples=2)'),
    )
    project.run("--junitxml=junit.xml")
    suite = suite_of(project)
    one = case_of(suite, "test_echo[b-mini-s1]")
    assert (one["proofmap.slice"], one["proofmap.sample"]) == ("case=b", "1")
    assert properties(suite)["proofmap.verdict[triage/case=c][mini]"] == "not_qualified"


def test_a_stated_schema_is_kept(project: SmallProject) -> None:
    """Who states ``junit_family = xunit2`` gets what its schema knows: properties of the suite alone."""
    project.write("pytest.ini", "[pytest]\njunit_family = xunit2\n")
    project.run("--junitxml=junit.xml")
    assert "proofmap.complete" in properties(suite_of(project, strict=True))
    project.write("pytest.ini", "[pytest]\n")
    project.run("--junitxml=junit.xml", "-o", "junit_family=xunit2")
    suite_of(project, strict=True)
    project.run("--junitxml=junit.xml")
    with pytest.raises(AssertionError):
        suite_of(project, strict=True)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("    return prompt", "passed"),
        ("    raise ConnectionError('down')", "error"),
        ("    return 'wrong'", "failed"),
    ],
)
def test_each_outcome(project: SmallProject, body: str, outcome: str) -> None:
    """The sample's outcome is told, also where pytest calls the test skipped or failed."""
    project.write("conftest.py", echo_hook(body.strip()))
    project.run("--junitxml=junit.xml")
    suite = suite_of(project)
    for runtime in ("gpt", "mini"):
        assert case_of(suite, f"test_echo[a-{runtime}]")["proofmap.outcome"] == outcome


def test_failing_fixtures_and_skips(project: SmallProject) -> None:
    """A test whose setup or teardown fails, and one that is skipped, have their properties too."""
    project.write(
        "test_triage.py",
        """
import pytest

@pytest.fixture
def before():
    raise ValueError("before")

@pytest.fixture
def after():
    yield
    raise ValueError("after")

@pytest.mark.qualify
def test_setup(before, runtime):
    pass

@pytest.mark.qualify(min_pass_rate=0.5)
def test_teardown(after, runtime):
    assert runtime.complete("c").text == "c"

@pytest.mark.qualify(baseline_must_pass=True)
def test_both(after, runtime):
    assert runtime.complete("c").text == "d"

@pytest.mark.qualify
def test_skip(runtime):
    pytest.skip("not now")
""",
    )
    project.run("--junitxml=junit.xml")
    suite = suite_of(project)
    assert case_of(suite, "test_setup[mini]")["proofmap.outcome"] == "error"
    assert case_of(suite, "test_skip[gpt]")["proofmap.outcome"] == "skipped"
    # pytest gives a test that fails twice two entries.
    outcomes = {
        properties(each)["proofmap.outcome"]
        for each in suite.iter("testcase")
        if each.attrib["name"].startswith("test_both[gpt")
    }
    assert outcomes == {"failed"}


def test_subtests_do_not_double_anything(project: SmallProject) -> None:
    """A test with subtests has its properties once."""
    project.write(
        "test_triage.py",
        THREE_CASES.replace("(runtime, case)", "(runtime, case, subtests)").replace(
            "    assert", '    with subtests.test("inner"):\n        pass\n    assert'
        ),
    )
    project.run("--junitxml=junit.xml")
    suite = suite_of(project)
    assert any("proofmap.outcome" in properties(each) for each in suite.iter("testcase"))


def test_nothing_leaks(project: SmallProject) -> None:
    """Neither prompts nor answers are in properties."""
    project.write("test_triage.py", THREE_CASES.replace("complete(case)", 'complete("a secret prompt " + case)'))
    project.run("--junitxml=junit.xml")
    suite = suite_of(project)
    values = [each.attrib["value"] for each in suite.iter("property")]
    assert values
    assert not [value for value in values if "secret" in value]


def test_hostile_names_leave_the_file_whole(project: SmallProject) -> None:
    """Markup in a name, and control characters in a case, leave the file readable."""
    project.write(
        "test_triage.py",
        THREE_CASES.replace('"a"', 'pytest.param("a", id="\\x1b[31m<b>&\\ufffe\\x00\\u202e")').replace(
            "qualify", "qualify(objective='<b>&]]>')"
        ),
    )
    project.run("--junitxml=junit.xml")
    found = properties(suite_of(project))
    assert any(name.startswith("proofmap.verdict[<b>&]]>]") for name in found)


@pytest.mark.parametrize("arguments", [["--proofmap-shard"], ["-k", "not test_echo[a"]])
def test_undecided_and_incomplete_runs(project: SmallProject, arguments: list[str]) -> None:
    """A shard has no verdicts and says what it is; an incomplete run says that it is."""
    project.run("--junitxml=junit.xml", *arguments)
    found = properties(suite_of(project))
    assert found["proofmap.complete"] == "false"
    is_shard = "--proofmap-shard" in arguments
    assert (found.get("proofmap.shard") == "true") == is_shard
    assert any("verdict" in name for name in found) != is_shard


def test_findings_are_counted(project: SmallProject) -> None:
    """What fails the run at its end is counted, that a report could not be written included."""
    project.run("--junitxml=junit.xml", "--proofmap-strict", "--proofmap-md=test_triage.py/x.md")
    assert properties(suite_of(project))["proofmap.findings"] == "2"


def test_unknown_costs_are_not_zero(project: SmallProject) -> None:
    """Where no price is known, no cost is told."""
    project.configure(re.sub("price = .*", "", CONFIGURATION))
    project.run("--junitxml=junit.xml")
    found = properties(suite_of(project))
    assert "proofmap.spent_usd" not in found
    assert "proofmap.list_usd" not in found
    assert found["proofmap.unpriced_answers"] == "6"


def test_without_the_file_nothing_is_added(project: SmallProject) -> None:
    """Without ``--junitxml``, or without pytest's plugin for it, a run has no part of this."""
    hook = """
def pytest_runtest_logreport(report):
    assert not report.user_properties
"""
    project.write("conftest.py", echo_hook(MISS) + hook)
    project.run().assert_outcomes(passed=5, xfailed=1)
    project.run("-p", "no:junitxml").assert_outcomes(passed=5, xfailed=1)


def test_without_the_option_the_file_is_pytest_s_own(project: SmallProject) -> None:
    """A run without ``--proofmap`` writes no properties."""
    project.run("--junitxml=junit.xml", proofmap=False)
    assert list(suite_of(project).iter("property")) == []
