"""Drift that may be watched without end."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_evidence import artifact, sample

from pytest_proofmap.decide.looks import Watch, level_of_look, watch


def look(number: int, regressed: int, improved: int, agreeing: int = 40) -> Watch:
    """Compare two runs in which so many cases of one runtime changed sides."""
    old = ["passed"] * regressed + ["failed"] * improved + ["passed"] * agreeing
    new = ["failed"] * regressed + ["passed"] * improved + ["passed"] * agreeing
    before, after = (
        artifact([sample("mini", index, outcome) for index, outcome in enumerate(outcomes)])
        for outcomes in (old, new)
    )
    return watch(before, after, number)


def test_levels_sum_to_alpha() -> None:
    """What all looks together may spend is alpha and no more."""
    spent = math.fsum(level_of_look(number) for number in range(1, 100_000))
    assert spent < 0.05
    assert spent == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize(
    ("number", "regressed", "alarm"),
    # 1/2^b against .0304 / 2 / t^2.
    [(1, 6, None), (1, 7, "dropped"), (4, 10, None), (4, 11, "dropped"), (52, 17, None), (52, 18, "dropped")],
)
def test_a_drop(number: int, regressed: int, alarm: str | None) -> None:
    """The further the look, the more regressions an alarm takes."""
    (rate,) = look(number, regressed, 0).rates
    assert rate.p_drop == pytest.approx(0.5**regressed)
    assert rate.level == pytest.approx(0.05 * 6 / math.pi**2 / number**2 / 2)
    assert rate.alarm == alarm


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 60))
def test_both_directions(regressed: int, improved: int, number: int) -> None:
    """A rise is found as a drop is, and never both."""
    (there,), (back,) = look(number, regressed, improved).rates, look(number, improved, regressed).rates
    assert (there.p_drop, there.p_rise) == (back.p_rise, back.p_drop)
    mirrored = {"dropped": "rose", "rose": "dropped", None: None}
    assert back.alarm == mirrored[there.alarm]
