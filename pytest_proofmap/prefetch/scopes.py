"""Fixtures of wider scope: dry runs set them up no more often than was promised.

A dry run may set up fixtures of a module, class or package once before they are set up for the real run, and those
of the session not at all before: a fixture of the session that a dry run has set up is the one that the tests get.
What the real run has set up, and the next test still needs, no dry run may tear down.

pytest keeps the nodes that are set up as a stack, and sets a node up again only after it has left it. All that is
asked here is asked of that stack and of the fixtures' own caches, so that it holds in any order of tests: items of
a worker of pytest-xdist run in an order that nobody knows beforehand.

A conversation comes to its next turn only when an answer has arrived, and by then dry runs are in other modules.
So they do not tear down what they leave but keep it: its nodes are taken off the stack, its values out of the
fixtures' caches, and both are put back when a dry run returns. A fixture that is seen to change what all tests
share is not kept: see :mod:`pytest_proofmap.prefetch.shared_state`.

Not everything is seen: a file that each module writes, a table that each fills. So two rules let real runs see
what they see without dry runs. No real run gets what was up beside anything else: that is torn down and set up
anew, and what dry runs set up for a real run they set up alone. And what is torn down is always the latest that
was set up, so that fixtures put back what they have found.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from _pytest.fixtures import FixtureDef, get_scope_node, get_scope_package
from _pytest.nodes import Node
from _pytest.scope import Scope

from pytest_proofmap.prefetch.item_copy import DRY_RUN, owner_of
from pytest_proofmap.prefetch.quiet import Quiet, Stopped
from pytest_proofmap.prefetch.shared_state import SharedState

__all__ = ["Scopes", "outermost_scope"]

KEPT_AT_MOST = 32
"""How many modules, classes and packages may have fixtures that are kept at once."""

EVENT_LOOPS = ("anyio", "pytest_asyncio", "pytest_trio", "pytest_twisted")
"""Packages whose fixtures of wider scope hold an event loop, of which a thread has one."""


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


@dataclass
class Kept:
    """A node that dry runs have left, with what is set up on it.

    pytest asserts that what is on its stack belongs to the next item, and knows one value of a fixture at a time:
    both must be gone while others run. https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/runner.py#L527
    """

    entry: tuple[list[Callable[[], object]], Any]
    """What pytest's stack held of it."""
    values: dict[FixtureDef[Any], tuple[Any, list[Callable[[], object]]]] = field(default_factory=dict)
    """Cached results and finalizers of its fixtures."""

    def swap(self) -> None:
        """Put back what its fixtures hold, or take it out, and hold what was there."""
        for definition, (cached, finalizers) in self.values.items():
            # A copy, and assigned in place: pytest clears the list that it has, in FixtureDef.finish().
            self.values[definition] = definition.cached_result, list(definition._finalizers)
            definition.cached_result, definition._finalizers[:] = cached, finalizers


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
        self._upcoming_chain: list[Node] = [session]
        self._held: tuple[Node, ...] = ()
        self._held_params: dict[FixtureDef[Any], tuple[tuple[str, int], ...]] = {}
        self._owners: dict[Instance, str] = {}
        self._kept: dict[Node, Kept] = {}
        self._numbers: dict[Node, int] = {}
        """Places of nodes in the order in which dry runs have set them up."""
        self._next_number = itertools.count()
        self._is_disturbed = False
        """Whether anything was set up while something else was kept, so that no real run may get either."""
        self._apart: set[Node] = set()
        """Nodes that are not kept: a fixture of theirs may disturb the tests of others."""
        self._keeps = hasattr(signal, "setitimer")
        """Whether anything is kept: not where no alarm would end a set-up that waits for what is kept."""
        self._state = SharedState(str(session.config.rootpath))
        quiet.random_numbers.follow(self._locate)

    def reach(self, upcoming: pytest.Item) -> tuple[object, ...]:
        """Say which item runs next, for real.

        Returns:
            A value that is the same as long as dry runs of the same items are allowed.
        """
        used = self._instances(upcoming)
        self._upcoming = frozenset(used)
        self._upcoming_chain = upcoming.listchain()
        # Every node has its own teardown for a finalizer; more than one tells of fixtures:
        # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/runner.py#L534
        self._held = tuple(node for node, (finalizers, _) in self._stack.items() if len(finalizers) > 1)
        self._held_params = {
            instance.definition: instance.params for instance in used if self._is_up(instance, upcoming)
        }
        return self._held, self._upcoming

    def allows(self, item: pytest.Item) -> bool:
        """Return whether an item may be run dry now."""
        if self._held:
            chain = item.listchain()
            if any(node not in chain for node in self._held):
                return False
        used = self._instances(item)
        if any(
            self._held_params.get(instance.definition, instance.params) != instance.params for instance in used
        ):
            return False
        if self._is_in_the_way(item):
            return False
        return all(
            instance in self._upcoming or (instance.node is not self._session and self._set_ups[instance] == 0)
            for instance in self._missing(item, used)
        )

    def costs_nothing(self, item: pytest.Item) -> bool:
        """Return whether a dry run of an item sets nothing up that the item that runs next does not use."""
        return self.allows(item) and self._upcoming.issuperset(self._missing(item, self._instances(item)))

    def enter(self, item: pytest.Item) -> None:
        """Prepare to run an item dry that may be."""
        chain = item.listchain()
        is_alone = not self._is_disturbed and all(node in chain for node in (*self._stack, *self._kept))
        if not is_alone and (self._is_in_the_way(item) or any(map(self._is_for_real, self._to_set_up(item)))):
            self._clear()
        for instance in self._to_set_up(item):
            if self._is_for_real(instance):
                self._held = (*self._held, instance.node)
                self._held_params[instance.definition] = instance.params
            self._set_ups[instance] += 1
        self._keep([node for node in self._stack if node not in chain])
        self._leave(chain)
        self._return_to(chain)
        for node in chain[:-1]:
            if node not in self._numbers:
                self._numbers[node] = next(self._next_number)

    def is_kept_from(self, item: pytest.Item) -> bool:
        """Return whether fixtures that an item uses are set up and are torn down for the item that runs next."""
        return any(
            instance.node not in self._upcoming_chain and self._is_up(instance, item)
            for instance in self._instances(item)
        )

    @contextlib.contextmanager
    def around_set_up(self, definition: FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[None]:
        """Draw a fixture's random numbers as a dry run did, and find out whether it may be kept."""
        with self._quiet.random_numbers.around_set_up(definition, request), self._around_dry(definition, request):
            yield

    @contextlib.contextmanager
    def _around_dry(self, definition: FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[None]:
        item = request._pyfuncitem
        instance = _instance(item, definition) if DRY_RUN in item.stash else None
        if instance is None:
            yield
            return
        self._make_latest(instance.node, item)
        if instance.node is self._session or not self._keeps:
            yield
            return
        # Their loop is the thread's: the other's fixtures would go on in it, or find it closed.
        if definition.func.__module__.partition(".")[0] in EVENT_LOOPS or instance.params:
            self._apart.add(instance.node)
        is_set_up = False

        def set_apart() -> None:
            self._apart.add(instance.node)
            if not is_set_up and self._kept:
                # It may be in the way of another that is kept.
                self._keeps = False

        with self._state.noticing(set_apart, getattr(item, "module", None)):
            yield
            is_set_up = True

    def _make_latest(self, node: Node, item: pytest.Item) -> None:
        """Tear down what was set up later than a node on which a dry run sets up a fixture.

        Raises:
            Stopped: What is to be torn down is older than something that the dry run itself needs.
        """
        place = self._numbers.get(node, -1)
        later = [other for other in self._kept if self._numbers[other] > place]
        used = [self._numbers.get(other, -1) for other, entry in self._stack.items() if len(entry[0]) > 1]
        if later and min(map(self._numbers.__getitem__, later)) < max(used, default=-1):
            # No signature names the fixture, else the item would not have been allowed to run dry.
            self._keeps = False
            item.stash[DRY_RUN].is_stopped = True
            raise Stopped
        self._drop(later)
        self._is_disturbed = self._is_disturbed or bool(self._kept)

    def note(self, item: pytest.Item, copied: pytest.Function) -> None:
        """Note which fixtures a dry run has used beside those that the item's signature names."""
        if not self._keeps and self._kept:
            self._clear()
        known = self._instances(item)
        names = {instance.definition for instance in known}
        # Those that request.getfixturevalue has set up are in no list of the item's own. A copy whose setup has
        # failed may have no request.
        used = getattr(copied._request, "_fixture_defs", {}).values()
        wider = [definition for definition in used if definition._scope > Scope.Function]
        unnamed = [definition for definition in wider if definition not in names]
        if unnamed:
            learnt = tuple(
                instance for definition in unnamed if (instance := _instance(item, definition)) is not None
            )
            self._set_ups.update(instance for instance in learnt if self._set_ups[instance] == 0)
            self._used[item] = known + learnt

    def leave_for(self, item: pytest.Item) -> None:
        """Tear down what is set up and an item, which runs next for real, does not use or must not get.

        Raises:
            KeyboardInterrupt: The user wants to stop.
        """
        chain = item.listchain()
        if self._is_disturbed:
            self._clear()
        self._leave(chain)
        self._drop([node for node in self._kept if node not in chain])
        self._return_to(chain)
        self._numbers.clear()

    def close(self) -> None:
        """Tear down what dry runs have set up: a run that ends while it waits leaves nothing behind."""
        self._clear()

    def _clear(self) -> None:
        """Tear down all that dry runs have set up, but for what real runs hold."""
        nodes = list(self._stack)
        held = max((place for place, node in enumerate(nodes) if node in self._held), default=0)
        self._take_off(nodes[held + 1 :])
        self._drop(list(self._kept))
        self._is_disturbed = False

    def _keep(self, nodes: list[Node]) -> None:
        """Take nodes off the stack, its last ones, if all of them may be kept and one has fixtures."""
        entries = [(node, self._stack[node]) for node in nodes]
        if not self._keeps or not self._apart.isdisjoint(nodes) or any(failed for _, (_, failed) in entries):
            return
        if any(_holds_more(node, finalizers) for node, (finalizers, _) in entries):
            return
        has_fixtures = any(_definitions(finalizers) for _, (finalizers, _) in entries)
        if has_fixtures and sum(bool(kept.values) for kept in self._kept.values()) < KEPT_AT_MOST:
            self._take_off(nodes)

    def _take_off(self, nodes: list[Node]) -> None:
        """Take nodes off the stack, its last ones, and their values out of the fixtures' caches."""
        for node in nodes:
            kept = Kept(self._stack.pop(node))
            kept.values.update((definition, (None, [])) for definition in _definitions(kept.entry[0]))
            kept.swap()
            self._kept[node] = kept
            if node not in self._numbers:
                self._numbers[node] = next(self._next_number)

    def _return_to(self, chain: list[Node]) -> None:
        """Put back on the stack what is kept of the nodes of an item."""
        for node in chain[len(self._stack) :]:
            kept = self._kept.pop(node, None)
            if kept is None:
                return
            kept.swap()
            self._stack[node] = kept.entry

    def _drop(self, nodes: list[Node]) -> None:
        """Tear down nodes that are kept, the latest first."""
        for node in sorted(nodes, key=self._numbers.__getitem__, reverse=True):
            kept = self._kept.pop(node)
            kept.swap()
            # A finalizer may ask for another fixture, for which its node must be set up:
            # https://github.com/pytest-dev/pytest/issues/12882
            self._stack[node] = kept.entry
            finalizers = kept.entry[0]
            with self._quiet.around_teardown():
                while finalizers:
                    with self._warning():
                        finalizers.pop()()
            del self._stack[node]
            del self._numbers[node]
            kept.swap()

    @contextlib.contextmanager
    def _warning(self) -> Iterator[None]:
        """Warn of what is raised, but for Ctrl-C."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # pytest.fail and pytest.skip raise no Exception. No test is running that this could fail, and what is
            # left must be torn down, too.
            self._warn(f"a fixture failed while it was torn down after a dry run: {error!r}")

    def _leave(self, chain: list[Node]) -> None:
        """Tear down what is on the stack and not among an item's nodes, and what was set up later."""
        left = [node for node in self._stack if node not in chain]
        if left:
            self._take_off(left)
            first = self._numbers[left[0]]
            self._drop([node for node in self._kept if self._numbers[node] >= first])

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
        # A fixture is torn down along with a parameter that it depends on, before another value of it is set up:
        # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/fixtures.py#L1278
        changes = any(instance.is_parametrized and not self._is_up(instance, item) for instance in used)
        for instance in used:
            if instance.node is self._session and not instance.params:
                continue
            if changes or not self._is_up(instance, item):
                yield instance

    def _to_set_up(self, item: pytest.Item) -> list[Instance]:
        return list(self._missing(item, self._instances(item)))

    def _is_for_real(self, instance: Instance) -> bool:
        """Return whether a dry run that sets a fixture up now sets it up for the real run.

        It was set up once too often already, or is one of the session.
        """
        return instance in self._upcoming and (self._set_ups[instance] > 0 or instance.node is self._session)

    def _is_in_the_way(self, item: pytest.Item) -> bool:
        """Return whether an item would set up a fixture of the session while some of its own and others are up.

        Only the others would have to be torn down for that, and they may be older.
        """
        used = self._instances(item)
        if all(instance.node is not self._session or self._is_up(instance, item) for instance in used):
            return False
        chain = item.listchain()
        lasting = (self._session, *self._held)
        return any(node not in chain for node in self._kept) and any(
            instance.node not in lasting and self._is_up(instance, item) for instance in used
        )

    def _is_up(self, instance: Instance, item: pytest.Item) -> bool:
        kept = self._kept.get(instance.node)
        if kept is not None:
            return instance.definition in kept.values
        cached = instance.definition.cached_result
        if cached is None or instance.node not in self._stack:
            return False
        callspec = getattr(item, "callspec", None)
        param = callspec.params.get(instance.name) if instance.is_parametrized and callspec is not None else None
        return _is_same(cached[1], param)


def _definitions(finalizers: list[Callable[[], object]]) -> list[FixtureDef[Any]]:
    """Return the fixtures that are set up on a node."""
    owners = dict.fromkeys(map(owner_of, finalizers))
    return [owner for owner in owners if isinstance(owner, FixtureDef) and owner.cached_result is not None]


def _holds_more(node: Node, finalizers: list[Callable[[], object]]) -> bool:
    """Return whether something else than fixtures is to be done at a node's end."""
    return any(owner is not node and not isinstance(owner, FixtureDef) for owner in map(owner_of, finalizers))


def outermost_scope(item: pytest.Function) -> pytest.Collector | None:
    """Return the outermost node below the session whose fixtures an item uses."""
    definitions = item._fixtureinfo.name2fixturedefs
    scopes = {used.scope for name in item.fixturenames for used in definitions.get(name, ())}
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
        # The last definition overrides those before it, which only its own use of the same name brings in:
        # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/fixtures.py#L752
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
    # Only this says of which scope a parameter is: parametrize(..., scope=...) overrides that of the fixture.
    # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/fixtures.py#L770
    params = callspec._arg2scope.items()
    wider = tuple(
        (name, callspec.indices[name]) for name, its in params if its >= scope and name in callspec.indices
    )
    return Instance(definition, node, wider)


def _is_same(param: object, other: object) -> bool:
    """Compare two parameters as pytest does: an array, say, has no truth value.

    https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/fixtures.py#L1262
    """
    try:
        return bool(param == other)
    except (ValueError, RuntimeError):
        return param is other
