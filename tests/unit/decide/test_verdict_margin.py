"""The bar of a margin to the baseline, on paired cases."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_evidence import Scene, bar, versus

from pytest_proofmap.decide.bars import assess, loss_bound
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.stats.multiplicity import holm
from pytest_proofmap.decide.stats.paired import p_unsafe_paired, p_worse_paired
from pytest_proofmap.decide.tally import CriterionTally, PairedTable
from pytest_proofmap.evidence.models import Outcome


@pytest.mark.parametrize(("margin", "needed"), [(0.05, [59, 73, 83]), (0.10, [29, 36, 41]), (0.20, [14, 17, 19])])
def test_cases_needed_with_zero_disagreement(margin: float, needed: list[int]) -> None:
    """So many agreeing cases qualify one, two and three challengers; one fewer does not, and says so."""
    for challengers, cases in enumerate(needed, start=1):
        names = [f"m{i}" for i in range(challengers)]
        for number, status in ((cases, "qualified"), (cases - 1, "insufficient")):
            scene = Scene(bar(margin=margin), names).saw("base", "P" * number)
            for name in names:
                scene.saw(name, "P" * number)
            cell = scene.decide().cell("m0")
            assert cell.status == status
            assert cell.needs is None or cell.needs.best == 1


def test_qualified_in_words() -> None:
    """The words say what was shown and what was seen."""
    cell = versus("P" * 100, "P" * 99 + "F")
    assert cell.status == "qualified"
    assert (
        cell.reason
        == "no worse than base by more than 5.0 points (95 %): 1 regression, 0 improvements in 100 cases"
    )
    assert (cell.regressions, cell.improvements) == (1, 0)


def test_insufficient_in_words() -> None:
    """The words say what cannot be excluded yet, and what would do."""
    cell = versus("P" * 20, "P" * 20)
    assert cell.status == "insufficient"
    assert cell.reason == "20/20 agree, but 20 cases cannot exclude a 14-point loss; 59 would, if all agree"
    assert cell.needs is not None
    assert cell.needs.best == 39
    assert cell.needs.typical is not None
    assert cell.needs.typical >= 39


def test_not_qualified_in_words() -> None:
    """The words name the cases that got worse."""
    cell = versus("P" * 60, "F" * 12 + "P" * 48)
    assert cell.status == "not_qualified"
    assert cell.reason == (
        "worse than base by more than 5.0 points (95 %): 12 regressions, 0 improvements in 60 cases: "
        "c0, c1, c2 and 9 more"
    )


@pytest.mark.parametrize(("base", "mini"), [("P", "P"), ("P", "F"), ("F", "P"), ("F", "F"), ("PF", "FP")])
def test_tiny(base: str, mini: str) -> None:
    """One or two cases settle nothing."""
    assert versus(base, mini).status == "insufficient"


def test_all_fail() -> None:
    """A challenger that fails everything is not qualified; if the baseline fails too there is no reference."""
    assert versus("P" * 20, "F" * 20).status == "not_qualified"
    cell = versus("F" * 200, "F" * 200)
    assert cell.status == "insufficient"
    assert cell.reason == "the baseline base passes 0 of 200 and is no reference for a margin of 5 points"
    assert cell.reason_code == "reference_unusable"
    assert cell.needs is None
    assert cell.p_unsafe is None


def test_unusable_baseline() -> None:
    """A baseline below one half is no reference, at one half it is; its cell says so, and no case is asked for."""
    scene = Scene().saw("base", "P" * 49 + "F" * 51).saw("mini", "P" * 49 + "F" * 50 + "P")
    cell = scene.decide().cell()
    assert (cell.status, cell.reason_code, cell.needs) == ("insufficient", "reference_unusable", None)
    assert cell.reason == "the baseline base passes 49 of 100 and is no reference for a margin of 5 points"
    assert (cell.p_unsafe, cell.p_worse) == (None, None)
    assert "no reference for a margin" in scene.decide().cell("base").reason
    assert scene.decide().cell("base").reason_code == "reference_unusable"
    assert scene.decide().verdict().reason == cell.reason
    assert versus("P" * 50 + "F" * 50, "P" * 100).status == "qualified"


@pytest.mark.parametrize(
    ("improvements", "challengers", "status"),
    [
        (5, 1, "qualified"),
        (2, 1, "insufficient"),
        (4, 3, "insufficient"),
        (8, 3, "qualified"),
        (0, 1, "insufficient"),
    ],
)
def test_better_than_an_unusable_baseline(improvements: int, challengers: int, status: str) -> None:
    """Whoever is shown to be better than a baseline that is no reference, after Holm, is not blocked by it."""
    names = [f"m{i}" for i in range(challengers)]
    scene = Scene(bar(margin=0.1), names).saw("base", "P" * 20 + "F" * 40)
    for name in names:
        better = improvements if name == "m0" else 0
        scene.saw(name, "P" * (20 + better) + "F" * (40 - better))
    cell = scene.decide().cell("m0")
    assert cell.status == status
    assert (cell.reason_code == "reference_unusable") is (status == "insufficient")


def test_errors_make_no_baseline_unusable() -> None:
    """The baseline's rate is that of its answers; its errors are named as errors, with what to do about them."""
    assert versus("P" * 40 + "E" * 60, "P" * 100, margin=0.2).status == "qualified"
    cell = versus("P" * 12 + "F" * 28 + "E" * 4, "P" * 12 + "F" * 28 + "P" * 4)
    assert cell.reason == (
        "the baseline base passes 12 of 40 and is no reference for a margin of 5 points; it gave an error on "
        "4 cases more: rerun them"
    )
    missing = versus("E" * 44, "P" * 44).reason
    assert missing == (
        "the reference is missing: base has no outcome on any of the cases "
        "(it gave an error on 44 cases: rerun them)"
    )


def test_missing_reference() -> None:
    """Without the baseline there is nothing to compare with."""
    for base in ("-" * 80, "E" * 80):
        cell = versus(base, "P" * 80)
        assert cell.status == "insufficient"
        assert "the reference is missing" in cell.reason
        assert cell.regressions is None


def test_not_run() -> None:
    """A challenger that was left out has a cell that says so."""
    cell = versus("P" * 80, "-" * 80)
    assert cell.status == "insufficient"
    assert cell.cases == 0
    assert cell.pass_rate is None
    assert cell.interval is None
    assert "not run" in cell.reason
    assert versus("-", "-").reason == "no case was run"


OUTCOMES = ["PP", "PF", "PE", "FP", "FF", "FE", "EP", "EF", "EE", "P-", "-F"]


@settings(max_examples=40)
@given(st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=40))
def test_missing_outcomes_never_help(pairs: list[str]) -> None:
    """Filling in what is missing, in any way, never makes either answer harder to get than missing it does."""
    worst = {"base": {"E": "P", "-": "P"}, "mini": {"E": "F", "-": "F"}}
    best = {"base": {"E": "F", "-": "F"}, "mini": {"E": "P", "-": "P"}}

    def table(fill: dict[str, dict[str, str]]) -> tuple[int, int, int]:
        full = [(fill["base"].get(p[0], p[0]), fill["mini"].get(p[1], p[1])) for p in pairs]
        return full.count(("P", "F")), full.count(("F", "P")), len(pairs)

    cell = versus("".join(p[0] for p in pairs), "".join(p[1] for p in pairs), margin=0.2)
    if cell.p_unsafe is not None:
        assert cell.p_unsafe == pytest.approx(p_unsafe_paired(*table(worst), 0.2))
        assert cell.p_worse == pytest.approx(p_worse_paired(*table(best), 0.2))


def test_errors_are_said() -> None:
    """The words say that missing outcomes counted against the challenger."""
    cell = versus("P" * 100, "P" * 98 + "EE")
    assert cell.reason.endswith("2 cases without an outcome counted against it")
    assert cell.errors == 2
    assert cell.regressions == 0


def test_family_counts_who_was_left_out() -> None:
    """Leaving challengers out, or having them fail for certain, does not loosen the correction."""
    scene = Scene(bar(), ["mini", "gone", "bad"]).saw("base", "P" * 80).saw("mini", "P" * 80)
    scene.saw("bad", "F" * 80)
    cell = scene.decide().cell()
    assert cell.p_unsafe is not None
    assert cell.p_unsafe < 0.05 / 2
    assert cell.p_adjusted == pytest.approx(3 * cell.p_unsafe)
    assert cell.status == "qualified" if 3 * cell.p_unsafe <= 0.05 else "insufficient"


def test_needs_are_at_the_corrected_level() -> None:
    """The number of cases asked for is the one that then qualifies."""
    names = ["mini", "other"]
    scene = Scene(bar(), names).saw("base", "P" * 50)
    for name in names:
        scene.saw(name, "P" * 50)
    cell = scene.decide().cell()
    assert cell.needs is not None
    assert cell.needs.best == 73 - 50
    assert "73 would, if all agree (one of 2 challengers)" in cell.reason


@settings(max_examples=40)
@given(
    st.integers(0, 6), st.integers(0, 6), st.integers(0, 90), st.sampled_from([0.05, 0.1, 0.2]), st.integers(1, 3)
)
def test_verdict_and_bound_never_contradict(b: int, c: int, agree: int, margin: float, challengers: int) -> None:
    """The loss that is printed as possible exceeds the margin exactly when the verdict is open."""
    n = b + c + agree
    if n == 0:
        return
    p = p_unsafe_paired(b, c, n, margin)
    level = 0.05 / challengers
    bound = loss_bound(b, c, n, margin, level, p)
    assert 0 <= bound <= 1
    assert (bound <= margin) == (p <= level)
    cell = versus("P" * b + "F" * c + "P" * agree, "F" * b + "P" * c + "P" * agree, margin=margin)
    if cell.status == "insufficient" and "-point loss" in cell.reason:
        printed = float(cell.reason.split("cannot exclude a ")[1].split("-point")[0])
        assert printed >= 100 * margin - 1e-9


def test_double_bar() -> None:
    """With both bars given both must hold, and the words say which one is missed."""
    both = {"kind": "both", "min_pass_rate": 0.9, "margin": 0.1}
    assert versus("P" * 60, "P" * 60, **both).status == "qualified"
    low = versus("P" * 30 + "F" * 30, "P" * 30 + "F" * 30, **both)
    assert low.status == "not_qualified"
    assert low.reason.startswith("fewer than 90 % of the cases pass")
    few = versus("P" * 28, "P" * 28, **both)
    assert few.status == "insufficient"
    assert "28/28 passed" in few.reason
    assert "-point loss" in few.reason


def test_double_bar_with_all_pass() -> None:
    """All cases must pass and the margin must hold."""
    both = {"kind": "both", "min_pass_rate": 1.0, "margin": 0.1}
    assert versus("P" * 29, "P" * 29, **both).status == "qualified"
    assert versus("P" * 20, "P" * 20, **both).status == "insufficient"
    assert versus("P" * 90, "P" * 89 + "F", **both).status == "not_qualified"


@pytest.mark.parametrize(
    ("mini", "status"),
    [("P" * 19 + "F", "qualified"), ("P" * 18 + "FF", "not_qualified"), ("P" * 18 + "FE", "insufficient")],
)
def test_observed_difference(mini: str, status: str) -> None:
    """Without any confidence asked for the observed difference decides."""
    cell = versus("P" * 20, mini, confidence=0.0)
    assert cell.status == status
    assert "observed" in cell.reason


def test_identical_requests_count_once() -> None:
    """Copies of a case are one pair; it is enough that one of the two runtimes was asked the same."""
    for copied in (("base", "mini"), ("mini",)):
        scene = Scene()
        for runtime in ("base", "mini"):
            asked = [str(i % 20) for i in range(80)] if runtime in copied else None
            scene.saw(runtime, "P" * 80, requests=asked)
        cell = scene.decide().cell()
        assert cell.status == "insufficient"
        assert cell.cases == 20
        assert "20/20 agree" in cell.reason


def test_samples_never_replace_cases() -> None:
    """Ten samples of twenty cases are still twenty cases."""
    cases = " ".join(["P" * 10] * 20)
    assert versus(cases, cases, samples=10).status == "insufficient"
    cases = " ".join(["P" * 10] * 59)
    assert versus(cases, cases, samples=10).status == "qualified"


def test_both_gates_must_pass() -> None:
    """The p-value is the larger one of the two tables."""
    words = ["PPPP"] * 90 + ["PPPF", "PPFF"] * 5
    view = CriterionTally("t")
    for name, outcomes in (("base", ["PPPP"] * 100), ("mini", words)):
        for index, word in enumerate(outcomes):
            for sample, letter in enumerate(word):
                outcome: Outcome = "passed" if letter == "P" else "failed"
                view.add(Observation("t", str(index), None, name, sample, outcome))
    found = assess(bar(samples=4), view.view(None), "mini", "base")
    assert found.pairs is not None
    b, c, n = found.pairs.safe_mean
    assert (b / n, c / n) == pytest.approx((0.0375, 0))
    assert found.pairs.safe_flips == PairedTable(5, 0, 100)
    gates = (p_unsafe_paired(b, c, n, 0.05), p_unsafe_paired(5, 0, 100, 0.05))
    assert found.p_unsafe == max(gates)


def test_identical_answers_are_one_sample() -> None:
    """Samples whose answers are byte-identical add nothing to the effective number of cases."""
    words = " ".join(["PPFF"] * 30 + ["FFPP"] * 30)
    p_values = []
    for same in (False, True):
        scene = Scene(bar(samples=4, margin=0.2))
        scene.saw("base", " ".join(["PPPF", "PFFP"] * 30), same_answers=same)
        cell = scene.saw("mini", words, same_answers=same).decide().cell()
        assert cell.p_unsafe is not None
        p_values.append(cell.p_unsafe)
    assert p_values[0] < p_values[1]


def test_unequal_samples() -> None:
    """A case sampled more often on one side counts by its mean."""
    scene = Scene(bar(samples=3)).saw("base", " ".join(["PPP"] * 60)).saw("mini", " ".join(["PP", "P"] * 30))
    assert scene.decide().cell().status == "qualified"


def test_order_does_not_matter() -> None:
    """The verdict does not depend on the order in which samples arrived."""
    scene = Scene().saw("base", "PPFPPPFP").saw("mini", "PFPPFPPP")
    first = scene.decide().cell()
    scene.rows.reverse()
    second = scene.decide().cell()
    assert first.model_dump(exclude={"reason"}) == second.model_dump(exclude={"reason"})


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(["PP", "PF", "FP", "FF", "PE"]), min_size=30, max_size=120),
    st.sampled_from([0.05, 0.2]),
)
def test_status_follows_from_the_p_values(pairs: list[str], margin: float) -> None:
    """Qualified, not qualified and insufficient are decided in this order by the two p-values."""
    cell = versus("".join(p[0] for p in pairs), "".join(p[1] for p in pairs), margin=margin)
    if cell.p_unsafe is None:
        assert cell.status == "insufficient"
        return
    assert cell.p_adjusted is not None
    assert cell.p_worse is not None
    if cell.p_adjusted <= 0.05:
        assert cell.status == "qualified"
    elif cell.p_worse <= 0.05:
        assert cell.status == "not_qualified"
    else:
        assert cell.status == "insufficient"
        assert cell.needs is not None
    assert cell.passed + cell.failed + cell.errors + cell.skipped == cell.cases


def test_correction_is_holms() -> None:
    """Adjusted p-values are Holm's over the mark's challengers."""
    names = ["a", "b", "c"]
    scene = Scene(bar(margin=0.1), names).saw("base", "P" * 80)
    for name, failures in zip(names, (0, 2, 5), strict=True):
        scene.saw(name, "F" * failures + "P" * (80 - failures))
    cells = [scene.decide().cell(name) for name in names]
    raw = [cell.p_unsafe for cell in cells if cell.p_unsafe is not None]
    assert [cell.p_adjusted for cell in cells] == pytest.approx(holm(raw))


def test_memo_is_shared() -> None:
    """A second decision with the same memo computes no p-value anew."""
    memo: dict[str, float] = {}
    scene = Scene().saw("base", "P" * 50).saw("mini", "P" * 49 + "F")
    scene.decide(memo)
    kept = dict(memo)
    assert kept
    scene.decide(memo)
    assert memo == kept
    assert all(isinstance(key, str) for key in memo)


def test_slices_are_judged_apart() -> None:
    """Each slice has its own cell, and all cases together have one."""
    scene = Scene(bar(margin=0.1))
    for name, (fr, en) in {"base": ("P" * 40, "P" * 40), "mini": ("F" * 12 + "P" * 28, "P" * 40)}.items():
        scene.saw(name, fr, slice_name="language=fr").saw(name, en, slice_name="language=en")
    decided = scene.decide()
    assert decided.cell(slice_name="language=fr").status == "not_qualified"
    assert decided.cell(slice_name="language=en").status == "qualified"
    assert decided.cell(slice_name=None).cases == 80
    assert [cell.slice for cell in decided.decision.criteria[0].cells] == [
        None,
        None,
        "language=en",
        "language=en",
        "language=fr",
        "language=fr",
    ]


def test_both_bars_share_the_error_of_worse() -> None:
    """Two bars are two chances to be called worse, so that the smaller p-value counts twice."""
    outcomes = "F" * 7 + "P" * 53
    both = versus("P" * 60, outcomes, kind="both", min_pass_rate=0.95)
    margin, rate = versus("P" * 60, outcomes), versus("P" * 60, outcomes, kind="min_pass_rate", min_pass_rate=0.95)
    assert margin.p_worse is not None
    assert rate.p_worse is not None
    assert both.p_worse == pytest.approx(2 * min(margin.p_worse, rate.p_worse))
    assert versus("P" * 60, "P" * 60, kind="both", min_pass_rate=0.95).p_worse == 1.0


@pytest.mark.parametrize("samples", [2, 3, 5])
def test_who_fails_now_and_then_is_found_with_samples(samples: int) -> None:
    """A model that fails one attempt in so many at every case flips no case, and is worse all the same."""
    scene = Scene(bar(samples=samples))
    scene.saw("base", " ".join(["P" * samples] * 60)).saw("mini", " ".join(["F" + "P" * (samples - 1)] * 60))
    cell = scene.decide().cell()
    assert cell.status == "not_qualified"
    assert cell.p_worse == pytest.approx(p_worse_paired(60 / samples, 0, 60, 0.05), rel=1e-6)
    single = versus("P" * 60, "F" * 12 + "P" * 48)
    assert single.p_worse == p_worse_paired(12, 0, 60, 0.05)


def test_errors_ask_for_a_rerun_and_never_for_cases() -> None:
    """Where only errors are in the way they are what is asked for; a rate too bad has no number of cases."""
    cell = versus("P" * 60, "P" * 57 + "EEE")
    assert (cell.status, cell.reason_code) == ("insufficient", "errors")
    assert cell.needs is not None
    assert (cell.needs.best, cell.needs.typical, cell.needs.rerun) == (0, 0, 3)
    assert "rerun the 3 errors" in cell.reason
    assert "would" not in cell.reason
    lost = versus("P" * 60, "F" * 3 + "P" * 57)
    assert lost.reason_code == "none_at_this_rate"
    assert lost.needs is not None
    assert lost.needs.typical is None
    assert lost.reason.endswith("none at this rate")


def test_slices_are_corrected_by_the_rule() -> None:
    """What qualifies by itself may not qualify beside many slices that do not; the cell names its level."""
    levels = {}
    for rule in ("each", "fdr", "all"):
        scene = Scene(bar(margin=0.1), objective={"slices_rule": rule})
        for number in range(6):
            cases = 31 if number == 0 else 12
            scene.saw("base", "P" * cases, slice_name=f"s={number}").saw(
                "mini", "P" * cases, slice_name=f"s={number}"
            )
        decided = scene.decide()
        (objective,) = decided.decision.objectives
        assert objective.slices_rule == rule
        cell = decided.cell(slice_name="s=0")
        levels[rule] = (cell.status, cell.level, cell.reason_code)
        assert decided.cell().level == pytest.approx(0.05)
        assert decided.verdict(slice_name="s=0").status == cell.status
    assert levels == {
        "each": ("qualified", pytest.approx(0.05), "qualified"),
        "fdr": ("insufficient", 0.0, "slices_together"),
        "all": ("insufficient", pytest.approx(0.05), "too_few_cases"),
    }
