"""The summary at the end of pytest's output."""

from __future__ import annotations

import shutil

import pytest
from small_project import THREE_CASES, SmallProject, echo_hook

ENOUGH_CASES = """
import pytest

@pytest.mark.parametrize("case", [f"c{index}" for index in range(20)])
@pytest.mark.qualify
def test_echo(runtime, case):
    assert runtime.complete(case).text == case, f"not {case}"
"""


@pytest.fixture
def echoing(project: SmallProject) -> SmallProject:
    """A project whose runtimes answer with the prompt, from recordings."""
    project.write("test_echo.py", ENOUGH_CASES)
    for name in ("gpt", "mini"):
        project.record(name, {f"c{index}": f"c{index}" for index in range(20)})
    return project


def test_summary(echoing: SmallProject) -> None:
    """After a run the summary has calls, verdicts, the recommendation and the next command."""
    result = echoing.run()
    result.assert_outcomes(passed=40)
    result.stdout.fnmatch_lines(
        [
            "=* proofmap =*",
            "40 calls (40 recorded), spent $0, list cost $0.0*",
            "test_echo *20/20*20/20*",
            "mini *cheaper*0.50 s*max 0.50 s (n 20)",
            "echo * mini (then gpt): 11× cheaper, as fast, 0 regressions in 20",
            "These verdicts assume *",
            "next: proofmap report --html .proofmap/evidence.json",
            "=* 40 passed*",
        ]
    )


def test_misses_are_named(project: SmallProject) -> None:
    """A challenger's failing case is named with the assertion's reason."""
    project.write("test_echo.py", ENOUGH_CASES)
    project.record("gpt", {f"c{index}": f"c{index}" for index in range(20)})
    project.record("mini", {f"c{index}": "no" if index == 7 else f"c{index}" for index in range(20)})
    result = project.run("--proofmap-cache=replay")
    result.assert_outcomes(passed=39, xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "mini fails 1 case that the baseline passes (a regression)",
            "  test_echo[[]c7[]]: *not c7*",
            "echo * gpt (baseline kept): *",
        ]
    )


def test_quiet(echoing: SmallProject) -> None:
    """With -q the summary is short."""
    lines = echoing.run("-q").stdout.lines
    start = next(index for index, line in enumerate(lines) if " proofmap " in line)
    assert [line.split()[0] for line in lines[start + 1 :] if line] == ["40", "echo", "40"]


def test_no_summary(echoing: SmallProject) -> None:
    """--no-summary leaves it out, but for what fails the run."""
    echoing.run("--no-summary").stdout.no_fnmatch_line("*= proofmap =*")
    # pytest 8 asks nobody for a summary then.
    if int(pytest.__version__.split(".")[0]) >= 9:
        echoing.write("test_echo.py", ENOUGH_CASES.replace("range(20)", "range(10)"))
        result = echoing.run("--no-summary", "--proofmap-strict")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["=* proofmap =*", "This does not hold (1 finding):"])
        result.stdout.no_fnmatch_line("*calls (*")


def test_silence_without_marked_tests(project: SmallProject) -> None:
    """A run without a marked test prints nothing of ProofMap's."""
    project.write("test_plain.py", "def test_one():\n    pass\n")
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*= proofmap =*")


def test_colour(echoing: SmallProject) -> None:
    """Colour follows pytest's setting."""
    assert "\x1b[32m" in "".join(
        line for line in echoing.run("--color=yes").outlines if "→" in line or "->" in line
    )
    plain = echoing.run("--color=no").outlines
    assert not any("\x1b" in line for line in plain)


def test_ascii_terminal(echoing: SmallProject) -> None:
    """A terminal whose encoding lacks the signs gets their stand-ins."""
    result = echoing.run_apart(PYTHONIOENCODING="ascii")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["test_echo *20/20 83-100 % *+ 20/20 83-100 %", "echo -> mini (then gpt): 11x cheaper*"]
    )


def test_xdist(echoing: SmallProject) -> None:
    """With workers the controller shows one summary, the same."""
    echoing.plugins.append("xdist")
    result = echoing.run("-n2")
    result.assert_outcomes(passed=40)
    assert sum("= proofmap =" in line for line in result.outlines) == 1
    result.stdout.fnmatch_lines(["40 calls (40 recorded)*", "echo * mini (then gpt): *"])


def test_live_answers_can_be_committed(project: SmallProject) -> None:
    """After live calls the command that brings them into the recordings comes first, and works."""
    project.write("test_echo.py", THREE_CASES)
    project.write("conftest.py", echo_hook())
    result = project.run("--proofmap-cache=refresh")
    command = "proofmap cache export recordings/answers.jsonl --evidence .proofmap/evidence.json"
    result.stdout.fnmatch_lines([f"next: {command}"])
    exported = project.proofmap(*command.split()[1:])
    assert exported.ret == 0, exported.outlines + exported.errlines
    project.write("conftest.py", "")
    shutil.rmtree(project.folder / ".proofmap")
    project.run("--proofmap-cache=replay").assert_outcomes(passed=6)
