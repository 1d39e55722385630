"""What a user sees in every state that a run can be in, compared whole with the files in ``terminal_states/``.

``SNAPSHOTS=write`` in the environment writes the files anew. Read what changed before you commit it.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from small_project import CONFIGURATION, SmallProject

from pytest_proofmap.calls.lanes import hook as hooked

FOLDER = Path(__file__).parent / "terminal_states"
WRITE = os.environ.get("SNAPSHOTS") == "write"

Prepare = Callable[[SmallProject], None]


class State(NamedTuple):
    """A project, and how pytest is run in it."""

    prepare: Prepare
    options: tuple[str, ...] = ()
    columns: int = 80
    encoding: str | None = None
    """Encoding of the terminal, when it is not that of the tests."""
    proofmap: bool = True
    before: tuple[tuple[str, ...], ...] = ()
    """Runs and commands that come first."""


CONFTEST = '''
"""Answers in place of a model; each rule is a text in the prompt and what it does."""
import os

def pytest_proofmap_call(runtime, request):
    prompt = request.messages[-1]["content"]
    if runtime == "mini" and "down" in prompt:
        raise ConnectionError("no route to host")
    if "nobody" in prompt or runtime == "mini" and ("wrong" in prompt or os.path.exists("regressed")):
        prompt = "no idea"
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": prompt}}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return {"model": runtime, "choices": [choice], "usage": usage}
'''

TESTS = """
import pytest

TICKETS = [{cases}]

@pytest.mark.parametrize("ticket", TICKETS)
@pytest.mark.qualify({mark})
def test_label(runtime, ticket):
    assert runtime.complete(ticket).text == ticket, f"{{ticket}} is no label"
"""


def tickets(right: int, *others: str, mark: str = "") -> str:
    """Return a test module with cases that both runtimes answer, and others."""
    names = [*(f"t{number:02}" for number in range(1, right + 1)), *others]
    return TESTS.format(cases=", ".join(map(repr, names)), mark=mark)


def answered(text: str, *, conftest: str = CONFTEST, configuration: str = CONFIGURATION) -> Prepare:
    """Return what prepares a project with one test module whose runtimes answer."""

    def prepare(project: SmallProject) -> None:
        project.configure(configuration)
        project.write("conftest.py", conftest)
        project.write("test_triage.py", text)

    return prepare


def recorded(project: SmallProject) -> None:
    """Prepare a project of two recorded criteria, one of them in slices."""
    project.write(
        "test_triage.py",
        """
import pytest

pytestmark = pytest.mark.qualify

@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("language", ["de", "fr"])
@pytest.mark.qualify(slice_by="language", min_pass_rate=0.8)
def test_label(runtime, language, number):
    assert runtime.complete(f"{language} {number}").text == "refund"

@pytest.mark.parametrize("number", range(15))
def test_form(runtime, number):
    assert runtime.complete(f"form {number}").text == "ok"
""",
    )
    for name in ("gpt", "mini"):
        project.record(name, {f"form {number}": "ok" for number in range(15)})
        for language in ("de", "fr"):
            wrong = 4 if (name, language) == ("mini", "fr") else 0
            answers = {f"{language} {number}": "delivery" if number < wrong else "refund" for number in range(12)}
            project.record(name, answers)


def plain(project: SmallProject) -> None:
    """Prepare a project without a marked test."""
    project.write("test_plain.py", "def test_one():\n    pass\n")


def collection_error(project: SmallProject) -> None:
    """Prepare a project with a wrong mark and a module that breaks."""
    answered(tickets(2, mark="min_pas_rate=0.5"))(project)
    project.write("test_broken.py", "raise ValueError('broken')\n")


def interrupted(event: str, nodeid: str) -> Prepare:
    """Return what prepares a project whose user presses Ctrl-C at an event of a test."""

    def prepare(project: SmallProject) -> None:
        answered(tickets(15))(project)
        press = f"def {event}:\n    if {nodeid}:\n        raise KeyboardInterrupt\n"
        project.write("conftest.py", f"{CONFTEST}\n{press}")

    return prepare


IN_THE_MIDDLE = interrupted("pytest_runtest_logreport(report)", "'t08-mini' in report.nodeid")
AT_THE_START = interrupted("pytest_runtest_setup(item)", "'t01-gpt' in item.nodeid")


def unwritable(project: SmallProject) -> None:
    """Prepare a project where a file stands in the way of the artifact's folder."""
    answered(tickets(15))(project)
    project.write("out", "")


LOCKED: tuple[tuple[str, ...], ...] = (
    ("pytest", "--proofmap", "-q"),
    ("proofmap", "approve", "--yes", "--by", "Ada", "--reason", "cheaper"),
)

STATES: dict[str, State] = {
    "nothing_marked": State(plain),
    "marked_without_the_option": State(answered(tickets(15)), proofmap=False),
    "all_well": State(answered(tickets(15))),
    "all_well_60_columns": State(recorded, columns=60),
    "all_well_40_columns": State(recorded, columns=40),
    "slices": State(recorded),
    "slices_v": State(recorded, ("-v",)),
    "slices_q": State(recorded, ("-q",)),
    "slices_qq": State(recorded, ("-qq",)),
    "slices_colour": State(recorded, ("--color=yes",)),
    "slices_ascii": State(recorded, encoding="ascii"),
    "no_summary": State(recorded, ("--no-summary",)),
    "unmet": State(answered(tickets(14, "wrong 1"))),
    "unmet_v": State(answered(tickets(4, "wrong 1", "wrong 2")), ("-v",)),
    "unmet_rA": State(answered(tickets(2, "wrong 1")), ("-ra",)),
    "unavailable": State(answered(tickets(13, "down 1", "down 2"))),
    "insufficient": State(answered(tickets(5))),
    "insufficient_strict": State(answered(tickets(5)), ("--proofmap-strict",)),
    "baseline_fails": State(answered(tickets(14, "nobody 1")), ("--tb=short",)),
    "baseline_fails_tb_no": State(answered(tickets(14, "nobody 1")), ("--tb=no",)),
    "baseline_misses_its_bar": State(
        answered(tickets(4, *(f"nobody {number}" for number in range(6)), mark="min_pass_rate=0.9")),
    ),
    "stale_route": State(answered(tickets(16)), before=(*LOCKED, ("edit",))),
    "stale_route_no_summary": State(answered(tickets(16)), ("--no-summary",), before=(*LOCKED, ("edit",))),
    "regressed_route": State(answered(tickets(16)), ("--proofmap-cache=refresh",), before=(*LOCKED, ("regress",))),
    "regressed_route_q": State(
        answered(tickets(16)), ("--proofmap-cache=refresh", "-q"), before=(*LOCKED, ("regress",))
    ),
    "budget": State(answered(tickets(30)), ("--proofmap-budget=0.036", "--proofmap-concurrency=0")),
    "budget_too_small": State(answered(tickets(15)), ("--proofmap-budget=0.004",)),
    "interrupted": State(IN_THE_MIDDLE, ("--proofmap-concurrency=0",)),
    "interrupted_q": State(IN_THE_MIDDLE, ("-q", "--proofmap-concurrency=0")),
    "interrupted_before_the_first_test": State(AT_THE_START),
    "first_failure": State(answered(tickets(5, "nobody 1", "nobody 2")), ("-x", "--tb=no")),
    "selected": State(answered(tickets(15)), ("-k", "t01 or t02")),
    "one_runtime": State(answered(tickets(15)), ("--proofmap-runtimes=gpt",)),
    "shard": State(answered(tickets(15)), ("--proofmap-shard",)),
    "replay_misses": State(answered(tickets(3)), ("--proofmap-cache=replay", "--tb=short")),
    "plan": State(answered(tickets(15)), ("--proofmap-plan",)),
    "plan_after_run": State(answered(tickets(15)), ("--proofmap-plan",), before=(("pytest", "--proofmap", "-q"),)),
    "plan_q": State(answered(tickets(15)), ("--proofmap-plan", "-q")),
    "adaptive": State(
        answered(tickets(60, "wrong 1", "wrong 2", "wrong 3", mark="margin=0.1")),
        ("--proofmap-adaptive", "--proofmap-adaptive-seed=1"),
    ),
    "collection_errors": State(collection_error),
    "artifact_not_written": State(unwritable, ("--proofmap-json=out/evidence.json",)),
    "rerun": State(answered(tickets(15)), before=(("pytest", "--proofmap", "-q"),)),
}


def run(project: SmallProject, state: State) -> pytest.RunResult:
    """Bring a project into a state and return the run that shows it."""
    state.prepare(project)
    for program, *arguments in state.before:
        if program == "pytest":
            project.run(*arguments, proofmap=False)
        elif program == "edit":
            project.write(
                "test_triage.py", (project.folder / "test_triage.py").read_text().replace("no label", "not")
            )
        elif program == "regress":
            project.write("regressed", "")
        else:
            done = project.proofmap(*arguments)
            assert done.ret == 0, done.outlines + done.errlines
    if state.encoding:
        apart = {"PYTHONIOENCODING": state.encoding, "COLUMNS": str(state.columns)}
        return project.run_apart(*state.options, proofmap=state.proofmap, **apart)
    return project.run(*state.options, proofmap=state.proofmap)


HEADER = re.compile(r"(\x1b\[1m)?=+ test session starts|(cachedir|rootdir|configfile|plugins): |platform ")
PLUGIN = re.compile("-p (?:proofmap|xdist) ")
FINGERPRINT = re.compile(r"\b[0-9a-f]{12}\b")
DURATION = re.compile(r"\b\d+\.\d\ds( \(\d:\d\d:\d\d\))?")
COLOURS = {"1": "bold", "31": "red", "32": "green", "33": "yellow", "0": "/"}


def shown(project: SmallProject, state: State, result: pytest.RunResult) -> str:
    """Return what a run printed, without what differs between two runs and two machines."""
    words = ["pytest", *(["--proofmap"] if state.proofmap else []), *state.options]
    lines = [f"$ {' '.join(words)}", ""]
    for line in [*result.outlines, *result.errlines]:
        if HEADER.match(line):
            continue
        line = PLUGIN.sub("", line.replace(str(project.folder), "PROJECT"))
        line = FINGERPRINT.sub("0123456789ab", line)
        if DURATION.search(line):
            # As wide as the time was long.
            line = re.sub("=+", "=====", DURATION.sub("TIME", line))
        lines.append(re.sub(r"\x1b\[([\d;]*)m", _named_colour, line).rstrip())
    status = pytest.ExitCode(result.ret)
    return "\n".join([*lines, "", f"exit status {status.value} ({status.name})", ""])


def _named_colour(found: re.Match[str]) -> str:
    return "<" + ",".join(COLOURS.get(code, code) for code in found[1].split(";")) + ">"


class SteadyClock(threading.local):
    """Stands for the module ``time`` where answers are timed: each takes a quarter of a second."""

    now = 0.0

    def perf_counter(self) -> float:
        """Return a time a quarter of a second after the one before."""
        self.now += 0.25
        return self.now


ASKED_FOR_NO_SUMMARY = {"no_summary", "stale_route_no_summary"}


@pytest.mark.parametrize("name", STATES)
def test_state(project: SmallProject, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A run prints just what the file of its state shows."""
    if name in ASKED_FOR_NO_SUMMARY and int(pytest.__version__.split(".")[0]) < 9:
        pytest.skip("pytest 8 asks nobody for a summary then")
    state = STATES[name]
    monkeypatch.setenv("COLUMNS", str(state.columns))
    monkeypatch.setattr(hooked, "time", SteadyClock())
    text = shown(project, state, run(project, state))
    file = FOLDER / f"{name}.txt"
    if WRITE:
        file.write_text(text, encoding="utf-8")
    assert text.splitlines() == file.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", ["slices", "unmet", "baseline_fails", "unavailable", "regressed_route", "shard"])
def test_state_with_workers(project: SmallProject, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """With workers of pytest-xdist ProofMap's part is the same."""
    state = STATES[name]
    monkeypatch.setenv("COLUMNS", str(state.columns))
    project.plugins.append("xdist")
    with_workers = state._replace(options=(*state.options, "-n2"))
    text = shown(project, with_workers, run(project, with_workers))
    assert _summary(text) == _summary((FOLDER / f"{name}.txt").read_text(encoding="utf-8"))


def _summary(text: str) -> list[str]:
    """Return what ProofMap says, without the latencies of calls that were really made."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if "= proofmap =" in line)
    stop = next(index for index, line in enumerate(lines) if index > start and line.startswith("==="))
    said = [line.replace(" -n2", "") for line in lines[start:stop]]
    first = next((index for index, line in enumerate(said) if line.startswith("runtime ")), 0)
    return said[:first] + said[first + 5 :] if first else said
