"""SIGTERM, as a CI system sends it to a job that takes too long, ends a run as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

import pytest

__all__ = ["Termination"]


class Termination:
    """What SIGTERM does to a run: it stops, keeps what was paid and says so, and exits with 143.

    A handler of the project is left alone, and so is a run that is not in the main thread, which gets no signals.

    Args:
        config: pytest's configuration.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.came = False
        self.is_finishing = False
        """True while the evidence is written, which is not to be cut short."""
        self._owner = os.getpid()
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._end)
            config.add_cleanup(self._restore)

    def mark(self, session: pytest.Session) -> None:
        """Give a session that was terminated the exit status by which shells tell it."""
        if self.came:
            session.exitstatus = 128 + signal.SIGTERM

    def _end(self, number: int, frame: FrameType | None) -> None:
        # A second one ends the process at once, and so does the first in a process that a test has forked.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() != self._owner:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self.came = True
        if not self.is_finishing:
            raise KeyboardInterrupt("SIGTERM")

    def _restore(self) -> None:
        if signal.getsignal(signal.SIGTERM) == self._end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
