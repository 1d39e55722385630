"""Kills runs with signal 9 and looks at what is left: files, answers, processes, and what the next run does."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from layout import environment, pytest_command, table
from processes import descendants, end, wait_until_gone

from disk_faults import build, faults  # isort: skip
from fake_provider import FakeProvider, Key, Ledger, echoing  # isort: skip
from pytest_proofmap.cli.inputs import last_run

from pytest_proofmap.lock.file import read_lock  # isort: skip
from pytest_proofmap.evidence.artifact import read_evidence  # isort: skip
from pytest_proofmap.calls.cache.disk import DiskStore  # isort: skip

__all__ = ["campaign"]

CONCURRENCY = 32
LATENCY_S = 0.02
ENDS_WITHIN_S = 20.0
"""How long what is left of a run may take to end before it counts as stuck or as an orphan."""
SERVICE = "pytest_proofmap.calls.service.__main__"

TEST = """
import pytest

@pytest.mark.qualify
@pytest.mark.parametrize("case", range({cases}))
def test_answers(runtime, case):
    for part in range({parts}):
        assert runtime.complete(f"part {{part}} of {{case}}").text == f"answer to part {{part}} of {{case}}"
"""
PARTS = 4
"""Calls of each test."""

OWN_CLIENT = """
import http.client
import json


def pytest_proofmap_call(runtime, request):
    connection = http.client.HTTPConnection("127.0.0.1", {port}, timeout=60)
    model = request.model.removeprefix("openai/")
    body = json.dumps({{"model": model, "messages": request.messages}})
    connection.request("POST", "/v1/chat/completions", body)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer
"""
"""A ``conftest.py`` whose hook calls the provider in place of LiteLLM, from pytest's own process."""

CONFIGURATION = """
baseline = "today"
challengers = ["cheaper"]
concurrency = {concurrency}

[runtimes.today]
model = "openai/large"
api_base = "{url}"
price = {{ input_per_mtok = 2.5, output_per_mtok = 10.0 }}

[runtimes.cheaper]
model = "openai/small"
api_base = "{url}"
price = {{ input_per_mtok = 0.15, output_per_mtok = 0.6 }}
"""


@dataclass
class Figures:
    """What one kind of kill left behind, over all of its trials."""

    trials: int = 0
    lost: int = 0
    """Answers that were on disk and were asked for again."""
    most_in_flight: int = 0
    """Answers that the provider had sent and that were not on disk, at most in one trial."""
    again: int = 0
    """All of them: what kills cost."""
    bad_files: int = 0
    left_files: int = 0
    """Temporary files and folders that nobody will use again, after the rerun."""
    orphans: int = 0
    stuck: int = 0
    """Survivors that did not end by themselves."""
    slowest_end_s: float = 0.0
    """From the kill until all processes of the run were gone, at most."""
    failed_reruns: int = 0

    def broken(self) -> int:
        """Return how many promises were broken."""
        return self.lost + self.bad_files + self.orphans + self.stuck + self.failed_reruns


@dataclass
class Project:
    """A project in a folder, asked of a provider."""

    folder: Path
    calls: int
    url: str
    own_client: bool = False
    """Whether the project calls by a hook of its own."""
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Write it."""
        self.folder.mkdir(parents=True)
        (self.folder / "tmp").mkdir()
        (self.folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (self.folder / "test_answers.py").write_text(
            TEST.format(cases=self.calls // 2 // PARTS, parts=PARTS), encoding="utf-8"
        )
        if self.own_client:
            port = self.url.rpartition(":")[2].partition("/")[0]
            (self.folder / "conftest.py").write_text(OWN_CLIENT.format(port=port), encoding="utf-8")
        text = CONFIGURATION.format(url=self.url, concurrency=CONCURRENCY)
        (self.folder / "proofmap.toml").write_text(text, encoding="utf-8")

    def start(self, *command: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a run, or another command."""
        with (self.folder / "tmp" / "output.txt").open("wb") as file:
            return subprocess.Popen(
                command or pytest_command("--tb=line"),
                cwd=self.folder,
                env=environment(TMPDIR=str(self.folder / "tmp"), **more),
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def output(self) -> str:
        """Return what the last command wrote."""
        return (self.folder / "tmp" / "output.txt").read_text(encoding="utf-8", errors="replace")

    def kept(self) -> set[Key]:
        """Return the requests whose answers are on disk."""
        cache = self.folder / ".proofmap" / "cache"
        with contextlib.closing(DiskStore(cache, self.notes.append, readonly=True)) as store:
            requests = [entry.answer.request for entry in store.entries()]
        return {(each["model"].removeprefix("openai/"), each["messages"][-1]["content"]) for each in requests}

    def bad_files(self) -> list[str]:
        """Return what is wrong with the files that are there."""
        bad = [f"a warning of the cache: {note}" for note in self.notes]
        self.notes.clear()
        for path in self.folder.rglob("*.db"):
            with contextlib.closing(sqlite3.connect(path)) as database:
                found = database.execute("PRAGMA integrity_check").fetchall()
                if found != [("ok",)]:
                    bad.append(f"{path.name}: {found}")
        artifact, lock = self.folder / ".proofmap" / "evidence.json", self.folder / "proofmap.lock"
        for path, read in ((artifact, read_evidence), (lock, read_lock)):
            try:
                if path.exists():
                    read(path)
            except Exception as error:
                bad.append(f"{path.name}: {error}")
        for path in (self.folder / ".proofmap").rglob("*.json"):
            try:
                json.loads(path.read_bytes())
            except ValueError as error:
                bad.append(f"{path.name}: {error}")
        return bad

    def left_files(self) -> list[str]:
        """Return files and folders that a finished run would not have left."""
        found = [*self.folder.rglob("*.tmp"), *(self.folder / "tmp").glob("proofmap-*")]
        return [path.name for path in [*found, *self.folder.glob(".proofmap/.evidence-*")]]


class Campaign:
    """Trials, each a killed run and a rerun."""

    def __init__(self, folder: Path, provider: FakeProvider) -> None:
        self.figures: dict[str, Figures] = {}
        self.broken: list[str] = []
        self._folder = folder
        self._provider = provider
        self._number = 0

    def project(self, calls: int, *, own_client: bool = False) -> Project:
        """Return a fresh project and a fresh ledger."""
        self._number += 1
        self._provider.follow(None)
        return Project(self._folder / f"trial-{self._number}", calls, self._provider.url, own_client)

    @property
    def ledger(self) -> Ledger:
        """What the provider saw in this trial."""
        return self._provider.ledger

    def kill_at_random(self, calls: int, trials: int, rng: random.Random, *, own_client: bool = False) -> None:
        """Kill pytest, the service or both at a moment anywhere in a run.

        Args:
            calls: Calls of a run.
            trials: How many runs to kill.
            rng: Chooses the moments.
            own_client: Whether the project's own hook makes the calls, and not LiteLLM.
        """
        undisturbed = self.project(calls, own_client=own_client)
        started = time.monotonic()
        self._require(undisturbed, undisturbed.start().wait(300), "undisturbed run")
        whole_s = time.monotonic() - started
        client = "the project's own client" if own_client else "LiteLLM"
        print(f"An undisturbed run of {calls:,} calls through {client} took {whole_s:.1f} s.", flush=True)
        for number in range(trials):
            target = ("pytest", "call service", "both")[number % 3]
            project = self.project(calls, own_client=own_client)
            run = project.start()
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(rng.random() * whole_s)
            self._kill(project, run, target, f"{target}, {client}")
            if number % 10 == 9:
                print(f"{number + 1} kills at random, {self.most_in_flight()} in flight at most.", flush=True)

    def most_in_flight(self) -> int:
        """Return how many answers one kill cost at most so far."""
        return max(figures.most_in_flight for figures in self.figures.values())

    def _kill(self, project: Project, run: subprocess.Popen[bytes], target: str, name: str) -> None:
        figures = self.figures.setdefault(name, Figures())
        children = descendants(run.pid)
        if target != "pytest":
            end(children)
        if target != "call service" or not children:
            run.kill()
        killed_at = time.monotonic()
        self._wait(project, run, children, figures)
        figures.slowest_end_s = max(figures.slowest_end_s, time.monotonic() - killed_at)
        self._inspect(project, figures)

    def _wait(self, project: Project, run: subprocess.Popen[bytes], children: list[int], figures: Figures) -> None:
        try:
            run.wait(ENDS_WITHIN_S * 3)
        except subprocess.TimeoutExpired:
            figures.stuck += 1
            self._note(project, f"pytest did not end: {project.output()[-500:]}")
            children = [*children, *descendants(run.pid)]
            run.kill()
            run.wait()
        if wait_until_gone(children, ENDS_WITHIN_S) is None:
            figures.orphans += 1
            self._note(project, f"still there: {children}")
            end(children)

    def _inspect(self, project: Project, figures: Figures) -> None:
        """Look at what is left, and run again."""
        figures.trials += 1
        bad = project.bad_files()
        kept, before = project.kept(), Counter(self.ledger.attempts)
        sent = {key for key, count in self.ledger.paid.items() if count}
        figures.most_in_flight = max(figures.most_in_flight, len(sent - kept))
        figures.again += len(sent - kept)
        status = project.start().wait(300)
        asked_again = [key for key in kept if self.ledger.attempts[key] != before[key]]
        figures.lost += len(asked_again)
        if status != 0 or len(project.kept()) != project.calls:
            figures.failed_reruns += 1
            self._note(project, f"the rerun ended with {status}: {project.output()[-1500:]}")
        elif not (evidence := read_evidence(last_run(project.folder))).run.complete:
            figures.failed_reruns += 1
            self._note(project, f"the rerun is incomplete: {evidence.run.incomplete_reasons}")
        bad += project.bad_files()
        figures.bad_files += len(bad)
        figures.left_files += len(project.left_files())
        for each in [*bad, *(f"asked again although kept: {key}" for key in asked_again)]:
            self._note(project, each)

    def kill_in_cache_writes(
        self, library: Path, calls: int, trials: int, rng: random.Random, total: int | None = None
    ) -> None:
        """Kill the service inside a change of a file of the cache, half of it written.

        Args:
            library: What kills it.
            calls: Calls of a run.
            trials: How many runs to kill.
            rng: Chooses the changes.
            total: Out of how many; None counts those of an undisturbed run.
        """
        spot = {"path": "/.proofmap/cache/", "program": SERVICE}
        total = total or self._count(library, calls, spot)
        figures = self.figures.setdefault("call service, inside a cache write", Figures())
        for kill_at in sorted(rng.sample(range(1, total + 1), min(trials, total))):
            project = self.project(calls)
            run = project.start(**faults(library, kill_at=kill_at, **spot))
            self._wait(project, run, [], figures)
            self._inspect(project, figures)
        print(f"A run of {calls} calls changes files of the cache {total} times.", flush=True)

    def kill_in_artifact_writes(self, library: Path, calls: int, trials: int) -> None:
        """Kill pytest inside changes of the artifact, when there is an old one."""
        spot = {"path": "/.proofmap/", "program": "-m pytest -p proofmap"}
        first = self.project(calls)
        self._require(first, first.start().wait(300), "first run")
        total = self._count(library, calls, spot, first)
        figures = self.figures.setdefault("pytest, inside a write of its own", Figures())
        step = max(1, total // trials)
        for kill_at in range(1, total + 1, step):
            run = first.start(**faults(library, kill_at=kill_at, **spot))
            self._wait(first, run, [], figures)
            self._inspect(first, figures)
        figures.left_files = len(first.left_files())
        print(f"The end of a cached run changes files {total} times.", flush=True)

    def kill_approve(self, library: Path, calls: int) -> None:
        """Kill ``proofmap approve`` inside every change of the lock, when there is an old one and when not."""
        spot = {"path": "proofmap.lock", "program": "approve"}
        project = self.project(calls)
        self._require(project, project.start().wait(300), "first run")
        lock = project.folder / "proofmap.lock"
        figures = self.figures.setdefault("proofmap approve, inside every write", Figures())
        for old in (None, "first"):
            lock.unlink(missing_ok=True)
            if old is not None:
                self._require(project, project.start(*_approve("first")).wait(60), "approve")
            counter = project.folder / "tmp" / "changes"
            counter.unlink(missing_ok=True)
            copy = lock.read_bytes() if old else None
            self._require(
                project,
                project.start(*_approve("next"), **faults(library, count=counter, **spot)).wait(60),
                "count",
            )
            new = lock.read_bytes()
            for kill_at in range(1, counter.stat().st_size + 1):
                _restore(lock, copy)
                run = project.start(*_approve("next"), **faults(library, kill_at=kill_at, **spot))
                figures.trials += 1
                if run.wait(60) != -9:
                    self._note(project, f"approve was not killed at {kill_at}: {project.output()}")
                left = lock.read_bytes() if lock.exists() else None
                if left != copy and not _is_same(left, new):
                    figures.bad_files += 1
                    self._note(project, f"the lock is neither old nor new after a kill at {kill_at}")
                figures.bad_files += len(project.bad_files())
                figures.failed_reruns += project.start(*_approve("next")).wait(60) != 0
        figures.left_files += len(project.left_files())

    def _count(self, library: Path, calls: int, spot: dict[str, str], project: Project | None = None) -> int:
        """Return how often a run changes such files."""
        project = project or self.project(calls)
        counter = project.folder / "tmp" / "changes"
        counter.unlink(missing_ok=True)
        status = project.start(**faults(library, count=counter, **spot)).wait(300)
        self._require(project, status, "counting run")
        return counter.stat().st_size

    def _require(self, project: Project, status: int, what: str) -> None:
        if status != 0:
            raise RuntimeError(f"{what} ended with {status}:\n{project.output()[-3000:]}")

    def _note(self, project: Project, text: str) -> None:
        self.broken.append(f"{project.folder.name}: {text}")
        print(f"BROKEN {self.broken[-1]}", flush=True)


def _approve(reason: str) -> tuple[str, ...]:
    script = Path(sys.executable).with_name("proofmap")
    return (str(script), "approve", "--yes", "--by", "campaign", "--reason", reason)


def _restore(lock: Path, content: bytes | None) -> None:
    lock.unlink(missing_ok=True)
    if content is not None:
        lock.write_bytes(content)


def _is_same(left: bytes | None, new: bytes) -> bool:
    """Return whether two locks differ in nothing but the time of approval and what follows from it."""
    if left is None:
        return False
    one, other = json.loads(left), json.loads(new)
    for lock in (one, other):
        for route in lock["routes"].values():
            route["digest"] = route["approval"]["at"] = None
    return bool(one == other)


def campaign(trials: int = 100, calls: int = 2000, seed: int = 1) -> int:
    """Run the campaign, print its table, and return how many promises were broken."""
    rng = random.Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="proofmap-kills-") as name,
        echoing(LATENCY_S) as provider,
    ):
        folder = Path(name)
        each = Campaign(folder, provider)
        library = build(folder)
        if library is None:
            print("No C compiler: the kills inside writes are left out.")
        else:
            each.kill_approve(library, 40)
            each.kill_in_artifact_writes(library, 200, max(4, trials // 4))
            each.kill_in_cache_writes(library, 200, max(4, trials // 4), rng)
        each.kill_at_random(calls, trials // 2, rng)
        each.kill_at_random(calls, trials - trials // 2, rng, own_client=True)
    titles = ["killed", "trials", "asked again although on disk", "most in flight", "in flight, all", "bad files"]
    titles += ["left temporary files", "orphans", "stuck", "slowest end", "failed reruns"]
    print(table(titles, [_row(name, figures) for name, figures in each.figures.items()]))
    return sum(figures.broken() for figures in each.figures.values())


def _row(name: str, figures: Figures) -> list[object]:
    counts = [figures.trials, figures.lost, figures.most_in_flight, figures.again, figures.bad_files]
    slowest = f"{figures.slowest_end_s:.1f} s" if figures.slowest_end_s else ""
    more = [figures.left_files, figures.orphans, figures.stuck, slowest]
    return [name, *counts, *more, figures.failed_reruns]
