"""``proofmap cache``: stats, export, import and prune."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from stored_evidence import NOTHING_KNOWN, call, content, sample

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.cache.disk import DiskStore
from pytest_proofmap.calls.recordings import read_recordings, write_recordings
from pytest_proofmap.calls.request import Request
from pytest_proofmap.cli import main

CONFIGURATION = """
recordings = ["recordings/*.jsonl"]

[runtimes.big]
model = "m/big"
params = { temperature = 0 }

[runtimes.small]
model = "m/small"
"""
TODAY = date.today()

Run = Callable[..., Result]


def answer(text: str, reply: str = "yes", model: str = "m/big", **changes: Any) -> Answer:
    """Return an answer to a request with one user message."""
    params = {"temperature": 0} if model == "m/big" else {}
    request = Request(model, [{"role": "user", "content": text}], params)
    response = {"model": model, "choices": [{"index": 0, "message": {"role": "assistant", "content": reply}}]}
    return Answer(request.content(), response, **changes)


def key(of: Answer) -> str:
    """Return the key of an answer's request."""
    return Request.from_content(of.request).key()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two runtimes; the working directory is inside of it."""
    (tmp_path / "proofmap.toml").write_text(CONFIGURATION)
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(project: Path) -> Run:
    """Run ``proofmap cache``."""

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(main, ["cache", *map(str, arguments)])

    return run


def keep(project: Path, *answers: Answer) -> None:
    """Put answers into the project's cache."""
    store = DiskStore(project / ".proofmap" / "cache", pytest.fail)
    for each in answers:
        store.put(key(each), each)
    store.close()


def cached(project: Path) -> set[str]:
    """Return the user messages of the cached answers."""
    store = DiskStore(project / ".proofmap" / "cache", pytest.fail, readonly=True)
    texts = {entry.answer.request["messages"][0]["content"] for entry in store.entries()}
    store.close()
    return texts


def recorded(file: Path) -> dict[str, str]:
    """Return the user messages and replies of a recordings file."""
    return {each.answer.request["messages"][0]["content"]: each.answer.text for each in read_recordings(file)}


def write_evidence(path: Path, *used: Answer, failed: tuple[Answer, ...] = ()) -> Path:
    """Write an artifact of a run that used answers, and failed to get others."""
    calls = [
        call(
            key(each),
            **NOTHING_KNOWN | {"model": each.model, "finish_reason": "stop"},
            error={"class": "ReplayMissError", "message": "no"} if each in failed else None,
            text=each.text,
        )
        for each in (*used, *failed)
    ]
    samples = [sample("big", "one", criterion="tests/test_a.py::test_a", role="baseline", calls=calls)]
    data = content(samples, runtimes={}, objectives=[], criteria=[])
    path.write_text(json.dumps(data))
    return path


def test_stats(run: Run, project: Path) -> None:
    """Stats count the answers by model with their dates, and the recordings."""
    keep(project, answer("a", made_at="2025-01-02T00:00:00Z"), answer("b", made_at="2025-03-04T00:00:00Z"))
    keep(project, answer("a", model="m/small"))
    write_recordings(project / "recordings" / "r.jsonl", [answer("a")])
    result = run("stats")
    assert result.exit_code == 0, result.output
    assert "3 answers" in result.output
    assert "Recordings: 1 answer\n" in result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("m/big")]
    assert line.split()[1] == "2"
    assert "2025-01-02  2025-03-04" in line


def test_stats_of_nothing(run: Run, project: Path) -> None:
    """Stats of a project that never ran say so and create no cache."""
    result = run("stats")
    assert result.exit_code == 0
    assert "0 answers" in result.output
    assert not (project / ".proofmap").exists()


def test_the_project_is_found_from_below_and_by_option(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest configuration upward counts, unless --rootdir names another root."""
    keep(project, answer("a"))
    monkeypatch.chdir(project / "tests")
    assert str(project / ".proofmap" / "cache") in run("stats").output
    monkeypatch.chdir("/")
    assert "1 answer," in run("stats", "--rootdir", project).output
    assert run("stats", "--rootdir", project / "none").exit_code == 2


def test_bad_configuration_is_bad_input(run: Run, project: Path) -> None:
    """An error of ours is one message and exit status 2, without a traceback."""
    (project / "proofmap.toml").write_text("recordings = 1")
    result = run("stats")
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert "recordings" in result.output
    assert "Traceback" not in result.output


def test_export_everything(run: Run, project: Path) -> None:
    """Export writes all cached answers, in a folder that it makes."""
    keep(project, answer("a"), answer("b", model="m/small"))
    result = run("export", "recordings/all.jsonl")
    assert result.exit_code == 0, result.output
    assert "2 answers (2 new, 0 changed, 0 dropped)" in result.output
    assert recorded(project / "recordings" / "all.jsonl") == {"a": "yes", "b": "yes"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--runtime", "small"], {"b"}),
        (["--runtime", "small", "--runtime", "big"], {"a", "b"}),
        (["--model", "m/big"], {"a"}),
        (["--runtime", "m/third"], {"c"}),
    ],
)
def test_export_a_part(run: Run, project: Path, options: list[str], expected: set[str]) -> None:
    """Runtimes and the model id choose what is exported."""
    keep(project, answer("a"), answer("b", model="m/small"), answer("c", model="m/third"))
    assert run("export", "out.jsonl", *options).exit_code == 0
    assert set(recorded(project / "out.jsonl")) == expected


def test_export_an_unknown_runtime(run: Run, project: Path) -> None:
    """A runtime with a typo is bad input with a suggestion."""
    result = run("export", "out.jsonl", "--runtime", "smal")
    assert result.exit_code == 2
    assert "Did you mean 'small'?" in result.output


def test_export_of_nothing_is_a_finding(run: Run, project: Path) -> None:
    """When nothing matches nothing is written, and the exit status says so."""
    result = run("export", "out.jsonl")
    assert result.exit_code == 1
    assert not (project / "out.jsonl").exists()


def test_export_what_a_run_used(run: Run, project: Path) -> None:
    """With --evidence the run's answers are exported from the cache and from recordings, and failures are not."""
    keep(project, answer("used"), answer("unused"))
    write_recordings(project / "other.jsonl", [answer("recorded")])
    (project / "proofmap.toml").write_text('recordings = ["other.jsonl"]\n')
    missed = answer("missed")
    evidence = write_evidence(project / "e.json", answer("used"), answer("recorded"), failed=(missed,))
    result = run("export", "out.jsonl", "--evidence", evidence)
    assert result.exit_code == 0, result.output
    assert set(recorded(project / "out.jsonl")) == {"used", "recorded"}


def test_export_names_answers_that_are_gone(run: Run, project: Path) -> None:
    """An answer of the run that is stored nowhere is a finding."""
    keep(project, answer("used"))
    evidence = write_evidence(project / "e.json", answer("used"), answer("pruned"))
    result = run("export", "out.jsonl", "--evidence", evidence)
    assert result.exit_code == 1
    assert "1 answer of the run: neither cached nor recorded" in result.output
    assert set(recorded(project / "out.jsonl")) == {"used"}


def test_export_updates_a_file_in_place(run: Run, project: Path) -> None:
    """Old answers stay, changed ones are replaced, and unchanged ones keep their line to the byte."""
    file = project / "recordings" / "r.jsonl"
    write_recordings(file, [answer("old"), answer("same", latency_s=1.0), answer("changed", "before")])
    keep(project, answer("same", latency_s=2.0), answer("changed", "after"), answer("new"))
    result = run("export", file)
    assert "4 answers (1 new, 1 changed, 0 dropped)" in result.output
    assert recorded(file) == {"old": "yes", "same": "yes", "changed": "after", "new": "yes"}
    assert '"latency_s": 1.0' in file.read_text()


def test_export_can_drop_what_is_stale(run: Run, project: Path) -> None:
    """With --replace the file holds what is exported now and no more."""
    file = project / "recordings" / "r.jsonl"
    write_recordings(file, [answer("old"), answer("used")])
    result = run("export", file, "--replace", "--evidence", write_evidence(project / "e.json", answer("used")))
    assert "1 answer (0 new, 0 changed, 1 dropped)" in result.output
    assert set(recorded(file)) == {"used"}


def test_export_never_contradicts_other_recordings(run: Run, project: Path) -> None:
    """An answer that another recordings file gives differently is bad input that names its line."""
    write_recordings(project / "recordings" / "a.jsonl", [answer("x", "before")])
    keep(project, answer("x", "after"))
    result = run("export", "recordings/b.jsonl")
    assert result.exit_code == 2
    assert f"{project / 'recordings' / 'a.jsonl'}, line 1, records another answer" in result.output
    assert not (project / "recordings" / "b.jsonl").exists()
    assert run("export", "outside.jsonl").exit_code == 0


def test_export_does_not_repeat_other_recordings(run: Run, project: Path) -> None:
    """What another recordings file of the project holds is not recorded twice."""
    write_recordings(project / "recordings" / "a.jsonl", [answer("x")])
    keep(project, answer("x"), answer("y"))
    result = run("export", "recordings/b.jsonl")
    assert "1 answer in other recordings" in result.output
    assert set(recorded(project / "recordings" / "b.jsonl")) == {"y"}


def test_export_to_a_named_file_that_does_not_exist_yet(run: Run, project: Path) -> None:
    """The first export makes the file that the configuration names."""
    (project / "proofmap.toml").write_text('recordings = ["first.jsonl"]\n')
    keep(project, answer("a"))
    assert run("stats").exit_code == 2
    assert run("export", "first.jsonl").exit_code == 0
    assert run("stats").exit_code == 0


def test_import_and_export_are_inverse(run: Run, project: Path) -> None:
    """What was exported from one cache is imported into another one unchanged."""
    keep(project, answer("a", latency_s=0.5), answer("b", model="m/small"))
    run("export", "one.jsonl")
    (project / ".proofmap" / "cache" / "cache.db").unlink()
    result = run("import", "one.jsonl")
    assert result.exit_code == 0, result.output
    assert "2 imported" in result.output
    run("export", "two.jsonl")
    assert (project / "one.jsonl").read_bytes() == (project / "two.jsonl").read_bytes()
    assert "2 already there" in run("import", "one.jsonl").output


def test_import_keeps_what_is_cached(run: Run, project: Path) -> None:
    """A cached answer that differs stays, unless --replace is given."""
    keep(project, answer("a", "cached"))
    write_recordings(project / "r.jsonl", [answer("a", "imported")])
    assert "1 kept as cached" in run("import", "r.jsonl").output
    assert "1 replaced" in run("import", "r.jsonl", "--replace").output
    run("export", "out.jsonl")
    assert recorded(project / "out.jsonl") == {"a": "imported"}


def test_import_of_a_broken_file_imports_nothing(run: Run, project: Path) -> None:
    """A broken line in any file is found before the first answer is imported."""
    write_recordings(project / "good.jsonl", [answer("a")])
    (project / "bad.jsonl").write_text(answer("b").to_json()[:50] + "\n")
    result = run("import", "good.jsonl", "bad.jsonl")
    assert result.exit_code == 2
    assert "bad.jsonl, line 1: not a recorded answer" in result.output
    assert not (project / ".proofmap" / "cache" / "cache.db").exists()


def days_ago(days: int) -> str:
    """Return the time so many days ago, as answers hold it."""
    return f"{TODAY - timedelta(days=days)}T00:00:00Z"


def test_prune_by_age(run: Run, project: Path) -> None:
    """Answers made long ago go; the others stay."""
    keep(project, answer("old", made_at=days_ago(40)), answer("new", made_at=days_ago(20)), answer("unknown"))
    result = run("prune", "--older-than", "30d", "--dry-run")
    assert "Would delete 1 answer (" in result.output
    assert cached(project) == {"old", "new", "unknown"}
    result = run("prune", "--older-than", "30d")
    assert result.exit_code == 0
    assert "Deleted 1 answer (" in result.output
    assert "2 answers kept" in result.output
    assert cached(project) == {"new", "unknown"}


def test_prune_by_runtime_and_age(run: Run, project: Path) -> None:
    """Several options together delete only what meets all of them."""
    old = days_ago(40)
    keep(
        project, answer("a", made_at=old), answer("b", model="m/small", made_at=old), answer("c", model="m/small")
    )
    assert run("prune", "--runtime", "small", "--older-than", "4w").exit_code == 0
    assert cached(project) == {"a", "c"}


def test_prune_by_use(run: Run, project: Path) -> None:
    """Answers that no run used for long go, as long as they are not new."""
    keep(project, answer("unused"), answer("used"))
    store = DiskStore(project / ".proofmap" / "cache", pytest.fail)
    store.mark_used([key(answer("used"))], TODAY + timedelta(days=1))
    store.close()
    run("prune", "--unused-since", "30d")
    assert cached(project) == {"unused", "used"}
    import sqlite3

    database = sqlite3.connect(project / ".proofmap" / "cache" / "cache.db")
    with database:
        database.execute("UPDATE Cache SET store_time = store_time - 86400.0 * 60")
    database.close()
    assert "Deleted 1 answer" in run("prune", "--unused-since", "30d").output
    assert cached(project) == {"used"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Say what to prune"),
        (["--dry-run"], "Say what to prune"),
        (["--older-than", "30"], "'30' is not an age"),
        (["--older-than", "-1d"], "'-1d' is not an age"),
        (["--unused-since", "soon"], "such as 30d"),
        (["--runtime", "bigg"], "Did you mean 'big'?"),
    ],
)
def test_prune_refuses_bad_input(run: Run, project: Path, options: list[str], message: str) -> None:
    """Without a filter, or with a wrong one, nothing is deleted."""
    keep(project, answer("a"))
    result = run("prune", *options)
    assert result.exit_code == 2
    assert message in result.output
    assert cached(project) == {"a"}


def test_a_damaged_cache_can_be_saved(run: Run, project: Path) -> None:
    """The way to mend a damaged cache that the warning names works."""
    keep(project, *(answer(str(number), "long " * 100) for number in range(100)))
    file = project / ".proofmap" / "cache" / "cache.db"
    content = bytearray(file.read_bytes())
    content[60 * 512 : 70 * 512] = b"\xaa" * (10 * 512)
    file.write_bytes(content)
    result = run("export", "saved.jsonl")
    assert result.exit_code == 0, result.output
    assert "is damaged" in result.output
    assert len(recorded(project / "saved.jsonl")) > 50
    file.unlink()
    assert run("import", "saved.jsonl").exit_code == 0
    assert len(cached(project)) == len(recorded(project / "saved.jsonl"))


def test_an_unknown_command(run: Run) -> None:
    """A command with a typo is bad usage with a suggestion."""
    result = CliRunner().invoke(main, ["cahce"])
    assert result.exit_code == 2
    assert "Did you mean 'cache'?" in result.output


def test_help_imports_no_command(project: Path) -> None:
    """The installed script shows its help without importing a command, pydantic or diskcache."""
    script = (
        "import sys; from pytest_proofmap.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'pydantic', 'diskcache', 'litellm', 'pytest', 'sqlite3'}\n"
        "loaded = {name for name in sys.modules if name in heavy or name.startswith('pytest_proofmap.cli.')}\n"
        "assert not loaded, loaded\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "cache" in result.stdout
    installed = subprocess.run(
        [Path(sys.executable).parent / "proofmap", "--version"], capture_output=True, text=True
    )
    assert installed.returncode == 0
    assert installed.stdout.startswith("proofmap, version ")
