"""The page on comparing runs shows what its commands print on the example's recordings."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from doc_pages import blocks, commands, shows
from small_project import isolate

from pytest_proofmap.cli import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "diff-and-whatif.md"
EXAMPLE = ROOT / "example_project" / "instructions"


def write_evidence(folder: Path) -> None:
    """Write the page's two artifacts: that of a run, and the same with one runtime's answers swapped."""
    project = folder / "project"
    project.mkdir()
    for path in EXAMPLE.iterdir():
        if path.name not in {".proofmap", "__pycache__", ".pytest_cache"}:
            (project / path.name).symlink_to(path)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "pytest_proofmap.plugin", "-q", "--proofmap"),
            *("--proofmap-cache=replay", f"--proofmap-json={folder / 'old.json'}"),
        ],
        cwd=project,
        env=isolate(dict(os.environ)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((folder / "old.json").read_text(encoding="utf-8"))
    others = {
        (sample["criterion"], sample["case"]): sample
        for sample in content["samples"]
        if sample["runtime"] == "qwen2.5-7b"
    }
    for sample in content["samples"]:
        if sample["runtime"] == "gpt-4o-mini":
            other = others[sample["criterion"], sample["case"]]
            sample.update({part: other[part] for part in ("outcome", "message", "calls", "latency_s")})
    for criterion in content["criteria"]:
        criterion["cells"] = []
    content["run"]["id"] = "swapped"
    (folder / "new.json").write_text(json.dumps(content), encoding="utf-8")


def test_the_page_is_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the page ends with its status and prints its lines."""
    write_evidence(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    shown = [block for block in blocks(PAGE) if block.language == "console"]
    assert len(shown) == 4
    for block in shown:
        (command,) = commands(block)
        program, *arguments = shlex.split(command.text)
        assert program == "proofmap"
        invoked = CliRunner().invoke(main, arguments)
        output = invoked.output.splitlines()
        assert invoked.exit_code == (int(block.value) if block.note == "exit" else 0), invoked.output
        missing = shows(output, command.shown)
        assert missing is None, f"{block} does not print {missing!r} there. It prints:\n{invoked.output}"
