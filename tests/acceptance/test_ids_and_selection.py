"""How samples are named, and how they are chosen on the command line."""

from __future__ import annotations

import pytest
from small_project import THREE_CASES, SmallProject


@pytest.fixture
def triage(project: SmallProject) -> SmallProject:
    """A project with three cases that both runtimes pass."""
    project.write("test_triage.py", THREE_CASES)
    for sample in (0, 1):
        for runtime in ("gpt", "mini"):
            project.record(runtime, {case: case for case in "abc"}, sample=sample)
    return project


def collected(project: SmallProject, *arguments: str) -> list[str]:
    """Return the ids that pytest collects."""
    result = project.run("--collect-only", "-q", *arguments)
    return [line.partition("::")[2] for line in result.outlines if "::" in line and "[" in line]


def test_the_runtime_is_last_in_the_id(triage: SmallProject) -> None:
    """A sample's id ends with the runtime's name, the baseline first."""
    assert collected(triage) == [f"test_echo[{case}-{name}]" for case in "abc" for name in ("gpt", "mini")]


def test_several_samples_are_numbered(triage: SmallProject) -> None:
    """With more than one sample the id also ends with the sample's index."""
    ids = collected(triage, "--proofmap-samples=2", "-k", "a-")
    assert ids == ["test_echo[a-gpt-s0]", "test_echo[a-gpt-s1]", "test_echo[a-mini-s0]", "test_echo[a-mini-s1]"]


def test_a_test_without_cases_is_named_by_its_runtimes(triage: SmallProject) -> None:
    """A criterion that is not parametrized has one case, the empty one."""
    triage.write(
        "test_triage.py",
        """
        import pytest

        @pytest.mark.qualify
        def test_once(runtime):
            assert runtime.complete("a").text == "a"
        """.replace("\n        ", "\n"),
    )
    triage.run().assert_outcomes(passed=2)
    assert triage.criterion("test_once").collected == [""]
    assert triage.outcomes() == {("", "gpt"): "passed", ("", "mini"): "passed"}


def test_the_runtime_stays_last_beside_parametrized_fixtures_and_marks(triage: SmallProject) -> None:
    """Fixtures, class and module marks and hooks that parametrize come before the runtime."""
    triage.write(
        "test_triage.py",
        """
import pytest

pytestmark = pytest.mark.parametrize("language", ["fr", "de"])

@pytest.fixture(params=["x", "y"])
def letter(request):
    return request.param

@pytest.mark.parametrize("tone", ["kind"])
class TestEcho:
    @pytest.mark.qualify(calls="optional")
    def test_echo(self, runtime, letter, language, tone, hooked):
        pass
""",
    )
    triage.write(
        "conftest.py",
        """
def pytest_generate_tests(metafunc):
    if "hooked" in metafunc.fixturenames:
        metafunc.parametrize("hooked", [1])
""",
    )
    ids = collected(triage, "-k", "fr")
    assert len(ids) == 4
    assert all(name.endswith(("-gpt]", "-mini]")) for name in ids)
    triage.run().assert_outcomes(passed=8)
    criterion = triage.criterion("test_echo")
    assert criterion.id == "test_triage.py::TestEcho::test_echo"
    assert len(criterion.collected) == 4


def test_k_selects_by_runtime(triage: SmallProject) -> None:
    """``-k`` selects samples by the runtime's name; what was collected is known whole all the same."""
    result = triage.run("-k", "mini and not b-")
    result.assert_outcomes(passed=2, deselected=4)
    assert triage.criterion("test_echo").collected == ["a", "b", "c"]
    assert set(triage.outcomes()) == {("a", "mini"), ("c", "mini")}


def test_a_node_id_selects_one_sample(triage: SmallProject) -> None:
    """One sample can be run by its id."""
    triage.run("test_triage.py::test_echo[b-mini]").assert_outcomes(passed=1)
    assert triage.outcomes() == {("b", "mini"): "passed"}


def test_runtimes_option_leaves_the_others_out(triage: SmallProject) -> None:
    """``--proofmap-runtimes`` runs the named runtimes only."""
    triage.run("--proofmap-runtimes=mini").assert_outcomes(passed=3)
    assert {runtime for _, runtime in triage.outcomes()} == {"mini"}


def test_several_runtimes_can_be_named(triage: SmallProject) -> None:
    """``--proofmap-runtimes`` takes names separated by commas, with or without spaces."""
    triage.run("--proofmap-runtimes=mini, gpt").assert_outcomes(passed=6)


def test_a_runtime_that_no_test_uses_runs_nothing(triage: SmallProject) -> None:
    """Restricting the run to a runtime that no mark names runs nothing and says so in the evidence."""
    triage.configure((triage.folder / "proofmap.toml").read_text() + '\n[runtimes.judge]\nmodel = "openai/j"\n')
    result = triage.run("--proofmap-runtimes=judge")
    assert result.ret != pytest.ExitCode.INTERNAL_ERROR
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


def test_an_option_overrides_the_mark(triage: SmallProject) -> None:
    """``--proofmap-samples`` overrides what the mark says."""
    triage.write("test_triage.py", THREE_CASES.replace(".qualify", ".qualify(samples=3)"))
    triage.run("--proofmap-samples=2").assert_outcomes(passed=12)
    assert triage.criterion("test_echo").bar.samples == 2


def test_last_failed_reruns_the_baseline_misses(triage: SmallProject) -> None:
    """``--lf`` runs again what failed the build, and a challenger's miss did not."""
    triage.write("test_triage.py", THREE_CASES.replace("== case", '== "b"'))
    triage.run().assert_outcomes(passed=2, failed=2, xfailed=2)
    result = triage.run("--lf")
    result.assert_outcomes(failed=2)


def test_exit_first_stops_at_the_baseline_only(triage: SmallProject) -> None:
    """``-x`` stops at what fails the build: a baseline's miss, never a challenger's."""
    triage.record("mini", {"z": "wrong"})
    triage.write("test_triage.py", THREE_CASES.replace("== case", '== case or runtime.name == "gpt"').strip())
    triage.run("-x").assert_outcomes(passed=6)
    triage.write(
        "test_triage.py", THREE_CASES.replace("== case", '== case and (runtime.name, case) != ("gpt", "b")')
    )
    result = triage.run("-x")
    result.assert_outcomes(passed=2, failed=1)
    assert not triage.evidence().run.complete
