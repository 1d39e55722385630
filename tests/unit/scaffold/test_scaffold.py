from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_proofmap import config
from pytest_proofmap.errors import ConfigurationError
from pytest_proofmap.scaffold import scaffold

FILES = ["prompts/triage_example.prompt", "recordings/triage_example.jsonl", "tests/test_triage_example.py"]


def states(directory: Path) -> dict[str, str]:
    """Return what happened to each file."""
    return {file.path: file.state for file in scaffold(directory)}


def test_an_empty_folder_gets_everything(tmp_path: Path) -> None:
    """A folder that does not exist yet becomes a project with a valid configuration."""
    project = tmp_path / "new" / "project"

    assert states(project) == dict.fromkeys(["proofmap.toml", *FILES], "created")
    assert all((project / name).is_file() for name in FILES)
    assert config.load(project).challengers == ["example-small", "example-tiny"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_pyproject_is_extended_and_otherwise_kept(tmp_path: Path, newline: str) -> None:
    """The configuration goes to the end of a pyproject.toml, in its style of line endings."""
    own = newline.join(["# my project", "[project]", 'name = "größe"', "", ""]).encode()
    (tmp_path / "pyproject.toml").write_bytes(own)

    assert states(tmp_path) == {"pyproject.toml": "extended", **dict.fromkeys(FILES, "created")}
    text = (tmp_path / "pyproject.toml").read_bytes()
    assert text.startswith(own.rstrip())
    assert text.count(b"\n") == text.count(newline.encode())
    assert config.load(tmp_path).baseline == "example-today"


@pytest.mark.parametrize("name", ["pyproject.toml", "proofmap.toml"])
def test_a_configuration_is_kept(tmp_path: Path, name: str) -> None:
    """A project that has its configuration keeps it, byte for byte."""
    text = '[tool.proofmap]\nbaseline = "mine"\n' if name == "pyproject.toml" else 'baseline = "mine"\n'
    (tmp_path / name).write_text(text)

    assert states(tmp_path)[name] == "kept"
    assert (tmp_path / name).read_text() == text
    assert not (tmp_path / "proofmap.toml").exists() or name == "proofmap.toml"


@pytest.mark.parametrize("text", ["tool = { black = {} }\n", "[[tool.proofmap2]]\n[tool]\n"])
def test_a_pyproject_that_cannot_be_added_to_is_left_alone(tmp_path: Path, text: str) -> None:
    """Where an added table would break the file, the configuration gets a file of its own."""
    (tmp_path / "pyproject.toml").write_text(text)
    done = states(tmp_path)

    if "proofmap.toml" in done:
        assert (tmp_path / "pyproject.toml").read_text() == text
    assert config.load(tmp_path).baseline == "example-today"


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    """Running it again keeps every file, edited ones included."""
    scaffold(tmp_path)
    (tmp_path / FILES[2]).write_text("mine")

    assert set(states(tmp_path).values()) == {"kept"}
    assert (tmp_path / FILES[2]).read_text() == "mine"


def test_a_broken_pyproject_is_an_error(tmp_path: Path) -> None:
    """Nothing is written beside a file that cannot be understood."""
    (tmp_path / "pyproject.toml").write_text("[tool\n")

    with pytest.raises(ConfigurationError, match=r"pyproject\.toml: not valid TOML.*nothing was changed"):
        scaffold(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A file where a folder is needed is named."""
    (tmp_path / "prompts").write_text("a file")

    with pytest.raises(ConfigurationError, match=r"prompts.*cannot be written"):
        scaffold(tmp_path)


def test_recorded_answers_claim_nothing(tmp_path: Path) -> None:
    """The illustration names no real model, no time, no latency and no tokens."""
    import json

    scaffold(tmp_path)
    lines = (tmp_path / FILES[1]).read_text(encoding="utf-8").splitlines()
    assert lines
    for line in lines:
        recording = json.loads(line)
        assert recording["request"]["model"].startswith("illustration/")
        assert "written by hand" in recording["response"]["model"]
        assert recording["latency_s"] is None
        assert recording["made_at"] is None
        assert "usage" not in recording["response"]


def test_nothing_heavy_is_imported() -> None:
    """The scaffold needs neither pytest nor pydantic nor a client."""
    import subprocess

    script = (
        "import sys; import pytest_proofmap.scaffold; "
        "print({'pytest', 'pydantic', 'litellm', 'jinja2'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "set()"
