"""The documentation: every example is run, every configuration read, every link followed."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from doc_pages import Block, Command, blocks, commands, shows
from small_project import SmallProject, isolate

from pytest_proofmap import config
from pytest_proofmap.cli import COMMANDS, main
from pytest_proofmap.config import Configuration, CriterionSettings, ProviderLimits, RuntimeConfig
from pytest_proofmap.plugin.options import MARK_HELP

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROJECTS = [
    ROOT / "docs" / f"{name}.md"
    for name in (
        "getting-started",
        "configuration",
        "marker-and-fixtures",
        "caching-and-recordings",
        "decisions",
        "evidence",
        "approving",
        "extending",
    )
]
"""Pages whose blocks together are one project, on which their commands are run."""

# Answers the calls of the pages' projects in place of the models that the pages name.
STAND_IN = """
import pytest

WORDS = {"refund": "money", "delivery": "parcel", "technical": "app"}

@pytest.hookimpl(trylast=True)
def pytest_proofmap_call(runtime, request):
    ticket = request.messages[-1]["content"]
    if "JSON" in ticket:
        return '{"label": "refund", "urgent": true}'
    if runtime == "judge":
        return "yes"
    label = next((label for label, word in WORDS.items() if word in ticket), "other")
    wrong = runtime == "haiku" and "app" in ticket
    return {
        "model": request.model,
        "choices": [{
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "other" if wrong else label},
        }],
        "usage": {"prompt_tokens": 200, "completion_tokens": 2, "total_tokens": 202},
    }
"""


def identity(value: object) -> str:
    """Return the id of a page or block."""
    return str(value) if isinstance(value, Block) else Path(str(value)).name


ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]


def of_language(*languages: str) -> list[Block]:
    """Return the blocks of all pages in one of the languages."""
    return [block for block in ALL_BLOCKS if block.language in languages]


@pytest.mark.parametrize("block", of_language("toml"), ids=identity)
def test_every_configuration_is_allowed(block: Block) -> None:
    """A TOML block is ProofMap's configuration, in one of its two places, and every key of it is known."""
    table = tomllib.loads(block.text)
    own = table.get("tool", {}).get("proofmap") if "tool" in table else table
    assert own is not None, f"{block}: no [tool.proofmap]"
    config.parse(own, ROOT, source=str(block), prefix="")


@pytest.mark.parametrize("block", of_language("python"), ids=identity)
def test_every_python_example_compiles(block: Block) -> None:
    """A Python block is a whole, valid piece of Python."""
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", of_language("yaml", "json"), ids=identity)
def test_every_data_example_is_valid(block: Block) -> None:
    """A YAML or JSON block can be read."""
    if block.language == "json":
        json.loads(block.text)
    else:
        assert yaml.safe_load(block.text)


@pytest.mark.parametrize("page", PROJECTS, ids=identity)
def test_every_example_works(page: Path, project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a page are a project in which its commands do what the page shows."""
    for name in ("pytest.ini", "proofmap.toml"):
        (project.folder / name).unlink()
    project.write("stand_in.py", STAND_IN)
    project.plugins.append("stand_in")
    monkeypatch.syspath_prepend(project.folder)
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("COLUMNS", "80")
    for block in blocks(page):
        if block.note == "file":
            project.write(block.value, block.text)
        elif block.language == "console" and block.note != "not run":
            for index, command in enumerate(commands(block)):
                last = index == len(commands(block)) - 1
                run_and_compare(project, block, command, int(block.value) if block.note == "exit" and last else 0)
        else:
            assert block.language in {"toml", "yaml", "json", "text", "console"}, (
                f"{block}: nothing runs this block; give it a note"
            )


def run_and_compare(project: SmallProject, block: Block, command: Command, status: int) -> None:
    """Run a command of a page and compare its exit status and its output."""
    program, *arguments = shlex.split(command.text)
    if program == "pytest":
        result = project.run(*arguments, proofmap=False)
        output, code = result.outlines + result.errlines, int(result.ret)
    else:
        assert program == "proofmap", f"{block}: cannot run {program!r}"
        invoked = CliRunner().invoke(main, arguments)
        output, code = invoked.output.splitlines(), invoked.exit_code
    text = "\n".join(output)
    assert code == status, f"{block}: '{command.text}' ended with {code}, not {status}:\n{text}"
    missing = shows(output, command.shown)
    assert missing is None, f"{block}: '{command.text}' does not print {missing!r} there. It prints:\n{text}"


def readme_output() -> Block:
    """Return the block of the README that shows a real run."""
    (block,) = [block for block in blocks(ROOT / "README.md") if block.note == "output of"]
    return block


def test_the_output_in_the_readme_is_real(tmp_path: Path) -> None:
    """The run that the README shows prints just these lines."""
    block = readme_output()
    (command,) = commands(block)
    program, *arguments = shlex.split(command.text)
    assert program == "pytest"
    folder = tmp_path / "example"
    folder.mkdir()
    for path in (ROOT / block.value).iterdir():
        if path.name not in {".proofmap", "__pycache__", ".pytest_cache"}:
            (folder / path.name).symlink_to(path)
    environment = isolate(dict(os.environ)) | {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pytest_proofmap.plugin", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    missing = shows(done.stdout.splitlines(), command.shown)
    assert missing is None, f"{block}: {missing!r} is not there any more. Show this:\n{done.stdout}"


def linked_files() -> Iterator[tuple[Path, str]]:
    """Yield each page with the files of the project that it links to."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                yield page, target


@pytest.mark.parametrize(("page", "target"), list(linked_files()), ids=identity)
def test_every_link_leads_somewhere(page: Path, target: str) -> None:
    """A link into the project names a file that exists."""
    assert (page.parent / target).exists()


def documented(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "key",
    sorted({*Configuration.model_fields, *RuntimeConfig.model_fields, *ProviderLimits.model_fields} - {"name"}),
)
def test_every_configuration_key_is_documented(key: str) -> None:
    """The page on the configuration names every key."""
    assert re.search(rf"\b{key}\b", documented("configuration.md"))


@pytest.mark.parametrize("argument", sorted(CriterionSettings.model_fields))
def test_every_argument_of_the_mark_is_documented(argument: str) -> None:
    """The page on the mark names every argument, and so does the mark's own help."""
    assert f"`{argument}`" in documented("marker-and-fixtures.md")
    assert argument in MARK_HELP


def test_every_option_is_documented() -> None:
    """The README's table names every option."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    source = (ROOT / "pytest_proofmap" / "plugin" / "options.py").read_text(encoding="utf-8")
    missing = [name for name in re.findall(r'"(--proofmap[a-z-]*)"', source) if f"`{name}" not in text]
    assert not missing


def test_every_command_is_documented() -> None:
    """The README names every command of the command line."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"`proofmap {name}" not in text] == []
