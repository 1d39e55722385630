"""The two gates for repeated samples, and pass^k."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_proofmap.decide.tally import CasePair, flip_table, mean_table, pass_hat_k

rates = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_one_sample_is_the_ordinary_table(outcomes: list[tuple[bool, bool]]) -> None:
    """With one sample a case both tables count regressions, improvements and cases."""
    cases = [CasePair(float(baseline), float(challenger), 1, 1) for baseline, challenger in outcomes]
    b = sum(baseline and not challenger for baseline, challenger in outcomes)
    c = sum(challenger and not baseline for baseline, challenger in outcomes)
    assert mean_table(cases) == flip_table(cases) == (b, c, len(cases))


@given(st.lists(st.tuples(rates, rates), min_size=1, max_size=40))
def test_effective_number_is_bounded(pairs: list[tuple[float, float]]) -> None:
    """The effective number lies between the cases and the samples, and the difference is kept."""
    cases = [CasePair(baseline, challenger, 4, 4) for baseline, challenger in pairs]
    b, c, n = mean_table(cases)
    assert len(cases) <= n <= 4 * len(cases)
    assert b + c <= n + 1e-9
    mean = sum(challenger - baseline for baseline, challenger in pairs) / len(pairs)
    assert (c - b) / n == pytest.approx(mean, abs=1e-9)


def test_noise_that_averages_out_counts_as_more_cases() -> None:
    """Cases that differ by one sample out of four in both directions are worth more than one each."""
    cases = [CasePair(0.5, 0.75, 4, 4), CasePair(0.5, 0.25, 4, 4)] * 10
    # Per case the single-sample variance is .25, that of the means .0625.
    assert mean_table(cases) == (10, 10, 80)
    assert flip_table(cases) == (0, 0, 20)


def test_identical_answers_do_not_count_as_samples() -> None:
    """Where the answers of a case are all the same, its repeats are one sample."""
    cases = [CasePair(1.0, 0.5, 1, 4), CasePair(0.5, 1.0, 4, 1)] * 10
    assert mean_table(cases).pairs == 20


def test_agreement_gains_nothing() -> None:
    """Cases that never differ stay as many as they are."""
    assert mean_table([CasePair(1.0, 1.0, 5, 5)] * 7) == (0, 0, 7)


def test_flip_is_half_or_more() -> None:
    """A case flips when its pass share changes by half or more."""
    cases = [CasePair(1.0, 0.5, 2, 2), CasePair(0.0, 2 / 3, 3, 3), CasePair(1.0, 2 / 3, 3, 3)]
    assert flip_table(cases) == (1, 1, 3)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([(3, 3), (2, 3)], 0.5),
        ([(1, 1), (0, 1), (1, 1)], 2 / 3),
        ([(4, 4), (2, 2), (1, 4)], 2 / 3),
        ([], None),
        ([(0, 0)], None),
    ],
)
def test_pass_hat_k(counts: list[tuple[int, int]], expected: float | None) -> None:
    """pass^k is the chance that k samples of a case all pass, averaged over the cases."""
    assert pass_hat_k(counts) == pytest.approx(expected)


def test_no_cases() -> None:
    """No case gives empty tables."""
    assert mean_table([]) == flip_table([]) == (0, 0, 0)
