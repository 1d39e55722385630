"""Is the customer satisfied? Sixty tickets from two channels that production can tell apart."""

from __future__ import annotations

from typing import Any

import pytest
from tickets import tickets


@pytest.mark.qualify(slice_by="channel", margin=0.15)
@pytest.mark.parametrize(("channel", "ticket", "label"), tickets("sentiment", "channel", "ticket", "label"))
def test_label(runtime: Any, channel: str, ticket: str, label: str) -> None:
    """The reply is the one word that a person gave the ticket."""
    reply = runtime.run("sentiment", params={"max_tokens": 6}, ticket=ticket)
    assert reply.text.strip().lower() == label
