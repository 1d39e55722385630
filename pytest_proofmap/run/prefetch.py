"""Prefetch: the calls of tests yet to come are made while others run or wait.

When answers are missing, every marked item is *explored* once, in order, before it runs: a shadow of it runs
until a call whose answer is not there; the request is sent and the shadow is suspended. The real run then goes
through the items as always. Before an item's turn comes, its answers are waited for, and the waiting is used
to explore again the items whose answers have arrived: they may ask for more.

Fixtures of the session are set up once in all. Fixtures of a module, class or package are set up once for
the exploration of their items and once for the real run: items that use such fixtures are explored again only
while their scope is set up for the real run.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from pytest_proofmap.run.criteria import SampleId
from pytest_proofmap.run.engine import Engine
from pytest_proofmap.run.progress import Progress
from pytest_proofmap.run.sample import SampleRecord
from pytest_proofmap.run.shadow import ShadowRunner

__all__ = ["Gate", "Prefetcher", "scope_of"]

SINGLE_TURN_EVIDENCE = 5
"""After so many items of a criterion have asked once and no more, the others are taken to do so too."""

PROBE_LIMIT = 50
"""How many items may be explored to find out whether there is anything to call."""

Gate = Callable[[pytest.Item], Literal["now", "later", "never"]]
"""Says whether an item may be explored: now, not before something has run, or never because it will not run."""

WAIT_STEP_S = 0.2
"""How often progress is shown while nothing arrives, in seconds."""


@dataclass(slots=True, eq=False)
class Exploration:
    """Where the exploration of an item stands."""

    item: pytest.Function
    criterion: str
    runtime: str
    scope: pytest.Collector | None
    """The outermost node below the session whose fixtures the item uses."""
    turns: int = 0
    """How often it was explored."""
    asked: bool = False
    """True when it has asked for an answer that was not there."""
    missing: int = 0
    """How many answers are still on their way."""
    resolved: bool = False
    """True when all that the item asks for is there, as far as is known."""


class Prefetcher:
    """Explores the items of one process.

    Args:
        session: The session, after its collection.
        engine: What answers requests.
        items: The items to explore, in the order in which they will run.
        identify: Says which sample an item is.
        record_of: Finds the record that an exploration left on its shadow.
        window: How many items, the one that runs included, may be explored ahead of the real run; None: all.
        progress: Is told while the pass goes on or waits, and when the real run goes on.
    """

    def __init__(
        self,
        session: pytest.Session,
        engine: Engine,
        items: Sequence[pytest.Function],
        *,
        identify: Callable[[pytest.Item], SampleId | None],
        record_of: Callable[[pytest.Item], SampleRecord | None],
        window: int | None,
        progress: Progress,
        gate: Gate | None = None,
    ) -> None:
        self._session = session
        self._engine = engine
        self._record_of = record_of
        self._window = window
        self._progress = progress
        self._gate = gate or _always
        self._runner = ShadowRunner(session)
        self._items = items
        self._identify = identify
        self._explorations: dict[pytest.Item, Exploration] = {}
        self._unexplored: deque[Exploration] = deque()
        self._arrived: deque[Exploration] = deque()
        self._arrival = threading.Condition()
        self._single_turns: dict[str, int] = {}
        self._positions: dict[pytest.Item, int] = {}
        self._here = 0
        self._looking_ahead = False
        self._may_have_left = False
        """Whether an exploration may have left fixtures set up that the next item does not use."""

    def probe(self) -> None:
        """Find out whether there is anything to call, and if so explore every item once.

        A run whose answers are all there must not pay for exploring them. So one item of each criterion and
        runtime is explored, if its fixtures allow to do so out of turn; if none of them misses an answer, the
        real run starts, and the first miss that it meets starts the exploration of what is left.

        Raises:
            KeyboardInterrupt: The user wants to stop.
        """
        if not self._items:
            return
        first = self._session.items[0]
        seen: set[tuple[str, str]] = set()
        for item in self._items:
            if len(seen) == PROBE_LIMIT:
                break
            sample = self._identify(item)
            assert sample is not None
            kind = (sample.criterion, sample.runtime)
            if kind not in seen and scope_of(item) is None and self._gate(item) == "now":
                seen.add(kind)
                exploration = self._explorations[item] = self._exploration(item)
                self._explore(exploration, first)
                if not exploration.resolved:
                    self._look_ahead()
                    self._explore_ahead(first)
                    break
        self._leave_foreign_scopes(first)

    def before(self, item: pytest.Item) -> None:
        """See to it that an item that runs next has its answers.

        Raises:
            KeyboardInterrupt: The user wants to stop.
        """
        if not self._looking_ahead:
            if not self._engine.has_asked:
                return
            self._look_ahead()
        self._here = self._positions.get(item, self._here)
        exploration = self._explorations.get(item)
        if exploration is not None:
            exploration.resolved = exploration.resolved or self._gate(item) == "never"
            self._explore_ahead(item)
            self._await(exploration)
            exploration.turns = max(exploration.turns, 1)
        elif self._window is not None:
            self._explore_ahead(item)
        self._progress.resume()
        self._leave_foreign_scopes(item)

    def after(self, item: pytest.Item, record: SampleRecord | None) -> None:
        """Learn from a real run: an item that asked for more than was foreseen is not alone."""
        exploration = self._explorations.pop(item, None) if self._looking_ahead else None
        if exploration is not None and exploration.asked and record is not None and record.awaited:
            self._single_turns[exploration.criterion] = -SINGLE_TURN_EVIDENCE

    def _look_ahead(self) -> None:
        """Start to look ahead, among the items that have not run yet."""
        self._looking_ahead = True
        self._positions = {item: position for position, item in enumerate(self._session.items)}
        for item in self._items:
            if item not in self._explorations and self._record_of(item) is None:
                self._explorations[item] = self._exploration(item)
        self._unexplored = deque(
            sorted(self._explorations.values(), key=lambda exploration: self._positions[exploration.item])
        )

    def _exploration(self, item: pytest.Function) -> Exploration:
        sample = self._identify(item)
        assert sample is not None
        return Exploration(item, sample.criterion, sample.runtime, scope_of(item))

    def _await(self, exploration: Exploration) -> None:
        """Wait for an item's answers, and use the time for others."""
        while not exploration.resolved:
            if not self._revisit(exploration.item):
                self._wait()

    def _explore_ahead(self, upcoming: pytest.Item) -> None:
        """Explore items for the first time, as far as the window and the scopes allow."""
        end = None if self._window is None else self._here + self._window
        while self._unexplored:
            exploration = self._unexplored[0]
            if end is not None and self._positions[exploration.item] >= end:
                return
            allowed = self._gate(exploration.item)
            if allowed == "later":
                return
            if exploration.turns == 0 and allowed == "now":
                if not self._reaches(exploration):
                    return
                following = self._unexplored[1].item if len(self._unexplored) > 1 else upcoming
                self._explore(exploration, following)
            self._unexplored.popleft()

    def _revisit(self, upcoming: pytest.Item) -> bool:
        """Explore again what has arrived; return whether there was anything."""
        visited = False
        for _ in range(len(self._arrived)):
            exploration = self._arrived.popleft()
            if exploration.resolved:
                continue
            if not self._may_revisit(exploration, upcoming):
                self._arrived.append(exploration)
                continue
            if self._single_turns.get(exploration.criterion, 0) >= SINGLE_TURN_EVIDENCE:
                exploration.resolved = True
            else:
                self._explore(exploration, upcoming)
            visited = True
            self._progress.wait()
        return visited

    def _explore(self, exploration: Exploration, following: pytest.Item) -> None:
        engine = self._engine
        engine.exploring = self._may_have_left = True
        try:
            shadow = self._runner.explore(exploration.item, following)
        finally:
            engine.exploring = False
        exploration.turns += 1
        record = self._record_of(shadow)
        flights: list[Future[Any]] = record.awaited if record is not None else []
        exploration.resolved = not flights
        if not flights:
            self._learn(exploration)
            return
        exploration.asked = True
        exploration.missing = len(flights)
        for flight in flights:
            flight.add_done_callback(lambda _: self._arrive(exploration))
        self._progress.wait()

    def _learn(self, exploration: Exploration) -> None:
        """Count how many items of a criterion asked once and no more."""
        if exploration.turns == 2 and exploration.asked:
            known = self._single_turns.get(exploration.criterion, 0)
            self._single_turns[exploration.criterion] = known + 1
        elif exploration.turns > 2:
            self._single_turns[exploration.criterion] = -SINGLE_TURN_EVIDENCE

    def _arrive(self, exploration: Exploration) -> None:
        """Note, from any thread, that one of an item's answers is there."""
        with self._arrival:
            exploration.missing -= 1
            if exploration.missing == 0:
                self._arrived.append(exploration)
                self._arrival.notify_all()

    def _wait(self) -> None:
        """Wait until something arrives."""
        with self._arrival:
            known = len(self._arrived)
            self._arrival.wait_for(lambda: len(self._arrived) > known, timeout=WAIT_STEP_S)
        self._progress.wait()

    def _may_revisit(self, exploration: Exploration, upcoming: pytest.Item) -> bool:
        """Return whether an item can be explored again without setting its fixtures up once too often."""
        inside = exploration.scope is None or exploration.scope in upcoming.listchain()
        return inside and self._reaches(exploration)

    def _reaches(self, exploration: Exploration) -> bool:
        """Return whether an item can be explored without tearing down fixtures that are still needed."""
        chain = exploration.item.listchain()
        stack = self._session._setupstate.stack
        return all(node in chain or len(finalizers) <= 1 for node, (finalizers, _) in stack.items())

    def _leave_foreign_scopes(self, item: pytest.Item) -> None:
        """Tear down what explorations left set up and an item does not use."""
        if not self._may_have_left:
            return
        self._may_have_left = False
        setupstate = self._session._setupstate
        chain = item.listchain()
        if any(node not in chain for node in setupstate.stack):
            try:
                setupstate.teardown_exact(item)
            except Exception as error:
                self._engine.warn(f"a fixture failed while it was torn down after the prefetch: {error!r}")


def _always(_: pytest.Item) -> Literal["now"]:
    return "now"


def scope_of(item: pytest.Function) -> pytest.Collector | None:
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
