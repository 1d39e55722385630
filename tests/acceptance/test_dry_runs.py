"""Dry runs neither hang, overpay nor leak: whatever a test does in one, the real run is that of a plain run."""

from __future__ import annotations

import re
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from small_project import CONFIGURATION, SmallProject, echo_hook

PRICED = """
def pytest_proofmap_call(runtime, request):
    prompt = request.messages[-1]["content"]
    with (Path(__file__).parent / "calls.txt").open("a") as file:
        file.write(f"{runtime} {request.sample} {prompt}\\n")
    message = {"role": "assistant", "content": "yes"}
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}
    return {"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": usage}
"""
"""A client whose calls cost $0.01 on ``gpt`` and $0.001 on ``mini``."""

DIFFERS = """
import itertools
import uuid

import pytest

@pytest.mark.parametrize("case", ["a", "b", "c"])
@pytest.mark.qualify
def test_it(runtime, case):
    {first}
    assert runtime.complete(f"Ticket {{uuid.uuid4().hex}} of {{case}}").text == "yes"
"""

TOGETHER = """
import threading

LOCK = threading.Condition()
OPEN = {}

def pytest_proofmap_call(runtime, request):
    # Every call of a turn is under way before the first of them is answered.
    turn = len(request.messages)
    with LOCK:
        OPEN[turn] = OPEN.get(turn, 0) + 1
        LOCK.notify_all()
        if not LOCK.wait_for(lambda: OPEN[turn] >= CALLS, timeout=60):
            raise TimeoutError(f"{OPEN[turn]} of CALLS calls of turn {turn} came together")
    return request.messages[-1]["content"]
"""


def calls_of(project: SmallProject) -> Counter[str]:
    """Return how many calls each runtime was asked."""
    return Counter(call.split()[0] for call in project.calls())


@pytest.mark.parametrize("first", ["", 'assert runtime.complete("first " + case).text == "yes"'])
def test_a_request_that_differs_each_time_is_paid_for_a_bounded_number_of_times(
    project: SmallProject, first: str
) -> None:
    """Such a sample is run for real, and the warning shows both requests, the difference and the ways out."""
    project.write("conftest.py", "from pathlib import Path\n" + PRICED)
    project.write("test_it.py", DIFFERS.format(first=first))
    result = project.run("-p", "no:cacheprovider")
    result.assert_outcomes(passed=6)
    calls = [call for call in project.calls() if "Ticket" in call]
    assert len(calls) <= 6 + 2  # Each criterion and runtime pays once to find it out.
    warning = " ".join(result.stdout.str().split())
    for telling in ("unstable", "prefetch=False", "pytest_proofmap_key"):
        assert telling in warning, telling
    # Two random numbers may begin alike.
    assert re.search("Ticket [0-9a-f]{0,4}«", warning)
    # Whichever case's answer comes first shows it.
    assert re.search(r"test_it\.py::test_it\[[abc]-(gpt|mini)\] is unstable", warning)
    totals = project.evidence().totals
    asked = calls_of(project)
    assert totals.spent_usd == pytest.approx(0.01 * asked["gpt"] + 0.001 * asked["mini"])
    if len(calls) > 6:
        assert "used by no sample" in warning


def test_a_request_that_differs_each_time_ends_with_a_budget(project: SmallProject) -> None:
    """A budget ends such a run as it ends any other."""
    project.write("conftest.py", "from pathlib import Path\n" + PRICED)
    project.write("test_it.py", DIFFERS.format(first=""))
    result = project.run("-p", "no:cacheprovider", "--proofmap-budget=0.06")
    assert result.ret == 1
    assert project.evidence().totals.spent_usd <= 0.06


def test_a_request_that_differed_once_is_asked_ahead(project: SmallProject) -> None:
    """A clock that ticks between two dry runs makes no test unstable."""
    project.write("conftest.py", echo_hook())
    project.write(
        "test_it.py",
        """
import pytest

RUNS = []

@pytest.mark.qualify
def test_it(runtime):
    RUNS.append(1)
    minute = min(len(RUNS), 2) if runtime.name == "gpt" else 0
    assert runtime.complete(f"minute {minute}").text
""",
    )
    result = project.run("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    assert "unstable" not in result.stdout.str()


def test_threads_that_differ_each_time_are_bounded(project: SmallProject) -> None:
    """Where threads ask, their requests have no order; that they differ is found all the same."""
    project.write("conftest.py", echo_hook())
    project.write(
        "test_it.py",
        """
import uuid
from concurrent.futures import ThreadPoolExecutor
import pytest

@pytest.mark.parametrize("case", range(3))
@pytest.mark.qualify
def test_it(runtime, case):
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(runtime.complete, [f"{uuid.uuid4()}" for _ in range(3)]))
    assert all(reply.text for reply in replies)
""",
    )
    result = project.run("-p", "no:cacheprovider")
    result.assert_outcomes(passed=6)
    assert len(project.calls()) <= 4 * 18
    assert "unstable" in result.stdout.str()


def test_the_project_says_what_enters_the_key(project: SmallProject) -> None:
    """``pytest_proofmap_key`` makes one request of several, in the cache as well, and changes nothing sent."""
    hook = """
import re

def pytest_proofmap_key(request):
    for message in request.messages:
        message["content"] = re.sub("[0-9a-f]{32}", "ID", message["content"])
    return request
"""
    project.write("conftest.py", "from pathlib import Path\n" + PRICED + hook)
    project.write("test_it.py", DIFFERS.format(first=""))
    for _ in range(2):
        result = project.run("-p", "no:cacheprovider")
        result.assert_outcomes(passed=6)
        assert "unstable" not in result.stdout.str()
    sent = project.calls()
    assert len(sent) == 6
    assert not any("ID" in call for call in sent)
    assert project.evidence().requests
    assert all(
        "Ticket ID" not in request.messages[0]["content"] for request in project.evidence().requests.values()
    )


def test_recordings_are_found_by_the_project_s_own_key(project: SmallProject) -> None:
    """A recorded request answers another one with the same key, and a committed file needs no index for that."""
    project.record("gpt", {"at 12:00": "yes"})
    project.record("gpt", {"at 13:00": "other"})
    project.record("mini", {"at 12:00": "yes"})
    project.write(
        "conftest.py",
        """
def pytest_proofmap_key(request):
    message = {"role": "user", "content": "at some time"}
    return request._replace(messages=[message])
""",
    )
    project.write(
        "test_it.py",
        """
import pytest

@pytest.mark.qualify
def test_it(runtime):
    assert runtime.complete("at 23:59").text == "yes"
""",
    )
    project.run("--proofmap-cache=replay").assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("body", "problem"), [("return 7", "returned 7"), ("raise KeyError('x')", "raised KeyError: 'x'")]
)
def test_a_bad_key_hook_is_named(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch, body: str, problem: str
) -> None:
    """What the hook must return is said where it returns something else."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing-is-called")
    project.write("conftest.py", f"def pytest_proofmap_key(request):\n    {body}\n")
    project.write(
        "test_it.py",
        "import pytest\n\n@pytest.mark.qualify\ndef test_it(runtime):\n    runtime.complete('hi')\n",
    )
    result = project.run()
    assert result.ret == 1
    assert f"pytest_proofmap_key {problem}" in result.stdout.str()


@pytest.mark.parametrize("layout", ["module", "modules", "classes"])
def test_conversations_are_asked_ahead_across_modules_and_classes(project: SmallProject, layout: str) -> None:
    """All conversations are in the same turn together, wherever the tests are."""
    turns = """
    messages = [{"role": "user", "content": case + __name__}]
    for turn in range(3):
        reply = runtime.complete(messages)
        messages += [reply.message, {"role": "user", "content": "."}]
"""
    if layout == "classes":
        body = turns.replace("\n    ", "\n        ")
        tests = "".join(
            f"@pytest.mark.parametrize('case', list('ab{number}'))\n@pytest.mark.qualify\nclass Test{number}:\n"
            f"    def test_it(self, runtime, case):{body}\n"
            for number in range(4)
        )
        project.write("test_it.py", "import pytest\n" + tests)
        calls = 3 * 2 * 4 - 2 * 3 * 2  # a and b are the same requests in all four classes
    else:
        count = 1 if layout == "module" else 4
        for number in range(count):
            project.write(
                f"test_it{number}.py",
                "import pytest\n@pytest.mark.parametrize('case', list('abc'))\n@pytest.mark.qualify\n"
                f"def test_it(runtime, case):{turns}\n",
            )
        calls = 3 * 2 * count
    project.write("conftest.py", TOGETHER.replace("CALLS", str(calls)))
    expected = {"module": 6, "modules": 24, "classes": 24}[layout]
    project.run("-p", "no:cacheprovider", "--proofmap-concurrency=64").assert_outcomes(passed=expected)


WIDE = """
import os
import pytest
from pathlib import Path

@pytest.fixture(scope="SCOPE")
def wide(request):
    name = request.node.nodeid
    note = Path(FOLDER, "events.txt").open("a")
    print("up", name, file=note, flush=True)
    BODY
    print("down", name, file=note, flush=True)
"""

TALKS = """
import os
import pytest

@pytest.mark.qualify
class TestTalk:
    @pytest.mark.parametrize("case", [1, 2])
    def test_it(self, runtime, wide, case):
        messages = []
        for turn in range(3):
            content = f"{wide} {os.environ.get('PLACE')} {case} {turn} {len(messages)}"
            messages.append({"role": "user", "content": content})
            messages.append(runtime.complete(messages).message)
        assert __name__.rpartition(".")[2].rpartition("_")[2] in wide
"""


def wide_conversations(project: SmallProject, scope: str, body: str, calls: int) -> pytest.RunResult:
    """Run conversations of three turns in six modules whose tests use a fixture of a scope."""
    wide = WIDE.replace("SCOPE", scope).replace("BODY", body).replace("FOLDER", repr(str(project.folder)))
    noting = """
from pathlib import Path

CALLS_FILE = Path(__file__).with_name("calls.txt")
"""
    together = TOGETHER.replace("CALLS", str(calls)).replace(
        "    # Every call", '    print(runtime, request.messages, file=CALLS_FILE.open("a"))\n    # Every call'
    )
    # A fixture of a package lives as long as the folder that it is defined in.
    project.write("conftest.py", noting + together + (wide if scope != "package" else ""))
    for name in ("aa", "bb", "cc", "dd", "ee", "ff"):
        project.write(f"{name}/__init__.py", "")
        project.write(f"{name}/test_{name}.py", TALKS)
        if scope == "package":
            project.write(f"{name}/conftest.py", wide)
    return project.run_apart("-p", "no:cacheprovider")


@pytest.mark.parametrize("scope", ["class", "module", "package"])
def test_conversations_with_wider_fixtures_are_asked_ahead_together(project: SmallProject, scope: str) -> None:
    """All calls of a turn are under way together, and each fixture is set up once more at most, and torn down."""
    result = wide_conversations(project, scope, "yield name", 24)
    result.assert_outcomes(passed=24)
    events = Counter((project.folder / "events.txt").read_text(encoding="utf-8").splitlines())
    assert max(events.values()) <= 2
    assert len(events) == 12
    assert {event: count for event, count in events.items() if event.startswith("up ")} == {
        event.replace("down ", "up "): count for event, count in events.items() if event.startswith("down ")
    }
    assert max(Counter(project.calls()).values()) == 1


@pytest.mark.parametrize(
    "body",
    [
        'os.environ["PLACE"] = name; yield name; del os.environ["PLACE"]',
        "with pytest.MonkeyPatch.context() as patch: patch.setenv('PLACE', name); yield name",
        'assert "PLACE" not in globals(); globals()["PLACE"] = name; yield PLACE; globals().pop("PLACE")',
    ],
    ids=["environment", "patch", "global"],
)
def test_fixtures_that_disturb_each_other_are_not_up_together(project: SmallProject, body: str) -> None:
    """One that changes what all tests share is torn down before another is set up; nothing is asked in vain."""
    result = wide_conversations(project, "module", body, 1)
    result.assert_outcomes(passed=24)
    lines = (project.folder / "events.txt").read_text(encoding="utf-8").splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["up", "down"] * (len(lines) // 2)
    assert max(Counter(lines).values()) <= 2
    assert len(project.calls()) == len(set(project.calls())) == 72


def test_a_fixture_that_another_is_in_the_way_of_ends_the_keeping(project: SmallProject) -> None:
    """Where a set-up fails beside others that are kept, they are torn down, and every test has its answers."""
    body = """
    place = Path(__file__).with_name("lock")
    place.touch(exist_ok=False)
    yield name
    place.unlink()"""
    result = wide_conversations(project, "module", body, 1)
    result.assert_outcomes(passed=24)
    assert not (project.folder / "lock").exists()
    assert len(project.calls()) == len(set(project.calls())) == 72


SHARED = """
import contextvars, json, logging, os, sqlite3
from pathlib import Path

FOLDER = Path(__file__).parent
FILE = FOLDER / "shared.txt"
WHERE = contextvars.ContextVar("where", default="")

class Part:
    tenant = ""

class App:
    def __init__(self):
        self.parts = [Part()]

APP = App()

def read_file():
    return FILE.read_text() if FILE.exists() else ""

def ask_table():
    with sqlite3.connect(FOLDER / "shared.db") as database:
        database.execute("create table if not exists names (name)")
        return " ".join(name for (name,) in database.execute("select name from names"))

def fill_table(*names):
    with sqlite3.connect(FOLDER / "shared.db") as database:
        database.execute("create table if not exists names (name)")
        database.execute("delete from names")
        database.executemany("insert into names values (?)", [(name,) for name in names])
"""

STATES = {
    "file": ("FILE.write_text(name); yield name; FILE.unlink()", "read_file()"),
    "table": ("fill_table(name); yield name; fill_table()", "ask_table()"),
    "app": ("APP.parts[0].tenant = name; yield name; APP.parts[0].tenant = ''", "APP.parts[0].tenant"),
    "library": (
        "before = json.JSONEncoder.item; json.JSONEncoder.item = name; yield name; json.JSONEncoder.item = before",
        "json.JSONEncoder.item",
    ),
    "logging": (
        "log = logging.getLogger('app'); before = log.level; log.setLevel(10 + len(name)); log.name = name;"
        " yield name; log.setLevel(before); log.name = 'app'",
        "'' if logging.getLogger('app').level == 0 else logging.getLogger('app').name",
    ),
    "context": ("token = WHERE.set(name); yield name; WHERE.reset(token)", "WHERE.get()"),
    "folder": (
        "before = os.getcwd(); os.chdir(FOLDER / name[:2]); yield name; os.chdir(before)",
        "'' if Path.cwd() == FOLDER else Path.cwd().name + '/test_' + Path.cwd().name + '.py'",
    ),
}
"""Bodies of a fixture that changes what all modules share, and what a test sees of that."""


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("order", [1, -1])
def test_the_real_run_sees_what_a_plain_run_would(project: SmallProject, state: str, order: int) -> None:
    """Whatever fixtures of modules that wait side by side do to each other, no real run sees anything of it."""
    body, view = STATES[state]
    wide = WIDE.replace("SCOPE", "module").replace("BODY", body)
    default = 'json.JSONEncoder.item = ""\n'
    project.write("conftest.py", TOGETHER.replace("CALLS", "1") + SHARED + default + wide)
    # What the fixture changes is there while tests of its module run, and nowhere before, between and after.
    bare = f"from conftest import *\n\ndef test_bare():\n    assert ({view}) == ''\n"
    talk = TALKS + f"        assert ({view}) == wide\n"
    names = ("aa", "bb", "cc", "dd")
    for name in names:
        project.write(f"{name}/__init__.py", "")
        project.write(f"{name}/test_{name}.py", "from conftest import *\n" + talk)
    for place in ("bb/test_b0.py", "dd/test_zz.py"):
        project.write(place, bare)
    first, *others = (f"{name}/test_{name}.py" for name in names[::order])
    arguments = [first, "bb/test_b0.py", *others, "dd/test_zz.py"]
    project.run_apart("-p", "no:cacheprovider", *arguments).assert_outcomes(passed=4 * 4 + 2)
    # Once more at most than a plain run does.
    events = Counter((project.folder / "events.txt").read_text(encoding="utf-8").splitlines())
    assert max(events.values()) <= 2, events


@pytest.mark.parametrize("scope", ["function", "module", "session"])
def test_a_fixture_that_no_signature_names_may_be_ended_while_it_is_set_up(
    project: SmallProject, scope: str
) -> None:
    """A dry run that ends inside of it, at a call or a breakpoint, leaves nothing that the real run trips over."""
    ends = {"function": "request.getfixturevalue('runtime').complete('set up')"}.get(scope, "sys.breakpointhook()")
    project.write(
        "conftest.py",
        echo_hook()
        + f"""
import sys
import pytest

sys.breakpointhook = lambda *_, **__: None

@pytest.fixture(scope="{scope}")
def unnamed(request):
    {ends}
    return "there"
""",
    )
    project.write(
        "test_it.py",
        """
import pytest

@pytest.mark.parametrize("case", list("ab"))
@pytest.mark.qualify
def test_it(runtime, request, case):
    assert request.getfixturevalue("unnamed") == "there"
    assert runtime.complete(case).text == case
""",
    )
    project.run_apart("-p", "no:cacheprovider").assert_outcomes(passed=4)


@pytest.mark.parametrize("scope", ["function", "module"])
def test_what_a_set_up_that_ended_has_registered_is_undone(project: SmallProject, scope: str) -> None:
    """A dry run that ends in a set-up calls what the fixture has added for its end until then."""
    ends = {"function": "request.getfixturevalue('runtime').complete('set up')"}.get(scope, "sys.breakpointhook()")
    project.write(
        "conftest.py",
        echo_hook()
        + f"""
import os
import sys
import pytest

sys.breakpointhook = lambda *_, **__: None

@pytest.fixture(scope="{scope}")
def place(request):
    assert "PLACE" not in os.environ
    os.environ["PLACE"] = "here"
    request.addfinalizer(lambda: os.environ.pop("PLACE"))
    {ends}
""",
    )
    project.write(
        "test_it.py",
        """
import os
import pytest

def test_nowhere():
    assert "PLACE" not in os.environ

@pytest.mark.qualify
@pytest.mark.parametrize("case", list("ab"))
def test_here(runtime, place, case):
    assert runtime.complete(case).text == case
""",
    )
    project.run_apart("-p", "no:cacheprovider").assert_outcomes(passed=5)


def test_failed_set_ups_teach_nothing(project: SmallProject) -> None:
    """Items whose setup fails at first say nothing of how often the others ask."""
    project.write("conftest.py", TOGETHER.replace("CALLS", "20").replace("pytest_proofmap_call", "together"))
    project.write(
        "conftest.py",
        echo_hook()
        + """
import pytest

SEEN = {}

@pytest.fixture
def fragile(request):
    # The second setup of a test is its second dry run: it fails, after the first has asked.
    SEEN[request.node.nodeid] = SEEN.get(request.node.nodeid, 0) + 1
    if SEEN[request.node.nodeid] == 2 and "z" not in request.node.nodeid:
        raise RuntimeError("held by the first")
""",
    )
    project.write(
        "test_it.py",
        """
import pytest

@pytest.mark.parametrize("case", [*"abcdefgh", *(f"z{i}" for i in range(8))])
@pytest.mark.qualify
def test_it(fragile, runtime, case):
    first = runtime.complete(case).text
    assert runtime.complete(first + "!").text == case + "!"
""",
    )
    project.run("-p", "no:cacheprovider").assert_outcomes(passed=32)


def test_a_call_in_a_teardown_breaks_no_other_teardown(project: SmallProject) -> None:
    """A miss in a fixture's teardown is an ordinary error, so that patches are undone in dry runs, too."""
    project.write("conftest.py", echo_hook())
    project.write(
        "test_it.py",
        """
import os
import pytest

@pytest.fixture
def patched(monkeypatch):
    monkeypatch.setenv("LEAKED", "yes")

@pytest.fixture
def judged(patched, runtime, request):
    yield
    assert runtime.complete("judge " + request.node.callspec.params["case"]).text

@pytest.mark.parametrize("case", ["a", "b"])
@pytest.mark.qualify
def test_judged(judged, runtime, case):
    assert os.environ["LEAKED"] == "yes"
    assert runtime.complete(case).text == case

@pytest.mark.parametrize("case", ["c", "d"])
@pytest.mark.qualify
def test_other(runtime, case):
    assert runtime.complete(case + os.environ.get("LEAKED", "")).text == case

def test_plain():
    assert "LEAKED" not in os.environ
""",
    )
    project.run("-p", "no:cacheprovider").assert_outcomes(passed=9)
    assert not [call for call in project.calls() if "yes" in call]


@pytest.mark.parametrize("start", ["pool", "threads"])
def test_threads_ask_all_that_they_have_to_ask(project: SmallProject, start: str) -> None:
    """All calls of a test's threads are under way before the first of them is answered."""
    project.write("conftest.py", TOGETHER.replace("CALLS", "16"))
    how = {
        "pool": """
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(runtime.complete, prompts))
""",
        "threads": """
    replies = []
    threads = [Thread(target=lambda p=p: replies.append(runtime.complete(p))) for p in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
""",
    }
    project.write(
        "test_it.py",
        f"""
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
import pytest

@pytest.mark.qualify
def test_it(runtime):
    prompts = [f"part {{i}}" for i in range(8)]
{how[start]}
    assert sorted(reply.text for reply in replies) == prompts
""",
    )
    result = project.run("-p", "no:cacheprovider", "-W", "error")
    result.assert_outcomes(passed=2)
    assert "Suspended" not in result.stdout.str() + result.stderr.str()


def test_what_a_test_asks_after_its_threads_were_suspended_is_not_sent(project: SmallProject) -> None:
    """A test that goes on without its threads' answers asks nothing that rests on their absence."""
    project.write("conftest.py", echo_hook())
    project.write(
        "test_it.py",
        """
from threading import Thread
import pytest

@pytest.mark.qualify
def test_it(runtime):
    found = []
    thread = Thread(target=lambda: found.append(runtime.complete("part").text))
    thread.start()
    thread.join()
    assert runtime.complete(f"all of {found}").text
""",
    )
    project.run("-p", "no:cacheprovider").assert_outcomes(passed=2)
    assert not [call for call in project.calls() if "[]" in call]


@pytest.mark.parametrize("option", ["-s", "--capture=fd", "--capture=sys", "--capture=tee-sys"])
def test_dry_runs_print_nothing(project: SmallProject, option: str) -> None:
    """What a test, its child and the teardown of a wider fixture print is seen as often as in a plain run."""
    project.write("conftest.py", echo_hook())
    test = """
import os
import subprocess
import sys
import pytest

@pytest.fixture(scope="module")
def wide():
    yield
    print("wide down")

@pytest.mark.parametrize("case", ["a", "b"])
@pytest.mark.qualify
def test_it(wide, runtime, case):
    print("said " + case)
    print("warned " + case, file=sys.stderr)
    if SHOWN:
        subprocess.run([sys.executable, "-c", "print('child " + case + "')"], check=True)
    assert runtime.complete(runtime.complete(case).text + "!").text == case + "!"
"""
    for name in ("test_one.py", "test_two.py"):
        project.write(name, test.replace("SHOWN", str(option == "-s")))
    result = project.run_apart("-p", "no:cacheprovider", option)
    result.assert_outcomes(passed=8)
    shown = result.stdout.str() + result.stderr.str()
    times = 8 if option in ("-s", "--capture=tee-sys") else 0
    assert shown.count("said ") == times
    assert shown.count("warned ") == times
    assert shown.count("child ") == (8 if option == "-s" else 0)
    assert shown.count("wide down") == (2 if times else 0)


@pytest.mark.parametrize(
    "stop", ["breakpoint()", "import pdb; pdb.set_trace()", "set_trace()", "import pdb; pdb.Pdb().set_trace()"]
)
def test_a_debugger_stops_once_in_the_real_run(project: SmallProject, stop: str) -> None:
    """A dry run that meets a breakpoint ends there, and the test is run dry no more."""
    project.write("conftest.py", echo_hook())
    project.write(
        "test_it.py",
        f"""
from pdb import set_trace
import pytest

@pytest.mark.qualify
def test_it(runtime):
    assert runtime.complete("before").text == "before"
    if runtime.name == "gpt":
        {stop}
    assert runtime.complete("after").text == "after"
""",
    )
    process = project.start("-p", "no:cacheprovider", "-s", "-q")
    stdout, _ = process.communicate(timeout=100)
    del stdout
    import subprocess

    done = subprocess.run(
        (
            sys.executable,
            "-m",
            "pytest",
            *project._arguments(("-p", "no:cacheprovider", "-s", "--proofmap-cache=refresh"), True),
        ),
        cwd=project.folder,
        input="c\nc\nc\nc\n",
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.count("(Pdb)") == 1, done.stdout
    assert "2 passed" in done.stdout


def installed(project: SmallProject, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """Write a plugin as if it were installed beside pytest, and load it."""
    project.write(f"venv/site-packages/{name}.py", text)
    monkeypatch.syspath_prepend(project.folder / "venv" / "site-packages")
    project.plugins.append(name)


def test_plugins_that_guard_each_test_take_part(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that forbids something in its setup hook, and reports nothing, forbids it in dry runs as well."""
    guard = """
import os

def pytest_runtest_setup(item):
    os.environ["GUARDED"] = "1"

def pytest_runtest_teardown(item):
    del os.environ["GUARDED"]
"""
    installed(project, monkeypatch, "pytest_guarding", guard)
    project.write("conftest.py", echo_hook())
    project.write(
        "test_it.py",
        """
import os
import pytest

@pytest.mark.parametrize("case", list("abc"))
@pytest.mark.qualify
def test_it(runtime, case):
    assert runtime.complete(case + os.environ.get("GUARDED", " unguarded")).text == case + "1"
""",
    )
    project.run("-p", "no:cacheprovider").assert_outcomes(passed=6)
    assert not [call for call in project.calls() if "unguarded" in call]


def test_random_numbers_are_those_of_a_plain_run(project: SmallProject) -> None:
    """A dry run leaves the generators alone, and a plugin that seeds each test seeds it, too."""
    pytest.importorskip("numpy")
    seeding = """
import random

def pytest_runtest_setup(item):
    if "seeded" in item.nodeid:
        random.seed(7)

def pytest_runtest_call(item):
    if "seeded" in item.nodeid:
        random.seed(7)
"""
    project.write("venv/site-packages/pytest_seeding.py", seeding)
    place = str(project.folder / "venv" / "site-packages")
    project.write("conftest.py", echo_hook())
    test = """
import random
import numpy
import pytest

random.seed(1)
numpy.random.seed(1)

@pytest.mark.parametrize("case", list("abc"))
@pytest.mark.qualify
def test_seeded(runtime, case):
    assert runtime.complete(f"{case} {random.random()}").text

@pytest.mark.parametrize("case", list("abc"))
@pytest.mark.qualify
def test_plain(runtime, case):
    assert runtime.complete(case).text
    print(f"drawn {random.random()} {numpy.random.random()}")
"""
    project.write("test_it.py", test)
    seen = []
    for option in ("--proofmap-concurrency=0", "--proofmap-cache=off"):
        result = project.run_apart(
            "-p", "no:cacheprovider", "-p", "pytest_seeding", "-s", option, PYTHONPATH=place
        )
        result.assert_outcomes(passed=12)
        seen.append([line.partition("drawn ")[2] for line in result.outlines if "drawn " in line])
    plain, ahead = seen
    assert len(plain) == 6
    assert plain == ahead
    seeded = [call for call in project.calls() if "." in call]
    assert len(set(seeded)) == 6
    assert max(Counter(seeded).values()) == 2  # once in each of both runs


SEEDING = """
import random
import sys

def seed():
    random.seed(7)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(7)

def pytest_runtest_setup(item):
    seed()

def pytest_runtest_call(item):
    seed()

def pytest_runtest_teardown(item):
    seed()
"""
"""A plugin that seeds each phase of each test, as pytest-randomly does."""

DRAWING = """
import random
import numpy
import pytest

@pytest.fixture(scope="class")
def of_class(of_module, alone):
    return f"{of_module} {random.random() if alone else 0}"

@pytest.fixture
def drawn(of_class, seeded):
    return f"{of_class} {random.random() if seeded else 0}"

@pytest.mark.qualify
class TestDraws:
    @pytest.mark.parametrize("case", list("abc"))
    def test_draws(self, runtime, case, drawn, seeded):
        first = runtime.complete(f"{case} {drawn}").text
        assert runtime.complete(f"{first} {random.random() if seeded else 0}").text

def test_plain(of_module):
    pass

@pytest.mark.parametrize("case", list("ab"))
@pytest.mark.qualify
def test_of_package(runtime, case, of_package):
    first = runtime.complete(f"{case} {__name__} {of_package}").text
    assert runtime.complete(f"again {first}").text
"""


@pytest.mark.parametrize(("seeds", "workers"), [(True, ()), (False, ()), (True, ("-p", "xdist", "-n2"))])
def test_random_numbers_of_wider_fixtures_are_drawn_for_the_real_run(
    project: SmallProject, seeds: bool, workers: tuple[str, ...]
) -> None:
    """What fixtures of any scope draw in dry runs they draw again: a plain run's numbers, where each is seeded."""
    if find_spec("numpy") is None:
        pytest.skip("needs numpy")
    project.write("venv/site-packages/pytest_seeding.py", SEEDING if seeds else "")
    place = str(project.folder / "venv" / "site-packages")
    # Which test of a worker sets up the fixtures of its session, and draws for them, is chance.
    of_session = "0" if workers else "random.random()"
    fixtures = f"""
import random
import numpy
import pytest

@pytest.fixture(scope="session")
def alone():
    return {not workers}

@pytest.fixture(scope="session")
def seeded(alone):
    return {seeds} and alone

@pytest.fixture(scope="session")
def of_session():
    return f"{{{of_session}}} {{numpy.random.random()}}"

@pytest.fixture(scope="package")
def of_package(of_session):
    return f"{{of_session}} {{{of_session}}}"

@pytest.fixture(scope="module")
def of_module(of_package, request):
    yield f"{{request.module.__name__}} {{of_package}} {{random.random()}}"
"""
    project.write("conftest.py", echo_hook() + fixtures)
    for name in ("one", "two", "three"):
        project.write(f"{name}/__init__.py", "")
        project.write(f"{name}/test_{name}.py", DRAWING)
    asked = []
    for option in ("--proofmap-concurrency=0", "--proofmap-concurrency=8"):
        (project.folder / "calls.txt").unlink(missing_ok=True)
        more = ("-p", "pytest_seeding", "--proofmap-cache=off", option)
        result = project.run_apart("-p", "no:cacheprovider", *more, *workers, PYTHONPATH=place)
        result.assert_outcomes(passed=33)
        asked.append(Counter(project.calls()))
    plain, ahead = asked
    assert "unstable" not in result.stdout.str()
    assert sum(ahead.values()) == len(ahead) == 60
    if seeds:
        assert plain == ahead


PARAMETRIZED = """
import pytest
from pathlib import Path

def note(text):
    with Path("events.txt").open("a") as file:
        file.write(text + "\\n")

@pytest.fixture(scope="SCOPE", params=["p1", "p2", "p3", "p4"])
def wide(request):
    note(f"up {request.param} {request.node.nodeid}")
    yield request.param
    note(f"down {request.param} {request.node.nodeid}")

@pytest.fixture(scope="SCOPE")
def beside(wide):
    note(f"beside {wide}")

@pytest.mark.parametrize("case", list("abc"))
@pytest.mark.qualify
class TestIt:
    def test_it(self, wide, beside, runtime, case):
        assert runtime.complete(runtime.complete(case + wide).text + "!").text == case + wide + "!"
"""


@pytest.mark.parametrize(("scope", "most"), [("session", 1), ("module", 2), ("class", 2)])
def test_parametrized_fixtures_of_wider_scope_are_set_up_as_promised(
    project: SmallProject, scope: str, most: int
) -> None:
    """Those of the session are set up as in a plain run, those of modules and classes at most once more each."""
    project.write("conftest.py", echo_hook())
    project.write("test_it.py", PARAMETRIZED.replace("SCOPE", scope))

    def set_ups(*arguments: str) -> Counter[str]:
        project.run("-p", "no:cacheprovider", *arguments).assert_outcomes(passed=24)
        events = Path("events.txt").read_text(encoding="utf-8").splitlines()
        Path("events.txt").unlink()
        assert sum(event.startswith("up") for event in events) == sum(e.startswith("down") for e in events)
        return Counter(event for event in events if not event.startswith("down"))

    plain = set_ups("--proofmap-concurrency=0", "--proofmap-cache=off")
    ahead = set_ups()
    assert set(plain) == set(ahead)
    for event, times in ahead.items():
        assert times <= most * plain[event], event
    assert set_ups() <= Counter({event: 2 * times for event, times in plain.items()})


def test_a_plain_run_ahead_of_a_dry_one_says_nothing(project: SmallProject) -> None:
    """A run whose tests ask the same each time has nothing to say of unused answers."""
    project.configure(CONFIGURATION)
    project.write("conftest.py", "from pathlib import Path\n" + PRICED)
    project.write(
        "test_it.py",
        "import pytest\n\n@pytest.mark.qualify\ndef test_it(runtime):\n    assert runtime.complete('hi').text\n",
    )
    result = project.run("-p", "no:cacheprovider")
    assert "used by no sample" not in result.stdout.str()
    assert project.evidence().totals.spent_usd == pytest.approx(0.011)
