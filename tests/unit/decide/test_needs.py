"""How many cases a verdict takes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pytest_proofmap.decide.stats.binomial import binomial_at_most
from pytest_proofmap.decide.stats.forecasts import (
    best_all_pass,
    best_margin,
    best_min_pass_rate,
    more_margin,
    more_min_pass_rate,
)
from pytest_proofmap.decide.stats.paired import p_unsafe_paired

CHALLENGERS = (1, 2, 3, 5, 10)


@pytest.mark.parametrize(
    ("margin", "expected"),
    [
        (0.02, [149, 184, 210, 242, 281]),
        (0.05, [59, 73, 83, 96, 111]),
        (0.10, [29, 36, 41, 46, 52]),
        (0.20, [14, 17, 19, 21, 25]),
    ],
)
def test_margin_with_zero_disagreement(margin: float, expected: list[int]) -> None:
    """The least number of agreeing cases for 1, 2, 3, 5 and 10 challengers."""
    assert [best_margin(0, 0, 0, margin, 0.05 / m) for m in CHALLENGERS] == expected


def test_all_pass() -> None:
    """The least number of passing cases for 1, 2, 3, 5 and 10 challengers."""
    assert [best_all_pass(0.25, 0.05 / m) for m in CHALLENGERS] == [11, 13, 15, 17, 19]
    assert best_all_pass(1.0, 0.05) == 1


@pytest.mark.parametrize("rate", [5e-324, 1e-300, 1e-17, 1e-9])
def test_a_rate_next_to_nothing_has_no_forecast(rate: float) -> None:
    """No number of cases that anybody has excludes it, and the search for one ends."""
    assert best_all_pass(rate, 0.05) is None
    assert best_margin(0, 0, 60, rate, 0.05) is None
    assert best_margin(1, 0, 60, rate, 0.05) is None


@pytest.mark.parametrize(("cases", "allowed"), [(30, 0), (50, 1), (100, 4), (300, 21)])
def test_min_pass_rate_allows(cases: int, allowed: int) -> None:
    """At a bar of 90 % so many failures still qualify, and one more does not."""
    best, next_best = (best_min_pass_rate(failures, 0, 0.9, 0.05) for failures in (allowed, allowed + 1))
    assert best is not None
    assert next_best is not None
    assert best <= cases < next_best


@settings(max_examples=40)
@given(
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 40),
    st.sampled_from([0.05, 0.1, 0.2]),
    st.sampled_from([0.05, 0.02]),
)
def test_best_margin_is_the_first(b: int, c: int, agree: int, margin: float, level: float) -> None:
    """The number found holds, and one case fewer does not."""
    pairs = b + c + agree
    best = best_margin(b, c, pairs, margin, level)
    assert best is not None
    assert best >= max(1, pairs)
    assert p_unsafe_paired(b, c, best, margin) <= level
    if best > max(1, pairs):
        assert p_unsafe_paired(b, c, best - 1, margin) > level


def test_beyond_the_exact_test() -> None:
    """Numbers above 400 come from the corrected score test, also where the exact one never gets there."""
    best = best_margin(40, 40, 80, 0.02, 0.05)
    assert best is not None
    assert best > 400
    assert p_unsafe_paired(40, 40, best, 0.02) <= 0.05 < p_unsafe_paired(40, 40, best - 1, 0.02)
    tiny = best_margin(0, 0, 0, 0.1, 0.0004)
    assert tiny is not None
    assert tiny > 400


@settings(max_examples=40)
@given(st.integers(0, 30), st.integers(0, 200), st.sampled_from([0.5, 0.8, 0.9, 0.99]))
def test_best_min_pass_rate_is_the_first(failures: int, passed: int, bar: float) -> None:
    """The number found holds, and one case fewer does not."""
    best = best_min_pass_rate(failures, failures + passed, bar, 0.05)
    assert best is not None
    assert binomial_at_most(failures, best, 1 - bar) <= 0.05
    if best > max(failures + passed, failures + 1):
        assert binomial_at_most(failures, best - 1, 1 - bar) > 0.05


def test_more_grows_with_disagreement() -> None:
    """More disagreement takes more cases, and the number to expect exceeds the least one."""
    quiet = more_margin(0, 0, 50, 0.05, 0.05)
    loud = more_margin(5, 5, 50, 0.05, 0.05)
    assert quiet is not None
    assert loud is not None
    assert 59 - 50 < quiet < loud


@pytest.mark.parametrize(("b", "c", "n"), [(4, 1, 50), (3, 0, 50), (10, 0, 60), (30, 4, 400)])
def test_none_at_this_rate(b: int, c: int, n: int) -> None:
    """A loss of the margin or more is not outlived by any number of cases."""
    assert more_margin(b, c, n, 0.05, 0.05) is None


@pytest.mark.parametrize(
    ("b", "c", "n", "margin"),
    [
        (0, 0, 20, 0.05),
        (1, 0, 30, 0.05),
        (3, 3, 60, 0.05),
        (5, 2, 100, 0.05),
        (12, 10, 200, 0.05),
        (6, 3, 60, 0.1),
    ],
)
def test_the_promise_holds_for_the_top_up(b: int, c: int, n: int, margin: float) -> None:
    """So many further cases, with those at hand, reach the verdict in about 80 % of draws at the rates seen."""
    more = more_margin(b, c, n, margin, 0.05)
    assert more is not None
    difference, discordant = (c - b) / (n + 2), (b + c + 1) / (n + 2)
    rates = [(discordant - difference) / 2, (discordant + difference) / 2, 1 - discordant]
    drawn = np.random.default_rng(1).multinomial(more, rates, size=600)
    reached = np.mean([p_unsafe_paired(b + int(x), c + int(y), n + more, margin) <= 0.05 for x, y, _ in drawn])
    assert 0.74 <= reached <= 0.9


@pytest.mark.parametrize(("failures", "cases"), [(0, 10), (1, 40), (4, 90), (2, 50)])
def test_the_promise_of_a_rate_holds(failures: int, cases: int) -> None:
    """Under a pass rate the power of the further cases is 80 %, and that of a tenth fewer is not."""
    more = more_min_pass_rate(failures, cases, 0.9, 0.05)
    assert more is not None
    seen = (failures + 1) / (cases + 2)

    def power(number: int) -> float:
        fails = np.arange(number + 1)
        holds = [binomial_at_most(failures + int(k), cases + number, 0.1) <= 0.05 for k in fails]
        return float(stats.binom.pmf(fails, number, seen)[holds].sum())

    assert power(more) >= 0.8
    assert min(power(number) for number in range(int(0.8 * more), int(0.9 * more) + 1)) < 0.8


def test_a_rate_that_is_too_low() -> None:
    """A failure rate at or above the tolerated one never reaches the bar."""
    assert more_min_pass_rate(10, 50, 0.9, 0.05) is None
