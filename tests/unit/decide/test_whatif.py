"""The same evidence under other bars and prices, and with runtimes left out."""

from __future__ import annotations

import pytest
from stored_evidence import artifact, sample

from pytest_proofmap.calls.costs import call_cost
from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.decide.whatif import BarChanges, rebar, reprice, without_runtimes
from pytest_proofmap.errors import EvidenceError
from pytest_proofmap.evidence.models import Bar, Evidence, Price


def evidence(cases: int = 60) -> Evidence:
    """Return evidence of a challenger that agrees with its baseline."""
    return artifact([sample(runtime, index) for runtime in ("base", "mini") for index in range(cases)])


def bar(kind: str, rate: float | None, margin: float | None) -> Bar:
    """Return a bar."""
    return Bar.model_validate(
        {
            "kind": kind,
            "min_pass_rate": rate,
            "max_failure_rate": 0.25,
            "margin": margin,
            "confidence": 0.95,
            "samples": 1,
        }
    )


@pytest.mark.parametrize(
    ("before", "changes", "kind", "rate", "margin"),
    [
        (bar("all_pass", 1.0, None), BarChanges(margin=0.1), "margin", None, 0.1),
        (bar("all_pass", 1.0, None), BarChanges(min_pass_rate=0.9), "min_pass_rate", 0.9, None),
        (bar("min_pass_rate", 0.9, None), BarChanges(margin=0.1), "both", 0.9, 0.1),
        (bar("min_pass_rate", 0.9, None), BarChanges(min_pass_rate=None), "all_pass", 1.0, None),
        (bar("margin", None, 0.1), BarChanges(margin=None), "all_pass", 1.0, None),
        (bar("margin", None, 0.1), BarChanges(min_pass_rate=0.9), "both", 0.9, 0.1),
        (bar("both", 0.9, 0.1), BarChanges(min_pass_rate=None), "margin", None, 0.1),
        (bar("margin", None, 0.1), BarChanges(confidence=0.9), "margin", None, 0.1),
    ],
)
def test_bar_changes(
    before: Bar, changes: BarChanges, kind: str, rate: float | None, margin: float | None
) -> None:
    """Arguments combine as in the mark, and what is not named stays."""
    after = changes.apply(before)
    assert (after.kind, after.min_pass_rate, after.margin) == (kind, rate, margin)
    assert after.max_failure_rate == before.max_failure_rate
    assert after.confidence == (before.confidence if changes.confidence == "unset" else changes.confidence)


def test_rebar() -> None:
    """Other bars give other verdicts, on the named objectives only."""
    strict = decide_evidence(rebar(evidence(), BarChanges(margin=0.02)))
    assert strict.criteria[0].cells[1].status == "insufficient"
    loose = decide_evidence(rebar(evidence(30), BarChanges(margin=0.1), ["job"]))
    assert loose.criteria[0].cells[1].status == "qualified"
    with pytest.raises(EvidenceError, match=r"no objective 'jib'. Did you mean 'job'\?"):
        rebar(evidence(), BarChanges(), ["jib"])


def test_reprice() -> None:
    """Prices are applied to the tokens that were used, and decide who is cheaper."""
    dear = reprice(evidence(), {"mini": Price(input_per_mtok=1e6, output_per_mtok=2e6)}, call_cost)
    assert dear.samples[-1].calls[0].cost_usd == 3
    assert dear.samples[0].calls[0].cost_usd == 1
    assert dear.runtimes["mini"].price is not None
    assert decide_evidence(dear).objectives[0].recommendations[0].chain == ["base", "mini"]
    with pytest.raises(EvidenceError, match="no runtime 'maxi'"):
        reprice(evidence(), {"maxi": Price(input_per_mtok=1, output_per_mtok=1)}, call_cost)


def test_without_runtimes() -> None:
    """A challenger that is left out stays in the family and has no verdict."""
    left = decide_evidence(without_runtimes(evidence(), ["mini"]))
    cell = left.criteria[0].cells[1]
    assert (cell.runtime, cell.status, cell.cases) == ("mini", "insufficient", 0)
    with pytest.raises(EvidenceError, match="is the baseline"):
        without_runtimes(evidence(), ["base"])
