"""Python's cyclic garbage collector: it need not look at what lives until the end anyway.

Modules, collected items and rows of evidence are hundreds of thousands of objects, and a full collection visits
every one of them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["no_collection", "set_aside"]


@contextmanager
def no_collection() -> Iterator[None]:
    """Hold collections back for a short time in which much is made and nothing is dropped, such as an import."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def set_aside(config: pytest.Config) -> None:
    """Leave everything that exists by now out of collections, until pytest has ended.

    pytest's own search for garbage at the end still finds what the tests made.
    """
    gc.freeze()
    config.add_cleanup(gc.unfreeze)
