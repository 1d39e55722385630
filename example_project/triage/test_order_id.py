"""Which order is a ticket about? Forty tickets with other numbers in the way."""

from __future__ import annotations

from typing import Any

import pytest
from tickets import tickets


# An order's number is right or useless, and the baseline copies all of them: the default bar, every case
# must pass.
@pytest.mark.qualify
@pytest.mark.parametrize(("ticket", "order_id"), tickets("order_id", "ticket", "order_id"))
def test_order_id(runtime: Any, ticket: str, order_id: str) -> None:
    """The reply is the order's number and nothing else."""
    reply = runtime.run("order_id", params={"max_tokens": 16}, ticket=ticket)
    assert reply.text.strip() == order_id
