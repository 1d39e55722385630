"""Who answered: an answer of another model is no evidence of the runtime that was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_provider import FakeProvider
from small_project import SmallProject

CONFIGURATION = """
baseline = "good"
challengers = ["cheap"]

[runtimes.good]
model = "openai/good"
api_base = "{url}"

[runtimes.cheap]
model = "openai/cheap"
api_base = "{url}"
{cheap}

[runtimes.big]
model = "openai/big"
api_base = "{url}"
"""

RECORDINGS = 'recordings = ["recordings/*.jsonl"]\n'

TEST = """
import pytest

@pytest.mark.parametrize("n", range(12))
@pytest.mark.qualify(max_failure_rate=0.25)
def test_t(runtime, n):
    assert runtime.complete(f"say {{n}}"{more}).text == "ok"
"""


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """A provider whose model ``cheap`` is answered by ``big`` for every second request."""
    with FakeProvider() as provider:
        yield provider


def prepare(project: SmallProject, provider: FakeProvider, cheap: str = "", more: str = "") -> None:
    """Write a project of twelve cases."""
    project.configure(CONFIGURATION.format(url=provider.url, cheap=cheap))
    project.write("test_it.py", TEST.format(more=more))


def substitute(project: SmallProject, other: str) -> None:
    """Let every second recorded answer of ``cheap`` come from another model."""
    for runtime in ("good", "cheap"):
        project.record(runtime, {f"say {n}": "ok" for n in range(12)})
    recording = project.folder / "recordings" / "cheap.jsonl"
    answers = [json.loads(line) for line in recording.read_text().splitlines()]
    for index, answer in enumerate(answers):
        answer["response"]["model"] = other if index % 2 else "cheap"
    recording.write_text("".join(json.dumps(answer) + "\n" for answer in answers))


def record(project: SmallProject, other: str, cheap: str = "") -> None:
    """Write a project whose answers are recorded."""
    project.configure(
        'recordings = ["recordings/*.jsonl"]\n' + CONFIGURATION.format(url="http://x/v1", cheap=cheap)
    )
    project.write("test_it.py", TEST.format(more=""))
    substitute(project, other)


def test_answers_of_another_runtime(project: SmallProject) -> None:
    """They are a finding that says how many and from whom, and the verdict is insufficient."""
    record(project, "big-2024-05-05")
    result = project.run("--proofmap-cache=replay")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*6 of 12 answers of cheap came from big*"])
    assert 'served = ["big-2024-05-05"]' in " ".join(result.stdout.str().split())
    (verdict,) = project.evidence().objectives[0].verdicts
    assert (verdict.status, verdict.reason_code) == ("insufficient", "served_model")


@pytest.mark.parametrize("arguments", [("decide",), ("report", "--text"), ("merge", "-o", "joined.json")])
def test_the_artifact_says_it_again(project: SmallProject, arguments: tuple[str, ...]) -> None:
    """Deciding, reporting and joining shards find it in the evidence, also of a runtime that took no part."""
    record(project, "big")
    shard = ("--proofmap-shard",) if arguments[0] == "merge" else ()
    project.run("--proofmap-cache=replay", *shard)
    files = (str(project.artifact),) if shard else ()
    done = project.proofmap(arguments[0], *files, *arguments[1:])
    assert "6 of 12 answers of cheap came from big" in " ".join(done.stdout.str().split()), done.stderr.str()
    if arguments[0] != "report":
        assert done.ret == 1


def test_a_model_that_changed(project: SmallProject) -> None:
    """A stranger beside the asked model, configured or not, is two models in one column."""
    record(project, "something-else")
    assert project.run("--proofmap-cache=replay").ret == 1
    assert project.evidence().objectives[0].verdicts[0].reason_code == "served_model"


def test_what_a_person_said_counts(project: SmallProject) -> None:
    """With ``served`` the answers are the runtime's, and its fingerprint is another one."""
    record(project, "big")
    project.run("--proofmap-cache=replay")
    before = project.evidence()
    assert "served" not in before.model_dump()["runtimes"]["cheap"]
    project.configure(
        'recordings = ["recordings/*.jsonl"]\n' + CONFIGURATION.format(url="http://x/v1", cheap='served = ["big"]')
    )
    assert project.run("--proofmap-cache=replay").ret == 0
    after = project.evidence()
    assert after.objectives[0].verdicts[0].status == "qualified"
    assert after.runtimes["cheap"].served == ["big"]
    assert after.runtimes["cheap"].fingerprint != before.runtimes["cheap"].fingerprint
    assert after.runtimes["good"].fingerprint == before.runtimes["good"].fingerprint


def test_an_approval_knows_what_a_person_said(project: SmallProject) -> None:
    """A route that was approved with ``served`` is stale without it, and stays readable."""
    record(project, "big", cheap='served = ["big"]')
    project.run("--proofmap-cache=replay")
    approved = project.proofmap("approve", "--yes", "--by", "Ada", "--chain", "cheap,good")
    assert approved.ret == 0, approved.stderr.str()
    lock = json.loads((project.folder / "proofmap.lock").read_text())
    assert [each.get("served") for each in lock["runtimes"].values()] == [["big"], None]
    assert [("served" in each) for each in lock["runtimes"].values()] == [True, False]
    held = project.proofmap("verify")
    assert held.ret == 0, held.stdout.str()
    configuration = (project.folder / "proofmap.toml").read_text()
    project.configure(configuration.replace('served = ["big"]', ""))
    verified = project.proofmap("verify")
    assert verified.ret == 1
    assert "runtime cheap changed" in verified.stdout.str()


def test_over_the_wire(project: SmallProject, provider: FakeProvider) -> None:
    """A gateway that answers with another configured model is found, once for all workers."""
    prepare(project, provider)
    provider.script("cheap", served_model="big")
    project.plugins.append("xdist.plugin")
    result = project.run_apart("-n", "2", OPENAI_API_KEY="k")
    assert result.ret == 1, result.stdout.str()
    result.stdout.fnmatch_lines(["*12 of 12 answers of cheap came from big*"])


@pytest.mark.parametrize("served", ['"big"', "[]", '[""]', "[1]"])
def test_what_served_may_be(project: SmallProject, served: str) -> None:
    """It is a list of names; an empty one would say nothing."""
    record(project, "big")
    text = (project.folder / "proofmap.toml").read_text()
    project.configure(text.replace("[runtimes.big]", f"served = {served}\n\n[runtimes.big]"))
    result = project.run()
    assert result.ret == 4
    assert "served" in result.stderr.str() + result.stdout.str()


@pytest.mark.parametrize(
    "param", ["fallbacks=['openai/big']", "mock_response='ok'", "context_window_fallback_dict={'a': 'b'}"]
)
def test_calls_that_somebody_else_could_answer(project: SmallProject, param: str) -> None:
    """They are refused before anything is sent, in a call and in a runtime."""
    record(project, "cheap")
    project.write("test_it.py", TEST.format(more=f", {param}"))
    result = project.run("--proofmap-cache=replay")
    assert result.ret == 1
    assert "passed" not in {each.outcome for each in project.evidence().samples}
    assert f"'{param.partition('=')[0]}' is not allowed" in project.evidence().samples[0].message


def test_runtimes_that_somebody_else_could_answer(project: SmallProject) -> None:
    """The configuration is refused with the place and the way out."""
    record(project, "cheap")
    text = (project.folder / "proofmap.toml").read_text()
    project.configure(text.replace("[runtimes.big]", 'params = { fallbacks = ["x"] }\n\n[runtimes.big]'))
    result = project.run()
    assert result.ret == 4
    assert "'fallbacks' is not allowed" in result.stderr.str()
    assert Path(project.folder, ".proofmap").exists() is False
