"""The matrix of criteria by runtimes, as the page shows it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.verdict import baseline_meets_bar
from pytest_proofmap.decide.wording import percent
from pytest_proofmap.evidence.models import Bar, Cell, Criterion, Evidence, Objective, Status
from pytest_proofmap.report.html.links import cell_link
from pytest_proofmap.report.labels import short_labels
from pytest_proofmap.report.wording import SIGNS, WORDS, errors_of

__all__ = ["Group", "Verdict", "matrix", "runtimes_shown"]

_Place = tuple[str, str | None, str]
"""Criterion, slice and runtime of a cell."""


class Verdict(NamedTuple):
    """A verdict in a sign and words, never in colour alone."""

    status: Status | None
    sign: str
    word: str
    was: str | None = None
    """The verdict of the run that this one is compared with, where it was another."""


class Entry(NamedTuple):
    """What the matrix says of one runtime in one row."""

    runtime: str
    is_baseline: bool
    verdict: Verdict
    counts: str
    """Passed cases of those that ran."""
    rate: str
    interval: str
    flips: str
    """Regressions and improvements against the baseline, where there are any."""
    is_flipped: bool
    """Whether a case flipped: against the baseline, or between the runs that are compared."""
    errors: str
    link: str


class Row(NamedTuple):
    """A criterion, or one of its slices."""

    criterion: str
    label: str
    slice: str | None
    bar: str
    entries: Sequence[Entry | None]
    slices: int
    """How many slices of the criterion follow."""


class _Before(NamedTuple):
    """What the run that this one is compared with says of the cells."""

    statuses: Mapping[_Place, Status | None]
    flipped: Collection[_Place]
    """Cells with a case that passes in one run and fails in the other."""


class Group(NamedTuple):
    """The criteria of an objective."""

    name: str
    sensitive: bool
    verdicts: Sequence[Verdict | None]
    """Of the objective as a whole, one for each runtime."""
    rows: Sequence[Row]


def runtimes_shown(objectives: Iterable[Objective]) -> list[str]:
    """Return the runtimes of all objectives, baselines first."""
    known = list(objectives)
    baselines = dict.fromkeys(each.baseline for each in known)
    return list(dict.fromkeys((*baselines, *(name for each in known for name in each.challengers))))


def matrix(evidence: Evidence, before: Evidence | None = None) -> list[Group]:
    """Return the matrix, an objective after the other.

    Args:
        evidence: The run to show.
        before: The run that it is compared with.
    """
    runtimes = runtimes_shown(evidence.objectives)
    labels = short_labels(criterion.id for criterion in evidence.criteria)
    by_id = {criterion.id: criterion for criterion in evidence.criteria}
    cells_before = _Before(_statuses(before), _flipped(evidence, before)) if before else None
    verdicts_before = _objective_statuses(before)
    groups = []
    for objective in evidence.objectives:
        own = [by_id[each] for each in objective.criteria if each in by_id]
        rows = [row for each in own for row in _rows(each, labels[each.id], runtimes, cells_before)]
        whole = {each.runtime: each.status for each in objective.verdicts if each.slice is None}
        verdicts = [
            _verdict(whole[name], verdicts_before.get((objective.name, None, name))) if name in whole else None
            for name in runtimes
        ]
        groups.append(Group(objective.name, objective.sensitive, verdicts, rows))
    return groups


def _rows(
    criterion: Criterion,
    label: str,
    runtimes: Sequence[str],
    before: _Before | None,
) -> Iterator[Row]:
    by_slice: dict[str | None, dict[str, Cell]] = {}
    for cell in criterion.cells:
        by_slice.setdefault(cell.slice, {})[cell.runtime] = cell
    slices = sorted(name for name in by_slice if name is not None)
    for name in (None, *slices):
        cells = by_slice.get(name, {})
        entries = [_entry(criterion, cells[each], before) if each in cells else None for each in runtimes]
        own = label if name is None else name
        yield Row(criterion.id, own, name, _bar(criterion.bar), entries, 0 if name else len(slices))


def _entry(criterion: Criterion, cell: Cell, before: _Before | None) -> Entry:
    ran = cell.passed + cell.failed + cell.errors
    place = (criterion.id, cell.slice, cell.runtime)
    if cell.status is None:
        missed = bool(cell.failed) and not baseline_meets_bar(criterion.bar, cell)
        verdict = Verdict(None, "!" if missed else "", "misses its own bar" if missed else "baseline")
    else:
        verdict = _verdict(cell.status, before.statuses.get(place) if before else None)
    low, high = cell.interval or (None, None)
    return Entry(
        runtime=cell.runtime,
        is_baseline=cell.role == "baseline",
        verdict=verdict,
        counts=f"{cell.passed}/{ran}" if ran else "not run",
        rate=percent(cell.pass_rate) if cell.pass_rate is not None and ran else "",
        interval=f"{100 * low:.0f}–{100 * high:.0f} %" if low is not None and high is not None and ran else "",
        flips=_flips(cell),
        is_flipped=place in before.flipped if before else bool(cell.regressions or cell.improvements),
        errors=errors_of(cell),
        link=cell_link(criterion.id, cell.runtime, cell.slice),
    )


def _flips(cell: Cell) -> str:
    parts = [f"{sign}{number}" for sign, number in (("−", cell.regressions), ("+", cell.improvements)) if number]
    return " ".join(parts)


def _verdict(status: Status, before: Status | None) -> Verdict:
    was = WORDS[before] if before is not None and before != status else None
    return Verdict(status, SIGNS[status], WORDS[status], was)


def _flipped(evidence: Evidence, before: Evidence) -> set[_Place]:
    found: set[_Place] = set()
    old = _outcomes(before)
    for (criterion, case, runtime), (slice_name, outcomes) in _outcomes(evidence).items():
        _, earlier = old.get((criterion, case, runtime), (None, set()))
        one_passes = {"passed"} in (outcomes, earlier)
        if one_passes and "failed" in outcomes | earlier:
            found |= {(criterion, None, runtime), (criterion, slice_name, runtime)}
    return found


def _outcomes(evidence: Evidence) -> dict[tuple[str, str, str], tuple[str | None, set[str]]]:
    """Return by criterion, case and runtime the case's slice and how its samples went."""
    found: dict[tuple[str, str, str], tuple[str | None, set[str]]] = {}
    for sample in evidence.samples:
        if sample.outcome != "skipped":
            place = (sample.criterion, sample.case, sample.runtime)
            found.setdefault(place, (sample.slice, set()))[1].add(sample.outcome)
    return found


def _statuses(evidence: Evidence) -> dict[_Place, Status | None]:
    return {
        (criterion.id, cell.slice, cell.runtime): cell.status
        for criterion in evidence.criteria
        for cell in criterion.cells
    }


def _objective_statuses(evidence: Evidence | None) -> dict[tuple[str, str | None, str], Status]:
    if evidence is None:
        return {}
    return {
        (objective.name, each.slice, each.runtime): each.status
        for objective in evidence.objectives
        for each in objective.verdicts
    }


def _bar(bar: Bar) -> str:
    """Return a criterion's bar in words."""
    parts = []
    if bar.kind == "all_pass":
        parts.append("every case passes")
    if bar.kind in ("min_pass_rate", "both") and bar.min_pass_rate is not None:
        parts.append(f"at least {percent(bar.min_pass_rate)} of the cases pass")
    if bar.kind in ("margin", "both") and bar.margin is not None:
        parts.append(f"at most {percent(bar.margin)} worse than the baseline")
    if bar.samples > 1:
        parts.append(f"{bar.samples} samples a case")
    return ", ".join(parts)
