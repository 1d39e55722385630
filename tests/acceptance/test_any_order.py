"""Whatever is prefetched, in whatever order tests run and answers arrive: a run is a plain run, only faster."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_project import SmallProject

CONFTEST = """
import time
from pathlib import Path

import pytest

ORDER = {order!r}
DELAYS = {delays!r}
HERE = Path(__file__).parent
HAS_PAID = []

def note(text):
    with (HERE / "events.txt").open("a") as file:
        file.write(text + "\\n")

def pytest_proofmap_call(runtime, request):
    prompt = request.messages[-1]["content"]
    with (HERE / "calls.txt").open("a") as file:
        file.write(f"{{runtime}} {{request.sample}} {{prompt}}\\n")
    # Answers come in another order than they were asked for.
    time.sleep(DELAYS[sum(map(ord, runtime + prompt)) % len(DELAYS)] / 1000)
    return prompt

def pytest_runtestloop(session):
    # The tests come as a scheduler of pytest-xdist may hand them out: in parts, in an order of its own.
    parts = {{}}
    for item in session.items:
        parts.setdefault(item.nodeid.rpartition("::")[0] if {by_scope!r} else item.nodeid, []).append(item)
    names = sorted(parts, key=lambda name: ORDER[sum(map(ord, name)) % len(ORDER)])
    items = [item for name in names for item in parts[name]]
    for number, item in enumerate(items):
        following = items[number + 1] if number + 1 < len(items) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    return True

@pytest.fixture(scope="session")
def of_session():
    note("up session")
    yield "s"
    note("down session")
"""

FIXTURE = """
@pytest.fixture(scope="{scope}"{params})
def wide(request):
    note(f"up {{request.node.nodeid}} {{getattr(request, 'param', '')}}")
    yield getattr(request, "param", "w")
    note(f"down {{request.node.nodeid}} {{getattr(request, 'param', '')}}")
"""

BODIES = {
    "passes": "assert reply.text",
    "fails": "assert reply.text == 'never'",
    "skips": "pytest.skip('now')",
    "breaks": "raise OSError('of the test')",
}

modules = st.lists(
    st.fixed_dictionaries(
        {
            "scope": st.sampled_from([None, "class", "module", "session"]),
            "params": st.sampled_from([(), ("p", "q")]),
            "in_class": st.booleans(),
            "turns": st.integers(1, 3),
            "end": st.sampled_from(sorted(BODIES)),
            "cases": st.integers(1, 3),
        }
    ),
    min_size=1,
    max_size=3,
)


def module(number: int, of: dict[str, object]) -> str:
    """Return the text of a test module."""
    wide = "wide, " if of["scope"] else ""
    told = " + wide" if of["scope"] else ""
    params = f", params={list(of['params'])!r}" if of["params"] else ""  # type: ignore[call-overload]  # a tuple
    fixture = FIXTURE.format(scope=of["scope"], params=params) if of["scope"] else ""
    body = f"""
    messages = [{{"role": "user", "content": f"{{case}} of {number}"{told}}}]
    for _ in range({of["turns"]}):
        reply = runtime.complete(messages)
        messages += [reply.message, {{"role": "user", "content": reply.text + "."}}]
    {BODIES[str(of["end"])]}
"""
    test = f"def test_it(SELF{wide}runtime, case, of_session):{body}"
    if of["in_class"]:
        test = "class TestIt:\n" + "".join(f"    {line}\n" for line in test.replace("SELF", "self, ").splitlines())
    marks = (
        f"@pytest.mark.qualify(objective='o{number}', baseline_must_pass=False)\n"
        f"@pytest.mark.parametrize('case', range({of['cases']}))\n"
    )
    plain = "\ndef test_plain():\n    pass\n"
    return f"import pytest\nfrom conftest import note\n{fixture}\n{marks}{test.replace('SELF', '')}\n{plain}"


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    described=modules,
    order=st.permutations(range(5)),
    delays=st.lists(st.integers(0, 8), min_size=3, max_size=3),
    by_scope=st.booleans(),
)
def test_any_run_is_a_plain_run(
    project: SmallProject, described: list[dict[str, object]], order: list[int], delays: list[int], by_scope: bool
) -> None:
    """Outcomes, requests and set-ups of a cold and a cached run are those of a plain run, as far as promised."""
    example = next(EXAMPLES)
    folder = project.folder / f"example{example}"
    inner = SmallProject(folder, project.pytester)
    conftest = CONFTEST.format(order=order, delays=delays, by_scope=by_scope)
    inner.write("conftest.py", conftest)
    for number, of in enumerate(described):
        inner.write(f"test_it{number}.py", module(number, of))

    def observe(*arguments: str) -> tuple[dict[str, int], object, Counter[str], Counter[str]]:
        result = inner.run("-p", "no:cacheprovider", f"--rootdir={folder}", *arguments, str(folder))
        assert "rror while" not in result.stdout.str()
        calls = Counter(inner.calls())
        events = Counter((folder / "events.txt").read_text(encoding="utf-8").splitlines())
        for name in ("calls.txt", "events.txt"):
            (folder / name).unlink(missing_ok=True)
        samples = {(each.criterion, each.case, each.runtime): each.outcome for each in inner.evidence().samples}
        return result.parseoutcomes(), samples, calls, events

    outcomes, evidence, calls, events = observe("--proofmap-concurrency=0", "--proofmap-cache=off")
    for cached in (False, True):
        seen = observe()
        assert seen[:2] == (outcomes, evidence)
        assert seen[2] == (Counter() if cached else Counter(dict.fromkeys(calls, 1)))
        assert set(seen[3]) == set(events)
        for event, times in seen[3].items():
            if "[" in event:
                continue  # Outside of a class a fixture of a class lives as long as its test.
            session_wide = "test_it" not in event
            most = events[event] if session_wide else events[event] + 1
            assert times <= most, (event, times, events[event])
        ups = Counter({event[3:]: times for event, times in seen[3].items() if event.startswith("up ")})
        assert ups == Counter({event[5:]: times for event, times in seen[3].items() if event.startswith("down ")})


EXAMPLES = itertools.count()
