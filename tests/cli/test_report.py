"""``proofmap report``: a stored artifact as text, as Markdown and as a page."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from command_line import SCRIPT, proofmap, store
from stored_evidence import decided, undecided

OUTCOMES = {"t.py::test_x": {"base": "P" * 60, "mini": "P" * 60, "haiku": "P" * 40 + "F" * 20}}


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """A decided artifact."""
    return store(decided(OUTCOMES), tmp_path / "evidence.json")


def test_report(evidence: Path) -> None:
    """The report has a title, the verdicts and the next command, in 80 columns without colour."""
    done = proofmap("report", evidence, "--text")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "=" * 35 + " proofmap " + "=" * 35
    assert "test_x 60/60 94–100 % ✓ 60/60 94–100 % ✗ 40/60 53–79 %" in [" ".join(line.split()) for line in lines]
    assert lines[-1] == f"next: proofmap decide {evidence} --help"
    assert "\x1b" not in done.stdout


def test_an_undecided_artifact_is_decided_first(tmp_path: Path, evidence: Path) -> None:
    """Without verdicts in the artifact the report shows those of its own bars."""
    other = store(undecided(OUTCOMES), tmp_path / "undecided.json")
    assert (
        proofmap("report", other, "--text").stdout.splitlines()[:-1]
        == (proofmap("report", evidence, "--text").stdout.splitlines()[:-1])
    )


def test_ascii_output(evidence: Path) -> None:
    """An ASCII terminal gets the same in ASCII."""
    done = proofmap("report", evidence, "--text", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "+ 60/60 94-100 %" in done.stdout


def test_width_and_colour(evidence: Path) -> None:
    """``COLUMNS``, ``FORCE_COLOR`` and ``NO_COLOR`` are obeyed."""
    narrow = proofmap("report", evidence, "--text", COLUMNS="60").stdout
    assert max(map(len, narrow.splitlines()[:-1])) <= 60
    assert "\x1b[32m✓\x1b[0m" in proofmap("report", evidence, "--text", FORCE_COLOR="1").stdout
    assert "\x1b" not in proofmap("report", evidence, "--text", FORCE_COLOR="1", NO_COLOR="1").stdout


def test_quiet_and_verbose(evidence: Path) -> None:
    """-q has totals and recommendations only, -v every case of the few there are."""
    assert len(proofmap("report", evidence, "--text", "-q").stdout.splitlines()) == 3
    assert proofmap("report", evidence, "--text", "-v").stdout.count("]: assert") == 20


def test_text_is_the_default(evidence: Path) -> None:
    """Without a form it is the text."""
    done = proofmap("report", evidence)
    assert done.returncode == 0
    assert done.stdout == proofmap("report", evidence, "--text").stdout


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_markdown(evidence: Path, encoding: str) -> None:
    """The Markdown report goes to standard output, in UTF-8 whatever the terminal's encoding is."""
    done = proofmap("report", evidence, "--md", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:2] == [
        "<!-- proofmap -->",
        "### ✓ ProofMap: 1 of 1 objective can move to a challenger, 10× cheaper",
    ]


def test_an_undecided_artifact_has_decisions_in_markdown(tmp_path: Path) -> None:
    """An artifact without verdicts is decided first here too; one shard has none and says so."""
    path = store(undecided(OUTCOMES), tmp_path / "undecided.json")
    assert "**moves**" in proofmap("report", path, "--md").stdout
    shard = store(undecided(OUTCOMES, run={"shard": True, "complete": False}), tmp_path / "shard.json")
    assert "one shard of a run, nothing is decided" in proofmap("report", shard, "--md").stdout


@pytest.mark.parametrize("form", ["--text", "--md"])
def test_output_to_a_file(tmp_path: Path, evidence: Path, form: str) -> None:
    """``-o`` writes the same to a file, makes its folder and says where it is; ``-`` is standard output."""
    target = tmp_path / "new" / "report.out"
    done = proofmap("report", evidence, form, "-o", target)
    assert (done.returncode, done.stdout) == (0, f"report written to {target}\n")
    shown = proofmap("report", evidence, form, "--output", "-").stdout
    assert target.read_text(encoding="utf-8").splitlines()[-3:] == shown.splitlines()[-3:]


def test_html_goes_beside_the_evidence(evidence: Path) -> None:
    """The page is a file under the evidence's name, since nobody wants it in a terminal, and is told of."""
    done = proofmap("report", evidence, "--html")
    page = evidence.with_suffix(".html")
    assert (done.returncode, done.stdout) == (0, f"report written to {page}\n")
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert proofmap("report", evidence, "--html", "-o", "-").stdout.startswith("<!DOCTYPE html>")


def test_an_output_that_cannot_be_written(evidence: Path) -> None:
    """A place that cannot be written to is bad input, named with its reason."""
    done = proofmap("report", evidence, "--md", "-o", evidence / "below.md")
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    assert "--output" in done.stderr


def test_verbosity_is_for_text(evidence: Path) -> None:
    """-v and -q change the text alone, and are refused elsewhere."""
    done = proofmap("report", evidence, "--md", "-v")
    assert done.returncode == 2
    assert "-v and -q are for --text" in done.stderr


@pytest.mark.parametrize("command", [["report", "--text", "-vv"], ["report", "--md"], ["decide", "--json"]])
def test_a_closed_pipe_is_no_crash(tmp_path: Path, command: list[str]) -> None:
    """A reader that stops early gets no traceback."""
    big = {f"t.py::test_{index}": OUTCOMES["t.py::test_x"] for index in range(30)}
    path = store(decided(big), tmp_path / "evidence.json")
    with subprocess.Popen(
        [SCRIPT, *command, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
