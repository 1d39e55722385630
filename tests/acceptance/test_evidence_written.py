"""The evidence is written whole, also when a run is cut short, and says how complete it is."""

from __future__ import annotations

import json

import pytest
from small_project import THREE_CASES, SmallProject, echo_hook

from pytest_proofmap.calls.answer import Refusal
from pytest_proofmap.evidence.models import Evidence

SECRET = "Zq81-dummy-secret-value-000"


@pytest.fixture
def triage(project: SmallProject) -> SmallProject:
    """Three cases that both runtimes answer from recordings."""
    project.write("test_triage.py", THREE_CASES)
    for runtime in ("gpt", "mini"):
        project.record(runtime, {case: case for case in "abc"})
    return project


def run(project: SmallProject, *arguments: str) -> pytest.RunResult:
    """Run from the recordings alone."""
    return project.run("--proofmap-cache=replay", "-p", "no:cacheprovider", *arguments)


def incomplete(project: SmallProject) -> str:
    """Return why the last run's evidence is incomplete."""
    info = project.evidence().run
    assert info.complete is (info.incomplete_reasons == [])
    return "; ".join(info.incomplete_reasons)


def test_a_whole_run_is_complete(triage: SmallProject) -> None:
    """A run of everything is complete, and the models validate what it wrote."""
    run(triage)
    assert incomplete(triage) == ""
    raw = json.loads(triage.artifact.read_text(encoding="utf-8"))
    assert Evidence.model_validate(raw).model_dump(mode="json", by_alias=True) == raw
    assert raw["schema"] == "proofmap.evidence/1"
    assert set(raw) == {
        *("schema", "run", "runtimes", "prompts", "requests"),
        *("objectives", "criteria", "samples", "totals"),
    }


def test_the_parts_of_a_run(triage: SmallProject) -> None:
    """Runtimes, requests, criteria, cells, calls and totals hold what was observed."""
    run(triage)
    evidence = triage.evidence()
    gpt = evidence.runtimes["gpt"]
    assert (gpt.model, gpt.provider, gpt.params, gpt.variant, gpt.api_base) == (
        "openai/gpt",
        "openai",
        {},
        None,
        None,
    )
    assert gpt.price is not None
    assert (gpt.price.input_per_mtok, gpt.price.output_per_mtok) == (10.0, 30.0)
    assert len(evidence.requests) == 6
    [criterion] = evidence.criteria
    assert (criterion.id, criterion.collected) == ("test_triage.py::test_echo", ["a", "b", "c"])
    assert {part.partition(":")[0] for part in criterion.fingerprint.split("/")} == {"source", "bar", "cases"}
    cell = triage.cell("test_echo", "gpt")
    assert (cell.cases, cell.passed, cell.failed, cell.errors, cell.skipped, cell.pass_rate) == (
        3,
        3,
        0,
        0,
        0,
        1.0,
    )
    assert cell.cost_usd == pytest.approx(3 * (100 * 10 + 10 * 30) / 1e6)
    assert (cell.latency_s.p50, cell.latency_s.p95, cell.latency_s.max, cell.latency_s.n) == (0.5, None, 0.5, 3)
    [call] = triage.sample("a", "mini").calls
    assert call.key in evidence.requests
    assert (call.source, call.error, call.model) == ("recording", None, "mini-served")
    assert (call.input_tokens, call.output_tokens, call.finish_reason, call.text) == (100, 10, "stop", "a")
    assert call.latency_s == 0.5
    totals = evidence.totals
    assert (totals.calls, totals.recorded, totals.live, totals.spent_usd) == (6, 6, 0, 0.0)
    assert totals.list_usd == pytest.approx(3 * (100 * 10 + 10 * 30 + 100 * 1 + 10 * 2) / 1e6)
    assert evidence.run.versions.litellm is None


def test_the_git_commit(triage: SmallProject) -> None:
    """Outside a repository there is no commit; the run does not fail for it."""
    run(triage)
    assert triage.evidence().run.git is None


def test_skips_on_all_runtimes_and_on_one_side(triage: SmallProject) -> None:
    """A skip counts as skipped on its runtime; the rate is that of the others."""
    triage.write(
        "test_triage.py",
        THREE_CASES.replace(
            "    assert",
            "    if case == 'a' or (case, runtime.name) == ('b', 'mini'):\n        pytest.skip('no')\n    assert",
        ),
    )
    run(triage).assert_outcomes(passed=3, skipped=3)
    mini = triage.cell("test_echo", "mini")
    assert (mini.cases, mini.passed, mini.skipped, mini.pass_rate) == (3, 1, 2, 1.0)
    assert incomplete(triage) == ""


def test_deselected_is_incomplete(triage: SmallProject) -> None:
    """A deselected marked test makes the evidence incomplete."""
    run(triage, "-k", "not c-")
    assert "2 of 6 samples did not run" in incomplete(triage)


def test_a_deselected_plain_test_is_complete(triage: SmallProject) -> None:
    """Deselecting what is not marked takes nothing from the evidence."""
    triage.write("test_plain.py", "def test_plain():\n    pass\n")
    run(triage, "-k", "echo")
    assert incomplete(triage) == ""


def test_left_out_runtimes_are_incomplete(triage: SmallProject) -> None:
    """``--proofmap-runtimes`` that leaves one out makes the evidence incomplete, and names it."""
    run(triage, "--proofmap-runtimes=gpt")
    assert incomplete(triage) == "--proofmap-runtimes left out mini"
    run(triage, "--proofmap-runtimes=gpt,mini")
    assert incomplete(triage) == ""


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("raise KeyboardInterrupt", pytest.ExitCode.INTERRUPTED),
        ("pytest.exit('enough')", pytest.ExitCode.INTERRUPTED),
        ("pytest.exit('enough', returncode=0)", 0),
    ],
)
def test_an_interrupted_run_is_written_and_incomplete(
    triage: SmallProject, body: str, status: int | pytest.ExitCode
) -> None:
    """A run that ends early keeps the samples that it has and is incomplete."""
    triage.write(
        "test_zzz.py",
        f"import pytest\n\n@pytest.mark.qualify(prefetch=False)\ndef test_end(runtime):\n    {body}\n",
    )
    result = run(triage)
    assert result.ret == status
    assert len(triage.evidence().samples) == 6
    assert "did not run" in incomplete(triage)


def test_a_broken_plugin_does_not_lose_the_evidence(triage: SmallProject) -> None:
    """An internal error of another plugin ends the run; what was seen is written."""
    triage.write(
        "conftest.py",
        """
def pytest_runtest_logreport(report):
    if report.when == "setup" and "c-mini" in report.nodeid:
        raise RuntimeError("a broken plugin")
""",
    )
    result = run(triage)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert len(triage.evidence().samples) == 5
    assert "interrupted" in incomplete(triage)


def test_stopping_at_the_first_failure_is_incomplete(triage: SmallProject) -> None:
    """``-x`` leaves the rest unrun, which the evidence says."""
    triage.write("test_a.py", "def test_plain():\n    assert 0\n")
    run(triage, "-x")
    assert not triage.artifact.exists() or "6 of 6 samples did not run" in incomplete(triage)


@pytest.mark.parametrize(
    "arguments", [["--collect-only", "-q"], ["-k", "nothing"], ["-x", "test_broken.py", "test_triage.py"]]
)
def test_a_run_without_a_sample_leaves_earlier_evidence(triage: SmallProject, arguments: list[str]) -> None:
    """What qualifies nothing neither replaces the evidence nor says anything about it."""
    run(triage)
    earlier = triage.artifact.read_bytes()
    triage.write("test_broken.py", "import nothing_like_it\n")
    result = run(triage, *arguments)
    assert triage.artifact.read_bytes() == earlier
    assert "incomplete" not in result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str()


def test_another_place(triage: SmallProject) -> None:
    """``--proofmap-json`` names another file, whose folders are made."""
    run(triage, "--proofmap-json=out/deep/evidence.json")
    assert (triage.folder / "out" / "deep" / "evidence.json").is_file()
    assert not triage.artifact.exists()


@pytest.mark.parametrize("place", ["pytest.ini/evidence.json", "folder"])
def test_an_unwritable_place_is_a_finding(triage: SmallProject, place: str) -> None:
    """A place that cannot be written fails the run with what to do, without a traceback."""
    (triage.folder / "folder").mkdir()
    result = run(triage, f"--proofmap-json={place}")
    text = result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in text
    assert "Traceback" not in text
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    said = " ".join(text.split())
    assert "the evidence could not be written to" in said
    assert "--proofmap-json=PATH" in said
    assert "6 calls (6 recorded)" in said
    assert "did not run" not in said


def test_a_full_disk_is_a_finding(triage: SmallProject) -> None:
    """A disk that fills up while samples are written fails the run with what to do, and shows the run."""
    triage.write(
        "conftest.py",
        """
import errno
import pytest
from pytest_proofmap.plugin import recorder

class Full:
    def __init__(self, file):
        self.file = file
        self.close = file.close

    def write(self, text):
        self.file.write(text)

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")

@pytest.hookimpl(wrapper=True)
def pytest_runtestloop():
    whole = recorder.Recorder._open
    recorder.Recorder._open = lambda self: Full(whole(self))
    try:
        return (yield)
    finally:
        recorder.Recorder._open = whole
""",
    )
    result = run(triage)
    said = " ".join((result.stdout.str() + result.stderr.str()).split())
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "Traceback" not in said
    assert "INTERNALERROR" not in said
    assert "No space left on device" in said
    assert "6 calls (6 recorded)" in said


def test_an_older_artifact_is_replaced_whole(triage: SmallProject) -> None:
    """Nothing of an older artifact stays, and no temporary file is left."""
    triage.write(".proofmap/evidence.json", "x" * 100_000)
    run(triage)
    assert triage.evidence().run.complete
    assert [path.name for path in (triage.folder / ".proofmap").iterdir() if path.suffix == ".tmp"] == []


def test_no_secret_is_written(triage: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret of the environment that a client's error repeats is in no file and no output."""
    monkeypatch.setenv("ACME_API_KEY", SECRET)
    for path in (triage.folder / "recordings").iterdir():
        path.unlink()
    triage.write(
        "conftest.py",
        echo_hook(
            """
    import os
    if runtime == "mini":
        secret = os.environ["ACME_API_KEY"]
        raise PermissionError(f"rejected key {secret} and sk-proj-abcdefghijklmnop0123456789")
    return prompt
"""
        ),
    )
    result = triage.run("-rs")
    result.assert_outcomes(passed=3, skipped=3)
    assert SECRET not in result.stdout.str()
    for path in triage.folder.rglob("*"):
        if path.is_file() and path.name not in ("conftest.py", "calls.txt"):
            content = path.read_bytes()
            assert SECRET.encode() not in content, path
            assert b"abcdefghijklmnop0123456789" not in content or "__pycache__" in str(path), path
    assert "rejected key" in triage.sample("a", "mini").message


def test_hostile_text_survives(triage: SmallProject) -> None:
    """Control characters and other scripts in answers are kept, but for what JSON cannot hold."""
    hostile = '\x00\x1b[31m\u2028\ud83d ‮ "quotes" \\ 日本'
    for runtime in ("gpt", "mini"):
        triage.record(runtime, {"hostile": hostile})
    triage.write(
        "test_triage.py",
        "import pytest\n\n@pytest.mark.qualify\ndef test_hostile(runtime):\n"
        "    assert runtime.complete('hostile').text\n",
    )
    run(triage).assert_outcomes(passed=2)
    assert triage.sample("", "mini").calls[0].text == hostile.replace("\ud83d", "\ufffd")


def test_a_refusal_is_a_failure_of_the_model(triage: SmallProject) -> None:
    """A refusal by content policy or context window counts as failed and never as an error."""
    triage.record("mini", {"d": Refusal("ContentPolicyViolationError", "rejected by the safety system")})
    triage.record("gpt", {"d": "d"})
    triage.write("test_triage.py", THREE_CASES.replace('"a", "b", "c"', '"d"'))
    result = run(triage)
    result.assert_outcomes(passed=1, xfailed=1)
    assert triage.sample("d", "mini").outcome == "failed"
    assert "ContentPolicyViolationError" in triage.sample("d", "mini").message


@pytest.mark.parametrize("arguments", [[], ["-n", "2"]], ids=["one process", "xdist"])
def test_the_same_evidence_under_xdist(triage: SmallProject, arguments: list[str]) -> None:
    """Workers send everything that the artifact holds to the controller."""
    triage.plugins += ["xdist"] if arguments else []
    triage.run_apart("--proofmap-cache=replay", *arguments)
    evidence = triage.evidence()
    assert incomplete(triage) == ""
    assert len(evidence.samples) == len(evidence.requests) == 6
    assert (evidence.totals.calls, evidence.totals.recorded) == (6, 6)
    assert evidence.criteria[0].collected == ["a", "b", "c"]


def test_a_lost_worker_is_incomplete(triage: SmallProject) -> None:
    """When a worker of xdist dies, what finished is kept and the evidence is incomplete."""
    triage.plugins.append("xdist")
    triage.write(
        "test_zzz.py",
        "import os, pytest\n\n@pytest.mark.qualify(prefetch=False)\ndef test_end(runtime):\n    os._exit(1)\n",
    )
    result = triage.run_apart("--proofmap-cache=replay", "-n", "1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert len(triage.evidence().samples) == 6
    assert "did not run" in incomplete(triage)
