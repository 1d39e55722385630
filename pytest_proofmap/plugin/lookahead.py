"""What happens before a test runs: making its calls ahead, or only planning them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest

from pytest_proofmap.plugin import xdist
from pytest_proofmap.plugin.session import RECORD, SHOWS_SETUP, QualificationSession
from pytest_proofmap.plugin.terminal import Progress
from pytest_proofmap.prefetch.item_copy import DryRunner
from pytest_proofmap.prefetch.plan import Plan
from pytest_proofmap.prefetch.prefetch import Asked, Prefetcher
from pytest_proofmap.prefetch.quiet import quiet_suspensions
from pytest_proofmap.prefetch.scopes import Scopes
from pytest_proofmap.prefetch.suspension import DryRun

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
        """Make calls ahead until the last test has run."""
        run = self._run
        items = self._items(session)
        if not items:
            yield
            return
        self._prefetcher = Prefetcher(
            session,
            self,
            items,
            window=self._window(session),
            progress=Progress(run.config, run.lookup.status, run.lookup.free_count),
            may_run=run.adaptive.gate if run.adaptive is not None else None,
        )
        try:
            with quiet_suspensions():
                yield
        finally:
            self._prefetcher.close()
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
            record = item.stash.get(RECORD, None)
            self._prefetcher.after(item, has_waited=record is not None and record.has_waited)

    def around_fixture(
        self, definition: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> AbstractContextManager[None]:
        """Follow the set-up of a fixture."""
        if self._prefetcher is None or definition.scope == "function":
            return nullcontext()
        return self._prefetcher.scopes.around_set_up(definition, request)

    def explain(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Say where a test fails for something that is there already: its body may have run before."""
        if call.excinfo is None or self._prefetcher is None or not self.has_asked():
            return
        error_class = _already_there(call.excinfo.value)
        if error_class is not None and _may_run_dry(self._run, [item]):
            criterion, _ = self.kind_of(item)
            self._run.warn(
                f"{criterion} fails with {error_class}: where calls are made ahead, the body of a test runs more "
                "than once, so that what it makes may be there already. Make it in a place that is new for each "
                "test (a fixture that rolls back, tmp_path), or mark the test qualify(prefetch=False)."
            )

    def kind_of(self, item: pytest.Item) -> tuple[str, str]:
        """Return the criterion and the runtime of an item."""
        sample = self._run.registry.identify(item)
        return (sample.criterion, sample.runtime) if sample is not None else (item.nodeid, "")

    def asked_by(self, item: pytest.Item) -> list[Asked] | None:
        """Return what an item, or a copy of it, has asked, in its order; None when it has not run."""
        record = item.stash.get(RECORD, None)
        if record is None:
            return None
        return [Asked(call.key, call.request, call.auxiliary is not None) for call in record.calls]

    def has_asked(self) -> bool:
        """Return whether a request of this process was ever not answered from what was there."""
        return self._run.lookup.has_asked

    def warn(self, message: str) -> None:
        """Keep a warning for the summary, once."""
        self._run.warn(message)

    def warn_unstable(self, item: pytest.Item, first: Any, then: Any) -> None:
        """Say that an item asks something else each time, with two of its requests."""
        shown = describe_difference(first.content(), then.content()) if self._run.keeps_texts else "left out"
        criterion, _ = self.kind_of(item)
        self._run.warn(
            f"{item.nodeid} is unstable: it asks something else each time it runs, so that its calls (and those "
            f"of other cases of {criterion}, where they do so too) are not made ahead, and are paid again in each "
            f"run. Requests of two dry runs, the difference marked: {shown}. Freeze the source (a clock, ids, "
            "temporary paths, random numbers), or have the hook pytest_proofmap_key(request) take the difference "
            "out of the key, or mark the test qualify(prefetch=False)."
        )

    def _window(self, session: pytest.Session) -> int | None:
        """Return how many tests are run dry ahead, where the run may end early or need not all of them."""
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
        items = _may_run_dry(run, session.items)
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
    """Find out what a run would call, by a dry run of every test that calls nothing.

    Raises:
        KeyboardInterrupt: The user wants to stop.
    """
    marked = [item for item in session.items if run.registry.identify(item) is not None]
    items = _may_run_dry(run, marked)
    plan = Plan(unexplored=len(marked) - len(items))
    run.lookup.listener = plan.note
    runner = DryRunner(session)
    scopes = Scopes(session, runner.quiet, run.warn)
    with quiet_suspensions():
        for item in items:
            scopes.leave_for(item)
            dry_run = DryRun(sends=False)
            runner.run(item, dry_run)
            if dry_run.suspended:
                plan.note_open_ended(item)
    runner.quiet.close()
    return plan


def _already_there(error: BaseException | None) -> str | None:
    """Return the class of an error that says that something is there already, of whatever database or file."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        kind = type(error).__name__
        if isinstance(error, FileExistsError) or _ALREADY_THERE.search(f"{kind}: {error}"):
            return kind
        error = error.__cause__ or error.__context__
    return None


_ALREADY_THERE = re.compile(r"unique(?: \w+)? constraint|unique ?violation|duplicate (?:key|entry)", re.IGNORECASE)


def _may_run_dry(run: QualificationSession, items: Iterable[pytest.Item]) -> list[pytest.Function]:
    """Return the items that may run more than once."""
    return [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and (sample := run.registry.identify(item)) is not None
        and run.registry.plan_of(sample).prefetch
    ]


MARKED_AROUND = 30
"""How many characters around a difference are shown."""
MARKED_AT_MOST = 60


def describe_difference(first: Any, then: Any) -> str:
    """Return two values in the same words, with what differs in double angle brackets."""
    former, latter = (
        json.dumps(content, ensure_ascii=False, default=str, sort_keys=True) for content in (first, then)
    )
    start = _common(former, latter)
    end = _common(former[start:][::-1], latter[start:][::-1])
    return " and ".join(_marked(text, start, len(text) - end) for text in (former, latter))


def _common(former: str, latter: str) -> int:
    """Return the length of the beginning that two texts share."""
    return next(
        (at for at, pair in enumerate(zip(former, latter, strict=False)) if pair[0] != pair[1]),
        min(len(former), len(latter)),
    )


def _marked(text: str, start: int, end: int) -> str:
    before, marked, after = text[max(0, start - MARKED_AROUND) : start], text[start:end], text[end:]
    if len(marked) > MARKED_AT_MOST:
        marked = marked[: MARKED_AT_MOST - 3] + "..."
    return f"{before}\u00ab{marked}\u00bb{after[:MARKED_AROUND]}"
