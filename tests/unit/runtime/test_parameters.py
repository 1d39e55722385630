"""What a runtime's ``params`` may hold."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from pytest_proofmap.runtime.parameters import problem_with_api_base, problem_with_params

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
