"""What adaptive sampling concludes from outcomes, while it runs and when deciding anew."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_proofmap.decide.adaptive import case_order, stop_of
from pytest_proofmap.decide.decision import decide
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.tally import CriterionTally
from pytest_proofmap.evidence.models import AdaptiveSampling, Bar, Cell, Criterion, Objective, Outcome, RuntimeInfo

OUTCOMES: Mapping[str, Outcome] = {"p": "passed", "f": "failed", "e": "error", "s": "skipped", "-": "skipped"}
SEED = 3
ID = "test_it.py::test_it"


def bar(**settings: object) -> Bar:
    """Return a bar; a margin of 5 points unless told."""
    values: dict[str, object] = {
        "kind": "margin",
        "min_pass_rate": None,
        "max_failure_rate": 0.25,
        "margin": 0.05,
        "confidence": 0.95,
        "samples": 1,
    }
    return Bar.model_validate(values | settings)


ALL_PASS = bar(kind="all_pass", margin=None, min_pass_rate=1.0)


def names(number: int) -> list[str]:
    """Return the names of cases, in the order in which the seed puts them."""
    return case_order(SEED, ID, [f"case{index}" for index in range(number)])


def rows(**outcomes: str) -> list[Observation]:
    """Return outcomes by runtime, one letter a case in the order of the seed; ``-`` is what was left out."""
    cases = names(max(map(len, outcomes.values())))
    return [
        Observation(ID, case, None, runtime, 0, OUTCOMES[letter], spared=letter == "-")
        for runtime, letters in outcomes.items()
        for case, letter in zip(cases, letters, strict=False)
    ]


def cell(rule: Bar, *, early: bool = True, sampling: bool = True, **outcomes: str) -> Cell:
    """Return the challenger's cell of the whole decision."""
    cases = sorted(names(max(map(len, outcomes.values()))))
    criterion = Criterion(
        id=ID,
        objective="job",
        fingerprint="",
        collected=cases,
        bar=rule,
        adaptive=AdaptiveSampling(seed=SEED, early=early) if sampling else None,
    )
    challengers = [name for name in outcomes if name != "base"]
    objective = Objective(name="job", baseline="base", challengers=challengers, criteria=[ID])
    runtimes = {name: RuntimeInfo(model=name, provider=name, params={}, fingerprint=name) for name in outcomes}
    decision = decide([criterion], [objective], runtimes, rows(**outcomes))
    return next(each for each in decision.criteria[0].cells if each.runtime == challengers[0])


def stop(rule: Bar, *, early: bool = True, **outcomes: str) -> str | None:
    """Return what the challenger stops as so far."""
    counted = CriterionTally(ID)
    for row in rows(**outcomes):
        counted.add(row)
    return stop_of(rule, counted, names(len(outcomes["base"])), "base", "mini", 1, early=early)


def test_what_was_left_out_is_not_missing() -> None:
    """A challenger that stopped as qualified stays so, although most of its cases have no outcome."""
    found = cell(bar(), base="p" * 400, mini="p" * 111 + "-" * 289)
    assert (found.status, found.cases, found.passed, found.skipped) == ("qualified", 400, 111, 289)
    assert found.adaptive is not None
    assert (found.adaptive.asked, found.adaptive.cases) == (111, 400)
    assert found.p_unsafe == pytest.approx(0.05, abs=0.002)
    assert found.reason.endswith("adaptive: decided after 111 of 400 cases")


def test_what_was_asked_is_no_sample_of_fixed_size() -> None:
    """Cases that would qualify as a sample of their own do not when the rule might have stopped anywhere."""
    assert cell(bar(), base="p" * 80, mini="p" * 80, sampling=False).status == "qualified"
    found = cell(bar(), base="p" * 400, mini="p" * 80 + "-" * 320)
    assert found.status == "insufficient"
    assert found.p_unsafe is not None
    assert found.p_unsafe > 0.2


def test_the_end_decides_where_no_case_was_left_out() -> None:
    """With all cases asked the exact test decides, on four fifths of the error."""
    fixed = cell(bar(), base="p" * 200, mini="f" * 3 + "p" * 197, sampling=False)
    whole = cell(bar(), base="p" * 200, mini="f" * 3 + "p" * 197)
    assert fixed.p_unsafe is not None
    assert whole.p_unsafe == pytest.approx(fixed.p_unsafe / 0.8)


def test_few_cases_are_decided_as_always() -> None:
    """Where nobody can qualify early the verdict of fixed sampling stands."""
    fixed = cell(bar(), base="p" * 59, mini="p" * 59, sampling=False)
    whole = cell(bar(), base="p" * 59, mini="p" * 59)
    assert fixed.status == whole.status == "qualified"
    assert fixed.p_unsafe == whole.p_unsafe


def test_a_worse_challenger_stays_not_qualified() -> None:
    """What was bet on "worse" is the verdict, and the cases that show it are named."""
    letters = "f" * 10 + "p" * 6
    assert stop(bar(), base="p" * 200, mini=letters) == "not_qualified"
    found = cell(bar(), base="p" * 200, mini=letters + "-" * 184)
    assert found.status == "not_qualified"
    assert "10 regressions" in found.reason


def test_futility_and_its_verdict() -> None:
    """A challenger that no rest could qualify is insufficient, and so is its cell."""
    letters = "ffff" + "p" * 36
    assert stop(bar(), base="p" * 112, mini=letters) == "insufficient"
    assert stop(bar(), base="p" * 1000, mini=letters) is None
    found = cell(bar(), base="p" * 112, mini=letters + "-" * 72)
    assert found.status == "insufficient"
    assert found.reason.startswith("not even agreement on the other 72 cases would qualify it: 4 regressions, ")
    assert found.needs is not None


def test_what_the_baseline_fails_can_still_be_improved() -> None:
    """Cases that the baseline failed count as hope, not those on which it had an error."""
    rest = "p" * 40
    assert stop(bar(), base="p" * 42 + "f" * 18, mini="ff" + rest) is None
    assert stop(bar(), base="p" * 42 + "e" * 18, mini="ff" + rest) == "insufficient"


def test_an_unusable_reference_stops_everyone() -> None:
    """Nobody is asked further when the baseline fails most cases itself."""
    assert stop(bar(), base="f" * 120 + "p" * 80, mini="p" * 16) == "insufficient"


def test_errors_count_against_both_sides() -> None:
    """Errors bring a challenger neither to "qualified" nor to "not qualified"."""
    assert stop(bar(), base="p" * 2000, mini="e" * 40) is None
    found = cell(bar(), base="p" * 200, mini="e" * 60 + "-" * 140)
    assert found.status == "insufficient"
    assert found.p_worse == 1.0


def test_a_request_that_was_seen_before_is_no_further_case() -> None:
    """Cases that ask for the same thing bring one bet."""
    same = [row._replace(request_digest=row.runtime) for row in rows(base="p" * 400, mini="p" * 200)]
    counted = CriterionTally(ID)
    for row in same:
        counted.add(row)
    assert stop_of(bar(), counted, names(400), "base", "mini", 1) is None


def test_the_first_failure_settles_an_all_pass_bar() -> None:
    """Where every case must pass nothing more is asked after a failure; an error settles nothing."""
    assert stop(ALL_PASS, base="p" * 20, mini="pppf") == "not_qualified"
    assert stop(ALL_PASS, base="p" * 20, mini="pppe") is None
    assert stop(ALL_PASS, base="p" * 20, mini="p" * 16) is None
    found = cell(ALL_PASS, base="p" * 20, mini="pppf" + "-" * 16)
    assert found.status == "not_qualified"
    assert found.reason.startswith("1 of 4 cases fail")


def test_another_bar_claims_nothing_on_what_was_asked() -> None:
    """Deciding anew under a bar that the rule does not know blocks, unless a failure settles it."""
    letters = "p" * 111 + "-" * 289
    for other in (bar(kind="min_pass_rate", min_pass_rate=0.9, margin=None), ALL_PASS, bar(confidence=0)):
        found = cell(other, base="p" * 400, mini=letters)
        assert found.status == "insufficient"
        assert "adaptive sampling left 289 cases out" in found.reason
    assert cell(ALL_PASS, base="p" * 400, mini="f" + letters[1:]).status == "not_qualified"


def test_another_margin_is_decided_by_the_same_bets() -> None:
    """Under another margin the bets are placed anew: a larger one holds, a smaller one does not."""
    letters = "p" * 111 + "-" * 289
    assert cell(bar(margin=0.1), base="p" * 400, mini=letters).status == "qualified"
    assert cell(bar(margin=0.02), base="p" * 400, mini=letters).status == "insufficient"


def test_without_an_order_only_what_is_certain_stops() -> None:
    """Where tests run in no known order no one stops as qualified, and what is left out decides nothing."""
    assert stop(bar(), early=False, base="p" * 400, mini="p" * 300) is None
    assert stop(bar(), early=False, base="p" * 400, mini="f" * 60) == "insufficient"
    assert stop(bar(), early=False, base="p" * 10, mini="f" * 60) == "insufficient"
    # With three samples a case, the first one that fails is not yet a regression.
    assert stop(bar(samples=3), early=False, base="p" * 400, mini="f" * 60) is None
    assert cell(bar(), early=False, base="p" * 400, mini="p" * 300 + "-" * 100).status == "insufficient"
    assert cell(bar(), early=False, base="p" * 59, mini="p" * 59).status == "qualified"
