"""From evidence to routes: only what is qualified gets in.

Which locked prompt variant belongs to which runtime of a chain is shared with the loader and the exports.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.decide.economics import RouteCosts
from pytest_proofmap.errors import ApprovalError, LockError, did_you_mean
from pytest_proofmap.evidence.ages import ages, answers_of
from pytest_proofmap.evidence.fingerprints import criterion_parts, prompt_key, runtime_fingerprint, runtime_key
from pytest_proofmap.evidence.models import Cell, Criterion, Evidence, Objective, Recommendation
from pytest_proofmap.evidence.source import is_unknown
from pytest_proofmap.lock.file import signed
from pytest_proofmap.lock.models import (
    Approval,
    Lock,
    LockedPrompt,
    LockedRuntime,
    Route,
    RouteDecision,
    RouteEvidence,
    route_name,
    route_parts,
)
from pytest_proofmap.lock.staleness import auxiliary_claims

__all__ = [
    "ApprovalRequest",
    "approved_routes",
    "baseline_of",
    "chosen_objectives",
    "has_expired",
    "objections",
    "packages",
    "prompt_of",
    "reasons_of_unseen",
    "renders_alike",
    "replace_objectives",
]


class ApprovalRequest(NamedTuple):
    """What somebody asks to approve."""

    objectives: tuple[str, ...] = ()
    """Objectives; none named: all."""
    chain: tuple[str, ...] = ()
    """Runtimes in place of the recommended chains, each the baseline or qualified; empty: as recommended.

    The baseline stands first or last, and is added as the last one where it is not named.
    """
    allow_sensitive: bool = False


def chosen_objectives(evidence: Evidence, names: Sequence[str]) -> list[Objective]:
    """Return the objectives of a name each; none named: all.

    Raises:
        ApprovalError: The evidence has no such objective, or one whose name is that of another's slice.
    """
    for objective in evidence.objectives:
        owner, slice_name = route_parts(objective.name)
        if slice_name is not None:
            raise ApprovalError(
                f"the objective {objective.name!r} has the name of the slice {slice_name!r} of {owner!r}, whose "
                "route it would take over. Rename it: qualify(objective=...)"
            )
    known = {objective.name: objective for objective in evidence.objectives}
    for name in names:
        if name not in known:
            raise ApprovalError(
                f"the evidence has no objective {name!r}.{did_you_mean(name, list(known))} It has: "
                f"{', '.join(known)}."
            )
    return [known[name] for name in dict.fromkeys(names)] if names else list(known.values())


def reasons_of_unseen(evidence: Evidence, objective: Objective) -> Iterator[str]:
    """Yield which criteria of an objective have a source that could not be followed.

    Nothing would tell when such a test changes, and so its objective cannot be approved; others can.
    """
    for criterion in evidence.criteria:
        if criterion.id in objective.criteria and is_unknown(
            criterion_parts(criterion.fingerprint).get("source", "")
        ):
            yield (
                f"{objective.name}: the source of {criterion.id} cannot be followed, so nothing would tell when "
                "it changes. Its file must be a Python file below the root folder of pytest that can be read: "
                "move it there, or run pytest with a --rootdir that holds it."
            )


def objections(evidence: Evidence, wanted: ApprovalRequest) -> Iterator[str]:
    """Yield why the evidence supports no approval, whatever it says of the code.

    Raises:
        ApprovalError: The evidence has no such objective or runtime.
    """
    if evidence.run.shard:
        yield "it is one shard of a run: join all of them first, with proofmap merge"
    elif not evidence.run.complete:
        yield f"it is incomplete: {'; '.join(evidence.run.incomplete_reasons) or 'some marked tests did not run'}"
    for objective in chosen_objectives(evidence, wanted.objectives):
        if objective.baseline in wanted.chain[1:-1] or len(set(wanted.chain)) < len(wanted.chain):
            yield (
                f"the chain {', '.join(wanted.chain)} has the baseline {objective.baseline} in its middle, "
                "or a runtime twice"
            )
        if objective.sensitive and not wanted.allow_sensitive and wanted.chain not in ((), (objective.baseline,)):
            yield (
                f"{objective.name} is sensitive: the baseline {objective.baseline} alone may serve it, unless "
                "--allow-sensitive --reason=... allows more"
            )
        yield from _unqualified(evidence, objective, wanted.chain)


def approved_routes(evidence: Evidence, wanted: ApprovalRequest, approval: Approval, sha256: str) -> Lock:
    """Return a lock with the routes of the objectives that are approved, and of nothing else.

    What qualifies is decided anew from the samples, so that nothing hangs on what the artifact says of itself.

    Args:
        evidence: The evidence, to which there are no :func:`objections`.
        wanted: What is approved.
        approval: Who approves, when and why.
        sha256: Of the artifact's file.

    Raises:
        ApprovalError: A runtime of a chain was not evaluated on a criterion of its route, or the evidence lacks a
            prompt variant that was rendered.
    """
    if wanted.allow_sensitive:
        insensitive = [objective.model_copy(update={"sensitive": False}) for objective in evidence.objectives]
        evidence = evidence.model_copy(update={"objectives": insensitive})
    decided = decide_evidence(evidence)
    costs = RouteCosts(decided)
    lock = Lock()
    for objective in chosen_objectives(decided, wanted.objectives):
        if objective.decision_error is not None:
            raise ApprovalError(
                f"{objective.name!r} could not be decided, so there is nothing to approve: "
                f"{objective.decision_error}. Every answer is in the evidence: report this with it."
            )
        chosen = _chosen_chain(wanted, objective)
        chains = {advice.slice: chosen or advice.chain for advice in objective.recommendations}
        promoted = any(chain[0] != objective.baseline for chain in chains.values())
        for recommendation in objective.recommendations:
            chain = chains[recommendation.slice]
            decision: RouteDecision = "baseline_retained"
            if chain[0] != objective.baseline:
                decision = "promoted"
            elif promoted:
                decision = "partial"
            _add(lock, decided, objective, recommendation, chain, decision, approval, sha256, costs)
    return lock


def replace_objectives(present: Lock, approved: Lock, objectives: Collection[str]) -> Lock:
    """Return a lock in which the routes of some objectives are those approved; all others stay as they are.

    The new routes are signed, and so are those that share a runtime with them which is now reached another way; a
    prompt that both name stays as the others were signed with it.

    Args:
        present: The present lock, whose other routes are what was approved.
        approved: Routes to put in.
        objectives: The objectives that these are of.
    """
    kept = {name: route for name, route in present.routes.items() if route_parts(name)[0] not in objectives}
    together = Lock(
        runtimes={**present.runtimes, **approved.runtimes},
        prompts={**approved.prompts, **present.prompts},
        routes={**kept, **approved.routes},
    )
    unlike = {key for key, runtime in present.runtimes.items() if _unlike(runtime, together.runtimes[key])}
    return signed(
        together, {*approved.routes, *(name for name in kept if not unlike.isdisjoint(kept[name].chain))}
    )


def _unlike(locked_runtime: LockedRuntime, other: LockedRuntime) -> bool:
    """Return whether two entries of one key differ in more than their price."""
    return locked_runtime != other.model_copy(update={"price": locked_runtime.price})


def _chosen_chain(wanted: ApprovalRequest, objective: Objective) -> list[str]:
    """Return the chain that was asked for on an objective; empty: none was."""
    if not wanted.chain or objective.baseline in wanted.chain:
        return list(wanted.chain)
    return [*wanted.chain, objective.baseline]


def _unqualified(evidence: Evidence, objective: Objective, chain: Sequence[str]) -> Iterator[str]:
    """Yield which runtimes of a chain that was asked for are not qualified everywhere."""
    if not chain:
        return
    decided = decide_evidence(evidence)
    (found,) = chosen_objectives(decided, (objective.name,))
    verdicts = {(verdict.runtime, verdict.slice): verdict for verdict in found.verdicts}
    for name in chain:
        if name == objective.baseline:
            continue
        if name not in objective.challengers:
            known = ", ".join((objective.baseline, *objective.challengers))
            yield f"{name} is no runtime of {objective.name}, which has: {known}"
            continue
        for recommendation in found.recommendations:
            verdict = verdicts.get((name, recommendation.slice))
            if verdict is None or verdict.status != "qualified":
                status = verdict.status.replace("_", " ") if verdict else "insufficient"
                reason = f": {verdict.reason}" if verdict else ""
                yield f"{name} is {status} on {route_name(objective.name, recommendation.slice)}{reason}"


def _add(
    lock: Lock,
    evidence: Evidence,
    objective: Objective,
    recommendation: Recommendation,
    chain: Sequence[str],
    decision: RouteDecision,
    approval: Approval,
    sha256: str,
    costs: RouteCosts,
) -> None:
    """Put a route into a lock, with what it names."""
    name = route_name(objective.name, recommendation.slice)
    criteria = [criterion for criterion in evidence.criteria if criterion.id in objective.criteria]
    cells = {criterion.id: _cells(criterion, recommendation.slice) for criterion in criteria}
    used = {key: value for key, value in cells.items() if value}
    if not used:
        raise ApprovalError(
            f"{name}: no case was judged, all were skipped, so there is nothing to approve. Run them, or approve "
            "the other objectives with --objective."
        )
    keys = []
    for runtime in chain:
        for criterion in used:
            if runtime not in used[criterion]:
                raise ApprovalError(
                    f"{name}: {runtime} was not evaluated on {criterion}, so it cannot serve the route."
                )
        locked = LockedRuntime(
            # What the map lists of the price besides is in the evidence; a reviewer reads the rates.
            name=runtime,
            **evidence.runtimes[runtime].model_dump(
                exclude={"fingerprint": True, "origin": True, "price": {"listed"}}
            ),
        )
        content = locked.model_dump(include={"model", "provider", "params", "variant", "api_base", "served"})
        # Made from what the entry holds: an artifact may claim any fingerprint.
        keys.append(runtime_key(runtime, runtime_fingerprint(**content)))
        lock.runtimes[keys[-1]] = locked
    asked, rendered = auxiliary_claims(evidence, used)
    prompts = dict(_prompts(evidence, set(used), set(chain)))
    lock.prompts.update(prompts)
    answered = ages(answers_of(evidence, used, chain))
    lock.routes[name] = Route(
        chain=keys,
        prompts=sorted(prompts),
        decision=decision,
        reason=_reason(chain, recommendation),
        criteria={criterion.id: criterion.fingerprint for criterion in criteria if criterion.id in used},
        auxiliary_runtimes=asked,
        auxiliary_prompts={f"{package}.{variant}": digits for (package, variant), digits in rendered.items()},
        looks=sorted(
            cell.look.state
            for cells in used.values()
            for cell in cells.values()
            if cell.look is not None and cell.look.state is not None
        ),
        from_hooks=sorted(name for name in {*chain, *asked} if evidence.runtimes[name].origin == "hook"),
        evidence=RouteEvidence(
            run=evidence.run.id,
            sha256=sha256,
            cases=sum(max(cell.cases - cell.skipped for cell in cells.values()) for cells in used.values()),
            skipped=sum(min(cell.skipped for cell in cells.values()) for cells in used.values()),
            pass_rates={runtime: _pass_rate(cells[runtime] for cells in used.values()) for runtime in chain},
            cost_per_1k_usd={runtime: costs.per_1k_usd(runtime, used, recommendation.slice) for runtime in chain},
            oldest_answers={ages.runtime: ages.made_at[0] for ages in answered},
            superseded={ages.runtime: ages.superseded for ages in answered if ages.superseded},
        ),
        approval=approval,
        digest="",
    )


def _reason(chain: Sequence[str], recommendation: Recommendation) -> str:
    """Return why a route has its chain."""
    if list(chain) == recommendation.chain:
        return recommendation.reason
    return f"chosen in place of {', '.join(recommendation.chain)} ({recommendation.reason})"


def _cells(criterion: Criterion, slice_name: str | None) -> Mapping[str, Cell]:
    """Return a criterion's cells on a slice by runtime; a criterion without slices counts whole towards each."""
    sliced = any(cell.slice is not None for cell in criterion.cells)
    wanted = slice_name if sliced else None
    return {cell.runtime: cell for cell in criterion.cells if cell.slice == wanted and cell.cases > cell.skipped}


def _pass_rate(cells: Iterable[Cell]) -> float | None:
    """Return the share of cases that passed over several criteria; None when none was answered."""
    passed = answered = 0
    for cell in cells:
        passed += cell.passed
        answered += cell.cases - cell.skipped
    return passed / answered if answered else None


def _prompts(
    evidence: Evidence, criteria: Collection[str], chain: Collection[str]
) -> Iterator[tuple[str, LockedPrompt]]:
    """Yield the prompt variants that the runtimes of a chain rendered on some criteria, with their keys."""
    rendered = {
        (call.prompt.name, call.prompt.variant)
        for sample in evidence.samples
        if sample.criterion in criteria and sample.runtime in chain
        for call in sample.calls
        if call.prompt is not None and call.runtime is None
    }
    for name, variant in sorted(rendered, key=lambda each: (each[0], each[1] or "")):
        found = evidence.prompts.get(name, {}).get(variant or "default")
        if found is None:
            raise ApprovalError(f"the evidence does not hold the prompt {name!r} in its variant {variant!r}.")
        key = prompt_key(name, variant or "default", found.sha256)
        yield key, LockedPrompt(name=name, variant=variant or "default", file=found.file, messages=found.messages)


DEFAULT_VARIANT = "default"


def packages(lock: Lock, route: Route) -> list[str]:
    """Return the names of the prompt packages that a route was approved with, sorted."""
    return sorted({lock.prompts[key].name for key in route.prompts})


def prompt_of(lock: Lock, route: Route, runtime: str, package: str) -> str:
    """Return the key of the prompt variant that a runtime of a route's chain renders.

    As in a test: the runtime's own variant, and the default prompt where the package has no other.

    Args:
        lock: The lock.
        route: A route of it.
        runtime: Key of a runtime of the chain.
        package: Name of one of the route's prompt packages.

    Raises:
        LockError: The route was approved without that prompt variant.
    """
    variants = {lock.prompts[key].variant: key for key in route.prompts if lock.prompts[key].name == package}
    wanted = lock.runtimes[runtime].variant or DEFAULT_VARIANT
    if wanted in variants:
        return variants[wanted]
    if variants.keys() == {DEFAULT_VARIANT}:
        return variants[DEFAULT_VARIANT]
    raise LockError(
        f"the runtime {lock.runtimes[runtime].name!r} renders the prompt {package!r} in its variant {wanted!r}, "
        f"and the route was approved with {', '.join(sorted(variants)) or 'none'} only. Approve the route anew, "
        f"on evidence in which {lock.runtimes[runtime].name!r} ran {package!r}."
    )


def renders_alike(lock: Lock, route: Route) -> bool:
    """Return whether all rungs of a route render the same prompt variants, so that one prompt serves them all."""
    return all(
        len({prompt_of(lock, route, runtime, package) for runtime in route.chain}) == 1
        for package in packages(lock, route)
    )


def baseline_of(route: Route) -> str | None:
    """Return the key of the runtime of a chain that is its baseline, or None when the chain ends without it.

    The last rung where a challenger was promoted, the first one otherwise.
    """
    if route.decision != "promoted":
        return route.chain[0]
    return route.chain[-1] if len(route.chain) > 1 else None


def has_expired(route: Route, now: datetime) -> bool:
    """Return whether a route's approval has expired.

    Raises:
        LockError: The time of expiry is none.
    """
    if route.approval.expires_at is None:
        return False
    try:
        expires_at = datetime.fromisoformat(route.approval.expires_at.replace("Z", "+00:00"))
    except ValueError:
        raise LockError(
            f"an approval expires at {route.approval.expires_at!r}, which is no time. Approve the route anew."
        ) from None
    if expires_at.tzinfo is None:
        expires_at = expires_at.replace(tzinfo=timezone.utc)
    return expires_at <= now
