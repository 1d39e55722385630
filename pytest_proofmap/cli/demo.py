"""``proofmap demo``: run the examples that come with ProofMap, offline."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from pytest_proofmap.errors import ConfigurationError

__all__ = ["EXAMPLES", "demo", "example_source"]

EXAMPLES = ("triage", "instructions")
"""The examples in the order in which they run."""

TELLS_PYTEST = ("PYTEST_", "GITHUB_STEP_SUMMARY")
"""Beginnings of the environment variables that would change what the demo runs and writes."""


@click.command()
@click.argument(
    "directory", type=click.Path(file_okay=False, path_type=Path), default="proofmap-demo", metavar="[DIRECTORY]"
)
@click.pass_context
def demo(context: click.Context, directory: Path) -> None:
    """Copy the examples into a folder and run them, offline.

    DIRECTORY is where to copy them; default: proofmap-demo. An example that is there already is kept as it is
    and run. Every answer comes from the recordings of the example; nothing is called and nothing is spent.
    """
    for name in EXAMPLES:
        state = "copied" if _copy(name, directory) else "kept"
        click.echo(f"{state:<9}{directory / name}")
    failed = [name for name in EXAMPLES if _run(directory / name) != 0]
    click.echo()
    if failed:
        click.echo(f"Not as recorded: {', '.join(failed)}. See above.", err=True)
        context.exit(1)
    _show_next(directory)


def example_source(name: str) -> Path:
    """Return the folder of an example: inside of an installed package, or beside it in a checkout.

    Raises:
        ConfigurationError: The installation lacks the examples.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "_examples", package.parent / "example_project"):
        if (folder / name / "pyproject.toml").is_file():
            return folder / name
    raise ConfigurationError(
        f"the example {name!r} is not part of this installation ({package}). Install pytest-proofmap from its "
        "wheel, or run 'make demo' in a checkout."
    )


def _copy(name: str, directory: Path) -> bool:
    """Copy an example whole; return False when its folder is there already.

    Raises:
        ConfigurationError: The folder is something else, or it cannot be written.
    """
    target = directory / name
    if (target / "pyproject.toml").is_file():
        return False
    if target.exists():
        raise ConfigurationError(
            f"{str(target)!r} exists and is not the example. Name another folder: proofmap demo FOLDER"
        )
    source = example_source(name)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Renamed once it is whole: a copy that was interrupted must not be taken for the example.
        with tempfile.TemporaryDirectory(prefix=".copying-", dir=directory) as folder:
            copy = Path(folder) / name
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            copy.rename(target)
    except OSError as error:
        raise ConfigurationError(
            f"{str(target)!r} cannot be written ({error.strerror or error}). Name a folder that can be: "
            "proofmap demo FOLDER"
        ) from error
    return True


def _run(folder: Path) -> int:
    """Run an example in a process of its own and return pytest's exit status."""
    command = ["pytest", "--proofmap", "--proofmap-cache=replay"]
    click.echo(f"\n$ cd {shlex.quote(str(folder))} && {' '.join(command)}")
    # Other plugins of this environment may run tests in another way than the example is meant to show.
    arguments = [sys.executable, "-m", command[0], "-p", "pytest_proofmap.plugin", "-p", "no:cacheprovider"]
    finished = subprocess.run(
        [*arguments, *command[1:]], cwd=folder, env=_environment(os.environ), stdin=subprocess.DEVNULL, check=False
    )
    return finished.returncode


def _environment(outer: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in outer.items() if not name.startswith(TELLS_PYTEST)}
    return {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def _show_next(directory: Path) -> None:
    triage, instructions = (shlex.quote(str(directory / name)) for name in EXAMPLES)
    click.echo(
        "Both runs were answered from recordings; nothing was called. Look at\n"
        f"  {triage}/README.md            what the verdicts say, and the tests beside it\n"
        f"  {triage}/.proofmap/evidence.json   what was observed\n"
        f"  {instructions}/test_formats.py   the shortest criteria\n"
        "Put a first test into a project of your own with\n"
        "  proofmap init"
    )
