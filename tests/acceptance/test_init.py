from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pytest_proofmap.cli import main


def init(*arguments: str) -> Result:
    """Run ``proofmap init``."""
    return CliRunner().invoke(main, ["init", *arguments])


def run_pytest(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a project as its user would."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_scaffolded_project_runs_offline(tmp_path: Path) -> None:
    """One command, then ``pytest --proofmap`` works without keys and calls nothing."""
    result = init(str(tmp_path / "my project"))
    run = run_pytest(tmp_path / "my project", "--proofmap", "--proofmap-cache=replay")

    assert result.exit_code == 0, result.output
    assert "created  tests/test_triage_example.py" in result.output
    assert f"cd '{tmp_path}/my project' && pytest --proofmap" in result.output
    assert run.returncode == 0, run.stdout + run.stderr
    assert "39 passed" in run.stdout


def test_an_ordinary_run_skips_the_example(tmp_path: Path) -> None:
    """Without the option the scaffolded test is skipped."""
    init(str(tmp_path))
    run = run_pytest(tmp_path, "-q")

    assert run.returncode == 0, run.stdout + run.stderr
    assert "14 skipped" in run.stdout


def test_files_that_exist_are_reported_as_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run says that it kept everything, and whose runtimes the example uses."""
    monkeypatch.chdir(tmp_path)
    init()
    result = init()

    assert result.exit_code == 0
    assert result.output.count("kept ") == 4
    assert "proofmap.toml has a configuration of yours, which was kept" in result.output


def test_a_broken_project_is_bad_input(tmp_path: Path) -> None:
    """Bad input is one message and exit status 2."""
    (tmp_path / "pyproject.toml").write_text("[tool\n")
    result = init(str(tmp_path))

    assert result.exit_code == 2
    assert "not valid TOML" in result.output
    assert "Traceback" not in result.output
