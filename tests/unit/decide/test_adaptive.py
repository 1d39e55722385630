"""Stopping early without paying for it in false promotions."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_proofmap.decide.adaptive import (
    Bets,
    MarginRule,
    agreement_to_qualify,
    case_order,
    follows_rule,
    margin_rule,
    margin_stop,
    p_unsafe_adaptive,
    p_worse_adaptive,
    wave_ends,
)
from pytest_proofmap.decide.stats.paired import p_unsafe_paired
from pytest_proofmap.evidence.models import Bar

ALPHA = 0.05
RULE = MarginRule(0.05, 1, ALPHA, 0.2)


def bar(**settings: object) -> Bar:
    """Return a bar; a margin of 5 points unless told."""
    values: dict[str, object] = {
        "kind": "margin",
        "min_pass_rate": None,
        "max_failure_rate": None,
        "margin": 0.05,
        "confidence": 1 - ALPHA,
        "samples": 1,
    }
    return Bar.model_validate(values | settings)


def after(differences: Iterable[float], margin: float = 0.05) -> Bets:
    """Return the bets after some cases without missing outcomes."""
    bets = Bets(margin)
    for difference in differences:
        bets.add(difference, difference)
    return bets


def product(differences: list[float], margin: float) -> tuple[float, float]:
    """Return both wealths as they are defined, by plain multiplication."""
    up = down = 0.0
    for i in range(20):
        u = (i + 0.5) / 20
        up += 0.8 / 20 * math.prod(1 + u / (1 - margin) * (d + margin) for d in differences)
        down += 1 / 20 * math.prod(1 - u / (1 + margin) * (d + margin) for d in differences)
    return up + 0.2 * math.prod(1 + 1 / (1 - margin) * (d + margin) for d in differences), down


def test_wealth_after_agreement() -> None:
    """The known wealth after 77 agreeing cases comes out."""
    assert math.exp(after([0.0] * 77).log_acceptable) == pytest.approx(20.8206, abs=1e-4)


def test_starts_even() -> None:
    """Before the first case nothing is won."""
    assert Bets(0.1).log_acceptable == pytest.approx(0, abs=1e-12)
    assert Bets(0.1).log_worse == pytest.approx(0, abs=1e-12)


@given(
    st.lists(st.sampled_from([-1.0, -0.5, -1 / 3, 0.0, 0.0, 0.0, 0.5, 1.0]), max_size=40),
    st.floats(0.01, 0.6),
)
def test_wealth_is_the_product_of_the_bets(differences: list[float], margin: float) -> None:
    """The running logarithms agree with the defining products."""
    up, down = product(differences, margin)
    bets = after(differences, margin)
    assert math.exp(bets.log_acceptable) == pytest.approx(up, rel=1e-8, abs=1e-12)
    assert math.exp(bets.log_worse) == pytest.approx(down, rel=1e-8, abs=1e-12)


@given(st.floats(0.01, 0.9), st.floats(0, 1))
def test_a_bet_is_fair_at_the_border(margin: float, share: float) -> None:
    """A single case at a true loss of exactly the margin neither wins nor loses on average."""
    improve = share * (1 - margin) / 2
    chances = {1.0: improve, -1.0: improve + margin, 0.0: 1 - 2 * improve - margin}
    up = sum(chance * math.exp(after([d], margin).log_acceptable) for d, chance in chances.items())
    down = sum(chance * math.exp(after([d], margin).log_worse) for d, chance in chances.items())
    assert up == pytest.approx(1)
    assert down == pytest.approx(1)


def test_thousands_of_cases_neither_overflow_nor_vanish() -> None:
    """Wealth beyond the range of floats is still compared well."""
    bets = after([0.0] * 20_000)
    assert bets.log_acceptable > 1e3
    assert p_unsafe_adaptive(RULE, bets, None) == 0.0
    bets = after([-1.0] * 20_000)
    assert bets.log_worse > 1e3
    assert bets.log_acceptable < -500
    assert p_worse_adaptive(bets) == 0.0


def test_missing_outcomes_count_against_each_side() -> None:
    """A case without an outcome speaks neither for "acceptable" nor for "worse"."""
    bets = Bets(0.05)
    for _ in range(60):
        bets.add(safe=-1.0, worse=0.0)
    assert bets.log_acceptable < 0
    assert bets.log_worse < 0


def test_identical_runtime_stops_as_qualified() -> None:
    """Agreement on all cases qualifies after 111 of them."""
    bets, stop = Bets(0.05), None
    while stop is None:
        bets.add(0.0, 0.0)
        stop = margin_stop(RULE, bets, 200 - bets.pairs, 0)
    assert (stop, bets.pairs) == ("qualified", 111)
    assert agreement_to_qualify(0.05, 1, ALPHA) == 111


def test_a_stop_as_qualified_qualifies_in_the_verdict() -> None:
    """What stops a challenger is also small enough after the correction for all of them."""
    rule = RULE._replace(challengers=3)
    bets = after([0.0] * agreement_to_qualify(0.05, 3, ALPHA))
    assert margin_stop(rule, bets, 100, 0) == "qualified"
    assert 3 * p_unsafe_adaptive(rule, bets, None) <= rule.alpha


def test_bad_runtime_stops_early() -> None:
    """A runtime that fails forty in a hundred is given up after about twenty cases on average."""
    rng = random.Random(4)
    numbers = []
    for _ in range(200):
        bets, stop = Bets(0.05), None
        while stop is None:
            difference = -1.0 if rng.random() < 0.4 else 0.0
            bets.add(difference, difference)
            stop = margin_stop(RULE, bets, 200 - bets.pairs, 30)
        assert stop in ("not_qualified", "insufficient")
        numbers.append(bets.pairs)
    assert sum(numbers) / len(numbers) < 25


def test_futility() -> None:
    """When even the best possible rest cannot qualify there is nothing left to ask."""
    bets = after([-1.0, -1.0] + [0.0] * 38)
    assert margin_stop(RULE, bets, 20, 0) == "insufficient"
    assert margin_stop(RULE, bets, 20, 20) is None
    assert margin_stop(RULE, Bets(0.05), 20, 0) == "insufficient"


def test_more_challengers_need_more() -> None:
    """What stops one challenger does not yet stop one of five."""
    bets = after([0.0] * 111)
    assert margin_stop(RULE, bets, 200, 0) == "qualified"
    assert margin_stop(RULE._replace(challengers=5), bets, 200, 0) is None


def test_no_error_is_spent_early_where_that_does_not_pay() -> None:
    """With fewer than 148 cases at five points the test at the end is that of fixed sampling."""
    assert margin_rule(bar(), 1, 147).early_share == 0
    assert margin_rule(bar(), 1, 148).early_share == 0.2
    assert margin_rule(bar(), 1, 1000, early=False).early_share == 0
    small = margin_rule(bar(), 1, 59)
    exact = p_unsafe_paired(0, 0, 59, 0.05)
    assert p_unsafe_adaptive(small, after([0.0] * 59), exact) == exact <= ALPHA
    assert margin_stop(small, after([0.0] * 30), 29, 0) is None


def test_the_end_has_what_is_left_of_the_error() -> None:
    """The exact test at the end has four fifths of alpha, and counts only when no case was left out."""
    bets = after([0.0] * 63)
    exact = p_unsafe_paired(0, 0, 63, 0.05)
    assert p_unsafe_adaptive(RULE, bets, exact) == pytest.approx(exact / 0.8)
    assert p_unsafe_adaptive(RULE, bets, None) > 0.3
    assert RULE.final_level == pytest.approx(0.04)


def test_a_crossing_is_not_lost_again() -> None:
    """Wealth that once was enough counts, whatever comes after it in the same wave."""
    bets = after([0.0] * 111 + [-1.0] * 3)
    assert bets.log_acceptable < math.log(100)
    assert margin_stop(RULE, bets, 80, 0) == "qualified"


def test_false_stops_are_rare() -> None:
    """At the border of the hypothesis few paths ever stop as qualified."""
    rng = random.Random(1)
    false = 0
    for _ in range(600):
        bets = Bets(0.1)
        for _ in range(200):
            draw = rng.random()
            difference = -1.0 if draw < 0.15 else 1.0 if draw < 0.2 else 0.0
            bets.add(difference, difference)
        false += p_unsafe_adaptive(RULE, bets, None) <= ALPHA
    assert false / 600 <= 0.025


def test_the_order_depends_on_seed_and_names_alone() -> None:
    """The order of cases is the same however they are collected, and another one for another seed."""
    cases = [f"case{i}" for i in range(50)]
    order = case_order(7, "test_it.py::test_it", cases)
    assert sorted(order) == sorted(cases) != order
    assert case_order(7, "test_it.py::test_it", reversed(cases)) == order
    assert case_order(8, "test_it.py::test_it", cases) != order
    assert case_order(7, "test_it.py::test_other", cases) != order
    assert case_order(7, "c", ["b", "a"]) == case_order(7, "c", ["a", "b"])


def test_waves() -> None:
    """Waves grow, end with the cases, and one ends where agreement qualifies."""
    assert wave_ends(bar(), 1, 200) == [16, 24, 32, 40, 50, 62, 77, 96, 111, 120, 150, 187, 200]
    assert wave_ends(bar(), 1, 10) == [10]
    assert wave_ends(bar(kind="all_pass", margin=None), 1, 20) == [4, 8, 16, 20]
    assert wave_ends(bar(kind="all_pass", margin=None), 1, 4) == [4]


@given(st.integers(1, 3000), st.integers(1, 5), st.floats(0.005, 0.5))
def test_waves_end_with_the_cases(cases: int, challengers: int, margin: float) -> None:
    """Every schedule rises to the number of cases."""
    ends = wave_ends(bar(margin=margin), challengers, cases)
    assert ends == sorted(set(ends))
    assert ends[-1] == cases


def test_which_bars_follow_the_rule() -> None:
    """Sampling is adaptive under a margin or where every case must pass, and under no other bar."""
    assert follows_rule(bar())
    assert follows_rule(bar(kind="all_pass", margin=None))
    assert not follows_rule(bar(kind="min_pass_rate", min_pass_rate=0.9, margin=None))
    assert not follows_rule(bar(kind="both", min_pass_rate=0.9))
    assert not follows_rule(bar(confidence=0))
    assert not follows_rule(bar(margin=1.0))
