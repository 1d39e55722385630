"""How each kind of figure is written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_proofmap.decide.stats.binomial import clopper_pearson
from pytest_proofmap.evidence.models import Needs
from pytest_proofmap.report.figures import (
    Amount,
    Errors,
    Gain,
    PassRate,
    distance,
    interval_note,
    money,
    needs_text,
    seconds,
    short_labels,
    signed_points,
)


@pytest.mark.parametrize(
    ("passed", "ran", "counts", "rate", "interval"),
    [
        (24, 24, "24/24", "100 %", "85–100 %"),
        (37, 40, "37/40", "92.5 %", "79–99 %"),
        (0, 16, "0/16", "0 %", "0–21 %"),
        (1, 1, "1/1", "100 %", "2–100 %"),
    ],
)
def test_a_pass_rate(passed: int, ran: int, counts: str, rate: str, interval: str) -> None:
    """Counts, rate and two-sided interval have one text each."""
    shown = PassRate.of(passed, ran, 0.95)
    assert (shown.counts, shown.text, shown.range) == (counts, rate, interval)


@given(st.integers(1, 500).flatmap(lambda ran: st.tuples(st.integers(0, ran), st.just(ran))))
def test_an_interval_never_claims_too_much(counts: tuple[int, int]) -> None:
    """Rounded outwards, it holds the interval of the evidence, and hardly more."""
    passed, ran = counts
    interval = clopper_pearson(passed, ran, 0.95)
    text = PassRate.of(passed, ran, 0.95).range
    first, last = map(int, text.removesuffix(" %").split("–"))
    assert 0 <= first <= 100 * interval.low + 1e-6 < first + 1 + 1e-6
    assert last - 1 - 1e-6 < 100 * interval.high - 1e-6 <= last <= 100


def test_the_interval_of_the_evidence_is_shown() -> None:
    """What was decided with is what is shown; a bar that decides on the observed rate has one at 95 %."""
    assert PassRate.of(8, 10, 0.95, (0.5, 0.9)).range == "50–90 %"
    assert PassRate.of(24, 24, 0.0) == PassRate.of(24, 24, 0.95)


@pytest.mark.parametrize(
    ("confidences", "note"),
    [
        ({0.95}, "at 95 % confidence"),
        ({0.0, 0.95}, "at 95 % confidence"),
        ({0.975}, "at 97.5 % confidence"),
        ({0.9, 0.95}, "at the confidence of its bar"),
    ],
)
def test_the_note_on_intervals(confidences: set[float], note: str) -> None:
    """A legend says what the intervals are and at which confidence."""
    assert interval_note(confidences) == f"n–m %: two-sided interval of the pass rate, {note}"


@pytest.mark.parametrize(
    ("amount", "text", "known"),
    [
        (Amount(0.0), "$0", 0.0),
        (Amount(1234.5), "$1,234", 1234.5),
        (Amount(12.345), "$12.35", 12.345),
        (Amount(0.00123, estimated=True), "~$0.0012", 0.00123),
        (Amount(1e-9), "<$0.000001", 1e-9),
        (Amount(None), "unknown", None),
        (Amount(0.0, at_least=True), "unknown", None),
        (Amount(0.5, estimated=True, at_least=True), "at least ~$0.50", 0.5),
    ],
)
def test_an_amount(amount: Amount, text: str, known: float | None) -> None:
    """What is unknown is never 0, and a sum never says less than it may be."""
    assert (amount.text, amount.known_usd) == (text, known)
    assert amount.written("<code>{}</code>").replace("<code>", "").replace("</code>", "") == text


@pytest.mark.parametrize(
    ("gain", "text", "full"),
    [
        (Gain(10.2, (9.4, 11.3)), "10× cheaper", "10× cheaper (9.4–11×)"),
        (Gain(1.3, (1.2, 1.34), ("faster", "slower")), "1.3× faster", "1.3× faster (1.2–1.3×)"),
        (Gain(0.5, (0.4, 0.8)), "2.0× the cost", "2.0× the cost (1.2–2.5×)"),
        (Gain(0.5, None, ("faster", "slower")), "2.0× slower", "2.0× slower"),
        (Gain(1.04, (1.01, 1.06)), "the same", "the same"),
        (Gain(1234.0), "1,234× cheaper", "1,234× cheaper"),
        (Gain(None), "unknown", "unknown"),
    ],
)
def test_a_gain(gain: Gain, text: str, full: str) -> None:
    """A ratio says by how much and which way, and what would be printed as 1.0 is no difference."""
    assert (gain.text, gain.full) == (text, full)


@pytest.mark.parametrize(
    ("needs", "text", "far"),
    [
        (Needs(best=10, typical=29), "needs ~29 more cases", (29, 10)),
        (Needs(best=1, typical=1), "needs ~1 more case", (1, 1)),
        (Needs(best=5_000, typical=17_763), "needs ~18,000 more cases", (17_763, 5_000)),
        (Needs(best=40, typical=None), "more cases: none at this rate", (math.inf, 40)),
        (Needs(best=None, typical=None), "no number of cases would do", (math.inf, math.inf)),
        (Needs(best=0, typical=0, rerun=2), "rerun 2 errors", (0, 0)),
        (Needs(best=9, typical=12, rerun=1), "rerun 1 error, needs ~12 more cases", (12, 9)),
        (None, None, (math.inf, math.inf)),
    ],
)
def test_needs(needs: Needs | None, text: str | None, far: tuple[float, float]) -> None:
    """What a verdict takes has one wording, and its distance is the cases to expect."""
    assert needs_text(needs) == text
    assert distance(needs) == far


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not recorded"),
        (0.0001, "<1 ms"),
        (0.0994, "99 ms"),
        (0.0996, "0.10 s"),
        (9.94, "9.94 s"),
        (12.34, "12.3 s"),
    ],
)
def test_a_duration(value: float | None, text: str) -> None:
    """Durations have the digits that matter."""
    assert seconds(value) == text


def test_errors_and_points() -> None:
    """Errors say whose they are, differences which way they go."""
    assert (Errors(2, 1).text, Errors(2, 1).short) == ("2 unavailable, 1 test error", "2U 1E")
    assert (Errors(0, 0).text, Errors(0, 0).short) == ("", "")
    assert [signed_points(value) for value in (-0.167, 0.0, 0.02)] == ["−16.7", "0.0", "+2.0"]
    assert money(None) == "unknown"


def test_labels_have_as_much_path_as_tells_them_apart() -> None:
    """A test is called by its name alone where no other has it."""
    ids = ["tests/a/test_m.py::test_x", "tests/b/test_m.py::test_x", "tests/a/test_m.py::TestC::test_y"]
    assert list(short_labels(ids).values()) == ["test_y", "a::test_m::test_x", "b::test_m::test_x"]
