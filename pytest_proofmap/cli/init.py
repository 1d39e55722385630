"""``proofmap init``: put a first test, its prompt and the configuration into a project."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

__all__ = ["init"]


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".", metavar="[DIRECTORY]")
def init(directory: Path) -> None:
    """Put a first test, its prompt and the configuration into a project.

    DIRECTORY is the project's root; default: the working directory. Nothing is overwritten. The example runs
    offline on answers written by hand; put your own tickets, checks and runtimes in their place.
    """
    from pytest_proofmap.scaffold import scaffold

    files = scaffold(directory)
    for path, state in files:
        click.echo(f"{state:<9}{path}")
    configuration = files[0]
    click.echo()
    if configuration.state == "kept":
        click.echo(
            f"{configuration.path} has a configuration of yours, which was kept: the example runs on its\n"
            "runtimes, calls them and needs no recorded answers.\n"
        )
        return
    where = "" if directory == Path(".") else f"cd {shlex.quote(str(directory))} && "
    click.echo(
        "Next:\n"
        f"  {where}pytest --proofmap\n"
        "runs the example offline, on answers that were written by hand. Then put\n"
        f"  - your models under 'runtimes' in {configuration.path},\n"
        "  - your cases and checks in tests/test_triage_example.py,\n"
        "  - your prompt in prompts/triage_example.prompt,\n"
        "delete recordings/triage_example.jsonl, and run it again: now it calls the models."
    )
