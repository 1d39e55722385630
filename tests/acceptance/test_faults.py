"""A provider that fails: nothing is lost, paid twice or decided otherwise (benchmarks/faults runs more of it)."""

from __future__ import annotations

from pathlib import Path

import campaigns
import pytest
from fake_provider import Fault

CASES = 14
"""As many as it takes to qualify when every case passes."""


FAULTS: tuple[Fault, ...] = ("server_error", "reset", "cut_chunks", "error_object", "wrong_type", "late")


@pytest.mark.parametrize(
    "faults",
    [("server_error", "cut_chunks"), pytest.param(FAULTS, marks=pytest.mark.nightly)],
    ids=["an error and a broken answer", "all"],
)
def test_faults_change_nothing(tmp_path: Path, faults: tuple[Fault, ...]) -> None:
    """With every third attempt failing, all answers that arrived are kept and paid once, and verdicts stay."""
    campaign = campaigns.load("fault_campaign").Campaign(tmp_path, CASES, faults, (30,), seed=3)
    campaign.run()
    assert campaign.changes == []
    figures = [campaign.figures[fault, 30] for fault in faults]
    assert [each.broken() for each in figures] == [0] * len(faults)
    assert all(each.injected > 0 for each in figures)
    assert all(each.calls == 3 * CASES for each in figures)
