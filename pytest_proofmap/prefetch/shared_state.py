"""What all tests of a process share: whether a fixture changes it as it is set up.

Fixtures of several modules can wait side by side for the answers that their tests have asked for only where none
of them changes what the tests of the others see. What is looked at is what a fixture is likely to change:
environment, working folder and import path, patches by pytest and ``unittest.mock``, and what the project's own
modules hold, one level deep.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

__all__ = ["SharedState"]

OWN_MARK = ("site-packages", "dist-packages")
"""Folders of packages that are installed, also where these are inside of the project."""


class SharedState:
    """Notices what changes the state that the tests of one process share.

    Args:
        root: The project's folder.
    """

    def __init__(self, root: str) -> None:
        self._root = os.path.join(root, "")
        self._own: dict[str, bool] = {}

    @contextlib.contextmanager
    def noticing(self, tell: Callable[[], None], but: ModuleType | None = None) -> Iterator[None]:
        """Tell whether anything changes.

        Args:
            tell: Is called if so, or if an exception is raised.
            but: A module whose own state is not shared: the one whose tests use the fixture.
        """
        patches: list[object] = []
        before = self._look(but)
        try:
            with _noting_patches(patches):
                yield
        except BaseException:
            # What a set-up has done before it failed is not undone.
            tell()
            raise
        if patches or _differs(before, self._look(but)):
            tell()

    def _look(self, but: ModuleType | None) -> dict[str, Any]:
        """Return what is there, one level deep: values are compared by what they are, not by what they equal."""
        try:
            folder = os.getcwd()
        except OSError:
            # The folder was removed, as that of a test before may be; so it is afterwards.
            folder = ""
        seen: dict[str, Any] = {"": {"environ": dict(os.environ), "folder": folder, "path": list(sys.path)}}
        # Copies, as threads of the project may import and set what they like meanwhile.
        for name, module in list(sys.modules.items()):
            if module is but or not self._is_own(name, module):
                continue
            for attribute, value in list(vars(module).items()):
                if attribute.startswith("__") or isinstance(value, ModuleType):
                    continue
                seen[f"{name}.{attribute}"] = (value, _inside(value, name))
        return seen

    def _is_own(self, name: str, module: Any) -> bool:
        if name not in self._own:
            file = getattr(module, "__file__", None) or ""
            inside = file.startswith(self._root)
            self._own[name] = inside and not any(mark in file for mark in OWN_MARK)
        return self._own[name]


def _inside(value: Any, module: str) -> Any:
    """Return what a container, a class of a module or an object of it holds, else nothing."""
    try:
        if isinstance(value, type):
            return dict(vars(value)) if value.__module__ == module else None
        if isinstance(value, (list, tuple, set, frozenset)):
            return list(value)
        return dict(value) if isinstance(value, dict) else dict(vars(value))
    except Exception:
        # It holds nothing, or is a proxy that fails where nothing is behind it.
        return None


def _differs(before: dict[str, Any], after: dict[str, Any]) -> bool:
    if before[""] != after[""]:
        return True
    # What is imported meanwhile is new, and changes nothing that others see.
    new = {name.rpartition(".")[0] for name in after} - {name.rpartition(".")[0] for name in before}
    names = {name for name in after if name.rpartition(".")[0] not in new}
    return names != before.keys() or any(
        before[name][0] is not after[name][0] or not _holds_same(before[name][1], after[name][1])
        for name in names - {""}
    )


def _holds_same(before: Any, after: Any) -> bool:
    if before is None or after is None:
        return before is after
    if len(before) != len(after):
        return False
    if isinstance(before, dict):
        return all(name in after and after[name] is value for name, value in before.items())
    return all(old is new for old, new in zip(before, after, strict=True))


@contextlib.contextmanager
def _noting_patches(noted: list[object]) -> Iterator[None]:
    """Note each patch that is made: what it replaces may be anything."""
    # Both kinds of mock.patch end in __enter__, as context manager, decorator or by start():
    # https://github.com/python/cpython/blob/v3.11.7/Lib/unittest/mock.py#L1589
    targets: list[tuple[type, str]] = [(pytest.MonkeyPatch, "__init__")]
    mocks = sys.modules.get("unittest.mock")
    if mocks is not None:
        targets += [(mocks._patch, "__enter__"), (mocks._patch_dict, "__enter__")]
    originals = [(owner, name, owner.__dict__[name]) for owner, name in targets]

    def noting(original: Callable[..., Any]) -> Callable[..., Any]:
        def note(patch: object, *arguments: Any, **named: Any) -> Any:
            noted.append(patch)
            return original(patch, *arguments, **named)

        return note

    for owner, name, original in originals:
        setattr(owner, name, noting(original))
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
