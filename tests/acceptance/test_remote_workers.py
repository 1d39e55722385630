"""Workers of pytest-xdist in other folders and other environments, as on other hosts."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_server import StartRedis, redis_server
from small_project import CONFIGURATION, SmallProject, echo_hook, isolate

__all__ = ["redis_server"]

pytest.importorskip("xdist", reason="needs pytest-xdist")

CASES = 12

TESTS = f"""
import pytest

@pytest.mark.parametrize("case", [f"c{{number}}" for number in range({CASES})])
@pytest.mark.qualify
def test_echo(runtime, case):
    assert runtime.complete(case).text == case
"""


@pytest.fixture
def project(project: SmallProject) -> SmallProject:
    """A project whose copies in other folders each count their calls."""
    project.write("test_echo.py", TESTS)
    project.write("conftest.py", echo_hook())
    project.plugins = ["proofmap", "xdist"]
    return project


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of another environment that sees the same packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt")
    found = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = subprocess.run(
        [found, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    Path(site, "shared.pth").write_text("\n".join(filter(None, sys.path)), encoding="utf-8")
    return found


@pytest.fixture
def socket_worker(tmp_path: Path, interpreter: Path) -> Iterator[str]:
    """A worker that xdist reaches over a socket only, in a folder and environment of its own.

    Yields:
        What ``--tx`` takes.
    """
    folder = tmp_path / "socket_worker"
    folder.mkdir()
    process = subprocess.Popen(
        [interpreter, "-u", "-m", "execnet.script.socketserver", "127.0.0.1:0"],
        cwd=folder,
        env=isolate(dict(os.environ)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    port = next(line.rpartition(",")[2].strip(" )\n") for line in process.stdout if "Accept loop" in line)
    yield f"socket=127.0.0.1:{port}//chdir={folder}"
    process.kill()
    process.wait()
    process.stdout.close()


def run(project: SmallProject, *workers: str, options: tuple[str, ...] = ()) -> pytest.RunResult:
    """Run the project on workers, copied to those that are elsewhere."""
    tx = [part for worker in workers for part in ("--tx", worker)]
    return project.run_apart(
        "-d",
        *tx,
        "--rsyncdir",
        str(project.folder),
        "-W",
        "ignore:The --rsyncdir:DeprecationWarning",
        *options,
        str(project.folder / "test_echo.py"),
    )


def calls_in(folder: Path) -> list[str]:
    """Return the calls that were made from a worker's copy of the project."""
    return [line for file in folder.rglob("calls.txt") for line in file.read_text().splitlines()]


def test_workers_elsewhere_share_the_answers(
    project: SmallProject, redis_server: StartRedis, interpreter: Path, socket_worker: str, tmp_path: Path
) -> None:
    """Three workers, each in a folder and two in an environment of their own, pay for each answer once."""
    project.configure(f'cache_url = "{redis_server().url}"\n{CONFIGURATION}')
    apart = tmp_path / "apart"
    apart.mkdir()
    result = run(project, "popen", f"popen//python={interpreter}//chdir={apart}", socket_worker)
    result.assert_outcomes(passed=2 * CASES)
    evidence = project.evidence()
    assert evidence.run.complete
    assert evidence.totals.live == 2 * CASES
    elsewhere = [*calls_in(apart), *calls_in(tmp_path / "socket_worker")]
    made = Counter([*calls_in(project.folder), *elsewhere])
    assert len(made) == 2 * CASES
    assert set(made.values()) == {1}
    assert elsewhere


def test_workers_elsewhere_without_a_shared_cache(
    project: SmallProject, socket_worker: str, tmp_path: Path
) -> None:
    """Without a shared cache a worker elsewhere calls for what it runs alone, and the summary says so."""
    result = run(project, "popen", socket_worker)
    result.assert_outcomes(passed=2 * CASES)
    assert "Set cache_url to a Redis server" in " ".join(result.stdout.str().split())
    assert calls_in(tmp_path / "socket_worker")


def test_the_budget_is_divided(
    project: SmallProject, redis_server: StartRedis, socket_worker: str, tmp_path: Path
) -> None:
    """Call services that know nothing of each other never spend more than the budget together."""
    usage = '{"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}'
    choice = '{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": prompt}}'
    project.write("conftest.py", echo_hook(f'return {{"model": "m", "choices": [{choice}], "usage": {usage}}}'))
    # One answer costs 0.0042 or 0.0003; the whole run would cost 0.054.
    project.configure(f'cache_url = "{redis_server().url}"\n{CONFIGURATION}')
    project.write("test_echo.py", TESTS.replace("complete(case)", "complete(case, max_tokens=100)"))
    budget = 0.02
    result = run(project, "popen", socket_worker, options=(f"--proofmap-budget={budget}",))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    evidence = project.evidence()
    assert 0 < evidence.totals.spent_usd <= budget
    assert not evidence.run.complete


def test_a_server_that_is_down_ends_the_run(project: SmallProject) -> None:
    """The controller finds out before a worker has called."""
    project.configure(f'cache_url = "redis://127.0.0.1:9/0"\n{CONFIGURATION}')
    result = project.run_apart("-n1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "cannot be reached" in result.stdout.str() + result.stderr.str()
    assert project.calls() == []
