"""The default bar: every case must pass, on enough cases to mean something."""

from __future__ import annotations

import pytest
from stored_evidence import Scene, bar, versus


@pytest.mark.parametrize(("challengers", "cases"), [(1, 11), (2, 13), (3, 15), (5, 17), (10, 19)])
def test_floor(challengers: int, cases: int) -> None:
    """So many passing cases qualify so many challengers, and one case fewer does not."""
    names = [f"m{i}" for i in range(challengers)]
    for number, status in ((cases, "qualified"), (cases - 1, "insufficient")):
        scene = Scene(bar("all_pass"), names).saw("base", "P" * number)
        for name in names:
            scene.saw(name, "P" * number)
        decided = scene.decide()
        assert {decided.cell(name).status for name in names} == {status}
        assert {decided.verdict(name).status for name in names} == {status}


def test_one_case_is_never_enough() -> None:
    """One case out of one says next to nothing, and how many more would do."""
    cell = versus("P", "P", kind="all_pass")
    assert cell.status == "insufficient"
    assert cell.p_unsafe == pytest.approx(0.75)
    assert cell.needs is not None
    assert (cell.needs.best, cell.needs.typical) == (10, 10)
    assert "1/1 cases pass" in cell.reason
    assert "above 95.0 %" in cell.reason


def test_any_failure_is_hard() -> None:
    """One failure among many passes is not qualified, named, and counts as 1 in corrections."""
    cell = versus("P" * 40, "P" * 39 + "F", kind="all_pass")
    assert cell.status == "not_qualified"
    assert cell.p_unsafe == cell.p_adjusted == 1
    assert cell.reason == "1 of 40 cases fail: c39"


def test_failure_outweighs_errors() -> None:
    """A failure is a failure whatever else is missing."""
    assert versus("P" * 20, "P" * 18 + "EF", kind="all_pass").status == "not_qualified"


def test_error_leaves_it_open() -> None:
    """An error among passes is neither a pass nor a failure."""
    cell = versus("P" * 20, "P" * 19 + "E", kind="all_pass")
    assert cell.status == "insufficient"
    assert cell.needs is None
    assert cell.errors == 1
    assert "1 of the 20 cases" in cell.reason


def test_missing_case_leaves_it_open() -> None:
    """A case that only the baseline ran is missing, not passed."""
    cell = versus("P" * 20, "P" * 19 + "-", kind="all_pass")
    assert cell.status == "insufficient"
    assert cell.cases == 19


def test_pure_determinism() -> None:
    """Without a failure rate to exclude one passing case is enough, and one failure too much."""
    assert versus("P", "P", kind="all_pass", max_failure_rate=None).status == "qualified"
    assert versus("P", "F", kind="all_pass", max_failure_rate=None).status == "not_qualified"
    assert versus("P", "E", kind="all_pass", max_failure_rate=None).status == "insufficient"
    assert versus("P", "P", kind="all_pass", max_failure_rate=None).p_unsafe is None


def test_baseline_does_not_matter() -> None:
    """The bar is absolute: it holds without the baseline, and whatever the baseline does."""
    assert versus("F" * 20, "P" * 20, kind="all_pass").status == "qualified"
    assert versus("-" * 20, "P" * 20, kind="all_pass").status == "qualified"


def test_qualified_prints_its_bound() -> None:
    """The bound that the passes prove is printed, and lies below the rate that the bar tolerates."""
    cell = versus("P" * 20, "P" * 20, kind="all_pass")
    assert cell.reason == "20/20 cases pass, which excludes failure rates above 13.9 % (95 %)"


def test_repeated_samples_must_all_pass() -> None:
    """A case passes when all its samples pass."""
    cases = " ".join(["PPP"] * 12)
    cell = versus(cases, cases, kind="all_pass", samples=3)
    assert cell.status == "qualified"
    assert cell.cases == 12
    assert cell.pass_hat_k == 1
    cell = versus(cases, cases[:-1] + "F", kind="all_pass", samples=3)
    assert cell.status == "not_qualified"
    assert cell.pass_hat_k == pytest.approx(11 / 12)


def test_identical_requests_count_once() -> None:
    """Twenty copies of one case are one case."""
    scene = Scene(bar("all_pass"))
    for runtime in ("base", "mini"):
        scene.saw(runtime, "P" * 20, requests=["the same"] * 20)
    cell = scene.decide().cell()
    assert cell.status == "insufficient"
    assert cell.cases == cell.passed == 1


def test_skipped_everywhere_is_no_case() -> None:
    """A case that every runtime skips is removed; one that only the challenger skips is missing."""
    cell = versus("P" * 12 + "S", "P" * 12 + "S", kind="all_pass")
    assert cell.status == "qualified"
    assert (cell.cases, cell.skipped, cell.pass_rate) == (13, 1, 1)
    assert versus("P" * 13, "P" * 12 + "S", kind="all_pass").status == "insufficient"
