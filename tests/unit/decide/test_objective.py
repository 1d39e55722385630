"""Verdicts on an objective of several criteria."""

from __future__ import annotations

import pytest
from stored_evidence import Scene, bar


def two_criteria(mini_a: str, mini_b: str, **settings: float) -> Scene:
    """Return a scene of two criteria that the baseline passes."""
    scene = Scene(bar(**settings))  # type: ignore[arg-type]  # only numbers are passed here
    scene.saw("base", "P" * len(mini_a), criterion="a").saw("base", "P" * len(mini_b), criterion="b")
    return scene.saw("mini", mini_a, criterion="a").saw("mini", mini_b, criterion="b")


def test_conjunction() -> None:
    """The p-value is the largest of the criteria's, without a correction for their number."""
    decided = two_criteria("P" * 100, "P" * 60).decide()
    verdict = decided.verdict()
    assert verdict.status == "qualified"
    assert verdict.p_unsafe == decided.cell(criterion="b").p_unsafe
    assert verdict.reason.startswith("on all 2 criteria; a: no worse than base")


def test_one_failed_criterion_fails_it() -> None:
    """It is not qualified when one criterion is not, whatever the others say."""
    verdict = two_criteria("P" * 100, "F" * 30 + "P" * 30).decide().verdict()
    assert verdict.status == "not_qualified"
    assert verdict.reason.startswith("on 1 of 2 criteria; b: worse than base")
    assert two_criteria("P" * 10, "F" * 30 + "P" * 30).decide().verdict().status == "not_qualified"


def test_one_open_criterion_leaves_it_open() -> None:
    """It is open when one criterion is open and none failed."""
    assert two_criteria("P" * 100, "P" * 20).decide().verdict().status == "insufficient"


def test_missing_on_one_criterion() -> None:
    """A challenger without evidence on one criterion is not judged by the others."""
    scene = two_criteria("P" * 100, "-" * 100)
    verdict = scene.decide().verdict()
    assert verdict.status == "insufficient"
    assert "not run" in verdict.reason


def test_each_criterion_alone_but_not_together() -> None:
    """Challengers that are weak on different criteria pass each one, and not the conjunction."""
    names = ["x", "y"]
    scene = Scene(bar(margin=0.1), names)
    for criterion, long in (("a", "x"), ("b", "y")):
        scene.saw("base", "P" * 65, criterion=criterion)
        for name in names:
            # The weaker one has p between alpha / 2 and alpha, which Holm accepts second, not first.
            scene.saw(name, "P" * 65 if name == long else "F" * 2 + "P" * 63, criterion=criterion)
    decided = scene.decide()
    for name in names:
        assert decided.cell(name, criterion="a").status == "qualified"
        assert decided.cell(name, criterion="b").status == "qualified"
        verdict = decided.verdict(name)
        assert verdict.status == "insufficient"
        assert verdict.reason.startswith("each of its 2 criteria qualifies alone, but together")


def test_slices_and_unsliced_criteria() -> None:
    """A criterion without slices counts with all its cases towards every slice."""
    scene = Scene(bar(margin=0.1))
    for name in ("base", "mini"):
        scene.saw(name, "P" * 40, criterion="a", slice_name="language=en")
        scene.saw(name, "P" * 10, criterion="a", slice_name="language=fr")
    scene.saw("base", "P" * 50, criterion="b").saw("mini", "P" * 50, criterion="b")
    decided = scene.decide()
    assert decided.verdict(slice_name="language=en").status == "qualified"
    assert decided.verdict(slice_name="language=fr").status == "insufficient"
    assert decided.verdict().status == "qualified"
    scene = Scene(bar(margin=0.1))
    for name, b in (("base", "P" * 50), ("mini", "F" * 50)):
        scene.saw(name, "P" * 40, criterion="a", slice_name="language=en").saw(name, b, criterion="b")
    assert scene.decide().verdict(slice_name="language=en").status == "not_qualified"


def test_slice_that_a_criterion_does_not_have() -> None:
    """Where a sliced criterion has no case in a slice there is no verdict on it."""
    scene = Scene(bar(margin=0.1))
    for name in ("base", "mini"):
        scene.saw(name, "P" * 40, criterion="a", slice_name="language=en")
        scene.saw(name, "P" * 40, criterion="a", slice_name="language=fr")
        scene.saw(name, "P" * 40, criterion="b", slice_name="language=en")
    verdict = scene.decide().verdict(slice_name="language=fr")
    assert verdict.status == "insufficient"
    assert "no evidence" in verdict.reason


@pytest.mark.parametrize(("mini", "status"), [("P" * 5, "qualified"), ("PPPPF", "not_qualified")])
def test_observed(mini: str, status: str) -> None:
    """With the observed rates deciding an objective is the conjunction of what they say."""
    verdict = two_criteria("P" * 5, mini, confidence=0.0).decide().verdict()
    assert verdict.status == status
    assert verdict.p_unsafe is None


def test_determinism() -> None:
    """A criterion that tolerates no failure rate takes no part in the p-value, only in the conjunction."""
    scene = Scene(bar("all_pass", max_failure_rate=None)).saw("base", "PP").saw("mini", "PP")
    assert scene.decide().verdict().status == "qualified"
    assert scene.decide().verdict().p_unsafe == 0
