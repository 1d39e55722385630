"""Evidence over time: looks at a verdict are counted from run to run in ``proofmap.history``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from small_project import SmallProject, echo_hook

from pytest_proofmap.cli import main
from pytest_proofmap.evidence.models import CellLook

CRITERION = """
import pytest

@pytest.mark.parametrize("number", range({cases}))
@pytest.mark.qualify({mark})
def test_echo(runtime, number):
    assert runtime.complete(str(number)).text == str(number)
"""


def run(project: SmallProject, cases: int, mark: str = "margin=0.05, looks=2", *options: str) -> pytest.RunResult:
    """Run so many cases, on which all agree."""
    project.write("conftest.py", echo_hook())
    project.write("test_numbers.py", CRITERION.format(cases=cases, mark=mark))
    return project.run(*options)


def seen(project: SmallProject) -> CellLook:
    """Return which look the last whole run was."""
    found = project.cell("test_echo", "mini").look
    assert found is not None
    return found


def test_two_planned_looks(project: SmallProject) -> None:
    """A rerun from the cache is no look, further cases are the second, and beyond it new cases are refused."""
    history = project.folder / "proofmap.history"
    for cases, number, status in ((60, 1, "insufficient"), (60, 1, "insufficient"), (90, 2, "qualified")):
        assert run(project, cases).ret == pytest.ExitCode.OK
        assert (seen(project).number, project.cell("test_echo", "mini").status) == (number, status)
    before = history.read_text(encoding="utf-8")
    assert json.loads(before)["schema"] == "proofmap.history/1"
    run(project, 95)
    assert (seen(project).number, len(seen(project).refused)) == (2, 5)
    assert history.read_text(encoding="utf-8") == before


def test_one_look_writes_nothing(project: SmallProject) -> None:
    """With one look, the default, there is no history."""
    run(project, 60, "margin=0.05")
    assert not (project.folder / "proofmap.history").exists()
    assert project.cell("test_echo", "mini").look is None


def test_a_partial_run_is_no_look(project: SmallProject) -> None:
    """Only a complete run that consumed new cases is one."""
    run(project, 60)
    before = (project.folder / "proofmap.history").read_bytes()
    run(project, 90, "margin=0.05, looks=2", "-k", "mini")
    assert (project.folder / "proofmap.history").read_bytes() == before


def test_a_restart_is_shown(project: SmallProject) -> None:
    """A changed margin begins anew, and text, Markdown and HTML say so."""
    run(project, 60)
    result = run(project, 60, "margin=0.1, looks=2", "--proofmap-md=page.md", "--proofmap-html=page.html")
    assert (seen(project).number, seen(project).restarts) == (1, 1)
    pages = [
        "\n".join(result.outlines),
        *((project.folder / f"page.{kind}").read_text() for kind in ("md", "html")),
    ]
    for page in pages:
        assert "restarted once" in " ".join(page.split())


@pytest.mark.parametrize("damage", ["edited", "no JSON"])
def test_a_bad_history_loses_no_run(project: SmallProject, damage: str) -> None:
    """Where it cannot be read, the evidence is written without verdicts, and the run fails with the remedy."""
    run(project, 60)
    history = project.folder / "proofmap.history"
    text = history.read_text(encoding="utf-8")
    history.write_text(
        text.replace('"restarts": 0', '"restarts": 7') if damage == "edited" else "{", encoding="utf-8"
    )
    damaged = history.read_bytes()
    result = run(project, 90)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "numbers could not be decided: " in " ".join(" ".join(result.outlines).split())
    evidence = project.evidence()
    assert len(evidence.samples) == 180
    assert evidence.objectives[0].verdicts == []
    assert history.read_bytes() == damaged


def test_deciding_again_takes_no_look(project: SmallProject) -> None:
    """Stored evidence is decided by the look that it was."""
    run(project, 60)
    run(project, 90)
    done = CliRunner().invoke(main, ["decide", str(project.artifact), "--json"])
    (criterion,) = json.loads(done.output)["criteria"]
    cells: list[dict[str, Any]] = criterion["cells"]
    assert (cells[1]["status"], cells[1]["look"]["number"]) == ("qualified", 2)


def test_adaptive_sampling_is_refused(project: SmallProject) -> None:
    """Stopping early is looking: it goes with one look only, and nothing is called before that is said."""
    result = run(project, 60, "margin=0.05, looks=2", "--proofmap-adaptive")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "looks=2 does not go with --proofmap-adaptive" in " ".join(" ".join(result.errlines).split())
    assert not (project.folder / "calls.txt").exists()


def test_shards_look_once_they_are_merged(project: SmallProject) -> None:
    """A shard is no look; merging the shards is."""
    for number, chosen in enumerate(("0", "1")):
        run(
            project,
            60,
            "margin=0.05, looks=2",
            "--proofmap-shard",
            f"--proofmap-json=shard{number}.json",
            "--deselect",
            f"test_numbers.py::test_echo[{chosen}-gpt]",
        )
    assert not (project.folder / "proofmap.history").exists()
    merged = project.proofmap("merge", "shard0.json", "shard1.json", "-o", "whole.json")
    assert merged.ret == 0, "\n".join(merged.outlines + merged.errlines)
    assert json.loads((project.folder / "proofmap.history").read_text())["looks"]


@pytest.mark.parametrize("damage", ["older", "deleted", "state dropped"])
def test_an_older_history_forgets_nothing_where_it_was_seen(project: SmallProject, damage: str) -> None:
    """Looks that were taken here count without the file that held them, are told of, and get into it again."""
    history = project.folder / "proofmap.history"
    run(project, 30)
    older = history.read_text(encoding="utf-8")
    run(project, 60)
    newer = json.loads(history.read_text(encoding="utf-8"))
    if damage == "older":
        history.write_text(older, encoding="utf-8")
    elif damage == "deleted":
        history.unlink()
    else:
        history.write_text(json.dumps({**newer, "looks": {}}), encoding="utf-8")
    result = run(project, 95)
    look = seen(project)
    assert (look.number, look.put_back, len(look.refused)) == (2, 1 if damage == "older" else 2, 35)
    told = "1 look was missing" if damage == "older" else "2 looks were missing"
    assert f"{told} from the history and counted all the same" in " ".join(" ".join(result.outlines).split())
    assert json.loads(history.read_text(encoding="utf-8")) == newer
    run(project, 95)
    assert (seen(project).number, seen(project).put_back) == (2, None)


def test_a_history_older_than_the_lock(project: SmallProject) -> None:
    """In a fresh clone the lock tells it: no verdict, exit 1 and a finding of verify; the newer file mends it."""
    history, folder = project.folder / "proofmap.history", project.folder / ".proofmap"
    run(project, 60)
    older = history.read_text(encoding="utf-8")
    run(project, 90)
    approved = project.proofmap("approve", str(project.artifact), "--by", "reviewer", "--yes")
    assert approved.ret == 0, "\n".join(approved.outlines + approved.errlines)
    assert project.proofmap("verify").ret == 0
    newer = history.read_text(encoding="utf-8")
    (folder / "history.json").unlink()
    for text in (older, None):
        if text is None:
            history.unlink()
        else:
            history.write_text(text, encoding="utf-8")
        verified = project.proofmap("verify")
        assert verified.ret == 1
        assert "proofmap.history does not hold the looks that 'numbers' was approved on" in verified.stdout.str()
        result = run(project, 90)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        (objective,) = project.evidence().objectives
        assert objective.verdicts == []
        assert "approved on" in str(objective.decision_error)
    history.write_text(newer, encoding="utf-8")
    assert run(project, 90).ret == pytest.ExitCode.OK
    assert project.proofmap("verify").ret == 0


def test_branches_that_both_looked(project: SmallProject) -> None:
    """Merged as git leaves it, both sides' looks count once each, in the folder that saw one of them."""
    history = project.folder / "proofmap.history"
    mark = "margin=0.05, looks=3"
    run(project, 30, mark)
    common = history.read_text(encoding="utf-8")
    run(project, 40, mark)
    theirs = history.read_text(encoding="utf-8")
    history.write_text(common, encoding="utf-8")
    (project.folder / ".proofmap" / "history.json").unlink()
    run(project, 50, mark)
    ours = history.read_text(encoding="utf-8")
    history.write_text(f"<<<<<<< ours\n{ours}=======\n{theirs}>>>>>>> theirs\n", encoding="utf-8")
    run(project, 50, mark)
    assert (seen(project).number, seen(project).put_back) == (3, None)
