"""What pytest shows of each outcome: letters, words, reasons and JUnit XML, with and without xdist."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_project import CONFIGURATION, SmallProject, echo_hook

TESTS = '''
import pytest
from pytest_proofmap import CallError

pytestmark = pytest.mark.qualify(objective="all")

def test_good(runtime):
    assert runtime.complete("good").text == "good"

def test_miss(runtime):
    """The challenger is wrong."""
    assert runtime.complete("miss").text == "miss", f"{runtime.name} is wrong\\nand here is more"

def test_down(runtime):
    """The challenger is down."""
    assert runtime.complete("down").text == "down"

def test_swallowed(runtime):
    """The test hides that the challenger is down."""
    try:
        runtime.complete("down")
    except CallError:
        pass

def test_baseline_down(runtime):
    """The baseline is down, and the test hides it."""
    try:
        runtime.complete("baseline down")
    except Exception:
        pass

@pytest.mark.qualify(min_pass_rate=0.5)
def test_data(runtime):
    """Every role's miss is data."""
    assert runtime.complete("good").text == "bad"

@pytest.mark.qualify(baseline_must_pass=False)
def test_lenient(runtime):
    """The baseline may miss."""
    assert runtime.complete("good").text == "bad"

def test_strict(runtime):
    """The baseline's miss fails the build."""
    assert runtime.complete("good").text == "bad"

def test_skips(runtime):
    pytest.skip("not today")

@pytest.mark.skip(reason="never")
def test_skip_mark(runtime):
    1 / 0

@pytest.mark.skipif("True", reason="condition")
def test_skipif(runtime):
    1 / 0

@pytest.mark.xfail(reason="known")
def test_xfail(runtime):
    assert runtime.complete("miss").text == "miss"

@pytest.mark.xfail(reason="known", run=False)
def test_xfail_not_run(runtime):
    1 / 0

def test_xfails(runtime):
    pytest.xfail("given up")

@pytest.fixture
def broken():
    raise ValueError("fixture")

def test_fixture(runtime, broken):
    pass

@pytest.fixture
def breaks_after():
    yield
    raise ValueError("teardown")

def test_teardown(runtime, breaks_after):
    assert runtime.complete("good").text == "good"

class TestMethods:
    def test_method(self, runtime):
        assert runtime.complete("miss").text == "miss"

def test_judge(runtime, runtimes):
    assert runtime.complete("good").text == "good"
    runtimes["judge"].complete("judge down " + runtime.name)

def test_refuses(runtime):
    assert runtime.complete("good", response_format=5).text

def test_code_breaks(runtime):
    assert runtime.complete("good").nothing
'''

HOOK = echo_hook(
    """
    if prompt == "down" and runtime == "mini" or prompt == "baseline down" and runtime == "gpt":
        raise ConnectionError("no route to host")
    if prompt == "judge down mini":
        raise TimeoutError("too slow")
    return "wrong" if prompt == "miss" and runtime == "mini" else prompt
"""
)

JUDGE = '\n[runtimes.judge]\nmodel = "openai/judge"\n'


class Finished:
    """One finished run of all the tests."""

    def __init__(self, project: SmallProject, result: pytest.RunResult) -> None:
        self.project = project
        self.result = result
        self.words = dict(self._words())

    def _words(self) -> Iterator[tuple[str, str]]:
        for line in self.result.outlines:
            parts = line.split()
            place = next((n for n, part in enumerate(parts) if part.startswith("test_all.py::")), None)
            if place == 0 and len(parts) > 1:
                yield parts[0].rpartition("::")[2], parts[1]
            elif place and line.startswith("[gw"):
                yield parts[place].rpartition("::")[2], parts[place - 1]


@pytest.fixture(scope="module", params=["one process", "xdist"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """All the tests, run once in one process and once by two workers."""
    project = SmallProject(tmp_path_factory.mktemp("outcomes"))
    project.configure(CONFIGURATION + JUDGE)
    project.write("test_all.py", TESTS)
    project.write("conftest.py", HOOK)
    project.plugins += ["xdist"] if request.param == "xdist" else []
    arguments = ["-n", "2"] if request.param == "xdist" else []
    result = project.run_apart("-v", "-rA", "--junitxml=junit.xml", *arguments)
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    return Finished(project, result)


EXPECTED = {
    "test_good": ("PASSED", "PASSED", "passed", "passed"),
    "test_miss": ("PASSED", "UNMET", "passed", "failed"),
    "test_down": ("PASSED", "UNAVAILABLE", "passed", "error"),
    "test_swallowed": ("PASSED", "UNAVAILABLE", "passed", "error"),
    "test_baseline_down": ("FAILED", "PASSED", "error", "passed"),
    "test_data": ("UNMET", "UNMET", "failed", "failed"),
    "test_lenient": ("UNMET", "UNMET", "failed", "failed"),
    "test_strict": ("FAILED", "UNMET", "failed", "failed"),
    "test_skips": ("SKIPPED", "SKIPPED", "skipped", "skipped"),
    "test_skip_mark": ("SKIPPED", "SKIPPED", "skipped", "skipped"),
    "test_skipif": ("SKIPPED", "SKIPPED", "skipped", "skipped"),
    "test_xfail": ("XPASS", "XFAIL", "passed", "failed"),
    "test_xfail_not_run": ("XFAIL", "XFAIL", "skipped", "skipped"),
    "test_xfails": ("XFAIL", "XFAIL", "failed", "failed"),
    "test_fixture": ("ERROR", "ERROR", "error", "error"),
    "test_method": ("PASSED", "UNMET", "passed", "failed"),
    "test_judge": ("PASSED", "FAILED", "passed", "error"),
    "test_refuses": ("FAILED", "FAILED", "error", "error"),
    "test_code_breaks": ("FAILED", "UNMET", "failed", "failed"),
}
"""Words for baseline and challenger, and their outcomes as evidence."""


@pytest.mark.parametrize("name", EXPECTED)
def test_the_word_and_the_evidence(finished: Finished, name: str) -> None:
    """``-v`` shows each sample's word, and the evidence holds its outcome."""
    gpt_word, mini_word, gpt_outcome, mini_outcome = EXPECTED[name]
    assert finished.words[f"{name}[gpt]"] == gpt_word
    assert finished.words[f"{name}[mini]"] == mini_word
    outcomes = {
        sample.runtime: sample.outcome
        for sample in finished.project.evidence().samples
        if sample.criterion.endswith(f"::{name}")
    }
    assert outcomes == {"gpt": gpt_outcome, "mini": mini_outcome}


def test_a_teardown_error_changes_no_outcome(finished: Finished) -> None:
    """A fixture that breaks after the test is pytest's own error; the test's result stands as evidence."""
    outcomes = [
        sample.outcome
        for sample in finished.project.evidence().samples
        if sample.criterion.endswith("::test_teardown")
    ]
    assert outcomes == ["passed", "passed"]
    finished.result.stdout.fnmatch_lines(["*ERROR at teardown of test_teardown*"])


def test_the_counts(finished: Finished) -> None:
    """The counts of pytest's last line are pytest's own categories."""
    counts = finished.result.parseoutcomes()
    counts.pop("warnings", None)
    assert counts == {"passed": 10, "failed": 6, "skipped": 8, "xfailed": 13, "xpassed": 1, "errors": 4}
    assert finished.result.ret == pytest.ExitCode.TESTS_FAILED


def test_reasons_of_misses(finished: Finished) -> None:
    """``-rx`` gives the first line of the assertion as a challenger's reason."""
    finished.result.stdout.fnmatch_lines(["UNMET test_all.py::test_miss[[]mini[]] - mini is wrong"])


def test_reasons_of_errors(finished: Finished) -> None:
    """``-rs`` gives the failure's class and message where a challenger was unavailable."""
    finished.result.stdout.fnmatch_lines(["SKIPPED [[]*[]] test_all.py:*: ConnectionError: no route to host"])
    finished.result.stdout.fnmatch_lines(["SKIPPED [[]2[]] test_all.py:*: not today"])


def test_a_baseline_error_that_the_test_hides(finished: Finished) -> None:
    """A baseline's failed call fails its test even when the test swallowed the exception."""
    finished.result.stdout.fnmatch_lines(["*ConnectionError: no route to host*"])
    assert "test went on" in finished.result.stdout.str()


def test_the_message_of_a_sample_is_one_line(finished: Finished) -> None:
    """The evidence keeps the assertion's first line as the reason."""
    messages = {
        (sample.criterion.rpartition("::")[2], sample.runtime): sample.message
        for sample in finished.project.evidence().samples
    }
    assert messages["test_good", "mini"] == ""
    assert messages["test_miss", "mini"] == "mini is wrong"
    assert messages["test_down", "mini"] == "ConnectionError: no route to host"
    assert messages["test_skips", "mini"] == "not today"
    assert messages["test_judge", "mini"] == "TimeoutError: too slow"
    assert "\n" not in "".join(messages.values())


def test_every_sample_comes_once(finished: Finished) -> None:
    """The evidence holds each sample once, whichever process ran it."""
    evidence = finished.project.evidence()
    assert len(evidence.samples) == len({(each.criterion, each.runtime) for each in evidence.samples}) == 40
    assert evidence.run.complete
    assert len(evidence.criteria) == 20


def test_each_answer_is_asked_for_once(finished: Finished) -> None:
    """Two tests that ask the same share one answer, and so do two workers."""
    calls = [call for call in finished.project.calls() if "down" not in call]
    assert sorted(calls) == sorted(set(calls))


def test_junit(finished: Finished) -> None:
    """JUnit XML shows misses as skipped, and holds nothing of the evidence."""
    text = Path(finished.project.folder / "junit.xml").read_text()
    tree = ElementTree.fromstring(text)
    cases = {case.get("name"): case for case in tree.iter("testcase")}
    assert len(cases) == 40
    miss = cases["test_miss[mini]"].find("skipped")
    assert miss is not None
    assert "mini is wrong" in (miss.get("message") or "")
    assert cases["test_strict[gpt]"].find("failure") is not None
    assert "requests" not in text
    assert "proofmap_evidence" not in text


def test_no_traceback_of_a_challengers_miss(finished: Finished) -> None:
    """Only what fails the build is shown among the failures."""
    text = finished.result.stdout.str()
    failures = text[text.index("= FAILURES =") : text.index("short test summary info")]
    assert "test_strict[gpt]" in failures
    assert "test_miss[mini]" not in failures


@pytest.fixture
def small(project: SmallProject) -> SmallProject:
    """One miss and one error of a challenger, answered from recordings where there is an answer."""
    project.write(
        "test_all.py",
        """
import pytest

@pytest.mark.qualify
@pytest.mark.parametrize("case", ["miss", "down"])
def test_one(runtime, case):
    assert runtime.complete(case).text == case
""",
    )
    project.record("gpt", {"miss": "miss", "down": "down"})
    project.record("mini", {"miss": "wrong"})
    return project


def test_the_letters(small: SmallProject) -> None:
    """A miss is ``u``, an unavailable runtime ``U``."""
    result = small.run("--proofmap-cache=replay")
    result.stdout.fnmatch_lines(["test_all.py .u.U *"])
    result.assert_outcomes(passed=2, xfailed=1, skipped=1)


def test_quiet(small: SmallProject) -> None:
    """``-q`` shows the letters without the file's name."""
    small.run("-q", "--proofmap-cache=replay").stdout.fnmatch_lines([".u.U *"])


def test_runxfail_leaves_misses_as_they_are(small: SmallProject) -> None:
    """``--runxfail`` is about the project's own marks."""
    small.run("--runxfail", "--proofmap-cache=replay").assert_outcomes(passed=2, xfailed=1, skipped=1)


def test_strict_xfail_is_about_the_projects_own_marks(small: SmallProject) -> None:
    """``xfail_strict`` does not touch passing challengers."""
    small.write("pytest.ini", "[pytest]\nxfail_strict = true\n")
    small.run("--proofmap-cache=replay").assert_outcomes(passed=2, xfailed=1, skipped=1)


def test_an_answer_cannot_reach_the_terminal(small: SmallProject) -> None:
    """Escape sequences in a reason are shown, not obeyed."""
    small.write(
        "test_all.py", (small.folder / "test_all.py").read_text().replace("== case", "== case, '\\033[2Jgone'")
    )
    result = small.run("--proofmap-cache=replay", "-rx")
    assert r"\x1b[2Jgone" in result.stdout.str()
    assert "\x1b[2J" not in result.stdout.str()
