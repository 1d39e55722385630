"""What fixtures change for all tests of a process is noticed, and what concerns nobody else is not."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest

from pytest_proofmap.prefetch.shared_state import SharedState

APP = """
import enum

class Part:
    tenant = ""

class Settings:
    size = 1

SETTINGS = Settings()
NAMES = ["a"]
BY_NAME = {"a": 1}
PARTS = [Part()]
LIMIT = 10
"""


class FailingProxy:
    """Stands for something that is not there, such as a request outside of any."""

    @property
    def __dict__(self) -> dict[str, object]:  # type: ignore[override]  # for the sake of the error
        raise RuntimeError("nothing is behind this")


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of a project."""
    (tmp_path / "shop_app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "shop_later.py").write_text("LATER = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("shop_app")
    for name in ("shop_app", "shop_later"):
        sys.modules.pop(name, None)


def is_noticed(tmp_path: Path, change: Callable[[], object], but: ModuleType | None = None) -> bool:
    """Return whether a change is noticed as one of what all tests share."""
    told: list[bool] = []
    with SharedState(str(tmp_path)).noticing(lambda: told.append(True), but):
        change()
    return bool(told)


CHANGES: dict[str, Callable[[ModuleType, pytest.MonkeyPatch], object]] = {
    "environment": lambda app, patch: os.environ.__setitem__("SHOP_PLACE", "here"),
    "folder": lambda app, patch: os.chdir(".."),
    "import path": lambda app, patch: sys.path.append("elsewhere"),
    "global": lambda app, patch: setattr(app, "LIMIT", 11),
    "new global": lambda app, patch: setattr(app, "MORE", 1),
    "global gone": lambda app, patch: delattr(app, "LIMIT"),
    "equal value": lambda app, patch: setattr(app, "NAMES", ["a"]),
    "list": lambda app, patch: app.NAMES.append("b"),
    "dict": lambda app, patch: app.BY_NAME.update(a=2),
    "object": lambda app, patch: setattr(app.SETTINGS, "size", 2),
    "class": lambda app, patch: setattr(app.Settings, "size", 2),
    "class method": lambda app, patch: setattr(app.Settings, "ask", len),
}
"""What a fixture may change, each undone by the test."""


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_noticed(
    tmp_path: Path, app: ModuleType, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """What other modules' tests would see is noticed, whatever it is a change of."""
    monkeypatch.setenv("SHOP_PLACE", "nowhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert is_noticed(tmp_path, lambda: CHANGES[change](app, monkeypatch))


@pytest.mark.parametrize("patch", ["monkeypatch", "patch", "object", "dict", "started"])
def test_patches_are_noticed_whatever_they_replace(tmp_path: Path, patch: str) -> None:
    """A patch of a library's class is noticed although libraries are not looked at."""
    target, undo = "json.JSONEncoder.item_separator", []

    def change() -> None:
        if patch == "monkeypatch":
            with pytest.MonkeyPatch.context() as context:
                context.setattr(target, ";")
        elif patch == "patch":
            with mock.patch(target, ";"):
                pass
        elif patch == "object":
            with mock.patch.object(Path, "home"):
                pass
        elif patch == "dict":
            with mock.patch.dict({"a": 1}, a=2):
                pass
        else:
            started = mock.patch(target, ";")
            started.start()
            undo.append(started)

    try:
        assert is_noticed(tmp_path, change)
    finally:
        for started in undo:
            started.stop()


def test_patching_is_as_before_afterwards(tmp_path: Path) -> None:
    """What notes patches is gone when a set-up ends, however it ends."""
    before = pytest.MonkeyPatch.__init__, mock._patch.__enter__, mock._patch_dict.__enter__
    told: list[bool] = []
    with pytest.raises(ValueError, match="no"), SharedState(str(tmp_path)).noticing(lambda: told.append(True)):
        raise ValueError("no")
    assert before == (pytest.MonkeyPatch.__init__, mock._patch.__enter__, mock._patch_dict.__enter__)
    assert told == [True]


def test_what_concerns_nobody_else_is_not_noticed(tmp_path: Path, app: ModuleType) -> None:
    """Neither an import nor the module of the fixture's own tests nor looking keeps a fixture from being kept."""
    assert not is_noticed(tmp_path, lambda: None)
    assert not is_noticed(tmp_path, lambda: importlib.import_module("shop_later"))
    assert not is_noticed(tmp_path, lambda: setattr(app, "LIMIT", 12), but=app)
    assert not is_noticed(tmp_path, lambda: setattr(app, "__notes__", "of an import"))
    # Two levels deep is not seen: no real run gets such a fixture, see the scopes.
    assert not is_noticed(tmp_path, lambda: setattr(app.PARTS[0], "tenant", "b"))


def test_installed_packages_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package in an environment inside of the project is none of the project's modules."""
    place = tmp_path / "venv" / "site-packages"
    place.mkdir(parents=True)
    (place / "shop_installed.py").write_text("COUNT = 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(place)
    module = importlib.import_module("shop_installed")
    assert not is_noticed(tmp_path, lambda: setattr(module, "COUNT", 1))
    sys.modules.pop("shop_installed")


def test_what_cannot_be_looked_at_is_no_change(
    tmp_path: Path, app: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that fails, and a working folder that is gone, break no set-up."""
    app.PROXY = FailingProxy()  # type: ignore[attr-defined]  # an attribute of a module
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert not is_noticed(tmp_path, lambda: None)
