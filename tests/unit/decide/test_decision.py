"""From an artifact to its decision."""

from __future__ import annotations

import gc
from importlib import metadata
from typing import Any

import pytest
from stored_evidence import artifact, call, sample

from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.decide.observation import observe
from pytest_proofmap.decide.tally import CriterionTally, View
from pytest_proofmap.decide.verdict import baseline_meets_bar
from pytest_proofmap.evidence.models import Cell, Evidence, Latency, Sample


def test_artifact_is_decided() -> None:
    """Verdicts and recommendations follow from an artifact alone, and the artifact stays valid with them."""
    samples = [sample(runtime, index) for runtime in ("base", "mini") for index in range(60)]
    decided = decide_evidence(artifact(samples))
    again = Evidence.model_validate_json(decided.model_dump_json(by_alias=True))
    assert again == decided
    cells = {cell.runtime: cell for cell in decided.criteria[0].cells}
    assert cells["mini"].status == "qualified"
    assert cells["base"].cost_usd == pytest.approx(60)
    assert cells["mini"].latency_s == Latency(p50=2, p95=2, max=2, n=60)
    assert decided.objectives[0].recommendations[0].chain == ["mini", "base"]
    assert decide_evidence(decided) == decided


def test_other_bars_decide_anew() -> None:
    """Another bar in the artifact gives another verdict from the same samples."""
    evidence = artifact([sample(runtime, index) for runtime in ("base", "mini") for index in range(60)])
    (criterion,) = evidence.criteria
    stricter = criterion.model_copy(update={"bar": criterion.bar.model_copy(update={"margin": 0.02})})
    decided = decide_evidence(evidence.model_copy(update={"criteria": [stricter]}))
    assert decided.criteria[0].cells[1].status == "insufficient"


def test_the_marks_own_challengers_are_the_family() -> None:
    """A criterion whose mark names its challengers is corrected for these."""
    evidence = artifact([sample(runtime, index) for runtime in ("base", "mini") for index in range(60)])
    (criterion,) = evidence.criteria
    more = criterion.model_copy(update={"challengers": ["mini", "other"]})
    cells = decide_evidence(evidence.model_copy(update={"criteria": [more]})).criteria[0].cells
    assert [cell.runtime for cell in cells] == ["base", "mini", "other"]
    assert cells[1].status == "insufficient"


def test_no_sample_at_all() -> None:
    """A run that was interrupted before its first sample has cells that say so."""
    decided = decide_evidence(artifact([]))
    assert [cell.status for cell in decided.criteria[0].cells] == [None, "insufficient"]
    assert decided.objectives[0].recommendations[0].chain == ["base"]


@pytest.mark.skipif(
    metadata.version("pydantic").startswith("2.9."),
    reason="pydantic 2.9 keeps the variables of a function that first uses a model",
)
def test_counts_do_not_outlive_the_decision() -> None:
    """They hold every sample: that memory is free again without a search for cycles."""
    evidence = artifact([sample(runtime, index) for runtime in ("base", "mini") for index in range(3)])
    gc.collect()
    gc.disable()
    try:
        decide_evidence(evidence)
        assert not [each for each in gc.get_objects() if isinstance(each, CriterionTally | View)]
    finally:
        gc.enable()


def observed(**settings: Any) -> Any:
    """Return the observation of one sample."""
    (row,) = observe([Sample.model_validate(sample("mini", 0, **settings))], {"t"})
    return row


def test_cost_of_a_sample() -> None:
    """Costs add up over the runtime's own calls; an unanswered call is free, an unknown price is unknown."""
    assert observed(calls=[call("a"), call("b"), call("j", runtime="judge")]).cost_usd == 1.0
    failed = {"class": "Timeout", "message": ""}
    lost = call("b", cost_usd=None, error=failed, input_tokens=None)
    assert observed(calls=[call("a"), lost]).cost_usd == 0.5
    assert observed(calls=[call("a", cost_usd=None)]).cost_usd is None
    assert observed(calls=[]).cost_usd == 0


def test_latency_of_a_sample() -> None:
    """The sample's own latency counts; without it the sum of its calls' does."""
    assert observed(latency_s=3.0).latency_s == 3
    assert observed(calls=[call("a"), call("b")]).latency_s == 4
    assert observed(calls=[call("a"), call("b", latency_s=None)]).latency_s is None
    assert observed(calls=[]).latency_s is None


def test_digests_of_a_sample() -> None:
    """Requests are told apart by their keys, answers byte for byte, and auxiliary calls belong to neither."""
    judged = observed(calls=[call("a"), call("j", runtime="judge")])
    alone = observed(calls=[call("a")])
    assert judged.request_digest == alone.request_digest == "a"
    assert judged.answer_digest == alone.answer_digest
    assert observed(calls=[call("a"), call("b")]).request_digest == "a,b"
    assert observed(calls=[call("a", text="x")]).answer_digest != alone.answer_digest
    assert observed(calls=[call("a", error={"class": "T", "message": ""})]).answer_digest is None
    (row,) = observe([Sample.model_validate(sample("mini", 0))])
    assert row.answer_digest is None


def cell(rate: float | None) -> Cell:
    """Return a baseline's cell with a pass rate."""
    return Cell(
        runtime="base", role="baseline", slice=None, status=None, cases=10, passed=5, failed=5,
        errors=0, skipped=0, pass_rate=rate, interval=None, reason="", cost_usd=None,
        latency_s=Latency(p50=None, p95=None, max=None, n=0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "min_pass_rate", "rate", "meets"),
    [
        ("all_pass", 1.0, 1.0, True),
        ("all_pass", 1.0, 0.99, False),
        ("min_pass_rate", 0.9, 0.9, True),
        ("min_pass_rate", 0.9, 0.89, False),
        ("margin", None, 0.5, True),
        ("margin", None, 0.49, False),
        ("both", 0.9, 0.8, False),
        ("both", 0.9, 0.95, True),
        ("margin", None, None, False),
    ],
)
def test_baseline_meets_its_own_bar(
    kind: Any, min_pass_rate: float | None, rate: float | None, meets: bool
) -> None:
    """The baseline is held to the same pass rate, and under a margin to being a reference at all."""
    one = artifact([]).criteria[0].bar.model_copy(update={"kind": kind, "min_pass_rate": min_pass_rate})
    assert baseline_meets_bar(one, cell(rate)) is meets
