"""Calls that a test gives up waiting for: nobody owns the flight that it waits for."""

from __future__ import annotations

import pytest
from fake_provider import FakeProvider
from small_project import SmallProject, echo_hook

CONFIGURATION = """
baseline = "gpt"
challengers = ["mini"]

[runtimes.gpt]
model = "openai/gpt"
api_base = "os.environ/BASE"
timeout_s = 30

[runtimes.mini]
model = "openai/mini"
api_base = "os.environ/BASE"
timeout_s = 30
"""

BODIES = {
    "wait_for": """
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(runtime.acomplete(slow), 0.05)
    return await runtime.acomplete(slow)
""",
    "hedged": """
    hedge = [asyncio.create_task(runtime.acomplete(text)) for text in (slow, quick)]
    done, pending = await asyncio.wait(hedge, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.wait(hedge)
    return await runtime.acomplete(slow)
""",
    "the_same_twice": """
    twice = [asyncio.create_task(runtime.acomplete(slow)) for _ in range(2)]
    await asyncio.sleep(0.05)
    twice[0].cancel()
    return await twice[1]
""",
    "gather": """
    both = asyncio.gather(runtime.acomplete(slow), runtime.acomplete(quick))
    await asyncio.sleep(0.05)
    both.cancel()
    with suppress(asyncio.CancelledError):
        await both
    return await runtime.acomplete(slow)
""",
    "failing_sibling": """
    async def fail():
        await asyncio.sleep(0.05)
        raise LookupError("a sibling fails")
    tasks = [asyncio.create_task(runtime.acomplete(slow)), asyncio.create_task(fail())]
    with suppress(LookupError):
        await tasks[1]
    tasks[0].cancel()
    await asyncio.wait(tasks)
    return await runtime.acomplete(slow)
""",
    "threads": """
    waits = asyncio.create_task(asyncio.to_thread(runtime.complete, slow))
    await asyncio.sleep(0.05)
    waits.cancel()
    return await runtime.acomplete(slow)
""",
}

TEST = """
import asyncio
import pytest
from contextlib import suppress

async def ask(runtime, slow, quick):{body}

@pytest.mark.qualify(min_pass_rate=0.5)
@pytest.mark.parametrize("case", ["a", "b"])
def test_{name}(runtime, case):
    slow, quick = "slow {name} " + case, "quick {name} " + case
    assert asyncio.run(ask(runtime, slow, quick)).text == slow
"""


@pytest.mark.parametrize("prefetch", [(), ("--proofmap-concurrency=0",)], ids=["prefetch", "one-at-a-time"])
def test_a_cancelled_wait_ends_no_call(
    project: SmallProject, fake_provider: FakeProvider, prefetch: tuple[str, ...]
) -> None:
    """The run goes on, each request is sent once, and a sample has the calls whose answers it got."""
    for model in ("gpt", "mini"):
        fake_provider.script(model, text=lambda request: request.prompt, latency_s=0.3)
    project.configure(CONFIGURATION)
    for name, body in BODIES.items():
        project.write(f"test_{name}.py", TEST.format(body=body, name=name))
    result = project.run_apart(*prefetch, BASE=fake_provider.url)
    assert result.ret == 0, str(result.stdout) + str(result.stderr)
    result.assert_outcomes(passed=4 * len(BODIES))
    sent = [(request.model, request.body["messages"][0]["content"]) for request in fake_provider.requests]
    assert len(sent) == len(set(sent))
    for sample in project.evidence().samples:
        assert all(call.error is None and call.text for call in sample.calls)


def test_a_cancelled_wait_for_the_projects_own_client(project: SmallProject) -> None:
    """The hook's answer is kept, and who asks again gets it without asking the client twice."""
    project.write("conftest.py", echo_hook("__import__('time').sleep(0.3)\n    return prompt"))
    project.write("test_hedge.py", TEST.format(body=BODIES["wait_for"], name="hedge"))
    result = project.run_apart("--proofmap-concurrency=0")
    result.assert_outcomes(passed=4)
    expected = [f"{runtime} 0 slow hedge {case}" for runtime in ("gpt", "mini") for case in ("a", "b")]
    assert sorted(project.calls()) == expected
