"""Who answered: the model that a response names, against the one that its runtime asked for.

Gateways, fallbacks and aliases put another model in place of the one that was asked, without a word but the
response's ``model``. What comes back is then no evidence of the runtime: an answer from a model that is another
configured runtime's, or from several models in one run where one was asked for, blocks every verdict on the
runtime until a person says ``served = [...]``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.reasons import Block
from pytest_proofmap.decide.wording import count
from pytest_proofmap.evidence.models import Evidence, RuntimeInfo

__all__ = ["ForeignAnswers", "foreign_answers", "foreign_in"]

_VENDOR = re.compile(
    r"^(?:(?:apac|au|ca|eu|global|jp|us|us-gov)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot|nvidia|openai|qwen|writer)\."
)
"""Bedrock's region and vendor: ``us.anthropic.claude-…``."""

_SNAPSHOT = re.compile(
    r"(?:[-@](?P<date>"
    r"\d{4}-\d{2}-\d{2}|\d{8}"  # OpenAI, Anthropic, Vertex AI
    r"|\d{2}-\d{2}|\d{2}-\d{4}|0\d{2}"  # Gemini's previews and stable versions
    r"|\d{4}"  # gpt-4-0613, mistral-large-2407
    r")|[-@:]latest)?(?:-v\d+(?::\d+)?)?$"  # Bedrock's own version
)


class ModelName(NamedTuple):
    """A model's name without what says where it runs."""

    alias: str
    snapshot: str | None
    """The dated release; None: the alias alone."""

    def stands_for(self, other: ModelName) -> bool:
        """Whether both may be one model: an alias is each of its snapshots, two snapshots are two models."""
        if self.alias != other.alias:
            return False
        return self.snapshot is None or other.snapshot is None or self.snapshot == other.snapshot


class ForeignAnswers(NamedTuple):
    """Answers that are no evidence of the runtime that was asked."""

    runtime: str
    text: str
    models: tuple[str, ...]
    """The models that answered."""

    @property
    def block(self) -> Block:
        """What it means for verdicts."""
        return Block("served_model", self.text, runtime=self.runtime)

    @property
    def next_step(self) -> str:
        """What to do about it."""
        listed = ", ".join(f'"{model}"' for model in self.models)
        return (
            "take out what answers in its place (a fallback, a gateway's routing) or name the dated model, and "
            "ask anew with --proofmap-cache=refresh; if this is the runtime as it is meant, say so: "
            f"[tool.proofmap.runtimes.{self.runtime}] served = [{listed}]"
        )


def foreign_in(evidence: Evidence, observations: Iterable[Observation]) -> list[ForeignAnswers]:
    """Return the foreign answers among the observations of an artifact."""
    return foreign_answers(evidence.runtimes, evidence.run.other_runtimes or {}, observations)


def foreign_answers(
    runtimes: Mapping[str, RuntimeInfo], others: Mapping[str, str], observations: Iterable[Observation]
) -> list[ForeignAnswers]:
    """Return what answered in place of runtimes.

    Args:
        runtimes: The runtimes of the run.
        others: Model ids of the configured runtimes that take no part in it, by name.
        observations: What was observed.
    """
    answers: dict[str, Counter[str]] = {}
    rows = Counter((row.runtime, row.served) for row in observations if row.served and row.runtime in runtimes)
    for (runtime, served), times in rows.items():
        for model in (served or "").split("\n"):
            answers.setdefault(runtime, Counter())[model] += times
    models = {**{name: info.model for name, info in runtimes.items()}, **others}
    changes = _changes(runtimes, answers)
    found = []
    for name in sorted(answers):
        foreign = _of_others(name, runtimes[name], models, answers[name])
        for other, times in foreign.items():
            text = f"{times} of {count(answers[name].total(), 'answer')} of {name} came from {other}"
            found.append(ForeignAnswers(name, text, _names_of(models[other], answers[name])))
        if not foreign and name in changes:
            found.append(changes[name])
    return found


def _of_others(name: str, info: RuntimeInfo, models: Mapping[str, str], answers: Counter[str]) -> Counter[str]:
    """Return how many answers of a runtime came from which other one."""
    foreign: Counter[str] = Counter()
    for model, times in answers.items():
        served = _parse(model)
        if not served.stands_for(_parse(info.model)) and not _accepts(info, served):
            other = next(
                (runtime for runtime in models if runtime != name and served.stands_for(_parse(models[runtime]))),
                None,
            )
            if other is not None:
                foreign[other] += times
    return foreign


def _changes(
    runtimes: Mapping[str, RuntimeInfo], answers: Mapping[str, Counter[str]]
) -> dict[str, ForeignAnswers]:
    """Return the runtimes whose requested model was served by several, whichever of them asked for it."""
    asked: dict[tuple[str, str | None], list[str]] = {}
    for name in sorted(answers):
        asked.setdefault((runtimes[name].model, runtimes[name].api_base), []).append(name)
    changes = {}
    for (model, _), names in asked.items():
        served: Counter[str] = Counter()
        for name in names:
            info = runtimes[name]
            served.update(
                {model: times for model, times in answers[name].items() if not _accepts(info, _parse(model))}
            )
        parsed = {_parse(answered) for answered in served}
        snapshots = {identity.snapshot for identity in parsed if identity.snapshot is not None}
        if len({identity.alias for identity in parsed}) > 1 or len(snapshots) > 1:
            told = ", ".join(f"{times} by {answered}" for answered, times in served.most_common(4))
            text = f"{model} was answered by several models within the run: {told}"
            changes.update({name: ForeignAnswers(name, text, tuple(sorted(served))) for name in names})
    return changes


def _accepts(info: RuntimeInfo, served: ModelName) -> bool:
    """Whether a person has said that this model is the runtime."""
    return any(served.stands_for(_parse(allowed)) for allowed in info.served or ())


def _names_of(model: str, answers: Iterable[str]) -> tuple[str, ...]:
    """Return the names under which a model answered."""
    return tuple(sorted(answer for answer in answers if _parse(answer).stands_for(_parse(model))))


@lru_cache(maxsize=1024)
def _parse(model: str) -> ModelName:
    """Return a LiteLLM model id, or a name that a response has, without prefix and apart from its date."""
    name = model.strip().lower().rpartition("/")[2]
    name = _VENDOR.sub("", name)
    match = _SNAPSHOT.search(name)
    if match is None or not match.start():
        return ModelName(name, None)
    return ModelName(name[: match.start()].removesuffix("-preview"), match["date"])
