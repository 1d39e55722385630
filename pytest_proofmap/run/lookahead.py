"""What happens before a test runs: making its calls ahead, or only planning them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import zip_longest

import pytest

from pytest_proofmap.collector import set_aside
from pytest_proofmap.run import xdist
from pytest_proofmap.run.plan import Plan
from pytest_proofmap.run.prefetch import Prefetcher
from pytest_proofmap.run.progress import Progress
from pytest_proofmap.run.sample import SampleRecord
from pytest_proofmap.run.session import RECORD, SHOWS_SETUP, QualificationSession
from pytest_proofmap.run.shadow import ShadowRunner

__all__ = ["LookAhead", "make_plan"]


class LookAhead:
    """Makes the calls of tests yet to come while others run or wait.

    Args:
        run: The run of this process.
    """

    def __init__(self, run: QualificationSession) -> None:
        self._run = run
        self._prefetcher: Prefetcher | None = None

    @contextmanager
    def around_tests(self, session: pytest.Session) -> Iterator[None]:
        """Look ahead for the first time, and stop to do so after the last test.

        Raises:
            KeyboardInterrupt: The user wants to stop.
        """
        run = self._run
        set_aside()
        items = self._items(session)
        if items:
            self._prefetcher = Prefetcher(
                session,
                run.engine,
                items,
                identify=run.registry.identify,
                record_of=_record_of,
                window=self._window(session),
                progress=Progress(run.config, run.engine.status, run.engine.free_count),
                gate=run.adaptive.gate if run.adaptive is not None else None,
            )
            self._prefetcher.probe()
        try:
            yield
        finally:
            self._prefetcher = None

    def before(self, item: pytest.Item) -> None:
        """See to it that an item that runs next has its answers.

        Raises:
            KeyboardInterrupt: The user wants to stop.
        """
        if self._run.adaptive is not None:
            self._run.adaptive.reach(item)
        if self._prefetcher is not None:
            self._prefetcher.before(item)

    def after(self, item: pytest.Item) -> None:
        """Learn from an item that has run."""
        if self._prefetcher is not None:
            self._prefetcher.after(item, _record_of(item))

    def _window(self, session: pytest.Session) -> int | None:
        """Return how many tests are explored ahead, where the run may end early or need not all of them."""
        run = self._run
        if run.config.getoption("maxfail", 0):
            return max(1, run.concurrency)
        if run.adaptive is None or run.adaptive.orders_all:
            return None
        # xdist deals a quarter of all tests at once: the workers look ahead for each other at least that far.
        return run.concurrency + (len(session.items) // 4 if run.is_worker else 0)

    def _items(self, session: pytest.Session) -> list[pytest.Function]:
        """Return the items whose calls are made ahead: of a worker of xdist, its share of them."""
        run = self._run
        option = run.config.option
        if option.proofmap_plan or option.collectonly or run.mode == "replay" or run.concurrency == 0:
            return []
        if xdist.is_controller(run.config) or any(getattr(option, name, False) for name in SHOWS_SETUP):
            return []
        items = _explorable(run, session.items)
        place = xdist.place_of(run.config)
        if items and place is not None and place.is_apart and run.configuration.cache_url is None:
            # What it asked for would be asked again by the worker that runs the test.
            run.warn(
                "workers of xdist in other folders or on other hosts share no cache, so that they make one call "
                "at a time. Set cache_url to a Redis server: then they make calls ahead and share the answers."
            )
            return []
        return xdist.share_of(run.config, items)


def make_plan(run: QualificationSession, session: pytest.Session) -> Plan:
    """Find out what a run would call, by exploring every test without calling.

    Raises:
        KeyboardInterrupt: The user wants to stop.
    """
    marked = [item for item in session.items if run.registry.identify(item) is not None]
    items = _explorable(run, marked)
    plan = run.engine.plan = Plan(unexplored=len(marked) - len(items))
    runner = ShadowRunner(session)
    run.engine.exploring = True
    for item, following in zip_longest(items, items[1:]):
        record = _record_of(runner.explore(item, following))
        if record is not None and record.suspended:
            plan.open_ended.add(item.nodeid)
    run.engine.exploring = False
    return plan


def _record_of(item: pytest.Item) -> SampleRecord | None:
    return item.stash.get(RECORD, None)


def _explorable(run: QualificationSession, items: Iterable[pytest.Item]) -> list[pytest.Function]:
    """Return the items that may run more than once."""
    return [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and (sample := run.registry.identify(item)) is not None
        and run.registry.plan_of(sample).prefetch
    ]
