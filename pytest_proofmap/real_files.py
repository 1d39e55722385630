"""The files of the disk, also while a test sees others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

__all__ = ["real_files"]


_SEEN = nullcontext()


def real_files() -> AbstractContextManager[None]:
    """See the disk's own files where the test that runs works on those of pyfakefs.

    pyfakefs replaces ``os``, ``open`` and ``pathlib`` in every module that is loaded, this project's own included:
    neither the prompts nor the cache would be there. Pausing it is its own way to let code through.
    """
    module = sys.modules.get("pyfakefs.fake_filesystem_unittest")
    if module is None:
        return _SEEN
    patcher: Any = getattr(getattr(module, "Patcher", None), "PATCHER", None)
    # There is one patcher for all of its fixtures; it may be set up no more, or paused by the test itself.
    if patcher is None or not getattr(patcher, "is_patching", False):
        return _SEEN
    return _paused(patcher)


@contextmanager
def _paused(patcher: Any) -> Iterator[None]:
    patcher.pause()
    try:
        yield
    finally:
        patcher.resume()
