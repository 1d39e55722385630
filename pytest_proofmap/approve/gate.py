"""Whether new evidence still bears the approved routes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pytest_proofmap.approve.models import Lock, LockedRuntime, Route, route_parts
from pytest_proofmap.approve.staleness import Fingerprints, changes, claims_of_route, way_out
from pytest_proofmap.evidence.models import Objective, ObjectiveVerdict

__all__ = ["GateFinding", "check_routes"]


class GateFinding(NamedTuple):
    """Something that speaks against an approved route."""

    route: str
    text: str
    next_step: str
    fails: bool
    """Whether it fails the run; else it warns."""


def check_routes(
    lock: Lock,
    objectives: Iterable[Objective],
    present: Fingerprints,
    *,
    whole: bool,
    strict: bool = False,
    evidence: str = "EVIDENCE",
) -> Iterator[GateFinding]:
    """Yield what speaks against the routes that a run has to do with.

    A route is judged when its objective or one of its criteria is in the run, or a criterion is gone for good;
    others were not selected.

    Args:
        lock: The approved routes.
        objectives: The objectives of the run with their verdicts.
        present: The fingerprints that now hold.
        whole: Whether all of the objectives' samples are in: else what is missing may only not have been selected.
        strict: Whether thin evidence fails too.
        evidence: The artifact's path, for the command to go on with.
    """
    by_name = {objective.name: objective for objective in objectives}
    stale: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    selected = {criterion for objective in by_name.values() for criterion in objective.criteria}
    for name, route in lock.routes.items():
        objective_name, slice_name = route_parts(name)
        objective = by_name.get(objective_name)
        changed = tuple(change.text for change in changes(claims_of_route(route, lock), present))
        gone = [criterion for criterion in route.criteria if present.criterion(criterion) is None]
        if objective is None and not gone and selected.isdisjoint(route.criteria):
            continue
        if objective is None:
            lost = f"criterion {gone[0]} is gone" if gone else "its criteria moved to another objective"
            yield GateFinding(name, f"the route {name} is not evaluated any more: {lost}", way_out(name), True)
            continue
        again = _again(evidence, objective_name)
        if changed:
            stale.setdefault((objective_name, changed), []).append(name)
        yield from _judge(name, route, lock, objective, slice_name, again, whole=whole, strict=strict)
    for (objective_name, changed), names in stale.items():
        which = f"route {names[0]} is" if len(names) == 1 else f"routes {', '.join(names)} are"
        yield GateFinding(
            names[0], f"the {which} stale: {'; '.join(changed)}", _again(evidence, objective_name), True
        )


def _again(evidence: str, objective: str) -> str:
    return f"look at the evidence and approve anew: proofmap approve {evidence} --objective {objective}"


def _judge(
    name: str,
    route: Route,
    lock: Lock,
    objective: Objective,
    slice_name: str | None,
    again: str,
    *,
    whole: bool,
    strict: bool,
) -> Iterator[GateFinding]:
    """Yield what the verdicts say of a route's runtimes."""
    verdicts = {each.runtime: each for each in objective.verdicts if each.slice == slice_name}
    known = {objective.baseline, *objective.challengers}
    slices = {each.slice for each in objective.verdicts}
    if whole and slice_name not in slices and slices:
        yield GateFinding(name, f"the route {name} is not evaluated any more: the slice has no case", again, True)
        return
    primary, *fallbacks = (lock.runtimes[key] for key in route.chain)
    for runtime in (primary, *fallbacks):
        if runtime.name == objective.baseline:
            continue
        if runtime.name not in known:
            text = f"the route {name} holds {runtime.name}, which is not evaluated on {objective.name} any more"
            yield GateFinding(name, text, again, runtime is primary)
            continue
        yield from _of_verdict(name, runtime, verdicts, again, is_primary=runtime is primary, strict=strict)


def _of_verdict(
    name: str,
    runtime: LockedRuntime,
    verdicts: Mapping[str, ObjectiveVerdict],
    again: str,
    *,
    is_primary: bool,
    strict: bool,
) -> Iterator[GateFinding]:
    verdict = verdicts.get(runtime.name)
    if verdict is None or verdict.status == "qualified":
        return
    role = "primary" if is_primary else "fallback"
    if verdict.status == "not_qualified":
        text = f"the approved {role} {runtime.name} of the route {name} has regressed: {verdict.reason}"
        yield GateFinding(name, text, again, is_primary)
    else:
        text = f"not enough evidence on the approved {role} {runtime.name} of the route {name}: {verdict.reason}"
        yield GateFinding(name, text, "run all cases of the objective, or add some", is_primary and strict)
