"""No secret in anything that is kept or shown, after any command; no text where texts are left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from everything_kept import find_in_files, find_in_text
from fake_provider import FakeProvider, ReceivedRequest, Script
from small_project import SmallProject

from pytest_proofmap.cli import main

WORD = "CANARYBIRD"
"""Part of every secret, so that looking for it finds any of them, and parts of them."""

RUMOUR = "sk-CANARYBIRD-told-1 AKIACANARYBIRD1234567890 ghp_CANARYBIRD12345678901234 password=CANARYBIRD-5"
"""Keys that nobody configured: only their pattern gives them away."""

SECRETS = {
    "ACME_API_TOKEN": "CANARYBIRD-environment-4711",
    "ACME_PASSWORD": 'CANARYBIRD "quoted" \\ and / 12345',
    "OPENAI_API_KEY": "CANARYBIRDopenaiKEY0123456789",
    "LOGIN": "CANARYBIRD-key-under-a-plain-name-42",
    "TEAM_HEADER": "Token CANARYBIRD-of-the-header-77",
}
DECLARED = "CANARYBIRD declared by the project"
IN_THE_ADDRESS = "CANARYBIRD-in-the-address-99"
GIVEN_IN_A_TEST = "CANARYBIRD-given-in-a-test-123"

CONFIGURATION = """
baseline = "gpt"
recordings = ["recordings/*.jsonl"]
confidence = 0.0

[runtimes.gpt]
model = "openai/gpt"
api_base = "os.environ/BASE"
price = { input_per_mtok = 10.0, output_per_mtok = 30.0 }

[runtimes.mini]
model = "openai/mini"
api_base = "os.environ/BASE"
variant = "short"
params = { api_key = "os.environ/LOGIN", extra_headers = { X-Team = "os.environ/TEAM_HEADER" } }
price = { input_per_mtok = 1.0, output_per_mtok = 3.0 }
"""

FAILING = """
[runtimes.{name}]
model = "openai/status-{status}"
api_base = "os.environ/{base}"
params = {{ api_key = "os.environ/LOGIN", extra_headers = {{ X-Team = "os.environ/TEAM_HEADER" }} }}
price = {{ input_per_mtok = 1.0, output_per_mtok = 3.0 }}
"""

SERVED = """
import pytest

pytestmark = pytest.mark.qualify(challengers=["mini"], objective="served")

@pytest.mark.parametrize("case", ["a", "b"])
def test_served(runtime, case):
    tool = {"type": "function", "function": {"name": "look_up"}}
    reply = runtime.run("triage", case=case, params={"tools": [tool]})
    assert reply.text.startswith("ok")
    assert "look_up" in str(reply.tool_calls)
"""

REFUSED = """
import os
import pytest

LATER = "CANARYBIRD-set-in-a-test-2024"
GIVEN = "CANARYBIRD-given-in-a-test-123"
DECLARED = "CANARYBIRD declared by the project"
CHALLENGERS = ["mini", "denied", "bad", "broken", "signed", "named"]
pytestmark = pytest.mark.qualify(challengers=["mini"], objective="refused", baseline_must_pass=False)

@pytest.mark.qualify(challengers=CHALLENGERS)
def test_errors(runtime):
    assert runtime.complete("hello").text.startswith("ok")

def test_key_of_a_test(runtime):
    assert runtime.complete("hello", api_key=GIVEN, seed=1).text.startswith("ok")

def test_assertion(runtime):
    assert runtime.complete("a word").text == os.environ["ACME_API_TOKEN"]

def test_skip(runtime):
    pytest.skip("not with " + os.environ["ACME_PASSWORD"])

def test_request(runtime):
    runtime.complete("My token is " + os.environ["ACME_API_TOKEN"])

def test_message(runtime):
    runtime.complete([{"role": "user", "content": "x"}, {"role": "tool", "content": os.environ["ACME_PASSWORD"]}])

def test_tool(runtime):
    runtime.complete("x", tools=[{"type": "function", "function": {"name": DECLARED}}])

def test_set_meanwhile(runtime, monkeypatch):
    monkeypatch.setenv("LATER_TOKEN", LATER)
    runtime.complete("use " + LATER)

@pytest.fixture
def broken_fixture():
    raise RuntimeError("cannot log in with " + os.environ["ACME_API_TOKEN"])
"""

CONFTEST = f"""
def pytest_proofmap_secrets(config):
    return [{DECLARED!r}]
"""

RUNS = [
    ["--proofmap-plan"],
    ["--proofmap-html=report.html", "--proofmap-md=report.md", "--junitxml=junit.xml", "-rA", "-v"],
    ["--proofmap-cache=replay", "--proofmap-json=replayed.json", "-rA"],
    ["--proofmap-cache=refresh", "--proofmap-samples=2", "--proofmap-json=refreshed.json"],
    ["--proofmap-cache=off", "--proofmap-json=off.json", "--proofmap-concurrency=0"],
    ["-n", "2", "--proofmap-cache=refresh", "--proofmap-json=workers.json", "--junitxml=workers.xml"],
    ["--proofmap-shard", "--proofmap-json=shard.json", "-p", "no:cacheprovider"],
]

COMMANDS = [
    ["report", "EVIDENCE", "--text", "-vv"],
    ["report", "EVIDENCE", "--html", "-o", "again.html"],
    ["report", "EVIDENCE", "--md", "-o", "again.md"],
    ["diff", "EVIDENCE", "refreshed.json"],
    ["decide", "EVIDENCE"],
    ["whatif", "EVIDENCE", "--down", "openai"],
    ["merge", "shard.json", "-o", "merged.json"],
    ["approve", "EVIDENCE", "--yes", "--objective", "served", "--by", "Ada", "--reason", "looked at it"],
    ["verify"],
    ["export", "litellm", "-o", "router.json"],
    ["export", "litellm-proxy", "-o", "proxy.yaml", "--api-key", "mini=os.environ/LOGIN"],
    ["export", "json"],
    ["cache", "stats"],
    ["cache", "explain", "--criterion", "test_served.py::test_served", "--case", "a", "--runtime", "mini"],
    ["cache", "export", "recordings/answers.jsonl"],
    ["cache", "import", "recordings/answers.jsonl"],
    ["cache", "prune", "--unused-since", "1d"],
    ["schema"],
]


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """A server that repeats every header, and whatever it was told."""
    with FakeProvider(default=Script(reply=telltale, retry_after="0")) as running:
        yield running


def telltale(request: ReceivedRequest) -> tuple[int, object]:
    """Repeat to the caller whatever it must not hear again.

    A model called ``status-NNN`` is answered with that status and an error that repeats path and headers; any
    other model with a completion whose text and tool call repeat them, after the word ``ok``.
    """
    known = " ".join((*SECRETS.values(), DECLARED, IN_THE_ADDRESS))
    said = f"{known} {request.path} {json.dumps(request.headers)}"
    if request.model.startswith("status-"):
        error = {"message": f"refused: {RUMOUR} {said}", "type": "invalid_request_error", "code": None}
        return int(request.model.partition("-")[2]), {"error": error}
    tool_call = {"name": "look_up", "arguments": json.dumps({"said": said})}
    message = {
        "role": "assistant",
        "content": f"ok {said}",
        "tool_calls": [{"id": "call-1", "type": "function", "function": tool_call}],
    }
    return 200, {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": request.model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


@pytest.fixture
def secretive(project: SmallProject) -> SmallProject:
    """A project with a secret in every place that has one."""
    addresses = {"signed": "SIGNED", "named": "NAMED"}
    failing = "".join(
        FAILING.format(name=name, status=status, base=addresses.get(name, "BASE"))
        for name, status in (("denied", 401), ("bad", 400), ("broken", 500), ("signed", 500), ("named", 400))
    )
    project.configure(CONFIGURATION + failing)
    project.write("conftest.py", CONFTEST)
    project.write("test_served.py", SERVED)
    project.write("test_refused.py", REFUSED)
    project.write("prompts/triage.prompt", "System: Sort it.\nUser: {{ case }}")
    project.write("prompts/triage.short.prompt", "User: {{ case }}")
    project.plugins.append("xdist")
    (project.folder / "tmp").mkdir()
    return project


def environment(project: SmallProject, provider: FakeProvider) -> dict[str, str]:
    """Return the variables of a run: secrets, addresses with and without credentials, and a scanned TMPDIR."""
    return {
        **SECRETS,
        "BASE": provider.url,
        "SIGNED": f"{provider.url}?key={IN_THE_ADDRESS}",
        "NAMED": provider.url.replace("http://", f"http://user:{IN_THE_ADDRESS}@"),
        "TMPDIR": str(project.folder / "tmp"),
    }


def inputs(project: SmallProject) -> set[Path]:
    """Return the files that the user wrote, which hold what they hold."""
    written = {project.folder / name for name in ("conftest.py", "test_refused.py")}
    return written | set(project.folder.rglob("*.pyc"))


def invoke(command: list[str]) -> Result:
    """Run a command on the evidence of the first run."""
    return CliRunner().invoke(
        main, [".proofmap/evidence.json" if each == "EVIDENCE" else each for each in command]
    )


def assert_clean(project: SmallProject, shown: str, what: list[str], needles: tuple[str, ...] = (WORD,)) -> None:
    """Check that neither the output nor any file of the project holds a needle."""
    assert find_in_text(shown, needles) == [], f"{what} shows it:\n{shown}"
    assert find_in_files(project.folder, needles, without=inputs(project)) == [], what


def test_no_secret_after_any_command(
    secretive: SmallProject, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was run, no file below the project and no output holds a secret, and the server got them all."""
    variables = environment(secretive, provider)
    for arguments in RUNS:
        result = secretive.run_apart(*arguments, proofmap=True, **variables)
        assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), str(result.stdout)
        assert_clean(secretive, str(result.stdout) + str(result.stderr), arguments)
    heard = json.dumps([request.headers for request in provider.requests])
    for sent in (SECRETS["LOGIN"], SECRETS["TEAM_HEADER"], SECRETS["OPENAI_API_KEY"], GIVEN_IN_A_TEST):
        assert sent in heard
    monkeypatch.chdir(secretive.folder)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for command in COMMANDS:
        done = invoke(command)
        assert done.exit_code in (0, 1), f"{command}: {done.output}"
        assert done.exception is None or isinstance(done.exception, SystemExit), command
        assert_clean(secretive, done.output, command)


def test_what_was_taken_out_left_a_trace(secretive: SmallProject, provider: FakeProvider) -> None:
    """Messages and answers say that something was there, and a refused request names the variable."""
    secretive.run_apart(proofmap=True, **environment(secretive, provider))
    served = secretive.sample("a", "mini").calls[0]
    assert served.text.startswith("ok ")
    assert "[redacted]" in served.text
    assert "[redacted]" in json.dumps(served.tool_calls)
    messages = {
        (sample.criterion.rpartition("::")[2], sample.runtime): sample.message
        for sample in secretive.evidence().samples
    }
    for runtime in ("denied", "bad", "broken", "signed"):
        assert "[redacted]" in messages["test_errors", runtime]
    assert "from the environment variable ACME_API_TOKEN" in messages["test_request", "mini"]
    assert "from the environment variable ACME_PASSWORD" in messages["test_message", "mini"]
    assert "from the configuration or a hook" in messages["test_tool", "mini"]
    assert "from the environment variable LATER_TOKEN" in messages["test_set_meanwhile", "mini"]
    assert messages["test_skip", "mini"] == "not with [redacted]"


def test_a_replay_says_what_the_live_run_said(secretive: SmallProject, provider: FakeProvider) -> None:
    """What was taken out of an answer is gone before the test sees it, so that outcomes do not change later."""
    (secretive.folder / "test_refused.py").unlink()
    variables = environment(secretive, provider)
    secretive.run_apart(proofmap=True, **variables)
    first = {sample.case: sample.calls[0].text for sample in secretive.evidence().samples}
    secretive.run_apart("--proofmap-cache=replay")
    assert {sample.case: sample.calls[0].text for sample in secretive.evidence().samples} == first


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ('"one-long-string"', "returned a str; allowed: a list of strings"),
        ("5", "returned a int; allowed: a list of strings"),
        ('["short"]', "allowed: strings of at least 8 characters"),
        ("[None]", "allowed: strings of at least 8 characters"),
    ],
)
def test_bad_secrets_of_a_hook(project: SmallProject, returned: str, words: str) -> None:
    """What is no secret is a usage error, which does not repeat it."""
    project.write("conftest.py", f"def pytest_proofmap_secrets(config):\n    return {returned}\n")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in " ".join(result.stderr.str().split())
    assert "short" not in result.stderr.str().replace("shorter", "")


TEXTS = ("PROMPTTEXT", "ANSWERTEXT", "ARGUMENTTEXT", "ERRORTEXT", "SKIPTEXT", "JUDGETEXT")

WITH_TEXTS = """
import pytest

pytestmark = pytest.mark.qualify(challengers=["mini"])

@pytest.mark.parametrize("number", range(3))
def test_answer(runtime, runtimes, number):
    reply = runtime.complete(f"PROMPTTEXT {number}", seed=number)
    runtimes["gpt"].complete([{"role": "user", "content": "JUDGETEXT"}, reply.message])
    assert number < 2 or runtime.role == "baseline", reply.text

@pytest.mark.qualify(calls="optional")
def test_error(runtime):
    if runtime.role == "challenger":
        runtime.complete("ERRORTEXT")

def test_skip(runtime):
    pytest.skip("SKIPTEXT")
"""

ANSWERING = """
def pytest_proofmap_call(runtime, request):
    said = request.messages[-1]["content"]
    if said == "ERRORTEXT":
        raise ValueError("no answer to ERRORTEXT")
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": "ARGUMENTTEXT"}'}}
    message = {"role": "assistant", "content": "ANSWERTEXT", "tool_calls": [call]}
    return {"choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
"""

TEXT_COMMANDS = [each for each in COMMANDS if each[0] in ("report", "decide", "whatif", "merge")]


@pytest.mark.parametrize(
    ("workers", "by"),
    [((), "configuration"), (("-n", "2"), "option")],
    ids=["one process, configured", "workers, by option"],
)
def test_texts_that_are_left_out(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...], by: str
) -> None:
    """Nothing made by ProofMap but the cache holds what was asked, answered or asserted."""
    configuration = (project.folder / "proofmap.toml").read_text(encoding="utf-8")
    option = ("--proofmap-no-texts",) if by == "option" else ()
    project.configure(configuration if option else f"store_texts = false\n{configuration}")
    project.write("conftest.py", ANSWERING)
    project.write("test_texts.py", WITH_TEXTS)
    project.plugins.append("xdist")
    more = ("--proofmap-html=report.html", "--proofmap-md=report.md", "--junitxml=junit.xml", "-rA", "-v")
    result = project.run_apart(*option, *workers, *more)
    result.assert_outcomes(passed=6, xfailed=1, skipped=3)
    project.run_apart(*option, *workers, "--proofmap-shard", "--proofmap-json=shard.json")
    shutil.rmtree(project.folder / ".proofmap" / "cache")
    inputs = [project.folder / name for name in ("conftest.py", "test_texts.py")]
    inputs += project.folder.rglob("*.pyc")
    assert find_in_text(str(result.stdout) + str(result.stderr), TEXTS) == []
    monkeypatch.chdir(project.folder)
    for command in TEXT_COMMANDS:
        done = invoke(command)
        assert done.exit_code in (0, 1), f"{command}: {done.output}"
        assert find_in_text(done.output, TEXTS) == [], command
    assert find_in_files(project.folder, TEXTS, without=inputs) == []
    evidence = project.evidence()
    assert evidence.run.texts_left_out
    assert evidence.samples[0].calls[0].text.startswith("[left out: ")
    assert {sample.message for sample in evidence.samples if sample.message} == {
        "AssertionError: its text is left out",
        "ValueError: its text is left out",
        "its text is left out",
    }


def test_verdicts_without_texts(project: SmallProject) -> None:
    """Equal answers stay equal: a criterion that is sampled repeatedly comes out the same on stored evidence."""
    from pytest_proofmap.decide.decision import decide_evidence

    project.write("conftest.py", ANSWERING)
    project.write(
        "test_texts.py",
        "import pytest\n\n@pytest.mark.parametrize('n', range(12))\n@pytest.mark.qualify(samples=2, margin=0.5)\n"
        "def test_one(runtime, n):\n    assert runtime.complete(f'PROMPTTEXT {n}').text == 'ANSWERTEXT'\n",
    )
    cells = []
    for option in ((), ("--proofmap-no-texts",)):
        project.run(*option)
        evidence = project.evidence()
        assert decide_evidence(evidence).criteria[0].cells == evidence.criteria[0].cells
        cells.append([cell.model_copy(update={"latency_s": None}) for cell in evidence.criteria[0].cells])
    assert cells[0] == cells[1]
