"""``proofmap approve``: from evidence to ``proofmap.lock``.

``--resolve`` makes the lock of a merge in which two branches approved different routes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from pytest_proofmap.cli.inputs import as_typed, last_whole_run, load_configuration, rootdir_option
from pytest_proofmap.cli.output import say, this_page
from pytest_proofmap.errors import LockError
from pytest_proofmap.files import ask_git
from pytest_proofmap.lock.file import broken_digests, join, parse_lock, read_text, sides, write_lock
from pytest_proofmap.lock.models import Approval, Lock, route_parts

if TYPE_CHECKING:
    from pytest_proofmap.config import Configuration
    from pytest_proofmap.evidence.models import Evidence
    from pytest_proofmap.lock.propose import ApprovalRequest
    from pytest_proofmap.report.page import Page

__all__ = ["approve"]


EXIT_FINDING = 1
EXIT_USAGE = 2
VALUES_SHOWN = 20


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Read names with commas between them."""
    if value is None:
        return ()
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names:
        # A variable of a script that is not set must not approve the recommended chains in its place.
        raise click.BadParameter(f"{value!r} names no runtime.")
    return names


@click.command()
@click.argument("evidence", required=False, type=click.Path(path_type=Path))
@click.option("--objective", "objectives", multiple=True, metavar="NAME", help="Approve this objective only.")
@click.option("--chain", callback=_names, metavar="A,B,...", help="These runtimes in place of those recommended.")
@click.option("--by", help="Who approves; default: git's user.")
@click.option("--reason", default="", help="Why, for those who read the lock.")
@click.option("--expires", type=click.IntRange(min=1), metavar="DAYS", help="How long the approval holds.")
@click.option("--allow-sensitive", is_flag=True, help="Allow challengers on sensitive work; needs --reason.")
@click.option("--require-clean", is_flag=True, help="Refuse evidence from a dirty working tree.")
@click.option("--resolve", is_flag=True, help="Join both sides of a lock with merge conflicts; approves nothing.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing.")
@click.option("-y", "--yes", is_flag=True, help="Write without asking; needed where nobody can be asked.")
@click.option("--lock", "lock_file", type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@rootdir_option
def approve(
    evidence: Path | None,
    objectives: tuple[str, ...],
    chain: tuple[str, ...],
    by: str | None,
    reason: str,
    expires: int | None,
    allow_sensitive: bool,
    require_clean: bool,
    resolve: bool,
    dry_run: bool,
    yes: bool,
    lock_file: Path | None,
    rootdir: Path | None,
) -> None:
    """Take the qualified routes of the artifact EVIDENCE into proofmap.lock.

    Shows what changes, asks, and writes. Objectives that are not approved keep their routes. On sensitive
    objectives the baseline is kept alone unless --allow-sensitive says otherwise. An objective with a test whose
    source cannot be followed is left out. Without a terminal to ask on it needs --yes.

    Exit status: 0 approved; 1 refused, or an objective left out, with the reasons, or not confirmed; 2 bad input.
    """
    configuration = load_configuration(rootdir)
    path = lock_file or configuration.lock_path
    if resolve:
        _refuse_approval(
            {
                "evidence": evidence,
                "--objective": objectives,
                "--chain": chain,
                "--by": by,
                "--reason": reason,
                "--expires": expires,
                "--allow-sensitive": allow_sensitive,
                "--require-clean": require_clean,
            }
        )
        resolve_conflicts(path, dry_run=dry_run)
        return
    from pytest_proofmap.evidence.artifact import artifact_sha256, read_evidence
    from pytest_proofmap.lock.propose import (
        ApprovalRequest,
        approved_routes,
        chosen_objectives,
        reasons_of_unseen,
        replace_objectives,
    )

    if allow_sensitive and not reason:
        raise click.UsageError("--allow-sensitive needs --reason=...: who reads the lock must learn why.")
    source = evidence or last_whole_run(configuration.rootdir)
    stored = read_evidence(source)
    asked = chosen_objectives(stored, objectives)
    unseen = {objective.name: list(reasons_of_unseen(stored, objective)) for objective in asked}
    left_out = [reason for reasons in unseen.values() for reason in reasons]
    chosen = [name for name, reasons in unseen.items() if not reasons]
    if not chosen:
        _refuse(left_out)
    wanted = ApprovalRequest(tuple(chosen), chain, allow_sensitive)
    present = _present(path, chosen)
    _refuse(_objections(stored, wanted, require_clean=require_clean))
    approval = _approval(by, reason, expires, configuration)
    approved = approved_routes(stored, wanted, approval, artifact_sha256(source))
    _refuse(_changes(approved, configuration))
    lock = replace_objectives(present, approved, chosen)
    _show(present, lock, stored, chosen)
    _show_ages(stored, chosen, configuration)
    _tell(left_out)
    if dry_run:
        click.echo("nothing was written (--dry-run)")
    else:
        if not yes:
            _ask(path)
        write_lock(path, lock)
        click.echo(f"wrote {as_typed(path)}: review it, commit it, and check it in CI with: proofmap verify")
    if left_out:
        raise click.exceptions.Exit(EXIT_FINDING)


def _show_ages(stored: Evidence, chosen: list[str], configuration: Configuration) -> None:
    """Name the answers that are old, or that a model gave which serves no more."""
    from pytest_proofmap.evidence.ages import ages, answers_of, told

    criteria = {criterion.id for criterion in stored.criteria if criterion.objective in chosen}
    found = ages(answers_of(stored, criteria, stored.runtimes))
    for text in told(found, configuration.max_age_days, datetime.now(timezone.utc)):
        say(f"! {text}")


def _ask(path: Path) -> None:
    """Ask whether to write what was shown, and end where the answer is no or nobody can give one."""
    if not sys.stdin.isatty():
        say("nothing was written: there is no terminal to ask on. Look at the above, then add --yes.", err=True)
        raise click.exceptions.Exit(EXIT_USAGE)
    if not click.confirm(f"Approve this, and write {as_typed(path)}?", default=False):
        click.echo("nothing was written")
        raise click.exceptions.Exit(EXIT_FINDING)


def _refuse_approval(given: Mapping[str, object]) -> None:
    """Refuse what is part of an approval where none is made."""
    for name, value in given.items():
        if value:
            raise click.UsageError(f"--resolve joins what was approved, and takes no {name}.")


def _objections(stored: Evidence, wanted: ApprovalRequest, *, require_clean: bool) -> Iterator[str]:
    """Yield why the evidence supports no approval."""
    from pytest_proofmap.lock.propose import objections

    yield from objections(stored, wanted)
    git = stored.run.git
    if require_clean and (git is None or git.dirty):
        state = "is not known" if git is None else "was dirty"
        yield f"--require-clean: the working tree {state} when the evidence was made"


def _changes(approved: Lock, configuration: Configuration) -> Iterator[str]:
    """Yield what the routes rest on that is no longer so."""
    from pytest_proofmap.lock.staleness import Project, changes, fingerprints_of_route

    from_hooks = None
    if any(route.from_hooks for route in approved.routes.values()):
        from pytest_proofmap.cli.collection import collect

        from_hooks = collect(configuration.rootdir).runtimes
    project = Project(configuration, from_hooks=from_hooks)
    for route in approved.routes.values():
        for change in changes(fingerprints_of_route(route, approved), project):
            yield f"the code is no longer what was evaluated: {change.text}"


def _tell(reasons: Iterable[str]) -> bool:
    """Show why something is not approved, each reason once; return whether there is one."""
    told = list(dict.fromkeys(reasons))
    if told:
        click.echo("not approved:")
    for reason in told:
        say(f"  {reason}")
    return bool(told)


def _refuse(reasons: Iterable[str]) -> None:
    """End with the reasons, each once, if there are any."""
    if _tell(reasons):
        click.echo("next: pytest --proofmap, then approve its evidence")
        raise click.exceptions.Exit(EXIT_FINDING)


def _present(path: Path, replaced: list[str]) -> Lock:
    """Return the present lock; routes that are about to be replaced may have been edited by hand."""
    if not path.exists():
        return Lock()
    lock = parse_lock(read_text(path), str(path))
    for name in broken_digests(lock):
        if route_parts(name)[0] not in replaced:
            raise LockError(
                f"{path}: the route {name!r} was edited by hand: its digest does not match. Undo the edit, or "
                f"approve its objective too: --objective {route_parts(name)[0]}"
            )
    return lock


def _approval(by: str | None, reason: str, expires: int | None, configuration: Configuration) -> Approval:
    now = datetime.now(timezone.utc).replace(microsecond=0)
    try:
        ends = None if expires is None else _timestamp(now + timedelta(days=expires))
    except OverflowError:
        raise click.UsageError(
            f"--expires {expires}: no calendar goes that far. Leave it out for an approval without an end."
        ) from None
    return Approval(by=by or _git_user(configuration.rootdir), at=_timestamp(now), reason=reason, expires_at=ends)


def _timestamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _git_user(folder: Path) -> str:
    for name in ("user.name", "user.email"):
        if found := (ask_git(folder, "config", name) or "").strip():
            return found
    raise click.UsageError("git has no user here, so say who approves: --by NAME")


def _regressions(present: Lock, stored: Evidence, page: Page) -> Iterator[str]:
    """Yield which approved runtimes an edit has made worse, and how to take it back."""
    from pytest_proofmap.decide.compare import selected_samples, whole_criteria
    from pytest_proofmap.decide.decision import decide_evidence
    from pytest_proofmap.lock.gate import check_routes
    from pytest_proofmap.lock.staleness import EvidenceFingerprints

    decided = decide_evidence(stored) if present.routes else stored
    fingerprints = EvidenceFingerprints(stored)
    whole = whole_criteria(stored.run, stored.criteria, stored.objectives, selected_samples(stored))
    for finding in check_routes(present, decided.objectives, decided.criteria, fingerprints, whole=whole):
        if finding.can_be_undone:
            yield from (page.paint(line, "red") for line in page.wrap(f"! {finding.text}", "", "  "))
            yield from page.wrap(f"instead: {finding.next_step}", "  ", "    ")


def _values_seen(lock: Lock, objectives: Iterable[str]) -> Iterator[str]:
    """Yield which values the slices of each objective were evaluated on, and what serves any other."""
    from pytest_proofmap.evidence.fingerprints import values_seen

    for objective in objectives:
        slices = [part for name, part in map(route_parts, lock.routes) if name == objective and part is not None]
        if not slices:
            continue
        seen = "; ".join(
            f"{argument} {', '.join(values[:VALUES_SHOWN])}"
            + (f" and {len(values) - VALUES_SHOWN} more" if len(values) > VALUES_SHOWN else "")
            for argument, values in values_seen(slices).items()
        )
        own = lock.routes.get(objective)
        rest = f"by {lock.runtimes[own.chain[0]].name}" if own else "by nothing: it has no route"
        yield f"{objective}: in evidence were {seen}; any other value is served {rest}"


def _show(present: Lock, lock: Lock, stored: Evidence, chosen: Iterable[str]) -> None:
    from pytest_proofmap.lock.compare import compare_locks
    from pytest_proofmap.report.difference import lock_difference_lines

    page = this_page()
    for line in lock_difference_lines(present, lock, compare_locks(present, lock), page):
        click.echo(line, color=page.colour)
    for text in _values_seen(lock, chosen):
        for line in page.wrap(text, "", "  "):
            click.echo(line)
    for line in _regressions(present, stored, page):
        click.echo(line, color=page.colour)
    if any(call.usage_estimated for sample in stored.samples for call in sample.calls):
        click.echo("note: token counts are estimated, and so are the costs")
    if stored.run.git is not None and stored.run.git.dirty:
        click.echo(
            page.text("note: the working tree was dirty when the evidence was made; fingerprints still match")
        )


class _Versions(NamedTuple):
    """The texts of a lock that a merge has to do with."""

    base: str | None
    """What both sides come from; None: neither had a lock, or it is not known."""
    ours: str
    theirs: str


def resolve_conflicts(path: Path, *, dry_run: bool) -> None:
    """Join both sides of a lock with merge conflicts.

    Raises:
        LockError: It has no conflicts, or both sides changed a route, each in its own way.
    """
    marked = _Versions(None, *sides(read_text(path)))
    staged = _staged(path)
    try:
        lock = _joined(staged or marked, path)
    except LockError as error:
        if staged is None:
            raise
        # Somebody may have mended by hand what cannot be joined, and left the rest.
        try:
            lock = _joined(marked, path)
        except LockError:
            raise error from None
    if dry_run:
        click.echo(f"both sides can be joined: {len(lock.routes)} routes; nothing was written (--dry-run)")
        return
    write_lock(path, lock)
    click.echo(f"joined both sides into {as_typed(path)}: {len(lock.routes)} routes")


def _staged(path: Path) -> _Versions | None:
    """Return the versions that git's index holds of a file in an unfinished merge.

    The text between conflict markers is not enough: git sets them around lines, so that what stands between them
    may be halves of two routes.
    """
    base, ours, theirs = (
        ask_git(path.parent, "cat-file", "blob", f":{stage}:./{path.name}") for stage in (1, 2, 3)
    )
    return None if ours is None or theirs is None else _Versions(base, ours, theirs)


def _joined(versions: _Versions, path: Path) -> Lock:
    """Return one lock of three.

    Raises:
        LockError: A side is no lock, both changed a route, or the outcome is not what was approved.
    """
    lock = join(
        parse_lock(versions.ours, f"our side of {path}"),
        parse_lock(versions.theirs, f"their side of {path}"),
        None if versions.base is None else parse_lock(versions.base, f"what both sides of {path} come from"),
    )
    for name in broken_digests(lock):
        raise LockError(f"{path}: joined, the route {name!r} is not what was approved. Approve it anew.")
    return lock
