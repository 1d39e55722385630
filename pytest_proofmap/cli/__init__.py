"""The command line ``proofmap``: a thin group whose commands are imported when they are asked for.

Exit status: 0 it holds, 1 a finding, 2 bad input or usage.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import click

from pytest_proofmap._version import __version__
from pytest_proofmap.errors import ProofmapError, did_you_mean
from pytest_proofmap.text import visible_lines

__all__ = ["BadInputError", "main"]


class _Command(NamedTuple):
    place: str
    """Module and attribute of the command."""
    summary: str
    """What ``proofmap --help`` says, so that it need not import the command."""


COMMANDS = {
    "approve": _Command(
        "pytest_proofmap.cli.approve:approve", "Take qualified routes from evidence into proofmap.lock."
    ),
    "cache": _Command("pytest_proofmap.cli.cache:cache", "Look into the response cache, move and prune answers."),
    "decide": _Command("pytest_proofmap.cli.decide:decide", "Decide anew on stored evidence, without any call."),
    "demo": _Command("pytest_proofmap.cli.demo:demo", "Copy the examples into a folder and run them."),
    "diff": _Command(
        "pytest_proofmap.cli.diff:diff", "Compare two artifacts or two locks: flips, lost coverage, drift."
    ),
    "drift": _Command(
        "pytest_proofmap.cli.drift:drift", "Watch pass rates as often as you like, against one run."
    ),
    "export": _Command(
        "pytest_proofmap.cli.export:export", "Write the approved routes in the form that production reads."
    ),
    "init": _Command(
        "pytest_proofmap.cli.init:init", "Put a first test, prompt and configuration into a project."
    ),
    "merge": _Command(
        "pytest_proofmap.cli.merge:merge", "Join the evidence of a run's shards, and decide over all of it."
    ),
    "report": _Command("pytest_proofmap.cli.report:report", "Show stored evidence."),
    "schema": _Command("pytest_proofmap.cli.schema:schema", "Print the JSON Schema of the evidence artifact."),
    "verify": _Command(
        "pytest_proofmap.cli.verify:verify", "Check that the approved routes still stand, without any call."
    ),
    "whatif": _Command(
        "pytest_proofmap.cli.whatif:whatif", "What happens when a provider goes down or a price changes."
    ),
}


class BadInputError(click.ClickException):
    """Bad input, shown as one message without a traceback."""

    exit_code = 2


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].place.split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}.{did_you_mean(args[0], list(COMMANDS))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ProofmapError as error:
            raise BadInputError(visible_lines(str(error))) from error


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="proofmap")
def main() -> None:
    """Decide with evidence which model and prompt each AI task should run on.

    Exit status: 0 it holds, 1 a finding, 2 bad input or usage.
    """
