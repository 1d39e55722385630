"""What projects may use, frozen here so that nothing of it is lost or changed by accident."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel

import pytest_proofmap
from pytest_proofmap import approved, hookspecs
from pytest_proofmap.cli import main
from pytest_proofmap.config import Configuration, CriterionSettings, ObjectiveConfig, ProviderLimits, RuntimeConfig
from pytest_proofmap.plugin import fixtures
from pytest_proofmap.plugin.options import add_options

SURFACE = Path(__file__).parent / "public_surface.txt"

PUBLIC = [
    "CallError",
    "Evidence",
    "ProofmapError",
    "RefusalError",
    "Reply",
    "Runtime",
    "Runtimes",
    "__version__",
    "approved",
    "read_evidence",
]


def test_the_public_names() -> None:
    """Every public name of the first version is there; new ones are added to this list."""
    assert set(PUBLIC) <= set(pytest_proofmap.__all__)
    assert sorted(pytest_proofmap.__all__) == list(pytest_proofmap.__all__)
    assert dir(pytest_proofmap) == sorted(pytest_proofmap.__all__)


def test_each_name_can_be_loaded() -> None:
    """A name is loaded from where it lives when it is first used."""
    for name in pytest_proofmap.__all__:
        assert getattr(pytest_proofmap, name) is not None


def test_an_unknown_name() -> None:
    """A name that is not public is an attribute error that names it."""
    with pytest.raises(AttributeError, match="'pytest_proofmap' has no attribute 'Nothing'"):
        _ = pytest_proofmap.Nothing


def test_the_public_surface() -> None:
    """Signatures, fixtures, hooks, marks, options, commands and configuration keys are those written down."""
    now = "".join(f"{line}\n" for line in surface())
    frozen = SURFACE.read_text(encoding="utf-8") if SURFACE.exists() else ""
    difference = difflib.unified_diff(frozen.splitlines(), now.splitlines(), "frozen", "now", lineterm="")
    assert now == frozen, (
        "the public surface changed. What was there must keep working for users. Say what users see of it in "
        f"CHANGELOG.md, and write it down: python {Path(__file__).name}\n" + "\n".join(difference)
    )


def test_the_types_are_delivered() -> None:
    """The distribution says that it is typed, and brings its plugin and its command."""
    assert (Path(pytest_proofmap.__file__).parent / "py.typed").exists()
    assert [entry.value for entry in entry_points(group="pytest11", name="proofmap")] == ["pytest_proofmap.plugin"]
    assert [entry.name for entry in entry_points(group="console_scripts", name="proofmap")] == ["proofmap"]


def surface() -> Iterator[str]:
    """Yield a line for everything that projects may use."""
    for name in pytest_proofmap.__all__:
        thing = getattr(pytest_proofmap, name)
        if inspect.isclass(thing):
            yield from members(name, thing)
    for name in approved.__all__:
        thing = getattr(approved, name)
        if inspect.isclass(thing):
            yield from members(f"approved.{name}", thing)
        else:
            yield f"approved.{name}{inspect.signature(thing)}" if callable(thing) else f"approved.{name}"
    for name, hook in sorted(inspect.getmembers(hookspecs, inspect.isfunction)):
        yield f"hook {name}{inspect.signature(hook)}"
    for name in ("runtime", "runtimes"):
        assert hasattr(fixtures, name)
        yield f"fixture {name}"
    yield f"mark qualify({', '.join(CriterionSettings.model_fields)})"
    yield from pytest_options()
    yield from commands("proofmap", main)
    tables: dict[str, type[BaseModel]] = {
        "": Configuration,
        "runtimes.NAME.": RuntimeConfig,
        "limits.PROVIDER.": ProviderLimits,
    }
    tables["objectives.NAME."] = ObjectiveConfig
    for prefix, table in tables.items():
        for name in sorted(set(table.model_fields) - {"name"}):
            yield f"configuration {prefix}{name}"


def members(name: str, thing: type[Any]) -> Iterator[str]:
    """Yield the lines of a class."""
    yield f"{name}({', '.join(base.__name__ for base in thing.__bases__)})"
    fields: dict[str, object] | None = getattr(thing, "model_fields", None)
    if fields is not None:
        yield from (f"{name}.{field}" for field in fields)
        return
    for attribute, value in sorted(vars(thing).items()):
        if attribute.startswith("_") and attribute not in ("__getitem__", "__iter__"):
            continue
        if isinstance(value, property):
            yield f"{name}.{attribute}: {returned(value.fget)}"
        elif isinstance(value, cached_property):
            yield f"{name}.{attribute}: {returned(value.func)}"
        elif inspect.isfunction(value):
            kind = "async " if inspect.iscoroutinefunction(value) else ""
            yield f"{kind}{name}.{attribute}{inspect.signature(value)}"
    for field, kind in inspect.get_annotations(thing).items():
        if not field.startswith("_"):
            yield f"{name}.{field}: {kind}"


def returned(function: Callable[..., Any] | None) -> object:
    """Return what a property is annotated to give."""
    return inspect.signature(function).return_annotation if function is not None else None


def pytest_options() -> Iterator[str]:
    """Yield the options that the plugin adds to pytest."""
    parser = pytest.Parser(_ispytest=True)
    add_options(parser)
    for option in parser.getgroup("proofmap").options:
        given = option.attrs()
        yield f"pytest {' '.join(option.names())} default={given.get('default')!r} choices={given.get('choices')}"


def commands(path: str, command: click.Command) -> Iterator[str]:
    """Yield a command line with its subcommands."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(f"{path} {name}", child)
        return
    parts = [
        "/".join(part.opts) if isinstance(part, click.Option) else str(part.name).upper()
        for part in command.params
        if not (isinstance(part, click.Option) and part.hidden)
    ]
    yield " ".join([path, *parts])


if __name__ == "__main__":
    SURFACE.write_text("".join(f"{line}\n" for line in surface()), encoding="utf-8")
