"""Random numbers of dry runs: the real run draws what it would draw without them, or at least the same again.

The state of the global generators is left to the real run as it was. A fixture of wider scope is the exception:
what it draws when a dry run sets it up is in the requests that are made ahead. So the states before and
after it are noted. Where the real run sets it up once more, it draws from the same state; where the real run gets
the fixture that is there, the generators go on after it as if it had been set up just then.
"""

from __future__ import annotations

import contextlib
import pickle
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from _pytest.fixtures import FixtureDef, SubRequest
from _pytest.scope import Scope

__all__ = ["RandomNumbers", "same_random_numbers"]

States = Mapping[str, Any]
"""States of the global generators, by the module that they are in."""

Locate = Callable[[pytest.Item, FixtureDef[Any]], "tuple[object, str] | None"]
"""Returns what a fixture is to an item, and the id of the test that sets it up in a plain run; None: its own."""


class Drawn(NamedTuple):
    """What a fixture has drawn in a dry run."""

    before: States
    after: States
    owner: str
    """Id of the test whose set-up draws it."""


class RandomNumbers:
    """The global generators in the dry runs of one session, and in the real runs between them."""

    def __init__(self) -> None:
        self._locate: Locate | None = None
        self._drawn: dict[object, Drawn] = {}
        """What fixtures drew in dry runs and no real run has used yet."""
        self._states: States | None = None
        self._is_dry = False
        self._undo = contextlib.ExitStack()

    def follow(self, locate: Locate) -> None:
        """Follow what fixtures of wider scope draw, until this is closed.

        Args:
            locate: Tells these fixtures apart.
        """
        self._locate = locate
        # pytest has no hook for a fixture that a test gets and that is set up already; execute() returns its value
        # without calling any: https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/fixtures.py#L1259
        execute = FixtureDef.execute

        def execute_or_reuse(definition: FixtureDef[Any], request: SubRequest) -> Any:
            cached = definition.cached_result
            value = execute(definition, request)
            if self._drawn and cached is not None and definition.cached_result is cached:
                self._reuse(definition, request)
            return value

        FixtureDef.execute = execute_or_reuse  # type: ignore[assignment,method-assign]  # given back by close()
        self._undo.callback(setattr, FixtureDef, "execute", execute)

    def close(self) -> None:
        """Leave pytest as it was."""
        self._undo.close()

    @contextlib.contextmanager
    def around_dry_run(self) -> Iterator[None]:
        """Draw the numbers of a dry run, and leave the generators as they are.

        A dry run goes on where the one before it ended, unless something seeds it: if all began with the same
        state, a test that draws would ask the same in each of them, and something else in its real run.
        """
        states = _states()
        if self._states is not None:
            _set(self._states)
        self._is_dry = True
        try:
            yield
        finally:
            self._is_dry = False
            self._states = _states()
            _set(states)

    @contextlib.contextmanager
    def around_set_up(self, definition: FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[None]:
        """Draw what a dry run has drawn for a fixture of wider scope, or note what this one draws."""
        place = self._place(definition, request)
        if place is None or not (self._is_dry or place[0] in self._drawn):
            yield
            return
        key, owner = place
        now = _states()
        known = self._drawn.get(key)
        if known is not None:
            _set(known.before)
            if not self._is_dry:
                del self._drawn[key]
        try:
            yield
        finally:
            if self._is_dry:
                after = _states()
                if known is None and _has_drawn(now, after):
                    self._drawn[key] = Drawn(now, after, owner)
                if request._pyfuncitem.nodeid != owner:
                    # In a plain run this test finds the fixture there.
                    _set(now)

    def _reuse(self, definition: FixtureDef[Any], request: SubRequest) -> None:
        """Let the generators go on as if a fixture that is there were set up now, where a plain run does that."""
        place = self._place(definition, request)
        drawn = self._drawn.get(place[0]) if place is not None else None
        if place is None or drawn is None:
            return
        if not self._is_dry:
            del self._drawn[place[0]]
        elif request._pyfuncitem.nodeid != drawn.owner:
            return
        _set(drawn.after)

    def _place(self, definition: FixtureDef[Any], request: pytest.FixtureRequest) -> tuple[object, str] | None:
        if self._locate is None or definition._scope is Scope.Function:
            return None
        return self._locate(request._pyfuncitem, definition)


@contextlib.contextmanager
def same_random_numbers() -> Iterator[None]:
    """Leave the state of the global generators as it is, so that the tests see the numbers of a plain run."""
    states = _states()
    try:
        yield
    finally:
        _set(states)


def _states() -> States:
    states: dict[str, Any] = {"random": random.getstate()}
    numbers = sys.modules.get("numpy.random")
    if numbers is not None:
        # As a dictionary, since the tuple of the legacy form holds only what an MT19937 generator has.
        states["numpy.random"] = numbers.get_state(legacy=False)
    return states


def _set(states: States) -> None:
    random.setstate(states["random"])
    if "numpy.random" in states:
        sys.modules["numpy.random"].set_state(states["numpy.random"])


def _has_drawn(before: States, after: States) -> bool:
    # A state of numpy holds arrays, which have no truth value.
    return any(pickle.dumps(after[name]) != pickle.dumps(state) for name, state in before.items())
