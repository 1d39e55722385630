"""The cases of the criteria: IFEval's prompts, by the kind of instruction that they hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

with Path(__file__).with_name("cases.jsonl").open(encoding="utf-8") as lines:
    _PROMPTS = [json.loads(line) for line in lines]


def cases(kind: str) -> list[object]:
    """Return all prompts with this kind of instruction, each with what is asked, for ``parametrize``.

    None is left out: a selection would have to look at the answers. A prompt with several kinds of
    instruction is a case of each, and one answer to it serves them all. The ids are IFEval's keys.
    """
    return [
        pytest.param(row["prompt"], *row["asks"][kind].values(), id=str(row["key"]))
        for row in _PROMPTS
        if kind in row["asks"]
    ]
