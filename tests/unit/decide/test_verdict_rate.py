"""The bar of a minimal pass rate."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from stored_evidence import Scene, bar, versus

RATE: dict[str, Any] = {"kind": "min_pass_rate", "min_pass_rate": 0.9}


@pytest.mark.parametrize(("cases", "allowed"), [(30, 0), (50, 1), (100, 4), (300, 21)])
def test_allowed_failures(cases: int, allowed: int) -> None:
    """At 90 % so many failures still qualify."""
    for failures, qualifies in ((allowed, True), (allowed + 1, False)):
        cell = versus("P" * cases, "F" * failures + "P" * (cases - failures), **RATE)
        assert (cell.status == "qualified") == qualifies


@given(st.integers(1, 120), st.integers(0, 120))
def test_p_values(cases: int, failures: int) -> None:
    """Both p-values are the binomial tails at the tolerated failure rate."""
    failures = min(failures, cases)
    cell = versus("P" * cases, "F" * failures + "P" * (cases - failures), **RATE)
    assert cell.p_unsafe == pytest.approx(stats.binom.cdf(failures, cases, 0.1), abs=1e-9)
    assert cell.p_worse == pytest.approx(stats.binom.sf(failures - 1, cases, 0.1), abs=1e-9)


def test_clearly_below() -> None:
    """A pass rate clearly below the bar is not qualified, with cases named."""
    cell = versus("P" * 40, "F" * 12 + "P" * 28, **RATE)
    assert cell.status == "not_qualified"
    assert "12 of 40 cases fail: c0, c1, c2 and 9 more" in cell.reason


def test_open() -> None:
    """In between more cases are needed, and the bound printed is below the bar."""
    cell = versus("P" * 20, "P" * 20, **RATE)
    assert cell.status == "insufficient"
    assert cell.needs is not None
    assert cell.needs.best == 9
    assert "leaves a pass rate of 86.0 % possible (90 % is asked for); 29 would do" in cell.reason


def test_errors_count_against_both_answers() -> None:
    """An error is a failure when asking whether it is safe, and a pass when asking whether it is worse."""
    cell = versus("P" * 30, "P" * 29 + "E", **RATE)
    assert cell.p_unsafe == pytest.approx(stats.binom.cdf(1, 30, 0.1))
    assert cell.p_worse == 1
    assert "1 case without an outcome counted against it" in cell.reason


def test_baseline_is_measured_by_the_same_rate() -> None:
    """The baseline's own cell says when it misses its own bar."""
    cell = Scene(bar(**RATE)).saw("base", "FFPPP").saw("mini", "PPPPP").decide().cell("base")
    assert cell.status is None
    assert cell.reason == "3/5 cases pass; it fails c0, c1; its own bar is 90 %"


@pytest.mark.parametrize(
    ("mini", "status"),
    [("PPPPPPPPPF", "qualified"), ("PPPPPPPPFF", "not_qualified"), ("PPPPPPPFFE", "not_qualified")],
)
def test_observed_rate(mini: str, status: str) -> None:
    """Without any confidence asked for the observed rate decides, and is labelled so."""
    cell = versus("P" * 10, mini, confidence=0.0, **RATE)
    assert cell.status == status
    assert cell.reason.startswith("observed: ")
    assert cell.p_unsafe is None
    assert cell.p_adjusted is None


def test_observed_rate_that_hangs_on_an_error() -> None:
    """Where the missing outcome decides there is no verdict."""
    cell = versus("P" * 10, "PPPPPPPPPE", kind="min_pass_rate", min_pass_rate=1 - 1e-9, confidence=0.0)
    assert cell.status == "insufficient"
    assert "hangs on" in cell.reason
