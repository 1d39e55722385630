"""The cases that did not pass, the most telling first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.run.miss import Miss

__all__ = ["MissKind", "MissedCase", "missed_cases"]

MissKind = Literal["regression", "both", "alone", "baseline", "unavailable", "broken"]
"""How a miss compares with the baseline.

``regression``: the baseline passes the case; ``both``: it fails it too; ``alone``: it has no outcome there;
``baseline``: the baseline's own miss; ``unavailable``: an error, not a failure; ``broken``: the test's own error.
"""

_KINDS: tuple[MissKind, ...] = ("regression", "alone", "both", "baseline", "unavailable", "broken")
_ORDER = {kind: rank for rank, kind in enumerate(_KINDS)}


class MissedCase(NamedTuple):
    """A case that a runtime does not pass."""

    criterion: str
    case: str
    slice: str | None
    runtime: str
    kind: MissKind
    message: str
    """The first sample's reason, one line."""
    missed: int
    """How many of its samples did not pass."""
    samples: int


def missed_cases(
    misses: Iterable[Miss], observations: Iterable[Observation], baselines: Mapping[str, str]
) -> list[MissedCase]:
    """Return the missed cases by how much they tell.

    Regressions come first, then what both fail. Within a kind the criteria take turns, so that the first few
    do not all come from one criterion.

    Args:
        misses: The samples that did not pass.
        observations: Everything that was observed.
        baselines: The baseline of each criterion.
    """
    grouped: dict[tuple[str, str, str], list[Miss]] = {}
    for miss in misses:
        grouped.setdefault((miss.criterion, miss.case, miss.runtime), []).append(miss)
    if not grouped:
        return []
    samples: Counter[tuple[str, str, str]] = Counter()
    passed: Counter[tuple[str, str, str]] = Counter()
    for row in observations:
        if row.outcome != "skipped":
            samples[row.criterion, row.case, row.runtime] += 1
            passed[row.criterion, row.case, row.runtime] += row.outcome == "passed"
    baseline_errors = {place for place, found in grouped.items() if all(miss.outcome == "error" for miss in found)}
    cases = []
    for place, found in grouped.items():
        failures = [miss for miss in found if miss.outcome == "failed"] or found
        first = failures[0]
        baseline = baselines.get(first.criterion)
        reference = (first.criterion, first.case, baseline or "")
        kind: MissKind
        if first.outcome == "error":
            kind = "broken" if first.error_kind == "test" else "unavailable"
        elif first.runtime == baseline:
            kind = "baseline"
        elif not samples[reference] or reference in baseline_errors:
            kind = "alone"
        else:
            kind = "regression" if passed[reference] == samples[reference] else "both"
        cases.append(
            MissedCase(
                first.criterion,
                first.case,
                first.slice,
                first.runtime,
                kind,
                first.message,
                len(found),
                max(samples[place], len(found)),
            )
        )
    return _in_turns(cases)


def _in_turns(cases: Sequence[MissedCase]) -> list[MissedCase]:
    """Order by kind, then in turns over the criteria."""
    turns: Counter[tuple[str, MissKind, str]] = Counter()
    ranked = []
    for position, case in enumerate(cases):
        place = (case.runtime, case.kind, case.criterion)
        ranked.append((_ORDER[case.kind], turns[place], position, case))
        turns[place] += 1
    return [each[-1] for each in sorted(ranked, key=lambda one: one[:3])]
