"""``proofmap cache``: look into the response cache, move answers to and from recordings, prune."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_proofmap.commands.cache_explain import explain
from pytest_proofmap.commands.cache_transfer import export, import_
from pytest_proofmap.commands.printing import say
from pytest_proofmap.commands.project import (
    count_answers,
    load_configuration,
    made_by,
    open_cache,
    open_recordings,
    require_runtimes,
    rootdir_option,
)

if TYPE_CHECKING:
    from pytest_proofmap.runtime.cache import CacheEntry

__all__ = ["cache"]

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@click.group()
def cache() -> None:
    """Look into the response cache, move answers between it and recordings, and prune it."""


cache.add_command(explain)
cache.add_command(export)
cache.add_command(import_)


@dataclass
class _Share:
    """What the answers of one model add up to."""

    answers: int = 0
    bytes: int = 0
    oldest: date = date.max
    newest: date = date.min
    last_use: date = date.min

    def add(self, entry: CacheEntry, last_use: date) -> None:
        made = _made_at(entry).date()
        self.answers += 1
        self.bytes += entry.bytes
        self.oldest, self.newest = min(self.oldest, made), max(self.newest, made)
        self.last_use = max(self.last_use, last_use)


@cache.command()
@rootdir_option
def stats(rootdir: Path | None) -> None:
    """Show how many answers are kept, for which models, since when and how recently used."""
    from tabulate import tabulate

    configuration = load_configuration(rootdir)
    with open_cache(configuration) as store, open_recordings(configuration) as recordings:
        used = store.last_used()
        shares: dict[str, _Share] = {}
        for entry in store.entries():
            share = shares.setdefault(str(entry.answer.request.get("model")), _Share())
            share.add(entry, _last_use(entry, used))
        number = sum(share.answers for share in shares.values())
        click.echo(f"Response cache {store.directory}")
        click.echo(f"{count_answers(number)}, {_megabytes(store.size())} on disk")
        if shares:
            rows = [
                (name, share.answers, _megabytes(share.bytes), share.oldest, share.newest, share.last_use)
                for name, share in sorted(shares.items())
            ]
            click.echo()
            say(tabulate(rows, ["model", "answers", "size", "oldest", "newest", "last used"]))
            click.echo()
        click.echo(f"Recordings: {count_answers(len(recordings))}")


def _age(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,5})([hdw])", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not an age; write a number and h, d or w, such as 30d.")
    return int(match[1]) * _UNITS[match[2]]


@cache.command()
@click.option("--older-than", callback=_age, metavar="AGE", help="Answers made longer ago than AGE: 30d, 8w.")
@click.option("--unused-since", callback=_age, metavar="AGE", help="Answers that no run used for AGE.")
@click.option("--runtime", "runtimes", multiple=True, help="Answers of this runtime; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@rootdir_option
def prune(
    older_than: timedelta | None,
    unused_since: timedelta | None,
    runtimes: tuple[str, ...],
    dry_run: bool,
    rootdir: Path | None,
) -> None:
    """Delete answers from the cache for good; with several options, those that meet all of them."""
    if older_than is None and unused_since is None and not runtimes:
        raise click.UsageError("Say what to prune: --older-than, --unused-since or --runtime.")
    configuration = load_configuration(rootdir)
    require_runtimes(configuration, runtimes)
    now = datetime.now(timezone.utc)
    with open_cache(configuration, readonly=dry_run) as store:
        used = store.last_used()
        gone: list[str] = []
        size = kept = 0
        for entry in store.entries():
            if (
                (older_than is None or now - _made_at(entry) > older_than)
                and (unused_since is None or _last_use(entry, used) < (now - unused_since).date())
                and (not runtimes or made_by(entry.answer, runtimes, configuration))
            ):
                gone.append(entry.key)
                size += entry.bytes
            else:
                kept += 1
        if gone and not dry_run:
            store.delete(gone)
    verb = "Would delete" if dry_run else "Deleted"
    click.echo(f"{verb} {count_answers(len(gone))} ({_megabytes(size)}), {count_answers(kept)} kept.")


def _made_at(entry: CacheEntry) -> datetime:
    """Return when an answer was made; for an imported one that is before it was stored."""
    try:
        made = datetime.fromisoformat((entry.answer.made_at or "").replace("Z", "+00:00"))
    except ValueError:
        return datetime.fromtimestamp(entry.stored_at, timezone.utc)
    return made if made.tzinfo else made.replace(tzinfo=timezone.utc)


def _last_use(entry: CacheEntry, used: dict[str, date]) -> date:
    stored = datetime.fromtimestamp(entry.stored_at, timezone.utc).date()
    return max(stored, used.get(entry.key, stored))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
