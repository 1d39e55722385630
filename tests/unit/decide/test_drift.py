"""Two artifacts compared: what got worse, what got lost, what moved."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from stored_evidence import decided, undecided

from pytest_proofmap.decide.compare import Gap, measured_twice, rate_drifts
from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.decide.drift import Drift, compare_evidence
from pytest_proofmap.evidence.models import Evidence

X, Y = "t.py::test_x", "t.py::test_y"
AGREE = {"base": "P" * 60, "mini": "P" * 60, "haiku": "P" * 60}
HALF = {"base": "P" * 60, "mini": "P" * 60, "haiku": "F" * 30 + "P" * 30}


def drift(old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]], **settings: Any) -> Drift:
    """Compare two runs, given as one letter per case."""
    return compare_evidence(decided(old, **settings), decided(new, **settings))


def changed(evidence: Evidence, **update: Any) -> Evidence:
    """Return evidence with some of its parts replaced."""
    return evidence.model_copy(update=update)


def with_samples(evidence: Evidence, **update: Any) -> Evidence:
    """Return evidence whose samples have other fields, decided anew."""
    samples = [sample.model_copy(update=update) for sample in evidence.samples]
    return decide_evidence(changed(evidence, samples=samples))


def with_calls(evidence: Evidence, tested: str, /, **update: Any) -> Evidence:
    """Return evidence in which the calls on a runtime have other fields, decided anew."""
    samples = [
        sample.model_copy(update={"calls": [call.model_copy(update=update) for call in sample.calls]})
        if sample.runtime == tested
        else sample
        for sample in evidence.samples
    ]
    return decide_evidence(changed(evidence, samples=samples))


def test_identical_evidence_has_no_drift() -> None:
    """An artifact beside itself has nothing to tell, whatever its outcomes and latencies are."""
    found = drift({X: AGREE, Y: HALF}, {X: AGREE, Y: HALF}, latency_s=0.7)
    assert not found.is_drift
    assert not found.is_regression
    assert [found.worse, found.better, found.lost, found.added, found.served, found.chains] == [[]] * 6
    assert {rate.difference for rate in found.rates} == {0.0}
    assert {each.ratio for each in (*found.costs, *found.latencies)} == {1.0}


def test_a_flip_is_never_netted_against_a_gain() -> None:
    """One challenger that falls and one that rises are two facts, and the first is a regression."""
    swapped = {"base": "P" * 60, "mini": "F" * 30 + "P" * 30, "haiku": "P" * 60}
    found = drift({X: HALF}, {X: swapped})
    assert [(flip.scope, flip.runtime, flip.old, flip.new) for flip in found.worse] == [
        ("objective", "mini", "qualified", "not_qualified"),
        ("criterion", "mini", "qualified", "not_qualified"),
    ]
    assert {(flip.runtime, flip.new) for flip in found.better} == {("haiku", "qualified")}
    assert found.is_regression
    assert {rate.runtime: rate.dropped for rate in found.rates} == {"base": False, "mini": True, "haiku": False}


def test_a_drop_on_one_criterion_is_not_netted_against_a_rise_on_another() -> None:
    """Over all criteria the rate stays, and yet the one that fell is a regression."""
    bad, good = "F" * 30 + "P" * 30, "P" * 60
    found = drift(
        {X: {"base": good, "mini": good}, Y: {"base": good, "mini": bad}},
        {X: {"base": good, "mini": bad}, Y: {"base": good, "mini": good}},
    )
    mini = {rate.criterion: rate for rate in found.rates if rate.runtime == "mini"}
    assert mini[None].difference == 0.0
    assert not mini[None].beyond_chance
    assert mini[X].dropped
    assert mini[Y].beyond_chance
    assert not mini[Y].dropped
    assert mini[X].regressed == tuple(f"c{index}" for index in range(30))


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [("P" * 60, "P" * 20, 2), ("F" * 60, "P" * 20, 0), ("P" * 20, "F" * 60, 2), ("P" * 20, "P" * 60, 0)],
    ids=["loses-qualified", "evidence-against-is-gone", "evidence-against", "qualifies"],
)
def test_which_flips_are_worse(before: str, after: str, worse: int) -> None:
    """Qualified is best, not qualified worst; not enough evidence lies between."""
    found = drift({X: {"base": "P" * len(before), "mini": before}}, {X: {"base": "P" * len(after), "mini": after}})
    assert (len(found.worse), len(found.better)) == (worse, 2 - worse)


def test_verdicts_on_slices() -> None:
    """A verdict that only a slice lost is named with the slice."""
    flaky = "".join("F" if index % 2 and index < 60 else "P" for index in range(120))
    old = {X: {"base": "P" * 120, "mini": "P" * 120}}
    found = drift(old, {X: {"base": "P" * 120, "mini": flaky}}, slices=["lang=de", "lang=fr"])
    assert ("criterion", "lang=fr") in {(flip.scope, flip.slice) for flip in found.worse}
    assert "lang=de" not in {flip.slice for flip in found.worse}


def test_a_lost_case() -> None:
    """A case that was answered and is not collected any more is lost coverage, and a regression by itself."""
    found = drift({X: {"base": "P" * 61, "mini": "P" * 61}}, {X: {"base": "P" * 60, "mini": "P" * 60}})
    assert found.lost == [Gap("cases", X, cases=("c60",))]
    assert found.added == []
    assert (found.worse, found.is_regression) == ([], True)
    assert {rate.cases for rate in found.rates} == {60}


def test_added_coverage_is_no_drift() -> None:
    """What only the new artifact covers is named, and fails nothing."""
    found = drift({X: AGREE}, {X: dict.fromkeys(AGREE, "P" * 61), Y: AGREE})
    assert [(gap.kind, gap.name) for gap in found.added] == [
        ("objective", "y"),
        ("criterion", Y),
        ("cases", X),
    ]
    assert found.lost == []
    assert not found.is_drift


def test_lost_criteria_and_runtimes() -> None:
    """Whole criteria and runtimes are named once, and a runtime that one criterion lost with that criterion."""
    two = {"base": "P" * 60, "mini": "P" * 60}
    found = drift({X: AGREE, Y: AGREE}, {X: two, Y: AGREE}, objective="job")
    assert found.lost == [Gap("runtime", "haiku", X)]
    found = drift({X: AGREE, Y: AGREE}, {X: two}, objective="job")
    assert found.lost == [Gap("criterion", Y), Gap("runtime", "haiku")]
    assert found.is_regression


def test_a_partial_run_loses_only_of_what_it_holds_whole() -> None:
    """What a selection left out is not lost; a case that is gone from a criterion that it holds whole is."""
    old = decided({X: AGREE, Y: AGREE}, objective="job")
    shorter = {name: row[:59] for name, row in AGREE.items()}
    whole = decided({X: shorter, Y: AGREE}, objective="job")
    partial = changed(
        whole,
        run=whole.run.model_copy(update={"complete": False}),
        criteria=[each for each in whole.criteria if each.id == X],
        samples=[each for each in whole.samples if each.criterion == X],
    )
    assert compare_evidence(old, partial).lost == [Gap("cases", X, cases=("c59",))]
    selected = [each for each in partial.samples if each.runtime != "mini" or each.case != "c3"]
    assert compare_evidence(old, changed(partial, samples=selected)).lost == []
    assert {gap.kind for gap in compare_evidence(old, changed(partial, run=old.run)).lost} == {
        "criterion",
        "cases",
    }


def test_a_lost_slice() -> None:
    """A slice that no case lies in any more is lost."""
    old = decided({X: AGREE}, slices=["lang=de", "lang=fr"])
    new = with_samples(old, slice="lang=de")
    assert Gap("slice", "lang=fr", X) in compare_evidence(old, new).lost


def test_answers_that_are_lost() -> None:
    """A runtime that cannot be reached any more is lost coverage, case by case, and says nothing of its rate."""
    broken = {"base": "P" * 60, "mini": "E" * 58 + "SP", "haiku": "P" * 60}
    found = drift({X: AGREE}, {X: broken})
    (gap,) = found.lost
    assert (gap.kind, gap.runtime, len(gap.cases), gap.unavailable) == ("answers", "mini", 59, 58)
    assert {rate.runtime: rate.cases for rate in found.rates} == {"base": 60, "mini": 1, "haiku": 60}
    assert not any(rate.beyond_chance for rate in found.rates)


def test_what_adaptive_sampling_left_out_is_not_lost() -> None:
    """A case that was not needed for a verdict is no lost coverage."""
    old = decided({X: AGREE})
    samples = [
        sample.model_copy(update={"spared": True, "outcome": "skipped", "calls": []})
        if (sample.runtime, sample.case) == ("mini", "c59")
        else sample
        for sample in old.samples
    ]
    assert compare_evidence(old, changed(old, samples=samples)).lost == []


def test_a_few_flipped_cases_are_chance() -> None:
    """Three cases that changed sides in sixty, all one way, are not beyond chance; eleven are."""
    few = drift({X: AGREE}, {X: AGREE | {"mini": "F" * 3 + "P" * 57}})
    many = drift({X: AGREE}, {X: AGREE | {"mini": "F" * 11 + "P" * 49}})
    for found, dropped in ((few, False), (many, True)):
        (rate,) = [rate for rate in found.rates if rate.runtime == "mini"]
        assert rate.dropped is dropped
        assert rate.interval.low < rate.difference < rate.interval.high
        assert (rate.interval.high < 0) is dropped
    assert len(next(rate for rate in many.rates if rate.runtime == "mini").regressed) == 11


def test_many_criteria_do_not_raise_a_false_alarm() -> None:
    """Each measure spends its error once: the same small change among many lines is chance."""
    old = {f"t.py::test_{index}": {"base": "P" * 20, "mini": "P" * 20} for index in range(20)}
    new = old | {"t.py::test_0": {"base": "P" * 20, "mini": "F" * 6 + "P" * 14}}
    assert not any(rate.beyond_chance for rate in drift(old, new).rates)
    alone = drift({X: old["t.py::test_0"]}, {X: {"base": "P" * 20, "mini": "F" * 7 + "P" * 13}})
    assert [rate.runtime for rate in alone.rates if rate.dropped] == ["mini"]


def test_unchanged_runtimes_raise_few_false_alarms() -> None:
    """Of a hundred pairs of runs of the same runtimes, no more than the stated share has a line beyond chance."""
    random = Random(7)
    names, criteria = ("base", "mini", "haiku"), [f"t.py::test_{index}" for index in range(3)]

    def run(rates: Mapping[tuple[str, str], list[float]]) -> Evidence:
        letters = {
            key: "".join("P" if random.random() < rate else "F" for rate in row) for key, row in rates.items()
        }
        return undecided({each: {name: letters[each, name] for name in names} for each in criteria})

    alarms = 0
    for _ in range(100):
        rates = {
            (each, name): [random.choice([0.5, 0.8, 1.0]) for _ in range(30)]
            for each in criteria
            for name in names
        }
        old, new = run(rates), run(rates)
        alarms += any(rate.beyond_chance for rate in rate_drifts(measured_twice(old, new), old, new))
    assert alarms <= 5


def test_a_rise_is_drift_and_no_regression() -> None:
    """A pass rate that rose beyond chance is told, but fails only a check for any drift."""
    found = drift({X: {"base": "F" * 20 + "P" * 40}}, {X: {"base": "P" * 60}})
    assert (found.is_regression, found.is_drift) == (False, True)


def test_another_model_served() -> None:
    """A provider that swapped the model behind a name is drift, although every answer is as good."""
    old = decided({X: AGREE})
    found = compare_evidence(old, with_calls(old, "mini", model="mini-2026"))
    (served,) = found.served
    assert served == ("mini", {"mini": 60}, {"mini-2026": 60})
    assert (found.is_regression, found.is_drift) == (False, True)


def test_a_judge_served_by_another_model() -> None:
    """The models of auxiliary calls are compared under their own runtime, not under the one that was tested."""
    old = with_calls(decided({X: AGREE}), "mini", runtime="judge", model="judge-1")
    found = compare_evidence(old, with_calls(old, "mini", model="judge-2"))
    assert [served.runtime for served in found.served] == ["judge"]


def test_cost_and_latency_move() -> None:
    """Ratios are new by old over the same cases; an unknown price or latency is said and is no drift."""
    old = with_calls(decided({X: AGREE}), "mini", latency_s=1.0)
    new = with_calls(with_calls(old, "mini", latency_s=1.5), "haiku", cost_usd=0.0008)
    found = compare_evidence(old, new)
    latency = {each.runtime: each for each in found.latencies}
    cost = {each.runtime: each for each in found.costs}
    assert latency["mini"].ratio == 1.5
    assert latency["mini"].beyond_interval
    assert latency["haiku"].unknown == "no latency is known"
    assert cost["haiku"].ratio == pytest.approx(2.0)
    assert cost["haiku"].beyond_interval
    assert not cost["mini"].beyond_interval
    assert (found.is_regression, found.is_drift) == (False, True)
    unpriced = {each.runtime: each for each in compare_evidence(old, with_calls(old, "mini", cost_usd=None)).costs}
    assert (unpriced["mini"].ratio, unpriced["mini"].beyond_interval) == (None, False)
    assert unpriced["mini"].unknown


def test_what_is_not_the_same_any_more_is_said_beside_the_rate() -> None:
    """A rate whose runtime or test changed says so: the comparison is then not of the runtime alone."""
    old = decided({X: AGREE})
    (criterion,) = old.criteria
    rewritten = changed(
        old,
        criteria=[criterion.model_copy(update={"fingerprint": "source:9/bar:2/cases:3"})],
        runtimes=old.runtimes | {"mini": old.runtimes["mini"].model_copy(update={"fingerprint": "other"})},
    )
    found = compare_evidence(old, rewritten)
    assert {rate.runtime: rate.changed for rate in found.rates} == {
        "base": ("source",),
        "mini": ("runtime", "source"),
        "haiku": ("source",),
    }


def test_another_chain() -> None:
    """A recommendation that changed is told with both chains."""
    found = drift({X: AGREE}, {X: HALF})
    assert [tuple(each) for each in found.chains] == [
        ("x", None, ["mini", "haiku", "base"], ["mini", "base"]),
    ]


def test_another_baseline() -> None:
    """Verdicts that compare with another runtime than before are told."""
    found = drift({X: {"base": "P" * 60, "mini": "P" * 60}}, {X: {"mini": "P" * 60, "base": "P" * 60}})
    assert [tuple(each) for each in found.baselines] == [("x", "base", "mini")]
    assert not found.is_drift


def test_repeated_samples() -> None:
    """With several samples a case, the pass shares of a case are compared."""
    old = decided({X: AGREE}, bar={"samples": 2})

    def twice(evidence: Evidence, second: str) -> Evidence:
        again = [
            sample.model_copy(
                update={
                    "sample": 1,
                    "outcome": second if sample.runtime == "mini" else sample.outcome,
                    "calls": [
                        call.model_copy(update={"text": "else", "key": call.key + "1"}) for call in sample.calls
                    ],
                }
            )
            for sample in evidence.samples
        ]
        return decide_evidence(changed(evidence, samples=[*evidence.samples, *again]))

    found = compare_evidence(twice(old, "passed"), twice(old, "failed"))
    (rate,) = [rate for rate in found.rates if rate.runtime == "mini"]
    assert (rate.old, rate.new, rate.difference) == (1.0, 0.5, -0.5)
    assert rate.dropped
