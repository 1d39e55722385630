"""Tracebacks that end in the test: what ProofMap raises on purpose explains itself without its own code."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from pytest_proofmap.errors import ProofmapError

__all__ = ["ends_at_the_call"]

P = ParamSpec("P")
R = TypeVar("R")


def ends_at_the_call(method: Callable[P, R]) -> Callable[P, R]:
    """Make a method that tests call, sync or async, raise ProofMap's errors from the line that called it."""
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def acall(*args: P.args, **kwargs: P.kwargs) -> Any:
            __tracebackhide__ = True
            try:
                return await method(*args, **kwargs)
            except ProofmapError as error:
                raise error.with_traceback(None) from None

        return cast("Callable[P, R]", acall)

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        try:
            return method(*args, **kwargs)
        except ProofmapError as error:
            raise error.with_traceback(None) from None

    return call
