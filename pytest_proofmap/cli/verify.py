"""``proofmap verify``: do the approved routes still stand?"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_proofmap.cli.inputs import as_typed, load_configuration, rootdir_option

if TYPE_CHECKING:
    from pytest_proofmap.lock.models import Lock
    from pytest_proofmap.lock.staleness import Problem

__all__ = ["verify"]

EXIT_FINDING = 1


@click.command()
@click.option(
    "--collect", is_flag=True, help="Also check bars, cases and runtimes of hooks, by collection (no calls)."
)
@click.option("--lock", "lock_file", type=click.Path(dir_okay=False, path_type=Path), help="The lock to check.")
@click.option("--json", "as_json", is_flag=True, help="Print findings and warnings as JSON.")
@rootdir_option
def verify(collect: bool, lock_file: Path | None, as_json: bool, rootdir: Path | None) -> None:
    """Check that the routes of proofmap.lock are what was approved, and still hold.

    Finds edits by hand, expired approvals, and runtimes, prompts and criteria that changed since. Nothing is
    called. Without --collect files are only read, so that bars, cases and runtimes of hooks are not known.

    Exit status: 0 it holds, maybe with warnings; 1 a finding; 2 bad input.
    """
    from pytest_proofmap.calls.prices import retired_on
    from pytest_proofmap.cli.collection import collect as collect_tests
    from pytest_proofmap.lock.file import parse_lock, read_text
    from pytest_proofmap.lock.history import forgotten, history_path, read_history
    from pytest_proofmap.lock.staleness import Project
    from pytest_proofmap.lock.staleness import verify as find_problems

    configuration = load_configuration(rootdir)
    path = lock_file or configuration.lock_path
    lock = parse_lock(read_text(path), str(path))
    found = collect_tests(configuration.rootdir) if collect else None
    project = Project(
        configuration,
        found.criteria if found else None,
        collected_all=collect,
        from_hooks=found.runtimes if found else None,
    )
    has_looks = any(route.looks for route in lock.routes.values())
    problems = list(
        find_problems(
            lock,
            project,
            datetime.now(timezone.utc),
            retired_on,
            configuration.max_age_days,
            forgotten(lock, read_history(history_path(path))) if has_looks else {},
        )
    )
    if as_json:
        _print_json(problems, lock)
    else:
        _print(problems, lock, path)
    if any(problem.is_finding for problem in problems):
        raise click.exceptions.Exit(EXIT_FINDING)


def _print(problems: list[Problem], lock: Lock, path: Path) -> None:
    from pytest_proofmap.cli.output import this_page

    page = this_page()
    told: dict[tuple[str, str, bool], list[str]] = {}
    for problem in problems:
        told.setdefault((problem.text, problem.next_step, problem.is_finding), []).append(problem.route)
    for (text, next_step, is_finding), routes in told.items():
        sign = "✗" if is_finding else "!"
        for line in page.wrap(f"{sign} {', '.join(routes)}: {text}", indent="  "):
            click.echo(line)
        for line in page.wrap(f"next: {next_step}", "  ", "    "):
            click.echo(line)
    broken = {problem.route for problem in problems if problem.is_finding}
    holds = len(lock.routes) - len(broken)
    click.echo(page.text(f"{as_typed(path)}: {holds} of {len(lock.routes)} routes hold"))


def _print_json(problems: list[Problem], lock: Lock) -> None:
    def listed(is_finding: bool) -> list[dict[str, str]]:
        return [
            {"route": problem.route, "kind": problem.kind, "text": problem.text, "next_step": problem.next_step}
            for problem in problems
            if problem.is_finding is is_finding
        ]

    content = {"routes": sorted(lock.routes), "findings": listed(True), "warnings": listed(False)}
    click.echo(json.dumps(content, indent=2, ensure_ascii=True))
