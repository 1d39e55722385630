"""Answers, messages and names may hold anything; nothing in them reaches a terminal as more than text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_project import CONFIGURATION, SmallProject, isolate

HOSTILE = (
    "\x1b[2J\x1b]52;c;aGk=\x07\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\ \r\b\x9b31m\x1b[31m\u202eabc\u2066"
    "\u200bzero\ufeff\u2028sep\ud800lone\U000e0041tag\x00end"
)
"""Clears the screen, writes the clipboard, links, overwrites, colours, turns around, hides, cannot be sent."""

OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""What a terminal obeys, does not show, or cannot be sent."""

CONFTEST = """
HOSTILE = {hostile}

def pytest_proofmap_call(runtime, request):
    prompt = request.messages[-1]["content"]
    if runtime == "down":
        raise ConnectionError(HOSTILE)
    if runtime == "mini":
        return HOSTILE * (100_000 if prompt == "big" else 1)
    return prompt
"""

TESTS = """
import pytest
from conftest import HOSTILE
from pydantic import BaseModel

pytestmark = pytest.mark.qualify(challengers=["mini", "down"], objective="triage")

@pytest.mark.parametrize("case", [HOSTILE, pytest.param("x", id="id" + HOSTILE)])
def test_case(runtime, case):
    assert runtime.complete("x").text == "x"

@pytest.mark.qualify(slice_by="who")
@pytest.mark.parametrize("who", ["fr" + HOSTILE, "de"])
def test_message(runtime, who):
    answer = runtime.complete("b").text
    assert answer == "b", answer

def test_big(runtime):
    answer = runtime.complete("big").text
    assert answer == "big", answer

@pytest.mark.qualify(baseline_must_pass=False)
def test_parsed(runtime):
    class Label(BaseModel):
        name: str
    assert runtime.complete("c", response_format=Label).parsed

def test_skips(runtime):
    answer = runtime.complete("d").text
    if runtime.name == "mini":
        pytest.skip(answer)

def test_baseline_fails(runtime):
    assert runtime.complete("e").text == "no", HOSTILE
"""


def check(text: str) -> None:
    """Check that a terminal would show a text and obey nothing in it."""
    bad = [ascii(line) for line in text.split("\n") if OBEYED.search(line)]
    assert not bad


def run(project: SmallProject, *command: str | Path, status: int) -> str:
    """Run a command where everything could be printed, check what it prints, and return that."""
    done = subprocess.run(
        command,
        cwd=project.folder,
        env=isolate(dict(os.environ)) | {"PYTHONIOENCODING": "utf-8:surrogatepass"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    text = (done.stdout + done.stderr).decode("utf-8", "surrogatepass").replace(os.linesep, "\n")
    assert done.returncode == status, text
    check(text)
    return text


def pytest_run(project: SmallProject, *options: str, status: int = 1) -> str:
    """Run pytest in a process of its own."""
    plugins = [part for name in project.plugins for part in ("-p", name)]
    return run(project, sys.executable, "-m", "pytest", *plugins, "--proofmap", *options, status=status)


def proofmap(project: SmallProject, *arguments: str, status: int = 0) -> str:
    """Run the command line where everything could be printed, check what it prints, and return that."""
    done = project.proofmap(*arguments, PYTHONIOENCODING="utf-8:surrogatepass")
    text = done.stdout.str() + done.stderr.str()
    assert done.ret == status, text
    check(text)
    return text


@pytest.fixture
def hostile(project: SmallProject) -> SmallProject:
    """A project whose models, providers and authors mean no good."""
    project.configure(CONFIGURATION + '\n[runtimes.down]\nmodel = "openai/down"\n')
    project.write("conftest.py", CONFTEST.format(hostile=ascii(HOSTILE)))
    project.write("test_hostile.py", TESTS)
    return project


@pytest.mark.parametrize(
    "options",
    [
        ("-v", "-rA", "--xfail-tb"),
        pytest.param(("-q", "-ra", "--tb=short"), marks=pytest.mark.nightly),
        ("-n2", "-rA"),
    ],
)
def test_a_run(hostile: SmallProject, options: tuple[str, ...]) -> None:
    """Reasons, tracebacks, the short summary and ProofMap's own are text, with workers too."""
    if "-n2" in options:
        hostile.plugins.append("xdist")
    text = pytest_run(hostile, *options)
    assert r"\x1b[2J\x1b]52;c;aGk=\x07" in text
    assert r"\ud800lone" in text
    assert "INTERNALERROR" not in text
    assert "xfailed" in text
    assert len(text) < 100_000 or "--xfail-tb" in options


def test_differences_keep_their_colours(hostile: SmallProject) -> None:
    """Where pytest paints a difference its colours stay, and nothing else does."""
    hostile.write("conftest.py", CONFTEST.format(hostile=ascii("no idea")))
    hostile.write(
        "test_hostile.py",
        """
import pytest

@pytest.mark.qualify
def test_baseline_fails(runtime):
    assert runtime.complete("e").text == "no"
""",
    )
    text = "\n".join(hostile.run_apart("--color=yes").outlines)
    assert re.search(r"\x1b\[[\d;]*m", text)
    assert r"\x1b[" not in text


def test_the_command_line(hostile: SmallProject) -> None:
    """What the commands print of stored evidence is text."""
    pytest_run(hostile, "-q")
    evidence = ".proofmap/evidence.json"
    (hostile.folder / "old.json").write_bytes(hostile.artifact.read_bytes())
    conftest = CONFTEST.format(hostile=ascii(HOSTILE)).replace(
        'runtime == "mini"', 'runtime == "mini" and prompt != "b"'
    )
    hostile.write("conftest.py", conftest)
    pytest_run(hostile, "-q", "--proofmap-cache=refresh")
    assert r"\x1b" in proofmap(hostile, "report", evidence, "--text", "-vv")
    proofmap(hostile, "diff", "old.json", evidence)
    proofmap(hostile, "decide", evidence, "--max-failure-rate", "0.5", status=1)
    proofmap(hostile, "whatif", evidence, "--down", "openai", status=1)
    person = ["--by", f"A{HOSTILE[:8]}", "--reason", HOSTILE[:8]]
    assert r"by A\x1b[2J" in proofmap(hostile, "approve", evidence, "--yes", *person)
    proofmap(hostile, "verify")
    for arguments in (
        ["approve", evidence, "--yes", "--by", "A", "--objective", f"nope{HOSTILE[:8]}"],
        ["whatif", evidence, "--down", f"nobody{HOSTILE[:8]}"],
        ["report", f"no{HOSTILE[:8]}.json", "--text"],
        ["cache", "explain", "--criterion", f"no{HOSTILE[:8]}", "--runtime", "mini"],
    ):
        proofmap(hostile, *arguments, status=2)


def test_explaining_the_cache(hostile: SmallProject) -> None:
    """Stored requests are shown as text, whoever made them."""
    hostile.write(
        "test_hostile.py",
        """
import pytest
from conftest import HOSTILE

@pytest.mark.qualify(challengers=["down"])
@pytest.mark.parametrize("case", ["a", "b"])
def test_case(runtime, case):
    runtime.complete(HOSTILE + case, stop=HOSTILE + case)
""",
    )
    pytest_run(hostile, "-q", status=0)
    hostile.configure(CONFIGURATION.replace("openai/gpt", "openai/gpt\\u001b[2J\\u202e"))
    proofmap(hostile, "cache", "stats")
    criterion = ["--criterion", "test_hostile.py::test_case", "--case", "a"]
    assert r"\x1b[2J" in proofmap(hostile, "cache", "explain", *criterion, "--runtime", "down", status=1)


def test_text_of_every_script_is_left_alone(hostile: SmallProject) -> None:
    """Letters, marks, joiners and wide characters are no danger and stay as they are."""
    harmless = "für 日本 עברית नमस्ते e\u0301"
    hostile.write("conftest.py", CONFTEST.format(hostile=ascii(harmless)))
    assert f"- {harmless}" in pytest_run(hostile, "-ra")


FILES = {
    "configuration key": {"proofmap.toml": CONFIGURATION + '\n["\\u001b[31m\\u009b2J"]\nx = 1\n'},
    "runtime's name": {"proofmap.toml": CONFIGURATION + '\n[runtimes."\\u001b[2J"]\nmodel = "m"\n'},
    "parameter's name": {
        "proofmap.toml": CONFIGURATION + '\n[runtimes.x]\nmodel = "m"\nparams = { "\\u001b[2J" = nan }\n'
    },
    "objective's name": {"proofmap.toml": CONFIGURATION + '\n[objectives."\\u001b[2J"]\nspeed = 1\n'},
    "mark": {"test_a.py": 'import pytest\n\n@pytest.mark.qualify("\x1b[2J")\ndef test_a(runtime): pass\n'},
    "lock": {"proofmap.lock": '{"schema": "proofmap.lock/1", "routes": {"\\u001b[2J": {}}}'},
    "recordings": {"recordings/a.jsonl": '{"\x1b[2J\n'},
    "prompt": {
        "prompts/a.prompt": '---\n"\\e[2J": [\n---\n{{ x }}',
        "test_a.py": "import pytest\n\n@pytest.mark.qualify\ndef test_a(runtime): runtime.run('a', x=1)\n",
    },
}


@pytest.mark.parametrize("name", FILES)
def test_errors_of_files(project: SmallProject, name: str) -> None:
    """What an error quotes of a file is visible, whoever prints it."""
    project.write("test_a.py", "import pytest\n\n@pytest.mark.qualify\ndef test_a(runtime): assert True\n")
    for path, text in FILES[name].items():
        project.write(path, text)
    result = project.run_apart("-q", "-p", "no:cacheprovider", PY_COLORS="0")
    shown = "\n".join([*result.outlines, *result.errlines])
    assert result.ret != 0, shown
    assert not OBEYED.search(shown)
