"""Prefetch: the calls of tests yet to come are made while others run or wait.

When answers are missing, every item is run dry once, in order, before it runs: a copy of it runs until a call
whose answer is not there; the request is sent and the copy is suspended. The real run then goes through the items
as always. Before an item's turn comes, its answers are waited for, and the waiting is used to run the items dry
again whose answers have arrived: they may ask for more.

How often fixtures of wider scope are set up for that is decided in :mod:`pytest_proofmap.prefetch.scopes`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Literal, NamedTuple, Protocol

import pytest

from pytest_proofmap.prefetch.item_copy import DryRunner, Ended
from pytest_proofmap.prefetch.scopes import Scopes
from pytest_proofmap.prefetch.suspension import DryRun

__all__ = ["ASKED_IN_DRY_RUN", "Asked", "Prefetcher"]

SINGLE_TURN_EVIDENCE = 5
"""After so many items of a criterion have asked once and no more, the others are taken to do so too."""

PROBE_LIMIT = 50
"""How many items may be run dry to find out whether there is anything to call."""

DIFFERING_LIMIT = 2
"""How many dry runs may ask something else than the one before; then the item is unstable."""

DRY_RUNS_AT_MOST = 50
"""How often an item is run dry; a conversation of more turns goes on in the real run."""

WAIT_STEP_S = 0.2
"""How often progress is shown while nothing arrives, in seconds."""

ASKED_IN_DRY_RUN = pytest.StashKey[bool]()
"""Whether a dry run of an item asked the runtime under test, on ``item.stash``."""

MayRun = Callable[[pytest.Item], Literal["now", "later", "never"]]
"""Says whether an item may be run dry: now, not before something has run, or never because it will not run."""


class Asked(NamedTuple):
    """A request that a test made."""

    key: str
    request: Any
    """The request itself, for those who show it."""
    auxiliary: bool
    """Whether another runtime than the one under test was asked."""


class Progress(Protocol):
    """Shows how far the calls are."""

    def wait(self) -> None:
        """Say that the run waits."""

    def resume(self) -> None:
        """Say that the run goes on."""


class Prefetching(Protocol):
    """What the prefetch must know of a run."""

    def kind_of(self, item: pytest.Item) -> tuple[str, str]:
        """Return the criterion and the runtime of an item."""

    def asked_by(self, item: pytest.Item) -> list[Asked] | None:
        """Return what an item, or a copy of it, has asked, in its order; None when it has not run."""

    def has_asked(self) -> bool:
        """Return whether a request of this process was ever not answered from what was there."""

    def warn(self, message: str) -> None:
        """Show a warning to the user."""

    def warn_unstable(self, item: pytest.Item, first: Any, then: Any) -> None:
        """Say that an item asks something else each time, with two of its requests."""


@dataclass(slots=True, eq=False)
class Ahead:
    """How far the prefetch of an item is."""

    item: pytest.Function
    criterion: str
    runtime: str
    stage: Literal["new", "waiting", "arrived", "settled"] = "new"
    """Not run dry yet; its answers are on their way; they are there; it will not be run dry any more."""
    runs: int = 0
    """How often it was run dry."""
    turns: int = 0
    """How many of these sent something."""
    missing: int = 0
    """How many answers are still on their way."""
    asked: list[Asked] = field(default_factory=list)
    """What the last dry run asked."""
    is_unordered: bool = False
    """Whether the order of that is chance."""
    withheld: bool = False
    """Whether the last dry run asked something that was not sent."""
    differing: int = 0
    """How many dry runs asked something else than the one before."""


class Prefetcher:
    """Makes the calls of one process ahead.

    Args:
        session: The session, after its collection.
        run: What must be known of the run.
        items: The items whose calls are made ahead, in the order in which they will run.
        window: How many items, the one that runs included, may be run dry ahead of the real run; None: all.
        progress: Is told while the prefetch goes on or waits, and when the real run goes on.
        may_run: Says which items may be run dry.
    """

    def __init__(
        self,
        session: pytest.Session,
        run: Prefetching,
        items: Sequence[pytest.Function],
        *,
        window: int | None,
        progress: Progress,
        may_run: MayRun | None = None,
    ) -> None:
        self._session = session
        self._run = run
        self._window = window
        self._progress = progress
        self._may_run = may_run or _always
        self._runner = DryRunner(session)
        self.scopes = Scopes(session, self._runner.quiet, run.warn)
        self._items = items
        self._ahead: dict[pytest.Item, Ahead] = {}
        self._new: deque[Ahead] = deque()
        self._refused: list[Ahead] = []
        """New or arrived, and not allowed to be run dry in the situation that it was tried in."""
        self._situation: tuple[object, ...] = ()
        self._arrived: deque[Ahead] = deque()
        self._elsewhere: list[Ahead] = []
        """All that were waiting; those whose fixtures the next real run tears down are found from the end."""
        self._arrivals: SimpleQueue[Ahead] = SimpleQueue()
        self._lock = threading.Lock()
        self._single_turns: dict[str, int] = {}
        self._unstable: set[str] = set()
        """Criteria with an item that asks something else each time."""
        self._checked: set[tuple[str, int]] = set()
        """Criteria, and their turns, of which one item was run dry once more at once."""
        self._positions: dict[pytest.Item, int] = {}
        self._here = 0
        self._has_probed = self._has_started = False

    def before(self, item: pytest.Item) -> None:
        """See to it that an item that runs next has its answers.

        Raises:
            KeyboardInterrupt: The user wants to stop.
        """
        if self._has_started or self._run.has_asked() or not self._has_probed:
            situation = self.scopes.reach(item)
            if situation != self._situation:
                self._situation = situation
                self._try_refused_again()
            if self._has_started or self._run.has_asked() or self._finds_a_miss():
                self._start()
                self._prefetch(item)
                self._finish_elsewhere()
                self._progress.resume()
        # In every case: also when nothing was asked, and for items that are no part of this.
        self.scopes.leave_for(item)

    def after(self, item: pytest.Item, *, has_waited: bool) -> None:
        """Learn from a real run: an item that asked for more than was foreseen is not alone.

        Args:
            item: The item.
            has_waited: Whether it had to wait for an answer.
        """
        ahead = self._ahead.pop(item, None)
        if ahead is not None:
            if ahead.turns and has_waited:
                self._single_turns[ahead.criterion] = -SINGLE_TURN_EVIDENCE
            self._settle(ahead)

    def close(self) -> None:
        """Give back what the dry runs needed."""
        self.scopes.close()
        self._runner.quiet.close()

    def _finds_a_miss(self) -> bool:
        """Find out whether there is anything to call.

        A run whose answers are all there must not pay for dry runs. So one item of each criterion and runtime is
        run dry, where that costs no set-up; if none of them misses an answer, the real run starts, and the first
        miss that it meets starts the prefetch of what is left.
        """
        self._has_probed = True
        seen: set[tuple[str, str]] = set()
        for item in self._items:
            if len(seen) == PROBE_LIMIT:
                break
            kind = self._run.kind_of(item)
            if kind not in seen and self._may_run(item) == "now" and self.scopes.costs_nothing(item):
                seen.add(kind)
                ahead = self._ahead[item] = Ahead(item, *kind)
                self._dry_run(ahead)
                if ahead.stage != "settled":
                    return True
        return False

    def _start(self) -> None:
        """Start to make calls ahead, for the items that have not run yet."""
        if self._has_started:
            return
        self._has_started = True
        self._positions = {item: position for position, item in enumerate(self._session.items)}
        for item in self._items:
            if item not in self._ahead and self._run.asked_by(item) is None:
                self._ahead[item] = Ahead(item, *self._run.kind_of(item))
        self._new = deque(sorted(self._ahead.values(), key=lambda ahead: self._positions[ahead.item]))

    def _prefetch(self, item: pytest.Item) -> None:
        """Run items dry as far as that may be, until the one that runs next has its answers."""
        self._here = self._positions.get(item, self._here)
        self._run_new()
        self._run_arrived()
        ahead = self._ahead.get(item)
        if ahead is None:
            return
        while ahead.stage != "settled":
            if self._may_run(item) == "never":
                self._settle(ahead)
            elif ahead.stage in ("new", "arrived"):
                self._dry_run(ahead)
            elif not self._run_arrived():
                self._wait()

    def _finish_elsewhere(self) -> None:
        """Let conversations end for which fixtures are set up that the next real run tears down."""
        while True:
            has_run = self._run_arrived()
            while self._elsewhere and not self._is_elsewhere(self._elsewhere[-1]):
                self._elsewhere.pop()
            if not self._elsewhere:
                return
            if not has_run:
                self._wait()

    def _is_elsewhere(self, ahead: Ahead) -> bool:
        return ahead.stage == "waiting" and self.scopes.is_kept_from(ahead.item)

    def _run_new(self) -> None:
        """Run items dry for the first time, as far as the window and the scopes allow."""
        end = None if self._window is None else self._here + self._window
        while self._new:
            ahead = self._new[0]
            if end is not None and self._positions[ahead.item] >= end:
                return
            may_run = self._may_run(ahead.item)
            if may_run == "later":
                return
            self._new.popleft()
            if ahead.stage == "new" and may_run == "now":
                self._try(ahead)

    def _run_arrived(self) -> bool:
        """Run items dry again whose answers are there; return whether there was anything to do."""
        self._take_arrivals()
        has_run = False
        for _ in range(len(self._arrived)):
            ahead = self._arrived.popleft()
            if ahead.stage != "arrived":
                continue
            if self._single_turns.get(ahead.criterion, 0) >= SINGLE_TURN_EVIDENCE:
                self._settle(ahead)
                has_run = True
            else:
                has_run = self._try(ahead) or has_run
        return has_run

    def _try(self, ahead: Ahead) -> bool:
        if not self.scopes.allows(ahead.item):
            self._refused.append(ahead)
            return False
        self._dry_run(ahead)
        self._progress.wait()
        return True

    def _try_refused_again(self) -> None:
        refused, self._refused = self._refused, []
        self._new.extendleft(reversed([ahead for ahead in refused if ahead.stage == "new"]))
        self._arrived.extend(ahead for ahead in refused if ahead.stage == "arrived")

    def _dry_run(self, ahead: Ahead) -> None:
        """Run an item dry, and see what that comes to."""
        # Where one item of a criterion asks something else each time, the others do not pay to show the same: they
        # send what a dry run has asked twice.
        sends = ahead.criterion not in self._unstable or ahead.withheld
        ended, dry_run = self._copy_runs(ahead, sends=sends)
        if ahead.stage == "settled":
            return
        if dry_run.pending:
            ahead.turns += 1
            ahead.withheld = False
            self._await(ahead, dry_run.pending)
            if (ahead.criterion, ahead.turns) not in self._checked:
                self._checked.add((ahead.criterion, ahead.turns))
                self._check(ahead)
        elif ended.ending == "suspended" and ahead.asked:
            # Its request was not sent, because it differs or may: it is, once a dry run repeats it.
            ahead.withheld = True
            self._await(ahead, ())
        else:
            self._settle(ahead)
            if ended.ending == "finished":
                self._learn(ahead)

    def _copy_runs(self, ahead: Ahead, *, sends: bool) -> tuple[Ended, DryRun]:
        """Run a copy of an item, and compare what it asked with what the copy before it asked."""
        item, before = ahead.item, ahead.asked
        expected = None if ahead.is_unordered or not before else [asked.key for asked in before]
        dry_run = DryRun(expected, sends=sends)
        self.scopes.enter(item)
        ended = self._runner.run(item, dry_run)
        self.scopes.note(item, ended.copy)
        asked = self._run.asked_by(ended.copy) or []
        if any(not call.auxiliary for call in asked):
            item.stash[ASKED_IN_DRY_RUN] = True
        is_unordered = ahead.is_unordered or dry_run.is_unordered
        difference = _difference(before, asked, dry_run.differs_at, is_unordered=is_unordered)
        ahead.runs += 1
        ahead.asked, ahead.is_unordered = asked, is_unordered
        if difference is not None:
            ahead.differing += 1
            if ahead.differing >= DIFFERING_LIMIT:
                if ahead.criterion not in self._unstable:
                    self._unstable.add(ahead.criterion)
                    self._run.warn_unstable(item, *difference)
                self._settle(ahead)
        if dry_run.is_stopped or ahead.runs >= DRY_RUNS_AT_MOST:
            self._settle(ahead)
        return ended, dry_run

    def _check(self, ahead: Ahead) -> None:
        """Run the first item of a criterion that has come to a turn dry once more at once, before the others ask.

        It stops at the same request, whose answer is on its way; if it is another one by then, the others need not
        pay to find that out.
        """
        while ahead.stage == "waiting" and self.scopes.allows(ahead.item):
            differing = ahead.differing
            self._copy_runs(ahead, sends=False)
            if ahead.differing == differing:
                return

    def _await(self, ahead: Ahead, pending: Iterable[Future[Any]]) -> None:
        answers = list(pending)
        ahead.stage = "waiting"
        self._elsewhere.append(ahead)
        # One more than there are, as callbacks of answers that are there already run at once.
        ahead.missing = len(answers) + 1
        for answer in answers:
            answer.add_done_callback(lambda _: self._arrive(ahead))
        self._arrive(ahead)

    def _arrive(self, ahead: Ahead) -> None:
        """Note, from any thread, that one of an item's answers is there."""
        # Callbacks of futures run in the thread that sets the result, and two may end at once: a count that is
        # lost would leave the item waiting for ever.
        with self._lock:
            ahead.missing -= 1
            if ahead.missing:
                return
        self._arrivals.put(ahead)

    def _take_arrivals(self, wait_s: float = 0.0) -> None:
        try:
            while True:
                ahead = self._arrivals.get(timeout=wait_s) if wait_s else self._arrivals.get_nowait()
                wait_s = 0.0
                if ahead.stage == "waiting":
                    ahead.stage = "arrived"
                    self._arrived.append(ahead)
        except Empty:
            pass  # All that has arrived is taken.

    def _wait(self) -> None:
        """Wait until something arrives."""
        self._take_arrivals(WAIT_STEP_S)
        self._progress.wait()

    def _learn(self, ahead: Ahead) -> None:
        """Count how many items of a criterion asked once and no more."""
        if ahead.turns == 1:
            self._single_turns[ahead.criterion] = self._single_turns.get(ahead.criterion, 0) + 1
        elif ahead.turns > 1:
            self._single_turns[ahead.criterion] = -SINGLE_TURN_EVIDENCE

    def _settle(self, ahead: Ahead) -> None:
        ahead.stage = "settled"
        ahead.asked = []


def _difference(
    before: list[Asked], asked: list[Asked], differs_at: int | None, *, is_unordered: bool
) -> tuple[Any, Any] | None:
    """Return two requests in place of each other, where a dry run asked something else than the one before it.

    Args:
        before: What the dry run before it asked.
        asked: What it asked.
        differs_at: Position of the first request that is another one, where there is an order.
        is_unordered: Whether threads asked, so that the order is chance.
    """
    if differs_at is not None:
        return before[differs_at].request, asked[differs_at].request
    if not before or not is_unordered or len(asked) > len(before):
        return None
    old, new = {call.key for call in before}, {call.key for call in asked}
    gone = next((call.request for call in before if call.key not in new), None)
    added = next((call.request for call in asked if call.key not in old), None)
    return None if gone is None or added is None else (gone, added)


def _always(_: pytest.Item) -> Literal["now"]:
    return "now"
