"""How two locks differ, in words: the page of ``proofmap diff``, and what ``proofmap approve`` shows first."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_proofmap.approve.comparison import LockDifference, RouteDifference
from pytest_proofmap.approve.models import Approval, Lock
from pytest_proofmap.decide.wording import percent
from pytest_proofmap.report.page import Page
from pytest_proofmap.report.wording import money

__all__ = ["lock_difference_lines"]


def lock_difference_lines(old: Lock, new: Lock, difference: LockDifference, page: Page) -> list[str]:
    """Return a block of lines for each route that differs."""
    lines: list[str] = []
    for route in difference.routes:
        sign, colour = (
            ("-", "red") if not route.new_chain else ("+", "green") if not route.old_chain else ("~", "bold")
        )
        text = f"{sign} {route.name}: {_headline(route)}"
        lines += [page.paint(line, colour) for line in page.wrap(text, "", "    ")]
        for loss in route.losses if route.new_chain else ():
            lines += [page.paint(line, "red") for line in page.wrap(loss, "    ! ", "      ")]
        for fact in _facts(route, old, new):
            lines += page.wrap(fact, "    ", "      ")
    return lines


def _headline(route: RouteDifference) -> str:
    was, now = (_then(chain) for chain in (route.old_chain, route.new_chain))
    if not route.new_chain:
        return f"the route is gone, was {was}"
    if not route.old_chain:
        return f"new route, {now}"
    if was != now:
        return f"{was} → {now}"
    return f"still {now}, {'on other grounds' if route.is_moved else 'approved anew'}"


def _then(chain: tuple[str, ...]) -> str:
    primary, *fallbacks = chain or ("",)
    return f"{primary} (then {', '.join(fallbacks)})" if fallbacks else primary


def _facts(route: RouteDifference, old: Lock, new: Lock) -> Iterator[str]:
    """Yield what differs, what the chain was approved on, and by whom."""
    if not route.new_chain:
        return
    after, before = new.routes[route.name], old.routes.get(route.name)
    if before is None or route.old_decision != route.new_decision:
        was = f"{route.old_decision} → " if route.old_decision else ""
        yield f"decision: {was}{route.new_decision}: {after.reason}".replace("_", " ")
    for change in route.changed:
        if change.new is not None:
            fields = route.runtime_fields.get(change.name, ()) if change.kind == "runtime" else ()
            yield change.text + (
                f" ({', '.join(field for field in fields if field != 'price')})" if fields else ""
            )
        elif change.kind == "prompt":
            yield f"prompt {change.name} is no longer rendered"
    renamed = {change.name for change in route.changed if change.kind == "runtime"}
    for name, fields in route.runtime_fields.items():
        others = [field for field in fields if field != "price"]
        if others and name not in renamed:
            yield f"runtime {name} holds something else under the same key: {', '.join(others)}"
        if "price" in fields:
            yield f"runtime {name} has another price"
    for key in route.rewritten_prompts:
        yield f"prompt {key} holds other messages under the same key"
    for key in route.added_prompts:
        yield f"prompt {key} is new here"
    for criterion in route.added_criteria:
        yield f"criterion {criterion} is new here"
    for name, rate in after.evidence.pass_rates.items():
        earlier = before.evidence.pass_rates.get(name) if before else None
        cost = after.evidence.cost_per_1k_usd.get(name)
        was = f"{percent(earlier)} → " if earlier is not None and earlier != rate else ""
        passed = f"passes {was}{percent(rate)}" if rate is not None else "has no pass rate"
        if before is None or before.evidence.run != after.evidence.run:
            skipped = f" ({after.evidence.skipped} skipped)" if after.evidence.skipped else ""
            yield f"{name} {passed} of {after.evidence.cases} cases{skipped}, {money(cost)} for 1,000"
    providers = {new.runtimes[key].provider for key in after.chain}
    if len(providers) == 1:
        yield f"not outage-proof: {providers.pop()} serves every rung"
    yield from _approval(route.old_approval, route.new_approval)


def _approval(old: Approval | None, new: Approval | None) -> Iterator[str]:
    if new is None or old == new:
        return
    why = f": {new.reason}" if new.reason else ""
    ends = f", ends on {new.expires_at[:10]}" if new.expires_at else ""
    yield f"approved by {new.by} on {new.at[:10]}{ends}{why}"
    if old is not None:
        ended = f", would end on {old.expires_at[:10]}" if old.expires_at else ""
        yield f"before by {old.by} on {old.at[:10]}{ended}"
