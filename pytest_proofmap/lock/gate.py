"""Whether new evidence still supports the approved routes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from pytest_proofmap.decide.wording import count
from pytest_proofmap.errors import LockError
from pytest_proofmap.evidence.models import Criterion, Objective
from pytest_proofmap.lock.models import Lock, Route, route_parts
from pytest_proofmap.lock.propose import packages, prompt_of
from pytest_proofmap.lock.staleness import (
    Change,
    Fingerprints,
    changes,
    fingerprinted_by_older,
    fingerprints_of_route,
    replaced_entries,
    way_out,
)

__all__ = ["check_routes"]


class GateFinding(NamedTuple):
    """Something that speaks against an approved route."""

    route: str
    text: str
    next_step: str
    fails: bool
    """Whether it fails the run; else it warns."""
    can_be_undone: bool = False
    """Whether an edit did it, so that the next step is to take that back and not to approve anew."""


def check_routes(
    lock: Lock,
    objectives: Iterable[Objective],
    criteria: Iterable[Criterion],
    present: Fingerprints,
    *,
    whole: Collection[str],
    strict: bool = False,
    evidence: str | None = "EVIDENCE",
) -> Iterator[GateFinding]:
    """Yield what speaks against the routes that a run has to do with.

    A route is judged when its objective or one of its criteria is in the run, or a criterion is gone for good;
    others were not selected.

    Args:
        lock: The approved routes.
        objectives: The objectives of the run with their verdicts.
        criteria: Its criteria with their cells.
        present: The fingerprints that now hold.
        whole: The criteria that were collected and selected whole: of others, what is missing may only not have
            been selected.
        strict: Whether thin evidence fails too.
        evidence: The artifact's path, for the command to go on with; None: it is incomplete and bears no approval.
    """
    by_name = {objective.name: objective for objective in objectives}
    stale: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    selected = {criterion for objective in by_name.values() for criterion in objective.criteria}
    cells = {criterion.id: criterion for criterion in criteria}
    older = []
    for name, route in lock.routes.items():
        objective_name, slice_name = route_parts(name)
        objective = by_name.get(objective_name)
        moved = [
            change
            for change in changes(fingerprints_of_route(route, lock), present)
            if change.part != "cases" or change.name in whole
        ]
        gone = [change.name for change in moved if change.kind == "criterion" and change.new is None]
        if objective is None and not gone and selected.isdisjoint(route.criteria):
            continue
        if objective is None:
            lost = f"criterion {gone[0]} is gone" if gone else "its criteria moved to another objective"
            yield GateFinding(name, f"the route {name} is not evaluated any more: {lost}", way_out(name), True)
            continue
        again = _again(evidence, objective_name)
        if fingerprinted_by_older(route):
            older.append(name)
        for text in replaced_entries(route, lock, present):
            undo_edit = "undo the edit (git log -p on the lock), or approve anew"
            yield GateFinding(name, f"the route {name} is not what was approved: {text}", undo_edit, True)
        own = [cells[criterion] for criterion in route.criteria if criterion in cells and criterion in whole]
        skipped = _all_skipped(own, slice_name) if len(own) == len(route.criteria) else 0
        if skipped:
            text = f"the route {name} is not evaluated any more: {count(skipped, 'case')} and all are skipped"
            yield GateFinding(name, text, "run them, or approve what took their place", True)
            continue
        judged = _Judged(name, route, lock, objective, slice_name, moved)
        all_in = set(whole).issuperset(objective.criteria)
        told, undo = list(judged.findings(again, whole=all_in, strict=strict)), judged.undo()
        yield from told
        # A finding on the primary that names the edit says all that the stale route would say.
        if moved and not (undo and any(finding.fails for finding in told)):
            texts = tuple(change.text for change in moved)
            stale.setdefault((objective_name, texts, undo or again), []).append(name)
    for (_, texts, next_step), names in stale.items():
        which = f"route {names[0]} is" if len(names) == 1 else f"routes {', '.join(names)} are"
        yield GateFinding(names[0], f"the {which} stale: {'; '.join(texts)}", next_step, True)
    if older:
        text = f"an older version of ProofMap approved {', '.join(older)}, and its way of seeing changes is kept"
        yield GateFinding(older[0], text, "approve anew, so that tests that are imported are followed too", False)


def _all_skipped(criteria: Iterable[Criterion], slice_name: str | None) -> int:
    """Return how many cases a route has when every one of them was skipped on every runtime; else 0."""
    total = 0
    for criterion in criteria:
        sliced = any(cell.slice is not None for cell in criterion.cells)
        own = [cell for cell in criterion.cells if cell.slice == (slice_name if sliced else None)]
        if any(cell.cases > cell.skipped for cell in own):
            return 0
        total += max((cell.cases for cell in own), default=0)
    return total


def _again(evidence: str | None, objective: str) -> str:
    if evidence is None:
        return f"run all of it and approve anew: pytest --proofmap; then: proofmap approve --objective {objective}"
    return f"look at the evidence and approve anew: proofmap approve {evidence} --objective {objective}"


class _Judged:
    """A route against the new verdicts on its objective."""

    def __init__(
        self,
        name: str,
        route: Route,
        lock: Lock,
        objective: Objective,
        slice_name: str | None,
        moved: Sequence[Change],
    ) -> None:
        self._name = name
        self._route = route
        self._lock = lock
        self._objective = objective
        self._slice = slice_name
        self._moved = moved
        self._verdicts = {
            verdict.runtime: verdict for verdict in objective.verdicts if verdict.slice == slice_name
        }

    def findings(self, again: str, *, whole: bool, strict: bool) -> Iterator[GateFinding]:
        """Yield what the verdicts say of the route's runtimes."""
        name, objective = self._name, self._objective
        known = {objective.baseline, *objective.challengers}
        slices = {verdict.slice for verdict in objective.verdicts}
        if whole and self._slice not in slices and slices:
            yield GateFinding(
                name, f"the route {name} is not evaluated any more: the slice has no case", again, True
            )
            return
        for position, key in enumerate(self._route.chain):
            runtime = self._lock.runtimes[key].name
            if runtime == objective.baseline:
                continue
            if runtime not in known:
                text = f"the route {name} holds {runtime}, which is not evaluated on {objective.name} any more"
                yield GateFinding(name, text, again, position == 0)
                continue
            yield from self._of_runtime(key, again, is_primary=position == 0, strict=strict)

    def undo(self) -> str | None:
        """Return how to undo the edits with which a runtime of the route has regressed; None: with none."""
        edits = dict.fromkeys(
            edit
            for key in self._route.chain
            if self._has_regressed(self._lock.runtimes[key].name)
            for edit in self._edits(key)
        )
        return _undo(edits, self._lock, self._route) if edits else None

    def _has_regressed(self, runtime: str) -> bool:
        verdict = self._verdicts.get(runtime)
        return verdict is not None and verdict.status == "not_qualified"

    def _of_runtime(self, key: str, again: str, *, is_primary: bool, strict: bool) -> Iterator[GateFinding]:
        runtime, name = self._lock.runtimes[key].name, self._name
        verdict = self._verdicts.get(runtime)
        if verdict is None or verdict.status == "qualified":
            return
        role = "primary" if is_primary else "fallback"
        if verdict.status == "not_qualified":
            edits = self._edits(key)
            since = f" since {', '.join(edit.text for edit in edits)}" if edits else ""
            text = f"the approved {role} {runtime} of the route {name} has regressed{since}: {verdict.reason}"
            next_step = _undo(edits, self._lock, self._route) if edits else again
            yield GateFinding(name, text, next_step, is_primary, can_be_undone=bool(edits))
        else:
            text = f"not enough evidence on the approved {role} {runtime} of the route {name}: {verdict.reason}"
            yield GateFinding(name, text, "run all cases of the objective, or add some", is_primary and strict)

    def _edits(self, key: str) -> list[Change]:
        """Return what was edited of a runtime of the chain since: itself, and the prompts that it renders."""
        runtime = self._lock.runtimes[key].name
        rendered = set()
        for package in packages(self._lock, self._route):
            try:
                prompt = self._lock.prompts[prompt_of(self._lock, self._route, key, package)]
            except LockError:
                continue
            rendered.add(prompt.title)
        return [
            change
            for change in self._moved
            if (change.kind == "runtime" and change.name == runtime)
            or (change.kind == "prompt" and change.name in rendered)
        ]


def _undo(edits: Iterable[Change], lock: Lock, route: Route) -> str:
    """Return how to have back what was approved."""
    files = {lock.prompts[key].title: lock.prompts[key].file for key in route.prompts}
    steps = [
        f"revert {files[edit.name]} (git log -p {files[edit.name]})"
        if edit.kind == "prompt"
        else f"give the runtime {edit.name} back what was approved (proofmap.lock says what)"
        for edit in edits
    ]
    return f"{' and '.join(dict.fromkeys(steps))}, or mend the edit, and run again"
