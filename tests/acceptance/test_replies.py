"""What a test gets back from a runtime, from recordings and from a live server."""

from __future__ import annotations

import pytest
from fake_provider import FakeProvider
from small_project import CONFIGURATION, SmallProject

from pytest_proofmap.evidence.models import AuxiliaryTotals

HEAD = """
import pytest
from pydantic import BaseModel, ValidationError

class Ticket(BaseModel):
    label: str
    urgent: bool

pytestmark = pytest.mark.qualify(objective="all")
"""


def check(project: SmallProject, *tests: str, **outcomes: int) -> pytest.RunResult:
    """Run tests from recordings, and check how many of their samples passed."""
    project.write("test_answers.py", HEAD + "\n".join(tests))
    result = project.run("--proofmap-cache=replay", "-p", "no:cacheprovider")
    result.assert_outcomes(**(outcomes or {"passed": 2 * len(tests)}))
    return result


def both(project: SmallProject, answers: dict[str, str]) -> None:
    """Record the same answers for both runtimes."""
    for runtime in ("gpt", "mini"):
        project.record(runtime, answers)


def test_the_attributes_of_a_recorded_reply(project: SmallProject) -> None:
    """Text, message, usage, cost, latency and model are those of the answer when it was made."""
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 400},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    for runtime in ("gpt", "mini"):
        project.record_answer(runtime, [{"role": "user", "content": "hi"}], "hello", usage=usage, latency_s=1.25)
    check(
        project,
        """
def test_reply(runtime):
    reply = runtime.complete("hi")
    assert reply.text == "hello"
    assert reply.message == {"role": "assistant", "content": "hello"}
    assert reply.tool_calls == []
    assert reply.finish_reason == "stop"
    usage = reply.usage
    assert (usage.input_tokens, usage.output_tokens) == (1000, 100)
    assert (usage.cached_input_tokens, usage.reasoning_tokens) == (400, 30)
    price = {"gpt": (10, 30), "mini": (1, 2)}[runtime.name]
    assert reply.cost_usd == pytest.approx((1000 * price[0] + 100 * price[1]) / 1e6)
    assert reply.latency_s == 1.25
    assert reply.model == f"{runtime.name}-served"
    assert reply.cached
    assert reply.raw["choices"][0]["finish_reason"] == "stop"
    assert "hello" in repr(reply)
""",
    )


def test_the_attributes_of_a_runtime(project: SmallProject) -> None:
    """A runtime knows its name, role, model and sample."""
    check(
        project,
        """
@pytest.mark.qualify(calls="optional")
def test_runtime(runtime):
    assert (runtime.role, runtime.sample) == ("baseline" if runtime.name == "gpt" else "challenger", 0)
    assert runtime.model == f"openai/{runtime.name}"
    assert runtime.name in repr(runtime)
""",
    )


def test_an_unknown_price_is_none(project: SmallProject) -> None:
    """A cost that is unknown is None and never 0; what is unpriced is counted."""
    project.configure(CONFIGURATION.replace("price = { input_per_mtok = 1.0, output_per_mtok = 2.0 }", ""))
    both(project, {"hi": "hello"})
    check(
        project,
        "def test_cost(runtime):\n"
        "    assert (runtime.complete('hi').cost_usd is None) == (runtime.name == 'mini')\n",
    )
    assert project.evidence().runtimes["mini"].price is None
    assert project.evidence().totals.unpriced == 1


def test_no_text_is_an_empty_string(project: SmallProject) -> None:
    """An answer of tool calls alone has the text ``""``."""
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    for runtime in ("gpt", "mini"):
        project.record_answer(
            runtime, [{"role": "user", "content": "hi"}], {"content": None, "tool_calls": [call]}, tools=tools
        )
    check(
        project,
        f"""
def test_tools(runtime):
    reply = runtime.complete("hi", tools={tools!r})
    assert reply.text == ""
    assert reply.tool_calls[0]["function"]["name"] == "look"
    assert reply.message["tool_calls"]
""",
    )
    assert project.sample("", "gpt").calls[0].tool_calls


def test_parsed(project: SmallProject) -> None:
    """``parsed`` is the pydantic instance; JSON that does not fit is a failure of the model."""
    project.configure("baseline_must_pass = false\n" + CONFIGURATION)
    test = """
def test_parsed(runtime):
    ticket = runtime.complete("hi", response_format=Ticket).parsed
    assert ticket == Ticket(label="refund", urgent=True)
"""
    namespace: dict[str, type] = {}
    exec(HEAD, namespace)
    from pytest_proofmap.calls.request import response_format_of

    response_format = response_format_of(namespace["Ticket"])
    for runtime, text in (("gpt", '{"label": "refund", "urgent": true}'), ("mini", '{"label": "refund", "urg')):
        project.record(runtime, {"hi": text}, response_format=response_format)
    check(project, test, passed=1, xfailed=1)
    assert project.outcomes() == {("", "gpt"): "passed", ("", "mini"): "failed"}
    request = next(iter(project.evidence().requests.values()))
    assert request.response_format is not None
    assert request.response_format["json_schema"]["name"] == "Ticket"


def test_parsed_without_a_class(project: SmallProject) -> None:
    """``parsed`` without a pydantic class says what it needs."""
    both(project, {"hi": "hello"})
    check(
        project,
        "def test_parsed(runtime):\n    with pytest.raises(TypeError, match='response_format=MyModel'):\n"
        "        runtime.complete('hi').parsed\n",
    )


def test_the_runtimes_params_are_defaults(project: SmallProject) -> None:
    """The runtime's own parameters are sent unless the test gives others."""
    project.configure(
        CONFIGURATION.replace('model = "openai/mini"', 'model = "openai/mini"\nparams = { top_p = 0.5 }')
    )
    project.record("gpt", {"hi": "hello"}, params={"temperature": 1})
    project.record("gpt", {"hi": "hello"}, params={"top_p": 1, "temperature": 1})
    project.record("mini", {"hi": "hello"}, params={"top_p": 0.5, "temperature": 1})
    project.record("mini", {"hi": "hello"}, params={"top_p": 1, "temperature": 1})
    check(
        project,
        "def test_params(runtime):\n    assert runtime.complete('hi', temperature=1).text\n"
        "    assert runtime.complete('hi', temperature=1, top_p=1).text\n",
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("runtime.complete('')", ""),
        ("runtime.complete([])", "give a string, or a list of messages"),
        ("runtime.complete(3)", "the prompt is 3"),
        ("runtime.complete(['hi'])", "the message 'hi' is not allowed"),
        ("runtime.complete([{'content': 'hi'}])", "a message is a dict with a 'role'"),
        ("runtime.complete('hi', model='x')", "model='x' cannot be given here"),
        ("runtime.complete('hi', api_base='x')", "api_base='x' cannot be given here"),
        ("runtime.complete('hi', stream=True)", "stream=True cannot be qualified"),
        ("runtime.complete('hi', temperature=float('nan'))", "JSON cannot express"),
        ("runtime.complete('hi', stop={1, 2})", "JSON cannot express"),
        ("runtime.complete('hi', timeout='soon')", "timeout='soon' is not allowed"),
        ("runtime.complete('hi', timeout=-1)", "timeout=-1 is not allowed"),
        ("runtime.complete('hi', response_format='json')", "give a pydantic class or an OpenAI-format dict"),
        ("runtime.run(3)", "named by a string"),
        ("runtime.run(f'noth{1:d}ng')", "noth1ng"),
    ],
)
def test_a_request_that_cannot_be_sent(project: SmallProject, call: str, words: str) -> None:
    """A mistake in the test's own call is a clear error of that test, and never the model's."""
    project.write("prompts/other.prompt", "{{ x }}")
    project.write("test_answers.py", HEAD + f"def test_mistake(runtime):\n    {call}\n")
    result = project.run("--proofmap-cache=replay", "-p", "no:cacheprovider")
    if words:
        sample = project.sample("", "gpt")
        assert (sample.outcome, sample.error_kind) == ("error", "test")
        assert words in " ".join(result.stdout.str().split())
        assert "pytest_proofmap/" not in result.stdout.str()


def test_a_conversation(project: SmallProject) -> None:
    """``message`` goes back into the next turn; later changes to the list do not change what was asked."""
    for runtime in ("gpt", "mini"):
        first = [{"role": "user", "content": "hi"}]
        project.record_answer(runtime, first, "hello")
        project.record_answer(
            runtime,
            [*first, {"role": "assistant", "content": "hello"}, {"role": "user", "content": "bye"}],
            "goodbye",
        )
    check(
        project,
        """
def test_conversation(runtime):
    messages = [{"role": "user", "content": "hi"}]
    messages.append(runtime.complete(messages).message)
    messages.append({"role": "user", "content": "bye"})
    assert runtime.complete(messages).text == "goodbye"
""",
    )
    sample = project.sample("", "mini")
    assert len(sample.calls) == 2
    assert sample.latency_s == 1.0
    asked = [len(project.evidence().requests[call.key].messages) for call in sample.calls]
    assert asked == [1, 3]


def test_auxiliary_runtimes(project: SmallProject) -> None:
    """``runtimes`` gives any configured runtime or model id; its calls are kept, costed and summed apart."""
    project.configure(
        CONFIGURATION + '\n[runtimes.judge]\nmodel = "openai/judge"\n'
        "price = { input_per_mtok = 100.0, output_per_mtok = 100.0 }\n"
    )
    both(project, {"hi": "hello"})
    project.record("judge", {"is hello good?": "yes"})
    result = check(
        project,
        """
def test_judged(runtime, runtimes):
    reply = runtime.complete("hi")
    judge = runtimes["judge"]
    assert judge.complete(f"is {reply.text} good?").text == "yes"
    assert sorted(runtimes) == ["gpt", "judge", "mini"]
    assert runtimes["openai/other"].model == "openai/other"
    misspelt = "juge"
    with pytest.raises(Exception, match="unknown runtime 'juge'.*Did you mean 'judge'"):
        runtimes[misspelt]
""",
    )
    sample = project.sample("", "mini")
    assert [call.runtime for call in sample.calls] == [None, "judge"]
    assert sample.latency_s == 0.5
    assert project.cell("test_judged", "mini").cost_usd == pytest.approx((100 * 1 + 10 * 2) / 1e6)
    assert "judge" not in {cell.runtime for cell in project.evidence().criteria[0].cells}
    (judge,) = project.evidence().totals.auxiliary.items()
    assert judge == ("judge", AuxiliaryTotals(calls=1, list_usd=(100 * 100 + 10 * 100) / 1e6, unpriced=0))
    result.stdout.fnmatch_lines(["of these 1 auxiliary call to judge, list cost $0.011"])


FAULTS = {
    "html": "error",
    "half_json": "error",
    "no_choices": "error",
    "unauthorized": "error",
    "not_found": "error",
    "bad_request": "error",
    "hang": "error",
    "content_policy": "failed",
    "context_window": "failed",
}


def test_answers_of_a_live_server(project: SmallProject, fake_provider: FakeProvider) -> None:
    """Every way in which a server fails becomes an outcome with class and message, and never a crash."""
    models = "".join(
        f'[runtimes.{name}]\nmodel = "openai/{name}"\napi_base = "os.environ/LLM_BASE"\n'
        f'params = {{ api_key = "os.environ/LLM_KEY" }}\ntimeout_s = 0.5\n'
        for name in ("good", *FAULTS)
    )
    project.configure(f'baseline = "good"\nchallengers = {list(FAULTS)!r}\n{models}'.replace("'", '"'))
    fake_provider.script(
        "good", text="hello", usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    )
    for name in FAULTS:
        fake_provider.script(name, always=name)
    project.write(
        "test_answers.py",
        HEAD
        + """
def test_live(runtime):
    reply = runtime.complete("hi")
    assert reply.text == "hello"
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 3)
    assert reply.latency_s > 0 and not reply.cached
""",
    )
    result = project.run_apart(
        *("-p", "no:cacheprovider"), LLM_BASE=fake_provider.url, LLM_KEY="Zq81-dummy-secret-value-000"
    )
    assert "INTERNALERROR" not in result.stdout.str()
    expected = {("", "good"): "passed"} | {("", name): outcome for name, outcome in FAULTS.items()}
    assert project.outcomes() == expected
    assert result.ret == pytest.ExitCode.OK
    for name, outcome in FAULTS.items():
        sample = project.sample("", name)
        assert sample.message
        if outcome == "error":
            assert sample.calls[0].error is not None
            assert sample.calls[0].error.class_
            assert sample.calls[0].error.message
    assert "Zq81-dummy-secret-value-000" not in project.artifact.read_text()
    assert len(fake_provider.received("unauthorized")) == 1
    assert project.evidence().runtimes["good"].api_base == "os.environ/LLM_BASE"
    rerun = project.run_apart("--proofmap-runtimes=good", "--proofmap-cache=replay")
    rerun.assert_outcomes(passed=0, failed=1)


def test_an_unset_variable_is_an_error_that_names_it(project: SmallProject) -> None:
    """An unset ``os.environ/NAME`` is said once, before the first call, with the variable to set."""
    project.configure(
        CONFIGURATION.replace('model = "openai/mini"', 'model = "openai/mini"\napi_base = "os.environ/NOT_SET"')
    )
    project.record("gpt", {"hi": "hello"})
    project.write("test_answers.py", HEAD + "def test_one(runtime):\n    runtime.complete('hi')\n")
    result = project.run("-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "environment variable NOT_SET is not set" in " ".join(result.stderr.str().split())
