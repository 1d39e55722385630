"""``proofmap export``: the approved routes in the forms that production reads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from pytest_proofmap.cli.inputs import load_configuration, rootdir_option
from pytest_proofmap.cli.output import say

__all__ = ["export"]

EXIT_FINDING = 1


def _read_api_keys(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Read ``RUNTIME=os.environ/NAME``."""
    from pytest_proofmap.environment import is_environment_reference

    keys = {}
    for value in values:
        runtime, _, reference = value.partition("=")
        if not runtime or not is_environment_reference(reference):
            # What was typed may be a secret.
            raise click.BadParameter("it is not RUNTIME=os.environ/NAME. Keys themselves are never written.")
        keys[runtime] = reference
    return keys


def _read_seconds(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Read a time that JSON and YAML can hold."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number of seconds.")
    return value


@click.command()
@click.argument("form", type=click.Choice(["litellm", "litellm-proxy", "json"]))
@click.option("--lock", "lock_file", type=click.Path(dir_okay=False, path_type=Path), help="The lock to export.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it here.")
@click.option(
    "--objective", "objectives", multiple=True, metavar="NAME", help="Export this objective's routes only."
)
@click.option(
    "--prompts/--no-prompts",
    default=None,
    help="Whether each rung has its own prompt (default for litellm and litellm-proxy), or callers send messages.",
)
@click.option("--model-list", is_flag=True, help="litellm-proxy: the model_list alone, to be included.")
@click.option(
    "--api-key",
    "api_keys",
    callback=_read_api_keys,
    multiple=True,
    metavar="RUNTIME=os.environ/NAME",
    help="Where LiteLLM finds a runtime's key; may be repeated.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    callback=_read_seconds,
    metavar="S",
    help="Of an attempt.",
)
@click.option("--retries", type=click.IntRange(min=0), metavar="N", help="Of a rung before the next one's turn.")
@rootdir_option
def export(
    form: Any,
    lock_file: Path | None,
    output: Path | None,
    objectives: tuple[str, ...],
    prompts: bool | None,
    model_list: bool,
    api_keys: dict[str, str],
    timeout_s: float | None,
    retries: int | None,
    rootdir: Path | None,
) -> None:
    """Write the approved routes of proofmap.lock as FORM.

    litellm: the keyword arguments of litellm.Router, as JSON. litellm-proxy: a config.yaml of LiteLLM's proxy.
    json: each route's runtimes in order, with models and parameters. No credentials are written.

    Exit status: 0 it is written; 1 the form cannot carry what was approved; 2 bad input.
    """
    from pytest_proofmap.errors import LockError
    from pytest_proofmap.lock import export as exporting
    from pytest_proofmap.lock.file import read_lock

    _check_options(form, model_list, api_keys, timeout_s, retries)
    lock = read_lock(lock_file or load_configuration(rootdir).lock_path)
    wanted = exporting.ExportRequest(form, objectives, prompts, model_list, api_keys)
    if timeout_s is not None:
        wanted = wanted._replace(timeout_s=timeout_s)
    if retries is not None:
        wanted = wanted._replace(retries=retries)
    problems = list(exporting.objections(lock, wanted))
    if problems:
        for problem in problems:
            say(f"Not exported: {problem}", err=True)
        raise click.exceptions.Exit(EXIT_FINDING)
    text = exporting.export(lock, wanted)
    if output is None:
        click.echo(text, nl=False)
        return
    from pytest_proofmap.files import write_whole

    try:
        with write_whole(output) as file:
            file.write(text)
    except OSError as error:
        raise LockError(f"cannot write {str(output)!r}: {error.strerror or error}.") from None
    click.echo(f"Wrote {output}", err=True)


def _check_options(
    form: str, model_list: bool, api_keys: dict[str, str], timeout_s: float | None, retries: int | None
) -> None:
    """Refuse options that the form does not know.

    Raises:
        UsageError: There is one.
    """
    if model_list and form != "litellm-proxy":
        raise click.UsageError(f"--model-list is for litellm-proxy, not for {form}.")
    if form == "json":
        given = {"--api-key": bool(api_keys), "--timeout": timeout_s is not None, "--retries": retries is not None}
        for name in (name for name, is_given in given.items() if is_given):
            raise click.UsageError(f"{name} is for litellm and litellm-proxy, not for json.")
