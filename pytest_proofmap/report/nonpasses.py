"""The cases that did not pass, beside the baseline: what is a regression, and what is not.

A regression is what the verdict counts as one: a case that the baseline passes and the challenger does not, by at
least half of the samples that have an outcome; cases that asked for the same thing are one. The verdict's own
pairing counts them here too, so that no list of cases disagrees with a cell.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.pairing import pair
from pytest_proofmap.decide.tally import CaseTally, View, tally
from pytest_proofmap.evidence.models import Criterion, Objective
from pytest_proofmap.report.non_passes import Miss

__all__ = ["CaseKind", "CaseKinds", "NonPassCase", "compare_cases"]

CaseKind = Literal[
    "regression", "partly", "alone", "both", "baseline", "broken", "unavailable", "improvement", "repeated"
]
"""How a case compares with the baseline.

``regression``: the baseline passes it; ``partly``: it passes it more often, yet not by half; ``alone``: it has no
outcome there; ``both``: it fails it too; ``baseline``: the baseline's own failure; ``broken``: the test's own
error; ``unavailable``: an error, not a failure; ``improvement``: the baseline fails it and the challenger does
not; ``repeated``: it asks for the same as an earlier case, which counts for both.
"""

CaseKinds = Mapping[tuple[str, str, str], CaseKind]
"""By criterion, case and runtime; a case that is not there passed, or was skipped."""

_RANKED: tuple[CaseKind, ...] = ("regression", "partly", "alone", "both", "baseline", "unavailable", "broken")
_RANK = {kind: rank for rank, kind in enumerate(_RANKED)}


@dataclass(frozen=True, slots=True)
class NonPassCase:
    """A case that a runtime does not pass."""

    criterion: str
    label: str
    """Short name of the criterion."""
    case: str
    slice: str | None
    runtime: str
    kind: CaseKind
    message: str
    """The first sample's reason, one line."""
    failed: int
    """How many of its samples did not pass."""
    samples: int

    @property
    def name(self) -> str:
        """The test and the case."""
        return f"{self.label}[{self.case}]" if self.case else self.label

    @property
    def times(self) -> str:
        """How many of several samples did not pass; empty where there is one."""
        return f" ({self.failed} of {self.samples})" if self.samples > 1 else ""


def compare_cases(
    nonpasses: Iterable[Miss],
    observations: Iterable[Observation],
    criteria: Sequence[Criterion],
    objectives: Iterable[Objective],
    labels: Mapping[str, str],
) -> tuple[list[NonPassCase], CaseKinds]:
    """Return the cases that did not pass, the most informative first, and how each compares with the baseline.

    Regressions come first, then what both fail. Within a kind the criteria take turns, so that the first few do
    not all come from one criterion.

    Args:
        nonpasses: The samples that did not pass.
        observations: Everything that was observed.
        criteria: The criteria of the run.
        objectives: Its objectives, which say who the baselines are.
        labels: Short names of the criteria.
    """
    samples: defaultdict[str, defaultdict[str, defaultdict[str, list[Miss]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for sample in nonpasses:
        samples[sample.criterion][sample.runtime][sample.case].append(sample)
    kinds: dict[tuple[str, str, str], CaseKind] = {}
    if not samples:
        return [], kinds
    # Where all passed there is nothing to compare.
    rows = (row for row in observations if row.criterion in samples)
    known = [criterion for criterion in criteria if criterion.id in samples]
    tallies = tally(rows, {criterion.id: criterion.collected for criterion in known})
    baselines = {objective.name: objective.baseline for objective in objectives}
    cases = []
    for criterion in known:
        baseline, view = baselines.get(criterion.objective, ""), tallies[criterion.id].view(None)
        for runtime in dict.fromkeys((*samples[criterion.id], *tallies[criterion.id].runtimes)):
            failed = samples[criterion.id][runtime]
            if runtime != baseline:
                improved = pair(view, baseline, runtime).improved
                kinds.update(((criterion.id, case, runtime), "improvement") for case in improved)
            for group in view.groups(baseline, runtime) if runtime != baseline else view.groups(baseline):
                found = [sample for case in group for sample in failed.get(case, ())]
                kinds.update(((criterion.id, case, runtime), "repeated") for case in group[1:])
                if found:
                    unit = view.unit(group, runtime)
                    kind = kinds[criterion.id, group[0], runtime] = _kind(view, group, unit, runtime, baseline)
                    cases.append(_case(found, labels[criterion.id], group[0], kind, len(unit.rows)))
    return _in_turns(cases), kinds


def _kind(view: View, group: tuple[str, ...], unit: CaseTally, runtime: str, baseline: str) -> CaseKind:
    if unit.found == "error":
        return "broken" if unit.is_broken else "unavailable"
    if runtime == baseline:
        return "baseline"
    before, after = view.unit(group, baseline).answered_share(), unit.answered_share()
    if before is None or after is None:
        return "alone"
    if after - before <= -0.5 + 1e-9:
        return "regression"
    return "partly" if before == 1.0 else "both"


def _case(found: Sequence[Miss], label: str, case: str, kind: CaseKind, samples: int) -> NonPassCase:
    first = next((sample for sample in found if sample.outcome == "failed"), found[0])
    return NonPassCase(
        first.criterion,
        label,
        case,
        first.slice,
        first.runtime,
        kind,
        first.message,
        len(found),
        max(samples, len(found)),
    )


def _in_turns(cases: Sequence[NonPassCase]) -> list[NonPassCase]:
    """Order by kind, then in turns over the criteria."""
    turns: Counter[tuple[str, CaseKind, str]] = Counter()
    ranked = []
    for position, case in enumerate(cases):
        place = (case.runtime, case.kind, case.criterion)
        ranked.append(((_RANK[case.kind], turns[place], position), case))
        turns[place] += 1
    return [case for _, case in sorted(ranked, key=lambda entry: entry[0])]
