"""Plugins that run tests again, repeat them or fork for them are refused on marked tests, and only there."""

from __future__ import annotations

import pytest
from everyday_project import SKIPPED_SUMMARY, EverydayProject, needs

AGAIN = "would run qualified tests again until they pass"
REPEAT = "would make several cases of each one"


@pytest.mark.parametrize(
    ("distribution", "plugin", "argument", "words"),
    [
        ("pytest-rerunfailures", "rerunfailures", "--reruns=2", f"--reruns {AGAIN}"),
        ("pytest-retry", "pytest-retry", "--retries=2", f"--retries {AGAIN}"),
        ("flaky", "flaky", "--force-flaky", f"--force-flaky {AGAIN}"),
        ("pytest-repeat", "repeat", "--count=2", f"--count {REPEAT}"),
        ("pytest-flakefinder", "flakefinder", "--flake-finder", f"--flake-finder {REPEAT}"),
        ("pytest-forked", "pytest_forked", "--forked", "--forked would run each qualified test in a process"),
    ],
)
def test_refused_options(
    everyday: EverydayProject, distribution: str, plugin: str, argument: str, words: str
) -> None:
    """The option is refused before anything is called, and the message says what to do."""
    needs(distribution)
    everyday.plugins.append(plugin)
    result = everyday.run_apart(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in result.stderr.str()
    assert "Leave it out with --proofmap" in result.stderr.str()
    assert not everyday.artifact.exists()


@pytest.mark.parametrize(
    ("distribution", "plugin", "line", "words"),
    [
        ("pytest-rerunfailures", "rerunfailures", "@pytest.mark.flaky(reruns=2)", "the mark 'flaky' would run"),
        ("pytest-retry", "pytest-retry", "@pytest.mark.flaky(retries=2)", "the mark 'flaky' would run"),
        ("flaky", "flaky", "@__import__('flaky').flaky(max_runs=3)", "the decorator 'flaky' would run"),
        ("pytest-repeat", "repeat", "@pytest.mark.repeat(2)", "the mark 'repeat' would make several cases"),
        ("pytest-forked", "pytest_forked", "@pytest.mark.forked", "the mark 'forked' would run"),
    ],
)
def test_refused_marks(everyday: EverydayProject, distribution: str, plugin: str, line: str, words: str) -> None:
    """The mark is refused, and the test that has it is named."""
    needs(distribution)
    everyday.plugins.append(plugin)
    path = everyday.folder / "tests/test_everyday.py"
    path.write_text(path.read_text().replace("    @pytest.mark.qualify", f"    {line}\n    @pytest.mark.qualify"))
    result = everyday.run_apart()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in result.stderr.str()
    assert "tests/test_everyday.py::TestTone::test_greets[" in result.stderr.str()


@pytest.mark.parametrize(
    ("distribution", "plugin", "argument", "counted"),
    [
        ("pytest-rerunfailures", "rerunfailures", "--reruns=2", 1),
        ("flaky", "flaky", "--force-flaky", 1),
        ("pytest-retry", "pytest-retry", "--retries=2", 1),
        ("pytest-repeat", "repeat", "--count=2", 2),
    ],
)
def test_ordinary_runs_are_left_alone(
    everyday: EverydayProject, distribution: str, plugin: str, argument: str, counted: int
) -> None:
    """Without --proofmap marked tests are skipped, and the plugin does to the others what it is there for."""
    needs(distribution)
    everyday.plugins.append(plugin)
    result = everyday.run_apart(argument, proofmap=False)
    result.assert_outcomes(**{name: count * counted for name, count in SKIPPED_SUMMARY.items()})


def test_marks_and_options_of_the_same_name(everyday: EverydayProject) -> None:
    """A project's own --count and mark 'repeat' are its own business."""
    everyday.write(
        "conftest.py",
        'def pytest_addoption(parser):\n    parser.addoption("--count", type=int, default=5)\n\n\n'
        'def pytest_configure(config):\n    config.addinivalue_line("markers", "repeat: say it twice")\n',
    )
    path = everyday.folder / "tests/test_everyday.py"
    path.write_text(
        path.read_text().replace("    @pytest.mark.qualify", "    @pytest.mark.repeat\n    @pytest.mark.qualify")
    )
    assert everyday.run_apart().ret == pytest.ExitCode.OK
