"""``--proofmap-html`` and ``proofmap report --html``: a run as one page."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from embedded_data import embedded
from small_project import THREE_CASES, SmallProject, echo_hook

TWELVE_CASES = THREE_CASES.replace('["a", "b", "c"]', 'list("abcdefghijkl")')
MISS = 'return "no" if runtime == "mini" and prompt == "c" else prompt'


@pytest.fixture
def project(project: SmallProject) -> SmallProject:
    """A project whose challenger misses one of twelve cases."""
    project.write("test_triage.py", TWELVE_CASES)
    project.write("conftest.py", echo_hook(MISS))
    return project


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_the_option_writes_a_page(project: SmallProject, workers: list[str]) -> None:
    """The page holds the decision and the failing answer, with and without xdist; its folder is made."""
    if workers:
        project.plugins.append("xdist")
    result = project.run_apart("--proofmap-html=out/report.html", *workers)
    assert result.ret == pytest.ExitCode.OK
    page = (project.folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "<h1>0 of 1 objective can move to a challenger</h1>" in page
    assert hashlib.sha256(project.artifact.read_bytes()).hexdigest() in page
    found = embedded(page)
    (index,) = found["index"]
    at, place = index["cases"].index("c"), [each["runtime"] for each in index["columns"]].index("mini")
    assert index["outcomes"][place][at] == "f"
    (sample,) = found["block"][index["blocks"][at]]["cases"][str(at)][place]
    assert sample["calls"][0]["text"] == "no"


def test_what_fails_the_run_is_on_the_page(project: SmallProject) -> None:
    """A finding is shown with its next step, above the decisions."""
    project.run("--proofmap-html=report.html", "--proofmap-strict")
    page = (project.folder / "report.html").read_text(encoding="utf-8")
    assert page.index("This does not hold") < page.index('id="decisions"')
    assert "--proofmap-strict: mini is not qualified" in page


def test_the_command_writes_the_same_page(project: SmallProject) -> None:
    """A page made later from the artifact differs from the run's own only in its commands."""
    project.run("--proofmap-html=run.html")
    result = project.proofmap("report", "--html", str(project.artifact))
    assert result.ret == 0
    later = project.artifact.with_suffix(".html")
    result.stdout.fnmatch_lines([f"report written to {later}"])
    one, other = (path.read_text(encoding="utf-8") for path in (project.folder / "run.html", later))
    assert embedded(one) == embedded(other)


def test_what_the_project_takes_out_stays_out(project: SmallProject) -> None:
    """The page is made from the evidence as the project's hook left it."""
    hook = """
def pytest_proofmap_evidence(config, evidence):
    for sample in evidence["samples"]:
        for call in sample["calls"]:
            call["text"] = "[taken out]"
"""
    project.write("conftest.py", echo_hook(MISS) + hook)
    project.run("--proofmap-html=report.html")
    page = (project.folder / "report.html").read_text(encoding="utf-8")
    texts = {
        call["text"]
        for block in embedded(page)["block"]
        for columns in block["cases"].values()
        for samples in columns
        for sample in samples
        for call in sample["calls"]
    }
    assert texts == {"[taken out]"}


def test_a_page_that_cannot_be_written_fails_the_run(project: SmallProject) -> None:
    """The run says so and fails; the evidence is there."""
    project.write("file", "")
    result = project.run("--proofmap-html=file/report.html")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the report could not be written to file/report.html: *"])
    assert project.evidence().run.complete


@pytest.mark.skipif(os.name == "nt", reason="folders are protected in another way")
def test_the_old_page_stays_when_a_new_one_fails(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is written whole: a reader finds the old one or the new one."""
    path = project.folder / "report.html"
    path.write_text("old", encoding="utf-8")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail_for(path, fail))
    result = project.run("--proofmap-html=report.html")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert path.read_text(encoding="utf-8") == "old"
    assert not list(project.folder.glob(".report.html*"))


def fail_for(path: Path, fail: object) -> object:
    """Return ``os.replace`` that fails where it would replace one path."""
    replace = os.replace

    def replace_or_fail(source: str, target: str | Path) -> None:
        if Path(target) == path:
            assert callable(fail)
            fail()
        replace(source, target)

    return replace_or_fail


def test_a_shard_has_a_page_without_verdicts(project: SmallProject) -> None:
    """The page of one shard says that nothing is decided, and why."""
    project.run("--proofmap-html=report.html", "--proofmap-shard")
    page = (project.folder / "report.html").read_text(encoding="utf-8")
    assert "One shard of a run, nothing is decided" in page
