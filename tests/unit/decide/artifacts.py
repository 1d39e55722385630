"""Small evidence artifacts as another tool might write them."""

from __future__ import annotations

from typing import Any

from pytest_proofmap.evidence.models import Evidence


def call(key: str, **settings: Any) -> dict[str, Any]:
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
    } | settings


def sample(runtime: str, index: int, outcome: str = "passed", **settings: Any) -> dict[str, Any]:
    """Return a sample as the artifact holds it."""
    return {
        "criterion": "t",
        "case": f"c{index}",
        "slice": None,
        "runtime": runtime,
        "role": "baseline" if runtime == "base" else "challenger",
        "sample": 0,
        "outcome": outcome,
        "message": "",
        "calls": [call(f"{runtime}{index}", cost_usd=1.0 if runtime == "base" else 0.1)],
    } | settings


def artifact(samples: list[dict[str, Any]]) -> Evidence:
    """Return an artifact with no more fields than the format's first version has."""
    runtime: dict[str, Any] = {
        "model": "m",
        "provider": "p",
        "params": {},
        "variant": None,
        "api_base": None,
        "price": None,
    }
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
            },
            "runtimes": {name: runtime | {"fingerprint": name} for name in ("base", "mini")},
            "objectives": [
                {"name": "job", "baseline": "base", "challengers": ["mini"], "sensitive": False, "criteria": ["t"]}
            ],
            "criteria": [
                {
                    "id": "t",
                    "objective": "job",
                    "fingerprint": "",
                    "collected": [f"c{i}" for i in range(60)],
                    "bar": {
                        "kind": "margin",
                        "min_pass_rate": None,
                        "max_failure_rate": 0.25,
                        "margin": 0.05,
                        "confidence": 0.95,
                        "samples": 1,
                    },
                }
            ],
            "samples": samples,
            "totals": {"calls": 0, "live": 0, "cached": 0, "recorded": 0, "spent_usd": 0, "list_usd": 0},
        }
    )
