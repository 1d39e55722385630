"""The figures of each runtime in the summary."""

from __future__ import annotations

import pytest
from stored_evidence import decided

from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.evidence.models import Outcome
from pytest_proofmap.report.costs import RuntimeFigures, runtime_figures

CRITERION = "tests/test_a.py::test_x"


def figures(outcomes: dict[str, list[Outcome]]) -> dict[str, RuntimeFigures]:
    """Return the figures of runtimes whose answers cost a dollar each, and whose errors cost nothing."""
    evidence = decided({CRITERION: {"base": "PP", "mini": "PP"}})
    rows = [
        Observation(CRITERION, f"c{index}", None, name, 0, outcome, 0.0 if outcome == "error" else 1.0)
        for name, found in outcomes.items()
        for index, outcome in enumerate(found)
    ]
    return {each.runtime: each for each in runtime_figures(rows, evidence.criteria, evidence.objectives)}


def test_errors_make_no_runtime_cheaper() -> None:
    """The cost of 1,000 cases is that of answered ones."""
    found = figures({"base": ["passed", "passed"], "mini": ["passed", "error"]})
    assert found["mini"].cost.usd == 1.0
    assert found["mini"].per_1k.usd == found["base"].per_1k.usd == 1000.0
    assert found["mini"].gain.ratio == pytest.approx(1.0)


def test_a_runtime_that_never_answered_has_no_price() -> None:
    """Nothing answered is not for free: what a case costs is unknown."""
    found = figures({"base": ["passed", "passed"], "mini": ["error", "error"]})
    assert found["mini"].per_1k.usd is None
    assert found["mini"].gain.ratio is None
