"""What a project adds in code: runtimes, another client, and an edit of the evidence."""

from __future__ import annotations

import pytest
from small_project import THREE_CASES, SmallProject, echo_hook

NO_LITELLM = """
def pytest_proofmap_call(runtime, request):
    {body}
"""


def run_with(project: SmallProject, conftest: str, *arguments: str) -> pytest.RunResult:
    """Run three cases with a conftest."""
    project.write("test_triage.py", THREE_CASES)
    project.write("conftest.py", conftest)
    return project.run("-p", "no:cacheprovider", *arguments)


def test_the_examples_of_the_hook_specifications_work(project: SmallProject) -> None:
    """The examples in the specifications' docstrings can be copied into a conftest as they are."""
    import textwrap

    from pytest_proofmap import hookspecs

    examples = []
    for name in ("runtimes", "call", "evidence", "secrets"):
        documentation = getattr(hookspecs, f"pytest_proofmap_{name}").__doc__
        assert documentation is not None
        examples.append(textwrap.dedent(documentation.split("Example::")[1]))
    project.write("conftest.py", "\n".join(examples))
    project.configure(
        'baseline = "rules-v2"\nchallengers = ["rules-v3"]\nrecordings = ["recordings/*.jsonl"]\n'
        '[runtimes.rules-v3]\nmodel = "acme/v3"\n'
    )
    project.record("rules-v3", {"money back": "refund for Jane Roe"})
    project.write(
        "test_triage.py",
        "import pytest\n\n@pytest.mark.qualify\ndef test_one(runtime):\n"
        "    assert 'refund' in runtime.complete('money back').text\n",
    )
    project.run().assert_outcomes(passed=2)
    assert project.sample("", "rules-v2").calls[0].text == "refund"
    assert project.sample("", "rules-v3").calls[0].text == "refund for [name]"
    assert project.evidence().runtimes["rules-v2"].params == {"version": "2.1"}


def test_runtimes_of_several_hooks_are_joined(project: SmallProject) -> None:
    """Runtimes from code join those of the configuration; their own params are checked the same."""
    result = run_with(
        project,
        """
def pytest_proofmap_runtimes(config):
    return {"rules": {"model": "acme/rules", "params": {"v": 1}}}

def pytest_proofmap_call(runtime, request):
    return request.messages[0]["content"]
""",
        "-o",
        "addopts=",
    )
    result.assert_outcomes(passed=6)
    project.configure((project.folder / "proofmap.toml").read_text().replace('["mini"]', '["mini", "rules"]'))
    project.run().assert_outcomes(passed=9)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ('{"mini": {"model": "x"}}', "the runtime 'mini' is configured in proofmap.toml too"),
        ('{"ru les": {"model": "x"}}', "the runtime name 'ru les' is not allowed"),
        ('{"rules": {"modle": "x"}}', "unknown key 'modle'. Did you mean 'model'?"),
        ('{"rules": {}}', "lacks the key 'model'"),
        ('{"rules": {"model": ""}}', "model"),
        ('{"rules": "x"}', "the runtime 'rules' is 'x'; allowed: a table"),
        ('["rules"]', "returned ['rules']; allowed: runtimes by name"),
        ('{3: {"model": "x"}}', "the runtime name 3 is not allowed"),
    ],
)
def test_bad_runtimes_from_code(project: SmallProject, returned: str, words: str) -> None:
    """A bad runtime is a usage error that names the hook."""
    result = run_with(project, f"def pytest_proofmap_runtimes(config):\n    return {returned}\n")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join(result.stderr.str().split())
    assert "pytest_proofmap_runtimes" in text
    assert words in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    "body",
    [
        "return request.messages[0]['content']",
        "return {'choices': [{'message': {'role': 'assistant', 'content': request.messages[0]['content']}}],"
        " 'usage': {'prompt_tokens': 1000, 'completion_tokens': 0}}",
    ],
    ids=["text", "completion"],
)
def test_a_synchronous_client(project: SmallProject, body: str) -> None:
    """A client returns text, or a chat completion with usage; both are kept like any answer."""
    run_with(project, NO_LITELLM.format(body=body)).assert_outcomes(passed=6)
    call = project.sample("a", "mini").calls[0]
    assert (call.text, call.source, call.attempts) == ("a", "live", 1)
    assert call.cost_usd == (None if call.input_tokens is None else pytest.approx(1000 * 1 / 1e6))
    assert call.latency_s is not None
    run_with(project, NO_LITELLM.format(body="1 / 0")).assert_outcomes(passed=6)
    assert project.sample("a", "mini").calls[0].source == "cache"


def test_an_asynchronous_client(project: SmallProject) -> None:
    """A client may be a coroutine; calls overlap."""
    result = run_with(
        project,
        """
import asyncio

async def pytest_proofmap_call(runtime, request):
    await asyncio.sleep(0)
    if request.messages[0]["content"] == "b":
        raise ConnectionError("down")
    return request.messages[0]["content"]
""",
    )
    result.assert_outcomes(passed=4, failed=1, skipped=1)
    assert project.sample("b", "mini").message == "ConnectionError: down"


def test_what_a_client_is_given(project: SmallProject) -> None:
    """A client gets the runtime's name and the whole request."""
    result = run_with(
        project,
        """
import json

def pytest_proofmap_call(runtime, request):
    assert runtime in ("gpt", "mini")
    assert request.messages == [{"role": "user", "content": request.messages[0]["content"]}]
    assert request.params == {}
    assert request.sample in (0, 1)
    assert request.model == f"openai/{runtime}"
    assert request.tools is None and request.response_format is None
    return request.messages[0]["content"]
""",
        "--proofmap-samples=2",
    )
    result.assert_outcomes(passed=12)


@pytest.mark.parametrize(
    ("returned", "shown"),
    [
        ("5", "returned 5"),
        ("[]", r"returned []"),
        ("{'choices': []}", "returned {'choices': []}"),
        ("b'x'", "returned b'x'"),
    ],
)
def test_an_answer_that_is_none(project: SmallProject, returned: str, shown: str) -> None:
    """What is neither text nor a completion is an ``error`` that says what is allowed; it is not kept."""
    result = run_with(project, NO_LITELLM.format(body=f"return {returned}"))
    result.assert_outcomes(failed=3, skipped=3)
    message = project.sample("a", "mini").message
    assert shown in message
    assert "allowed: the answer's text" in message
    run_with(project, NO_LITELLM.format(body="return request.messages[0]['content']")).assert_outcomes(passed=6)


def test_a_client_passes_on(project: SmallProject) -> None:
    """``None`` leaves a request to the next client, and the first that answers wins."""
    project.write(
        "sub/conftest.py",
        "def pytest_proofmap_call(runtime, request):\n    return 'sub' if runtime == 'mini' else None\n",
    )
    project.write("conftest.py", "def pytest_proofmap_call(runtime, request):\n    return 'top'\n")
    project.write(
        "sub/test_sub.py",
        "import pytest\n\n@pytest.mark.qualify\ndef test_one(runtime):\n"
        "    assert runtime.complete('x').text == {'gpt': 'top', 'mini': 'sub'}[runtime.name]\n",
    )
    project.run().assert_outcomes(passed=2)


def test_a_client_that_raises(project: SmallProject) -> None:
    """An exception is an ``error`` with class and message; it is asked again in the next run only."""
    result = run_with(project, NO_LITELLM.format(body="raise ValueError('no such ticket')"))
    result.assert_outcomes(failed=3, skipped=3)
    [call] = project.sample("a", "mini").calls
    assert call.error is not None
    assert (call.error.class_, call.error.message) == ("ValueError", "no such ticket")
    run_with(project, NO_LITELLM.format(body="return request.messages[0]['content']")).assert_outcomes(passed=6)


def test_a_client_is_not_asked_in_a_replay(project: SmallProject) -> None:
    """``replay`` calls nobody, not even the project's own client."""
    result = run_with(project, NO_LITELLM.format(body="return 'never'"), "--proofmap-cache=replay")
    result.assert_outcomes(failed=3, skipped=3)
    [call] = project.sample("a", "mini").calls
    assert call.error is not None
    assert call.error.class_ == "ReplayMissError"


def test_a_new_version_is_asked_anew(project: SmallProject) -> None:
    """A service's version in the runtime's params is part of the request."""
    run_with(project, NO_LITELLM.format(body="return request.messages[0]['content']"))
    configuration = (project.folder / "proofmap.toml").read_text()
    project.configure(configuration.replace('"openai/mini"', '"openai/mini"\nparams = { version = "2" }'))
    result = run_with(project, NO_LITELLM.format(body="return 'new'"))
    result.assert_outcomes(passed=3, xfailed=3)


RECORDED = "def pytest_proofmap_evidence(config, evidence):\n"


@pytest.fixture
def recorded(project: SmallProject) -> SmallProject:
    """Three cases that both runtimes answer from recordings."""
    for runtime in ("gpt", "mini"):
        project.record(runtime, {case: case for case in "abc"})
    return project


def test_the_evidence_may_be_redacted(recorded: SmallProject) -> None:
    """What the hook takes out never reaches the artifact, and it may add a note of its own."""
    result = run_with(
        recorded,
        RECORDED + "    for request in evidence['requests'].values():\n        request['messages'] = []\n"
        "    evidence['run']['note'] = 'mine'\n",
    )
    result.assert_outcomes(passed=6)
    assert {str(request.messages) for request in recorded.evidence().requests.values()} == {"[]"}
    assert '"note": "mine"' in recorded.artifact.read_text()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    raise ValueError('cannot redact')\n", "pytest_proofmap_evidence raised ValueError: cannot redact"),
        ("    del evidence['samples']\n", "pytest_proofmap_evidence left samples wrong"),
        ("    evidence['run']['note'] = object()\n", "pytest_proofmap_evidence raised TypeError"),
    ],
)
def test_a_hook_that_spoils_the_evidence(recorded: SmallProject, body: str, words: str) -> None:
    """Evidence that a hook spoils is not written at all, and the run fails and says why."""
    result = run_with(recorded, RECORDED + body)
    result.assert_outcomes(passed=6)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert words in " ".join(result.stdout.str().split())
    assert "Traceback" not in result.stdout.str()
    assert not recorded.artifact.exists()


def test_the_hook_runs_once_under_xdist(recorded: SmallProject) -> None:
    """Only the process that writes the artifact asks the hook."""
    recorded.plugins.append("xdist")
    recorded.write("test_triage.py", THREE_CASES)
    recorded.write("conftest.py", RECORDED + "    with open('asked.txt', 'a') as file:\n        file.write('x')\n")
    recorded.run_apart("-n", "2").assert_outcomes(passed=6)
    assert (recorded.folder / "asked.txt").read_text() == "x"


def test_a_run_of_ones_own_client_names_no_litellm(project: SmallProject) -> None:
    """The evidence names LiteLLM's version only where LiteLLM made a call."""
    project.write("conftest.py", echo_hook())
    project.write(
        "test_it.py",
        "import pytest\n\n@pytest.mark.qualify\ndef test_t(runtime):\n    assert runtime.complete('a').text\n",
    )
    result = project.run()
    versions = project.evidence().run.versions
    assert project.calls(), result.stdout.str()
    assert versions.litellm is None


@pytest.mark.parametrize(
    ("body", "params", "said"),
    [
        ("return 'same'", "temperature = 1", "at temperature 1"),
        ("return 'same'", "", "at the model's default temperature"),
        ("return 'same'", "temperature = 0", None),
        ("return f'same {request.sample}'", "temperature = 1", None),
    ],
)
def test_samples_that_do_not_vary(project: SmallProject, body: str, params: str, said: str | None) -> None:
    """Repeated samples that are byte-identical although they need not be are told of."""
    project.write("conftest.py", echo_hook(body))
    project.configure(
        f"""
baseline = "big"
challengers = ["mini"]
[runtimes.big]
model = "m/big"
params = {{ temperature = 0 }}
[runtimes.mini]
model = "m/mini"
params = {{ {params} }}
"""
    )
    project.write(
        "test_it.py",
        "import pytest\n\n@pytest.mark.parametrize('n', range(2))\n@pytest.mark.qualify(samples=3)\n"
        "def test_t(runtime, n):\n    assert runtime.complete(str(n)).text\n",
    )
    shown = " ".join(project.run().stdout.str().split())
    assert ("mini gave 3 byte-identical answers to each of 2 cases of test_t " in shown) is (said is not None)
    assert said is None or said in shown
    assert "big gave" not in shown
