"""Fixtures of wider scope: dry runs set them up no more often than was promised.

A dry run may set up fixtures of a module, class or package once before they are set up for the real run, and those
of the session not at all before: a fixture of the session that a dry run has set up is the one that the tests get.
What the real run has set up, and the next test still needs, no dry run may tear down.

pytest keeps the nodes that are set up as a stack, and sets a node up again only after it has left it. All that is
asked here is asked of that stack and of the fixtures' own caches, so that it holds in any order of tests: items of
a worker of pytest-xdist run in an order that nobody knows beforehand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from _pytest.fixtures import FixtureDef, get_scope_node, get_scope_package
from _pytest.nodes import Node
from _pytest.scope import Scope

from pytest_proofmap.prefetch.quiet import Quiet

__all__ = ["Scopes", "outermost_scope"]


class Instance(NamedTuple):
    """A fixture of wider scope as one item uses it."""

    definition: FixtureDef[Any]
    node: Node
    """The node that it lives as long as."""
    params: tuple[tuple[str, int], ...]
    """The parametrization, of its scope and wider ones, that it may depend on: name and index."""

    @property
    def name(self) -> str:
        """The fixture's name."""
        return self.definition.argname

    @property
    def is_parametrized(self) -> bool:
        """Whether it has a parameter of its own."""
        return any(name == self.name for name, _ in self.params)


class Scopes:
    """What is set up above the items of one session.

    Args:
        session: The session.
        quiet: Keeps quiet what is torn down.
        warn: Shows a warning to the user.
    """

    def __init__(self, session: pytest.Session, quiet: Quiet, warn: Callable[[str], None]) -> None:
        self._session = session
        self._quiet = quiet
        self._warn = warn
        self._used: dict[pytest.Item, tuple[Instance, ...]] = {}
        self._set_ups: Counter[Instance] = Counter()
        """How often dry runs have set each fixture up."""
        self._upcoming: frozenset[Instance] = frozenset()
        self._held: tuple[Node, ...] = ()
        self._held_params: dict[FixtureDef[Any], tuple[tuple[str, int], ...]] = {}
        self._owners: dict[Instance, str] = {}
        quiet.random_numbers.follow(session.config, self._locate)

    def reach(self, upcoming: pytest.Item) -> tuple[object, ...]:
        """Say which item runs next, for real.

        Returns:
            A value that is the same as long as dry runs of the same items are allowed.
        """
        used = self._instances(upcoming)
        self._upcoming = frozenset(used)
        # Every node has its own teardown for a finalizer; more than one tells of fixtures.
        self._held = tuple(node for node, (finalizers, _) in self._stack.items() if len(finalizers) > 1)
        self._held_params = {each.definition: each.params for each in used if self._is_up(each, upcoming)}
        return self._held, self._upcoming

    def allows(self, item: pytest.Item) -> bool:
        """Return whether an item may be run dry now."""
        if self._held:
            chain = item.listchain()
            if any(node not in chain for node in self._held):
                return False
        used = self._instances(item)
        if any(self._held_params.get(each.definition, each.params) != each.params for each in used):
            return False
        return all(
            each in self._upcoming or (each.node is not self._session and self._set_ups[each] == 0)
            for each in self._missing(item, used)
        )

    def costs_nothing(self, item: pytest.Item) -> bool:
        """Return whether a dry run of an item sets nothing up that the item that runs next does not use."""
        return self.allows(item) and self._upcoming.issuperset(self._missing(item, self._instances(item)))

    def enter(self, item: pytest.Item) -> None:
        """Prepare to run an item dry that may be."""
        for each in list(self._missing(item, self._instances(item))):
            if each in self._upcoming and (self._set_ups[each] or each.node is self._session):
                # It was set up once too often already: what is set up now is for the real run.
                self._held = (*self._held, each.node)
                self._held_params[each.definition] = each.params
            self._set_ups[each] += 1
        self.leave_for(item)

    def note(self, item: pytest.Item, copied: pytest.Function) -> None:
        """Note which fixtures a dry run has used beside those that the item's signature names."""
        known = self._instances(item)
        names = {each.definition for each in known}
        used = getattr(copied._request, "_fixture_defs", {}).values()
        more = [each for each in used if each._scope > Scope.Function and each not in names]
        if more:
            found = tuple(instance for each in more if (instance := _instance(item, each)) is not None)
            self._set_ups.update(each for each in found if self._set_ups[each] == 0)
            self._used[item] = known + found

    def leave_for(self, item: pytest.Item) -> None:
        """Tear down what is set up and an item does not use.

        Raises:
            KeyboardInterrupt: The user wants to stop.
        """
        chain = item.listchain()
        for _ in range(len(self._stack)):
            if all(node in chain for node in self._stack):
                return
            with self._quiet.around_teardown():
                try:
                    self._session._setupstate.teardown_exact(item)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    self._warn(f"a fixture failed while it was torn down after a dry run: {error!r}")

    def _locate(self, item: pytest.Item, definition: FixtureDef[Any]) -> tuple[Instance, str] | None:
        """Return a fixture as an item uses it, and the id of the test that sets it up in a plain run."""
        instance = _instance(item, definition)
        if instance is None:
            return None
        if not self._owners:
            for user in reversed(self._session.items):
                self._owners.update(dict.fromkeys(self._instances(user), user.nodeid))
        # What no signature names belongs to the test that comes to it first.
        return instance, self._owners.setdefault(instance, item.nodeid)

    @property
    def _stack(self) -> dict[Node, tuple[list[Callable[[], object]], Any]]:
        return self._session._setupstate.stack

    def _instances(self, item: pytest.Item) -> tuple[Instance, ...]:
        if item not in self._used:
            self._used[item] = tuple(_instances(item)) if isinstance(item, pytest.Function) else ()
        return self._used[item]

    def _missing(self, item: pytest.Item, used: tuple[Instance, ...]) -> Iterator[Instance]:
        """Yield what a run of an item would set up anew."""
        if not used:
            return
        # A fixture is torn down along with a parameter that it depends on.
        changes = any(each.is_parametrized and not self._is_up(each, item) for each in used)
        for each in used:
            if each.node is self._session and not each.params:
                continue
            if changes or not self._is_up(each, item):
                yield each

    def _is_up(self, instance: Instance, item: pytest.Item) -> bool:
        cached = instance.definition.cached_result
        if cached is None or instance.node not in self._stack:
            return False
        callspec = getattr(item, "callspec", None)
        param = callspec.params.get(instance.name) if instance.is_parametrized and callspec is not None else None
        return _is_same(cached[1], param)


def outermost_scope(item: pytest.Function) -> pytest.Collector | None:
    """Return the outermost node below the session whose fixtures an item uses."""
    definitions = item._fixtureinfo.name2fixturedefs
    scopes = {each.scope for name in item.fixturenames for each in definitions.get(name, ())}
    kinds: list[type[pytest.Collector]] = []
    if "package" in scopes:
        kinds = [pytest.Package, pytest.Module]
    elif "module" in scopes:
        kinds = [pytest.Module]
    elif "class" in scopes:
        kinds = [pytest.Class, pytest.Module]
    return next((node for kind in kinds if (node := item.getparent(kind)) is not None), None)


def _instances(item: pytest.Function) -> Iterator[Instance]:
    definitions = item._fixtureinfo.name2fixturedefs
    for name in dict.fromkeys(item.fixturenames):
        # The last definition overrides those before it, which only its own use of the same name brings in.
        for definition in reversed(definitions.get(name, ())):
            if definition._scope > Scope.Function:
                instance = _instance(item, definition)
                if instance is not None:
                    yield instance
            if name not in definition.argnames:
                break


def _instance(item: pytest.Item, definition: FixtureDef[Any]) -> Instance | None:
    """Return a fixture as an item uses it; None where it lives as long as the item, as one of a class may."""
    scope = definition._scope
    node = get_scope_package(item, definition) if scope is Scope.Package else get_scope_node(item, scope)
    if node is None:
        return None
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return Instance(definition, node, ())
    params = callspec._arg2scope.items()
    wider = tuple(
        (name, callspec.indices[name]) for name, its in params if its >= scope and name in callspec.indices
    )
    return Instance(definition, node, wider)


def _is_same(one: object, other: object) -> bool:
    """Compare two parameters as pytest does: an array, say, has no truth value."""
    try:
        return bool(one == other)
    except (ValueError, RuntimeError):
        return one is other
