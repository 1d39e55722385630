"""The valid documents that inputs are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stored_evidence import decided, undecided
from stored_lock import lock_of, route_to

from pytest_proofmap.calls.answer import Answer, Refusal
from pytest_proofmap.calls.request import Request

__all__ = ["ANSWERS", "CONFIGURATION", "EVIDENCE", "LOCKS", "PROMPTS", "SEEDS"]

_OUTCOMES = {"test_a.py::test_a": {"base": "PPPPPPPFPPPPSE", "mini": "PPFPPPPPPPEPSP"}}


def _evidence() -> list[Any]:
    found = [
        decided(_OUTCOMES, slices=("language=fr", "language=en"), latency_s=0.5, estimated=["mini"]),
        decided(
            {"t.py::test_x": {"base": "P" * 20, "mini": "P" * 20, "haiku": "P" * 20}},
            bar={"kind": "all_pass", "min_pass_rate": 1.0, "margin": None},
            source="live",
        ),
        undecided(_OUTCOMES, run={"shard": True, "complete": False}, variants={"base": "a", "mini": "b"}),
    ]
    documents = [json.loads(each.model_dump_json(by_alias=True)) for each in found]
    documents[1]["prompts"] = {
        "triage": {"default": {"file": "prompts/triage.prompt", "sha256": "0" * 64, "messages": _MESSAGES}}
    }
    documents[1]["requests"] = {
        "t.py::test_x-mini-0": {"messages": _MESSAGES, "tools": None, "response_format": None, "params": {}}
    }
    for document in documents:
        document["runtimes"]["mini"]["params"] = {"temperature": 0, "stop": ["a"]}
        document["samples"][-1]["calls"][0]["tool_calls"] = [{"function": {"name": "f", "arguments": "{}"}}]
    documents[1]["samples"][0]["calls"][0]["prompt"] = {"name": "triage", "variant": "default"}
    return documents


_MESSAGES = [{"role": "system", "content": "Sort {{ x }}."}, {"role": "user", "content": "{{ ticket }}"}]

EVIDENCE = _evidence()

LOCKS = [
    json.loads(lock.model_dump_json(by_alias=True))
    for lock in (
        lock_of({"triage": route_to("mini", "base"), "triage/language=fr": route_to("base", decision="partial")}),
        lock_of({"triage": route_to("mini", "haiku", "base", expires_at="2035-01-01T00:00:00Z")}),
    )
]

_CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ANSWERS = [
    Answer(
        request=Request("openai/gpt", [{"role": "user", "content": "hi"}], {"temperature": 0}).content(),
        response={
            "model": "gpt",
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "tool_calls": [_CALL]}}
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
        },
        latency_s=0.5,
        made_at="2025-01-01T00:00:00Z",
        concurrency=3,
    ).content(),
    Answer(
        request=Request("m", [{"role": "user", "content": [{"type": "text", "text": "x"}]}], {}, "b").content(),
        response=None,
        refusal=Refusal("ContentPolicyViolationError", "no"),
    ).content(),
]

PROMPTS = [
    "---\ninput:\n  schema:\n    ticket: string\n    tone?: string\n    kind: string\nmodel: x\n---\n"
    "System: Be {{ tone|default(kind) }}.\nUser: {{ ticket }}\n"
    "{% for x in xs %}{{ loop.index }}{{ x }}{% endfor %}",
    "User: {{ a ~ b }} {% if a == b %}{{ a|upper|join(',') }}{% endif %}\nAssistant: {{ '%s' % a }}",
    "---\ninput:\n  schema:\n    type: object\n    required: [a]\n    properties: {a: {type: string}}\n---\n"
    "{{ a }}",
]

CONFIGURATION: Mapping[str, Any] = {
    "baseline": "gpt",
    "challengers": ["mini"],
    "prompts": "prompts",
    "recordings": ["recordings/*.jsonl"],
    "confidence": 0.95,
    "samples": 2,
    "slice_by": ["language"],
    "budget_usd": 5.0,
    "runtimes": {
        "gpt": {
            "model": "openai/gpt",
            "params": {"temperature": 0, "api_key": "os.environ/KEY", "extra_headers": {"X": "os.environ/Y"}},
            "api_base": "os.environ/BASE",
            "price": {"input_per_mtok": 1.0, "output_per_mtok": 2.0},
            "timeout_s": 60,
        },
        "mini": {"model": "openai/mini", "variant": "mini", "provider": "x"},
    },
    "limits": {"openai": {"rpm": 5, "tpm": 100, "concurrency": 2}},
    "objectives": {"triage": {"optimize": "cost", "p95_latency_s": 3.0}},
}

SEEDS: Mapping[str, list[bytes]] = {
    "prompt": [each.encode() for each in PROMPTS],
    "template": [each.rpartition("---\n")[2].encode() for each in PROMPTS],
    "recordings": [("\n".join(json.dumps(each) for each in ANSWERS) + "\n").encode()],
    "index": [b'["k", 0, 60, 1]'],
    "evidence": [json.dumps(each).encode() for each in EVIDENCE],
    "lock": [json.dumps(each).encode() for each in LOCKS],
    "configuration": [
        b'baseline = "gpt"\nchallengers = ["mini"]\n[runtimes.gpt]\nmodel = "openai/gpt"\nparams = { a = 1 }\n',
        b"[tool.proofmap]\nconfidence = 0.9\n[tool.proofmap.limits.openai]\nrpm = 5\n",
    ],
    "command_line": [
        b"report\nx.json\n--text",
        b"whatif\nx\n--price\nmini=1,2\n--down\na",
        b"approve\n--expires\n5",
    ],
}
"""By name of a target where its inputs start."""
