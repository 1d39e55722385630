"""Exact binomial tails, bounds and quantiles against published values and scipy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_proofmap.decide.stats.binomial import (
    all_pass_bound,
    beta_cdf,
    beta_quantile,
    binomial_at_least,
    binomial_at_most,
    clopper_pearson,
    lower_bound,
    normal_quantile,
    student_t_quantile,
    upper_bound,
)


def test_clopper_pearson_published() -> None:
    """The textbook interval of 13 out of 16 comes out."""
    low, high = clopper_pearson(13, 16)
    assert low == pytest.approx(0.5435, abs=5e-5)
    assert high == pytest.approx(0.9595, abs=5e-5)


@pytest.mark.parametrize(("cases", "bound"), [(10, 0.259), (20, 0.139), (59, 0.0495)])
def test_all_pass_bound(cases: int, bound: float) -> None:
    """All of n cases passing leaves the failure rate 1 - alpha^(1/n) possible."""
    assert all_pass_bound(cases) == pytest.approx(bound, abs=1e-3)
    assert all_pass_bound(cases) == pytest.approx(1 - 0.05 ** (1 / cases))


@given(st.integers(0, 400), st.integers(1, 400), st.floats(0.001, 0.999))
def test_tails_agree_with_scipy(k: int, n: int, rate: float) -> None:
    """Both tails are scipy's to ten digits, and overlap in exactly the one value."""
    k = min(k, n)
    assert binomial_at_most(k, n, rate) == pytest.approx(stats.binom.cdf(k, n, rate), rel=1e-9, abs=1e-14)
    assert binomial_at_least(k, n, rate) == pytest.approx(stats.binom.sf(k - 1, n, rate), rel=1e-9, abs=1e-14)


@given(st.floats(0.01, 500), st.floats(0.01, 500), st.floats(1e-9, 1))
def test_beta_distribution_agrees_with_scipy(a: float, b: float, x: float) -> None:
    """The incomplete beta function is scipy's, also at fractional counts."""
    assert beta_cdf(a, b, x) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-8, abs=1e-12)


@given(st.floats(0.3, 400), st.floats(0.3, 400), st.floats(0.0002, 0.9998))
def test_beta_quantile_inverts(a: float, b: float, probability: float) -> None:
    """The quantile is the inverse of the distribution function, as exactly as a float can say beside 1."""
    quantile = beta_quantile(probability, a, b)
    below, above = math.nextafter(quantile, 0.0), math.nextafter(quantile, 1.0)
    inverted = beta_cdf(a, b, quantile) == pytest.approx(probability, rel=1e-7, abs=1e-10)
    assert inverted or beta_cdf(a, b, below) <= probability <= beta_cdf(a, b, above)


@given(st.integers(0, 200), st.integers(1, 200), st.sampled_from([0.5, 0.8, 0.95, 0.999]))
def test_interval_holds_the_rate(k: int, n: int, confidence: float) -> None:
    """The interval holds its own estimate, mirrors with the outcome, and its ends are scipy's."""
    k = min(k, n)
    low, high = clopper_pearson(k, n, confidence)
    assert 0 <= low <= k / n <= high <= 1
    mirrored = clopper_pearson(n - k, n, confidence)
    assert (1 - high, 1 - low) == pytest.approx((mirrored.low, mirrored.high), abs=1e-9)
    expected = stats.binomtest(k, n).proportion_ci(confidence)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-8)


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.05, 0.95))
def test_bound_and_tail_never_contradict(k: int, n: int, rate: float) -> None:
    """A tail is at most alpha exactly when the one-sided bound excludes the rate."""
    k = min(k, n)
    alpha = 0.05
    tail = binomial_at_most(k, n, rate)
    if abs(tail - alpha) > 1e-9:
        assert (tail <= alpha) == (upper_bound(k, n, alpha) <= rate)
    tail = binomial_at_least(k, n, rate)
    if abs(tail - alpha) > 1e-9:
        assert (tail <= alpha) == (lower_bound(k, n, alpha) >= rate)


def test_no_cases() -> None:
    """Nothing observed excludes nothing."""
    assert clopper_pearson(0, 0) == (0, 1)
    assert all_pass_bound(0) == 1


@pytest.mark.parametrize("freedom", [1, 2, 5, 30, 300])
@pytest.mark.parametrize("probability", [0.01, 0.2, 0.5, 0.9, 0.975, 0.999])
def test_student_quantile(freedom: int, probability: float) -> None:
    """Student's quantile is scipy's."""
    expected = stats.t.ppf(probability, freedom)
    assert student_t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_extreme_probabilities() -> None:
    """Quantiles at 0 and 1 are the ends of their range."""
    assert normal_quantile(0) == -math.inf
    assert normal_quantile(1) == math.inf
    assert beta_quantile(0, 2, 3) == 0
    assert beta_quantile(1, 2, 3) == 1
