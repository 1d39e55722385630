"""Which runtime a stored request belongs to."""

from __future__ import annotations

from typing import Any

import pytest
from stored_answers import request_of

from pytest_proofmap.calls.request import owners
from pytest_proofmap.config import RuntimeConfig

RUNTIMES = {
    name: RuntimeConfig(name=name, model=model, api_base=api_base, params=params)
    for name, model, api_base, params in [
        ("plain", "m/x", None, {}),
        ("cold", "m/x", None, {"temperature": 0, "api_key": "os.environ/KEY"}),
        ("hot", "m/x", None, {"temperature": 1}),
        ("twin", "m/x", None, {"temperature": 1}),
        ("local", "m/x", "os.environ/BASE", {"temperature": 0}),
        ("other", "m/y", None, {"temperature": 0}),
    ]
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": "m/x", "params": {}}, {"plain"}),
        ({"model": "m/x", "params": {"temperature": 0}}, {"cold"}),
        ({"model": "m/x", "params": {"temperature": 0, "seed": 1}}, {"cold"}),
        ({"model": "m/x", "params": {"temperature": 1}}, {"hot", "twin"}),
        ({"model": "m/x", "params": {}, "api_base": "os.environ/BASE"}, {"local"}),
        ({"model": "m/y", "params": {"temperature": 0.5}}, {"other"}),
        ({"model": "m/z"}, set()),
    ],
)
def test_owners(changes: dict[str, Any], expected: set[str]) -> None:
    """Model and endpoint decide, then the parameters that fit best."""
    assert owners(request_of(**changes).content(), RUNTIMES) == expected
