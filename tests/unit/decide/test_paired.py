"""The paired non-inferiority test against published values, brute force and its own symmetries."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pytest_proofmap.decide.stats.paired import (
    EXACT_LIMIT,
    GAMMA,
    SCORE_LIMIT,
    gamma_of,
    p_unsafe_paired,
    p_worse_paired,
)
from pytest_proofmap.decide.stats.tango import tango_interval, tango_z

MARGINS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.4]


@st.composite
def tables(draw: st.DrawFn, most: int = 60) -> tuple[int, int, int]:
    """Draw regressions, improvements and pairs."""
    n = draw(st.integers(1, most))
    b = draw(st.integers(0, n))
    return b, draw(st.integers(0, n - b)), n


def dense_p_value(b: float, c: float, n: int, delta: float) -> float:
    """Return the p-value by its definition: every table listed, the nuisance rate on a dense grid."""
    z = tango_z(b, c, n, -delta) - 1e-7
    x = b + c
    low = stats.beta.ppf(GAMMA / 2, x, n - x + 1) if x > 0 else 0.0
    high = stats.beta.ppf(1 - GAMMA / 2, x + 1, n - x) if x < n else 1.0
    floor, ceiling = max(0.0, -delta), max(0.0, (1 - delta) / 2)
    start, stop = np.clip([(low - delta) / 2, (high - delta) / 2], floor, ceiling)
    rates = np.sin(np.linspace(math.asin(math.sqrt(start)), math.asin(math.sqrt(stop)), 400)) ** 2
    total = np.zeros(len(rates))
    for improved in range(n + 1):
        extreme = [k for k in range(n - improved + 1) if tango_z(k, improved, n, -delta) >= z]
        if extreme:
            share = np.clip((rates + delta) / (1 - rates), 0, 1)
            below = stats.binom.pmf(np.array(extreme)[:, None], n - improved, share[None, :]).sum(axis=0)
            total += stats.binom.pmf(improved, n, rates) * below
    return min(1.0, float(total.max()) + GAMMA)


@pytest.mark.parametrize(
    ("b", "c", "n", "margin", "p"),
    [
        (0, 0, 59, 0.05, 0.048995),
        (1, 1, 70, 0.05, 0.050124),
        (2, 5, 60, 0.05, 0.021002),
        (16, 6, 161, 0.10, 0.112298),
        (20, 20, 200, 0.05, 0.061432),
        (20, 20, 400, 0.05, 0.001966),
        (60, 40, 1000, 0.05, 0.002807),
    ],
)
def test_reference_values(b: int, c: int, n: int, margin: float, p: float) -> None:
    """Reference p-values come out to two millionths."""
    assert p_unsafe_paired(b, c, n, margin) == pytest.approx(p, abs=2e-6)


@pytest.mark.parametrize("border", [EXACT_LIMIT, SCORE_LIMIT])
@pytest.mark.parametrize("gamma", [GAMMA, 1e-5])
@pytest.mark.parametrize("margin", MARGINS[:5])
@pytest.mark.parametrize(("b", "c"), [(0, 0), (2, 1), (4, 4), (8, 2), (20, 20), (5, 30), (60, 40)])
def test_no_jump(b: int, c: int, margin: float, gamma: float, border: int) -> None:
    """Where one method passes over into the other a pair more changes p no more than before it."""
    for ask in (p_unsafe_paired, p_worse_paired):
        before, at, after = (ask(b, c, border + step, margin, None, gamma) for step in (-1, 0, 1))
        assert abs(after - at) <= 2.0 * abs(at - before) + 0.03 * at + 1e-6


@pytest.mark.parametrize(
    ("challengers", "slices", "gamma"), [(1, 1, 0.0005), (2, 1, 0.00025), (10, 1, 5e-5), (3, 12, 0.05 / 3600)]
)
def test_gamma(challengers: int, slices: int, gamma: float) -> None:
    """What the restriction costs stays a hundredth of what is left for each challenger and slice."""
    assert gamma_of(0.05, challengers, slices) == pytest.approx(gamma)
    assert p_unsafe_paired(0, 0, 400, 0.05, None, gamma) == pytest.approx(0.95**400 + gamma, abs=1e-9)


@pytest.mark.parametrize(
    ("b", "c", "n", "p"), [(0, 0, 60, 1.0), (0, 0, 1000, 1.0), (3, 3, 60, 0.6), (0, 8, 60, 0.01)]
)
def test_margin_of_zero(b: int, c: int, n: int, p: float) -> None:
    """At a margin of 0 the question is whether the challenger is better, which agreement alone never shows."""
    found = p_unsafe_paired(b, c, n, 0.0)
    assert found == 1.0 if p == 1.0 else found == pytest.approx(stats.binom.sf(c - 1, b + c, 0.5), rel=0.9)
    assert (found < 0.05) is (p < 0.05)


def test_margin_of_one() -> None:
    """A margin of 1, which old artifacts may hold, is a question with an answer and no crash."""
    assert p_unsafe_paired(3, 0, 10, 1.0) == GAMMA
    assert p_unsafe_paired(10, 0, 10, 1.0) == 1.0
    assert p_worse_paired(10, 0, 10, 1.0) == 1.0


@pytest.mark.parametrize(
    ("a", "c", "b", "d", "low", "high"),
    [
        (4, 9, 3, 16, -0.027, 0.390),
        (53, 16, 8, 9, -0.020, 0.207),
        (1, 1, 7, 12, -0.517, -0.026),
        (59, 6, 16, 80, -0.1240, -0.0054),
    ],
)
def test_tango_interval_published(a: int, c: int, b: int, d: int, low: float, high: float) -> None:
    """Intervals published by Fagerland and others (2014) and in the ratesci package come out."""
    digits = 5e-5 if abs(low) == 0.1240 else 5e-4
    assert tango_interval(b, c, a + b + c + d) == pytest.approx((low, high), abs=digits)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize(("b", "c", "n"), [(0, 0, 1), (1, 0, 1), (0, 1, 3), (2, 2, 12), (7, 3, 25), (20, 1, 40)])
def test_maximum_is_found(b: int, c: int, n: int, margin: float) -> None:
    """The search reaches the maximum that a dense grid finds, for both questions."""
    for found, dense in (
        (p_unsafe_paired(b, c, n, margin), dense_p_value(b, c, n, margin)),
        (p_worse_paired(b, c, n, margin), dense_p_value(c, b, n, -margin)),
    ):
        assert dense - 1e-6 <= found <= dense + 1e-5


@settings(max_examples=40)
@given(tables(most=40), st.sampled_from(MARGINS), st.floats(0.2, 1))
def test_fractional_counts(table: tuple[int, int, int], margin: float, scale: float) -> None:
    """Fractional counts, which averaging samples gives, are tested by the same definition."""
    b, c, n = round(table[0] * scale, 9), round(table[1] * scale, 9), table[2]
    assert p_unsafe_paired(b, c, n, margin) == pytest.approx(dense_p_value(b, c, n, margin), abs=1e-5)


@settings(max_examples=40)
@given(tables(), st.sampled_from(MARGINS))
def test_probabilities(table: tuple[int, int, int], margin: float) -> None:
    """P-values lie in (0, 1], and the two questions are never both answered with yes."""
    unsafe, worse = p_unsafe_paired(*table, margin), p_worse_paired(*table, margin)
    assert 0 < unsafe <= 1
    assert 0 < worse <= 1
    assert unsafe > 0.05 or worse > 0.05


@settings(max_examples=40)
@given(tables(), st.sampled_from(MARGINS))
def test_monotone_where_it_decides(table: tuple[int, int, int], margin: float) -> None:
    """A further regression never makes a small p-value smaller, nor an improvement a larger one.

    Up to a ten-millionth: the range searched depends a little on the number of discordant pairs, which only
    matters for p-values far from any decision.
    """
    b, c, n = table
    p = p_unsafe_paired(b, c, n, margin)
    if b + c < n:
        assert p_unsafe_paired(b + 1, c, n, margin) >= min(p, 0.3) - 1e-6
        if p <= 0.3:
            assert p_unsafe_paired(b, c + 1, n, margin) <= p + 1e-6
    if c > 0:
        assert p_unsafe_paired(b + 1, c - 1, n, margin) >= p - 1e-6


@settings(max_examples=40)
@given(tables(), st.sampled_from(MARGINS))
def test_wider_margins_are_easier(table: tuple[int, int, int], margin: float) -> None:
    """What cannot be shown at a wide margin cannot be shown at a narrow one."""
    b, c, n = table
    wide = p_unsafe_paired(b, c, n, margin)
    narrow = p_unsafe_paired(b, c, n, margin / 2)
    if wide > 0.05:
        assert narrow > 0.05


@settings(max_examples=40)
@given(tables(most=2_000), st.sampled_from(MARGINS))
def test_statistic_mirrors(table: tuple[int, int, int], d0: float) -> None:
    """Swapping the two runtimes turns the sign of the statistic."""
    b, c, n = table
    assert tango_z(b, c, n, -d0) == pytest.approx(-tango_z(c, b, n, d0), abs=1e-7)


@settings(max_examples=40)
@given(tables(most=500))
def test_interval_mirrors_and_holds_the_estimate(table: tuple[int, int, int]) -> None:
    """The interval holds the difference, and swapping the runtimes mirrors it."""
    b, c, n = table
    low, high = tango_interval(b, c, n)
    assert -1 <= low <= (c - b) / n + 1e-9
    assert (c - b) / n - 1e-9 <= high <= 1
    mirrored = tango_interval(c, b, n)
    assert (low, high) == pytest.approx((-mirrored.high, -mirrored.low), abs=1e-9)


@pytest.mark.parametrize("margin", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("n", [10, 30])
@pytest.mark.parametrize("improve", [0.0, 0.02, 0.1, 0.3])
def test_size(margin: float, n: int, improve: float) -> None:
    """At the border of the hypothesis the chance of a wrong verdict stays below alpha, exactly computed."""
    regress = improve + margin
    table = cache(lambda b, c: p_unsafe_paired(b, c, n, margin))
    worse = cache(lambda b, c: p_worse_paired(b, c, n, margin))
    sizes = [0.0, 0.0]
    for b in range(n + 1):
        for c in range(n - b + 1):
            chance = float(stats.multinomial.pmf([b, c, n - b - c], n, [regress, improve, 1 - regress - improve]))
            if chance < 1e-12:
                continue
            sizes[0] += chance * (table(b, c) <= 0.05)
            sizes[1] += chance * (worse(b, c) <= 0.05)
    assert max(sizes) <= 0.05 + 1e-9


def test_large_tables_are_continuity_corrected_on_both_sides() -> None:
    """Above 400 pairs one pair is conceded to the hypothesis, whichever it is."""
    deviation = 1000 * 0.05 / tango_z(50, 50, 1000, -0.05)
    assert p_unsafe_paired(50, 50, 1000, 0.05) == pytest.approx(stats.norm.sf(49 / deviation), abs=1e-12)
    assert p_worse_paired(50, 50, 1000, 0.05) == pytest.approx(stats.norm.cdf(51 / deviation), abs=1e-12)


def test_no_pairs() -> None:
    """No pairs prove nothing."""
    assert p_unsafe_paired(0, 0, 0, 0.05) == 1
    assert p_worse_paired(0, 0, 0, 0.05) == 1


def test_memo_is_used_and_filled() -> None:
    """A p-value is kept under a key of its whole table, and found there the next time."""
    memo: dict[str, float] = {}
    p = p_unsafe_paired(3, 1, 50, 0.1, memo)
    assert list(memo.values()) == [p]
    key = next(iter(memo))
    memo[key] = 0.25
    assert p_unsafe_paired(3, 1, 50, 0.1, memo) == 0.25
    assert p_worse_paired(3, 1, 50, 0.1, memo) != 0.25
    assert len(memo) == 2
