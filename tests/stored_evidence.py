"""Evidence as a run stores it, built from as little as a test needs to say.

Three ways in: single calls and samples (:func:`call`, :func:`sample`, :func:`artifact`), one letter a case
(:func:`undecided`, :func:`decided`), and what is decided on without any artifact (:class:`Scene`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_proofmap.decide.decision import Decision, decide, decide_evidence
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.evidence.models import (
    Bar,
    Cell,
    Criterion,
    Evidence,
    Objective,
    ObjectiveVerdict,
    Outcome,
    Recommendation,
    RuntimeInfo,
)

__all__ = [
    "NOTHING_KNOWN",
    "Decided",
    "Scene",
    "artifact",
    "bar",
    "call",
    "content",
    "criterion_of",
    "decided",
    "objective_of",
    "runtime_of",
    "sample",
    "undecided",
    "versus",
]

OUTCOMES: dict[str, Outcome] = {"P": "passed", "F": "failed", "E": "error", "S": "skipped"}
"""What a letter says of a case."""
REFUSED = "APIConnectionError: refused"
PRICES = {"base": 10.0, "mini": 1.0, "haiku": 2.0}
TOKENS = 100
NOTHING_KNOWN: dict[str, Any] = dict.fromkeys(
    ("model", "input_tokens", "output_tokens", "cost_usd", "latency_s", "finish_reason")
)
"""What a call that got no answer knows of it."""


def call(key: str, **changes: Any) -> dict[str, Any]:
    """Return a call as the artifact holds it."""
    return {
        "key": key,
        "source": "live",
        "attempts": 1,
        "model": "m",
        "input_tokens": 1,
        "output_tokens": 1,
        "cached_input_tokens": None,
        "cost_usd": 0.5,
        "latency_s": 2.0,
        "finish_reason": "stop",
        "text": key,
    } | changes


def sample(runtime: str, case: int | str, /, outcome: str = "passed", **changes: Any) -> dict[str, Any]:
    """Return a sample as the artifact holds it; a case is a name or the number in it."""
    return {
        "criterion": "t",
        "case": f"c{case}" if isinstance(case, int) else case,
        "slice": None,
        "runtime": runtime,
        "role": "baseline" if runtime == "base" else "challenger",
        "sample": 0,
        "outcome": outcome,
        "message": "",
        "calls": [call(f"{runtime}{case}", cost_usd=1.0 if runtime == "base" else 0.1)],
    } | changes


def content(samples: Sequence[Mapping[str, Any]], **parts: Any) -> dict[str, Any]:
    """Return what an artifact of some samples holds, with no more fields than the format's first version has.

    Args:
        samples: Samples of :func:`sample`.
        **parts: Sections in the place of those of a criterion ``t`` of 60 cases on ``base`` and ``mini``; of
            ``run`` and ``totals`` what differs.
    """
    run = {
        "id": "r",
        "started_at": "2025-01-01T00:00:00Z",
        "finished_at": "2025-01-01T00:00:01Z",
        "versions": {"proofmap": "0", "pytest": "9", "python": "3", "litellm": None},
        "git": None,
        "complete": True,
        "shard": False,
    }
    totals = {"calls": 0, "live": 0, "cached": 0, "recorded": 0, "spent_usd": 0.0, "list_usd": 0.0}
    return {
        "schema": "proofmap.evidence/1",
        "runtimes": {name: runtime_of(name, model="m", provider="p") for name in ("base", "mini")},
        "prompts": {},
        "requests": {},
        "objectives": [objective_of("job", ["t"], ["base", "mini"])],
        "criteria": [criterion_of("t", "job", [f"c{index}" for index in range(60)])],
        "samples": [*samples],
        **parts,
        "run": run | dict(parts.get("run") or {}),
        "totals": totals | dict(parts.get("totals") or {}),
    }


def artifact(samples: Sequence[Mapping[str, Any]], **parts: Any) -> Evidence:
    """Return the artifact of :func:`content`."""
    return Evidence.model_validate(content(samples, **parts))


def runtime_of(name: str, **changes: Any) -> dict[str, Any]:
    """Return a runtime as the artifact holds it."""
    return {
        "model": f"openai/{name}",
        "provider": "openai",
        "params": {},
        "variant": None,
        "api_base": None,
        "price": None,
        "fingerprint": name,
    } | changes


def objective_of(name: str, criteria: Sequence[str], runtimes: Sequence[str]) -> dict[str, Any]:
    """Return an objective as the artifact holds it; the first runtime is the baseline."""
    return {
        "name": name,
        "baseline": runtimes[0],
        "challengers": [*runtimes[1:]],
        "sensitive": False,
        "criteria": [*criteria],
        "verdicts": [],
        "recommendations": [],
    }


def criterion_of(
    name: str, objective: str, cases: Sequence[str], bar: Mapping[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """Return a criterion as the artifact holds it; its bar differs from a margin of 5 points by what is given."""
    margin = {"kind": "margin", "min_pass_rate": None, "max_failure_rate": 0.25, "margin": 0.05}
    return {
        "id": name,
        "objective": objective,
        "fingerprint": "",
        "collected": [*cases],
        "bar": {**margin, "confidence": 0.95, "samples": 1, **(bar or {})},
        "cells": [],
    } | changes


def undecided(
    outcomes: Mapping[str, Mapping[str, str]],
    *,
    objective: str | None = None,
    bar: Mapping[str, Any] | None = None,
    slices: Sequence[str] = (),
    latency_s: float | None = None,
    unpriced: Sequence[str] = (),
    estimated: Sequence[str] = (),
    variants: Mapping[str, str] | None = None,
    source: str = "recording",
    run: Mapping[str, Any] | None = None,
) -> Evidence:
    """Return evidence with no more fields than the format's first version has, and no decision.

    Args:
        outcomes: Per criterion and runtime a letter for each case; the first runtime is the baseline.
        objective: The objective of all criteria; None: one for each, named after the test.
        bar: What differs from a margin of 10 points.
        slices: The slices that the cases take turns in.
        latency_s: Latency of every call.
        unpriced: Runtimes of unknown price.
        estimated: Runtimes whose token counts are estimated.
        variants: Prompt variant by runtime; the models of these are the same.
        source: Where every answer came from.
        run: What differs in the description of the run.
    """
    runtimes = list(dict.fromkeys(name for row in outcomes.values() for name in row))
    names = {criterion: objective or criterion.rpartition("::test_")[2] for criterion in outcomes}

    def call_of(tested: str, index: int, name: str, letter: str) -> dict[str, Any]:
        changes: dict[str, Any] = {"model": name, "source": source, "prompt": None, "tool_calls": None}
        changes |= {"text": "no" if letter == "F" else "yes", "error": None, "usage_estimated": name in estimated}
        if letter == "E":
            error = dict(zip(("class", "message"), REFUSED.split(": "), strict=True))
            return call(f"{tested}-{name}-{index}", **(changes | NOTHING_KNOWN | {"model": name, "error": error}))
        cost_usd = None if name in unpriced else PRICES.get(name, 1.0) * 2 * TOKENS / 1e6
        tokens = {"input_tokens": TOKENS, "output_tokens": TOKENS}
        return call(f"{tested}-{name}-{index}", **changes, **tokens, cost_usd=cost_usd, latency_s=latency_s)

    samples = [
        sample(
            name,
            index,
            OUTCOMES[letter],
            criterion=tested,
            slice=slices[index % len(slices)] if slices else None,
            role="baseline" if name == runtimes[0] else "challenger",
            message={"F": f"assert 'no' == 'yes' in c{index}", "E": REFUSED}.get(letter, ""),
            calls=[call_of(tested, index, name, letter)],
        )
        for tested, row in outcomes.items()
        for name, letters in row.items()
        for index, letter in enumerate(letters)
    ]
    same = {"model": "openai/same"} if variants else {}
    return artifact(
        samples,
        run=run,
        runtimes={name: runtime_of(name, variant=(variants or {}).get(name), **same) for name in runtimes},
        objectives=[
            objective_of(name, [tested for tested, own in names.items() if own == name], runtimes)
            for name in dict.fromkeys(names.values())
        ],
        criteria=[
            criterion_of(
                tested,
                names[tested],
                [f"c{index}" for index in range(len(next(iter(row.values()))))],
                {"margin": 0.1, **(bar or {})},
                fingerprint="source:1/bar:2/cases:3",
            )
            for tested, row in outcomes.items()
        ],
        totals={
            "calls": len(samples),
            "live": len(samples) if source == "live" else 0,
            "recorded": len(samples) if source == "recording" else 0,
            "list_usd": 0.5,
            "unpriced": sum(each["runtime"] in unpriced for each in samples),
        },
    )


def decided(outcomes: Mapping[str, Mapping[str, str]], **settings: Any) -> Evidence:
    """Return the evidence of :func:`undecided` with its decisions."""
    return decide_evidence(undecided(outcomes, **settings))


def bar(
    kind: Literal["all_pass", "min_pass_rate", "margin", "both"] = "margin",
    *,
    min_pass_rate: float | None = None,
    max_failure_rate: float | None = 0.25,
    margin: float | None = None,
    confidence: float = 0.95,
    samples: int = 1,
) -> Bar:
    """Return a bar; a margin bar has 5 points unless told."""
    return Bar(
        kind=kind,
        min_pass_rate=1.0 if kind == "all_pass" else min_pass_rate,
        max_failure_rate=max_failure_rate,
        margin=0.05 if kind in ("margin", "both") and margin is None else margin,
        confidence=confidence,
        samples=samples,
    )


@dataclass
class Decided:
    """A decision with short ways to its parts."""

    decision: Decision

    def cell(self, runtime: str = "mini", slice_name: str | None = None, criterion: str = "t") -> Cell:
        """Return one cell."""
        found = next(one for one in self.decision.criteria if one.id == criterion)
        return next(c for c in found.cells if c.runtime == runtime and c.slice == slice_name)

    def verdict(self, runtime: str = "mini", slice_name: str | None = None) -> ObjectiveVerdict:
        """Return the verdict on the only objective."""
        (objective,) = self.decision.objectives
        return next(v for v in objective.verdicts if v.runtime == runtime and v.slice == slice_name)

    def recommendation(self, slice_name: str | None = None) -> Recommendation:
        """Return the recommendation of the only objective."""
        (objective,) = self.decision.objectives
        return next(r for r in objective.recommendations if r.slice == slice_name)


@dataclass
class Scene:
    """Outcomes of one objective in the making."""

    bar: Bar = field(default_factory=bar)
    challengers: Sequence[str] = ("mini",)
    objective: dict[str, Any] = field(default_factory=dict)
    providers: dict[str, str] = field(default_factory=dict)
    costs: dict[str, float | None] = field(default_factory=lambda: {"base": 1.0, "mini": 0.1})
    latencies: dict[str, float | None] = field(default_factory=dict)
    concurrency: dict[str, int] = field(default_factory=dict)
    rows: list[Observation] = field(default_factory=list)
    criteria: dict[str, Bar] = field(default_factory=dict)

    def saw(
        self,
        runtime: str,
        outcomes: str,
        *,
        criterion: str = "t",
        slice_name: str | None = None,
        requests: Sequence[str] | None = None,
        same_answers: bool = False,
    ) -> Scene:
        """Add a runtime's outcomes.

        Args:
            runtime: Its name.
            outcomes: One letter a case: passed, failed, error, skipped, ``-`` for not run; with several samples
                one word a case, separated by blanks.
            criterion: The criterion.
            slice_name: The slice that all these cases are in; it is part of their names.
            requests: What was asked in each case; by default each case asks something else.
            same_answers: Whether all samples of a case gave the same answer.
        """
        self.criteria.setdefault(criterion, self.bar)
        for index, word in enumerate(outcomes.split() if " " in outcomes else outcomes):
            case = f"{slice_name or 'c'}{index}"
            for sample, letter in enumerate(word):
                if letter == "-":
                    continue
                asked = requests[index] if requests else f"{criterion}/{case}"
                self.rows.append(
                    Observation(
                        criterion,
                        case,
                        slice_name,
                        runtime,
                        sample,
                        OUTCOMES[letter],
                        self.costs.get(runtime),
                        self.latencies.get(runtime),
                        f"{runtime}/{asked}/{sample}",
                        "same" if same_answers else f"{case}/{sample}",
                        self.concurrency.get(runtime),
                    )
                )
        return self

    def decide(self, memo: dict[str, float] | None = None) -> Decided:
        """Decide on everything that was seen."""
        names = ("base", *self.challengers)
        runtimes = {
            name: RuntimeInfo(model=name, provider=self.providers.get(name, name), params={}, fingerprint=name)
            for name in names
        }
        criteria = [
            Criterion(id=name, objective="job", fingerprint="", collected=[], bar=one)
            for name, one in self.criteria.items()
        ]
        objective = Objective(
            name="job",
            baseline="base",
            challengers=list(self.challengers),
            criteria=list(self.criteria),
            **self.objective,
        )
        return Decided(decide(criteria, [objective], runtimes, self.rows, memo=memo))


def versus(base: str, mini: str, **bar_settings: Any) -> Cell:
    """Return the cell of one challenger beside the baseline."""
    return Scene(bar(**bar_settings)).saw("base", base).saw("mini", mini).decide().cell()
