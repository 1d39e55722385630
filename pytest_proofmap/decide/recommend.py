"""What to run an objective on: a chain per slice, and the reason for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.economics import CASES_FOR_P95, Economics, OwnFigures, Ratio, compare, own_figures
from pytest_proofmap.decide.reasons import Reason, ReasonCode
from pytest_proofmap.decide.tally import View
from pytest_proofmap.decide.verdict import CriterionVerdicts, ObjectiveVerdicts
from pytest_proofmap.decide.wording import count, figure, is_even, observed_loss, put_back_text, restarts_text
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

GAIN_CONFIDENCE = 0.95
"""Two-sided confidence of the interval that a gain must be proven by. Its lower end is a one-sided 97.5 % point:
the 95 % point of the jackknife errs in 7 to 15 % of draws in place of 5."""

_CODES_OF_UNKNOWN: dict[str, ReasonCode] = {"the baseline costs nothing": "no_gain"}


class _Candidate(NamedTuple):
    """A qualified challenger and what it would bring."""

    name: str
    economics: Economics
    figures: OwnFigures
    objection: Reason | None
    """Why it may not be in the chain at all."""
    regressions: int
    """Cases that got worse, or that fail where there is nothing to compare with."""


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
    qualified = [
        _candidate(objective, criteria, name, slice_name, views)
        for name in (verdict.runtime for verdict in verdicts if verdict.status == "qualified")
    ]
    eligible = [candidate for candidate in qualified if candidate.objection is None]
    better = [candidate for candidate in eligible if _is_proven(objective, candidate)]
    chosen = min(better, key=lambda candidate: (-_gain(objective, candidate), candidate.regressions), default=None)
    code: ReasonCode
    if objective.sensitive:
        chain, code = [objective.baseline], "sensitive"
        reason = "sensitive: the baseline stays alone until a person allows another runtime"
        if chosen is not None:
            reason += f" ({chosen.name} qualifies: {_gains(objective, chosen)})"
        chosen = None
    else:
        backups = sorted(
            (backup for backup in eligible if backup is not chosen),
            key=lambda backup: (-_cheapness(backup.economics), backup.regressions),
        )
        names = [backup.name for backup in backups]
        if chosen is not None:
            chain, code = [chosen.name, *names, objective.baseline], "promoted"
            reason = f"{_gains(objective, chosen)}, {_regressions(criteria, slice_name, chosen.name)}"
            if slice_name is None:
                reason += _unproven(together, chosen.name)
        else:
            chain = [objective.baseline, *names]
            code, reason = _retained(objective, verdicts, qualified)
    passes = {name: _passes(views, name) for name in chain}
    cost = chosen.economics.cost if chosen else None
    speed = chosen.economics.speed if chosen else None
    return Recommendation(
        slice=slice_name,
        chain=chain,
        reason=reason,
        reason_code=code,
        cost_ratio=cost.estimate if cost else None,
        latency_ratio=speed.estimate if speed else None,
        cost_interval=cost.interval if cost else None,
        latency_interval=speed.interval if speed else None,
        fallbacks=_fallbacks(chain, passes),
        joint_pass_rate=_joint_pass_rate(passes),
        outage_proof=_outage_proof(chain, runtimes),
        warnings=[
            *_warnings(objective, chain, chosen, views, runtimes),
            *_restarts(criteria, together, slice_name),
        ],
    )


def _candidate(
    objective: Objective,
    criteria: Sequence[CriterionVerdicts],
    name: str,
    slice_name: str | None,
    views: Sequence[View],
) -> _Candidate:
    """Return what speaks for and against a qualified challenger."""
    figures = own_figures(views, name)
    objection = _above_ceiling(objective, figures)
    if slice_name is None and objection is None:
        objection = next(_slice_objections(criteria, name), None)
    economics = compare(views, objective.baseline, name, GAIN_CONFIDENCE)
    seen = _worse_cases(criteria, slice_name, name)
    return _Candidate(name, economics, figures, objection, seen.regressions if seen.compared else seen.failed)


def _above_ceiling(objective: Objective, figures: OwnFigures) -> Reason | None:
    """Return which service ceiling a runtime breaks or was never shown to keep."""
    if objective.p95_latency_s is not None:
        slow, ceiling = figures.slow_end, f"the ceiling of {objective.p95_latency_s:g} s"
        which = "p95" if figures.latency.n >= CASES_FOR_P95 else f"maximum of {figures.latency.n}"
        if slow is None:
            return Reason("ceiling_unverified", f"its latency is unknown, so {ceiling} is unverified")
        if slow > objective.p95_latency_s:
            return Reason("above_ceiling", f"its latency ({which}: {slow:.2f} s) is above {ceiling}")
    if objective.max_cost_per_1k_usd is not None:
        ceiling = f"the ceiling of ${objective.max_cost_per_1k_usd:g}"
        if figures.cost_per_1k is None:
            return Reason("ceiling_unverified", f"its cost is unknown, so {ceiling} is unverified")
        if figures.cost_per_1k > objective.max_cost_per_1k_usd:
            return Reason("above_ceiling", f"its cost (${figures.cost_per_1k:.4g} per 1,000) is above {ceiling}")
    return None


def _slice_objections(criteria: Sequence[CriterionVerdicts], name: str) -> Iterator[Reason]:
    """Yield on which slices one runtime for everything would do harm, as far as is known.

    All cases together hide a slice that gets worse, and the more slices there are the less a corrected test would
    see of it. So nothing is tested here: a slice that is not qualified, that has no verdict, or that lost more
    than its bar tolerates is enough.
    """
    for criterion in criteria:
        for (where, runtime), judged in criterion.judged.items():
            if where is None or runtime != name:
                continue
            found = judged.assessment
            if judged.cell.status == "not_qualified":
                yield Reason("slice_objection", f"it is not qualified on {where}: {judged.cell.reason}")
            elif found.blocks:
                yield Reason("slice_objection", f"there is no verdict on {where}: {judged.cell.reason}")
            elif (loss := observed_loss(criterion.bar, found)) is not None:
                yield Reason("slice_objection", f"{loss} on {where}")


def _unproven(together: ObjectiveVerdicts, name: str) -> str:
    """Return on how many slices a runtime for everything is not proven by itself."""
    statuses = together.statuses(name)
    unproven = sum(1 for status in statuses.values() if status != "qualified")
    return f", unproven on {unproven} of {count(len(statuses), 'slice')}" if unproven else ""


def _gain(objective: Objective, candidate: _Candidate) -> float:
    """Return the ratio by which a candidate beats the baseline on the measure that counts; 0 where it is unknown.

    So rounded that the order of a sum parts nobody.
    """
    if objective.optimize == "cost":
        return _cheapness(candidate.economics)
    speed = candidate.economics.speed
    return float(f"{speed.estimate:.9g}") if speed else 0.0


def _cheapness(economics: Economics) -> float:
    """Return how many times cheaper than the baseline a runtime is; 0 where it is unknown."""
    if economics.free:
        return math.inf
    return float(f"{economics.cost.estimate:.9g}") if economics.cost else 0.0


def _is_proven(objective: Objective, candidate: _Candidate) -> bool:
    """Return whether a candidate is shown to beat the baseline on the measure that counts."""
    if objective.optimize == "cost" and candidate.economics.free:
        return True
    ratio = candidate.economics.cost if objective.optimize == "cost" else candidate.economics.speed
    return ratio is not None and ratio.interval is not None and ratio.interval.low > 1.0 + 1e-9


def _times(ratio: Ratio, word: str) -> str:
    """Return a ratio in words: ``17× cheaper (14–21×)``."""
    text = f"{figure(ratio.estimate)}× {word}"
    if ratio.interval is None:
        return text
    low, high = figure(ratio.interval.low), figure(ratio.interval.high)
    return f"{text} ({low}–{high}×)" if low != high else text


def _gains(objective: Objective, candidate: _Candidate) -> str:
    """Return what a candidate brings, the measure that counts first."""
    cost, speed = candidate.economics.cost, candidate.economics.speed
    parts = []
    if candidate.economics.free:
        parts.append("free of charge, which the baseline is not")
    elif cost is not None and is_even(cost.estimate):
        parts.append("at the same cost")
    elif cost is not None:
        costlier = f"{figure(1.0 / cost.estimate)}× the cost"
        parts.append(_times(cost, "cheaper") if cost.estimate > 1.0 else costlier)
    if speed is not None and is_even(speed.estimate):
        parts.append("as fast")
    elif speed is not None:
        slower = f"{figure(1.0 / speed.estimate)}× slower"
        parts.append(_times(speed, "faster") if speed.estimate > 1.0 else slower)
    if objective.optimize == "latency":
        parts.reverse()
    return ", ".join(parts)


class _WorseCases(NamedTuple):
    """How many cases got worse, over all criteria."""

    regressions: int
    compared: int
    failed: int
    total: int


def _worse_cases(criteria: Sequence[CriterionVerdicts], slice_name: str | None, name: str) -> _WorseCases:
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
    return _WorseCases(regressions, compared, failed, total)


def _regressions(criteria: Sequence[CriterionVerdicts], slice_name: str | None, name: str) -> str:
    """Return how many cases got worse, in words."""
    seen = _worse_cases(criteria, slice_name, name)
    if seen.compared:
        return f"{count(seen.regressions, 'regression')} in {seen.compared}"
    return f"{count(seen.failed, 'failure')} in {seen.total}"


def _retained(
    objective: Objective, verdicts: Sequence[ObjectiveVerdict], qualified: Sequence[_Candidate]
) -> Reason:
    """Return why the baseline stays."""
    if not qualified:
        failed = [verdict.runtime for verdict in verdicts if verdict.status == "not_qualified"]
        open_ = [verdict.runtime for verdict in verdicts if verdict.status == "insufficient"]
        parts = []
        if failed:
            parts.append(f"{', '.join(failed)} not qualified")
        if open_:
            parts.append(f"not enough evidence for {', '.join(open_)}")
        return Reason("none_qualified", f"baseline kept: {'; '.join(parts) or 'no challenger'}")
    reasons = [_but(objective, verdict) for verdict in qualified]
    told = "; ".join(
        f"{verdict.name} qualifies, but {reason.text}" for verdict, reason in zip(qualified, reasons, strict=True)
    )
    return Reason(reasons[0].code, f"baseline kept: {told}")


def _but(objective: Objective, candidate: _Candidate) -> Reason:
    """Return why a qualified candidate is not chosen."""
    if candidate.objection is not None:
        return candidate.objection
    economics = candidate.economics
    by_cost = objective.optimize == "cost"
    ratio, word = (economics.cost, "cheaper") if by_cost else (economics.speed, "faster")
    if ratio is None:
        withheld = (economics.cost_withheld if by_cost else economics.speed_withheld) or f"is not {word}"
        return Reason(_CODES_OF_UNKNOWN.get(withheld, "gain_unknown"), withheld)
    if ratio.estimate <= 1.0:
        return Reason("no_gain", f"is not {word}")
    if ratio.interval is None:
        return Reason("gain_unproven", f"{_times(ratio, word)} is not proven: there are too few cases")
    return Reason("gain_unproven", f"{_times(ratio, word)} is not proven to be {word} at all")


def _passes(views: Sequence[View], runtime: str) -> list[bool | None]:
    """Return for each case whether a runtime passes it; None where it was not run."""
    outcomes = (outcome for view in views for outcome in view.found(runtime))
    return [None if outcome == "missing" else outcome == "passed" for outcome in outcomes]


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
    by_case = [rungs for rungs in zip(*passes.values(), strict=True) if any(rung is not None for rung in rungs)]
    return sum(1 for rungs in by_case if any(rungs)) / len(by_case) if by_case else None


def _outage_proof(chain: Sequence[str], runtimes: Mapping[str, RuntimeInfo]) -> bool | None:
    """Return whether the chain outlives any one provider; None when a provider is unknown."""
    if any(name not in runtimes for name in chain):
        return None
    return len({runtimes[name].provider for name in chain}) > 1


def _restarts(
    criteria: Sequence[CriterionVerdicts], together: ObjectiveVerdicts, slice_name: str | None
) -> Iterator[str]:
    """Yield whose looks began anew, each time another chance to be wrong, or were lost and count all the same."""
    for verdict in together.by_slice[slice_name]:
        looks = [
            judged.cell.look
            for criterion in criteria
            if (judged := criterion.on(slice_name, verdict.runtime)) is not None
        ]
        restarts = max((look.restarts for look in looks if look is not None), default=0)
        if restarts:
            yield f"the looks at {verdict.runtime} were {restarts_text(restarts)}"
        lost = max((look.put_back or 0 for look in looks if look is not None), default=0)
        if lost:
            yield f"{put_back_text(lost)} (at {verdict.runtime})"


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
            warnings.append(f"the baseline {objective.baseline} itself: {objection.text}")
    return warnings
