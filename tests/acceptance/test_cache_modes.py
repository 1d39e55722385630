"""Where answers come from: ``--proofmap-cache``, reruns, samples, two processes and damage."""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from small_project import CONFIGURATION, THREE_CASES, SmallProject, echo_hook

ALL = [f"{runtime} 0 {case}" for runtime in ("gpt", "mini") for case in "abc"]

UNREPEATED = echo_hook("return f\"{prompt} {__import__('uuid').uuid4()}\"")
"""A client that gives no answer twice."""

LITELLM_SPY = """
import sys

def pytest_unconfigure():
    with open("litellm.txt", "w") as file:
        file.write(str("litellm" in sys.modules))
"""


@pytest.fixture
def live(project: SmallProject) -> SmallProject:
    """Three cases whose requests a hook answers, counting them."""
    project.write("test_triage.py", THREE_CASES)
    project.write("conftest.py", echo_hook())
    return project


def sources(project: SmallProject) -> set[str]:
    """Return where the answers of the last run came from."""
    return {call.source for sample in project.evidence().samples for call in sample.calls}


def test_a_rerun_calls_nothing_and_costs_nothing(live: SmallProject) -> None:
    """By default each request is called once, ever."""
    live.run().assert_outcomes(passed=6)
    assert sorted(live.calls()) == sorted(ALL)
    assert sources(live) == {"live"}
    assert live.evidence().totals.live == 6
    live.run().assert_outcomes(passed=6)
    assert len(live.calls()) == 6
    totals = live.evidence().totals
    assert (totals.calls, totals.live, totals.cached, totals.recorded, totals.spent_usd) == (6, 0, 6, 0, 0.0)
    assert sources(live) == {"cache"}


def test_recordings_come_before_the_cache(live: SmallProject) -> None:
    """What is recorded is never called, whatever the cache holds."""
    live.run()
    live.record("mini", {"a": "recorded"})
    live.run().assert_outcomes(passed=5, xfailed=1)
    assert live.sample("a", "mini").calls[0].text == "recorded"
    assert live.sample("a", "mini").calls[0].source == "recording"
    assert live.evidence().totals.recorded == 1


def test_replay_calls_nothing_and_fails_on_a_miss(live: SmallProject) -> None:
    """``replay`` never calls; a miss is an error of any role, and fails the run."""
    live.record("gpt", {case: case for case in "abc"})
    live.record("mini", {"a": "a", "b": "b"})
    result = live.run("--proofmap-cache=replay", "-rs")
    result.assert_outcomes(passed=5, skipped=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert live.calls() == []
    [call] = live.sample("c", "mini").calls
    assert call.error is not None
    assert call.error.class_ == "ReplayMissError"
    assert "--proofmap-cache=auto" in call.error.message
    assert f"--key {call.key[:12]}" in call.error.message
    assert live.cell("test_echo", "mini").errors == 1
    assert not (live.folder / ".proofmap" / "cache" / "cache.db").exists()


def test_a_whole_replay_passes(live: SmallProject) -> None:
    """``replay`` of what is all there is an ordinary run."""
    live.run()
    result = live.run("--proofmap-cache=replay")
    result.assert_outcomes(passed=6)
    assert result.ret == pytest.ExitCode.OK
    assert len(live.calls()) == 6


def test_a_baseline_miss_under_replay_fails_its_test(live: SmallProject) -> None:
    """A baseline that was never called fails its test in a replay."""
    live.record("mini", {case: case for case in "abc"})
    result = live.run("--proofmap-cache=replay")
    result.assert_outcomes(passed=3, failed=3)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_refresh_calls_each_request_once_anew(live: SmallProject) -> None:
    """``refresh`` skips recordings and cache, asks each request once, and keeps the new answers."""
    live.write("conftest.py", UNREPEATED)
    live.write(
        "test_triage.py",
        THREE_CASES.replace(".text == case", ".text.startswith(case)")
        + """
@pytest.mark.qualify
def test_again(runtime):
    assert runtime.complete("a").text.startswith("a")
""",
    )
    live.record("gpt", {"a": "a recorded"})
    live.run("--proofmap-cache=refresh").assert_outcomes(passed=8)
    assert sorted(live.calls()) == sorted(ALL)
    first = live.sample("b", "gpt").calls[0].text
    live.run("--proofmap-cache=refresh").assert_outcomes(passed=8)
    assert len(live.calls()) == 12
    second = live.sample("b", "gpt").calls[0].text
    assert second != first
    assert live.sample("a", "gpt").calls[0].text != "a recorded"
    live.run().assert_outcomes(passed=8)
    assert live.sample("b", "gpt").calls[0].text == second
    assert live.sample("a", "gpt").calls[0].text == "a recorded"


def test_off_keeps_answers_for_this_run_only(live: SmallProject) -> None:
    """``off`` asks each request once a run, and leaves nothing behind."""
    live.write("test_triage.py", THREE_CASES + "\n    assert runtime.complete(case).text == case\n")
    for count in (6, 12):
        live.run("--proofmap-cache=off").assert_outcomes(passed=6)
        assert len(live.calls()) == count
        assert sources(live) == {"live"}
    assert not (live.folder / ".proofmap" / "cache").exists()


def test_the_same_request_twice_in_one_sample_is_one_answer(live: SmallProject) -> None:
    """Asking again in the same sample gives the same answer; another ``seed`` asks anew."""
    live.write("conftest.py", UNREPEATED)
    live.write(
        "test_triage.py",
        """
import pytest

@pytest.mark.qualify
def test_twice(runtime):
    first, second = runtime.complete("a"), runtime.complete("a")
    assert first.text == second.text
    assert runtime.complete("a", seed=2).text != first.text
""",
    )
    live.run().assert_outcomes(passed=2)
    assert len(live.calls()) == 4
    assert len(live.sample("", "gpt").calls) == 2


def test_samples_never_share_an_answer(live: SmallProject) -> None:
    """Each sample of a case is asked by itself, also in a rerun from the cache."""
    live.write("conftest.py", UNREPEATED)
    live.write("test_triage.py", THREE_CASES.replace(".text == case", ".text.startswith(case)"))
    for _ in range(2):
        live.run("--proofmap-samples=3").assert_outcomes(passed=18)
        assert len(live.calls()) == 18
        texts = {sample.calls[0].text for sample in live.evidence().samples}
        assert len(texts) == 18
    assert sorted({call.split()[1] for call in live.calls()}) == ["0", "1", "2"]


def test_one_more_sample_costs_one_more_call(live: SmallProject) -> None:
    """The first sample of a case is the same whether one or more are asked for."""
    live.run()
    live.run("--proofmap-samples=2").assert_outcomes(passed=12)
    assert len(live.calls()) == 12


def test_two_tests_that_ask_the_same_share_the_answer(live: SmallProject) -> None:
    """The name of the test is no part of the request."""
    live.write("test_other.py", THREE_CASES.replace("test_echo", "test_other"))
    live.run().assert_outcomes(passed=12)
    assert len(live.calls()) == 6


def test_other_parameters_are_another_request(live: SmallProject) -> None:
    """A changed parameter of the runtime is asked anew; changing it back finds the old answer."""
    live.run()
    warm = CONFIGURATION.replace('model = "openai/mini"', 'model = "openai/mini"\nparams = { temperature = 1.0 }')
    live.configure(warm)
    live.run()
    assert len(live.calls()) == 9
    live.configure(CONFIGURATION)
    live.run()
    assert len(live.calls()) == 9


def test_keys_and_timeouts_are_no_part_of_a_request(live: SmallProject) -> None:
    """Transport settings may change without asking anew."""
    live.run()
    settings = 'model = "openai/mini"\ntimeout_s = 5\nparams = { api_key = "os.environ/MY_KEY" }'
    live.configure(CONFIGURATION.replace('model = "openai/mini"', settings))
    live.run().assert_outcomes(passed=6)
    assert len(live.calls()) == 6


def test_a_cached_rerun_never_imports_litellm(live: SmallProject) -> None:
    """Neither a rerun from the cache nor a run by a hook imports LiteLLM in pytest's process."""
    live.write("conftest.py", echo_hook() + LITELLM_SPY)
    live.run()
    live.run_apart().assert_outcomes(passed=6)
    assert (live.folder / "litellm.txt").read_text() == "False"


def test_two_processes_share_a_cache(live: SmallProject) -> None:
    """Two runs at once may use one cache, and the next one calls nothing."""
    live.write("pytest.ini", "[pytest]\naddopts = -p no:cacheprovider\n")
    runs = [live.start("--proofmap-json", f"{name}.json") for name in ("one", "two")]
    for run in runs:
        output, _ = run.communicate(timeout=60)
        assert "6 passed" in output
    count = len(live.calls())
    assert 6 <= count <= 12
    live.run("--proofmap-cache=replay").assert_outcomes(passed=6)
    assert len(live.calls()) == count


def test_what_was_paid_before_a_kill_is_kept(live: SmallProject) -> None:
    """A run that is killed in the middle leaves its answers; the next one asks only for the others."""
    live.write(
        "test_triage.py",
        THREE_CASES.replace("assert", 'print("answered", runtime.complete(case).text, flush=True)\n    assert')
        + """
@pytest.mark.qualify(prefetch=False)
def test_hangs(runtime):
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
""",
    )
    run = live.start("-s", "-p", "no:cacheprovider")
    output, _ = run.communicate(timeout=60)
    assert run.returncode == -signal.SIGKILL, output
    assert len(live.calls()) == 6
    live.write("test_triage.py", THREE_CASES)
    live.run().assert_outcomes(passed=6)
    assert len(live.calls()) == 6
    assert live.evidence().totals.spent_usd == 0.0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to a process")
def test_interrupting_keeps_what_was_paid(live: SmallProject) -> None:
    """Ctrl-C ends the run with pytest's own status; what was paid is kept and the evidence says so."""
    live.write(
        "test_triage.py",
        THREE_CASES
        + "\n@pytest.mark.qualify(prefetch=False)\ndef test_stop(runtime):\n    raise KeyboardInterrupt\n",
    )
    result = live.run("-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    evidence = live.evidence()
    assert not evidence.run.complete
    assert any("interrupted" in reason for reason in evidence.run.incomplete_reasons)
    assert len(evidence.samples) == 6
    live.write("test_triage.py", THREE_CASES)
    live.run().assert_outcomes(passed=6)
    assert len(live.calls()) == 6


def cache_database(project: SmallProject) -> Path:
    """Return the database file of the response cache."""
    [database] = (project.folder / ".proofmap" / "cache").rglob("cache.db")
    return database


def test_a_planted_pickle_does_not_run(live: SmallProject) -> None:
    """A pickle in the cache's database is a miss with a warning, and is not executed."""
    live.run()

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return exec, ("open('exploded', 'w')", "")

    planted = pickle.dumps(Bomb()).replace(b"__builtin__", b"builtins")
    with sqlite3.connect(cache_database(live)) as database:
        database.execute("update Cache set mode = 4, value = ?, filename = null", (planted,))
    database.close()
    live.run()
    assert not (live.folder / "exploded").exists()
    live.run().assert_outcomes(passed=6)


def test_a_corrupt_database_is_no_crash(live: SmallProject) -> None:
    """A database that is none is a miss with one warning; the run goes on and keeps its new answers."""
    live.run()
    cache_database(live).write_bytes(b"this is no database" * 1000)
    result = live.run()
    result.assert_outcomes(passed=6)
    assert "INTERNALERROR" not in result.stdout.str()
    live.run().assert_outcomes(passed=6)


def test_a_read_only_cache_folder_stops_before_anything_is_spent(live: SmallProject) -> None:
    """Where answers could not be kept nothing is called, and the message names the folder."""
    live.write(".proofmap/cache", "a file where the folder should be")
    result = live.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert live.calls() == []
    result.stderr.fnmatch_lines(["ERROR: *.proofmap/cache*"])
    assert "Traceback" not in result.stderr.str()


def test_recordings_alone_need_no_writable_cache(live: SmallProject) -> None:
    """A replay from recordings runs where nothing can be written to the cache."""
    for runtime in ("gpt", "mini"):
        live.record(runtime, {case: case for case in "abc"})
    live.write("blocked", "a file where the folder should be")
    live.configure('cache_dir = "blocked/cache"\n' + CONFIGURATION)
    live.run("--proofmap-cache=replay").assert_outcomes(passed=6)


def test_half_a_recordings_line(live: SmallProject) -> None:
    """A recordings line that was cut in half stops the run before it starts, naming file and line."""
    live.record("gpt", {"a": "a", "b": "b"})
    path = live.folder / "recordings" / "gpt.jsonl"
    path.write_text(path.read_text()[:-40])
    result = live.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *gpt.jsonl, line 2: not a recorded answer*"])
    assert live.calls() == []


def test_the_cache_folder_is_kept_out_of_version_control(live: SmallProject) -> None:
    """ProofMap's own folder ignores itself and is tagged as a cache folder."""
    live.run()
    assert (live.folder / ".proofmap" / ".gitignore").read_text().strip().endswith("*")
    assert (live.folder / ".proofmap" / "CACHEDIR.TAG").is_file()


def test_clearing_pytests_cache_eats_no_answers(live: SmallProject) -> None:
    """``--cache-clear`` is about pytest's own cache."""
    live.run()
    live.run("--cache-clear").assert_outcomes(passed=6)
    assert len(live.calls()) == 6


def test_interrupting_before_the_first_test_tells_what_was_paid(live: SmallProject) -> None:
    """Calls made ahead of tests that did not run are told, and are not made again."""
    hook = echo_hook("ANSWERED.release(); return prompt")
    live.write("conftest.py", f"import threading\nANSWERED = threading.Semaphore(0)\n{hook}")
    live.write(
        "test_a.py",
        """
from conftest import ANSWERED

def test_stop():
    for _ in range(6):
        assert ANSWERED.acquire(timeout=30)
    raise KeyboardInterrupt
""",
    )
    live.write("test_triage.py", THREE_CASES)
    result = live.run("-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        ["! 6 calls were made ahead* whose tests did not run; *", "*run finds it", "next: pytest *"]
    )
    live.run("test_triage.py").assert_outcomes(passed=6)
    assert len(live.calls()) == 6


UNKEPT = """
import shutil
from pathlib import Path

def pytest_proofmap_call(runtime, request):
    cache = Path(__file__).parent / ".proofmap" / "cache"
    shutil.rmtree(cache)
    cache.write_text("in the way")
    return "a"
"""
"""A client that answers, and sees to it that the answer cannot be kept."""


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "a worker"])
def test_a_paid_answer_that_cannot_be_kept_counts(project: SmallProject, workers: tuple[str, ...]) -> None:
    """The test that asked for it gets it and the evidence holds it, and yet the run fails and says what to do."""
    project.write("conftest.py", UNKEPT)
    project.write(
        "test_one.py",
        """
import pytest

@pytest.mark.qualify
def test_answer(runtime):
    assert runtime.complete("a").text == "a"
""",
    )
    project.plugins.append("xdist")
    result = project.run_apart("--proofmap-runtimes=gpt", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1)
    said = " ".join(result.stdout.str().split())
    assert "A paid answer could not be kept" in said
    assert "make room for the cache or set cache_dir, and run again" in said
    call = project.sample("", "gpt").calls[0]
    assert (call.text, call.source, call.error) == ("a", "live", None)


AS_ANY_OWNER = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
# Root without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH is as any user before what another one has closed.
for capability in (1, 2):
    if libc.prctl(24, capability, 0, 0, 0):
        sys.exit(77)
os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]])
"""


@pytest.fixture
def closed(live: SmallProject) -> SmallProject:
    """A project whose cache is another user's, who lets nobody look into it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("root alone makes what is another user's")
    live.run().assert_outcomes(passed=6)
    (live.folder / "calls.txt").unlink()
    cache = live.folder / ".proofmap" / "cache"
    for path in (cache, *cache.rglob("*")):
        os.chown(path, 65534, 65534)
    cache.chmod(0o700)
    return live


def run_as_any_owner(project: SmallProject, *arguments: str) -> pytest.RunResult:
    """Run pytest as a user with a home of its own, who has no more rights than others."""
    plugins = [part for name in project.plugins for part in ("-p", name)]
    done = project.python(
        "-c", AS_ANY_OWNER, *plugins, "--proofmap", *arguments, XDG_CACHE_HOME=str(project.folder / ".home")
    )
    if done.ret == 77:
        pytest.skip("the rights of root cannot be dropped here")
    return done


def warned(result: pytest.RunResult) -> int:
    """Return how often the end of a run says that the cache is another user's."""
    return " ".join(" ".join(result.outlines).split()).count("so its answers are misses. It is another user's")


@pytest.mark.parametrize("mode", ["auto", "refresh", "replay", "off"])
def test_a_cache_of_another_user_is_a_miss(closed: SmallProject, mode: str) -> None:
    """It is told once and left alone; what is paid is kept in a folder of this user, and found there again."""
    cache = closed.folder / ".proofmap" / "cache"
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in (cache, *cache.rglob("*"))}
    result = run_as_any_owner(closed, f"--proofmap-cache={mode}")
    assert "INTERNALERROR" not in result.stdout.str()
    assert len(closed.calls()) == (0 if mode == "replay" else 6)
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if mode == "replay" else pytest.ExitCode.OK)
    assert warned(result) == (mode != "off")
    homes = list((closed.folder / ".home" / "proofmap").glob("*"))
    if mode in ("auto", "refresh"):
        (home,) = homes
        assert str(home) in "".join("".join(result.outlines).split())
        assert home.stat().st_mode & 0o777 == 0o700
        again = run_as_any_owner(closed, "--proofmap-cache=replay")
        assert again.ret == pytest.ExitCode.OK
        assert (len(closed.calls()), sources(closed), warned(again)) == (6, {"cache"}, 1)
    else:
        assert homes == []
    after = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in (cache, *cache.rglob("*"))}
    assert after == before


def test_a_cache_of_another_user_is_told_once_with_workers(closed: SmallProject) -> None:
    """Workers share the folder, and the warning is one."""
    pytest.importorskip("xdist")
    closed.plugins.append("xdist")
    result = run_as_any_owner(closed, "-n", "2")
    assert (result.ret, warned(result), len(closed.calls())) == (pytest.ExitCode.OK, 1, 6)


@pytest.mark.parametrize("trap", ["of another", "open to all", "link"])
def test_a_stand_in_that_is_no_folder_of_this_user_alone_is_refused(closed: SmallProject, trap: str) -> None:
    """Answers are neither put into nor taken from a folder that somebody else can write, and nothing is called."""
    run_as_any_owner(closed)
    (home,) = (closed.folder / ".home" / "proofmap").glob("*")
    (closed.folder / "calls.txt").unlink()
    if trap == "of another":
        os.chown(home, 65534, 65534)
    elif trap == "open to all":
        home.chmod(0o777)
    else:
        home.symlink_to(home.rename(home.with_name("elsewhere")))
    result = run_as_any_owner(closed)
    assert (result.ret, closed.calls()) == (pytest.ExitCode.USAGE_ERROR, [])
    assert "not a folder of this user alone" in " ".join(result.stderr.str().split())
    assert run_as_any_owner(closed, "--proofmap-cache=replay").ret == pytest.ExitCode.TESTS_FAILED
