"""Async tests with pytest-asyncio, and tests with subtests, with and without xdist."""

from __future__ import annotations

import pytest
from small_project import SmallProject, echo_hook

pytest.importorskip("pytest_asyncio")

TESTS = """
import asyncio
import pytest

pytestmark = pytest.mark.qualify(objective="all")

@pytest.mark.asyncio
async def test_acomplete(runtime):
    reply = await runtime.acomplete("one")
    assert reply.text == "one"

@pytest.mark.asyncio
async def test_arun(runtime):
    reply = await runtime.arun("echo", word="two")
    assert reply.text == "two"

@pytest.mark.asyncio
async def test_gather(runtime):
    replies = await asyncio.gather(*(runtime.acomplete(f"g{n}") for n in range(5)))
    assert [reply.text for reply in replies] == [f"g{n}" for n in range(5)]

@pytest.mark.asyncio
async def test_async_miss(runtime):
    reply = await runtime.acomplete("miss")
    assert reply.text == "miss"

@pytest.mark.asyncio
async def test_async_error(runtime):
    await runtime.acomplete("down")

class TestAsync:
    @pytest.mark.asyncio
    async def test_conversation(self, runtime, runtimes):
        first = await runtime.acomplete([{"role": "user", "content": "hello"}])
        second = await runtime.acomplete(
            [{"role": "user", "content": "hello"}, first.message, {"role": "user", "content": "bye"}]
        )
        verdict = await runtimes["judge"].acomplete(f"judge {second.text}")
        assert (first.text, second.text, verdict.text) == ("hello", "bye", "judge bye")

@pytest.mark.asyncio
async def test_sync_call_in_async_test(runtime):
    assert runtime.complete("three").text == "three"
"""

SUBTESTS = """
import pytest

pytestmark = pytest.mark.qualify(objective="all")

def test_subtests_pass(runtime, subtests):
    for word in ("a", "b"):
        with subtests.test(word=word):
            assert runtime.complete(word).text == word

def test_subtests_miss(runtime, subtests):
    for word in ("a", "miss", "b"):
        with subtests.test(word=word):
            assert runtime.complete(word).text == word

def test_subtests_error(runtime, subtests):
    for word in ("a", "down"):
        with subtests.test(word=word):
            assert runtime.complete(word).text == word

def test_subtests_strict(runtime, subtests):
    with subtests.test():
        assert runtime.complete("a").text == "b"
"""

HOOK = echo_hook(
    """
    if prompt == "down" and runtime == "mini":
        raise ConnectionError("no route to host")
    return "wrong" if prompt == "miss" and runtime == "mini" else prompt
"""
)


@pytest.fixture(scope="module", params=["one process", "xdist"])
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SmallProject, pytest.RunResult]:
    """All the tests, run once in one process and once by two workers."""
    project = SmallProject(tmp_path_factory.mktemp("async"))
    configuration = (project.folder / "proofmap.toml").read_text()
    project.configure(configuration + '\n[runtimes.judge]\nmodel = "openai/judge"\n')
    project.write("pytest.ini", "[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    project.write("test_async.py", TESTS)
    if hasattr(pytest, "Subtests"):
        project.write("test_sub.py", SUBTESTS)
    project.write("prompts/echo.prompt", "{{ word }}")
    project.write("conftest.py", HOOK)
    project.plugins += ["asyncio"]
    arguments = ["-W", "error"]
    if request.param == "xdist":
        project.plugins += ["xdist"]
        arguments += ["-n", "2"]
    result = project.run_apart("-v", *arguments)
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    return project, result


def outcomes_of(project: SmallProject, name: str) -> dict[str, str]:
    """Return a criterion's outcomes by runtime."""
    return {
        sample.runtime: sample.outcome
        for sample in project.evidence().samples
        if sample.criterion.endswith(f"::{name}")
    }


@pytest.mark.parametrize(
    ("name", "mini"),
    [
        ("test_acomplete", "passed"),
        ("test_arun", "passed"),
        ("test_gather", "passed"),
        ("test_async_miss", "failed"),
        ("test_async_error", "error"),
        ("test_conversation", "passed"),
        ("test_sync_call_in_async_test", "passed"),
    ],
)
def test_async_outcomes(finished: tuple[SmallProject, pytest.RunResult], name: str, mini: str) -> None:
    """Async tests have the same outcomes as plain ones."""
    assert outcomes_of(finished[0], name) == {"gpt": "passed", "mini": mini}


def test_gathered_calls_are_all_recorded(finished: tuple[SmallProject, pytest.RunResult]) -> None:
    """Calls that a test gathers are each in the evidence, and its latency counts them as one round."""
    sample = next(
        each
        for each in finished[0].evidence().samples
        if each.criterion.endswith("::test_gather") and each.runtime == "mini"
    )
    assert sorted(call.text for call in sample.calls) == [f"g{n}" for n in range(5)]
    latencies = [call.latency_s for call in sample.calls if call.latency_s is not None]
    assert sample.latency_s == max(latencies)


def test_a_judges_calls_are_kept_apart(finished: tuple[SmallProject, pytest.RunResult]) -> None:
    """The calls of an auxiliary runtime carry its name and do not count as the sample's latency."""
    sample = next(each for each in finished[0].evidence().samples if each.criterion.endswith("test_conversation"))
    assert [call.runtime for call in sample.calls] == [None, None, "judge"]
    assert sample.latency_s == sum(call.latency_s or 0.0 for call in sample.calls[:2])


needs_subtests = pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="subtests came with pytest 9")


@needs_subtests
@pytest.mark.parametrize(
    ("name", "gpt", "mini"),
    [
        ("test_subtests_pass", "passed", "passed"),
        ("test_subtests_miss", "passed", "failed"),
        ("test_subtests_error", "passed", "error"),
        ("test_subtests_strict", "failed", "failed"),
    ],
)
def test_subtest_outcomes(finished: tuple[SmallProject, pytest.RunResult], name: str, gpt: str, mini: str) -> None:
    """A sample fails when one of its subtests does, and each sample counts once."""
    assert outcomes_of(finished[0], name) == {"gpt": gpt, "mini": mini}
    samples = [each for each in finished[0].evidence().samples if each.criterion.endswith(f"::{name}")]
    assert len(samples) == 2


def test_only_the_baselines_misses_fail_the_build(finished: tuple[SmallProject, pytest.RunResult]) -> None:
    """A challenger's failing test or subtest is shown as such and fails nothing."""
    _, result = finished
    text = result.stdout.str()
    assert "FAILED test_async.py" not in text
    failed = [line for line in result.outlines if "FAILED" in line and "[mini]" in line]
    assert failed == []
    if hasattr(pytest, "Subtests"):
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert "test_sub.py::test_subtests_strict[gpt]" in text


@needs_subtests
def test_the_message_is_that_of_the_first_failing_subtest(
    finished: tuple[SmallProject, pytest.RunResult],
) -> None:
    """The reason of a sample that failed in a subtest is that subtest's assertion."""
    sample = next(
        each
        for each in finished[0].evidence().samples
        if each.criterion.endswith("::test_subtests_miss") and each.runtime == "mini"
    )
    assert sample.message == "assert 'wrong' == 'miss'"
    assert [call.text for call in sample.calls] == ["a", "wrong", "b"]
