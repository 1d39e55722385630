"""pytest's own options, and how Python was started, change nothing about the evidence."""

from __future__ import annotations

from typing import Any

import pytest
from everyday_project import PLAIN_SUMMARY, EverydayProject, decisions

OPTIONS = [
    "-W error",
    "-p no:cacheprovider",
    "-p no:capture",
    "-p no:logging",
    "-p no:tmpdir",
    "-p no:warnings",
    "-q",
    "-vv --full-trace",
    "--capture=tee-sys",
    "--doctest-modules",
    "--ff",
    "--junitxml=junit.xml",
    "--lf",
    "--maxfail=1",
    "--setup-show",
    "--strict-markers --strict-config",
    "--sw",
]

ENVIRONMENTS = {
    "hash seed 0": {"PYTHONHASHSEED": "0"},
    "hash seed 1": {"PYTHONHASHSEED": "1"},
    "no UTF-8": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "development mode": {"PYTHONDEVMODE": "1"},
    "encoding warnings": {"PYTHONWARNDEFAULTENCODING": "1", "PYTHONWARNINGS": "error::EncodingWarning"},
    "time zone": {"TZ": "Asia/Tokyo"},
    "safe path": {"PYTHONSAFEPATH": "1"},
}


@pytest.mark.parametrize("options", OPTIONS)
def test_options(everyday: EverydayProject, plain_facts: dict[str, Any], options: str) -> None:
    """The evidence under an option is that of a plain run."""
    everyday.run_apart(*options.split()).assert_outcomes(**PLAIN_SUMMARY)
    assert everyday.facts() == plain_facts


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(everyday: EverydayProject, plain_facts: dict[str, Any], name: str) -> None:
    """Fingerprints, keys and decisions depend neither on hashing nor on the locale."""
    everyday.python("-m", "pytest", "-p", "proofmap", "--proofmap", **ENVIRONMENTS[name]).assert_outcomes(
        **PLAIN_SUMMARY
    )
    assert everyday.facts() == plain_facts


def test_no_terminal(everyday: EverydayProject, plain_facts: dict[str, Any]) -> None:
    """Where pytest prints nothing, the evidence is written all the same."""
    assert everyday.run_apart("-p", "no:terminal").ret == pytest.ExitCode.OK
    assert everyday.facts() == plain_facts


@pytest.mark.parametrize("options", ["--assert=plain", "-p no:assertion"])
def test_plain_assertions(everyday: EverydayProject, plain_facts: dict[str, Any], options: str) -> None:
    """Without pytest's rewriting a failed assertion has no words, and decides the same."""
    everyday.run_apart(*options.split()).assert_outcomes(**PLAIN_SUMMARY)
    assert decisions(everyday.facts()) == decisions(plain_facts)


def test_deselected_tests(everyday: EverydayProject) -> None:
    """Deselecting one sample leaves the evidence incomplete; deselecting other tests does not."""
    everyday.run_apart("--deselect=tests/test_everyday.py::test_unmarked")
    assert everyday.evidence().run.complete
    everyday.run_apart("--deselect=tests/test_everyday.py::TestTone::test_greets[Ann-mini]")
    assert not everyday.evidence().run.complete


def test_last_failed(everyday: EverydayProject) -> None:
    """--lf after a failure of an ordinary test leaves marked tests out, and the evidence says so."""
    everyday.write("tests/test_other.py", "def test_fails():\n    assert False\n")
    everyday.run_apart().assert_outcomes(passed=11, xfailed=2, failed=1)
    everyday.run_apart("--lf").assert_outcomes(failed=1)
    everyday.run_apart("--ff").assert_outcomes(passed=11, xfailed=2, failed=1)
    assert everyday.evidence().run.complete


def test_stepwise_and_maxfail(everyday: EverydayProject) -> None:
    """A run that stops at its first failure leaves incomplete evidence; a challenger's miss stops nothing."""
    everyday.write("tests/test_another.py", "def test_fails():\n    assert False\n")
    for option in ("--sw", "--maxfail=1"):
        result = everyday.run_apart(option, "tests/test_another.py", "tests/test_everyday.py")
        result.assert_outcomes(failed=1)
    everyday.run_apart("--maxfail=1", "tests/test_everyday.py").assert_outcomes(**PLAIN_SUMMARY)


@pytest.mark.parametrize("level", ["1", "2"])
def test_without_assert_statements(everyday: EverydayProject, level: str) -> None:
    """Python -O is refused: tests whose assert statements are removed pass on every runtime."""
    result = everyday.run_apart(PYTHONOPTIMIZE=level)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: Python runs with -O or PYTHONOPTIMIZE, which removes assert statements*"])
    everyday.run_apart(proofmap=False, PYTHONOPTIMIZE=level).assert_outcomes(passed=1, skipped=6, warnings=1)
