"""What did not pass: the samples with what they have in common, and the cases beside the baseline.

A regression is what the verdict counts as one: a case that the baseline passes and the challenger does not, by at
least half of the samples that have an outcome; cases that asked for the same thing are one. The verdict's own
pairing counts them here too, so that no list of cases disagrees with a cell.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pytest_proofmap.calls.outcome import LAST_FAILURE
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.pairing import pair
from pytest_proofmap.decide.tally import View, tally
from pytest_proofmap.evidence.models import Criterion, ErrorKind, Objective, Outcome, Role, Sample

__all__ = [
    "CaseKind",
    "CaseKinds",
    "NonPass",
    "NonPassCase",
    "by_cause",
    "cause_of",
    "compare_cases",
    "without_ids",
]


# Ids that providers and ProofMap put into messages would tell apart what has one reason.
_VARYING = re.compile(r"\b(?:[a-z]+_)?(?=[0-9a-zA-Z-]*[0-9])[0-9a-zA-Z-]{12,}\b")


class NonPass(NamedTuple):
    """A sample that did not pass, as tables show it."""

    criterion: str
    case: str
    slice: str | None
    runtime: str
    role: Role
    sample: int
    outcome: Outcome
    message: str
    error_kind: ErrorKind | None
    """Whose the error is; None for a failure."""
    exception: str | None
    """Class of the failed call, or of the exception that settled the outcome."""
    raised_at: str | None
    xfailed: bool
    """Whether the project expected the test to fail."""
    answer: str = ""
    """Beginning of the last answer, in one line."""

    @classmethod
    def of(cls, sample: Sample) -> NonPass | None:
        """Return what is shown of a sample of an artifact, or None when it passed or was skipped.

        Artifacts from before errors had kinds told a model's unavailability alone by an error.
        """
        if sample.outcome not in ("failed", "error"):
            return None
        failed = next((call.error for call in sample.calls if call.error is not None), None)
        return cls(
            sample.criterion,
            sample.case,
            sample.slice,
            sample.runtime,
            sample.role,
            sample.sample,
            sample.outcome,
            sample.message,
            (sample.error_kind or "unavailable") if sample.outcome == "error" else None,
            sample.exception or (failed.class_ if failed is not None else None),
            sample.raised_at,
            bool(sample.xfailed),
        )

    @property
    def test(self) -> str:
        """The test's id, as pytest shows it."""
        parameters = f"{self.case}-{self.runtime}" if self.case else self.runtime
        return f"{self.criterion}[{parameters}]"


def without_ids(message: str) -> str:
    """Return a message without what differs each time: ids of requests and the like."""
    return _VARYING.sub("…", " ".join(message.split())) or "no message"


def cause_of(message: str) -> str:
    """Return why there was no answer: of a call that was not made after others failed, why those did."""
    return message.rpartition(LAST_FAILURE)[2]


def by_cause(nonpasses: Iterable[NonPass]) -> list[list[NonPass]]:
    """Return samples in groups that have one cause, the largest first.

    One cause is one message, or one class of exception raised at one line, whatever it then says.
    """
    groups: dict[tuple[str | None, str], list[NonPass]] = {}
    for sample in nonpasses:
        said = (None, without_ids(cause_of(sample.message)))
        raised = said if sample.raised_at is None else (sample.exception, sample.raised_at)
        group = groups.get(raised) or groups.get(said) or []
        group.append(sample)
        groups.setdefault(raised, group)
        groups.setdefault(said, group)
    distinct = {id(group): group for group in groups.values()}
    return sorted(distinct.values(), key=len, reverse=True)


CaseKind = Literal[
    "regression",
    "partly",
    "alone",
    "both",
    "baseline",
    "broken",
    "unavailable",
    "refused",
    "improvement",
    "repeated",
]
"""How a case compares with the baseline.

``regression``: the baseline passes it; ``partly``: it passes it more often, yet not by half; ``alone``: it has no
outcome there; ``both``: it fails it too; ``baseline``: the baseline's own failure; ``broken``: the test's own
error; ``unavailable``: an error, not a failure; ``improvement``: the baseline fails it and the challenger does
not; ``repeated``: it asks for the same as an earlier case, which counts for both; ``refused``: it is a new case
after the last of several looks.
"""

CaseKinds = Mapping[tuple[str, str, str], CaseKind]
"""By criterion, case and runtime; a case that is not there passed, or was skipped."""

_RANKED: tuple[CaseKind, ...] = (
    *("regression", "partly", "alone", "both", "refused"),
    *("baseline", "unavailable", "broken"),
)
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
    nonpasses: Iterable[NonPass],
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
    samples: defaultdict[tuple[str, str, str], list[NonPass]] = defaultdict(list)
    for sample in nonpasses:
        samples[sample.criterion, sample.case, sample.runtime].append(sample)
    # Where all passed there is nothing to compare.
    failing = {criterion for criterion, _, _ in samples}
    known = [criterion for criterion in criteria if criterion.id in failing]
    rows = (row for row in observations if row.criterion in failing)
    tallies = tally(rows, {criterion.id: criterion.collected for criterion in known})
    runtimes = {objective.name: (objective.baseline, *objective.challengers) for objective in objectives}
    cases: list[NonPassCase] = []
    kinds: dict[tuple[str, str, str], CaseKind] = {}
    for criterion in known:
        counted = tallies[criterion.id]
        refused = {cell.runtime: cell.look.refused for cell in criterion.cells if cell.look and cell.slice is None}
        # Not as they were observed: from workers that is any order.
        baseline, *challengers = runtimes.get(criterion.objective, ("",))
        for runtime in (name for name in (baseline, *challengers) if name in counted.runtimes):
            for group, kind in _compared(counted.view(None), runtime, baseline, refused.get(runtime, ())):
                first, *others = [(criterion.id, case, runtime) for case in group]
                kinds.update((place, "repeated") for place in others)
                if kind is None:
                    continue
                kinds[first] = kind
                if failed := [sample for place in (first, *others) for sample in samples.get(place, ())]:
                    asked = len(counted.view(None).unit(group, runtime).rows)
                    cases.append(_case(failed, labels[criterion.id], group[0], kind, asked))
    return _in_turns(cases), kinds


def _compared(
    view: View, runtime: str, baseline: str, refused: Collection[str]
) -> Iterator[tuple[tuple[str, ...], CaseKind | None]]:
    """Yield the cases that count as one, and how they compare; None: they passed, or were skipped.

    Args:
        view: All cases of a criterion.
        runtime: The runtime to compare.
        baseline: What with.
        refused: Cases that came after the last look, and take no part in the verdict's pairs.
    """
    looked = View(view.tallies, [case for case in view.observed if case not in refused]) if refused else view
    pairs = pair(looked, baseline, runtime) if runtime != baseline else None
    regressed, improved = (set(pairs.regressed), set(pairs.improved)) if pairs else (set[str](), set[str]())
    for group in looked.groups(*dict.fromkeys((baseline, runtime))):
        unit = view.unit(group, runtime)
        kind: CaseKind | None = None
        if unit.found == "error":
            kind = "broken" if unit.is_broken else "unavailable"
        elif unit.found != "failed":
            kind = "improvement" if group[0] in improved else None
        elif runtime == baseline:
            kind = "baseline"
        elif group[0] in regressed:
            kind = "regression"
        else:
            before = view.unit(group, baseline).answered_share()
            kind = "alone" if before is None else "partly" if before == 1.0 else "both"
        yield group, kind
    for case in view.cases:
        if case in refused:
            unit = view.unit((case,), runtime)
            yield (case,), "refused" if unit.found in ("failed", "error") else None


def _case(failed: Sequence[NonPass], label: str, case: str, kind: CaseKind, samples: int) -> NonPassCase:
    first = next((sample for sample in failed if sample.outcome == "failed"), failed[0])
    return NonPassCase(
        first.criterion,
        label,
        case,
        first.slice,
        first.runtime,
        kind,
        first.message,
        len(failed),
        max(samples, len(failed)),
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
