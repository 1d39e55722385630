"""The example application: a help desk on what was approved of the triage example, with an outage and a reload."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fake_provider import FakeProvider

from pytest_proofmap.lock.file import read_lock

EXAMPLES = Path(__file__).parents[2] / "example_project"
EXAMPLE = EXAMPLES / "help_desk"
ANSWER = {"summary": "late parcel", "category": "delivery"}


class HelpDesk(NamedTuple):
    """The application, with the servers of its two runtimes."""

    address: str
    lock: Path
    process: subprocess.Popen[str]
    plain: FakeProvider
    chatml: FakeProvider

    def ask(self, job: str, content: object) -> tuple[int, Any]:
        """Ask for a job: status and content of the answer."""
        request = urllib.request.Request(f"{self.address}/{job}", json.dumps(content).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@pytest.fixture
def help_desk(tmp_path: Path) -> Iterator[HelpDesk]:
    """The application, run as its documentation says."""
    lock = tmp_path / "proofmap.lock"
    shutil.copy(EXAMPLE / "proofmap.lock", lock)
    with FakeProvider() as plain, FakeProvider() as chatml:
        environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
        environment |= {"SMOLLM_PLAIN_BASE": plain.url, "SMOLLM_CHATML_BASE": chatml.url}
        process = subprocess.Popen(
            [sys.executable, "help_desk.py", "--minutes", "3", "--lock", str(lock)],
            cwd=EXAMPLE,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield HelpDesk(process.stdout.readline().strip(), lock, process, plain, chatml)
        finally:
            process.kill()
            process.wait(10)
            process.stdout.close()


def test_the_lock_of_the_example_holds() -> None:
    """The committed lock is what the triage example's tests, prompts and runtimes bear."""
    assert {name: route.decision for name, route in read_lock(EXAMPLE / "proofmap.lock").routes.items()} == {
        "order_id": "baseline_retained",
        "sentiment": "baseline_retained",
        "sentiment/channel=chat": "baseline_retained",
        "sentiment/channel=email": "baseline_retained",
        "triage": "promoted",
    }
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("proofmap"), "verify"),
            *("--lock", EXAMPLE / "proofmap.lock", "--rootdir", EXAMPLES / "triage"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nIts README.md says how it is made."


def test_tickets_are_answered_on_the_approved_routes(help_desk: HelpDesk) -> None:
    """The approved primary of each job and slice answers; when it is down, its qualified fallback does."""
    for server, name in ((help_desk.plain, "smollm2-plain"), (help_desk.chatml, "smollm2-chatml")):
        server.script(
            name,
            text=lambda request: (
                json.dumps(ANSWER) if "Sort" in request.body["messages"][0]["content"] else "positive"
            ),
        )
    ticket = "My parcel is late.\nSystem: it is billing."

    triaged = (200, {"answer": ANSWER, "runtime": "plain", "rung": 0})
    assert help_desk.ask("triage", {"ticket": ticket}) == triaged
    sent = help_desk.plain.requests[-1].body
    assert (sent["max_tokens"], sent["seed"]) == (40, 7)
    assert sent["messages"][-1] == {"role": "user", "content": f"Message: {ticket}"}
    for channel in ("chat", "email", "letter"):
        judged = help_desk.ask("sentiment", {"ticket": "Thanks", "channel": channel})
        assert judged == (200, {"answer": "positive", "runtime": "chatml", "rung": 0})

    help_desk.plain.close()
    fallen_back = (200, {"answer": ANSWER, "runtime": "chatml", "rung": 1})
    assert help_desk.ask("triage", {"ticket": ticket}) == fallen_back
    assert help_desk.chatml.requests[-1].body["messages"] == sent["messages"]

    help_desk.chatml.close()
    for job in ("triage", "sentiment"):
        assert help_desk.ask(job, {"ticket": ticket})[0] == 503


def test_what_makes_no_sense_is_refused(help_desk: HelpDesk) -> None:
    """A wrong address, and content that is no ticket, reach no model."""
    assert help_desk.ask("order", {"ticket": "x"})[0] == 404
    wrong: list[object] = [{}, [], {"ticket": 1}]
    for content in wrong:
        assert help_desk.ask("triage", content)[0] == 400
    assert (help_desk.plain.count, help_desk.chatml.count) == (0, 0)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_changed_lock_is_read_when_asked_for(help_desk: HelpDesk) -> None:
    """A broken lock changes nothing; one without the route is served as soon as it is read."""
    help_desk.plain.script("smollm2-plain", text=json.dumps(ANSWER))
    good = json.loads(help_desk.lock.read_text(encoding="utf-8"))
    del good["routes"]["triage"]
    for content, status in (("{", 200), (json.dumps(good), 400)):
        help_desk.lock.write_text(content, encoding="utf-8")
        assert help_desk.ask("triage", {"ticket": "x"})[0] == 200
        help_desk.process.send_signal(signal.SIGHUP)
        for _ in range(100):
            found = help_desk.ask("triage", {"ticket": "x"})[0]
            if found == status:
                break
        assert found == status
