"""``--proofmap-md`` and ``$GITHUB_STEP_SUMMARY``: a run as Markdown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_project import THREE_CASES, SmallProject, echo_hook

MARKER = "<!-- proofmap -->"
TWELVE_CASES = THREE_CASES.replace('["a", "b", "c"]', 'list("abcdefghijkl")')
MISS = 'return "<b>no</b> @octocat #1 | x" if runtime == "mini" and prompt == "c" else prompt'


@pytest.fixture
def project(project: SmallProject) -> SmallProject:
    """A project whose challenger misses one of twelve cases, with markup in its answer."""
    project.write("test_triage.py", TWELVE_CASES)
    project.write("conftest.py", echo_hook(MISS))
    return project


def text_of(path: Path) -> str:
    """Return a report, checked for its first two lines."""
    text = path.read_text(encoding="utf-8")
    assert text.count(MARKER) == 1
    return text


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_the_option_writes_a_report(project: SmallProject, workers: list[str]) -> None:
    """The report says what was decided and which case shows it, with and without xdist; its folder is made."""
    if workers:
        project.plugins.append("xdist")
    result = project.run_apart("--proofmap-md=out/proofmap.md", *workers)
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=23, xfailed=1)
    text = text_of(project.folder / "out" / "proofmap.md")
    assert text.startswith(f"{MARKER}\n### ProofMap: 0 of 1 objective can move to a challenger\n")
    assert "Regressions: 1 case that the baseline passes" in text
    assert "test&#95;echo&#91;c&#93;" in text
    assert "next: <code>proofmap report" in text


def test_hostile_answers_mean_nothing(project: SmallProject) -> None:
    """Markup, mentions and issues in an answer are text in the report."""
    project.run("--proofmap-md=proofmap.md")
    text = text_of(project.folder / "proofmap.md")
    assert "&#60;b&#62;no&#60;" in text
    assert not any(each in text for each in ("<b>no", "@octocat", " #1", "| x"))


def test_without_the_option_nothing_is_written(project: SmallProject) -> None:
    """A run without the options leaves no report, and does not load what would make one."""
    project.write(
        "conftest.py",
        echo_hook(MISS) + "\ndef pytest_unconfigure():\n    import sys\n    print('loaded', "
        "[name for name in sys.modules if name.startswith('pytest_proofmap.report.markdown')])\n",
    )
    result = project.run_apart()
    assert "loaded []" in result.outlines
    assert list(project.folder.glob("*.md")) == []


@pytest.mark.parametrize("before", ["", "# Earlier\n", "no line end"])
def test_a_step_s_summary_is_appended_to(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """What other commands of the step wrote stays, and the report begins on a line of its own."""
    summary = project.write("summary", before)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    project.run()
    text = summary.read_text(encoding="utf-8")
    assert text.startswith(before)
    assert f"\n{MARKER}\n### ProofMap" in f"\n{text}"
    project.run()
    assert summary.read_text(encoding="utf-8").startswith(text)
    assert summary.read_text(encoding="utf-8").count(MARKER) == 2


def test_a_full_step_summary_is_a_finding(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub shows nothing of a summary that is too long: nothing is added to it, and the run says so."""
    summary = project.write("summary", "x" * (1024 * 1024 - 1100))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "GitHub shows no more than 1 MiB" in " ".join(result.stdout.str().split())
    assert summary.stat().st_size == 1024 * 1024 - 1100


def test_nothing_marked_writes_nothing(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without marked tests leaves no report and no summary."""
    project.write("test_triage.py", "def test_plain():\n    pass\n")
    summary = project.folder / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert project.run("--proofmap-md=proofmap.md").ret == pytest.ExitCode.OK
    assert not summary.exists()
    assert not (project.folder / "proofmap.md").exists()


@pytest.mark.parametrize("place", ["option", "environment"])
def test_a_place_that_cannot_be_written(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A report that cannot be written fails the run and says where and why; the evidence is there."""
    arguments = []
    if place == "option":
        arguments = ["--proofmap-md=test_triage.py/proofmap.md"]
    else:
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.folder))
    result = project.run(*arguments)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    output = " ".join(result.stdout.str().split())
    assert "the report could not be written to" in output
    assert "Traceback" not in output
    assert project.artifact.exists()


def test_a_failed_write_leaves_the_old_report(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report takes its place whole or not at all."""
    old = project.write("proofmap.md", "old")

    def fail(source: str, target: object) -> None:
        if Path(str(target)).name == "proofmap.md":
            raise OSError(28, "No space left on device")
        replace(source, str(target))

    replace = os.replace
    monkeypatch.setattr(os, "replace", fail)
    result = project.run("--proofmap-md=proofmap.md")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "No space left on device" in result.stdout.str()
    assert old.read_text() == "old"
    assert list(project.folder.glob(".proofmap.md*")) == []


def test_what_fails_the_run_is_in_the_report(project: SmallProject) -> None:
    """Findings stand in the verdict and first below it, each with what to do."""
    project.run("--proofmap-md=proofmap.md", "--proofmap-strict")
    text = text_of(project.folder / "proofmap.md")
    assert "### ✗ ProofMap: 0 of 1 objective can move to a challenger; 1 finding fails the run" in text
    assert text.index("What fails the run (1)") < text.index("Decisions")
    assert "<br>next: leave the challenger out" in text


def test_a_shard_decides_nothing(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard's report says what it is, and a job of many shards does not show each."""
    summary = project.folder / "summary"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    project.run("--proofmap-md=proofmap.md", "--proofmap-shard")
    assert "one shard of a run, nothing is decided" in text_of(project.folder / "proofmap.md")
    assert not summary.exists()


def test_an_incomplete_run_says_so(project: SmallProject) -> None:
    """A deselected case is told below the verdict."""
    project.run("--proofmap-md=proofmap.md", "-k", "not test_echo[d")
    assert "**Incomplete evidence**" in text_of(project.folder / "proofmap.md")


def test_what_the_project_redacts_stays_out(project: SmallProject) -> None:
    """A message that ``pytest_proofmap_evidence`` takes out is in neither report."""
    hook = """
def pytest_proofmap_evidence(config, evidence):
    for sample in evidence["samples"]:
        sample["message"] = sample["message"].replace("SECRET", "[name]")
"""
    answer = 'return "SECRET" if runtime == "mini" and prompt == "c" else prompt'
    project.write("conftest.py", echo_hook(answer) + hook)
    project.run("--proofmap-md=proofmap.md")
    text = text_of(project.folder / "proofmap.md")
    assert "SECRET" not in text
    assert "&#91;name&#93;" in text


def test_the_report_of_an_interrupted_run(project: SmallProject) -> None:
    """Ctrl-C leaves a report on what there was."""
    interrupt = """
def pytest_runtest_logfinish(nodeid):
    if "[h-" in nodeid:
        raise KeyboardInterrupt
"""
    project.write("conftest.py", echo_hook(MISS) + interrupt)
    project.run("--proofmap-md=proofmap.md")
    assert "**Incomplete evidence**" in text_of(project.folder / "proofmap.md")
