"""What would fail in every test alike is said once, before anything is called."""

from __future__ import annotations

import pytest
from small_project import CONFIGURATION, THREE_CASES, SmallProject, echo_hook

MANY = THREE_CASES.replace('["a", "b", "c"]', "range(65)").replace("complete(case)", "complete(str(case))")

JUDGED = """
import pytest

def grade(runtimes, text):
    return runtimes["jugde"].run("rubric", answer=text)

@pytest.mark.parametrize("case", ["a", "b"])
@pytest.mark.qualify
def test_judged(runtime, runtimes, case):
    assert grade(runtimes, runtime.run("triage", ticket=case).text)

@pytest.mark.qualify
def test_other(runtime, runtimes):
    assert runtimes["jugde"].complete("x")
"""


def told(result: pytest.RunResult) -> str:
    """Return what pytest said of a run that it refused to start."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in text
    return " ".join(text.split())


def test_a_missing_key_is_said_once(project: SmallProject) -> None:
    """Two runtimes of one provider without its key are one error, and no test runs."""
    project.write("test_a.py", MANY)
    said = told(project.run())
    assert said.count("OPENAI_API_KEY") == 1
    assert "1 thing is missing, and nothing was called: - gpt, mini: no API key" in said
    assert ".env files are not read" in said
    assert not project.artifact.exists()


def test_a_missing_variable_is_said_once(project: SmallProject) -> None:
    """An endpoint, a parameter: each variable that is not set is named with what needs it."""
    project.configure(
        CONFIGURATION.replace(
            'model = "openai/gpt"', 'model = "openai/gpt"\napi_base = "os.environ/DESK_BASE"'
        ).replace('model = "openai/mini"', 'model = "openai/mini"\nparams = { api_key = "os.environ/DESK_KEY" }')
    )
    project.write("test_a.py", MANY)
    said = told(project.run("--proofmap-cache=off"))
    assert "2 things are missing" in said
    assert "gpt: api_base is os.environ/DESK_BASE, and the environment variable DESK_BASE is not set" in said
    assert "mini: api_key is os.environ/DESK_KEY, and the environment variable DESK_KEY is not set" in said


def test_stored_answers_need_no_key(project: SmallProject) -> None:
    """What is recorded is replayed without one; a new challenger without an answer is told."""
    project.write("test_a.py", THREE_CASES)
    project.record("gpt", {case: case for case in "abc"})
    assert "- mini: no API key" in told(project.run())
    project.record("mini", {case: case for case in "abc"})
    project.run("-q").assert_outcomes(passed=6)
    assert "no API key" in told(project.run("--proofmap-cache=refresh"))
    project.run("-q", "--proofmap-cache=replay").assert_outcomes(passed=6)
    project.run("-q", "--proofmap-runtimes=gpt").assert_outcomes(passed=3)


def test_a_plan_and_a_client_of_ones_own_need_no_key(project: SmallProject) -> None:
    """Where nothing is sent, or the project sends it itself, no key is missed."""
    project.write("test_a.py", THREE_CASES)
    assert project.run("-q", "--proofmap-plan").ret == pytest.ExitCode.OK
    project.write("conftest.py", echo_hook())
    project.run("-q").assert_outcomes(passed=6)


def test_names_in_tests_are_looked_up_before_the_first_call(project: SmallProject) -> None:
    """An unconfigured judge and a missing prompt variant are one error each, with who asks for them."""
    project.configure(CONFIGURATION + 'variant = "short"\n')
    project.write("conftest.py", echo_hook())
    project.write("prompts/triage.prompt", "User: {{ ticket }}\n")
    project.write("prompts/triage.long.prompt", "User: {{ ticket }} at length\n")
    project.write("test_a.py", JUDGED)
    said = told(project.run())
    assert "2 things are missing" in said
    assert "unknown runtime 'jugde'" in said
    assert "(asked for by test_a.py::test_judged and 1 more)" in said
    assert "'short'" in said
    assert project.calls() == []
    project.run("--collect-only", "-q").assert_outcomes()


def test_what_a_condition_guards_is_not_missed(project: SmallProject) -> None:
    """A test may ask for another prompt, or for a judge, on some runtimes only."""
    project.write("conftest.py", echo_hook())
    project.write(
        "test_a.py",
        THREE_CASES
        + """
@pytest.mark.qualify
def test_guarded(runtime, runtimes):
    if runtime.name == "other":
        runtimes["nobody"].complete("x")
        runtime.run("nothing")
    assert runtime.complete("a").text == "a"
""",
    )
    project.run("-q").assert_outcomes(passed=8)
