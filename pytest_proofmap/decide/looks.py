"""Evidence over time: adding cases after a look at the verdict, without paying for it in false promotions.

*Planned looks* share the error: the k-th look, at all cases so far, counts its p-value 2^k times, so that over all
looks less than alpha is spent (half at the first, a quarter at the second; a union bound). *Open* looks carry the
bets of adaptive sampling from run to run: by Ville's inequality their wealth ever reaches 1/p with probability at
most p, whenever one looks (Waudby-Smith & Ramdas 2024, Estimating means of bounded random variables by betting,
JRSS B 86:1-27).

What was seen before is told by a state for each criterion, slice and challenger: the digests of the cases that it
has consumed, how many there were at each look, and the bets. It knows nothing of the time. A case whose request
was consumed before tells nothing new.

Drift that may be watched: the same cases asked again and again, false alarms bounded over all looks together.

Look t compares the new answers with those of one reference run by the exact conditional test of McNemar (1947,
Note on the sampling error of the difference between correlated proportions or percentages, Psychometrika
12:153-157), each direction at half of 6 alpha / (pi^2 t^2), shared by the runtimes. These levels sum to alpha, so
that by the union bound the probability of any false alarm ever is at most alpha, although the reference is one
noisy draw that is compared with each time.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from pytest_proofmap.decide.adaptive import Bets, Wealth, case_order, place_bets
from pytest_proofmap.decide.bars import Assessment, is_observed
from pytest_proofmap.decide.compare import ALPHA, RatioDrift, measured_twice, rate_drifts, ratio_drifts
from pytest_proofmap.decide.stats.binomial import binomial_at_least
from pytest_proofmap.decide.tally import View
from pytest_proofmap.evidence.fingerprints import criterion_parts
from pytest_proofmap.evidence.models import Bar, CellLook, Criterion, Evidence, Objective, RuntimeInfo

__all__ = [
    "History",
    "LookKey",
    "LookState",
    "Taken",
    "Watch",
    "at_look",
    "hypothesis_of",
    "is_last",
    "join_states",
    "level_of_look",
    "recorded",
    "take_look",
    "watch",
]


Mode = Literal[2, 3, "open"]

_SEED = 0
"""New cases are bet on in an order that nothing but their names decides."""


class LookKey(NamedTuple):
    """What a state is kept for."""

    criterion: str
    slice: str | None
    challenger: str


class LookState(NamedTuple):
    """What the looks so far have seen of one challenger."""

    mode: Mode
    hypothesis: str
    """Digest of all that makes it the same question: bar, prompt, criterion and runtimes."""
    looks: tuple[int, ...] = ()
    """How many cases had been consumed at the end of each look."""
    cases: tuple[str, ...] = ()
    """Digests of the consumed cases in their order: of the name, a dot, of the request."""
    restarts: int = 0
    """How often the question was another one, and began anew."""
    wealth: Wealth | None = None
    """Of the bets of open looks."""


History = Mapping[LookKey, LookState]


class Taken(NamedTuple):
    """What a run means to a state."""

    state: LookState
    look: CellLook


def hypothesis_of(
    criterion: Criterion, objective: Objective, challenger: str, runtimes: Mapping[str, RuntimeInfo]
) -> str:
    """Return the digest of the question that looks at a challenger ask.

    Prompts are no part of it: a changed one shows in the requests of cases that were consumed before.
    """
    parts = criterion_parts(criterion.fingerprint)
    bar = criterion.bar
    asked = (
        bar.model_dump_json(exclude={"baseline_must_pass"}),
        parts.get("source", ""),
        *(runtimes[name].fingerprint if name in runtimes else name for name in (objective.baseline, challenger)),
    )
    return _digest("\n".join(asked))


def take_look(
    state: LookState | None,
    mode: Mode,
    hypothesis: str,
    view: View,
    baseline: str,
    challenger: str,
    margin: float | None,
    seen: LookState | None = None,
) -> Taken:
    """Look at the cases of a run.

    Args:
        state: What was seen before; None: nothing.
        mode: The looks that mark or configuration allow.
        hypothesis: The digest of the question.
        view: The cases of the run.
        baseline: Name of the baseline.
        challenger: Name of the challenger.
        margin: The tolerated loss of pass rate, for open looks.
        seen: What else is known to have been seen before, as on a branch that is not merged: of the same question
            its looks add up with those of the state.
    """
    theirs, ours = (view.tallies.runtimes.get(name, {}) for name in (challenger, baseline))
    order = case_order(_SEED, "looks", (case for case in view.cases if case in theirs and theirs[case].rows))
    asked: dict[str, str] = {}
    for case in order:
        request = (theirs[case].request, ours[case].request if case in ours else None)
        asked[case] = f"{_digest(case)}.{_digest(repr(request) if any(request) else case)}"
    before = [known for known in (state, seen) if known is not None]
    restarts = max((known.restarts for known in before), default=-1)
    same = [known for known in before if _is_same(known, mode, hypothesis, asked.values())]
    counted = len(state.looks) if state in same and state is not None else 0
    state = functools.reduce(join_states, same) if same else LookState(mode, hypothesis, restarts=restarts + 1)
    put_back = len(state.looks) - counted
    known = {_request(entry) for entry in state.cases}
    new: dict[str, str] = {}
    for case, entry in asked.items():
        if _request(entry) not in known:
            known.add(_request(entry))
            new[case] = entry
    refused: list[str] = []
    if new and mode != "open" and len(state.looks) >= mode:
        refused = list(new)
    elif new:
        wealth = state.wealth
        if mode == "open" and margin is not None:
            bets = place_bets(view, list(new), baseline, challenger, margin, Bets(margin, wealth))
            wealth = bets.wealth
        cases = (*state.cases, *new.values())
        state = state._replace(looks=(*state.looks, len(cases)), cases=cases, wealth=wealth)
    return Taken(state, _look(state, refused, margin, put_back))


def _look(state: LookState, refused: list[str], margin: float | None, put_back: int) -> CellLook:
    wealth = state.wealth
    return CellLook(
        planned=state.mode,
        number=max(1, len(state.looks)),
        restarts=state.restarts,
        cases=len(state.cases),
        refused=refused,
        most_acceptable=None if wealth is None else wealth.most_acceptable,
        most_worse=None if wealth is None else wealth.most_worse,
        margin=None if wealth is None else margin,
        put_back=put_back or None,
    )


def recorded(
    look: CellLook | None, mode: Mode, view: View, baseline: str, challenger: str, margin: float | None
) -> Taken:
    """Return the look that an artifact was decided by, or the first one where it holds none.

    Under another margin than the bets were placed at, what came before the artifact's own cases is not known.
    """
    first = take_look(None, mode, "", view, baseline, challenger, margin)
    if look is None or look.planned != mode:
        # Which look it was nobody knows any more: of planned ones it counts as the last.
        return first if mode == "open" else first._replace(look=first.look.model_copy(update={"number": mode}))
    if mode == "open" and look.margin not in (None, margin):
        return first
    return first._replace(look=look)


def join_states(ours: LookState, theirs: LookState) -> LookState:
    """Return what two branches that both looked have seen together: the looks add up, never fewer.

    The bets are those of the side that consumed more, whatever came of them: what the other side saw counts as
    consumed, and is bet on by nobody.
    """
    if (ours.mode, ours.hypothesis) != (theirs.mode, theirs.hypothesis):
        later = max(ours, theirs, key=lambda state: state.restarts)
        return later._replace(restarts=max(ours.restarts, theirs.restarts) + (ours.restarts == theirs.restarts))
    same = 0
    for left, right in zip(ours.looks, theirs.looks, strict=False):
        if left != right or ours.cases[:left] != theirs.cases[:right]:
            break
        same += 1
    more, fewer = (ours, theirs) if len(ours.cases) >= len(theirs.cases) else (theirs, ours)
    known = {_request(entry) for entry in more.cases}
    cases = (*more.cases, *(entry for entry in fewer.cases if _request(entry) not in known))
    looks = (*more.looks, *(len(cases) for _ in fewer.looks[same:]))
    return more._replace(looks=looks, cases=cases, restarts=max(ours.restarts, theirs.restarts))


def at_look(bar: Bar, assessment: Assessment, look: CellLook) -> Assessment:
    """Return an assessment as what it is at one of several looks."""
    if is_observed(bar) or assessment.blocks or assessment.hard_failure:
        return assessment
    if look.planned == "open":
        return assessment._replace(p_unsafe=p_open(look.most_acceptable), p_worse=p_open(look.most_worse))
    return assessment._replace(spent=2.0**look.number)


def is_last(look: CellLook) -> bool:
    """Return whether further cases would change nothing any more."""
    return look.planned != "open" and look.number >= look.planned


def p_open(log_wealth: float | None) -> float:
    """Return the p-value of open looks from the logarithm of the greatest wealth."""
    return 1.0 if log_wealth is None else min(1.0, math.exp(-log_wealth))


def _is_same(state: LookState, mode: Mode, hypothesis: str, asked: Collection[str]) -> bool:
    """Return whether the question of earlier looks is the one that is asked now."""
    return (state.mode, state.hypothesis) == (mode, hypothesis) and not _is_reworded(state, asked)


def _is_reworded(state: LookState, asked: Collection[str]) -> bool:
    """Return whether every case that was consumed before asks something else now: the prompt is another one."""
    before = dict(entry.split(".", 1) for entry in state.cases)
    again = [entry.split(".", 1) for entry in asked if entry.split(".", 1)[0] in before]
    return bool(again) and all(before[name] != request for name, request in again)


def _request(entry: str) -> str:
    return entry.partition(".")[2]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class WatchedRate(NamedTuple):
    """A runtime's pass rate at one look, over all criteria."""

    runtime: str
    old: float
    new: float
    cases: int
    regressed: tuple[str, ...]
    """Cases that passed and now fail."""
    improved: tuple[str, ...]
    p_drop: float
    p_rise: float
    level: float
    """What either p-value must not exceed to be an alarm."""

    @property
    def alarm(self) -> str | None:
        """Which way the rate moved beyond what chance explains over all looks: ``dropped``, ``rose`` or None."""
        if self.p_drop <= self.level:
            return "dropped"
        return "rose" if self.p_rise <= self.level else None


class Watch(NamedTuple):
    """One look."""

    look: int
    rates: list[WatchedRate]
    costs: list[RatioDrift]
    latencies: list[RatioDrift]

    @property
    def alarms(self) -> list[WatchedRate]:
        """The rates that moved."""
        return [rate for rate in self.rates if rate.alarm is not None]


def level_of_look(look: int, alpha: float = ALPHA) -> float:
    """Return what a look may spend of alpha: over all looks without end just alpha."""
    return 6.0 * alpha / (math.pi**2 * look**2)


def watch(old: Evidence, new: Evidence, look: int, alpha: float = ALPHA) -> Watch:
    """Compare new answers with a reference's, at one of any number of looks.

    Args:
        old: The reference, such as the approved run.
        new: The same cases, asked again.
        look: Which comparison with this reference it is, from 1.
        alpha: The probability of any false alarm over all looks.
    """
    measured = measured_twice(old, new)
    pooled = [rate for rate in rate_drifts(measured, old, new) if rate.criterion is None]
    level = level_of_look(look, alpha) / 2.0 / max(1, len(pooled))
    rates = []
    for rate in pooled:
        down, up = len(rate.regressed), len(rate.improved)
        p_drop, p_rise = (binomial_at_least(moved, down + up, 0.5) for moved in (down, up))
        rates.append(
            WatchedRate(
                rate.runtime, rate.old, rate.new, rate.cases, rate.regressed, rate.improved, p_drop, p_rise, level
            )
        )
    ratios = ratio_drifts(measured)
    return Watch(look, rates, ratios.costs, ratios.latencies)
