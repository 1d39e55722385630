"""``proofmap drift``: watch whether the same cases still pass, as often as one likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_proofmap.cli.inputs import load_configuration, read_decided, rootdir_option

if TYPE_CHECKING:
    from pytest_proofmap.decide.compare import RatioDrift
    from pytest_proofmap.decide.looks import Watch
    from pytest_proofmap.evidence.models import Evidence

__all__ = ["drift"]

EXIT_FINDING = 1


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--history",
    "kept",
    is_flag=True,
    help="Count this look in proofmap.history beside the lock: a false alarm has 5 % over all looks at OLD.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
@rootdir_option
def drift(old: Path, new: Path, kept: bool, as_json: bool, rootdir: Path | None) -> None:
    """Compare the answers of NEW with those of OLD on the same cases.

    NEW asked them again, with --proofmap-cache=refresh. The pass rates of all runtimes are tested in both
    directions; cost and latency are shown with intervals of this look alone. Without --history this is the first
    look; the same NEW again is the same look.

    Exit status: 0 no alarm; 1 a pass rate dropped or rose; 2 bad input.
    """
    from pytest_proofmap.decide.compare import named_as_in
    from pytest_proofmap.decide.looks import watch
    from pytest_proofmap.errors import EvidenceError

    before, after = read_decided(old), read_decided(new)
    _check_asked_again(after, new)
    look, keep = _look(before, after, rootdir) if kept else (1, None)
    found = watch(named_as_in(after, before), after, look)
    if not found.rates:
        raise EvidenceError(
            f"{str(old)!r} and {str(new)!r} have no answered case in common: nothing can be compared. Give the "
            "evidence of two runs of the same tests."
        )
    if keep is not None:
        keep()
    if as_json:
        _print_json(found, before, after)
    else:
        _print(found, counted=kept)
    if found.alarms:
        raise click.exceptions.Exit(EXIT_FINDING)


def _check_asked_again(evidence: Evidence, path: Path) -> None:
    """Refuse evidence without an answer of its own: replayed answers never drift."""
    from pytest_proofmap.errors import EvidenceError

    calls = [call for sample in evidence.samples for call in sample.calls]
    if calls and all(call.source != "live" for call in calls):
        raise EvidenceError(
            f"{str(path)!r} holds answers from cache and recordings alone, which never drift. Ask again: "
            "pytest --proofmap --proofmap-cache=refresh"
        )


def _look(before: Evidence, after: Evidence, rootdir: Path | None) -> tuple[int, Callable[[], None] | None]:
    """Return which look this is, and what writes it down."""
    from pytest_proofmap.lock.history import (
        DriftState,
        history_path,
        join_drift,
        read_copy,
        read_history,
        write_copy,
        write_history,
    )

    configuration = load_configuration(rootdir)
    path = history_path(configuration.lock_path)
    history = read_history(path)
    # Looks that were taken here count, whether or not an older file was put in place of the one that held them.
    history = replace(history, drift=join_drift(history.drift, read_copy(configuration.rootdir).drift))
    state = history.drift.get(before.run.id, DriftState(looks=0, runs=[]))
    if after.run.id in state.runs:
        return state.runs.index(after.run.id) + 1, None
    look = state.looks + 1
    counted = DriftState(looks=look, runs=[*state.runs, after.run.id])
    history = replace(history, drift={**history.drift, before.run.id: counted})

    def keep() -> None:
        write_copy(configuration.rootdir, history)
        write_history(path, history)

    return look, keep


def _print(found: Watch, *, counted: bool) -> None:
    from pytest_proofmap.cli.output import this_page
    from pytest_proofmap.decide.wording import count, name_cases, percent

    page = this_page()
    lines = [page.rule("proofmap drift")]
    lines += page.wrap(
        f"look {found.look}: a pass rate is said to have moved at p ≤ {found.rates[0].level:.2g}"
        + ("" if counted else " (not counted: add --history to look again)")
    )
    for rate in found.rates:
        text = (
            f"{rate.runtime}: {percent(rate.old)} → {percent(rate.new)} in {count(rate.cases, 'case')}, "
            f"{count(len(rate.regressed), 'regression')}, {count(len(rate.improved), 'improvement')}"
        )
        if rate.alarm is None:
            lines += page.wrap(f"  {text}: no drift shown", "", "    ")
            continue
        cases = rate.regressed if rate.alarm == "dropped" else rate.improved
        p = rate.p_drop if rate.alarm == "dropped" else rate.p_rise
        lines += [
            page.paint(line, "red" if rate.alarm == "dropped" else "yellow")
            for line in page.wrap(f"  {text}: {rate.alarm} (p = {p:.2g}): {name_cases(cases)}", "", "    ")
        ]
    for word, ratios in (("cost", found.costs), ("latency", found.latencies)):
        for ratio in ratios:
            lines += page.wrap(f"  {ratio.runtime}: {word} {_ratio_text(ratio)}", "", "    ")
    for line in lines:
        click.echo(line, color=page.colour)


def _ratio_text(ratio: RatioDrift) -> str:
    if ratio.ratio is None:
        return f"unknown: {ratio.unknown}"
    if ratio.interval is None:
        return f"{ratio.ratio:.2f}×"
    return f"{ratio.ratio:.2f}× ({ratio.interval.low:.2f}–{ratio.interval.high:.2f}× at this look)"


def _print_json(found: Watch, before: Evidence, after: Evidence) -> None:
    from pytest_proofmap.cli.output import print_json

    print_json(
        {
            "old": {"run": before.run.id},
            "new": {"run": after.run.id},
            "look": found.look,
            "alarm": bool(found.alarms),
            "rates": [{**rate._asdict(), "alarm": rate.alarm} for rate in found.rates],
            "costs": [ratio._asdict() for ratio in found.costs],
            "latencies": [ratio._asdict() for ratio in found.latencies],
        }
    )
