"""Calls are made ahead of the tests that need them, and nothing else of a test changes."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
from fake_provider import FakeProvider
from small_project import CONFIGURATION, SmallProject, echo_hook

from pytest_proofmap.prefetch import quiet

EVENTS = """
from pathlib import Path

def note(text):
    with (Path(__file__).parent / "events.txt").open("a") as file:
        file.write(text + "\\n")
"""


def events(project: SmallProject) -> Counter[str]:
    """Return how often each event was noted by the project's code."""
    return Counter((project.folder / "events.txt").read_text(encoding="utf-8").splitlines())


def noting(project: SmallProject, test: str, hook: str | None = None) -> None:
    """Write a project whose tests can note events."""
    project.write("noting.py", EVENTS)
    project.write("conftest.py", hook or echo_hook())
    project.write("test_it.py", "import pytest\nfrom noting import note\n" + test)


def passed(project: SmallProject, *arguments: str, **outcomes: int) -> pytest.RunResult:
    """Run the project and check its outcomes."""
    result = project.run("-p", "no:cacheprovider", *arguments)
    result.assert_outcomes(**outcomes)
    return result


def test_plain_tests_are_answered_side_by_side(project: SmallProject) -> None:
    """Synchronous tests have all their calls under way at once: none is answered before all are asked."""
    barrier = """
import threading

ALL = threading.Barrier(12, timeout=60)

def pytest_proofmap_call(runtime, request):
    ALL.wait()
    return request.messages[-1]["content"]
"""
    noting(
        project,
        """
@pytest.mark.parametrize("case", list("abcdef"))
@pytest.mark.qualify
def test_echo(runtime, case):
    assert runtime.complete(case).text == case
""",
        barrier,
    )
    passed(project, passed=12)


def test_no_call_is_made_ahead_without_concurrency(project: SmallProject) -> None:
    """``--proofmap-concurrency=0`` and ``prefetch=False`` run each body once, also with nothing cached."""
    test = """
@pytest.mark.parametrize("case", list("abc"))
@pytest.mark.qualify(prefetch=PREFETCH)
def test_echo(runtime, case):
    note(f"{case} {runtime.name}")
    assert runtime.complete(case).text == case
"""
    noting(project, test.replace("PREFETCH", "True"))
    passed(project, "--proofmap-concurrency=0", passed=6)
    assert set(events(project).values()) == {1}

    (project.folder / "events.txt").unlink()
    noting(project, test.replace("PREFETCH", "False"))
    passed(project, "--proofmap-cache=refresh", passed=6)
    assert set(events(project).values()) == {1}


def test_a_rerun_from_the_cache_explores_next_to_nothing(project: SmallProject) -> None:
    """When nothing is missing, one test of each criterion and runtime is explored, and the others run once."""
    noting(
        project,
        """
@pytest.mark.parametrize("case", range(20))
@pytest.mark.qualify
def test_echo(runtime, case):
    note("body")
    assert runtime.complete(str(case)).text == str(case)
""",
    )
    passed(project, passed=40)
    (project.folder / "events.txt").unlink()
    passed(project, passed=40)
    assert events(project)["body"] <= 42


def test_a_new_case_among_cached_ones_is_found(project: SmallProject) -> None:
    """A miss in the middle of cached answers starts the look ahead from there."""
    test = """
import threading

@pytest.mark.parametrize("case", CASES)
@pytest.mark.qualify
def test_echo(runtime, case):
    assert runtime.complete(case).text == case
"""
    noting(project, test.replace("CASES", '["a", "b"]'))
    passed(project, passed=4)
    noting(project, test.replace("CASES", '["a", "new", "b", "other"]'))
    passed(project, passed=8)
    assert Counter(project.calls()) == Counter(
        f"{runtime} 0 {case}" for runtime in ("gpt", "mini") for case in ("a", "b", "new", "other")
    )


def test_fixtures_of_each_scope(project: SmallProject) -> None:
    """Session fixtures are set up once in all; those of modules and classes at most twice."""
    noting(
        project,
        """
@pytest.fixture(scope="session", autouse=True)
def of_session():
    note("session up")
    yield
    note("session down")

@pytest.fixture(scope="module")
def of_module():
    note("module up")
    yield "m"
    note("module down")

@pytest.fixture(scope="class")
def of_class():
    note("class up")
    yield "c"
    note("class down")

@pytest.mark.parametrize("case", list("abc"))
@pytest.mark.qualify
class TestScopes:
    def test_one(self, runtime, case, of_module, of_class):
        first = runtime.complete(case).text
        assert runtime.complete(first + of_module).text == case + "m"

    def test_two(self, runtime, case, of_module):
        assert runtime.complete("two " + case).text

def test_plain(of_module):
    pass
""",
    )
    project.write("test_second.py", (project.folder / "test_it.py").read_text(encoding="utf-8"))
    passed(project, passed=26)
    seen = events(project)
    assert seen["session up"] == seen["session down"] == 2  # one for each of the two modules' definitions
    assert seen["module up"] == seen["module down"] <= 4
    assert seen["class up"] == seen["class down"] <= 4


def test_a_module_wide_fixture_of_conftest_keeps_its_meaning(project: SmallProject) -> None:
    """A module-scoped fixture is never shared by two modules, however far the look ahead goes."""
    noting(
        project,
        "",
        echo_hook()
        + """
import pytest

@pytest.fixture(scope="module")
def where(request):
    return request.module.__name__
""",
    )
    test = """
import pytest

@pytest.mark.parametrize("case", list("ab"))
@pytest.mark.qualify
def test_where(runtime, case, where):
    first = runtime.complete(case + where).text
    assert where == __name__
    assert runtime.complete("again " + first).text == "again " + case + __name__
"""
    project.write("test_first.py", test)
    project.write("test_second.py", test)
    passed(project, passed=8)


def test_conversations(project: SmallProject) -> None:
    """A test's later calls depend on the earlier answers, and are made ahead as well."""
    noting(
        project,
        """
@pytest.mark.parametrize("case", list("abcdefgh"))
@pytest.mark.qualify
def test_turns(runtime, case):
    messages = [{"role": "user", "content": case}]
    for turn in range(3):
        reply = runtime.complete(messages)
        messages += [reply.message, {"role": "user", "content": reply.text + "."}]
    assert reply.text == case + ".."
""",
    )
    passed(project, passed=16)
    assert set(Counter(project.calls()).values()) == {1}
    assert len(project.calls()) == 48


def test_calls_of_fixtures_and_indirect_parameters(project: SmallProject) -> None:
    """A fixture may make the call, also one that is parametrized indirectly."""
    noting(
        project,
        """
@pytest.fixture
def reply(runtime, request):
    return runtime.complete(request.param)

@pytest.mark.parametrize("reply", list("abcd"), indirect=True)
@pytest.mark.qualify
def test_reply(reply, request):
    assert reply.text == request.node.callspec.params["reply"]

@pytest.fixture
def side_effect():
    note("used")

@pytest.mark.usefixtures("side_effect")
@pytest.mark.qualify
def test_uses(runtime):
    assert runtime.complete("x").text == "x"
""",
    )
    passed(project, passed=10)


def test_a_test_that_catches_exceptions_is_suspended_all_the_same(project: SmallProject) -> None:
    """Catching ``Exception`` around a call does not catch the suspension, and no wrong request follows."""
    noting(
        project,
        """
@pytest.mark.parametrize("case", list("abc"))
@pytest.mark.qualify
def test_careful(runtime, case):
    try:
        text = runtime.complete(case).text
    except Exception:
        text = "caught"
    assert runtime.complete("then " + text).text == "then " + case
""",
    )
    passed(project, passed=6)
    assert not [call for call in project.calls() if "caught" in call]


def test_what_a_suspended_test_asks_afterwards_is_ignored(project: SmallProject) -> None:
    """A test that swallows even the suspension sends no request that rests on nothing."""
    noting(
        project,
        """
@pytest.mark.parametrize("case", list("abc"))
@pytest.mark.qualify
def test_greedy(runtime, case):
    text = "nothing"
    try:
        text = runtime.complete(case).text
    except BaseException:
        pass
    assert runtime.complete("then " + text).text == "then " + case
""",
    )
    passed(project, passed=6)
    assert not [call for call in project.calls() if "nothing" in call]


def test_skips_and_expected_failures_keep_their_meaning(project: SmallProject) -> None:
    """A skipped body never runs, an expected failure is one, and each is reported once."""
    noting(
        project,
        """
@pytest.mark.skip(reason="not now")
@pytest.mark.qualify
def test_skipped(runtime):
    note("skipped body")

@pytest.mark.skipif("True", reason="never")
@pytest.mark.qualify
def test_skipped_if(runtime):
    note("skipped body")

@pytest.mark.xfail(run=False)
@pytest.mark.qualify
def test_not_run(runtime):
    note("skipped body")

@pytest.mark.xfail(reason="known")
@pytest.mark.qualify
def test_known(runtime):
    assert runtime.complete("a").text == "b"

@pytest.mark.qualify
def test_asks_then_skips(runtime):
    if runtime.complete("skip?").text == "skip?":
        pytest.skip("as answered")
""",
    )
    passed(project, skipped=6, xfailed=4)
    assert not (project.folder / "events.txt").exists()


def test_builtin_fixtures_are_not_disturbed(project: SmallProject) -> None:
    """Temporary folders, captured output, logs, patches and properties are those of the real run alone."""
    noting(
        project,
        """
import logging
import os

@pytest.mark.qualify
def test_fixtures(runtime, tmp_path, capsys, caplog, monkeypatch, record_property, request):
    assert "PATCHED" not in os.environ
    monkeypatch.setenv("PATCHED", "1")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    record_property("tries", "once")
    request.node.add_marker(pytest.mark.added)
    logging.getLogger().warning("before")
    print("before")
    assert runtime.complete("a").text == "a"
    print("after")
    assert capsys.readouterr().out == "before\\nafter\\n"
    assert [record.getMessage() for record in caplog.records] == ["before"]
    assert len(list(request.node.iter_markers("added"))) == 1
    assert request.node.user_properties == [("tries", "once")]
""",
    )
    project.write("pytest.ini", "[pytest]\nmarkers = added\n")
    options = ["--junitxml=report.xml", "-o", "junit_family=xunit1", "-o", "log_cli=true"]
    result = passed(project, *options, "--log-cli-level=WARNING", passed=2)
    xml = (project.folder / "report.xml").read_text(encoding="utf-8")
    assert xml.count('<property name="tries"') == 2
    assert xml.count('<property name="proofmap.outcome"') == 2
    assert xml.count("<testcase ") == 2
    assert result.stdout.str().count("WARNING  root") == 2


def test_failing_output_is_shown_once(project: SmallProject) -> None:
    """A failing test's captured output and warnings are those of its real run."""
    noting(
        project,
        """
import warnings

@pytest.mark.qualify
def test_fails(runtime):
    print("said")
    warnings.warn("careful")
    assert runtime.complete("a").text == "b"
""",
    )
    result = passed(project, "-W", "always", failed=1, xfailed=1, warnings=2)
    assert result.stdout.str().count("\nsaid") == 1


@pytest.mark.skipif(int(pytest.__version__.split(".")[0]) < 9, reason="pytest has subtests from 9.0 on")
def test_subtests(project: SmallProject) -> None:
    """A suspension inside of a subtest reports nothing, and the subtests are reported by the real run."""
    noting(
        project,
        """
@pytest.mark.qualify
def test_parts(runtime, subtests):
    for part in "abc":
        with subtests.test(part=part):
            assert runtime.complete(part).text == part
""",
    )
    result = passed(project, "-v", passed=2)
    assert result.stdout.str().count("SUBPASSED") == 6
    assert len(project.calls()) == 6


def test_async_tests_and_gathered_calls(project: SmallProject) -> None:
    """An async test's gathered calls are all asked before any of them is answered."""
    pytest.importorskip("pytest_asyncio")
    barrier = """
import threading

ALL = threading.Barrier(8, timeout=60)

def pytest_proofmap_call(runtime, request):
    ALL.wait()
    return request.messages[-1]["content"]
"""
    noting(
        project,
        """
import asyncio

@pytest.mark.asyncio
@pytest.mark.qualify
async def test_gathered(runtime):
    replies = await asyncio.gather(*(runtime.acomplete(part) for part in "abcd"))
    assert [reply.text for reply in replies] == list("abcd")
""",
        barrier,
    )
    project.plugins.append("asyncio")
    passed(project, "-o", "asyncio_default_fixture_loop_scope=function", passed=2)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup came with Python 3.11")
def test_task_groups(project: SmallProject) -> None:
    """A suspension that arrives wrapped in an exception group is one."""
    pytest.importorskip("pytest_asyncio")
    noting(
        project,
        """
import asyncio

@pytest.mark.asyncio
@pytest.mark.parametrize("case", ["1", "2"])
@pytest.mark.qualify
async def test_group(runtime, case):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(runtime.acomplete(part + case)) for part in "abc"]
    texts = [task.result().text for task in tasks]
    assert (await runtime.acomplete(" ".join(texts))).text == f"a{case} b{case} c{case}"
""",
    )
    project.plugins.append("asyncio")
    passed(project, "-o", "asyncio_default_fixture_loop_scope=function", passed=4)
    assert set(Counter(project.calls()).values()) == {1}


def test_stopping_early_looks_ahead_no_further_than_it_may_call(project: SmallProject) -> None:
    """With ``-x`` at most as many tests are explored ahead as calls may be under way."""
    noting(
        project,
        """
@pytest.mark.parametrize("case", range(40))
@pytest.mark.qualify
def test_echo(runtime, case):
    note("body")
    assert runtime.complete(str(case)).text == "wrong"
""",
    )
    passed(project, "-x", "--proofmap-concurrency=4", failed=1)
    assert len(project.calls()) <= 5


def test_selection_limits_what_is_called(project: SmallProject) -> None:
    """What ``-k`` leaves out is not called ahead either."""
    noting(
        project,
        """
@pytest.mark.parametrize("case", ["one", "two", "three", "four"])
@pytest.mark.qualify
def test_echo(runtime, case):
    assert runtime.complete(case).text == case
""",
    )
    passed(project, "-k", "two or four", passed=4, deselected=4)
    assert {call.split()[-1] for call in project.calls()} == {"two", "four"}


def test_an_exploration_that_does_not_end_is_given_up(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that hangs while it is explored is left alone after a limit of its own."""
    monkeypatch.setattr(quiet, "DRY_RUN_LIMIT_S", 0.3)
    noting(
        project,
        """
from pathlib import Path

@pytest.mark.qualify
def test_hangs_once(runtime):
    flag = Path(f"hung-{runtime.name}")
    while not flag.exists():
        flag.touch()
        while True:
            pass
    assert runtime.complete("a").text == "a"
""",
    )
    passed(project, passed=2)


def test_other_plugins_see_each_test_once(project: SmallProject) -> None:
    """A plugin that is installed beside pytest sees the real run and nothing of the explorations."""
    plugin = """
import pytest
from pathlib import Path

def saw(what, nodeid):
    with Path("seen.txt").open("a") as file:
        file.write(f"{what} {nodeid}\\n")

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    saw("protocol", item.nodeid)
    return (yield)

def pytest_runtest_setup(item):
    saw("setup", item.nodeid)

def pytest_runtest_call(item):
    saw("call", item.nodeid)

def pytest_runtest_teardown(item):
    saw("teardown", item.nodeid)

def pytest_runtest_logreport(report):
    saw("report " + report.when, report.nodeid)
"""
    project.write("venv/site-packages/pytest_watching.py", plugin)
    sys.path.insert(0, str(project.folder / "venv" / "site-packages"))
    noting(
        project,
        """
@pytest.mark.parametrize("case", list("abc"))
@pytest.mark.qualify
def test_echo(runtime, case):
    assert runtime.complete(runtime.complete(case).text + "!").text == case + "!"
""",
    )
    project.plugins.append("pytest_watching")
    try:
        passed(project, passed=6)
    finally:
        sys.path.pop(0)
    seen = Counter((project.folder / "seen.txt").read_text(encoding="utf-8").splitlines())
    assert set(seen.values()) == {1}
    assert len(seen) == 6 * 7


def test_hooks_of_the_project_take_part(project: SmallProject) -> None:
    """A ``conftest.py`` that skips in its setup hook keeps a body from being explored, too."""
    noting(
        project,
        """
@pytest.mark.parametrize("case", list("abc"))
@pytest.mark.qualify
def test_echo(runtime, case):
    note(case)
    assert runtime.complete(case).text == case
""",
        echo_hook()
        + """
import pytest

def pytest_runtest_setup(item):
    if "[b-" in item.nodeid:
        pytest.skip("by the project")
""",
    )
    passed(project, passed=4, skipped=2)
    assert "b" not in events(project)


def test_workers_share_the_calls(project: SmallProject) -> None:
    """Workers of xdist look ahead for a share each, and no request is sent twice."""
    pytest.importorskip("xdist")
    noting(
        project,
        """
@pytest.mark.parametrize("case", range(12))
@pytest.mark.qualify
def test_echo(runtime, case):
    assert runtime.complete("same for all").text == "same for all"
    assert runtime.complete(str(case)).text == str(case)
""",
    )
    project.plugins.append("xdist")
    passed(project, "-n", "2", passed=24)
    assert set(Counter(project.calls()).values()) == {1}
    assert project.evidence().totals.live == 26


def test_coverage_counts_the_real_run(project: SmallProject, tmp_path: Path) -> None:
    """pytest-cov measures tests that were explored before as it measures others."""
    pytest.importorskip("pytest_cov")
    noting(
        project,
        """
from target import shout

@pytest.mark.parametrize("case", list("ab"))
@pytest.mark.qualify
def test_shout(runtime, case):
    assert shout(runtime.complete(case).text) == case.upper()
""",
    )
    project.write("target.py", "def shout(text):\n    return text.upper()\n\ndef unused():\n    return 1\n")
    project.plugins.append("pytest_cov")
    result = project.run_apart("--cov=target", "--cov-report=term")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["target.py*4*1*75%*"])


def test_waiting_does_not_count_against_a_timeout(project: SmallProject, fake_provider: FakeProvider) -> None:
    """pytest-timeout measures the test and not the time that its answers take."""
    pytest.importorskip("pytest_timeout")
    fake_provider.script("gpt", latency_s=1.5)
    fake_provider.script("mini", latency_s=1.5)
    project.configure(
        CONFIGURATION.replace('"\nprice', f'"\napi_base = "{fake_provider.url}"\nprice').replace(
            "price =", 'params = { api_key = "os.environ/FAKE_KEY" }\nprice ='
        )
    )
    noting(
        project,
        """
@pytest.mark.qualify
def test_slow(runtime):
    assert runtime.complete("a").text
""",
        "",
    )
    project.plugins.append("timeout")
    result = project.run_apart("--timeout=1", "-p", "no:cacheprovider", FAKE_KEY="local")
    result.assert_outcomes(passed=2)


def test_only_what_failed_last_is_explored_again(project: SmallProject) -> None:
    """``--lf`` explores and runs the failed tests alone."""
    noting(
        project,
        """
@pytest.mark.parametrize("case", ["good", "bad"])
@pytest.mark.qualify(baseline_must_pass=True)
def test_echo(runtime, case):
    note(case)
    assert runtime.complete(case).text == "good"
""",
    )
    project.run().assert_outcomes(passed=2, failed=1, xfailed=1)
    (project.folder / "events.txt").unlink()
    project.run("--lf", "--proofmap-cache=refresh").assert_outcomes(failed=1)
    assert set(events(project)) == {"bad"}


INSERTING = """
import sqlite3
import pytest

@pytest.fixture(scope="session")
def database(tmp_path_factory):
    connection = sqlite3.connect(tmp_path_factory.mktemp("db") / "tickets.db")
    connection.execute("CREATE TABLE ticket (id INTEGER PRIMARY KEY)")
    return connection

@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.qualify({prefetch})
def test_ticket(runtime, database, number):
    {make}
    assert runtime.complete(f"{{runtime.name}} {{number}}").text
"""


@pytest.mark.parametrize(
    ("make", "error"),
    [
        ('database.execute("INSERT INTO ticket VALUES (?)", [hash((runtime.name, number))])', "IntegrityError"),
        ('__import__("pathlib").Path(f"{runtime.name}-{number}").mkdir()', "FileExistsError"),
    ],
    ids=["row", "folder"],
)
def test_what_is_there_already_points_to_prefetch(project: SmallProject, make: str, error: str) -> None:
    """A body that runs more than once inserts twice: the summary says why, and what to do."""
    project.write("conftest.py", echo_hook())
    project.write("test_triage.py", INSERTING.format(make=make, prefetch=""))
    said = " ".join(" ".join(project.run("-q").outlines).split())
    assert f"! test_triage.py::test_ticket fails with {error}:" in said
    assert "qualify(prefetch=False)" in said
    project.write("test_triage.py", INSERTING.format(make=make, prefetch="prefetch=False"))
    result = project.run("-q", "--proofmap-cache=refresh")
    assert "calls are made ahead" not in " ".join(result.outlines)
    if error == "IntegrityError":
        result.assert_outcomes(passed=4)
