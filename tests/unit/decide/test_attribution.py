"""Differences that come from the prompt alone or from the model alone."""

from __future__ import annotations

import pytest

from pytest_proofmap.decide.decision import attribute
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.stats.tango import tango_interval
from pytest_proofmap.decide.tally import CriterionTally
from pytest_proofmap.evidence.models import Outcome, RuntimeInfo


def runtime(model: str, variant: str | None, temperature: float = 0.0) -> RuntimeInfo:
    """Return a runtime."""
    params = {"temperature": temperature}
    return RuntimeInfo(model=model, provider="p", params=params, variant=variant, fingerprint=f"{model}{variant}")


def counted(**outcomes: str) -> CriterionTally:
    """Return a tally of one letter a case."""
    tally = CriterionTally("t")
    letters: dict[str, Outcome] = {"P": "passed", "F": "failed", "E": "error"}
    for name, word in outcomes.items():
        for index, letter in enumerate(word):
            tally.add(Observation("t", str(index), None, name, 0, letters[letter]))
    return tally


RUNTIMES = {
    "big": runtime("large", None),
    "big_short": runtime("large", "short"),
    "small": runtime("small", None),
    "small_short": runtime("small", "short"),
    "hot": runtime("small", None, 1.0),
}


def test_pairs_along_one_axis() -> None:
    """Only pairs that differ in the variant alone or in the model alone are compared."""
    tally = counted(big="PPPP", big_short="PPFF", small="PPPF", small_short="FFFF", hot="PPPP")
    found = attribute(tally, list(RUNTIMES), RUNTIMES, 0.95)
    assert {(one.axis, one.from_runtime, one.to_runtime): one.difference for one in found} == {
        ("prompt", "big", "big_short"): -0.5,
        ("prompt", "small", "small_short"): -0.75,
        ("model", "big", "small"): -0.25,
        ("model", "big_short", "small_short"): -0.5,
    }


def test_interval_is_tangos_over_answered_pairs() -> None:
    """Cases without an outcome on a side are no pair."""
    tally = counted(big="PPPPF", small="PFFEP")
    (one,) = attribute(tally, ["big", "small"], RUNTIMES, 0.95)
    assert one.pairs == 4
    assert one.interval == pytest.approx(tango_interval(2, 1, 4))


def test_without_an_interval_confidence() -> None:
    """Where the observed rate decides the interval is the usual one."""
    tally = counted(big="PPPPF", small="PFFEP")
    assert attribute(tally, ["big", "small"], RUNTIMES, 0.0) == attribute(tally, ["big", "small"], RUNTIMES, 0.95)


def test_nothing_to_attribute() -> None:
    """Runtimes that were not run or not answered give nothing."""
    assert attribute(counted(big="PP"), ["big", "small"], RUNTIMES, 0.95) == []
    assert attribute(counted(big="PP", small="EE"), ["big", "small"], RUNTIMES, 0.95) == []


def test_many_runtimes_are_compared_with_the_first_only() -> None:
    """Beyond eight runtimes the pairs stay as many as there are runtimes."""
    runtimes = {f"m{i}": runtime(f"model{i}", None) for i in range(12)}
    tally = counted(**dict.fromkeys(runtimes, "PF"))
    assert len(attribute(tally, list(runtimes), runtimes, 0.95)) == 11
