"""A decision that fails loses no paid answer: the evidence is written, and every page says what happened."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from small_project import SmallProject, echo_hook

from pytest_proofmap.cli import main

TWO_OBJECTIVES = """
import pytest

@pytest.mark.parametrize("case", ["a", "b", "c"])
@pytest.mark.qualify(objective="broken")
def test_broken(runtime, case):
    assert runtime.complete(case).text == case

@pytest.mark.parametrize("case", list("abcdefghijklmno"))
@pytest.mark.qualify(objective="whole")
def test_whole(runtime, case):
    assert runtime.complete(case).text == case
"""

BREAKS = """
import pytest
from pytest_proofmap.decide import decision

whole = decision.judge

def broken(bar, views, *arguments, **options):
    if len(views[None].cases) == 3:
        raise ValueError("math domain error")
    return whole(bar, views, *arguments, **options)

decision.judge = broken
"""


@pytest.fixture
def undecided(project: SmallProject) -> SmallProject:
    """Return a project of which one objective cannot be decided, after its run."""
    project.write("test_triage.py", TWO_OBJECTIVES)
    project.write("conftest.py", echo_hook() + BREAKS)
    result = project.run_apart("--junitxml=junit.xml", "--proofmap-html=page.html", "--proofmap-md=page.md")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*broken could not be decided: ValueError: math domain error*"])
    return project


def test_evidence_is_written(undecided: SmallProject) -> None:
    """Every sample is kept, the objective has no verdict and says why, and the others are decided."""
    evidence = undecided.evidence()
    assert len(evidence.samples) == 2 * 18
    assert all(sample.calls for sample in evidence.samples)
    broken, whole = evidence.objectives
    assert broken.decision_error is not None
    assert broken.decision_error.startswith("ValueError: math domain error")
    assert (broken.verdicts, broken.recommendations, evidence.criteria[0].cells) == ([], [], [])
    assert [verdict.status for verdict in whole.verdicts] == ["qualified"]
    assert (
        "decision_error"
        not in json.loads((undecided.folder / ".proofmap/evidence.json").read_text())["objectives"][1]
    )


@pytest.mark.parametrize("page", ["page.html", "page.md", "junit.xml"])
def test_every_page_says_so(undecided: SmallProject, page: str) -> None:
    """HTML, Markdown and JUnit name the error."""
    assert "math domain error" in (undecided.folder / page).read_text(encoding="utf-8")


def test_commands(undecided: SmallProject) -> None:
    """The stored artifact is shown with its error; deciding again, once it is mended, gives the verdicts."""
    artifact, out = str(undecided.artifact), str(undecided.folder / "again.json")
    shown = CliRunner().invoke(main, ["report", artifact, "--text"])
    assert "broken could not be decided" in " ".join(shown.output.split())
    again = CliRunner().invoke(main, ["decide", artifact, "-o", out])
    assert again.exit_code == 0, again.output
    stored = json.loads((undecided.folder / "again.json").read_text())
    assert [len(objective["verdicts"]) for objective in stored["objectives"]] == [1, 1]
    assert all("decision_error" not in objective for objective in stored["objectives"])


def test_findings_that_fail_lose_nothing(project: SmallProject) -> None:
    """An error in what tells whether the run holds fails the run and leaves the evidence."""
    project.write("test_triage.py", TWO_OBJECTIVES)
    breaks = (
        "from pytest_proofmap.plugin import finish\n"
        "def gate(*_):\n    raise KeyError('slice')\nfinish._gate = gate\n"
    )
    project.write("conftest.py", echo_hook() + breaks)
    result = project.run_apart()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*what fails the run could not be told: KeyError*"])
    assert len(project.evidence().samples) == 36
