"""What a test does with requests and replies changes neither the evidence nor what other tests get."""

from __future__ import annotations

import json

import pytest
from small_project import SmallProject, echo_hook

HOOK = """
import json

SHARED = {"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
    "role": "assistant", "content": "hello",
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]}}]}

def pytest_proofmap_call(runtime, request):
    answer = json.dumps(SHARED)
    request.messages.append({"role": "user", "content": "added by the client"})
    request.params["seed"] = 7
    return json.loads(answer)
"""

CHANGES = """
import pytest

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"b": 1, "a": 2}}}]

@pytest.mark.qualify
@pytest.mark.parametrize("number", [1, 2])
def test_it(runtime, number):
    tools = [dict(TOOLS[0])]
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    params = {"metadata": {"tags": ["one"]}}
    reply = runtime.complete(messages, tools=tools, **params)
    again = runtime.complete(messages, tools=tools, **params)
    messages[0]["content"][0]["text"] = "changed"
    messages.append({"role": "user", "content": "more"})
    params["metadata"]["tags"].append("two")
    tools[0]["type"] = "changed"
    for part in (reply.tool_calls, reply.raw["choices"], reply.message["tool_calls"]):
        assert len(part) == 1
    assert reply.tool_calls[0]["function"]["name"] == "look"
    reply.tool_calls[0]["function"]["name"] = "changed"
    reply.tool_calls.append("changed")
    reply.message["tool_calls"].clear()
    reply.raw["choices"][0]["message"]["content"] = "changed"
    assert reply.text == again.text == "hello"
    assert again.tool_calls[0]["function"]["name"] == "look"
    assert again.raw["choices"][0]["message"]["content"] == "hello"
    assert len(again.message["tool_calls"]) == 1
"""


@pytest.mark.parametrize("mode", ["auto", "off", "refresh"])
@pytest.mark.parametrize("concurrency", ["0", "8"])
def test_the_evidence_holds_copies(project: SmallProject, mode: str, concurrency: str) -> None:
    """Requests are recorded and sent as they were asked, answers as they came, whatever a test makes of both."""
    project.write("conftest.py", HOOK)
    project.write("test_it.py", CHANGES)
    options = ("-p", "no:cacheprovider", f"--proofmap-cache={mode}", f"--proofmap-concurrency={concurrency}")
    for _ in range(2 if mode == "auto" else 1):
        project.run(*options).assert_outcomes(passed=4)
        evidence = project.evidence()
        assert len(evidence.requests) == 2
        for request in evidence.requests.values():
            assert request.messages == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
            assert request.params == {"metadata": {"tags": ["one"]}}
            assert request.tools == [
                {"type": "function", "function": {"name": "look", "parameters": {"b": 1, "a": 2}}}
            ]
            # The order of names may matter to a model: it is sent as it was written.
            assert list(request.tools[0]["function"]["parameters"]) == ["b", "a"]
        assert len(evidence.samples) == 4
        for sample in evidence.samples:
            [call] = sample.calls
            assert call.text == "hello"
            assert call.tool_calls is not None
            assert [each["function"]["name"] for each in call.tool_calls] == ["look"]


def test_recorded_answers_are_copies_too(project: SmallProject) -> None:
    """A reply from a recording is its own as well."""
    project.write(
        "test_it.py",
        "import pytest\n\n@pytest.mark.qualify\n@pytest.mark.parametrize('number', [1, 2])\n"
        "def test_it(runtime, number):\n    reply = runtime.complete('hi')\n"
        "    reply.raw['choices'][0]['message']['content'] = 'changed'\n"
        "    reply.message['content'] = 'changed'\n"
        "    assert reply.text == runtime.complete('hi').raw['choices'][0]['message']['content'] == 'hello'\n",
    )
    for runtime in ("gpt", "mini"):
        project.record(runtime, {"hi": "hello"})
    project.run("--proofmap-cache=replay", "-p", "no:cacheprovider").assert_outcomes(passed=4)
    assert {call.text for sample in project.evidence().samples for call in sample.calls} == {"hello"}


def test_what_cannot_be_copied_is_refused(project: SmallProject) -> None:
    """A message that holds itself is refused in words."""
    project.write("conftest.py", echo_hook())
    project.write(
        "test_it.py",
        "import pytest\n\n@pytest.mark.qualify\ndef test_it(runtime):\n    message = {'role': 'user'}\n"
        "    message['content'] = [message]\n    runtime.complete([message])\n",
    )
    result = project.run_apart("-p", "no:cacheprovider")
    assert "holds a value that JSON cannot express" in " ".join(result.stdout.str().split())
    assert json.loads(project.artifact.read_text())["samples"][0]["error_kind"] == "test"
