"""What a run has paid for and no sample used: tests ended early, or asked something else than their dry runs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

from pytest_proofmap.evidence.totals import total
from pytest_proofmap.run.sample import PaidCall

if TYPE_CHECKING:
    from pytest_proofmap.run.recorder import Recorder
    from pytest_proofmap.run.session import QualificationSession

__all__ = ["describe_calls_ahead", "describe_unused_calls", "unused_calls"]

WAIT_S = 2.0
NAMED_AT_MOST = 3


def unused_calls(run: QualificationSession, recorder: Recorder, *, interrupted: bool) -> str | None:
    """Say which calls no sample came to use, or None when there are none.

    Args:
        run: The run.
        recorder: What came in.
        interrupted: Whether calls may still be under way, of which the call service alone knows.
    """
    kept = run.mode != "off"
    if not interrupted:
        calls = recorder.unused_calls()
        cases = recorder.cases()
        ran = sum((call.criterion, call.case, call.runtime) in cases for call in calls)
        return describe_unused_calls(calls, ran=ran, kept=kept)
    asked = run.service_status()
    if asked is None:
        return None
    try:
        status = asked.result(WAIT_S)
    except (FutureTimeoutError, KeyboardInterrupt):
        return None
    used = sum(charge.source == "live" for charge in recorder.charges.values())
    return describe_calls_ahead(status, used, total(recorder.charges.values()).spent_usd, kept=kept)


def describe_unused_calls(calls: Sequence[PaidCall], *, ran: int, kept: bool) -> str | None:
    """Say which answers were paid for and used by no sample.

    Args:
        calls: The calls.
        ran: Of how many of them the sample that asked first was run after all.
        kept: Whether answers outlive the run.
    """
    if not calls:
        return None
    one = len(calls) == 1
    samples = list(dict.fromkeys(call.asked_for for call in calls))
    names = ", ".join(samples[:NAMED_AT_MOST])
    if len(samples) > NAMED_AT_MOST:
        names += f" and {len(samples) - NAMED_AT_MOST} more"
    spent_usd = sum(call.cost_usd or 0.0 for call in calls)
    cost = f" ${spent_usd:.2g}, which 'spent' counts," if spent_usd else ""
    fate = "in the cache" if kept else "lost"
    reasons = ["the run ended before their tests"] if ran < len(calls) else []
    reasons += ["dry runs asked what the tests then did not"] if ran else []
    return (
        f"{len(calls)} {'answer was' if one else 'answers were'} paid for{cost} and used by no sample, because "
        f"{' or '.join(reasons)}: {names}. {'It is' if one else 'They are'} {fate}."
    )


def describe_calls_ahead(status: dict[str, Any], used: int, spent_usd: float, *, kept: bool) -> str | None:
    """Say how many calls are in no sample of a run that ended early, what they cost and where their answers are.

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
