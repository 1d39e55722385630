"""What is run dry, when, and how often: the scheduling, with copies, scopes and answers that a test deals out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pytest_proofmap.errors import CallError
from pytest_proofmap.prefetch import prefetch
from pytest_proofmap.prefetch.item_copy import Ended
from pytest_proofmap.prefetch.prefetch import Asked, Prefetcher
from pytest_proofmap.prefetch.suspension import DryRun, Suspended

Kind = Literal["talks", "differs", "breaks", "quiet"]


@dataclass(eq=False)
class Item:
    """A test: what it asks turn by turn, and which scope's fixtures it uses."""

    name: str
    criterion: str
    kind: Kind = "talks"
    turns: int = 1
    width: int = 1
    scope: str | None = None
    stash: dict[Any, Any] = field(default_factory=dict)

    def keys(self, turn: int, run: int) -> list[str]:
        """Return what it asks in one turn; a test that differs asks something else in each run."""
        again = f"#{run}" if self.kind == "differs" else ""
        return [f"{self.name}.{turn}.{number}{again}" for number in range(self.width)]


@dataclass
class World:
    """Answers to requests, and what happened."""

    items: list[Item]
    sent: list[str] = field(default_factory=list)
    pending: dict[str, Future[None]] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    dry_runs: dict[str, int] = field(default_factory=dict)
    finished: list[Item] = field(default_factory=list)
    dry_after_run: list[str] = field(default_factory=list)
    unstable: list[str] = field(default_factory=list)
    asked: dict[int, list[Asked]] = field(default_factory=dict)
    upcoming: Item | None = None
    waits: int = 0
    arrives: Callable[[list[str]], str] = min

    def arrive(self) -> None:
        """Let one answer come in."""
        if self.pending:
            key = self.arrives(sorted(self.pending))
            self.answered.add(key)
            self.pending.pop(key).set_result(None)

    def send(self, key: str) -> Future[None]:
        """Send a request, once."""
        if key not in self.pending:
            self.sent.append(key)
            self.pending[key] = Future()
        return self.pending[key]

    # What the prefetch must know of a run, and its progress.

    def kind_of(self, item: Any) -> tuple[str, str]:
        """Return criterion and runtime."""
        return item.criterion, "mini"

    def asked_by(self, item: Any) -> list[Asked] | None:
        """Return what a copy has asked, or None for an item that has not run."""
        return self.asked.get(id(item))

    def has_asked(self) -> bool:
        """Return whether anything was ever missing."""
        return bool(self.sent)

    def warn(self, message: str) -> None:
        """Take a warning."""

    def warn_unstable(self, item: Any, first: Any, then: Any) -> None:
        """Note who asks something else each time."""
        assert first != then
        self.unstable.append(item.criterion)

    def wait(self) -> None:
        """Let an answer come in while the run waits."""
        self.waits += 1
        assert self.waits < 10_000, "it waits for ever"
        self.arrive()

    def resume(self) -> None:
        """Go on."""

    # What stands in for copies and scopes.

    quiet = property(lambda self: self)

    def close(self) -> None:
        """Nothing is open."""

    def run(self, item: Item, dry_run: DryRun) -> Ended:
        """Run a copy of an item dry."""
        self.dry_runs[item.name] = number = self.dry_runs.get(item.name, 0) + 1
        if item in self.finished:
            self.dry_after_run.append(item.name)
        copy = Item(item.name, item.criterion)
        asked = self.asked[id(copy)] = []
        self._copies.append(copy)
        ending: Any = "finished"
        try:
            dry_run.enter("call")
            if item.kind == "breaks":
                raise RuntimeError
            for turn in range(item.turns if item.kind != "quiet" else 0):
                waits = False
                for key in item.keys(turn, number):
                    asked.append(Asked(key, key, False))
                    dry_run.meet()
                    if key not in self.answered:
                        dry_run.admit(key, len(asked) - 1)
                        dry_run.pending.append(self.send(key))
                        waits = True
                if waits:
                    dry_run.suspend()
        except Suspended:
            ending = "suspended"
        except (RuntimeError, CallError):
            ending = "broken"
        dry_run.enter("over")
        return Ended(copy, ending)  # type: ignore[arg-type]  # a stand-in for pytest's item

    _copies: list[Item] = field(default_factory=list)

    def reach(self, upcoming: Any) -> tuple[object, ...]:
        """Say which scope is reached."""
        self.upcoming = upcoming
        return (upcoming.scope,)

    def allows(self, item: Item) -> bool:
        """Allow what uses no wider fixtures, or those of the item that runs next."""
        return item.scope is None or (self.upcoming is not None and item.scope == self.upcoming.scope)

    def is_kept_from(self, item: Item) -> bool:
        """Keep nothing up for a test that does not run next."""
        return False

    def costs_nothing(self, item: Item) -> bool:
        """Say whether it uses no wider fixtures."""
        return item.scope is None

    def enter(self, item: Item) -> None:
        """Enter a scope."""

    def note(self, item: Item, copied: Any) -> None:
        """Learn nothing."""

    def leave_for(self, item: Any) -> None:
        """Leave scopes."""


def prefetcher(
    world: World, monkeypatch: pytest.MonkeyPatch | None = None, *, window: int | None = None
) -> Prefetcher:
    """Return the scheduling over stand-ins."""
    patched = monkeypatch or pytest.MonkeyPatch()
    patched.setattr(prefetch, "DryRunner", lambda _: world)
    patched.setattr(prefetch, "Scopes", lambda *_: world)
    patched.setattr(prefetch, "WAIT_STEP_S", 0.001)
    session: Any = type("Session", (), {"items": world.items})()
    items: Any = world.items
    try:
        return Prefetcher(session, world, items, window=window, progress=world)
    finally:
        if monkeypatch is None:
            # What it has taken stays; waiting is patched by whoever needs it short.
            patched.undo()


def run_for_real(world: World, scheduling: Prefetcher, item: Item) -> list[str]:
    """Run an item as pytest does after its turn has come; return what it had to wait for."""
    stand_in: Any = item
    scheduling.before(stand_in)
    missing = []
    world.asked[id(item)] = []
    for turn in range(item.turns if item.kind in ("talks", "differs") else 0):
        for key in item.keys(turn, 0):
            if key not in world.answered:
                missing.append(key)
                world.send(key)
                while key in world.pending:
                    world.arrive()
    world.finished.append(item)
    scheduling.after(stand_in, has_waited=bool(missing))
    return missing


class Schedule(RuleBasedStateMachine):
    """Any tests in any order, while answers come in at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(prefetch, "WAIT_STEP_S", 0.0001)

    @initialize(
        tests=st.lists(
            st.builds(
                Item,
                name=st.just(""),
                criterion=st.sampled_from("ab"),
                kind=st.sampled_from(["talks", "talks", "talks", "differs", "breaks", "quiet"]),
                turns=st.integers(1, 3),
                width=st.integers(1, 2),
                scope=st.sampled_from([None, None, "one", "two"]),
            ),
            min_size=1,
            max_size=12,
        ),
        window=st.sampled_from([None, None, 1, 3]),
        latest=st.booleans(),
    )
    def begin(self, tests: list[Item], window: int | None, latest: bool) -> None:
        """Collect the tests."""
        for number, item in enumerate(tests):
            item.name = f"t{number}"
        self.world = World(tests, arrives=max if latest else min)
        self.scheduling = prefetcher(self.world, window=window)
        self.left = list(tests)
        self.window = window

    @precondition(lambda self: self.left)
    @rule(choice=st.integers(0, 11))
    def run_one(self, choice: int) -> None:
        """Run any test that is left: a worker of xdist gets them in no order of its own."""
        item = self.left.pop(choice % len(self.left))
        is_known = bool(self.world.sent)
        missing = run_for_real(self.world, self.scheduling, item)
        mixed = {other.kind for other in self.world.items if other.criterion == item.criterion} != {"talks"}
        lengths = {other.turns for other in self.world.items if other.criterion == item.criterion}
        if is_known and item.kind == "talks" and not mixed and lengths == {item.turns}:
            assert not missing, "once anything was missing, an item like all others never waits in its real run"

    @rule()
    def arrive(self) -> None:
        """Let an answer come in while a test runs."""
        self.world.arrive()

    @invariant()
    def nothing_is_asked_twice(self) -> None:
        """Each request is sent once."""
        if hasattr(self, "world"):
            assert len(set(self.world.sent)) == len(self.world.sent)

    @invariant()
    def dry_runs_are_few(self) -> None:
        """A test that has run is not run dry, and one that differs each time is bounded."""
        if hasattr(self, "world"):
            assert not self.world.dry_after_run
            for item in self.world.items:
                runs = self.world.dry_runs.get(item.name, 0)
                assert runs <= {"talks": 3 * item.turns + 1, "differs": 4}.get(item.kind, 1)

    def teardown(self) -> None:
        """Run what is left."""
        if hasattr(self, "world"):
            for item in self.left:
                run_for_real(self.world, self.scheduling, item)
        self.patch.undo()


TestSchedule = Schedule.TestCase
TestSchedule.settings = settings(max_examples=150, stateful_step_count=20, deadline=None)


def test_a_run_whose_answers_are_there_runs_one_item_of_a_criterion_dry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached rerun must not pay for dry runs."""
    items = [Item(f"t{number}", "a" if number < 5 else "b") for number in range(10)]
    world = World(items)
    world.answered.update(key for item in items for key in item.keys(0, 0))
    scheduling = prefetcher(world, monkeypatch)
    assert [run_for_real(world, scheduling, item) for item in items] == [[]] * 10
    assert world.dry_runs == {"t0": 1, "t5": 1}


def test_all_items_ask_before_the_first_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One missing answer starts the prefetch of everything, in order."""
    items = [Item(f"t{number}", "a") for number in range(4)]
    world = World(items)
    run_for_real(world, prefetcher(world, monkeypatch), items[0])
    assert world.sent == ["t0.0.0", "t1.0.0", "t2.0.0", "t3.0.0"]


def test_a_window_bounds_what_is_asked_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the run may end early, only so many tests are run dry ahead of it."""
    items = [Item(f"t{number}", "a") for number in range(6)]
    world = World(items)
    run_for_real(world, prefetcher(world, monkeypatch, window=2), items[0])
    assert world.sent == ["t0.0.0", "t1.0.0"]


def test_items_that_ask_once_are_not_run_dry_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After five of a criterion that asked once and no more, the others are taken to do so too."""
    items = [Item(f"t{number}", "a") for number in range(12)]
    world = World(items)
    scheduling = prefetcher(world, monkeypatch)
    for item in items:
        assert run_for_real(world, scheduling, item) == []
    assert [world.dry_runs[item.name] for item in items][-4:] == [1, 1, 1, 1]


def test_failed_set_ups_teach_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that broke in their dry runs say nothing about how often the others of a criterion ask."""
    items = [Item(f"b{number}", "a", kind="breaks") for number in range(8)]
    items += [Item(f"t{number}", "a", turns=3) for number in range(3)]
    world = World(items)
    scheduling = prefetcher(world, monkeypatch)
    waited = [bool(run_for_real(world, scheduling, item)) for item in items]
    assert waited == [False] * 8 + [True, False, False], "only the one that shows that there is something to ask"


def test_one_of_a_criterion_that_differs_pays_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first shows it; none of the others sends what it will not use."""
    items = [Item(f"t{number}", "a", kind="differs") for number in range(20)]
    world = World(items)
    scheduling = prefetcher(world, monkeypatch)
    run_for_real(world, scheduling, items[0])
    ahead = [key for key in world.sent if not key.startswith("t0.0.0#0")]
    assert world.unstable == ["a"]
    assert len(ahead) == 1


def test_scopes_that_are_not_reached_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would set wider fixtures up too often is run dry once its own scope is reached."""
    items = [Item("t0", "a"), Item("t1", "b", scope="one"), Item("t2", "b", scope="one")]
    world = World(items)
    scheduling = prefetcher(world, monkeypatch)
    run_for_real(world, scheduling, items[0])
    assert world.sent == ["t0.0.0"]
    run_for_real(world, scheduling, items[1])
    assert world.sent == ["t0.0.0", "t1.0.0", "t2.0.0"]
