"""Values that the configuration takes from the environment: where they go, and where they never show."""

from __future__ import annotations

from fake_provider import FakeProvider
from small_project import SmallProject

SECRETS = {"TEAM_HEADER": "Token tiger-lily-77", "TEAM_NAME": "team-of-seven"}

CRITERION = """
import pytest

@pytest.mark.qualify
def test_echo(runtime):
    assert runtime.complete("hi").text == "ok"
"""

CONFIGURATION = """
baseline = "gpt"
challengers = ["mini"]

[runtimes.gpt]
model = "openai/gpt"
api_base = "os.environ/BASE"
params = { team = "os.environ/TEAM_NAME", extra_headers = { X-Team-Token = "os.environ/TEAM_HEADER" } }

[runtimes.mini]
model = "openai/mini"
api_base = "os.environ/BASE"
params = { api_key = "os.environ/NOT_SET" }
"""


def test_values_reach_the_model_and_nothing_else(project: SmallProject) -> None:
    """The model gets the values; cache, evidence and terminal have the names alone."""
    project.configure(CONFIGURATION)
    project.write("test_triage.py", CRITERION)
    with FakeProvider() as provider:
        result = project.run_apart("-rs", proofmap=True, **SECRETS, BASE=provider.url, NOT_SET="set-after-all")
        received = next(each for each in provider.requests if "team" in each.body)
    assert received.body["team"] == SECRETS["TEAM_NAME"]
    assert received.headers["x-team-token"] == SECRETS["TEAM_HEADER"]
    result.assert_outcomes(passed=2)
    shown = str(result.stdout) + str(result.stderr)
    kept = [path.read_bytes() for path in (project.folder / ".proofmap").rglob("*") if path.is_file()]
    assert any(b"triage" in content for content in kept)
    for value in (SECRETS["TEAM_NAME"], SECRETS["TEAM_HEADER"], provider.url):
        assert value not in shown
        assert not any(value.encode() in content for content in kept)


def test_a_header_that_the_server_repeats(project: SmallProject) -> None:
    """A credential that comes back in an error's message, whole or without its scheme, is taken out."""
    project.configure(CONFIGURATION)
    project.write("test_triage.py", CRITERION)
    with FakeProvider() as provider:
        provider.script("gpt", always="bad_request", message="not allowed: tiger-lily-77")
        result = project.run_apart(proofmap=True, **SECRETS, BASE=provider.url, NOT_SET="set-after-all")
    assert "not allowed: [redacted]" in str(result.stdout)
    assert "tiger-lily-77" not in str(result.stdout) + project.artifact.read_text(encoding="utf-8")
