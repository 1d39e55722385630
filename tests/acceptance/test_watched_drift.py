"""``proofmap drift``: looks at the same cases are counted, and alarms are bounded over all of them."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from click.testing import CliRunner, Result
from small_project import SmallProject

from pytest_proofmap.cli import main

CLIENT = """
from pathlib import Path

def pytest_proofmap_call(runtime, request):
    prompt = request.messages[-1]["content"]
    bad = Path(__file__).with_name("bad.txt").read_text().split()
    return "sorry" if runtime == "mini" and prompt in bad else prompt
"""

NUMBERS = """
import pytest

@pytest.mark.parametrize("number", range(40))
@pytest.mark.qualify(objective="echo", margin=0.2)
def test_echo(runtime, number):
    assert runtime.complete(str(number)).text == str(number)
"""


@pytest.fixture
def watched(project: SmallProject) -> SmallProject:
    """A project with an approved run in which all is well."""
    project.write("conftest.py", CLIENT)
    project.write("test_numbers.py", NUMBERS)
    ask(project, "approved", 0)
    return project


def ask(project: SmallProject, name: str, bad: int) -> None:
    """Ask every case again on a day when ``mini`` fails some."""
    project.write("bad.txt", " ".join(map(str, range(bad))))
    project.run_apart("--proofmap-cache=refresh")
    shutil.copy(project.artifact, project.folder / f"{name}.json")


def drift(project: SmallProject, new: str, *options: str) -> Result:
    """Compare a run with the approved one."""
    paths = (str(project.folder / "approved.json"), str(project.folder / f"{new}.json"))
    return CliRunner().invoke(main, ["drift", *paths, "--rootdir", str(project.folder), *options])


def test_looks_are_counted(watched: SmallProject) -> None:
    """Each new run is another look at a smaller level; the same run again is the same look."""
    found: list[dict[str, Any]] = []
    for name, bad in (("monday", 0), ("tuesday", 8), ("tuesday", 8), ("wednesday", 8)):
        ask(watched, name, bad) if name != "tuesday" or len(found) < 2 else None
        found.append(json.loads(drift(watched, name, "--history", "--json").output))
    assert [one["look"] for one in found] == [1, 2, 2, 3]
    alarms = [[rate["alarm"] for rate in one["rates"]] for one in found]
    # 1/2^8 is below the second look's .0038 / 2 over two runtimes in no case.
    assert alarms == [[None, None]] * 4
    ask(watched, "thursday", 20)
    done = drift(watched, "thursday", "--history")
    assert done.exit_code == 1
    assert "look 4" in done.output
    assert "dropped" in done.output


def test_without_history_nothing_is_written(watched: SmallProject) -> None:
    """A look that is not counted says so."""
    ask(watched, "monday", 0)
    done = drift(watched, "monday")
    assert done.exit_code == 0, done.output
    assert "not counted" in done.output
    assert not (watched.folder / "proofmap.history").exists()


def test_replayed_answers_are_refused(watched: SmallProject) -> None:
    """A run from the cache asked nothing anew, and comparing it would alarm never."""
    watched.run_apart()
    shutil.copy(watched.artifact, watched.folder / "replayed.json")
    done = drift(watched, "replayed")
    assert done.exit_code == 2
    assert "--proofmap-cache=refresh" in done.output


def test_an_older_history_forgets_no_look(watched: SmallProject) -> None:
    """A look that was taken here counts though the file that held it is gone, and gets into it again."""
    history = watched.folder / "proofmap.history"
    ask(watched, "monday", 0)
    drift(watched, "monday", "--history")
    history.unlink()
    ask(watched, "tuesday", 0)
    assert json.loads(drift(watched, "tuesday", "--history", "--json").output)["look"] == 2
    (state,) = json.loads(history.read_text(encoding="utf-8"))["drift"].values()
    assert (state["looks"], len(state["runs"])) == (2, 2)
