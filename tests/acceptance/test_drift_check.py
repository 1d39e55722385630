"""A scheduled drift check: the same tests asked anew, compared with the evidence of before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from small_project import SmallProject

from pytest_proofmap.cli import main

CLIENT = """
from pathlib import Path

def pytest_proofmap_call(runtime, request):
    prompt = request.messages[-1]["content"]
    today = Path(__file__).with_name("today.txt").read_text().split()
    bad = "worse" in today and runtime == "mini" and int(prompt) % 3 == 0
    down = "down" in today and runtime == "mini"
    if down:
        raise ConnectionError("refused")
    return {
        "model": "mini-2" if "swapped" in today and runtime == "mini" else f"{runtime}-1",
        "choices": [{"message": {"role": "assistant", "content": "sorry" if bad else prompt}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }
"""

NUMBERS = """
import pytest

@pytest.mark.parametrize("number", range({cases}))
@pytest.mark.qualify(objective="echo")
def test_echo(runtime, number):
    assert runtime.complete(str(number)).text == str(number)
"""


def run(project: SmallProject, name: str, today: str, *options: str, cases: int = 40) -> None:
    """Write the evidence of a run on a day when something is the matter with ``mini``."""
    project.write("today.txt", today)
    project.write("test_numbers.py", NUMBERS.format(cases=cases))
    project.run(f"--proofmap-json={name}.json", *options)


def check(project: SmallProject, *options: str, status: int) -> str:
    """Return what the comparison says, in one line."""
    old, new = str(project.folder / "approved.json"), str(project.folder / "tonight.json")
    done = CliRunner().invoke(main, ["diff", old, new, *options])
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


@pytest.fixture
def checked(project: SmallProject) -> SmallProject:
    """A project whose evidence of a good day is kept."""
    project.write("conftest.py", CLIENT)
    run(project, "approved", "fine")
    return project


REFRESH = "--proofmap-cache=refresh"


def test_an_ordinary_night(checked: SmallProject) -> None:
    """The same answers, asked anew, are no drift, and the fingerprints are the same."""
    run(checked, "tonight", "fine", REFRESH)
    text = check(checked, "--fail-on", "regression", status=0)
    assert "80 calls (80 live)" in text
    assert "Not the same any more" not in text
    assert "no live answer" not in text
    assert "regression:" not in text


def test_a_model_that_got_worse(checked: SmallProject) -> None:
    """Worse answers under the same name are found, with the cases."""
    run(checked, "tonight", "worse swapped", REFRESH)
    text = check(checked, "--fail-on", "regression", status=1)
    assert "echo: mini qualified → not qualified: 14 of 40 cases fail: 0, 3, 6 and 11 more" in text
    assert "! mini: 100 % → 65 % in 40 cases" in text
    assert "- mini: mini-1 (40 answers) → mini-2 (40 answers)" in text
    assert "Not the same any more" not in text


def test_a_model_that_was_swapped_for_one_as_good(checked: SmallProject) -> None:
    """Another model behind the name is drift although nothing got worse."""
    run(checked, "tonight", "swapped", REFRESH)
    assert "regression:" not in check(checked, "--fail-on", "regression", status=0)
    assert "another model answered for mini" in check(checked, "--fail-on", "drift", status=1)


def test_cached_answers_show_nothing(checked: SmallProject) -> None:
    """Without asking anew the cache answers for a model that is long gone, and the check says so."""
    run(checked, "tonight", "worse swapped")
    assert "NEW has no live answer" in check(checked, "--fail-on", "regression", status=0)


def test_a_provider_that_is_down(checked: SmallProject) -> None:
    """An unavailable runtime is lost coverage, not a pass rate of nought."""
    run(checked, "tonight", "down", REFRESH)
    text = check(checked, "--fail-on", "regression", status=1)
    assert "40 answers of mini: 0, 1, 2 and 37 more (40 asked and unavailable)" in text
    assert "! mini" not in text


def test_tests_that_changed_since(checked: SmallProject) -> None:
    """A case less is lost coverage, and the changed part of the fingerprint is named."""
    run(checked, "tonight", "fine", REFRESH, cases=39)
    text = check(checked, status=0)
    assert "- test_echo: 1 case: 39" in text
    assert "test_echo changed (cases)" in text
    done = CliRunner().invoke(
        main, ["diff", *(str(checked.folder / f"{name}.json") for name in ("approved", "tonight")), "--json"]
    )
    found: dict[str, Any] = json.loads(done.output)
    assert [(change["kind"], change["part"]) for change in found["changed"]] == [("criterion", "cases")]
