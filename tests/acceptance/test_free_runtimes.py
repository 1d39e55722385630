"""A declared price of 0 is a price: a model on the project's own machine costs nothing, which is known."""

from __future__ import annotations

import pytest
from small_project import CONFIGURATION, THREE_CASES, SmallProject, echo_hook

CASES = [f"case-{number}" for number in range(80)]
TEST = THREE_CASES.replace('["a", "b", "c"]', repr(CASES))
FREE = "price = { input_per_mtok = 0, output_per_mtok = 0 }"
PRICES = {
    "gpt": "price = { input_per_mtok = 10.0, output_per_mtok = 30.0 }",
    "mini": "price = { input_per_mtok = 1.0, output_per_mtok = 2.0 }",
}


def run(project: SmallProject, *free: str) -> None:
    """Run a project whose answers are all right, and some of whose runtimes are free by declaration."""
    configuration = CONFIGURATION
    for name in free:
        configuration = configuration.replace(PRICES[name], FREE)
    # A model whose list price is another: what is declared stands above it.
    project.configure(configuration.replace("openai/mini", "openai/gpt-4o-mini"))
    project.write("test_it.py", TEST)
    for name in ("gpt", "mini"):
        project.record(name, {case: case for case in CASES})
    project.run().assert_outcomes(passed=160)


def test_a_free_challenger_is_chosen_for_cost(project: SmallProject) -> None:
    """Its cost is 0 and known; a ratio to nothing is none, and the reason says why it was chosen."""
    run(project, "mini")
    evidence = project.evidence()
    costs = {sample.runtime: sample.calls[0].cost_usd for sample in evidence.samples}
    assert costs["mini"] == 0.0
    assert costs["gpt"] == pytest.approx(0.0013)
    assert project.cell("test_echo", "mini").cost_usd == 0.0
    assert evidence.totals.unpriced == 0
    (route,) = evidence.objectives[0].recommendations
    assert route.chain == ["mini", "gpt"]
    assert (route.cost_ratio, route.cost_interval) == (None, None)
    assert route.reason.startswith("free of charge, which the baseline is not")


@pytest.mark.parametrize("free", [("gpt",), ("gpt", "mini")], ids=["baseline", "both"])
def test_nothing_is_cheaper_than_a_free_baseline(project: SmallProject, free: tuple[str, ...]) -> None:
    """No challenger is promoted for cost, and the reason says so instead of an unknown price."""
    run(project, *free)
    (route,) = project.evidence().objectives[0].recommendations
    assert route.chain[0] == "gpt"
    assert route.cost_ratio is None
    assert "the baseline costs nothing" in route.reason


def test_a_free_runtime_fits_into_any_budget(project: SmallProject) -> None:
    """Its calls reserve nothing, so that a budget is refused for the other's sake alone."""
    project.configure(CONFIGURATION.replace(PRICES["gpt"], FREE).replace(PRICES["mini"], FREE))
    project.write("conftest.py", echo_hook())
    project.write("test_it.py", THREE_CASES)
    project.run("--proofmap-budget=0.000001").assert_outcomes(passed=6)
    assert len(project.calls()) == 6
