"""Runtimes that differ in what no request and no key has: one answer must not be judged as that of both."""

from __future__ import annotations

import json

import pytest
from fake_provider import FakeProvider
from small_project import SmallProject

from pytest_proofmap.calls.request import Request
from pytest_proofmap.config import load

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(20))
@pytest.mark.qualify(max_failure_rate=0.25)
def test_echo(runtime, number):
    assert runtime.complete(f"say ok {number}").text == "ok"
"""

CONFIGURATION = """
baseline = "big"
challengers = ["small"]
{more}

[runtimes.big]
model = "openai/gpt"
api_base = "os.environ/BASE"
price = {{ input_per_mtok = 10.0, output_per_mtok = 30.0 }}
params = {{ {big} }}

[runtimes.small]
model = "openai/gpt"
api_base = "os.environ/BASE"
price = {{ input_per_mtok = 1.0, output_per_mtok = 2.0 }}
params = {{ {small} }}
"""

ROUTES = {
    "big": 'extra_headers = { X-Model-Route = "large", X-Trace = "one" }',
    "small": 'extra_headers = { x-model-route = "little", X-Trace = "two" }',
}


@pytest.mark.parametrize(
    ("big", "small", "named"),
    [
        (ROUTES["big"], ROUTES["small"], "extra_headers, price"),
        ('organization = "a"', 'organization = "b"', "organization, price"),
        ('api_key = "os.environ/A"', 'api_key = "os.environ/B"', "api_key, price"),
        ("timeout = 5", "timeout = 6", "timeout, price"),
        ("", "", "price"),
    ],
    ids=["headers", "organization", "key", "timeout", "price"],
)
def test_requests_that_cannot_differ_are_refused(project: SmallProject, big: str, small: str, named: str) -> None:
    """The pair is refused while pytest collects, with what differs and what to change."""
    project.configure(CONFIGURATION.format(more="", big=big, small=small))
    project.write("test_triage.py", TESTS)
    result = project.run("-q")
    said = " ".join(result.outlines)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "the runtimes 'big' and 'small' send the same requests (model 'openai/gpt')" in said
    assert f"They differ in {named} alone" in said
    assert "key_headers" in said
    assert not (project.folder / ".proofmap" / "cache").exists()


def test_key_headers_choose_the_model(project: SmallProject) -> None:
    """A header that is named enters request, key, evidence and lock; others stay out of all of them."""
    project.configure(CONFIGURATION.format(more='key_headers = ["X-Model-Route"]', **ROUTES))
    project.write("test_triage.py", TESTS)
    with FakeProvider() as provider:
        for received in (40, 40):  # The second time all of it comes from the cache.
            result = project.run_apart("-q", BASE=provider.url)
            assert result.ret == 0, str(result.stdout)
            assert len(provider.requests) == received
    sent = {(each.headers["x-model-route"], each.headers["x-trace"]) for each in provider.requests}
    assert sent == {("large", "one"), ("little", "two")}
    evidence = project.evidence()
    assert {name: runtime.params for name, runtime in evidence.runtimes.items()} == {
        "big": {"extra_headers": {"x-model-route": "large"}},
        "small": {"extra_headers": {"x-model-route": "little"}},
    }
    assert "X-Trace" not in project.artifact.read_text(encoding="utf-8")
    assert project.proofmap("approve", "--yes", "--by", "Ada").ret == 0
    lock = json.loads((project.folder / "proofmap.lock").read_text(encoding="utf-8"))
    chain = [lock["runtimes"][key] for key in lock["routes"]["triage"]["chain"]]
    assert [each["params"]["extra_headers"]["x-model-route"] for each in chain] == ["little", "large"]


@pytest.mark.parametrize("value", ['"os.environ/ROUTE"', "3"])
def test_a_key_header_is_written_out(project: SmallProject, value: str) -> None:
    """What the key holds must be what chose the model."""
    route = f"extra_headers = {{ X-Model-Route = {value} }}"
    project.configure(CONFIGURATION.format(more='key_headers = ["x-model-route"]', big=route, small=""))
    project.write("test_triage.py", TESTS)
    result = project.run("-q")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "is one of key_headers" in " ".join(result.errlines)


def test_keys_without_key_headers_are_as_before(project: SmallProject) -> None:
    """A header that is not named changes no key."""
    project.configure(CONFIGURATION.format(more="", **ROUTES))
    runtime = load(project.folder).runtime("big")
    assert runtime.key_params == {}
    request = Request(model="openai/gpt", messages=[{"role": "user", "content": "hi"}], params={})
    assert request.key() == "5941a345253f6f4ccb8e7d43d8923693b38664f7b37e410408222d82a1fc12e4"
