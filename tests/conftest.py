"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_provider import FakeProvider

try:
    from hypothesis import settings
except ImportError:
    pass  # Environments that try other plugins have no need of it.
else:
    # How long an example takes says more of the machine than of the code.
    settings.register_profile("unhurried", deadline=None)
    settings.load_profile("unhurried")

pytest_plugins = ["pytester", "small_project", "everyday_project", "chromium"]


@pytest.fixture
def fake_provider() -> Iterator[FakeProvider]:
    """A chat-completions server on loopback; ``script`` says how its models behave."""
    with FakeProvider() as provider:
        yield provider
