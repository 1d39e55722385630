"""The end of a run: what was paid counts in what was spent, whether or not a sample used it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_proofmap.calls.lookup import PaidCall
from pytest_proofmap.evidence.artifact import Charge
from pytest_proofmap.plugin.recorder import Recorder, describe_unused_calls


def paid(key: str, cost_usd: float | None = 0.25, case: str = "a") -> PaidCall:
    """Return a call that was paid for."""
    return PaidCall(key, cost_usd, "t.py::test", case, "mini")


def test_unused_answers_count_in_what_was_spent(tmp_path: Path) -> None:
    """Each key counts once: an answer that a sample used is in its charge already."""
    recorder = Recorder(tmp_path)
    recorder.charges["used"] = Charge("used", "live", 0.5, True)
    recorder.note_paid([paid("used"), paid("unused"), paid("unused"), paid("unknown", None)])
    totals = recorder.totals()
    assert totals.spent_usd == pytest.approx(0.75)
    assert (totals.calls, totals.live, totals.list_usd) == (1, 1, 0.5)
    assert [call.key for call in recorder.unused_calls()] == ["unused", "unknown"]


@pytest.mark.parametrize(
    ("calls", "kept", "words"),
    [
        ([], True, None),
        ([paid("k")], True, "1 answer was paid for $0.25, which 'spent' counts, and used by no sample"),
        ([paid("k", None)], True, "1 answer was paid for and used by no sample"),
        ([paid("k"), paid("l", case="b")], False, "2 answers were paid for $0.5"),
        ([paid("k")], True, "t.py::test[a] on mini. It is in the cache."),
        ([paid("k"), paid("l")], False, "They are lost."),
        ([paid(str(number), case=str(number)) for number in range(5)], True, "t.py::test[2] on mini and 2 more."),
    ],
)
def test_unused_answers_are_named(calls: list[PaidCall], kept: bool, words: str | None) -> None:
    """Their number, cost, samples and fate are said, and nothing where there are none."""
    described = describe_unused_calls(calls, ran=len(calls), kept=kept)
    assert described is None if words is None else words in str(described)


@pytest.mark.parametrize(
    ("ran", "reason"),
    [
        (0, "because the run ended before their tests: "),
        (1, "because the run ended before their tests or dry runs asked what the tests then did not: "),
        (2, "because dry runs asked what the tests then did not: "),
    ],
)
def test_why_answers_are_unused_is_told(ran: int, reason: str) -> None:
    """A test that never ran asked nothing else than its dry run."""
    assert reason in str(describe_unused_calls([paid("k"), paid("l")], ran=ran, kept=True))
