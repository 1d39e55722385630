"""The environment of a call, as it was when the call was asked.

Tests set keys and addresses in ``os.environ`` while calls of other tests still wait for their turn, and clients
read them when they send. In the call service ``os.environ`` therefore answers whoever asks within a call with what
that call was asked under; calls of any number of environments run side by side. What was looked at is noted,
because a failure tells nothing of calls for which just that is different.
"""

from __future__ import annotations

import os
from collections.abc import ItemsView, Iterator, Mapping
from contextvars import ContextVar

__all__ = ["CallEnvironment", "answer_by_call"]

_UPPER = os.name == "nt"


class CallEnvironment:
    """The environment of one call.

    Args:
        variables: All of it; may be shared by many calls and is never changed.
    """

    __slots__ = ("looked_at", "variables")

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self.looked_at: dict[str, str | None] = {}
        """The variables that were asked for, with their values; None for one that is not set."""

    def get(self, name: str) -> str | None:
        """Return the value of a variable, and note that it was asked for."""
        value = self.looked_at[name] = self.variables.get(name)
        return value

    def enter(self) -> None:
        """Have ``os.environ`` mean this environment for the rest of the current task and all that it starts."""
        _current.set(self)


_current: ContextVar[CallEnvironment | None] = ContextVar("call_environment", default=None)


class _EnvironmentByCall(os._Environ):  # type: ignore[type-arg]  # generic for type checkers alone
    """``os.environ`` of a process that makes calls; what the process itself sets holds for all of them."""

    own: set[str]
    """Names that this process has set or removed by itself."""

    def __getitem__(self, name: str) -> str:
        call = self._call(name)
        if call is None:
            value: str = super().__getitem__(name)
            return value
        found = call.get(name.upper() if _UPPER else name)
        if found is None:
            raise KeyError(name)
        return found

    def __setitem__(self, name: str, value: str) -> None:
        super().__setitem__(name, value)
        self.own.add(name)

    def __delitem__(self, name: str) -> None:
        call = self._call(name)
        self.own.add(name)
        try:
            super().__delitem__(name)
        except KeyError:
            if call is None or call.variables.get(name) is None:
                raise

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def items(self) -> ItemsView[str, str]:
        """Return all variables; only proxies count as looked at, which are found by going through all of them."""
        now = self._now()
        call = _current.get()
        if call is not None:
            call.looked_at.update((name, now[name]) for name in now if name.lower().endswith("_proxy"))
        return now.items()

    def copy(self) -> dict[str, str]:
        """Return all variables, none of which counts as looked at."""
        return dict(self._now())

    def _call(self, name: object) -> CallEnvironment | None:
        """Return whose value of a name counts; None: this process's own."""
        call = _current.get()
        return None if call is None or name in self.own or not isinstance(name, str) else call

    def _now(self) -> dict[str, str]:
        own = {name: super(_EnvironmentByCall, self).__getitem__(name) for name in super().__iter__()}
        call = _current.get()
        if call is None:
            return own
        theirs = {name: value for name, value in call.variables.items() if name not in self.own}
        return theirs | {name: own[name] for name in self.own if name in own}


def answer_by_call() -> None:
    """Have ``os.environ`` of this process answer within a call with the environment of that call."""
    # The object stays the same, so that who has imported it by name sees no other environment.
    os.environ.__class__ = _EnvironmentByCall
    environ = os.environ
    assert isinstance(environ, _EnvironmentByCall)
    environ.own = set()
