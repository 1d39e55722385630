"""Python's cyclic garbage collector: it need not look at what lives until the end anyway.

Modules, collected items and rows of evidence are hundreds of thousands of objects, and a full collection visits
every one of them.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["collect_less_until_the_end", "no_collection", "set_aside"]

USUAL_THRESHOLDS = (700, 2000)
"""Python's own, before and since 3.13: objects made and not dropped that start a collection of the youngest."""
MADE_BETWEEN_COLLECTIONS = 10_000
"""The threshold of a run."""


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


def set_aside() -> None:
    """Leave everything that exists by now out of collections; what is made from now on is still collected."""
    gc.freeze()


def collect_less_until_the_end(config: pytest.Config) -> None:
    """Leave out what exists by now, and let more be made between two collections, until pytest has ended.

    A run keeps nearly all that it makes, so that frequent collections find little. Thresholds that somebody has
    set are left alone.

    To be called while plugins are configured: what they do at the end comes in reverse order, so that pytest has
    looked for garbage itself by then. At the end of the process all is set aside again: else the interpreter looks
    for cycles among everything that the run has left, only to give the memory back a moment earlier.
    """
    set_aside()
    config.add_cleanup(gc.unfreeze)
    thresholds = gc.get_threshold()
    if thresholds[0] in USUAL_THRESHOLDS:
        gc.set_threshold(MADE_BETWEEN_COLLECTIONS, *thresholds[1:])
        config.add_cleanup(lambda: gc.set_threshold(*thresholds))
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
