"""What a runtime's ``params`` may hold."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from pytest_proofmap.parameters import problem_with_answerer, problem_with_api_base, problem_with_params

KEY = "hunter2hunter2"


@pytest.mark.parametrize(
    ("params", "place"),
    [
        ({"api_key": KEY}, "api_key"),
        ({"aws_secret_access_key": KEY}, "aws_secret_access_key"),
        ({"azure_ad_token": KEY}, "azure_ad_token"),
        ({"extra_headers": {"Authorization": f"Bearer {KEY}"}}, "extra_headers.Authorization"),
        ({"headers": {"x-api-key": KEY}}, "headers.x-api-key"),
        ({"extra_body": {"client_secret": KEY}}, "extra_body.client_secret"),
        ({"extra_body": [{"client_secret": KEY}]}, "extra_body.client_secret"),
        ({"user": f"sk-{KEY}"}, "user"),
        ({"stop": ["x", f"ghp_{KEY}1234"]}, "stop"),
    ],
)
def test_a_secret_that_is_written_out(params: dict[str, Any], place: str) -> None:
    """A credential is refused by its name, and not repeated."""
    problem = problem_with_params(params) or ""
    assert f"'{place}' holds a secret" in problem
    assert 'write {} = "os.environ/NAME"'.format(place.rpartition(".")[2]) in problem
    assert KEY not in problem


@pytest.mark.parametrize(
    "params",
    [
        {"api_key": "os.environ/KEY"},
        {"extra_headers": {"Authorization": "os.environ/KEY", "X-Team": "search"}},
        {"max_tokens": 5, "prompt_cache_key": "search", "stop": ["\n"]},
        {"vertex_credentials": "keys/search.json"},
    ],
)
def test_what_is_no_secret(params: dict[str, Any]) -> None:
    """References to the environment and ordinary parameters are fine."""
    assert problem_with_params(params) is None


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), datetime.date(2024, 1, 1), [{1, 2}]])
def test_what_json_cannot_express(value: object) -> None:
    """What TOML can say and JSON cannot is refused before it meets a model."""
    problem = problem_with_params({"temperature": value}) or ""
    assert f"'temperature' is {value!r}, which cannot be sent as JSON" in problem


@pytest.mark.parametrize(
    "api_base",
    [f"https://user:{KEY}@host/v1", f"https://{KEY}@host", f"https://host/v1?key={KEY}", f"http://h/sk-{KEY}"],
)
def test_credentials_in_an_address(api_base: str) -> None:
    """An endpoint with credentials is refused, and not repeated."""
    problem = problem_with_api_base(api_base) or ""
    assert 'write api_base = "os.environ/NAME"' in problem
    assert KEY not in problem


@pytest.mark.parametrize(
    "api_base",
    ["", "os.environ/BASE", "http://127.0.0.1:1/v1", "https://x.openai.azure.com/?api-version=2024-02-01"],
)
def test_addresses_without_credentials(api_base: str) -> None:
    """Ordinary endpoints and references are fine."""
    assert problem_with_api_base(api_base) is None


OTHER_ANSWERERS: list[tuple[dict[str, Any], str]] = [
    ({"fallbacks": ["gpt-4o"]}, "fallbacks"),
    ({"context_window_fallback_dict": {"a": "b"}}, "context_window_fallback_dict"),
    ({"content_policy_fallback_dict": {"a": "b"}}, "content_policy_fallback_dict"),
    ({"context_window_fallbacks": [{"a": ["b"]}]}, "context_window_fallbacks"),
    ({"default_fallbacks": ["b"]}, "default_fallbacks"),
    ({"model_list": []}, "model_list"),
    ({"models": ["a", "b"]}, "models"),
    ({"mock_response": "yes"}, "mock_response"),
    ({"mock_tool_calls": []}, "mock_tool_calls"),
    ({"mock_timeout": True}, "mock_timeout"),
    ({"mock_testing_fallbacks": True}, "mock_testing_fallbacks"),
    ({"prompt_id": "triage"}, "prompt_id"),
    ({"specific_deployment": True}, "specific_deployment"),
    ({"extra_body": {"models": ["a"]}}, "extra_body.models"),
    ({"extra_body": {"fallbacks": ["a"]}}, "extra_body.fallbacks"),
    ({"extra_body": {"route": "fallback"}}, "extra_body.route"),
    ({"extra_body": {"model": "gpt-4o"}}, "extra_body.model"),
    ({"extra_body": {"mock_response": "yes"}}, "extra_body.mock_response"),
]


@pytest.mark.parametrize(("params", "place"), OTHER_ANSWERERS)
@pytest.mark.parametrize("declared", [True, False])
def test_what_lets_somebody_else_answer(params: dict[str, Any], place: str, declared: bool) -> None:
    """A parameter by which another model answers, or none, is refused in runtimes and calls, with the way out."""
    problem = (problem_with_params(params) if declared else problem_with_answerer(params)) or ""
    assert problem.startswith(f"'{place}' is not allowed: ")
    assert ("as a runtime of its own" in problem) or ("pytest_proofmap_call" in problem)


def test_what_a_runtime_says_of_itself() -> None:
    """How LiteLLM reaches a model is the runtime's, for all of its calls, and no single call's."""
    params = {"custom_llm_provider": "openai"}
    assert problem_with_params(params) is None
    assert problem_with_answerer(params) is not None


@pytest.mark.parametrize(
    "params",
    [
        {"extra_body": {"disable_fallbacks": True, "provider": {"order": ["x"]}, "route": "agents"}},
        {"temperature": 0, "fallbacks": None},
        {"seed": 1, "extra_body": ["models"]},
    ],
)
def test_what_changes_nobody(params: dict[str, Any]) -> None:
    """Other parameters of such names are sent."""
    assert problem_with_answerer(params) is None
