"""Cost ratios, speed-ups and order statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_proofmap.decide.economics import cost_ratio, latency_figures, order_statistic, speed_up

costs = st.floats(0.001, 10)


def test_cost_ratio_is_of_totals() -> None:
    """Costs are summed before they are divided: a cheap case weighs what it costs."""
    ratio = cost_ratio([10.0, 2.0], [1.0, 1.0])
    assert ratio is not None
    assert ratio.estimate == 6
    assert ratio.largest_share == pytest.approx(10 / 12)


@given(st.lists(st.tuples(costs, costs), min_size=3, max_size=30))
def test_jackknife(pairs: list[tuple[float, float]]) -> None:
    """The interval is the jackknife-t interval of the logarithm, computed another way."""
    baseline, challenger = np.array(pairs).T
    n = len(pairs)
    ratio = cost_ratio(list(baseline), list(challenger))
    assert ratio is not None
    assert ratio.interval is not None
    logs = np.log((baseline.sum() - baseline) / (challenger.sum() - challenger))
    error = math.sqrt((n - 1) ** 2 / n * logs.var(ddof=1))
    reach = stats.t.ppf(0.975, n - 1) * error
    centre = math.log(baseline.sum() / challenger.sum())
    assert math.log(ratio.interval.low) == pytest.approx(centre - reach, rel=1e-6, abs=1e-6)
    assert math.log(ratio.interval.high) == pytest.approx(min(700, centre + reach), rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(costs, costs), min_size=2, max_size=20))
def test_cost_ratio_mirrors(pairs: list[tuple[float, float]]) -> None:
    """Swapping the sides inverts the ratio and its interval."""
    baseline, challenger = [b for b, _ in pairs], [c for _, c in pairs]
    there, back = cost_ratio(baseline, challenger), cost_ratio(challenger, baseline)
    assert there is not None
    assert back is not None
    assert there.estimate * back.estimate == pytest.approx(1)


def test_constant_ratio_has_no_spread() -> None:
    """A challenger that always costs a tenth is ten times cheaper, for certain."""
    ratio = cost_ratio([1.0, 2.0, 3.0], [0.1, 0.2, 0.3])
    assert ratio is not None
    assert ratio.interval == pytest.approx((10, 10))


@pytest.mark.parametrize(("baseline", "challenger"), [([], []), ([0.0], [1.0]), ([1.0], [0.0])])
def test_no_ratio(baseline: list[float], challenger: list[float]) -> None:
    """Nothing spent on a side gives no ratio."""
    assert cost_ratio(baseline, challenger) is None


def test_one_case_has_no_interval() -> None:
    """One case says nothing of its spread, and neither does one that is the whole total."""
    one = cost_ratio([1.0], [0.5])
    assert one is not None
    assert one.interval is None
    whole = cost_ratio([1.0, 0.0], [0.5, 0.5])
    assert whole is not None
    assert whole.interval is None


def test_different_cases_are_refused() -> None:
    """Ratios are of the same cases only."""
    with pytest.raises(ValueError, match="same cases"):
        cost_ratio([1.0], [1.0, 2.0])


def test_speed_up_needs_six_cases_for_an_interval() -> None:
    """From six cases on the extremes bound the median at 95 %; below there is only the median."""
    six = speed_up([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0] * 6)
    assert six is not None
    assert (six.estimate, six.interval, six.cases) == (3.5, (1, 6), 6)
    five = speed_up([1.0, 2.0, 3.0, 4.0, 5.0], [1.0] * 5)
    assert five is not None
    assert five.interval is None


@given(st.lists(costs, min_size=6, max_size=60))
def test_speed_up_interval_covers(latencies: list[float]) -> None:
    """The ranks of the interval leave at most the error out at either side, and holds the median."""
    ratio = speed_up(latencies, [1.0] * len(latencies))
    assert ratio is not None
    assert ratio.interval is not None
    ordered = sorted(latencies)
    rank = int(stats.binom.ppf(0.025, len(latencies), 0.5))
    if stats.binom.cdf(rank, len(latencies), 0.5) <= 0.025:
        rank += 1
    assert ratio.interval.low == ordered[rank - 1]
    assert ratio.interval.high == ordered[len(ordered) - rank]
    assert ratio.interval.low <= ratio.estimate <= ratio.interval.high


def test_p95_needs_59_values() -> None:
    """Below 59 values the maximum stands for the 95th percentile, so that none is given."""
    assert latency_figures([float(i) for i in range(58)]) == (28, None, 57, 58)
    assert latency_figures([float(i) for i in range(1, 101)]) == (50, 95, 100, 100)
    assert latency_figures([]) == (None, None, None, 0)


@given(st.lists(costs, min_size=1), st.floats(0.01, 1))
def test_order_statistic(values: list[float], quantile: float) -> None:
    """It is the smallest value that the share of the values does not exceed."""
    expected = float(np.quantile(values, quantile, method="inverted_cdf"))
    found = order_statistic(sorted(values), quantile)
    # At a share that is a whole number of values rounding may fall on either neighbour.
    if abs(quantile * len(values) - round(quantile * len(values))) > 1e-6:
        assert found == expected
