"""Who answered: which models are a runtime's own, and what the others block."""

from __future__ import annotations

from typing import Any

import pytest
from stored_evidence import artifact, call, sample

from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.served import ForeignAnswers, foreign_answers
from pytest_proofmap.evidence.models import Evidence, RuntimeInfo


def info(model: str, served: list[str] | None = None, api_base: str | None = None) -> RuntimeInfo:
    """Return a runtime that asks for a model."""
    return RuntimeInfo(model=model, provider="p", params={}, fingerprint="f", served=served, api_base=api_base)


def rows(runtime: str, *models: str) -> list[Observation]:
    """Return a sample of one call for each model that answered."""
    return [
        Observation("t", f"c{index}", None, runtime, 0, "passed", served=model)
        for index, model in enumerate(models)
    ]


def found(asked: str, *models: str, served: list[str] | None = None, **others: str) -> list[ForeignAnswers]:
    """Return what is foreign when ``cheap`` asks for a model and others are configured."""
    return foreign_answers({"cheap": info(asked, served)}, others, rows("cheap", *models))


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("openai/gpt-4o-mini", "gpt-4o-mini"),
        ("openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("openai/gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openrouter/openai/gpt-4o-mini", "openai/gpt-4o-mini"),
        ("anthropic/claude-3-5-haiku-latest", "claude-3-5-haiku-20241022"),
        ("vertex_ai/claude-3-5-haiku@20241022", "claude-3-5-haiku-20241022"),
        ("bedrock/us.anthropic.claude-3-5-haiku-20241022-v1:0", "claude-3-5-haiku-20241022"),
        ("gemini/gemini-2.5-flash", "gemini-2.5-flash-preview-05-20"),
        ("gemini/gemini-1.5-pro", "gemini-1.5-pro-002"),
        ("openai/gpt-4", "gpt-4-0613"),
        ("openai/Big", "big"),
    ],
)
def test_own_models(asked: str, served: str) -> None:
    """A prefix of LiteLLM and a dated snapshot of the same alias make no other model, though it is configured."""
    assert found(asked, served, served, twin=served) == []


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("openai/gpt-4o-mini", "gpt-4o"),
        ("openai/gpt-4o", "gpt-4o-mini"),
        ("openai/gpt-4o", "gpt-4o-mini-2024-07-18"),
        ("openai/gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
        ("anthropic/claude-3-5-haiku-latest", "claude-3-5-sonnet-20241022"),
        ("gemini/gemini-1.5-pro-001", "gemini-1.5-pro-002"),
    ],
)
def test_models_of_others(asked: str, served: str) -> None:
    """Another configured runtime's model is a finding, and the models that it blocks are named."""
    (foreign,) = found(asked, served, served, other=f"openai/{served}")
    assert foreign.text == "2 of 2 answers of cheap came from other"
    assert foreign.models == (served,)
    assert f'[tool.proofmap.runtimes.cheap] served = ["{served}"]' in foreign.next_step


def test_a_part_of_the_answers() -> None:
    """How many answers came from whom is told."""
    (foreign,) = found("openai/cheap", *["cheap"] * 6, *["big-2024-01-01"] * 6, big="openai/big")
    assert foreign.text == "6 of 12 answers of cheap came from big"


def test_a_stranger_that_nobody_configured_is_nobodys() -> None:
    """A deployment's name says nothing of its model: one model throughout is the runtime's."""
    assert found("azure/our-deployment", *["gpt-4o-2024-08-06"] * 3, big="openai/o3") == []


@pytest.mark.parametrize(
    "served",
    [
        ["gpt-4o-2024-05-13", "gpt-4o-2024-08-06"],
        ["cheap", "another"],
        ["one", "two"],
    ],
)
def test_a_model_that_changes_within_a_run(served: list[str]) -> None:
    """Answers of several models are evidence of none of them."""
    (foreign,) = found("openai/gpt-4o", *served)
    assert foreign.text.startswith("openai/gpt-4o was answered by several models within the run: ")
    assert foreign.models == tuple(sorted(served))


def test_an_alias_and_its_snapshot_are_no_change() -> None:
    """A server that names the snapshot now and then served one model all the same."""
    assert found("openai/gpt-4o", "gpt-4o", "gpt-4o-2024-08-06", "gpt-4o") == []


def test_one_request_of_two_runtimes() -> None:
    """Two runtimes that ask for one model must have been answered by one."""
    runtimes = {name: info("openai/gpt-4o") for name in ("base", "terse")}
    answers = [*rows("base", "gpt-4o-2024-05-13"), *rows("terse", "gpt-4o-2024-08-06")]
    assert [each.runtime for each in foreign_answers(runtimes, {}, answers)] == ["base", "terse"]
    elsewhere = {**runtimes, "terse": info("openai/gpt-4o", api_base="http://other/v1")}
    assert foreign_answers(elsewhere, {}, answers) == []


@pytest.mark.parametrize(
    ("served", "remains"),
    [(["big"], 0), (["openai/big"], 0), (["big-2024-01-01"], 0), (["big-2024-02-02"], 1), (["small"], 1)],
)
def test_what_a_person_said(served: list[str], remains: int) -> None:
    """A model that the runtime's ``served`` names is its own, whoever else has it."""
    answers = ["cheap", "big-2024-01-01"]
    assert len(found("openai/cheap", *answers, served=served, big="openai/big")) == remains


def test_a_change_between_models_that_a_person_named() -> None:
    """An alias that moved may be accepted by its snapshots."""
    answers = ["cheap-2024-01-01", "cheap-2024-02-02"]
    assert len(found("openai/cheap", *answers)) == 1
    assert found("openai/cheap", *answers, served=answers) == []
    assert found("openai/cheap", *answers, served=answers[:1]) == []


def evidence(models: dict[str, str], others: dict[str, str] | None = None) -> Evidence:
    """Return an artifact of 60 agreeing cases whose first 20 answers came from a model by runtime."""

    def one(runtime: str, index: int) -> dict[str, Any]:
        model = models.get(runtime, runtime) if index < 20 else runtime
        return sample(runtime, index, calls=[call(f"{runtime}{index}", model=model)])

    made = artifact([one(runtime, index) for runtime in ("base", "mini") for index in range(60)])
    runtimes = {name: each.model_copy(update={"model": f"openai/{name}"}) for name, each in made.runtimes.items()}
    run = made.run.model_copy(update={"other_runtimes": others})
    return made.model_copy(update={"runtimes": runtimes, "run": run})


def test_verdicts_are_insufficient() -> None:
    """From an artifact alone: what would qualify does not, with a reason of its own."""
    plain = decide_evidence(evidence({}))
    assert plain.objectives[0].verdicts[0].status == "qualified"
    decided = decide_evidence(evidence({"mini": "base"}))
    (verdict,) = decided.objectives[0].verdicts
    assert (verdict.status, verdict.reason_code) == ("insufficient", "served_model")
    assert "20 of 60 answers of mini came from base" in verdict.reason


def test_a_baseline_that_was_another_blocks_all() -> None:
    """Challengers are compared with the baseline: where that is not what answered, nothing is known."""
    decided = decide_evidence(evidence({"base": "mini"}))
    assert decided.objectives[0].verdicts[0].reason_code == "served_model"


def test_runtimes_that_took_no_part_count() -> None:
    """An answer may come from a configured runtime that the run did not ask."""
    decided = decide_evidence(evidence({"mini": "huge"}, {"huge-one": "openai/huge"}))
    assert "20 of 60 answers of mini came from huge-one" in decided.objectives[0].verdicts[0].reason


@pytest.mark.parametrize(
    "settings", [{"error": {"class": "X", "message": ""}}, {"finish_reason": None, "text": ""}]
)
def test_what_is_no_answer_names_nobody(settings: dict[str, Any]) -> None:
    """A call that failed, and a refusal, have the model that was asked."""
    rows = [sample("mini", 0, calls=[call("a", model="base", **settings)]), sample("base", 0)]
    decided = decide_evidence(artifact(rows))
    assert decided.objectives[0].verdicts[0].reason_code != "served_model"


def test_auxiliary_calls_are_of_others() -> None:
    """A judge's answers come from the judge."""
    calls = [call("a"), call("b", model="base", runtime="judge")]
    decided = decide_evidence(artifact([sample("mini", 0, calls=calls), sample("base", 0)]))
    assert decided.objectives[0].verdicts[0].reason_code != "served_model"
