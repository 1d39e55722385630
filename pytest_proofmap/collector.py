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

__all__ = ["collect_everything_at_the_end", "no_collection", "set_aside"]


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


def collect_everything_at_the_end(config: pytest.Config) -> None:
    """Undo :func:`set_aside` once pytest has ended and has looked for garbage itself.

    To be called while plugins are configured: what they do at the end comes in reverse order. At the end of the
    process all is set aside again: else the interpreter looks for cycles among everything that the run has left,
    only to give the memory back a moment earlier.
    """
    config.add_cleanup(gc.unfreeze)
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
