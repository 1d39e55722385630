"""The command-line options and how a wrong value is refused."""

from __future__ import annotations

import pytest
from small_project import THREE_CASES, SmallProject


@pytest.fixture
def triage(project: SmallProject) -> SmallProject:
    """A project with three cases."""
    project.write("test_triage.py", THREE_CASES)
    return project


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--proofmap-runtimes=", "'' names no runtime"),
        ("--proofmap-runtimes=,", "',' names no runtime"),
        ("--proofmap-runtimes=gtp", "unknown runtime 'gtp'. Did you mean 'gpt'?"),
        ("--proofmap-samples=0", "'0' is not a whole number of at least 1"),
        ("--proofmap-samples=-1", "'-1' is not a whole number of at least 1"),
        ("--proofmap-samples=two", "'two' is not a whole number of at least 1"),
        ("--proofmap-cache=never", "invalid choice: 'never'"),
        ("--proofmap-concurrency=-1", "'-1' is not a whole number of at least 0"),
        ("--proofmap-concurrency=1.5", "'1.5' is not a whole number of at least 0"),
        ("--proofmap-budget=0", "'0' is not an amount in USD above 0"),
        ("--proofmap-budget=-2", "'-2' is not an amount in USD above 0"),
        ("--proofmap-budget=nan", "'nan' is not an amount in USD above 0"),
        ("--proofmap-budget=inf", "'inf' is not an amount in USD above 0"),
        ("--proofmap-budget=much", "'much' is not an amount in USD above 0"),
    ],
)
def test_a_wrong_value_is_a_usage_error(triage: SmallProject, option: str, words: str) -> None:
    """Each wrong value is a usage error that names the option and the value."""
    result = triage.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join(result.stderr.str().split())
    assert option.partition("=")[0] in text
    assert words in text
    assert "Traceback" not in text


@pytest.mark.parametrize("option", ["--proofmap-sample=2", "--proofmap-nothing"])
def test_an_unknown_option_is_refused(triage: SmallProject, option: str) -> None:
    """A misspelt option is not taken for another one."""
    assert triage.run(option).ret == pytest.ExitCode.USAGE_ERROR


def test_all_options_are_in_one_group_of_the_help(triage: SmallProject) -> None:
    """``--help`` shows the options together, each with an explanation."""
    text = triage.run("--help").stdout.str()
    group = text[text.index("ProofMap:") :]
    for option in ("", "-runtimes", "-samples", "-cache", "-concurrency", "-budget", "-json", "-strict"):
        assert f"  --proofmap{option}" in group


@pytest.mark.parametrize("concurrency", ["0", "1", "64"])
def test_any_concurrency_gives_the_same_outcomes(triage: SmallProject, concurrency: str) -> None:
    """With ``--proofmap-concurrency=0`` one call is made at a time, and nothing else changes."""
    triage.write(
        "conftest.py", "def pytest_proofmap_call(runtime, request):\n    return request.messages[0]['content']\n"
    )
    triage.run(f"--proofmap-concurrency={concurrency}").assert_outcomes(passed=6)
