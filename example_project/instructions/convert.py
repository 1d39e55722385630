"""Make this example's data from a checkout of M-IFEval: ``python convert.py CHECKOUT``.

The source is https://github.com/shisa-ai/M-IFEval at commit 06f08ff3b2681a7e875124aa6946bcc93739aced
(Apache-2.0; its English part is IFEval of google-research, Apache-2.0 too). Read from there:

- ``data/en_input_data.jsonl``: the prompts, and what each asks for;
- ``evaluations/en_input_response_data_<model>/eval_results_strict.jsonl``: a model's real answers, and
  IFEval's strict verdict on each instruction.

Written here, beside this file:

- ``recordings/<runtime>.jsonl``: one answer a line, in ProofMap's format for recordings;
- ``cases.jsonl``: one prompt a line with the instructions in it, for the criteria;
- ``verdicts.jsonl``: IFEval's own verdicts, to check the criteria against. No criterion reads them.

The source has no token counts. They are estimated by one tokenizer for all models, OpenAI's o200k_base: its
vocabulary comes with LiteLLM, so that nothing is downloaded. It is the tokenizer of both GPT-4o models; for
Claude and Qwen it is an estimate. The few tokens that a chat template adds are not counted. Nor has the
source a finish reason (written as "stop"), a latency or a date (written as null).

Needs litellm and tiktoken.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent


class Source(NamedTuple):
    """Where a runtime's answers come from, and how a request to it is addressed."""

    folder: str
    """The end of the name of its folder in the source."""
    model: str
    """LiteLLM's id of the model."""
    api_base: str | None = None
    """The address as the configuration writes it, None for the provider's own."""


SOURCES = {
    "gpt-4o": Source("gpt-4o-2024-08-06", "openai/gpt-4o-2024-08-06"),
    "gpt-4o-mini": Source("gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini-2024-07-18"),
    "claude-3-haiku": Source("claude-3-haiku-20240307", "anthropic/claude-3-haiku-20240307"),
    "qwen2.5-7b": Source(
        "Qwen__Qwen2.5-7B-Instruct-GPTQ-Int4",
        "hosted_vllm/Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4",
        "os.environ/QWEN_API_BASE",
    ),
}


def load_tokenizer() -> Callable[[str], int]:
    """Return a counter of o200k_base tokens that works without a network."""
    litellm = importlib.util.find_spec("litellm")  # found, not imported: only its vocabulary file is needed
    if litellm is None or litellm.origin is None:
        sys.exit("litellm is not installed, whose package holds the vocabulary; run: pip install litellm")
    vocabularies = Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers"
    os.environ["TIKTOKEN_CACHE_DIR"] = str(vocabularies)
    import tiktoken

    encoding = tiktoken.get_encoding("o200k_base")
    return lambda text: len(encoding.encode(text, disallowed_special=()))


def make_recording(source: Source, prompt: str, answer: str, count: Callable[[str], int]) -> dict[str, Any]:
    """Return one request and its answer in the format of recordings."""
    prompt_tokens, completion_tokens = count(prompt), count(answer)
    return {
        "request": {
            "model": source.model,
            "api_base": source.api_base,
            "messages": [{"role": "user", "content": prompt}],
            "params": {},
            "tools": None,
            "response_format": None,
            "sample": 0,
        },
        "response": {
            "model": source.model.partition("/")[2],
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
            ],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        },
        "latency_s": None,
        "made_at": None,
        "concurrency": None,
        "usage_estimated": True,
        "refusal": None,
    }


def read_range(relation: str, number: int) -> dict[str, int | None]:
    """Return "at least N" or "less than N" as a range with one open end."""
    if relation == "at least":
        return {"least": number, "most": None}
    if relation == "less than":
        return {"least": None, "most": number - 1}
    raise ValueError(f"unknown relation {relation!r}; known are 'at least' and 'less than'")


def read_ask(kind: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what one instruction asks for, in the order in which the criteria take it."""
    if kind == "number_words":
        return read_range(kwargs["relation"], kwargs["num_words"])
    if kind == "number_sentences":
        return read_range(kwargs["relation"], kwargs["num_sentences"])
    if kind == "capital_word_frequency":
        return read_range(kwargs["capital_relation"], kwargs["capital_frequency"])
    if kind == "letter_frequency":
        return {"letter": kwargs["letter"], **read_range(kwargs["let_relation"], kwargs["let_frequency"])}
    if kind == "frequency":
        return {"ranges": {kwargs["keyword"]: read_range(kwargs["relation"], kwargs["frequency"])}}
    if kind == "multiple_sections":
        return {"label": kwargs["section_spliter"], "least": kwargs["num_sections"]}
    if kind == "nth_paragraph_first_word":
        return {
            "number": kwargs["num_paragraphs"],
            "nth": kwargs["nth_paragraph"],
            "word": kwargs["first_word"],
        }
    return {name: value for name, value in kwargs.items() if value is not None}


def join_asks(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Join two instructions of one kind in one prompt: "at least 600" and "at most 700" are one range."""
    joined = dict(first)
    for name, value in second.items():
        if isinstance(value, dict) and name in joined:
            joined[name] = join_asks(joined[name], value)
        elif value is not None:
            joined[name] = value
    return joined


def kind_of(instruction: str) -> str:
    """Return IFEval's name without its language and group: "en:punctuation:no_comma" is "no_comma"."""
    return instruction.rpartition(":")[2]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a JSONL file whole."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def convert(checkout: Path, target: Path) -> None:
    """Write the recordings, the cases and the verdicts of all prompts and runtimes."""
    prompts = read_lines(checkout / "data" / "en_input_data.jsonl")
    keys = {row["prompt"]: row["key"] for row in prompts}

    cases = []
    for row in prompts:
        asks: dict[str, dict[str, Any]] = {}
        for instruction, kwargs in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            kind = kind_of(instruction)
            ask = read_ask(kind, kwargs)
            asks[kind] = join_asks(asks[kind], ask) if kind in asks else ask
        cases.append({"key": row["key"], "prompt": row["prompt"], "asks": asks})
    write_lines(target / "cases.jsonl", cases)

    count = load_tokenizer()
    verdicts: dict[int, dict[str, Any]] = {row["key"]: {"key": row["key"]} for row in prompts}
    for runtime, source in SOURCES.items():
        results = checkout / "evaluations" / f"en_input_response_data_{source.folder}"
        answers = read_lines(results / "eval_results_strict.jsonl")
        write_lines(
            target / "recordings" / f"{runtime}.jsonl",
            (make_recording(source, row["prompt"], row["response"], count) for row in answers),
        )
        for row in answers:
            strict: dict[str, bool] = {}
            for instruction, followed in zip(
                row["instruction_id_list"], row["follow_instruction_list"], strict=True
            ):
                kind = kind_of(instruction)
                strict[kind] = strict.get(kind, True) and followed
            verdicts[keys[row["prompt"]]][runtime] = strict
    write_lines(target / "verdicts.jsonl", verdicts.values())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python convert.py CHECKOUT   (a checkout of shisa-ai/M-IFEval)")
    convert(Path(sys.argv[1]), HERE)
