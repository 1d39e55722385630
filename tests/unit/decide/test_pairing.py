"""Pairing cases by bits, against pairing them one by one."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.pairing import answered_pairs, pair
from pytest_proofmap.decide.tally import CriterionTally, View
from pytest_proofmap.evidence.models import Outcome

outcomes = st.sampled_from(get_args(Outcome))


def view_of(columns: list[tuple[Outcome, Outcome]], *, samples: int) -> View:
    """Return the view of two runtimes' outcomes, each case sampled so many times with the same outcome."""
    counted = CriterionTally("t", [str(case) for case in range(len(columns))])
    for case, column in enumerate(columns):
        for runtime, outcome in zip(("base", "mini"), column, strict=True):
            for index in range(samples):
                # Byte-identical answers are one sample.
                row = Observation("t", str(case), None, runtime, index, outcome, request_digest=f"{case}/{index}")
                counted.add(row._replace(answer_digest="same"))
    return counted.view(None)


@given(st.lists(st.tuples(outcomes, outcomes), max_size=70))
def test_bits_say_what_the_cases_say(columns: list[tuple[Outcome, Outcome]]) -> None:
    """A case a bit gives the tables and names, in the order of cases, that samples counted case by case give."""
    single, several = view_of(columns, samples=1), view_of(columns, samples=2)
    assert single.plain("base")
    assert pair(single, "base", "mini") == pair(several, "base", "mini")
    assert answered_pairs(single, "base", "mini") == answered_pairs(several, "base", "mini")


def test_names_in_the_order_of_cases() -> None:
    """Regressions and improvements are named in the order in which cases were collected."""
    found = pair(
        view_of(
            [("passed", "failed"), ("failed", "passed"), ("passed", "failed"), ("passed", "passed")], samples=1
        ),
        "base",
        "mini",
    )
    assert (found.regressed, found.improved) == (("0", "2"), ("1",))
