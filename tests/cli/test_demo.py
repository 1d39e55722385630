"""``proofmap demo``: the examples, copied and run offline."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from click.testing import CliRunner, Result

from pytest_proofmap.cli import demo, main
from pytest_proofmap.cli.demo import EXAMPLES, example_source

TEST = """
import pytest

@pytest.mark.parametrize("case", ["a", "b"])
@pytest.mark.qualify
def test_echo(runtime, case):
    assert runtime.complete(case).text == case
"""

CONFIGURATION = """
[tool.pytest.ini_options]
addopts = "--strict-markers"

[tool.proofmap]
baseline = "gpt"
challengers = ["mini"]
recordings = ["recordings/*.jsonl"]

[tool.proofmap.runtimes.gpt]
model = "openai/gpt"

[tool.proofmap.runtimes.mini]
model = "openai/mini"
"""


def recording(model: str, prompt: str, answer: str) -> str:
    """Return a line of recordings."""
    request: dict[str, object] = {
        "model": model,
        "api_base": None,
        "messages": [{"role": "user", "content": prompt}],
        "params": {},
    }
    message = {"role": "assistant", "content": answer}
    response = {"model": model, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
    return json.dumps({"request": request, "response": response}) + "\n"


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small examples in the place of the real ones; the working directory is empty."""
    folder = tmp_path / "installed"
    for name in EXAMPLES:
        (folder / name / "recordings").mkdir(parents=True)
        (folder / name / "pyproject.toml").write_text(CONFIGURATION)
        (folder / name / "test_echo.py").write_text(TEST)
        lines = [recording(f"openai/{model}", case, case) for model in ("gpt", "mini") for case in "ab"]
        (folder / name / "recordings" / "all.jsonl").write_text("".join(lines))
    monkeypatch.setattr(demo, "example_source", lambda name: folder / name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def run(*arguments: str) -> Result:
    """Run ``proofmap demo`` in this process; pytest runs in another."""
    return CliRunner().invoke(main, ["demo", *arguments])


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[str], Mapping[str, str]]]:
    """The commands that a demo ran, with their environment; none is really run."""
    seen: list[tuple[Sequence[str], Mapping[str, str]]] = []

    def remember(command: Sequence[str], *, env: Mapping[str, str], **_: object) -> CompletedProcess[str]:
        seen.append((command, env))
        return CompletedProcess(command, 0)

    monkeypatch.setattr("pytest_proofmap.cli.demo.subprocess.run", remember)
    return seen


def test_the_examples_are_copied_and_run(examples: Path, tmp_path: Path) -> None:
    """Both examples end up in the default folder with their evidence, and the command says what is next."""
    result = run()
    assert result.exit_code == 0, result.output
    for name in EXAMPLES:
        folder = tmp_path / "work" / "proofmap-demo" / name
        evidence = json.loads((folder / ".proofmap" / "evidence.json").read_text(encoding="utf-8"))
        assert evidence["totals"]["recorded"] == 4
        assert evidence["totals"]["live"] == 0
        assert f"copied   proofmap-demo/{name}" in result.output
    assert "proofmap init" in result.output
    assert not list((tmp_path / "work" / "proofmap-demo").glob(".copying-*"))


def test_what_is_there_is_kept_and_run(
    examples: Path, tmp_path: Path, runs: list[tuple[Sequence[str], Mapping[str, str]]]
) -> None:
    """A second demo changes no file of the first, and runs them again."""
    assert run("here").exit_code == 0
    changed = tmp_path / "work" / "here" / "triage" / "test_echo.py"
    changed.write_text("# mine\n")
    result = run("here")
    assert result.exit_code == 0
    assert changed.read_text() == "# mine\n"
    assert "kept     here/triage" in result.output
    assert len(runs) == 2 * len(EXAMPLES)


def test_a_folder_of_another_kind_is_refused(examples: Path, tmp_path: Path) -> None:
    """A folder that has an example's name and is none is neither filled nor run."""
    (tmp_path / "work" / "proofmap-demo" / "triage").mkdir(parents=True)
    result = run()
    assert result.exit_code == 2
    assert "'proofmap-demo/triage' exists and is not the example" in result.output
    assert not list((tmp_path / "work" / "proofmap-demo" / "triage").iterdir())


def test_a_place_that_cannot_be_written_is_named(examples: Path, tmp_path: Path) -> None:
    """Where a file is in the way of the folder, the message says so without a traceback."""
    (tmp_path / "work" / "file").write_text("")
    result = run("file/inside")
    assert result.exit_code == 2
    assert "'file/inside/triage' cannot be written" in result.output


def test_it_ends_with_1_when_an_example_does_not_hold(examples: Path, tmp_path: Path) -> None:
    """An example without its recordings fails, is named, and the other one is run all the same."""
    shutil.rmtree(examples / "triage" / "recordings")
    result = run()
    assert result.exit_code == 1
    assert "Not as recorded: triage." in result.output
    assert (tmp_path / "work" / "proofmap-demo" / "instructions" / ".proofmap" / "evidence.json").is_file()


def test_the_environment_of_the_caller_does_not_leak_in(
    examples: Path, monkeypatch: pytest.MonkeyPatch, runs: list[tuple[Sequence[str], Mapping[str, str]]]
) -> None:
    """Options for pytest, a job summary and other plugins stay out; the interpreter is the same one."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "--maxfail=1")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    assert run().exit_code == 0
    for command, environment in runs:
        assert command[0] == sys.executable
        assert "--proofmap-cache=replay" in command
        assert not {"PYTEST_ADDOPTS", "GITHUB_STEP_SUMMARY"} & environment.keys()
        assert environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] == "1"


def test_the_real_examples_are_found() -> None:
    """The examples are part of what is installed here."""
    for name in EXAMPLES:
        source = example_source(name)
        assert list(source.glob("test_*.py"))
        assert list(source.glob("recordings/*.jsonl"))
