"""Which criteria cannot reach a verdict, said after the collection and before anything is spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_proofmap.decide.planning import PlannedCriterion, shortfalls
from pytest_proofmap.decide.wording import count
from pytest_proofmap.visible import visible

if TYPE_CHECKING:
    import pytest

    from pytest_proofmap.run.criteria import CollectedCriterion, CriteriaRegistry

__all__ = ["foreseen_lines"]

SHORTFALLS_SHOWN = 5
"""How many criteria are named, unless with -v."""


def foreseen_lines(config: pytest.Config, registry: CriteriaRegistry, items: Iterable[pytest.Item]) -> list[str]:
    """Return the lines, none where what is printed is read by programs.

    Args:
        config: pytest's configuration.
        registry: The criteria that were collected.
        items: The tests that are selected: of other criteria nobody asked.
    """
    verbosity = config.get_verbosity()
    if verbosity < -1 or (config.option.collectonly and verbosity < 0):
        return []
    selected = {sample.criterion for item in items if (sample := registry.identify(item)) is not None}
    found = shortfalls([_planned(each) for each in registry.criteria.values() if each.id in selected])
    if found and verbosity < 0:
        where = count(len({shortfall.criterion for shortfall in found}), "criterion", "criteria")
        return [f"proofmap: {where} cannot reach a verdict with the cases at hand (without -q: which)"]
    shown = found if verbosity > 0 else found[:SHORTFALLS_SHOWN]
    lines = [f"proofmap: {visible(shortfall.text)}" for shortfall in shown]
    if len(shown) < len(found):
        lines.append(f"proofmap: and so for {len(found) - len(shown)} more (-v names them)")
    return lines


def _planned(criterion: CollectedCriterion) -> PlannedCriterion:
    plan = criterion.plan
    sizes: dict[str | None, int] = {None: len(criterion.cases)}
    sizes.update(Counter(name for name in criterion.slices.values() if name is not None))
    return PlannedCriterion(criterion.id, plan.bar, len(plan.challengers), sizes, plan.slices)
