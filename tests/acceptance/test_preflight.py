"""What would fail in every test alike is said once, before anything is called."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_provider import FakeProvider
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


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """A provider on loopback."""
    with FakeProvider() as server:
        yield server


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


SETS_KEY = """
import pytest

@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("DESK_KEY", "k-1")
"""

ASKS_DESK = """
baseline = "desk"
challengers = ["shop"]

[runtimes.desk]
model = "openai/desk"
api_base = "URL"
params = { api_key = "os.environ/DESK_KEY" }

[runtimes.shop]
model = "openai/shop"
api_base = "URL"
params = { api_key = "os.environ/DESK_KEY" }
"""


@pytest.mark.parametrize(
    "file",
    [
        "conftest.py",
        "test_a.py",
        pytest.param("keys_plugin.py", marks=pytest.mark.nightly),
        pytest.param("fixtures_of_ours.py", marks=pytest.mark.nightly),
    ],
)
def test_a_key_that_a_fixture_sets_is_not_missed(project: SmallProject, provider: FakeProvider, file: str) -> None:
    """A cold run calls with the key that a fixture of the project sets, wherever that is defined."""
    project.configure(ASKS_DESK.replace("URL", provider.url))
    for model in ("desk", "shop"):
        provider.script(model, text=lambda request: request.prompt)
    project.write("test_a.py", THREE_CASES)
    said = told(project.run())
    assert "api_key is os.environ/DESK_KEY, and the environment variable DESK_KEY is not set" in said
    assert "where a fixture sets it" in said
    assert provider.count == 0

    project.write(file, SETS_KEY + (THREE_CASES if file == "test_a.py" else ""))
    if file == "keys_plugin.py":
        project.write("conftest.py", 'pytest_plugins = ["keys_plugin"]\n')
    elif file == "fixtures_of_ours.py":
        project.write("conftest.py", "from fixtures_of_ours import key\n")
    project.run("-q").assert_outcomes(passed=6)
    assert {request.headers["authorization"] for request in provider.requests} == {"Bearer k-1"}


def test_a_fixture_that_reads_an_env_file_sets_any_variable(
    project: SmallProject, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the tests load a .env file no variable is demanded before the first call."""
    # Whatever the file sets is undone after the test.
    monkeypatch.setenv("DESK_KEY", "")
    project.configure(ASKS_DESK.replace("URL", provider.url))
    for model in ("desk", "shop"):
        provider.script(model, text=lambda request: request.prompt)
    project.write("test_a.py", THREE_CASES)
    project.write(".env", "DESK_KEY=k-2\n")
    project.write(
        "conftest.py",
        """
from pathlib import Path
import pytest

@pytest.fixture(autouse=True, scope="session")
def environment():
    from dotenv import load_dotenv
    load_dotenv(Path(__file__).with_name(".env"), override=True)
""",
    )
    project.run("-q").assert_outcomes(passed=6)
    assert provider.requests[0].headers["authorization"] == "Bearer k-2"


def test_a_longer_name_and_code_that_is_not_the_tests_set_no_key(project: SmallProject) -> None:
    """Neither a variable whose name only begins alike, nor a module that no test's fixture is from, is enough."""
    project.write("settings.py", 'import os\nKEY = os.environ.get("OPENAI_API_KEY")\n')
    project.write("conftest.py", 'import settings\nOTHER = "OPENAI_API_KEY_OF_OLD"\n')
    project.write("test_a.py", MANY)
    assert told(project.run()).count("no API key") == 1


@pytest.mark.parametrize(
    "written", ["localhost:9/v1", "ftp://localhost/v1", "http:///v1", "http://localhost:port/v1", "http://a b/v1"]
)
def test_an_address_that_is_none_is_said_once(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """An endpoint without scheme or host, written out or in a variable, is one error, and no test runs."""
    monkeypatch.setenv("DESK_BASE", written)
    both = CONFIGURATION.replace('model = "openai/gpt"', 'model = "openai/gpt"\napi_base = "os.environ/DESK_BASE"')
    project.configure(both.replace('model = "openai/mini"', f'model = "openai/mini"\napi_base = "{written}"'))
    project.write("test_a.py", MANY)
    said = told(project.run())
    assert "2 things are missing" in said
    assert f"mini: api_base is {written!r}, which is no address to call" in said
    assert "gpt: api_base is os.environ/DESK_BASE, whose value is no address to call" in said


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
