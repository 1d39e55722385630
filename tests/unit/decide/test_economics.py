"""What 1,000 cases cost, said in one place."""

from __future__ import annotations

import pytest
from stored_evidence import decided

from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.decide.economics import cost_per_1k_usd
from pytest_proofmap.decide.observation import Observation, observe
from pytest_proofmap.decide.whatif import routes_of
from pytest_proofmap.evidence.models import Outcome
from pytest_proofmap.lock.models import Approval
from pytest_proofmap.lock.propose import ApprovalRequest, approved_routes
from pytest_proofmap.report.costs import runtime_figures

CRITERION = "t.py::test_x"


def row(case: str, sample: int, outcome: Outcome, usd: float | None) -> Observation:
    """Return a sample with a cost."""
    return Observation(CRITERION, case, None, "mini", sample, outcome, usd)


def test_each_case_counts_alike() -> None:
    """A case is the mean of its samples that were paid, whether they passed, failed or broke."""
    rows = [
        *(row("a", 0, "passed", 1.0), row("a", 1, "failed", 3.0), row("a", 2, "error", 0.0)),
        *(row("b", 0, "error", 4.0), row("c", 0, "error", 0.0), row("d", 0, "skipped", 9.0)),
    ]
    assert cost_per_1k_usd(rows) == pytest.approx(3000.0)


@pytest.mark.parametrize("rows", [[], [("error", 0.0)], [("skipped", 1.0)], [("passed", 1.0), ("failed", None)]])
def test_nothing_answered_or_an_unknown_part_is_unknown(rows: list[tuple[Outcome, float | None]]) -> None:
    """Nothing is said that could be too low."""
    assert cost_per_1k_usd(row(str(index), 0, *each) for index, each in enumerate(rows)) is None


def test_lock_whatif_and_summary_say_the_same() -> None:
    """Errors, skips and several samples of a case leave one figure in all places."""
    evidence = decided({CRITERION: {"base": "P" * 60, "mini": "P" * 57 + "EES", "haiku": "P" * 60}})
    samples = [
        sample.model_copy(
            update={
                "calls": [
                    call.model_copy(
                        update={"cost_usd": None if sample.outcome == "error" else 0.001 * (index % 7)}
                    )
                    for call in sample.calls
                ]
            }
        )
        for index, sample in enumerate(evidence.samples)
    ]
    evidence = decide_evidence(evidence.model_copy(update={"samples": samples}))
    rows = observe(evidence.samples)
    summary = {
        each.runtime: each.per_1k.usd for each in runtime_figures(rows, evidence.criteria, evidence.objectives)
    }
    assert all(summary.values())
    (route,) = routes_of(evidence)
    assert {rung.runtime: rung.cost_per_1k_usd for rung in (*route.chain, *route.others)} == pytest.approx(summary)
    approval = Approval(by="ada", at="2026-01-02T00:00:00Z", reason="", expires_at=None)
    (approved,) = approved_routes(evidence, ApprovalRequest(), approval, "0" * 64).routes.values()
    locked = approved.evidence.cost_per_1k_usd
    assert locked == pytest.approx({name: summary[name] for name in locked})
