"""Shards of one run in CI, joined by ``proofmap merge``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from small_project import CONFIGURATION, SmallProject, echo_hook

from pytest_proofmap.cli import main

SHARDS = 8

TESTS = """
import pytest

CASES = [(f"c{number:02}", "fr" if number % 3 else "en") for number in range(24)]
pytestmark = pytest.mark.qualify(objective="triage", slice_by="language")

@pytest.mark.parametrize("case, language", CASES)
@pytest.mark.qualify(margin=0.1, samples=2)
def test_margin(runtime, case, language):
    reply = runtime.complete(case)
    assert reply.text == case

@pytest.mark.parametrize("case, language", CASES)
@pytest.mark.qualify(min_pass_rate=0.7)
def test_rate(runtime, runtimes, case, language):
    answer = runtime.complete([{"role": "system", "content": "again"}, {"role": "user", "content": case}]).text
    assert runtimes["judge"].complete(answer + "?").text
    assert answer == case
"""

SPLIT = """
def pytest_addoption(parser):
    parser.addoption("--shard", type=int, default=None)

def pytest_collection_modifyitems(config, items):
    shard = config.getoption("--shard")
    if shard is not None:
        kept = items[shard::8]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
"""

ANSWER = 'return "no" if runtime == "mini" and prompt in ("c03", "c05", "c16") else prompt'


@pytest.fixture
def project(project: SmallProject) -> SmallProject:
    """A project with two criteria, slices, repeated samples and a judge, and a stand-in for pytest-split."""
    project.configure(CONFIGURATION + '\n[runtimes.judge]\nmodel = "openai/judge"\n')
    project.write("test_triage.py", TESTS)
    # Answers come from a hook, which tells neither tokens nor prices: the usage makes costs known.
    body = ANSWER.replace("return ", "text = ") + (
        '\n    message = {"role": "assistant", "content": text}'
        '\n    usage = {"prompt_tokens": 7 + len(text), "completion_tokens": 3, "total_tokens": 10 + len(text)}'
        '\n    choice = {"index": 0, "finish_reason": "stop", "message": message}'
        '\n    return {"model": "m", "choices": [choice], "usage": usage}'
    )
    project.write("conftest.py", echo_hook(body) + SPLIT)
    return project


def merge(project: SmallProject, *arguments: str | Path) -> Result:
    """Run ``proofmap merge`` and write ``merged.json``."""
    output = project.folder / "merged.json"
    return CliRunner().invoke(main, ["merge", *map(str, arguments), "-o", str(output)])


def loaded(path: Path) -> dict[str, Any]:
    """Return an artifact."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def unordered(samples: list[Any]) -> list[str]:
    """Return samples so that their order does not matter."""
    return sorted(json.dumps(sample, sort_keys=True) for sample in samples)


def test_eight_shards_decide_as_one_process(project: SmallProject) -> None:
    """Cells, verdicts and recommendations of eight joined shards are those of one process, to the last digit."""
    project.run("-q")
    whole = loaded(project.artifact)
    for number in range(SHARDS):
        result = project.run(
            "-q", "--proofmap-shard", f"--shard={number}", f"--proofmap-json=shards/{number}.json"
        )
        assert result.ret == pytest.ExitCode.OK

    one = loaded(project.folder / "shards" / "3.json")
    assert one["run"]["shard"] is True
    assert one["objectives"]
    assert one["criteria"]
    assert not any(each["verdicts"] or each["recommendations"] for each in one["objectives"])
    assert not any(each["cells"] for each in one["criteria"])

    merging = merge(project, *sorted((project.folder / "shards").glob("*.json")))
    assert merging.exit_code == 0, merging.output
    assert "8 shards joined" in merging.output
    joined = loaded(project.folder / "merged.json")
    assert joined["run"]["complete"] is True
    assert joined["run"]["shard"] is False
    assert joined["criteria"] == whole["criteria"]
    assert joined["objectives"] == whole["objectives"]
    assert joined["objectives"][0]["verdicts"]
    assert {cell["slice"] for cell in joined["criteria"][0]["cells"]} == {None, "language=en", "language=fr"}
    for section in ("runtimes", "prompts", "requests"):
        assert joined[section] == whole[section], section
    again = loaded(project.folder / "shards" / "0.json")
    assert again["totals"]["live"] == 0
    assert joined["totals"]["calls"] == whole["totals"]["calls"]
    assert joined["totals"]["list_usd"] == pytest.approx(whole["totals"]["list_usd"])
    assert [key for key in joined["totals"] if key not in whole["totals"]] == []
    for artifact in (joined, whole):
        for sample in artifact["samples"]:
            for call in sample["calls"]:
                del call["source"]
    assert unordered(joined["samples"]) == unordered(whole["samples"])


def test_a_shard_says_what_it_is(project: SmallProject) -> None:
    """A shard shows no verdict, fails for no bar and says who decides."""
    body = 'return "no" if runtime == "gpt" else prompt'
    project.write("conftest.py", echo_hook(body) + SPLIT)
    result = project.run("--proofmap-shard", "--shard=0", "--proofmap-strict", "-k", "rate")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*it is a shard: 'proofmap merge' joins all shards and*"])
    assert "qualified" not in result.stdout.str()
    joined = merge(project, project.artifact)
    assert joined.exit_code == 1
    assert "does not meet its own bar" in " ".join(joined.output.split())


def test_a_missing_shard_is_a_finding(project: SmallProject) -> None:
    """Without one of the shards the run is incomplete, and the status says so."""
    for number in (0, 1):
        project.run("-q", "--proofmap-shard", f"--shard={number}", f"--proofmap-json={number}.json", "-k", "rate")
    result = merge(project, project.folder / "0.json", project.folder / "1.json")
    assert result.exit_code == 1
    assert "the shards are not the whole run" in " ".join(result.output.split())
    joined = loaded(project.folder / "merged.json")
    assert joined["run"]["complete"] is False
    assert any("test_rate" in reason for reason in joined["run"]["incomplete_reasons"])


def test_changed_tests_are_bad_input(project: SmallProject) -> None:
    """Shards of two versions of a test are not joined."""
    project.run("-q", "--proofmap-shard", "--shard=0", "--proofmap-json=0.json", "-k", "rate")
    project.write("test_triage.py", TESTS.replace("0.7", "0.6"))
    project.run("-q", "--proofmap-shard", "--shard=1", "--proofmap-json=1.json", "-k", "rate")
    result = merge(project, project.folder / "0.json", project.folder / "1.json")
    assert result.exit_code == 2
    assert "its bar is not the same" in result.output
    assert not (project.folder / "merged.json").exists()
