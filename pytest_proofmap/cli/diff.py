"""``proofmap diff``: compare two artifacts or two locks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pytest_proofmap.decide.drift import Drift
    from pytest_proofmap.evidence.models import Evidence
    from pytest_proofmap.lock.compare import LockDifference
    from pytest_proofmap.lock.models import Lock
    from pytest_proofmap.report.difference import Compared

__all__ = ["diff"]

EXIT_FINDING = 1
TITLE = "proofmap diff"


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", required=False, type=click.Path(path_type=Path))
@click.option(
    "--fail-on",
    type=click.Choice(["regression", "drift"]),
    help="Exit with 1 on a change for the worse, or on any drift; without it always with 0.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
@click.option("--html", "as_html", is_flag=True, help="Write NEW's report with what changed, as one HTML page.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the page. Default: the name of NEW with .diff.html.",
)
@click.option("-v", "--verbose", count=True, help="Every flip, gap and criterion; -vv: every case.")
def diff(
    old: Path,
    new: Path | None,
    fail_on: str | None,
    as_json: bool,
    as_html: bool,
    output: Path | None,
    verbose: int,
) -> None:
    """Compare two artifacts, or two locks: what got worse, what was lost, what moved.

    Without NEW: with the evidence of the last whole run.

    On artifacts a change for the worse is a verdict that got worse, lost coverage, or a pass rate that dropped
    beyond chance; drift is also a pass rate that rose, cost or latency beyond their intervals, and another model
    that answered. On locks a change for the worse is a route, a runtime or a criterion that is gone, or a
    promotion taken back; drift is any change but a renewed approval.

    Exit status: 0 it holds; 1 with --fail-on, what it names was found; 2 bad input.
    """
    from pytest_proofmap.cli.inputs import last_whole_run, read_evidence_or_lock
    from pytest_proofmap.errors import EvidenceError
    from pytest_proofmap.evidence.models import Evidence

    if as_json and as_html:
        raise click.UsageError("Choose one of --json and --html.")
    if output is not None and not as_html:
        raise click.UsageError("-o says where to write the page: add --html.")
    new = new or last_whole_run()
    before, after = read_evidence_or_lock(old), read_evidence_or_lock(new)
    found: Drift | LockDifference
    if isinstance(before, Evidence) and isinstance(after, Evidence):
        compared = _compare(before, after, (old, new))
        found = compared.drift
        if as_json:
            _print_json(compared, (old, new))
        elif as_html:
            _write_html(compared, output or new.with_suffix(".diff.html"))
        else:
            _print_evidence(compared, (old, new), fail_on, verbose)
    elif as_html:
        raise click.UsageError("--html compares two artifacts; these are not.")
    elif not isinstance(before, Evidence) and not isinstance(after, Evidence):
        found = _diff_locks(before, after, (old, new), fail_on, as_json=as_json)
    else:
        evidence, lock = (old, new) if isinstance(before, Evidence) else (new, old)
        raise EvidenceError(
            f"cannot compare evidence ({str(evidence)!r}) with a lock ({str(lock)!r}): give two artifacts or two "
            "locks. Whether a lock still stands is said by: proofmap verify"
        )
    if _fails(found, fail_on):
        raise click.exceptions.Exit(EXIT_FINDING)


def _fails(drift: Drift | LockDifference, fail_on: str | None) -> bool:
    return (fail_on == "regression" and drift.is_regression) or (fail_on == "drift" and drift.is_drift)


def _compare(old: Evidence, new: Evidence, paths: tuple[Path, Path]) -> Compared:
    from pytest_proofmap.decide.compare import named_as_in
    from pytest_proofmap.decide.drift import compare_evidence
    from pytest_proofmap.errors import EvidenceError
    from pytest_proofmap.lock.staleness import EvidenceFingerprints, changes, fingerprints_of_evidence
    from pytest_proofmap.report.difference import Compared

    # Whoever reads the comparison has the cases of NEW at hand.
    old = named_as_in(new, old)
    drift = compare_evidence(old, new)
    if not drift.rates and not drift.lost:
        # A check against the wrong file must not pass because there was nothing to find.
        raise EvidenceError(
            f"{str(paths[0])!r} and {str(paths[1])!r} have no answered case in common: nothing can be compared. "
            "Give the evidence of two runs of the same tests."
        )
    fingerprints = fingerprints_of_evidence(old, [objective.name for objective in old.objectives])
    # What is gone altogether is lost coverage, and named there.
    changed = tuple(
        change for change in changes(fingerprints, EvidenceFingerprints(new)) if change.new is not None
    )
    return Compared(old, new, drift, changed)


def _print_json(compared: Compared, paths: tuple[Path, Path]) -> None:
    from pytest_proofmap.cli.output import print_json
    from pytest_proofmap.report.difference import evidence_notes

    drift = compared.drift
    print_json(
        {
            "compared": "evidence",
            "old": {"path": str(paths[0]), "run": compared.old.run},
            "new": {"path": str(paths[1]), "run": compared.new.run},
            "regression": drift.is_regression,
            "drift": drift.is_drift,
            "notes": list(evidence_notes(compared)),
            **_records(drift),
            "changed": compared.changed,
        }
    )


def _write_html(compared: Compared, path: Path) -> None:
    from pytest_proofmap.cli.output import write_report
    from pytest_proofmap.report.html.document import html_report
    from pytest_proofmap.report.view import view_of_evidence

    write_report(path, html_report(compared.new, view_of_evidence(compared.new), compared=compared))


def _records(drift: Drift) -> dict[str, Any]:
    """Return what differs, with what each record says of itself."""
    return {
        **drift._asdict(),
        "rates": [
            {**rate._asdict(), "beyond_chance": rate.beyond_chance, "dropped": rate.dropped}
            for rate in drift.rates
        ],
        **{
            name: [{**ratio._asdict(), "beyond_interval": ratio.beyond_interval} for ratio in ratios]
            for name, ratios in (("costs", drift.costs), ("latencies", drift.latencies))
        },
    }


def _print_evidence(compared: Compared, paths: tuple[Path, Path], fail_on: str | None, verbosity: int) -> None:
    from pytest_proofmap.cli.output import this_page
    from pytest_proofmap.report.difference import drift_lines, evidence_notes, summary_of

    page = this_page()
    drift = compared.drift
    lines = [page.rule(TITLE)]
    for name, path, evidence in zip(("OLD", "NEW"), paths, (compared.old, compared.new), strict=True):
        totals = evidence.totals
        lines += page.wrap(
            f"{path}, run {evidence.run.id} of {evidence.run.started_at[:16].replace('T', ' ')}, "
            f"{totals.calls:,} calls ({totals.live:,} live)",
            f"{name} ",
            "    ",
        )
    for note in evidence_notes(compared):
        lines += [page.paint(line, "yellow") for line in page.wrap(note, "! ", "  ")]
    body = drift_lines(compared, page, verbosity=verbosity)
    lines += ["", *body] if body else []
    lines.append("")
    colour = "red" if drift.is_regression else "yellow"
    for text in summary_of(drift):
        lines += [page.paint(line, colour) for line in page.wrap(text, "", "    ")]
    if not drift.is_drift:
        lines += page.wrap("no change for the worse and no drift")
    if _fails(drift, fail_on):
        lines += page.wrap(f"this fails: --fail-on {fail_on}")
    for line in lines:
        click.echo(line, color=page.colour)


def _diff_locks(
    old: Lock, new: Lock, paths: tuple[Path, Path], fail_on: str | None, *, as_json: bool
) -> LockDifference:
    from pytest_proofmap.cli.output import print_json
    from pytest_proofmap.lock.compare import compare_locks

    found = compare_locks(old, new)
    if as_json:
        print_json(
            {
                "compared": "locks",
                "old": {"path": str(paths[0])},
                "new": {"path": str(paths[1])},
                "regression": found.is_regression,
                "drift": found.is_drift,
                "routes": [
                    {
                        **route._asdict(),
                        "moved": route.is_moved,
                        "renewed": route.is_renewed,
                        "losses": route.losses,
                    }
                    for route in found.routes
                ],
            }
        )
    else:
        _print_locks(old, new, found, paths, fail_on)
    return found


def _print_locks(
    old: Lock, new: Lock, lock_difference: LockDifference, paths: tuple[Path, Path], fail_on: str | None
) -> None:
    from pytest_proofmap.cli.output import this_page
    from pytest_proofmap.decide.wording import count
    from pytest_proofmap.report.difference import lock_difference_lines

    page = this_page()
    lines = [page.rule(TITLE)]
    for name, path, lock in zip(("OLD", "NEW"), paths, (old, new), strict=True):
        lines += page.wrap(f"{path}, {count(len(lock.routes), 'route')}", f"{name} ", "    ")
    lines += ["", *(lock_difference_lines(old, new, lock_difference, page) or ["no route differs"])]
    if _fails(lock_difference, fail_on):
        lines += ["", *page.wrap(f"this fails: --fail-on {fail_on}")]
    for line in lines:
        click.echo(line, color=page.colour)
