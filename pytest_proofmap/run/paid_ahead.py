"""What a run that ended early has paid for tests that did not run."""

from __future__ import annotations

from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_proofmap.run.recorder import Recorder
    from pytest_proofmap.run.session import QualificationSession

__all__ = ["describe_paid_ahead", "paid_ahead"]

WAIT_S = 2.0


def paid_ahead(run: QualificationSession, recorder: Recorder) -> str | None:
    """Say which calls were made ahead of tests that never came to use them, or None when there are none."""
    asked = run.service_status()
    if asked is None:
        return None
    try:
        status = asked.result(WAIT_S)
    except (FutureTimeoutError, KeyboardInterrupt):
        return None
    used = sum(charge.source == "live" for charge in recorder.charges.values())
    return describe_paid_ahead(status, used, recorder.totals().spent_usd, kept=run.mode != "off")


def describe_paid_ahead(status: dict[str, Any], used: int, spent_usd: float, *, kept: bool) -> str | None:
    """Say how many calls are in no sample, what they cost and where their answers are.

    Args:
        status: The call service's figures, with ``done``, ``in_flight`` and ``spent_usd``.
        used: How many of its calls are in samples.
        spent_usd: What those cost.
        kept: Whether answers outlive the run.
    """
    calls = status.get("done", 0) + status.get("in_flight", 0) - used
    if calls <= 0:
        return None
    more_usd = max(0.0, status.get("spent_usd", 0.0) - spent_usd)
    noun = "call was" if calls == 1 else "calls were"
    cost = f" for ${more_usd:.2g}" if more_usd else ""
    fate = "what came back is in the cache, where the next run finds it" if kept else "the answers are lost"
    return f"{calls} {noun} made ahead{cost} whose tests did not run; {fate}"
