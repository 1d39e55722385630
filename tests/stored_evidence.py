"""Evidence as a run stores it, built from one letter per case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.evidence.models import Evidence

__all__ = ["decided", "undecided"]

OUTCOMES = {"P": "passed", "F": "failed", "E": "error", "S": "skipped"}
MESSAGES = {"F": "assert 'no' == 'yes' in c{}", "E": "APIConnectionError: refused"}
PRICES = {"base": 10.0, "mini": 1.0, "haiku": 2.0}
TOKENS = 100


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
    samples = [
        {
            "criterion": criterion,
            "case": f"c{index}",
            "slice": slices[index % len(slices)] if slices else None,
            "runtime": name,
            "role": "baseline" if name == runtimes[0] else "challenger",
            "sample": 0,
            "outcome": OUTCOMES[letter],
            "message": {"F": f"assert 'no' == 'yes' in c{index}", "E": "APIConnectionError: refused"}.get(
                letter, ""
            ),
            "calls": [
                _call(criterion, index, name, letter, source, latency_s, name in unpriced, name in estimated)
            ],
        }
        for criterion, row in outcomes.items()
        for name, letters in row.items()
        for index, letter in enumerate(letters)
    ]
    return Evidence.model_validate(
        {
            "schema": "proofmap.evidence/1",
            "run": {
                "id": "r",
                "started_at": "2025-01-01T00:00:00Z",
                "finished_at": "2025-01-01T00:00:01Z",
                "versions": {"proofmap": "0", "pytest": "9", "python": "3", "litellm": None},
                "git": None,
                "complete": True,
                "shard": False,
                **(run or {}),
            },
            "runtimes": {
                name: {
                    "model": "openai/same" if variants else f"openai/{name}",
                    "provider": "openai",
                    "params": {},
                    "variant": (variants or {}).get(name),
                    "api_base": None,
                    "price": None,
                    "fingerprint": name,
                }
                for name in runtimes
            },
            "prompts": {},
            "requests": {},
            "objectives": [
                {
                    "name": name,
                    "baseline": runtimes[0],
                    "challengers": runtimes[1:],
                    "sensitive": False,
                    "criteria": [criterion for criterion, own in names.items() if own == name],
                    "verdicts": [],
                    "recommendations": [],
                }
                for name in dict.fromkeys(names.values())
            ],
            "criteria": [
                {
                    "id": criterion,
                    "objective": names[criterion],
                    "fingerprint": "source:1/bar:2/cases:3",
                    "collected": [f"c{index}" for index in range(len(next(iter(row.values()))))],
                    "bar": {
                        "kind": "margin",
                        "min_pass_rate": None,
                        "max_failure_rate": 0.25,
                        "margin": 0.1,
                        "confidence": 0.95,
                        "samples": 1,
                        **(bar or {}),
                    },
                    "cells": [],
                }
                for criterion, row in outcomes.items()
            ],
            "samples": samples,
            "totals": {
                "calls": len(samples),
                "live": len(samples) if source == "live" else 0,
                "cached": 0,
                "recorded": len(samples) if source == "recording" else 0,
                "spent_usd": 0.0,
                "list_usd": 0.5,
                "unpriced": sum(sample["runtime"] in unpriced for sample in samples),
            },
        }
    )


def decided(outcomes: Mapping[str, Mapping[str, str]], **settings: Any) -> Evidence:
    """Return the evidence of :func:`undecided` with its decisions."""
    return decide_evidence(undecided(outcomes, **settings))


def _call(
    criterion: str,
    index: int,
    name: str,
    letter: str,
    source: str,
    latency_s: float | None,
    unpriced: bool,
    estimated: bool,
) -> dict[str, Any]:
    answered = letter != "E"
    return {
        "key": f"{criterion}-{name}-{index}",
        "prompt": None,
        "source": source,
        "attempts": 1,
        "error": None if answered else {"class": "APIConnectionError", "message": "refused"},
        "model": name,
        "input_tokens": TOKENS if answered else None,
        "output_tokens": TOKENS if answered else None,
        "cached_input_tokens": None,
        "cost_usd": PRICES.get(name, 1.0) * 2 * TOKENS / 1e6 if answered and not unpriced else None,
        "latency_s": latency_s if answered else None,
        "finish_reason": "stop" if answered else None,
        "text": "no" if letter == "F" else "yes",
        "tool_calls": None,
        "usage_estimated": estimated,
    }
