"""What fails a run at its end: the baseline's own bar, ``--proofmap-strict`` and rerun plugins."""

from __future__ import annotations

import string

import pytest
from small_project import CONFIGURATION, SmallProject

LETTERS = string.ascii_lowercase[:20]


def many_cases(mark: str = "", cases: str = LETTERS) -> str:
    """Return a test module with one criterion over letters."""
    return f"""
import pytest

@pytest.mark.parametrize("case", {list(cases)!r})
@pytest.mark.qualify({mark})
def test_echo(runtime, case):
    assert runtime.complete(case).text == case
"""


def record(project: SmallProject, runtime: str, *, wrong: str = "") -> None:
    """Record a runtime's answers to all letters, some of them wrong."""
    project.record(runtime, {case: "?" if case in wrong else case for case in LETTERS})


def run(project: SmallProject, *arguments: str) -> pytest.RunResult:
    """Run from the recordings alone."""
    return project.run("--proofmap-cache=replay", "-p", "no:cacheprovider", *arguments)


def test_a_challengers_misses_leave_the_run_green(project: SmallProject) -> None:
    """A challenger that misses everything is evidence and no broken build."""
    project.write("test_triage.py", many_cases())
    record(project, "gpt")
    record(project, "mini", wrong=LETTERS)
    result = run(project)
    result.assert_outcomes(passed=20, xfailed=20)
    assert result.ret == pytest.ExitCode.OK
    assert project.cell("test_echo", "mini").status == "not_qualified"


def test_a_baseline_miss_fails_under_the_all_pass_bar(project: SmallProject) -> None:
    """Under the all-pass bar a baseline's miss is an ordinary failure."""
    project.write("test_triage.py", many_cases())
    record(project, "gpt", wrong="c")
    record(project, "mini")
    result = run(project)
    result.assert_outcomes(passed=39, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("everywhere", [True, False], ids=["in the configuration", "on the mark"])
def test_baseline_must_pass_false(project: SmallProject, everywhere: bool) -> None:
    """``baseline_must_pass = false`` makes the baseline's miss ``UNMET``."""
    if everywhere:
        project.configure("baseline_must_pass = false\n" + CONFIGURATION)
    project.write("test_triage.py", many_cases("" if everywhere else "baseline_must_pass=False"))
    record(project, "gpt", wrong="c")
    record(project, "mini")
    result = run(project, "-v")
    result.assert_outcomes(passed=39, xfailed=1)
    result.stdout.fnmatch_lines(["*test_echo[[]c-gpt[]] UNMET *"])
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize("mark", ["min_pass_rate=0.8", "margin=0.2", "margin=0.2, min_pass_rate=0.8"])
def test_a_miss_is_data_under_a_rate_or_a_margin(project: SmallProject, mark: str) -> None:
    """Under ``min_pass_rate`` or ``margin`` a miss is data for every role."""
    project.write("test_triage.py", many_cases(mark))
    record(project, "gpt", wrong="c")
    record(project, "mini", wrong="d")
    result = run(project)
    result.assert_outcomes(passed=38, xfailed=2)
    assert result.ret == pytest.ExitCode.OK
    assert project.cell("test_echo", "gpt").failed == 1


@pytest.mark.parametrize("mark", ["min_pass_rate=0.9", "margin=0.2, min_pass_rate=0.9"])
def test_the_run_fails_when_the_baseline_misses_its_own_bar(project: SmallProject, mark: str) -> None:
    """A baseline below its own bar fails the run at its end, which names the criterion."""
    project.write("test_triage.py", many_cases(mark))
    record(project, "gpt", wrong=LETTERS[:8])
    record(project, "mini")
    result = run(project)
    assert result.parseoutcomes().get("failed") is None
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = " ".join(result.stdout.str().split())
    assert "test_triage.py::test_echo" in text
    assert "12 of 20 cases passed, the bar is 90%" in text


def test_an_unlucky_baseline_is_not_below_its_bar(project: SmallProject) -> None:
    """Three misses in twenty are no proof against a bar of 90 %; with ``confidence=0`` the rate decides."""
    record(project, "gpt", wrong="abc")
    record(project, "mini")
    for confidence, status in ((0.95, pytest.ExitCode.OK), (0, pytest.ExitCode.TESTS_FAILED)):
        project.write("test_triage.py", many_cases(f"min_pass_rate=0.9, confidence={confidence}"))
        assert run(project).ret == status


def test_a_failed_run_keeps_its_evidence(project: SmallProject) -> None:
    """A run that fails at its end has written the evidence all the same."""
    project.write("test_triage.py", many_cases("min_pass_rate=0.9"))
    record(project, "gpt", wrong=LETTERS[:8])
    record(project, "mini")
    run(project)
    assert len(project.evidence().samples) == 40


def test_strict_passes_when_every_challenger_qualifies(project: SmallProject) -> None:
    """``--proofmap-strict`` passes when every challenger is qualified on every objective."""
    project.write("test_triage.py", many_cases())
    record(project, "gpt")
    record(project, "mini")
    result = run(project, "--proofmap-strict")
    assert result.ret == pytest.ExitCode.OK
    assert project.cell("test_echo", "mini").status == "qualified"
    assert project.evidence().run.strict


def test_strict_fails_on_a_challenger_that_is_not_qualified(project: SmallProject) -> None:
    """``--proofmap-strict`` fails on a regression, and names challenger and objective."""
    project.write("test_triage.py", many_cases())
    record(project, "gpt")
    record(project, "mini", wrong="b")
    result = run(project, "--proofmap-strict")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "mini is not qualified on triage" in " ".join(result.stdout.str().split())


def test_strict_fails_on_thin_evidence(project: SmallProject) -> None:
    """``--proofmap-strict`` fails on a challenger whose evidence is insufficient."""
    project.write("test_triage.py", many_cases(cases="abc"))
    record(project, "gpt")
    record(project, "mini")
    assert run(project).ret == pytest.ExitCode.OK
    result = run(project, "--proofmap-strict")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "mini is insufficient on triage" in " ".join(result.stdout.str().split())


def test_thin_evidence_is_foretold_before_anything_is_spent(project: SmallProject) -> None:
    """After the collection the run says which criteria cannot reach a verdict, and what would."""
    project.write("test_triage.py", many_cases(cases="abc"))
    result = run(project, "--collect-only")
    text = " ".join(result.stdout.str().split())
    assert "test_triage.py::test_echo: 3 cases cannot qualify the challenger" in text
    assert "11 would" in text


def test_a_failing_challenger_and_a_failing_plain_test(project: SmallProject) -> None:
    """Plain tests of the same run keep their own meaning."""
    project.write("test_triage.py", many_cases() + "\ndef test_plain():\n    assert 0\n")
    record(project, "gpt")
    record(project, "mini", wrong="b")
    result = run(project)
    result.assert_outcomes(passed=39, xfailed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("arguments", [[], ["-n", "2"]], ids=["one process", "xdist"])
def test_findings_fail_the_run_under_xdist_too(project: SmallProject, arguments: list[str]) -> None:
    """The controller decides on what the workers saw."""
    project.plugins += ["xdist"] if arguments else []
    project.write("test_triage.py", many_cases("min_pass_rate=0.9"))
    record(project, "gpt", wrong=LETTERS[:8])
    record(project, "mini")
    result = project.run_apart("--proofmap-cache=replay", *arguments)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "12 of 20 cases passed" in " ".join(result.stdout.str().split())
    assert project.evidence().run.complete
    assert len(project.evidence().samples) == 40


RETRYING = """
def pytest_addoption(parser):
    parser.addoption("--reruns", type=int, default=0)
    parser.addoption("--retries", type=int, default=0)
    parser.addini("reruns", "how often")

def pytest_configure(config):
    config.addinivalue_line("markers", "flaky: run again")
"""
"""What a rerun plugin adds to pytest's surface."""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--reruns=2"], "--reruns would run qualified tests again"),
        (["--retries=2"], "--retries would run qualified tests again"),
        (["-o", "reruns=2"], "reruns in the ini file would run qualified tests again"),
    ],
)
def test_rerun_options_are_refused(project: SmallProject, arguments: list[str], words: str) -> None:
    """Options that run failed tests again are refused before anything is called."""
    project.write("conftest.py", RETRYING)
    project.write("test_triage.py", many_cases())
    result = run(project, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join(result.stderr.str().split())
    assert words in text
    assert "qualify(samples=N) or --proofmap-samples=N" in text


def test_a_rerun_mark_is_refused(project: SmallProject) -> None:
    """A mark that runs a qualified test again is refused, and the test is named."""
    project.write("conftest.py", RETRYING)
    project.write(
        "test_triage.py", many_cases().replace("@pytest.mark.qualify", "@pytest.mark.flaky\n@pytest.mark.qualify")
    )
    result = run(project)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: test_triage.py::test_echo[[]a-gpt[]]: the mark 'flaky'*"])


def test_reruns_of_unmarked_tests_are_fine(project: SmallProject) -> None:
    """Where nothing is marked, rerun plugins may do as they like."""
    project.write("conftest.py", RETRYING)
    project.write("test_plain.py", "import pytest\n\n@pytest.mark.flaky\ndef test_plain():\n    pass\n")
    run(project, "--reruns=2").assert_outcomes(passed=1)


def test_the_real_rerun_plugin_is_refused(project: SmallProject) -> None:
    """pytest-rerunfailures itself is recognised."""
    pytest.importorskip("pytest_rerunfailures")
    project.plugins.append("rerunfailures")
    project.write("test_triage.py", many_cases())
    result = project.run_apart("--reruns", "1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --reruns would run qualified tests again*"])


def test_rerun_options_are_refused_under_xdist(project: SmallProject) -> None:
    """Workers refuse too, and the run does not pass."""
    project.plugins.append("xdist")
    project.write("conftest.py", RETRYING)
    project.write("test_triage.py", many_cases(cases="ab"))
    result = project.run_apart("--reruns=2", "-n", "2")
    assert result.ret != pytest.ExitCode.OK
    assert "--reruns would run qualified tests again" in " ".join(
        (result.stdout.str() + result.stderr.str()).split()
    )
