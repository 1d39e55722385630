"""What leaves a method that tests call.

Its traceback ends in the test, because what ProofMap raises on purpose explains itself without its own code. And
it is noted in the sample's record: neither a mistake in a request nor a fault of ProofMap may count as the model's
miss, whatever the test makes of the exception.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from pytest_proofmap.errors import ProofmapError

__all__ = ["ends_at_the_call"]


class Noting(Protocol):
    """What has methods that tests call."""

    def _note(self, error: Exception) -> None:
        """Take notice of what a method raises."""


P = ParamSpec("P")
R = TypeVar("R")


def ends_at_the_call(method: Callable[P, R]) -> Callable[P, R]:
    """Make a method that tests call, sync or async, raise ProofMap's errors where it was called, and note all."""
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def acall(*args: P.args, **kwargs: P.kwargs) -> Any:
            __tracebackhide__ = True
            try:
                return await method(*args, **kwargs)
            except ProofmapError as error:
                cast("Noting", args[0])._note(error)
                raise error.with_traceback(None) from None
            except Exception as error:
                cast("Noting", args[0])._note(error)
                raise

        return cast("Callable[P, R]", acall)

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        try:
            return method(*args, **kwargs)
        except ProofmapError as error:
            cast("Noting", args[0])._note(error)
            raise error.with_traceback(None) from None
        except Exception as error:
            cast("Noting", args[0])._note(error)
            raise

    return call
