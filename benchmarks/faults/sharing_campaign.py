"""Several processes on one cache folder, and folders in which a cache cannot work."""

from __future__ import annotations

import contextlib
import errno
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kill_campaign import CONCURRENCY, SERVICE, Project
from layout import environment, pytest_command, table
from processes import descendants, end

from disk_faults import build, faults  # isort: skip
from fake_provider import FakeProvider, Key, Ledger, echoing  # isort: skip
from pytest_proofmap.cli.inputs import last_run

from pytest_proofmap.evidence.artifact import read_evidence  # isort: skip

__all__ = ["campaign"]

PROCESSES = 8
TIMEOUT_S = 300
ROOM_BYTES = 256 * 1024


@dataclass
class Run:
    """One of several runs at once, with evidence of its own."""

    process: subprocess.Popen[bytes]
    output: Path


@dataclass
class Shared:
    """What several processes on one cold cache did."""

    name: str
    requests: int
    paid: int
    most: int
    """Answers paid for one request, at most."""
    twice: int
    """Requests that were answered more than once."""
    lost: int
    stuck: int
    failed: int
    """Processes that were not killed and did not pass."""
    bad_files: int
    took_s: float

    def broken(self) -> int:
        """Return how many promises were broken: without kills each request is paid once."""
        allowed = 2 if "killed" in self.name else 1
        return self.lost + self.stuck + self.failed + self.bad_files + (self.most > allowed)


def share(
    folder: Path, provider: FakeProvider, calls: int, *, kill: bool = False, processes: int = PROCESSES
) -> Shared:
    """Start processes on one cold cache at once, and count who asked what.

    Args:
        folder: Where to work.
        provider: Who is asked.
        calls: Distinct requests.
        kill: Kill half of the processes with their services while they run.
        processes: How many.
    """
    provider.follow(None)
    project = Project(folder, calls, provider.url)
    started = time.monotonic()
    runs = [_start(project, number) for number in range(processes)]
    killed = _kill_half(runs, provider, calls) if kill else []
    stuck = 0
    for run in runs:
        try:
            run.process.wait(max(1.0, TIMEOUT_S - (time.monotonic() - started)))
        except subprocess.TimeoutExpired:
            stuck += 1
            end([*descendants(run.process.pid), run.process.pid])
            run.process.wait()
    took_s = time.monotonic() - started
    failed = sum(run.process.returncode != 0 for run in runs if run not in killed)
    for run in runs:
        if run.process.returncode != 0 and run not in killed:
            print(run.output.read_text(encoding="utf-8", errors="replace")[-1500:])
    paid = provider.ledger.paid
    return Shared(
        f"{processes} processes" + (f", {len(killed)} killed under way" if kill else ""),
        requests=calls,
        paid=sum(paid.values()),
        most=max(paid.values()),
        twice=sum(count > 1 for count in paid.values()),
        lost=calls - len(project.kept()),
        stuck=stuck,
        failed=failed,
        bad_files=len(project.bad_files()),
        took_s=took_s,
    )


def _start(project: Project, number: int) -> Run:
    output = project.folder / "tmp" / f"output-{number}.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            pytest_command("--tb=line", f"--proofmap-json=evidence-{number}.json"),
            cwd=project.folder,
            env=environment(TMPDIR=str(project.folder / "tmp")),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    return Run(process, output)


def _kill_half(runs: list[Run], provider: FakeProvider, calls: int) -> list[Run]:
    """Kill every second run, one after another, as answers come in."""
    killed = runs[::2]
    until = time.monotonic() + TIMEOUT_S
    for number, run in enumerate(killed):
        while len(provider.ledger.paid) < calls * (number + 1) // (len(killed) + 2):
            time.sleep(0.02)
            if run.process.poll() is not None or time.monotonic() > until:
                break
        end([*descendants(run.process.pid), run.process.pid])
    return killed


@dataclass
class Place:
    """A folder that is no good for a cache, and how to run there."""

    name: str
    environment: dict[str, str]
    prepare: Callable[[], None] | None = None
    """Called in the child before it becomes pytest."""
    needs_calls: bool = False
    """Whether only a run that calls meets the trouble."""


@dataclass
class Placed:
    """What became of a run in such a place."""

    name: str
    requests: int
    paid: int
    unkept: int
    """Answers that were paid and are not in the cache."""
    lost: int | None
    """Those that are not in the run's evidence either; None when that could not be written."""
    status: int
    told: str
    """The line that says what is wrong; empty when there is none."""
    took_s: float

    def broken(self) -> int:
        """Return 1 when the run passed, said nothing, lost answers or kept fewer than were not under way."""
        return int(self.status == 0 or not self.told or bool(self.lost) or self.unkept > CONCURRENCY)


def places(library: Path | None) -> Iterator[Place]:
    """Yield the places that need no mounting."""
    spot = "/.proofmap/cache"
    if library is not None:
        for number in (errno.ENOLCK, errno.ENOTSUP, errno.EACCES):
            yield Place(f"every lock fails with {errno.errorcode[number]}", faults(library, spot, locks=number))
        only_there = faults(library, spot, locks=errno.ENOLCK, program=SERVICE)
        yield Place("locks fail in the helper process alone", only_there, needs_calls=True)
        yield Place("no shared memory", faults(library, spot, no_mapping=True))
        yield Place("disk of the cache is full", faults(library, spot, room=ROOM_BYTES), needs_calls=True)
    yield Place("files end at 256 KiB", {}, _limit_files, needs_calls=True)


def _limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, ROOM_BYTES))


def try_place(folder: Path, provider: FakeProvider, place: Place, calls: int, *, warm: bool = False) -> Placed:
    """Run in a place, on a cold cache or on one that has every answer."""
    project = Project(folder, calls, provider.url)
    if warm:
        project.start().wait(TIMEOUT_S)
    provider.follow(None)
    return _try(project, provider.ledger, place, ", warm" if warm else "")


def _try(project: Project, ledger: Ledger, place: Place, note: str = "") -> Placed:
    started = time.monotonic()
    done = subprocess.run(
        pytest_command("--tb=line"),
        cwd=project.folder,
        env=environment(TMPDIR=str(project.folder / "tmp"), **place.environment),
        preexec_fn=place.prepare,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    took_s = time.monotonic() - started
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    told = next((line for line in lines if "cache" in line and ("cannot" in line or "full" in line)), "")
    paid = set(ledger.paid)
    unkept = paid - project.kept()
    path = last_run(project.folder)
    lost: int | None = 0
    if unkept:
        lost = len(unkept - _answers_in(path)) if path.exists() else None
    name = place.name + note
    return Placed(name, project.calls, len(paid), len(unkept), lost, done.returncode, told, took_s)


def _answers_in(path: Path) -> set[Key]:
    """Return the requests whose answers evidence holds."""
    evidence = read_evidence(path)
    calls = [call for sample in evidence.samples for call in sample.calls if call.error is None]
    return {
        ((call.model or "").removeprefix("openai/"), evidence.requests[call.key].messages[-1]["content"])
        for call in calls
    }


@contextlib.contextmanager
def mounted(place: Path, options: str) -> Iterator[bool]:
    """Mount a small file system; False where that is not permitted."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    done = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False)
    try:
        yield bool(done) and done.returncode == 0
    finally:
        if place.is_mount():
            subprocess.run(["umount", "-l", str(place)], check=False)


def campaign(calls: int = 2000) -> int:
    """Run the campaign, print its tables, and return how many promises were broken."""
    with (
        tempfile.TemporaryDirectory(prefix="proofmap-sharing-") as name,
        echoing(0.05) as provider,
    ):
        folder = Path(name)
        shared = [share(folder / "all", provider, calls), share(folder / "half", provider, calls, kill=True)]
        titles = ["at once, cold", "requests", "answers paid", "most for one request", "requests paid twice"]
        titles += ["lost", "stuck", "failed", "bad files", "time"]
        print(table(titles, [_figures(each) for each in shared]))
        print(flush=True)
        placed = [*_bad_places(folder, provider), *_mounted_places(folder, provider)]
        titles = ["place of the cache", "requests", "paid", "paid and not kept", "lost"]
        titles += ["exit status", "told", "time"]
        print(table(titles, [_figures(each) for each in placed]))
    return sum(each.broken() for each in (*shared, *placed))


def _figures(of: Shared | Placed) -> list[object]:
    values = [f"{value:,}" if type(value) is int else value for value in vars(of).values()]
    values[-1] = f"{of.took_s:.0f} s"
    if isinstance(of, Placed):
        values[4] = "no evidence" if of.lost is None else of.lost
        values[-2] = "yes" if of.told else "**no**"
    return values


def _bad_places(folder: Path, provider: FakeProvider) -> Iterator[Placed]:
    for number, place in enumerate(places(build(folder))):
        yield try_place(folder / f"cold-{number}", provider, place, 800)
        if not place.needs_calls:
            yield try_place(folder / f"warm-{number}", provider, place, 400, warm=True)


def _mounted_places(folder: Path, provider: FakeProvider) -> Iterator[Placed]:
    for name, options, remount in (
        ("disk of 1 MiB", "size=1m", None),
        ("read-only disk", "size=8m", "remount,ro"),
    ):
        project = Project(folder / name.replace(" ", "-"), 800, provider.url)
        cache = project.folder / ".proofmap" / "cache"
        (project.folder / ".proofmap").mkdir()
        with mounted(cache, options) as is_mounted:
            if not is_mounted:
                print(f"Mounting is not permitted: {name!r} is left out.")
                continue
            if remount:
                subprocess.run(["mount", "-o", remount, str(cache)], check=True)
            provider.follow(None)
            yield _try(project, provider.ledger, Place(name, {}))
