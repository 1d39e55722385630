"""``--proofmap-adaptive``: challengers are asked in waves, and no further once that has decided."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from small_project import CONFIGURATION, SmallProject, echo_hook

WRONG = 'return "wrong" if runtime == "mini" and int(prompt) % 10 < {tenths} else prompt'


def many(cases: int, mark: str = "margin=0.05", test: str = "", before: str = "") -> str:
    """Return a module with one criterion on many cases."""
    return f"""
import pytest
{before}
@pytest.mark.parametrize("case", range({cases}))
@pytest.mark.qualify({mark})
def test_echo(runtime, case):
    {test}
    assert runtime.complete(str(case)).text == str(case)
"""


def asked(project: SmallProject, runtime: str = "mini") -> int:
    """Return how many answers a runtime was asked for."""
    return sum(line.startswith(f"{runtime} ") for line in project.calls())


def write(project: SmallProject, module: str, tenths: int = 0) -> None:
    """Write a project whose challenger fails some tenths of the cases."""
    project.write("conftest.py", echo_hook(WRONG.format(tenths=tenths)))
    project.write("test_it.py", module)


def test_an_identical_challenger_qualifies_early(project: SmallProject) -> None:
    """Of 200 cases the challenger is asked 111; the rest is skipped, and the evidence is complete."""
    write(project, many(200))
    result = project.run("--proofmap-adaptive", "-rs")
    result.assert_outcomes(passed=311, skipped=89)
    result.stdout.fnmatch_lines(["*SKIPPED [[]89] test_it.py:*: adaptive: decided after 111 of 200 cases"])
    assert (asked(project), asked(project, "gpt")) == (111, 200)
    evidence = project.evidence()
    assert evidence.run.complete
    cell = project.cell("test_echo", "mini")
    assert (cell.status, cell.cases, cell.passed, cell.skipped) == ("qualified", 200, 111, 89)
    assert cell.reason.endswith(
        "0 regressions, 0 improvements in 111 cases; adaptive: decided after 111 of 200 cases"
    )
    assert evidence.objectives[0].verdicts[0].status == "qualified"
    assert sum(sample.spared for sample in evidence.samples) == 89
    assert all(sample.outcome == "skipped" and not sample.calls for sample in evidence.samples if sample.spared)


def test_the_summary_says_what_was_spared(project: SmallProject) -> None:
    """Seed and number of spared samples stand in the summary, also with ``-q``."""
    write(project, many(200))
    project.run("--proofmap-adaptive", "--proofmap-adaptive-seed=7").stdout.fnmatch_lines(
        ["*adaptive sampling (seed 7): 89 of 200 samples of challengers were not needed*"]
    )
    sampling = project.criterion("test_echo").adaptive
    assert sampling is not None
    assert sampling.seed == 7


def test_a_bad_challenger_is_given_up(project: SmallProject) -> None:
    """A challenger that fails seven cases in ten is asked one wave of them and is not qualified."""
    write(project, many(100), tenths=7)
    project.run("--proofmap-adaptive")
    assert asked(project) == 16
    cell = project.cell("test_echo", "mini")
    assert cell.status == "not_qualified"
    assert cell.adaptive is not None
    assert cell.adaptive.asked == asked(project)


def test_a_hopeless_challenger_is_given_up(project: SmallProject) -> None:
    """When not even the best rest could qualify a challenger it is asked no further, and the reason says so."""
    write(project, many(100), tenths=1)
    project.run("--proofmap-adaptive")
    cell = project.cell("test_echo", "mini")
    assert asked(project) < 60
    assert cell.status == "insufficient"
    assert cell.reason.startswith("not even agreement on the other ")


def test_the_first_failure_settles_an_all_pass_bar(project: SmallProject) -> None:
    """Where every case must pass, the wave with the first failure is the last."""
    write(project, many(100, mark=""), tenths=5)
    project.run("--proofmap-adaptive")
    assert asked(project) <= 16
    assert project.cell("test_echo", "mini").status == "not_qualified"
    assert project.evidence().run.complete


def test_a_rerun_from_the_cache_decides_alike(project: SmallProject) -> None:
    """With all answers cached nothing is called and the same cases are asked, on any concurrency."""
    write(project, many(100), tenths=1)
    project.run("--proofmap-adaptive")
    first, calls = project.outcomes(), len(project.calls())
    for option in ("--proofmap-concurrency=32", "--proofmap-concurrency=0", "--proofmap-concurrency=2"):
        project.run("--proofmap-adaptive", option)
        assert project.outcomes() == first
    assert len(project.calls()) == calls


def test_the_order_does_not_depend_on_the_collection(project: SmallProject) -> None:
    """The same cases are asked when they are collected the other way round, and others by another seed."""
    write(project, many(100), tenths=3)
    project.run("--proofmap-adaptive")
    first = project.outcomes()
    write(project, many(100).replace("range(100)", "reversed(range(100))"), tenths=3)
    project.run("--proofmap-adaptive")
    assert project.outcomes() == first
    project.run("--proofmap-adaptive", "--proofmap-adaptive-seed=1")
    assert project.outcomes() != first


@pytest.mark.parametrize(
    "tenths", [pytest.param(0, marks=pytest.mark.nightly), 1, pytest.param(3, marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize(
    "mark", ["margin=0.05", "margin=0.2", "", "min_pass_rate=0.8", "margin=0.1, confidence=0"]
)
def test_never_more_calls_than_without(project: SmallProject, mark: str, tenths: int) -> None:
    """Whatever the bar and the challenger: no call is made that fixed sampling would not make."""
    write(project, many(60, mark=mark), tenths)
    project.run("--proofmap-adaptive")
    adaptive = Counter(project.calls())
    (project.folder / "calls.txt").unlink()
    project.run("--proofmap-cache=refresh")
    fixed = Counter(project.calls())
    assert adaptive <= fixed
    if "min_pass_rate" in mark or "confidence" in mark:
        assert adaptive == fixed
        assert project.criterion("test_echo").adaptive is None


def test_slices_are_decided_each(project: SmallProject) -> None:
    """A slice that needs more cases gets them, although all cases together are decided."""
    module = """
import pytest

CASES = [(language, number) for language in ("de", "fr") for number in range(90)]

@pytest.mark.parametrize("language, number", CASES)
@pytest.mark.qualify(margin=0.1, slice_by="language")
def test_echo(runtime, language, number):
    assert runtime.complete(f"{language}{number}").text == f"{language}{number}"
"""
    project.write("conftest.py", echo_hook())
    project.write("test_it.py", module)
    project.run("--proofmap-adaptive")
    for name in ("language=de", "language=fr"):
        cell = project.cell("test_echo", "mini", name)
        assert cell.status == "qualified"
        assert cell.adaptive is not None
        assert 54 <= cell.adaptive.asked < 90
    assert project.cell("test_echo", "mini").status == "qualified"
    assert 108 <= asked(project) < 180


def test_several_challengers_stop_each_for_itself(project: SmallProject) -> None:
    """A bad challenger stops long before a good one, and the error is shared among all."""
    configuration = CONFIGURATION.replace('["mini"]', '["mini", "other"]')
    project.configure(configuration + '\n[runtimes.other]\nmodel = "openai/other"\n')
    write(project, many(120, mark="margin=0.1"), tenths=5)
    project.run("--proofmap-adaptive")
    assert asked(project, "mini") <= 32
    assert asked(project, "other") == 61
    assert project.cell("test_echo", "other").status == "qualified"
    assert project.cell("test_echo", "mini").status == "not_qualified"


def test_criteria_are_asked_side_by_side(project: SmallProject) -> None:
    """The waves of several criteria run together: three cost no more rounds than one."""
    barrier = """
import threading

ALL = threading.Barrier(3 * (16 + 60), timeout=60)
SEEN = []

def pytest_proofmap_call(runtime, request):
    SEEN.append(runtime)
    if len(SEEN) <= 3 * (16 + 60):
        ALL.wait()
    return request.messages[-1]["content"].split()[-1]
"""
    tests = "".join(
        many(60).replace("test_echo", f"test_{name}").replace("(str(case))", f'(f"{name} {{case}}")')
        for name in ("one", "two", "three")
    )
    project.write("conftest.py", barrier)
    project.write("test_it.py", tests)
    project.run("--proofmap-adaptive", "--proofmap-concurrency=300").assert_outcomes(passed=360)


def test_module_fixtures_are_not_set_up_once_a_wave(project: SmallProject) -> None:
    """Tests are put in order only inside the scope of the fixtures that they share."""
    fixture = """
from pathlib import Path

@pytest.fixture(scope="module")
def shared():
    with (Path(__file__).parent / "events.txt").open("a") as file:
        file.write("up\\n")
"""
    module = many(80, mark="margin=0.1", before=fixture).replace("(runtime, case)", "(runtime, case, shared)")
    project.write("conftest.py", echo_hook())
    for name in ("a", "b"):
        project.write(f"test_{name}.py", module)
    project.run("--proofmap-adaptive").assert_outcomes(passed=268, skipped=52)
    assert len((project.folder / "events.txt").read_text().splitlines()) <= 4


def test_tests_that_are_spread_over_scopes(project: SmallProject) -> None:
    """Where a parametrized fixture keeps tests together only what is certain stops a challenger."""
    fixture = """
@pytest.fixture(scope="module", params=["x", "y"])
def shared(request):
    return request.param
"""
    module = many(40, before=fixture).replace("(runtime, case)", "(runtime, case, shared)")
    write(project, module)
    project.run("--proofmap-adaptive").assert_outcomes(passed=160)
    sampling = project.criterion("test_echo").adaptive
    assert sampling is not None
    assert not sampling.early


def test_other_tests_keep_their_places(project: SmallProject) -> None:
    """Unmarked tests run where they were, and the marked ones all run."""
    write(project, "def test_first(): pass\n" + many(20, mark="margin=0.3") + "\ndef test_last(): pass\n")
    result = project.run("--proofmap-adaptive", "-v")
    lines = [line for line in result.outlines if "::test_" in line and ("PASSED" in line or "SKIPPED" in line)]
    assert "test_first" in lines[0]
    assert "test_last" in lines[-1]


def test_workers_stop_only_for_what_is_certain(project: SmallProject) -> None:
    """Under xdist nobody qualifies early; the verdict of an identical challenger is that of fixed sampling."""
    project.plugins = ["proofmap", "xdist"]
    write(project, many(70, mark="margin=0.1"))
    project.run_apart("--proofmap-adaptive", "-n2").assert_outcomes(passed=140)
    cell = project.cell("test_echo", "mini")
    assert cell.status == "qualified"
    sampling = project.criterion("test_echo").adaptive
    assert sampling is not None
    assert not sampling.early


def test_workers_ask_no_further_after_a_failure(project: SmallProject) -> None:
    """Under xdist a worker that saw a failure where every case must pass runs no more of that challenger."""
    project.plugins = ["proofmap", "xdist"]
    write(project, many(150, mark=""), tenths=9)
    project.run_apart("--proofmap-adaptive", "-n2", "--proofmap-concurrency=4")
    assert project.cell("test_echo", "mini").status == "not_qualified"
    assert asked(project, "gpt") == 150
    assert asked(project) < 75
    assert project.evidence().run.complete


def test_deciding_anew_claims_no_more(project: SmallProject) -> None:
    """``proofmap decide`` follows the rule on stored evidence: the same verdict, and none under a foreign bar."""
    write(project, many(100, mark="margin=0.1"))
    project.run("--proofmap-adaptive")
    decide = ("decide", str(project.artifact), "--json")
    for options, expected in (
        ((), "qualified"),
        (("--margin", "0.2"), "qualified"),
        (("--margin", "0.05"), "insufficient"),
        (("--min-pass-rate", "0.8", "--margin", "none"), "insufficient"),
    ):
        decision = json.loads(project.proofmap(*decide, *options).stdout.str())
        assert decision["objectives"][0]["verdicts"][0]["status"] == expected, options


def test_an_interrupted_run_goes_on(project: SmallProject) -> None:
    """A run that stopped halfway is taken up by the next one, which pays nothing twice."""
    stop = "if STOP and case == 7 and runtime.complete(str(case)).text: raise KeyboardInterrupt"
    write(project, many(80, mark="margin=0.1", test=stop, before="STOP = True"))
    project.run("--proofmap-adaptive")
    assert not project.evidence().run.complete
    assert 0 < len(project.calls()) < 134
    write(project, many(80, mark="margin=0.1"))
    project.run("--proofmap-adaptive").assert_outcomes(passed=134, skipped=26)
    assert max(Counter(project.calls()).values()) == 1


def test_bad_seed(project: SmallProject) -> None:
    """A seed that is no whole number is refused by name."""
    write(project, many(3))
    project.run("--proofmap-adaptive", "--proofmap-adaptive-seed=x").stderr.fnmatch_lines(
        ["*--proofmap-adaptive-seed: 'x' is not a whole number*"]
    )
