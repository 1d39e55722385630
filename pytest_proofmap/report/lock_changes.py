"""What an approval changes in the lock, in words: what moves, what it saves and what it risks."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_proofmap.approve.models import Lock, Route, RouteEvidence
from pytest_proofmap.report.page import Page

__all__ = ["lock_changes"]


def lock_changes(before: Lock, after: Lock, page: Page) -> list[str]:
    """Return the lines that say what differs between two locks; none when their routes are the same."""
    lines: list[str] = []
    for name in sorted(before.routes.keys() | after.routes.keys()):
        old, new = before.routes.get(name), after.routes.get(name)
        if new is None:
            lines += page.wrap(f"- {name}: removed, was {_chain(before, old)}", indent="  ")
        elif old is None or old.digest != new.digest:
            lines += page.wrap(
                f"{'+' if old is None else '~'} {name}: {_move(before, old, after, new)}", indent="  "
            )
            for fact in _facts(old, new, after):
                lines += page.wrap(fact, "    ", "      ")
    return lines


def _chain(lock: Lock, route: Route | None) -> str:
    primary, *fallbacks = (lock.runtimes[key].name for key in route.chain) if route else [""]
    return f"{primary} (then {', '.join(fallbacks)})" if fallbacks else primary


def _move(before: Lock, old: Route | None, after: Lock, new: Route) -> str:
    now = _chain(after, new)
    if old is None:
        return f"new, {now}"
    was = _chain(before, old)
    if was != now:
        return f"{was} → {now}"
    if old.chain != new.chain or old.prompts != new.prompts or old.criteria != new.criteria:
        return f"still {now}, evaluated anew after changes"
    return f"still {now}, approved anew"


def _facts(old: Route | None, new: Route, lock: Lock) -> Iterator[str]:
    """Yield what a route saves and risks."""
    primary = lock.runtimes[new.chain[0]]
    yield f"{new.decision.replace('_', ' ')}: {new.reason}"
    yield f"pass rate on {new.evidence.cases} cases: {_rates(new.evidence)}"
    costs = {name: cost for name, cost in new.evidence.cost_per_1k_usd.items() if cost is not None}
    if costs:
        yield "cost of 1,000 cases: " + ", ".join(f"{name} ${cost:.2g}" for name, cost in costs.items())
    providers = {lock.runtimes[key].provider for key in new.chain}
    if len(providers) == 1:
        yield f"! not outage-proof: {primary.provider} serves every rung"
    if old is not None:
        for key in sorted(set(new.prompts) - set(old.prompts)):
            yield f"prompt {key} is new here"
        for criterion, fingerprint in new.criteria.items():
            if criterion not in old.criteria:
                yield f"criterion {criterion} is new here"
            elif old.criteria[criterion] != fingerprint:
                yield f"criterion {criterion} changed"
        for criterion in sorted(old.criteria.keys() - new.criteria.keys()):
            yield f"! criterion {criterion} is no longer part of it"
    if new.approval.expires_at is not None:
        yield f"ends on {new.approval.expires_at[:10]}"


def _rates(evidence: RouteEvidence) -> str:
    return ", ".join(
        f"{name} {'unknown' if rate is None else f'{100 * rate:.1f} %'}"
        for name, rate in evidence.pass_rates.items()
    )
