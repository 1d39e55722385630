"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_provider import FakeProvider

pytest_plugins = ["pytester", "small_project", "everyday_project", "chromium"]


@pytest.fixture
def fake_provider() -> Iterator[FakeProvider]:
    """A chat-completions server on loopback; ``script`` says how its models behave."""
    with FakeProvider() as provider:
        yield provider
