"""The process that makes the calls: how it starts, what each call is asked under, and who may ask."""

from __future__ import annotations

from collections import Counter

import pytest
from fake_provider import FakeProvider
from small_project import SmallProject, echo_hook

CONFIGURATION = """
baseline = "gpt"
challengers = ["mini"]

[runtimes.gpt]
model = "openai/gpt"

[runtimes.mini]
model = "openai/mini"
"""

ONE_TEST = """
import os, subprocess, sys, threading
import pytest

@pytest.mark.qualify(min_pass_rate=0.5)
def test_one(runtime, monkeypatch):
    {body}
"""

STARTS = {
    "a patched Popen": "monkeypatch.setattr(subprocess, 'Popen', None)",
    "another folder": "monkeypatch.chdir('/')",
    "an environment of its own": "monkeypatch.setattr(os, 'environ', {**os.environ})",
    "an empty environment": (
        "[monkeypatch.delenv(name) for name in list(os.environ) if name not in ('OPENAI_BASE_URL', 'NO_PROXY')]"
    ),
    "no sys.path": "monkeypatch.setattr(sys, 'path', [])",
    "no files": "monkeypatch.setattr(os.path, 'exists', lambda path: False)",
    "no temporary folder": "monkeypatch.setattr('tempfile.tempdir', '/no/such/folder')",
}


@pytest.mark.parametrize(
    "prefetch",
    [(), pytest.param(("--proofmap-concurrency=0",), marks=pytest.mark.nightly)],
    ids=["prefetch", "one-at-a-time"],
)
def test_started_in_a_known_state(
    project: SmallProject, fake_provider: FakeProvider, prefetch: tuple[str, ...]
) -> None:
    """Whatever the first test to ask has patched, also a long parameter, the service is there."""
    project.configure(CONFIGURATION)
    for number, patch in enumerate(STARTS.values()):
        body = f"{patch}\n    assert runtime.complete('say {number}').text == 'ok'"
        project.write(f"test_{number}.py", ONE_TEST.format(body=body))
    project.write(
        "test_long.py",
        """
        import pytest

        @pytest.mark.qualify(min_pass_rate=0.5)
        @pytest.mark.parametrize("text", ["x" * 170_000])
        def test_long(runtime, text):
            assert runtime.complete(text).text == "ok"
        """.replace("\n        ", "\n"),
    )
    result = project.run_apart(*prefetch, OPENAI_BASE_URL=fake_provider.url)
    result.assert_outcomes(passed=2 * len(STARTS) + 2)


def test_asked_from_a_thread_of_the_first_test(project: SmallProject, fake_provider: FakeProvider) -> None:
    """The service outlives the thread that asked first."""
    project.configure(CONFIGURATION)
    body = """replies = []
    thread = threading.Thread(target=lambda: replies.append(runtime.complete("from a thread")))
    thread.start()
    thread.join()
    assert replies[0].text == runtime.complete("from the test").text == "ok"
"""
    project.write("test_thread.py", ONE_TEST.format(body=body))
    result = project.run_apart("--proofmap-concurrency=0", OPENAI_BASE_URL=fake_provider.url)
    result.assert_outcomes(passed=2)


def test_named_like_the_standard_library(project: SmallProject, fake_provider: FakeProvider) -> None:
    """Modules of the project, in its root, beside its conftest.py and on pythonpath, are not the service's."""
    project.configure(CONFIGURATION)
    project.write("pytest.ini", "[pytest]\npythonpath = . lib\n")
    project.write("tests/conftest.py", "")
    for folder in (".", "lib", "tests"):
        for name in ("queue", "token", "types", "select", "json", "openai", "jinja2", "httpx", "pydantic_core"):
            project.write(f"{folder}/{name}.py", "raise SystemExit('not for you')")
    project.write("tests/test_one.py", ONE_TEST.format(body="assert runtime.complete('hi').text == 'ok'"))
    # pytest itself, and this plugin in it, have theirs before the project's folders come first.
    start = (
        "import sys; sys.path.remove(''); import token, types, queue, select, json, jinja2, pydantic_core; "
        "import pytest, pytest_proofmap.config; sys.exit(pytest.main(sys.argv[1:]))"
    )
    result = project.python("-c", start, "-p", "proofmap", "--proofmap", "-q", OPENAI_BASE_URL=fake_provider.url)
    assert "2 passed" in str(result.stdout), str(result.stdout) + str(result.stderr)


FORKS = {
    "fork": """
    pid = os.fork()
    if pid == 0:
        try:
            runtime.complete("from a child")
        except BaseException as error:
            os.write(2, f"child: {type(error).__name__}: {error}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
""",
    "pool": """
    with pytest.raises(Exception, match="forked"):
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.apply(ask)
""",
    "handed over": """
    with pytest.raises(Exception, match="handed to another process"):
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.apply(runtime.complete, ("from a child",))
""",
}


@pytest.mark.parametrize("before", ["", 'runtime.complete("before")'], ids=["no-connection", "connected"])
@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_calls_of_a_forked_child_are_refused(project: SmallProject, fork: str, before: str) -> None:
    """The child is told why and what to do, nothing is sent for it, and the parent goes on asking."""
    project.write("conftest.py", echo_hook())
    project.write(
        "test_fork.py",
        f"""
import multiprocessing, os
import pytest

@pytest.mark.qualify(min_pass_rate=0.5)
def test_fork(runtime):
    global ask
    ask = lambda_ask(runtime)
    {before}
{fork}
    assert runtime.complete("after").text == "after"

def lambda_ask(runtime):
    global asked
    asked = runtime
    return ask_it

def ask_it():
    return asked.complete("from a child").text
""",
    )
    result = project.run_apart("-s", "--proofmap-concurrency=0")
    result.assert_outcomes(passed=2)
    assert {line.split(" ", 2)[2] for line in project.calls()} <= {"before", "after"}
    if "waitpid" in fork:
        shown = str(result.stdout) + str(result.stderr)
        assert "RequestError: asked in a process that the test has forked" in shown
        assert "use threads" in shown


PER_TEST = """
import os
import pytest

@pytest.mark.qualify(min_pass_rate=0.5)
@pytest.mark.parametrize("case", range(12))
def test_tenant(runtime, monkeypatch, case):
    monkeypatch.setenv("OPENAI_API_KEY", f"sk-tenant-{case // 4:04d}")
    monkeypatch.setenv("OPENAI_ORGANIZATION", f"org-{case % 2}")
    monkeypatch.setenv("APP_CASE", str(case))
    assert runtime.complete(f"for {case}").text == "ok"
"""


@pytest.mark.parametrize(
    "workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.nightly)], ids=["alone", "xdist"]
)
def test_each_call_has_the_environment_that_it_was_asked_under(
    project: SmallProject, fake_provider: FakeProvider, workers: tuple[str, ...]
) -> None:
    """Calls of many tests that wait at once go out with the key of their own test, side by side."""
    project.configure(CONFIGURATION + "\n[limits.openai]\nconcurrency = 3\n")
    project.write("test_tenants.py", PER_TEST)
    for model in ("gpt", "mini"):
        fake_provider.script(model, latency_s=0.1)
    if workers:
        project.plugins.append("xdist.plugin")
    result = project.run_apart(*workers, OPENAI_BASE_URL=fake_provider.url, OPENAI_API_KEY="sk-of-nobody-0000")
    result.assert_outcomes(passed=24)
    for request in fake_provider.requests:
        case = int(request.body["messages"][0]["content"].split()[1])
        assert request.headers["authorization"] == f"Bearer sk-tenant-{case // 4:04d}"
        assert request.headers["openai-organization"] == f"org-{case % 2}"
    assert len(fake_provider.requests) == 24
    assert fake_provider.most_at_once > 1


def test_workers_with_addresses_of_their_own(project: SmallProject) -> None:
    """What a worker of xdist sets, such as the address of its own server, is for its calls alone."""
    project.configure(CONFIGURATION)
    project.plugins.append("xdist.plugin")
    project.write(
        "conftest.py",
        """
import os
worker = os.environ.get("PYTEST_XDIST_WORKER")
if worker:
    os.environ["OPENAI_BASE_URL"] = os.environ["SERVER_OF_" + worker]
""",
    )
    project.write(
        "test_workers.py",
        """
import os
import pytest

@pytest.mark.qualify(min_pass_rate=0.5)
@pytest.mark.parametrize("case", range(8))
def test_worker(runtime, case):
    assert runtime.complete(f"{os.environ['PYTEST_XDIST_WORKER']} {case}").text == "ok"
""",
    )
    with FakeProvider() as first, FakeProvider() as second:
        result = project.run_apart("-n", "2", SERVER_OF_gw0=first.url, SERVER_OF_gw1=second.url)
        asked = [Counter(each.body["messages"][0]["content"].split()[0] for each in server.requests)
                 for server in (first, second)]  # fmt: skip
    assert result.ret == 0, str(result.stdout)
    assert set(asked[0]) <= {"gw0"}
    assert set(asked[1]) <= {"gw1"}
    assert sum(map(sum, map(Counter.values, asked))) >= 16


STOPS = """
import pytest

@pytest.mark.qualify(min_pass_rate=0.1, max_failure_rate=None)
@pytest.mark.parametrize("case", range(6))
def test_key(runtime, monkeypatch, case):
    monkeypatch.setenv("OPENAI_BASE_URL", {urls}[case % 2])
    monkeypatch.setenv("APP_CASE", str(case))
    assert runtime.complete({prompt}).text == "ok"
"""


@pytest.mark.parametrize("prompt", ["f'for {case}'", "'the same for all'"])
def test_a_401_stops_the_calls_that_it_is_about(project: SmallProject, prompt: str) -> None:
    """It is not forgotten when some other variable changes, and stops no call with another address."""
    project.configure(CONFIGURATION)
    with FakeProvider() as locked, FakeProvider() as open_to_all:
        locked.script("gpt", always="unauthorized")
        urls = [locked.url, open_to_all.url]
        project.write("test_stops.py", STOPS.format(urls=urls, prompt=prompt))
        result = project.run_apart("--proofmap-concurrency=0", OPENAI_API_KEY="sk-of-everybody-0000")
        refused, answered = len(locked.received("gpt")), len(open_to_all.received("gpt"))
    assert refused == 1, str(result.stdout)
    assert answered == (3 if "case" in prompt else 1)
