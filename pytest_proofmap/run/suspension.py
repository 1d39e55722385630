"""How a test is suspended while its answer is on the way."""

from __future__ import annotations

__all__ = ["Suspended"]


class Suspended(BaseException):
    """Ends a test's exploration at a call whose answer is not there yet.

    A test that catches ``Exception`` around a call must not catch it, so it is none.
    """
