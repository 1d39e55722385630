"""Shows how far the calls of a run are, while it waits for them.

On a terminal one line is rewritten; elsewhere a line is printed now and then; with ``-q`` nothing is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Progress", "describe", "total"]

PATIENCE_S = 0.5
"""How long a wait must last before it is worth a line."""

LINE_EVERY_S = 10.0
"""How often a line is printed where lines cannot be rewritten."""

Status = dict[str, Any]


class Progress:
    """The progress of one process's calls, on pytest's terminal.

    Args:
        config: pytest's configuration.
        ask: Asks the call service for its figures.
        cached: Says how many answers did not have to be called.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        config: pytest.Config,
        ask: Callable[[], Future[Status] | None],
        cached: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        self._reporter: pytest.TerminalReporter | None = reporter if config.get_verbosity() >= 0 else None
        # A dumb terminal would show each state of the line after the other.
        self._rewrites = reporter is not None and reporter.isatty and os.environ.get("TERM") != "dumb"
        self._ask = ask
        self._cached = cached
        self._clock = clock
        self._asked: Future[Status] | None = None
        self._bar: tqdm[Any] | None = None
        self._waiting_since: float | None = None
        self._shown_at = clock()

    def wait(self) -> None:
        """Say that the run waits, which is shown when it takes long enough."""
        if self._reporter is None:
            return
        now = self._clock()
        if self._waiting_since is None:
            self._waiting_since = now
        every = PATIENCE_S if self._rewrites else LINE_EVERY_S
        if now - self._waiting_since < PATIENCE_S or now - self._shown_at < every:
            return
        if self._asked is None:
            self._asked = self._ask()
        if self._asked is not None and self._asked.done():
            status, self._asked = self._asked.result(), None
            self._shown_at = now
            if status and total(status):
                self._show(status)

    def resume(self) -> None:
        """Clear the line: the run goes on, and pytest writes."""
        self._waiting_since = None
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, status: Status) -> None:
        assert self._reporter is not None
        file = self._reporter._tw._file
        text = f"proofmap: {describe(status, self._cached())}"
        if not _can_write(file, text):
            text = text.replace(" · ", ", ")
        if not self._rewrites:
            self._reporter.ensure_newline()
            self._reporter.write_line(text)
            return
        if self._bar is None:
            from tqdm import tqdm

            self._reporter.ensure_newline()
            self._bar = tqdm(bar_format="{desc}", file=file, leave=False, dynamic_ncols=True, mininterval=0)
        self._bar.set_description_str(text)


def describe(status: Status, cached: int) -> str:
    """Return the figures of the call service in one line.

    Args:
        status: ``in_flight``, ``waiting``, ``done``, ``spent_usd`` and ``providers``, each of these with
            ``in_flight``, ``waiting`` and ``rate_per_s``.
        cached: How many answers did not have to be called.
    """
    parts = [f"{status['done']}/{total(status)} called"]
    if cached:
        parts.append(f"{cached} cached")
    parts.append(f"{status['in_flight']} in flight")
    if status["spent_usd"]:
        parts.append(f"${status['spent_usd']:.4f} spent")
    for name, provider in sorted(status["providers"].items()):
        rate = provider["rate_per_s"]
        left = provider["waiting"] + provider["in_flight"]
        if rate:
            parts.append(f"{name} {rate:.1f}/s" + (f", {_duration(left / rate)} left" if left else ""))
    return " · ".join(parts)


def total(status: Status) -> int:
    """Return how many calls the service knows of."""
    return int(status["done"] + status["in_flight"] + status["waiting"])


def _can_write(file: Any, text: str) -> bool:
    try:
        text.encode(getattr(file, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
