"""The project that a command works on: its configuration, cache and recordings."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pytest_proofmap.commands.printing import say

if TYPE_CHECKING:
    from pytest_proofmap.config import Configuration
    from pytest_proofmap.runtime.answer import Answer
    from pytest_proofmap.runtime.cache import DiskStore
    from pytest_proofmap.runtime.recordings import Recordings

__all__ = [
    "as_typed",
    "count_answers",
    "load_configuration",
    "made_by",
    "open_cache",
    "open_recordings",
    "require_runtimes",
    "rootdir_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])


def rootdir_option(command: Command) -> Command:
    """Add ``--rootdir`` to a command."""
    option = click.option(
        "--rootdir",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="The project's root directory; default: the nearest folder upward with a configuration.",
    )
    return option(command)


def load_configuration(rootdir: Path | None) -> Configuration:
    """Read the configuration of the project at ``rootdir``, or around the working directory.

    Raises:
        ConfigurationError: The configuration is not allowed.
    """
    from pytest_proofmap import config

    return config.load(config.find_rootdir(Path.cwd()) if rootdir is None else rootdir.absolute())


def open_cache(configuration: Configuration, *, readonly: bool = True) -> closing[DiskStore]:
    """Open the project's response cache, for ``with``.

    Raises:
        StoreError: It is to be written and cannot be.
    """
    from pytest_proofmap.runtime.cache import DiskStore

    if configuration.cache_url is not None:
        _warn(
            "cache_url is set: this command works on this machine's folder "
            f"{str(configuration.cache_path)!r}, and not on the server."
        )
    return closing(DiskStore(configuration.cache_path, _warn, readonly=readonly))


def open_recordings(configuration: Configuration, *, without: Path | None = None) -> closing[Recordings]:
    """Open the project's recordings, for ``with``.

    Args:
        configuration: The project's configuration.
        without: A file to leave out, whether or not it exists.

    Raises:
        RecordingsError: They cannot be read.
    """
    from pytest_proofmap.runtime.recordings import Recordings, find_recordings

    rootdir, patterns = configuration.rootdir, list(configuration.recordings)
    if without is not None:
        left_out = without.resolve()
        patterns = [each for each in patterns if (rootdir / each).resolve() != left_out]
        files = find_recordings(patterns, rootdir)
        patterns = [glob.escape(str(file)) for file in files if file.resolve() != left_out]
    return closing(Recordings(patterns, rootdir, configuration.cache_path))


def require_runtimes(configuration: Configuration, names: Sequence[str]) -> None:
    """Check that the runtimes exist.

    Raises:
        ConfigurationError: A name is neither configured nor a LiteLLM model id.
    """
    for name in names:
        configuration.runtime(name)


def made_by(answer: Answer, names: Sequence[str], configuration: Configuration) -> bool:
    """Return whether an answer was made by one of the runtimes named."""
    from pytest_proofmap.runtime.ownership import owners

    known = {**configuration.runtimes, **{name: configuration.runtime(name) for name in names}}
    return not owners(answer.request, known).isdisjoint(names)


def count_answers(number: int) -> str:
    """Return a number of answers in words."""
    return f"{number:,} answer{'' if number == 1 else 's'}"


def as_typed(path: Path) -> str:
    """Return a path as somebody in the working directory would type it."""
    folder = Path.cwd()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _warn(text: str) -> None:
    say(f"Warning: {text}", err=True)
