"""Observations counted by criterion, runtime and case.

The case is the sampling unit. Cases that asked a runtime for exactly the same thing are one unit there, and a
case whose repeated answers are all the same counts as one sample.

Several samples of each case: two paired tables that must both hold, and one that speaks against.

More samples tell more about the same cases but never stand for more cases. The *mean* table counts how far
the pass shares of a case differ, on an effective number of cases that grows only as far as averaging really
took noise away; the *flip* table counts the cases that changed sides. Who is acceptable must be so on both. Who is
worse is so by the *share* table alone, the differences in pass share over the cases: to ask for both there as well
would find nobody from three samples on, for whoever fails now and then flips no case. With one sample a case all
three are the ordinary table.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Literal, NamedTuple

from pytest_proofmap.decide.observation import Observation

__all__ = [
    "CasePair",
    "CaseTally",
    "CriterionTally",
    "OutcomeBits",
    "PairedTable",
    "View",
    "answered_latencies",
    "broken_test",
    "flip_table",
    "mean_table",
    "pass_hat_k",
    "share_table",
    "tally",
]


Found = Literal["passed", "failed", "error", "missing"]
"""What is known of a unit on a runtime: its outcome, or that there is none."""


class CaseFigures(NamedTuple):
    """What the samples of a case cost a runtime, and how long they took."""

    cost_usd: float | None
    """Mean cost of a sample; None when it is unknown."""
    latency_s: float | None
    """Mean latency of the samples that have an answer; None when none is known."""
    answered: bool
    """Whether there was anything to pay for."""
    concurrencies: tuple[int, ...]
    """Concurrency at which the samples with a latency were made."""


def answered_latencies(rows: Iterable[Observation]) -> list[float]:
    """Return the latencies of the samples that have an answer, in seconds."""
    return [row.latency_s for row in rows if row.latency_s is not None and row.outcome != "error"]


class CaseTally(list[Observation]):
    """What one runtime did on one case, or on several that are one unit: its samples, those skipped included.

    A plain list of rows, because most hold a single one and a run has hundreds of thousands.
    """

    __slots__ = ()

    @property
    def rows(self) -> list[Observation]:
        """The samples that were not skipped."""
        if len(self) == 1:
            return self if self[0].outcome != "skipped" else []
        return [row for row in self if row.outcome != "skipped"]

    @property
    def passed(self) -> int:
        """How many samples passed."""
        return sum(row.outcome == "passed" for row in self)

    @property
    def failed(self) -> int:
        """How many samples failed."""
        return sum(row.outcome == "failed" for row in self)

    @property
    def errors(self) -> int:
        """How many samples gave no usable answer."""
        return sum(row.outcome == "error" for row in self)

    @property
    def is_broken(self) -> bool:
        """Whether the test itself broke on a sample."""
        return any(row.error_kind == "test" for row in self)

    @property
    def spared(self) -> bool:
        """Whether adaptive sampling left it out."""
        return any(row.spared for row in self)

    @property
    def found(self) -> Found:
        """The unit's outcome: it passes when all its samples pass."""
        if len(self) == 1:
            only = self[0].outcome
            return only if only != "skipped" else "missing"
        outcomes = {row.outcome for row in self}
        if "failed" in outcomes:
            return "failed"
        if "error" in outcomes:
            return "error"
        return "passed" if "passed" in outcomes else "missing"

    @property
    def request(self) -> tuple[tuple[int, str], ...] | None:
        """All that was asked for, in the order of samples; None when a part is unknown."""
        rows = self.rows
        known = [(row.sample, row.request_digest) for row in rows if row.request_digest is not None]
        return tuple(sorted(known)) if known and len(known) == len(rows) else None

    @property
    def figures(self) -> CaseFigures:
        """What it cost and how long it took."""
        if len(self) == 1:
            (row,) = self
            cost, latency, concurrency = row.cost_usd, row.latency_s, row.concurrency
            known = () if concurrency is None or latency is None else (concurrency,)
            if row.outcome == "error":
                return CaseFigures(cost, None, bool(cost), known)
            return CaseFigures(cost, latency, True, known)
        rows = self.rows
        costs = [row.cost_usd for row in rows if row.cost_usd is not None]
        latencies = answered_latencies(rows)
        return CaseFigures(
            sum(costs) / len(costs) if costs and len(costs) == len(rows) else None,
            math.fsum(latencies) / len(latencies) if latencies else None,
            any(row.outcome != "error" or row.cost_usd for row in rows),
            tuple(row.concurrency for row in rows if row.concurrency is not None and row.latency_s is not None),
        )

    @property
    def independent_samples(self) -> int:
        """Samples that tell something new: one when all answers were byte-identical."""
        rows = self.rows
        answers = {row.answer_digest for row in rows if row.outcome != "error"}
        if len(answers) == 1 and None not in answers:
            return 1
        return max(1, len(rows))

    def share(self, error_passes: bool) -> float:
        """Return the share of samples that passed; a missing unit counts as errors do."""
        rows = self.rows
        if not rows:
            return 1.0 if error_passes else 0.0
        return (self.passed + (self.errors if error_passes else 0)) / len(rows)

    def answered_share(self) -> float | None:
        """Return the share of samples with an outcome that passed, or None when there is none."""
        answered = self.passed + self.failed
        return self.passed / answered if answered else None


class CaseTallies:
    """The cases of one criterion by runtime."""

    def __init__(self, runtimes: dict[str, dict[str, CaseTally]]) -> None:
        self.runtimes = runtimes
        self._repeats: dict[str, dict[str, str]] = {}

    def counts(self, case: str) -> bool:
        """Return whether some runtime did not skip a case."""
        for cases in self.runtimes.values():
            counted = cases.get(case)
            if counted is not None and counted.rows:
                return True
        return False

    def repeats(self, runtime: str) -> dict[str, str]:
        """Return the cases that repeat an earlier case's request on a runtime, with that case.

        Nothing may be added afterwards.
        """
        repeats = self._repeats.get(runtime)
        if repeats is None:
            repeats = self._repeats[runtime] = {}
            cases = self.runtimes.get(runtime, {})
            rows = chain.from_iterable(cases.values())
            asked = [row.request_digest for row in rows if row.outcome != "skipped"]
            if len(set(asked)) == len(asked):
                return repeats
            first: dict[tuple[tuple[int, str], ...], str] = {}
            for case, counted in cases.items():
                request = counted.request
                if request is not None and first.setdefault(request, case) is not case:
                    repeats[case] = first[request]
        return repeats


class CriterionTally:
    """All that was observed of one criterion."""

    def __init__(self, criterion: str, collected: Sequence[str] = ()) -> None:
        """Start with nothing observed.

        Args:
            criterion: Id of the criterion.
            collected: Its case ids in the order of collection.
        """
        self.criterion = criterion
        self.runtimes: dict[str, dict[str, CaseTally]] = {}
        self._tallies = CaseTallies(self.runtimes)
        self._slice_of: dict[str, str | None] = dict.fromkeys(collected)
        self._views: dict[str | None, View] = {}

    def add(self, row: Observation) -> None:
        """Count one more observation."""
        self.add_all((row,))

    def add_all(self, rows: Iterable[Observation]) -> None:
        """Count more observations."""
        runtimes, slice_of = self.runtimes, self._slice_of
        for row in rows:
            name = row.case
            cases = runtimes.get(row.runtime)
            if cases is None:
                cases = runtimes[row.runtime] = {}
            case = cases.get(name)
            if case is not None:
                case.append(row)
                continue
            cases[name] = CaseTally((row,))
            if row.slice is not None or name not in slice_of:
                slice_of[name] = row.slice

    def slices(self) -> list[str]:
        """Return the names of the criterion's slices, sorted; none when it has no slices."""
        return sorted({name for name in self._slice_of.values() if name is not None})

    def view(self, slice_name: str | None) -> View:
        """Return the cases of a slice (None: all cases). Nothing may be added afterwards."""
        view = self._views.get(slice_name)
        if view is None:
            observed = set().union(*self.runtimes.values())
            cases = [
                case
                for case, name in self._slice_of.items()
                if case in observed and (slice_name is None or name == slice_name)
            ]
            view = self._views[slice_name] = self.among(cases)
        return view

    def among(self, cases: list[str]) -> View:
        """Return some of the observed cases. Nothing may be added afterwards."""
        return View(self._tallies, cases)


class Column(NamedTuple):
    """What one runtime did on the cases of a view."""

    cases: list[CaseTally | None]
    """Aligned with the view's cases; None where it has no sample that was not skipped."""
    samples: list[Observation]
    """Its samples, without those that were skipped."""
    found: list[Found]
    """The outcome of each case."""


class OutcomeBits(NamedTuple):
    """The outcomes of one runtime on the cases of a view, one bit a case and the last case's lowest.

    Two runtimes are compared on all cases at once by the machine's own arithmetic.
    """

    passed: int
    failed: int


def _places(founds: Sequence[Found], outcome: Found) -> int:
    """Return the bits of the cases that have an outcome."""
    return int("0" + "".join(["1" if on_case == outcome else "0" for on_case in founds]), 2)


class View:
    """The cases of one slice of a criterion, as units per runtime."""

    def __init__(self, tallies: CaseTallies, observed: list[str]) -> None:
        """Keep the observed cases that count: those that some runtime did not skip."""
        self.tallies = tallies
        self.observed = observed
        self.cases = [case for case in observed if tallies.counts(case)]
        self._columns: dict[str, Column] = {}
        self._plain: dict[str, bool] = {}
        self._bits: dict[str, OutcomeBits] = {}
        self._figures: dict[str, list[CaseFigures | None]] = {}

    def column(self, runtime: str) -> Column:
        """Return what a runtime did on each case."""
        column = self._columns.get(runtime)
        if column is None:
            counted = self.tallies.runtimes.get(runtime, {})
            if all(map(counted.__contains__, self.cases)):
                # By far the most frequent: one sample of each case, so that there is nothing to merge.
                tallies: list[CaseTally | None] = [counted[case] for case in self.cases]
                samples = list(chain.from_iterable(counted[case] for case in self.cases))
                found: list[Found] = [row.outcome for row in samples if row.outcome != "skipped"]
                if len(tallies) == len(found) == len(samples):
                    column = self._columns[runtime] = Column(tallies, samples, found)
                    return column
            column = self._columns[runtime] = Column([], [], [])
            for case in self.cases:
                one = counted.get(case)
                rows: Sequence[Observation] = one.rows if one is not None else ()
                column.cases.append(one if rows else None)
                column.samples.extend(rows)
                column.found.append("missing" if one is None else one.found)
        return column

    def samples(self, runtime: str) -> list[Observation]:
        """Return a runtime's samples on the cases, without those that were skipped."""
        return self.column(runtime).samples

    def found(self, runtime: str) -> list[Found]:
        """Return what is known of each case on a runtime, in the order of ``cases``."""
        return self.column(runtime).found

    def figures(self, runtime: str) -> list[CaseFigures | None]:
        """Return cost and latency of each case on a runtime; None where it has no sample."""
        figures = self._figures.get(runtime)
        if figures is None:
            cases = self.column(runtime).cases
            figures = self._figures[runtime] = [None if case is None else case.figures for case in cases]
        return figures

    def bits(self, runtime: str) -> OutcomeBits:
        """Return which of the cases a runtime passed and which it failed."""
        bits = self._bits.get(runtime)
        if bits is None:
            found = self.column(runtime).found
            bits = self._bits[runtime] = OutcomeBits(_places(found, "passed"), _places(found, "failed"))
        return bits

    def cases_at(self, places: int) -> tuple[str, ...]:
        """Return the cases at the places whose bit is set."""
        cases = []
        while places:
            place = places.bit_length() - 1
            cases.append(self.cases[-1 - place])
            places ^= 1 << place
        return tuple(cases)

    def skipped(self, runtime: str) -> int:
        """Return how many of the observed cases a runtime has skipped samples of and no others."""
        counted = self.tallies.runtimes.get(runtime, {})
        present = self.column(runtime).cases
        return sum(case in counted for case in self.observed) - len(present) + present.count(None)

    def plain(self, runtime: str) -> bool:
        """Return whether every case is a unit of its own with at most one sample on a runtime."""
        plain = self._plain.get(runtime)
        if plain is None:
            cases, samples, _ = self.column(runtime)
            single = len(samples) == len(cases) - cases.count(None)
            plain = self._plain[runtime] = single and not self.tallies.repeats(runtime)
        return plain

    def groups(self, *runtimes: str) -> list[tuple[str, ...]]:
        """Return the cases in groups that made identical requests on one of the runtimes."""
        repeats = [groups for groups in (self.tallies.repeats(runtime) for runtime in runtimes) if groups]
        if not repeats:
            return [(case,) for case in self.cases]
        leader = {case: case for case in self.cases}

        def find(case: str) -> str:
            while leader[case] != case:
                case = leader[case]
            return case

        for first_of in repeats:
            # The first case of a request may lie in another slice: those that do not are still one unit.
            here: dict[str, str] = {}
            for case in self.cases:
                first = first_of.get(case, case)
                other = here.setdefault(first, case)
                if other != case:
                    leader[find(case)] = find(other)
        members: dict[str, list[str]] = {}
        for case in self.cases:
            members.setdefault(find(case), []).append(case)
        return [tuple(group) for group in members.values()]

    def asked(self, runtime: str) -> View:
        """Return the view without the cases that adaptive sampling left out on a runtime."""
        counted = self.tallies.runtimes.get(runtime, {})
        cases = [case for case in self.observed if case not in counted or not counted[case].spared]
        return self if len(cases) == len(self.observed) else View(self.tallies, cases)

    def unit(self, group: tuple[str, ...], runtime: str) -> CaseTally:
        """Return what a runtime did on a group of cases."""
        counted = self.tallies.runtimes.get(runtime, {})
        if len(group) == 1:
            return counted.get(group[0]) or CaseTally()
        merged = CaseTally()
        for case in group:
            merged += counted[case].rows if case in counted else ()
        return merged

    def independent(self, group: tuple[str, ...], runtime: str) -> int:
        """Return how many samples of a group tell something new on a runtime."""
        counted = self.tallies.runtimes.get(runtime, {})
        return max((counted[case].independent_samples for case in group if case in counted), default=1)


BROKEN_SHARE = 0.5
"""On so many of the baseline's cases a test must break to be taken for broken."""


def broken_test(counted: CriterionTally, baseline: str) -> str | None:
    """Return why a test seems broken, or None.

    A test that can make no sense of an answer, and fails by that and no assertion, is no word about the model
    where it does so on many answers of the model that is trusted today.
    """
    cases = [rows for case in counted.runtimes.get(baseline, {}).values() if (rows := case.rows)]
    broken = [next((row.data_error for row in rows if row.data_error is not None), None) for rows in cases]
    found = [text for text in broken if text is not None]
    if not found or len(found) < BROKEN_SHARE * len(cases):
        return None
    (most, _), *others = Counter(found).most_common()
    more = f" and {len(others)} more such" if others else ""
    number = f"{len(cases)} case{'s' * (len(cases) != 1)}"
    return f"{most}{more} in {len(found)} of the {number} of {baseline}"


def tally(
    observations: Iterable[Observation], collected: Mapping[str, Sequence[str]]
) -> dict[str, CriterionTally]:
    """Count observations by criterion.

    Args:
        observations: What was observed, in any order.
        collected: Per criterion its case ids in the order of collection.

    Returns:
        A tally for each criterion that was collected or observed.
    """
    by_criterion: defaultdict[str, list[Observation]] = defaultdict(list)
    for row in observations:
        by_criterion[row.criterion].append(row)
    tallies = {
        criterion: CriterionTally(criterion, collected.get(criterion, ()))
        for criterion in dict.fromkeys([*collected, *by_criterion])
    }
    for criterion, rows in by_criterion.items():
        tallies[criterion].add_all(rows)
    return tallies


class CasePair(NamedTuple):
    """What the baseline and a challenger did on one case."""

    baseline_rate: float
    challenger_rate: float
    baseline_samples: int
    """Independent samples: 1 where all answers of the case were byte-identical."""
    challenger_samples: int


class PairedTable(NamedTuple):
    """Regressions, improvements and pairs; the first two may be fractional."""

    regressions: float
    improvements: float
    pairs: int


def share_table(cases: Sequence[CasePair]) -> PairedTable:
    """Return the table of the differences in pass share, on the cases as they are."""
    differences = [case.challenger_rate - case.baseline_rate for case in cases]
    regressions = math.fsum(-d for d in differences if d < 0.0)
    return PairedTable(regressions, math.fsum(d for d in differences if d > 0.0), len(cases))


def mean_table(cases: Sequence[CasePair]) -> PairedTable:
    """Return the table of the mean differences on the effective number of cases."""
    regressions, improvements, n = share_table(cases)
    if n == 0:
        return PairedTable(0, 0, 0)
    differences = [case.challenger_rate - case.baseline_rate for case in cases]
    if all(case.baseline_samples == 1 == case.challenger_samples for case in cases):
        return PairedTable(regressions, improvements, n)
    mean = math.fsum(differences) / n
    variance = math.fsum((d - mean) ** 2 for d in differences) / n
    single = (regressions + improvements) / n - mean * mean
    units = sum(min(case.baseline_samples, case.challenger_samples) for case in cases)
    if single <= 1e-12:
        gain = 1.0
    elif variance <= 1e-12:
        gain = units / n
    else:
        gain = min(max(single / variance, 1.0), units / n)
    effective = max(n, math.floor(n * gain + 1e-9))
    scale = effective / n
    return PairedTable(regressions * scale, improvements * scale, effective)


def flip_table(cases: Iterable[CasePair]) -> PairedTable:
    """Return the table of the cases whose pass share changed by half or more."""
    regressions = improvements = pairs = 0
    for case in cases:
        pairs += 1
        difference = case.challenger_rate - case.baseline_rate
        if difference <= -0.5 + 1e-9:
            regressions += 1
        elif difference >= 0.5 - 1e-9:
            improvements += 1
    return PairedTable(regressions, improvements, pairs)


def pass_hat_k(counts: Iterable[tuple[int, int]]) -> float | None:
    """Return the probability that k samples of a case all pass, averaged over the cases.

    Args:
        counts: Per case the number of samples that passed and the number of samples. k is the smallest
            number of samples that any case has.

    Returns:
        The mean of C(passed, k) / C(samples, k), or None when there is no case.
    """
    cases = [case for case in counts if case[1] > 0]
    if not cases:
        return None
    k = min(samples for _, samples in cases)
    return math.fsum(math.comb(passed, k) / math.comb(samples, k) for passed, samples in cases) / len(cases)
