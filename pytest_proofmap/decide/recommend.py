"""What to run an objective on: a chain per slice, and the reason for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.economics import Economics, OwnFigures, compare, own_figures
from pytest_proofmap.decide.objective import CriterionVerdicts, ObjectiveVerdicts
from pytest_proofmap.decide.ratios import CASES_FOR_P95, Ratio
from pytest_proofmap.decide.tally import View
from pytest_proofmap.decide.wording import count
from pytest_proofmap.evidence.models import (
    FallbackFigures,
    Objective,
    ObjectiveVerdict,
    Recommendation,
    RuntimeInfo,
)

__all__ = ["NOT_OUTAGE_PROOF", "recommend"]

NOT_OUTAGE_PROOF = "not outage-proof"
"""How the warning begins that one provider serves all of a chain."""

_DOMINANT = 0.2


class _Candidate(NamedTuple):
    """A qualified challenger and what it would bring."""

    name: str
    economics: Economics
    figures: OwnFigures
    objection: str | None
    """Why it may not be in the chain at all, in words."""


def recommend(
    objective: Objective,
    criteria: Sequence[CriterionVerdicts],
    together: ObjectiveVerdicts,
    slice_name: str | None,
    views: Sequence[View],
    runtimes: Mapping[str, RuntimeInfo],
) -> Recommendation:
    """Recommend a chain for an objective's slice (None: one chain for everything).

    Args:
        objective: The objective, with what it optimizes and its service ceilings.
        criteria: Its criteria's verdicts.
        together: Its own verdicts.
        slice_name: The slice.
        views: The cases of each criterion that count towards the slice.
        runtimes: The runtimes as configured, for their providers.
    """
    verdicts = together.by_slice[slice_name]
    confidence = criteria[0].bar.confidence if criteria else 0.95
    qualified = [
        _candidate(objective, criteria, name, slice_name, views, confidence)
        for name in (verdict.runtime for verdict in verdicts if verdict.status == "qualified")
    ]
    eligible = [candidate for candidate in qualified if candidate.objection is None]
    better = [candidate for candidate in eligible if (_gain(objective, candidate) or 0.0) > 1.0]
    chosen = max(better, key=lambda one: _gain(objective, one) or 0.0, default=None)
    if objective.sensitive:
        chain = [objective.baseline]
        reason = "sensitive: the baseline stays alone until a person allows another runtime"
        if chosen is not None:
            reason += f" ({chosen.name} qualifies: {_gains(objective, chosen)})"
        chosen = None
    else:
        backups = sorted(
            (one for one in eligible if one is not chosen),
            key=lambda one: -(one.economics.cost.estimate if one.economics.cost else -math.inf),
        )
        names = [one.name for one in backups]
        if chosen is not None:
            chain = [chosen.name, *names, objective.baseline]
            reason = f"{_gains(objective, chosen)}, {_regressions(criteria, slice_name, chosen.name)}"
        else:
            chain = [objective.baseline, *names]
            reason = _retained(objective, verdicts, qualified)
    passes = {name: _passes(views, name) for name in chain}
    cost = chosen.economics.cost if chosen else None
    speed = chosen.economics.speed if chosen else None
    return Recommendation(
        slice=slice_name,
        chain=chain,
        reason=reason,
        cost_ratio=cost.estimate if cost else None,
        latency_ratio=speed.estimate if speed else None,
        cost_interval=cost.interval if cost else None,
        latency_interval=speed.interval if speed else None,
        fallbacks=_fallbacks(chain, passes),
        joint_pass_rate=_joint_pass_rate(passes),
        outage_proof=_outage_proof(chain, runtimes),
        warnings=_warnings(objective, chain, chosen, views, runtimes),
    )


def _candidate(
    objective: Objective,
    criteria: Sequence[CriterionVerdicts],
    name: str,
    slice_name: str | None,
    views: Sequence[View],
    confidence: float,
) -> _Candidate:
    """Return what speaks for and against a qualified challenger."""
    figures = own_figures(views, name)
    objection = _above_ceiling(objective, figures)
    if slice_name is None and objection is None:
        objection = _harm(criteria, name)
    return _Candidate(name, compare(views, objective.baseline, name, confidence), figures, objection)


def _above_ceiling(objective: Objective, figures: OwnFigures) -> str | None:
    """Return which service ceiling a runtime breaks or was never shown to keep."""
    if objective.p95_latency_s is not None:
        slow = figures.slow_end
        which = "p95" if figures.latency.n >= CASES_FOR_P95 else f"maximum of {figures.latency.n}"
        if slow is None:
            return f"its latency is unknown, so the ceiling of {objective.p95_latency_s:g} s is unverified"
        if slow > objective.p95_latency_s:
            return f"its latency ({which}: {slow:.2f} s) is above the ceiling of {objective.p95_latency_s:g} s"
    if objective.max_cost_per_1k_usd is not None:
        if figures.cost_per_1k is None:
            return f"its cost is unknown, so the ceiling of ${objective.max_cost_per_1k_usd:g} is unverified"
        if figures.cost_per_1k > objective.max_cost_per_1k_usd:
            return (
                f"its cost (${figures.cost_per_1k:.4g} per 1,000) is above the ceiling of "
                f"${objective.max_cost_per_1k_usd:g}"
            )
    return None


def _harm(criteria: Sequence[CriterionVerdicts], name: str) -> str | None:
    """Return which slice one runtime for everything would harm, corrected for the number of slices."""
    for criterion in criteria:
        by_slice = {
            where: judged
            for (where, runtime), judged in criterion.judged.items()
            if where is not None and runtime == name
        }
        for where, judged in by_slice.items():
            p_worse = judged.assessment.p_worse
            harmed = p_worse is not None and len(by_slice) * p_worse <= 1.0 - criterion.bar.confidence
            # A rate that decides as observed has no p-value: there the slice's own verdict says it.
            if harmed or (criterion.bar.confidence == 0 and judged.cell.status == "not_qualified"):
                return f"it would harm {where}: {judged.cell.reason}"
    return None


def _gain(objective: Objective, candidate: _Candidate) -> float | None:
    """Return the ratio by which a candidate beats the baseline on the measure that counts."""
    ratio = candidate.economics.cost if objective.optimize == "cost" else candidate.economics.speed
    return ratio.estimate if ratio else None


def _times(ratio: Ratio, word: str) -> str:
    """Return a ratio in words: ``17× cheaper (14–21×)``."""
    text = f"{_figure(ratio.estimate)}× {word}"
    if ratio.interval is None:
        return text
    low, high = _figure(ratio.interval.low), _figure(ratio.interval.high)
    return f"{text} ({low}–{high}×)" if low != high else text


def _even(ratio: Ratio) -> bool:
    """Return whether a ratio would be printed as 1."""
    return 0.95 < ratio.estimate < 1.05


def _figure(value: float) -> str:
    """Return a ratio with two meaningful digits."""
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 1.05 else f"{value:.2g}"


def _gains(objective: Objective, candidate: _Candidate) -> str:
    """Return what a candidate brings, the measure that counts first."""
    cost, speed = candidate.economics.cost, candidate.economics.speed
    parts = []
    if cost is not None and _even(cost):
        parts.append("at the same cost")
    elif cost is not None:
        dearer = f"{_figure(1.0 / cost.estimate)}× the cost"
        parts.append(_times(cost, "cheaper") if cost.estimate > 1.0 else dearer)
    if speed is not None and _even(speed):
        parts.append("as fast")
    elif speed is not None:
        slower = f"{_figure(1.0 / speed.estimate)}× slower"
        parts.append(_times(speed, "faster") if speed.estimate > 1.0 else slower)
    if objective.optimize == "latency":
        parts.reverse()
    return ", ".join(parts)


def _regressions(criteria: Sequence[CriterionVerdicts], slice_name: str | None, name: str) -> str:
    """Return how many cases got worse, over all criteria."""
    regressions = compared = failed = total = 0
    for criterion in criteria:
        judged = criterion.on(slice_name, name)
        if judged is None:
            continue
        failed += judged.assessment.counts.failed
        total += judged.assessment.counts.total
        if judged.assessment.pairs is not None:
            regressions += len(judged.assessment.pairs.regressed)
            compared += judged.assessment.pairs.total
    if compared:
        return f"{count(regressions, 'regression')} in {compared}"
    return f"{count(failed, 'failure')} in {total}"


def _retained(objective: Objective, verdicts: Sequence[ObjectiveVerdict], qualified: Sequence[_Candidate]) -> str:
    """Return why the baseline stays."""
    if not qualified:
        failed = [verdict.runtime for verdict in verdicts if verdict.status == "not_qualified"]
        open_ = [verdict.runtime for verdict in verdicts if verdict.status == "insufficient"]
        parts = []
        if failed:
            parts.append(f"{', '.join(failed)} not qualified")
        if open_:
            parts.append(f"not enough evidence for {', '.join(open_)}")
        return f"baseline kept: {'; '.join(parts) or 'no challenger'}"
    return "baseline kept: " + "; ".join(f"{one.name} qualifies, but {_but(objective, one)}" for one in qualified)


def _but(objective: Objective, candidate: _Candidate) -> str:
    """Return why a qualified candidate is not chosen."""
    if candidate.objection is not None:
        return candidate.objection
    if objective.optimize == "cost":
        return "is not cheaper" if candidate.economics.cost else "its cost or the baseline's is unknown"
    return candidate.economics.speed_withheld or "is not faster"


def _passes(views: Sequence[View], runtime: str) -> list[bool | None]:
    """Return for each case whether a runtime passes it; None where it was not run."""
    found = (one for view in views for one in view.found(runtime))
    return [None if one == "missing" else one == "passed" for one in found]


def _fallbacks(chain: Sequence[str], passes: Mapping[str, Sequence[bool | None]]) -> list[FallbackFigures]:
    """Return what each later rung does on the cases that the primary fails."""
    failing = [index for index, passed in enumerate(passes[chain[0]]) if passed is False]
    return [
        FallbackFigures(
            runtime=name,
            primary_failures=len(failing),
            rescued=sum(1 for index in failing if passes[name][index]),
        )
        for name in chain[1:]
    ]


def _joint_pass_rate(passes: Mapping[str, Sequence[bool | None]]) -> float | None:
    """Return the share of the cases that at least one rung passes."""
    by_case = [rungs for rungs in zip(*passes.values(), strict=True) if any(one is not None for one in rungs)]
    return sum(1 for rungs in by_case if any(rungs)) / len(by_case) if by_case else None


def _outage_proof(chain: Sequence[str], runtimes: Mapping[str, RuntimeInfo]) -> bool | None:
    """Return whether the chain outlives any one provider; None when a provider is unknown."""
    if any(name not in runtimes for name in chain):
        return None
    return len({runtimes[name].provider for name in chain}) > 1


def _warnings(
    objective: Objective,
    chain: Sequence[str],
    chosen: _Candidate | None,
    views: Sequence[View],
    runtimes: Mapping[str, RuntimeInfo],
) -> list[str]:
    """Return what a reader should know before approving the chain."""
    warnings = []
    if _outage_proof(chain, runtimes) is False:
        rungs = "every rung" if len(chain) > 1 else "the only rung"
        warnings.append(f"{NOT_OUTAGE_PROOF}: {runtimes[chain[0]].provider} serves {rungs}")
    if chosen is not None:
        cost = chosen.economics.cost
        if cost is not None and cost.cases > 1 and cost.largest_share > _DOMINANT:
            warnings.append(
                f"one case makes up {cost.largest_share:.0%} of a total cost, so the cost ratio hangs on it"
            )
        if chosen.economics.speed_withheld and chosen.economics.speed_withheld.startswith("the speed-up"):
            warnings.append(chosen.economics.speed_withheld)
    elif objective.p95_latency_s is not None or objective.max_cost_per_1k_usd is not None:
        objection = _above_ceiling(objective, own_figures(views, objective.baseline))
        if objection:
            warnings.append(f"the baseline {objective.baseline} itself: {objection}")
    return warnings
