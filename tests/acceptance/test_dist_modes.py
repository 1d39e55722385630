"""A run on workers of pytest-xdist is a plain run, in every mode of handing out tests, cold and from the cache."""

from __future__ import annotations

from collections import Counter

import pytest
from fake_provider import FakeProvider
from small_project import CONFIGURATION, SmallProject, echo_hook

MODULE = """
import pytest

@pytest.fixture(scope="module")
def of_module(request):
    note("module up " + request.module.__name__)
    yield request.module.__name__
    note("module down " + request.module.__name__)

@pytest.fixture(scope="class")
def of_class(request):
    note("class up " + request.node.nodeid)
    yield
    note("class down " + request.node.nodeid)

@pytest.mark.qualify
def test_plain(runtime):
    assert runtime.complete("plain " + __name__).text

@pytest.mark.parametrize("case", ["a", "wrong"])
@pytest.mark.qualify
class TestIt:
    def test_turns(self, runtime, case, of_module, of_class, per_module):
        assert per_module == of_module
        first = runtime.complete(case + of_module).text
        assert runtime.complete(first + "!").text == "a" + of_module + "!"

@pytest.mark.qualify
class TestOther:
    def test_skipped(self, runtime):
        pytest.skip("not now")

def test_unmarked(of_module):
    pass
"""

CONFTEST = """
import os
import pytest
from pathlib import Path

def note(text):
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    with (Path(__file__).parent / "events.txt").open("a") as file:
        file.write(f"{worker} {text}\\n")

@pytest.fixture(scope="session", autouse=True)
def of_session():
    note("session up")
    yield
    note("session down")

@pytest.fixture(scope="module")
def per_module(request):
    return request.module.__name__
"""


def write(project: SmallProject, modules: int) -> None:
    """Write a project of several modules with classes, wider fixtures and each kind of outcome."""
    project.write("conftest.py", echo_hook() + CONFTEST)
    for number in range(modules):
        text = "from conftest import note\n" + MODULE
        project.write(f"test_it{number}.py", text.replace("@pytest.mark.qualify", MARK.replace("N", str(number))))


MARK = "@pytest.mark.qualify(objective='oN', baseline_must_pass=False)"


def events(project: SmallProject) -> Counter[str]:
    """Return how often each worker noted each event, and forget them."""
    file = project.folder / "events.txt"
    seen = Counter(file.read_text(encoding="utf-8").splitlines())
    file.unlink()
    return seen


def outcomes(project: SmallProject) -> dict[tuple[str, str, str], str]:
    """Return the outcome of each sample by criterion, case and runtime."""
    samples = project.evidence().samples
    return {(sample.criterion, sample.case, sample.runtime): sample.outcome for sample in samples}


@pytest.mark.parametrize("mode", ["load", "loadfile", "loadscope", "worksteal"])
@pytest.mark.parametrize(
    "modules", [pytest.param(1, marks=pytest.mark.nightly), 2, pytest.param(12, marks=pytest.mark.nightly)]
)
def test_every_mode_is_a_plain_run(project: SmallProject, mode: str, modules: int) -> None:
    """Outcomes, evidence and requests are those of a plain run, and fixtures are set up as often as promised."""
    pytest.importorskip("xdist")
    project.plugins.append("xdist")
    write(project, modules)
    plain = project.run("-p", "no:cacheprovider", "--proofmap-concurrency=0", "--proofmap-cache=off")
    plain.assert_outcomes(passed=5 * modules, skipped=2 * modules, xfailed=2 * modules)
    expected, asked = outcomes(project), set(project.calls())
    events(project)
    (project.folder / "calls.txt").unlink()

    for _ in ("cold", "cached"):
        result = project.run_apart("-p", "no:cacheprovider", "-n", "2", f"--dist={mode}")
        result.assert_outcomes(passed=5 * modules, skipped=2 * modules, xfailed=2 * modules)
        assert project.evidence().run.complete
        assert outcomes(project) == expected
        assert Counter(project.calls()) == Counter(asked)
        seen = events(project)
        for event, times in seen.items():
            # A worker may come back to a module or a class that is not handed out to it whole.
            whole = {"loadfile": ("module", "class"), "loadscope": ("class",)}.get(mode, ())
            most = 1 if "session" in event else 2 if any(scope in event for scope in whole) else 3
            assert times <= most, (event, times)
            if " up" in event:
                assert seen[event.replace(" up", " down")] == times, event


CONVERSATION = """
import pytest
from conftest import note

SHARED = []

@pytest.fixture(scope="module")
def wide():
    note("module up " + __name__)
    assert not SHARED
    SHARED.append(__name__)
    yield __name__
    SHARED.clear()
    note("module down " + __name__)

@pytest.mark.qualify
class TestTalk:
    @pytest.fixture(scope="class")
    def of_class(self, wide):
        note("class up " + __name__)
        yield wide
        note("class down " + __name__)

    @pytest.mark.parametrize("case", list("abc"))
    def test_turns(self, runtime, of_class, wide, case):
        text = f"{case} {of_class} {SHARED}"
        for turn in range(3):
            text = runtime.complete(f"{turn} of {text}").text
        assert text == f"2 of 1 of 0 of {case} {__name__} ['{__name__}']"
"""


@pytest.mark.parametrize("mode", ["load", "loadscope", "loadfile"])
def test_kept_fixtures_of_workers_send_each_request_once(
    project: SmallProject, fake_provider: FakeProvider, mode: str
) -> None:
    """Conversations of modules whose fixtures wait side by side, counted by who answers them on the wire."""
    pytest.importorskip("xdist")
    project.plugins.append("xdist")
    endpoint = f'"\napi_base = "{fake_provider.url}"\nparams = {{ api_key = "os.environ/FAKE_KEY" }}\nprice'
    project.configure(CONFIGURATION.replace('"\nprice', endpoint))
    for model in ("gpt", "mini"):
        fake_provider.script(model, text=lambda request: request.prompt, latency_s=0.05)
    project.write("conftest.py", CONFTEST)
    for number in range(6):
        project.write(f"test_it{number}.py", CONVERSATION)
    result = project.run_apart("-p", "no:cacheprovider", "-n", "2", f"--dist={mode}", FAKE_KEY="local")
    result.assert_outcomes(passed=6 * 3 * 2)
    sent = Counter(
        (model, request.prompt) for model in ("gpt", "mini") for request in fake_provider.received(model)
    )
    assert set(sent.values()) == {1}
    assert len(sent) == 6 * 3 * 2 * 3
    seen = events(project)
    for event, times in seen.items():
        # Once more than in a plain run; with "load" a worker may come back to a module.
        assert times <= (1 if "session" in event else 2 if mode != "load" else 3), (event, times)
        if " up" in event:
            assert seen[event.replace(" up", " down")] == times, event
