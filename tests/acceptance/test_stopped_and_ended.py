"""Runs that are stopped or ended by others: SIGTERM, SIGSTOP, SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_provider import FakeProvider
from small_project import SmallProject, echo_hook

from pytest_proofmap.calls.cache.disk import DiskStore

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

SECONDS = 100

TESTS = """
import pytest

@pytest.mark.parametrize("case", [f"c{number}" for number in range(6)])
@pytest.mark.qualify(min_pass_rate=0.5)
def test_echo(runtime, case):
    assert runtime.complete(case).text == case
"""

SLOW = "import time\n    time.sleep(0.05 if prompt in ('c0', 'c1') else 60)\n    return prompt"


def wait_for(found: object, seconds: float = SECONDS) -> None:
    """Wait until a function returns something."""
    assert callable(found)
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.05)


def is_gone(process: int) -> bool:
    """Return whether a process has ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def services() -> set[int]:
    """Return the processes of call services."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"pytest_proofmap.calls.service.__main__" in line and b"import main" in line:
            found.add(int(folder.name))
    return found


def service_of(parent: int) -> int | None:
    """Return the call service that a process has started."""
    for process in services():
        try:
            status = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(status[1]) == parent:
            return process
    return None


@pytest.mark.parametrize("prefetch", [(), ("--proofmap-concurrency=0",)], ids=["prefetch", "one-at-a-time"])
def test_terminated(project: SmallProject, prefetch: tuple[str, ...]) -> None:
    """SIGTERM ends a run as Ctrl-C does: what was answered is kept, and the exit status is 143."""
    project.write("conftest.py", echo_hook(SLOW))
    project.write("test_echo.py", TESTS)
    process = project.start(*prefetch)
    wait_for(lambda: {"gpt 0 c0", "gpt 0 c1"} <= set(project.calls()) and len(project.calls()) > 3)
    threading.Event().wait(0.5)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 143, output
    assert "KeyboardInterrupt" in output
    written = [path for path in (project.folder / ".proofmap").glob("*.json") if path.name != "p-values.json"]
    assert len(written) == 1, output
    assert '"complete": false' in written[0].read_text() or '"complete":false' in written[0].read_text()
    assert "interrupted" in written[0].read_text()
    project.write("conftest.py", echo_hook())
    (project.folder / "calls.txt").unlink()
    project.run_apart()
    assert not {"gpt 0 c0", "gpt 0 c1"} & set(project.calls())


def test_a_handler_of_the_project_is_left_alone(project: SmallProject) -> None:
    """Who handles SIGTERM already goes on doing so."""
    project.write(
        "conftest.py",
        "import os, signal\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(7))\n" + echo_hook(SLOW),
    )
    project.write("test_echo.py", TESTS)
    process = project.start()
    wait_for(lambda: len(project.calls()) > 3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 7


def test_a_stopped_run_is_named_and_waited_for_within_a_bound(
    project: SmallProject, fake_provider: FakeProvider
) -> None:
    """A second run that needs a call which a stopped one has begun says so at once, and makes it in the end."""
    project.configure('baseline = "gpt"\nchallengers = ["mini"]\n' + "".join(
        f'[runtimes.{name}]\nmodel = "openai/{name}"\napi_base = "os.environ/BASE"\n' for name in ("gpt", "mini")
    ))  # fmt: skip
    project.write(
        "test_one.py",
        "import pytest\n@pytest.mark.qualify\ndef test_one(runtime):\n    assert runtime.complete('hi').text\n",
    )
    for model in ("gpt", "mini"):
        fake_provider.script(model, faults=["hang"])
    first = project.start(BASE=fake_provider.url)
    wait_for(lambda: len(fake_provider.requests) >= 2)
    service = service_of(first.pid)
    assert service is not None
    os.kill(service, signal.SIGSTOP)
    try:
        result = project.run_apart(BASE=fake_provider.url)
    finally:
        os.kill(service, signal.SIGCONT)
        first.kill()
        first.communicate()
    assert result.ret == 0, str(result.stdout)
    assert f"waiting for process {service}, which is stopped" in str(result.stdout)
    assert len(fake_provider.received("gpt")) == 2


BUSY = """
import os, subprocess, sys, time
from pytest_proofmap.calls.service.launcher import ServiceProcess, Surroundings
from pytest_proofmap.calls.service import launcher as service_process
from pytest_proofmap.calls.service.protocol import ServiceSettings
from pytest_proofmap.redaction import Redactor

service_process._BOOTSTRAP = service_process._BOOTSTRAP.replace(
    "    main(settings)",
    "    from pytest_proofmap.calls.service import __main__ as service\\n"
    "    def busy(*_):\\n"
    "        print('busy', file=sys.stderr, flush=True)\\n"
    "        import re\\n"
    "        re.match(r'(a+)+$', 'a' * 64 + 'b')\\n"
    "    service._serve = busy\\n"
    "    main(settings)",
)
process = ServiceProcess(Surroundings.now())
process.serve(ServiceSettings({"kind": "memory"}), Redactor({}))
print(process._process.pid, flush=True)
while b"busy" not in open(process._log.name, "rb").read():
    assert process._process.poll() is None, open(process._log.name).read()
    time.sleep(0.05)
print("busy", flush=True)
time.sleep(600)
"""


def test_a_busy_service_does_not_outlive_pytest() -> None:
    """After kill -9 of its parent the service ends although its interpreter does nothing but match a pattern."""
    parent = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    service = int(parent.stdout.readline())
    assert parent.stdout.readline() == "busy\n"
    parent.kill()
    parent.communicate()
    wait_for(lambda: is_gone(service), 60)


LOCKER = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("under_way", [False, True], ids=["before the run", "under way"])
def test_a_cache_that_another_process_keeps_locked_is_told_of(project: SmallProject, under_way: bool) -> None:
    """A run that waits for a lock says so while it waits, and goes on when the lock is gone."""
    database = project.folder / ".proofmap" / "cache" / "cache.db"
    project.write(
        "conftest.py", echo_hook("import time\n    time.sleep(2 if prompt == 'c0' else 0)\n    return prompt")
    )
    project.write("test_echo.py", TESTS)
    if not under_way:
        DiskStore(database.parent, pytest.fail).prepare_to_write()
    run = project.start() if under_way else None
    wait_for(lambda: database.exists() and (not under_way or project.calls()))
    locker = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert locker.stdout is not None
        assert locker.stdout.readline() == "held\n"
        run = run or project.start()
        assert run.stdout is not None
        said: list[str] = []
        for line in run.stdout:
            said.append(line)
            if "keeps the response cache" in line:
                break
    finally:
        locker.communicate("")
    assert any("waiting for it" in line for line in said), "".join(said)
    rest = run.communicate(timeout=SECONDS)[0]
    assert run.returncode == 0, "".join(said) + rest
