"""What a run that does not hold all of the tests leaves behind: never a hole in whole evidence."""

from __future__ import annotations

import json
import signal
import threading
import time

import pytest
from small_project import SmallProject, echo_hook

from pytest_proofmap.evidence.artifact import read_evidence

TRIAGE = """
import pytest

@pytest.mark.parametrize("case", ["a", "b", "c"])
@pytest.mark.qualify
def test_echo(runtime, case):
    assert runtime.complete(case).text == case

class TestTone:
    @pytest.mark.parametrize("case", ["a", "b"])
    @pytest.mark.qualify
    def test_kind(self, runtime, case):
        assert runtime.complete(case).text == case

class TestLength:
    class TestShort:
        @pytest.mark.qualify
        def test_short(self, runtime):
            assert runtime.complete("a").text == "a"
"""

ROUTING = """
import pytest

@pytest.mark.qualify
def test_route(runtime):
    assert runtime.complete("a").text == "a"
"""


@pytest.fixture
def triage(project: SmallProject) -> SmallProject:
    """Two files of criteria, of which a whole run was made."""
    project.write("conftest.py", echo_hook())
    project.write("test_triage.py", TRIAGE)
    project.write("test_routing.py", ROUTING)
    project.run("-q").assert_outcomes(passed=14)
    assert project.evidence().run.complete
    return project


def proofmap(project: SmallProject, *arguments: str, status: int = 0) -> str:
    """Run the command line in a project, and return what it printed."""
    done = project.proofmap(*arguments, COLUMNS="200")
    printed = "".join(f"{line}\n" for line in (*done.outlines, *done.errlines))
    assert done.ret == status, printed
    return printed


def set_apart(project: SmallProject, before: bytes) -> str:
    """Check that a partial run left the whole evidence alone; return why it is incomplete."""
    assert project.whole.read_bytes() == before
    run = read_evidence(project.partial).run
    assert not run.complete
    return "; ".join(run.incomplete_reasons)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("test_triage.py::test_echo[a-gpt]", "test_routing.py"), "samples did not run"),
        (("test_triage.py::test_echo", "test_routing.py"), "samples did not run"),
        (("test_triage.py::TestTone", "test_routing.py"), "samples did not run"),
        (("test_triage.py::TestLength::TestShort::test_short", "test_routing.py"), "samples did not run"),
        (("-k", "not test_short"), "2 of 14 samples did not run"),
        (("--deselect", "test_routing.py::test_route[mini]"), "1 of 14 samples did not run"),
        (("--proofmap-runtimes=gpt",), "--proofmap-runtimes left out mini"),
        (("test_triage.py",), "test_routing.py was not collected"),
        (("--ignore=test_triage.py",), "test_triage.py was not collected"),
        (("--proofmap-shard",), "it is a shard"),
        (("-n2", "-k", "not test_short"), "2 of 14 samples did not run"),
        (("-n2", "test_triage.py"), "test_routing.py was not collected"),
        (("-n2", "test_triage.py::TestTone", "test_routing.py"), "samples did not run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_selection_is_set_apart(triage: SmallProject, arguments: tuple[str, ...], reason: str) -> None:
    """However tests are left out, the whole evidence stays, and the run says where its own is."""
    before = triage.whole.read_bytes()
    if "-n2" in arguments:
        triage.plugins.append("xdist")
    result = triage.run("-q", *arguments)
    assert reason in set_apart(triage, before)
    said = " ".join(line.strip() for line in result.outlines)
    assert ".proofmap/partial.json; .proofmap/evidence.json stays as it was" in said


def test_a_class_left_out_is_known(project: SmallProject) -> None:
    """A node id that picks one class leaves the file's other criteria deselected, also without older evidence."""
    project.write("conftest.py", echo_hook())
    project.write("test_triage.py", TRIAGE)
    project.run("-q", "test_triage.py::TestTone").assert_outcomes(passed=4)
    assert not project.whole.exists()
    ids = {criterion.id.partition("::")[2] for criterion in project.evidence().criteria}
    assert ids == {"test_echo", "TestTone::test_kind", "TestLength::TestShort::test_short"}
    assert project.evidence().run.incomplete_reasons == ["8 of 12 samples did not run: deselected or stopped"]


def test_node_ids_that_name_everything_make_a_whole_run(triage: SmallProject) -> None:
    """All criteria, named one by one, are the whole run."""
    names = ("test_echo", "TestTone", "TestLength::TestShort::test_short")
    triage.run("-q", *(f"test_triage.py::{name}" for name in names), "test_routing.py").assert_outcomes(passed=14)
    assert triage.evidence().run.complete
    assert not triage.partial.exists()


def test_a_criterion_that_is_gone_is_gone(triage: SmallProject) -> None:
    """A renamed test, or a file that was deleted, makes no later run partial."""
    triage.write("test_triage.py", TRIAGE.replace("test_kind", "test_friendly"))
    triage.run("-q").assert_outcomes(passed=14)
    assert triage.evidence().run.complete
    (triage.folder / "test_routing.py").unlink()
    triage.run("-q").assert_outcomes(passed=12)
    assert triage.evidence().run.complete
    assert not triage.partial.exists()


def test_last_failed_files_only(project: SmallProject) -> None:
    """``--lf`` does not even look into files without a failure: that is no whole run."""
    project.write("conftest.py", echo_hook())
    project.write("test_routing.py", ROUTING)
    project.write("test_triage.py", ROUTING.replace('== "a"', '== "b"'))
    project.run("-q")
    for path in (project.whole, project.partial):
        path.unlink(missing_ok=True)
    project.run("-q", "--lf").assert_outcomes(failed=1)
    assert not project.whole.exists()
    assert "--lf left out test_routing.py" in "; ".join(project.evidence().run.incomplete_reasons)


def test_first_failure(triage: SmallProject) -> None:
    """``-x`` stops before all of it ran."""
    before = triage.whole.read_bytes()
    triage.write("test_routing.py", ROUTING.replace('== "a"', '== "b"'))
    triage.run("-q", "-x").assert_outcomes(failed=1)
    assert "samples did not run" in set_apart(triage, before)


def test_a_file_that_cannot_be_collected(project: SmallProject) -> None:
    """A file with an error is left out by nobody's wish, and its criteria are not known."""
    project.write("conftest.py", echo_hook())
    project.write("test_triage.py", TRIAGE)
    project.write("test_routing.py", ROUTING + "\nimport nothing_of_this_name\n")
    project.run("-q", "--continue-on-collection-errors")
    assert project.evidence().run.incomplete_reasons == ["test_routing.py could not be collected"]
    assert not project.whole.exists()


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "workers"])
def test_interrupted(triage: SmallProject, workers: tuple[str, ...]) -> None:
    """Ctrl-C leaves what was finished beside the whole evidence."""
    before = triage.whole.read_bytes()
    triage.plugins += ["xdist"] if workers else []
    stop = "import pytest\n\ndef test_stop():\n    raise KeyboardInterrupt\n"
    triage.write("test_triage.py", TRIAGE + stop)
    triage.run("-q", *workers)
    if not workers or triage.partial.exists():
        assert "interrupted" in set_apart(triage, before)
    assert triage.whole.read_bytes() == before


def test_a_worker_that_crashes(triage: SmallProject) -> None:
    """A sample that died with its worker is missing, and the whole evidence stays."""
    before = triage.whole.read_bytes()
    triage.plugins.append("xdist")
    crash = "    import os\n    if case == 'b' and runtime.name == 'mini': os._exit(1)\n    assert"
    triage.write("test_triage.py", TRIAGE.replace("    assert", crash, 1))
    triage.run("-q", "-n2", "--proofmap-concurrency=0")
    assert "1 of 14 samples did not run" in set_apart(triage, before)


def test_killed(triage: SmallProject) -> None:
    """After signal 9 the whole evidence is as it was, and the next run replaces it."""
    before = triage.whole.read_bytes()
    slow = "import pathlib, time\n    pathlib.Path('here').touch(); time.sleep(60)\n    assert"
    triage.write("test_triage.py", TRIAGE.replace("assert", slow, 1))
    process = triage.start("-q", "--proofmap-concurrency=0")
    while not (triage.folder / "here").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert triage.whole.read_bytes() == before
    triage.write("test_triage.py", TRIAGE)
    triage.run("-q")
    assert triage.evidence().run.complete
    assert triage.whole.read_bytes() != before


def test_a_path_that_was_given(triage: SmallProject) -> None:
    """Who says where the evidence goes gets it there, whole or not."""
    before = triage.whole.read_bytes()
    triage.run("-q", "-k", "test_route", "--proofmap-json=mine.json")
    assert triage.whole.read_bytes() == before
    assert not triage.partial.exists()
    assert not read_evidence(triage.folder / "mine.json").run.complete


def test_reports_follow(triage: SmallProject) -> None:
    """The page and the Markdown of a partial run are of that run."""
    triage.run("-q", "-k", "test_route", "--proofmap-html=page.html", "--proofmap-md=page.md")
    run = read_evidence(triage.partial).run
    assert run.id in (triage.folder / "page.html").read_text(encoding="utf-8")
    assert "12 of 14 samples did not run" in (triage.folder / "page.md").read_text(encoding="utf-8")


def test_two_runs_at_once(triage: SmallProject) -> None:
    """Runs that end together leave whole files, each page of its own run, and the last whole run's evidence."""
    gate = triage.folder / "go"
    waits = "import pathlib, time\n    while not pathlib.Path('go').exists(): time.sleep(0.01)\n    assert"
    triage.write("test_routing.py", ROUTING.replace("assert", waits))
    selections = [(), (), ("-k", "test_route"), ("-k", "test_route")]
    runs = [
        triage.start("-q", "-s", f"--proofmap-html={number}.html", *selection)
        for number, selection in enumerate(selections)
    ]
    threading.Timer(1.0, gate.touch).start()
    for process in runs:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    pages = [(triage.folder / f"{number}.html").read_text(encoding="utf-8") for number in range(4)]
    whole, partial = read_evidence(triage.whole), read_evidence(triage.partial)
    assert whole.run.complete
    assert not partial.run.complete
    assert [len(read.samples) for read in (whole, partial)] == [14, 2]
    assert sum(whole.run.id in page for page in pages[:2]) == 1
    assert sum(partial.run.id in page for page in pages[2:]) == 1
    assert not list(triage.whole.parent.glob(".*.tmp"))


def test_commands_take_the_whole_run_and_name_the_newer_one(triage: SmallProject) -> None:
    """A command without a file shows the last whole run, and says that a partial one is newer."""
    assert "Note:" not in proofmap(triage, "report")
    triage.run("-q", "-k", "test_route")
    whole = read_evidence(triage.whole)
    approving = ("approve", "--by", "Ada", "--dry-run")
    for command, status in ((("report",), 0), (("decide",), 0), (("whatif",), 1), (approving, 0)):
        shown = proofmap(triage, *command, status=status)
        assert "a newer partial one is in .proofmap/partial.json" in shown, command
        assert "12 of 14 samples did not run" in shown
    decided = json.JSONDecoder().raw_decode(proofmap(triage, "decide", "--json"))[0]
    assert decided["run"]["id"] == whole.run.id
    triage.run("-q")
    assert "Note:" not in proofmap(triage, "report")


def test_commands_without_a_whole_run(project: SmallProject) -> None:
    """Where only a partial run was made, the error says so and how to go on."""
    project.write("conftest.py", echo_hook())
    project.write("test_triage.py", TRIAGE)
    project.run("-q", "-k", "test_short")
    shown = proofmap(project, "report", status=2)
    assert "no whole evidence" in shown
    assert "pytest --proofmap" in shown
    assert "incomplete evidence" in proofmap(project, "report", str(project.partial))
