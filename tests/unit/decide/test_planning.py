"""What collected cases can and cannot prove, before anything is spent."""

from __future__ import annotations

import pytest
from stored_evidence import bar

from pytest_proofmap.decide.planning import PlannedCriterion, cases_needed, shortfalls
from pytest_proofmap.evidence.models import Bar


@pytest.mark.parametrize(
    ("one", "challengers", "needed"),
    [
        (bar("all_pass"), 1, 11),
        (bar("all_pass"), 10, 19),
        (bar("all_pass", max_failure_rate=None), 3, 1),
        (bar("min_pass_rate", min_pass_rate=0.9), 1, 29),
        (bar(margin=0.05), 3, 83),
        (bar(margin=0.1), 3, 41),
        (bar("both", min_pass_rate=0.9, margin=0.2), 1, 29),
        (bar("both", min_pass_rate=1.0, margin=0.05), 1, 59),
        (bar(margin=0.05, confidence=0.0), 3, 1),
    ],
)
def test_cases_needed(one: Bar, challengers: int, needed: int) -> None:
    """The least number of cases with which a challenger can qualify."""
    assert cases_needed(one, challengers) == needed


def test_shortfalls() -> None:
    """Criteria and slices that cannot reach a verdict are named with what they need; others are silent."""
    planned = [
        PlannedCriterion("test_a.py::test_enough", bar(margin=0.1), 3, {None: 66}),
        PlannedCriterion("test_a.py::test_thin", bar(), 3, {None: 90, "language=fr": 30}),
    ]
    (found,) = shortfalls(planned)
    assert (found.criterion, found.slice, found.cases, found.needed) == (
        "test_a.py::test_thin",
        "language=fr",
        30,
        83,
    )
    assert found.text == (
        "test_a.py::test_thin (language=fr): 30 cases cannot qualify any of 3 challengers that only agrees "
        "with the baseline, at a margin of 5.0 points; 83 would"
    )


def test_all_pass_in_words() -> None:
    """The words name the bar and the failure rate that it tolerates."""
    (found,) = shortfalls([PlannedCriterion("t", bar("all_pass"), 1, {None: 1})])
    assert found.text == (
        "t: 1 case cannot qualify the challenger at an all-pass bar with max_failure_rate 0.25; "
        "11 would, if all pass"
    )
