"""The projects that are measured, written into a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.cache.disk import DiskStore
from pytest_proofmap.calls.recordings import write_recordings
from pytest_proofmap.calls.request import Request
from pytest_proofmap.config import Configuration, load

__all__ = ["FUNCTIONS", "write_plain_project", "write_qualifying_project"]

FUNCTIONS = 10
RUNTIMES = ("today", "cheaper")

PLAIN_TEST = """
import pytest

@pytest.mark.parametrize("case", range({cases}))
def test_{number}(case):
    assert str(case) in "the answer is " + str(case)
"""

QUALIFYING_TEST = """
import pytest

@pytest.mark.qualify
@pytest.mark.parametrize("case", range({cases}))
def test_{number}(runtime, case):
    assert str(case) in runtime.complete(f"{{case}} of {number}: {prompt}").text
"""

PROMPT = "What is the number of this ticket? Answer with the number alone. " * 4
ANSWER = "The number of the ticket, as far as I can tell from its text, is "

CONFIGURATION = """
baseline = "today"
challengers = ["cheaper"]

[runtimes.today]
model = "openai/large"
price = { input_per_mtok = 2.5, output_per_mtok = 10.0 }
params = { temperature = 0 }

[runtimes.cheaper]
model = "openai/small"
price = { input_per_mtok = 0.15, output_per_mtok = 0.6 }
params = { temperature = 0 }
"""


def write_plain_project(folder: Path, tests: int) -> None:
    """Write a project of trivial parametrized tests."""
    _write(
        folder, "".join(PLAIN_TEST.format(number=number, cases=tests // FUNCTIONS) for number in range(FUNCTIONS))
    )


def write_qualifying_project(folder: Path, samples: int, *, recorded: bool) -> None:
    """Write a project whose marked tests make one call each, every one of which was answered before.

    Args:
        folder: Where to write it.
        samples: How many samples its run holds.
        recorded: Whether the answers are in committed recordings; else they are in the cache.
    """
    cases = samples // FUNCTIONS // len(RUNTIMES)
    _write(
        folder,
        "".join(QUALIFYING_TEST.format(number=number, cases=cases, prompt=PROMPT) for number in range(FUNCTIONS)),
    )
    recordings = 'recordings = ["answers.jsonl"]\n' if recorded else ""
    (folder / "proofmap.toml").write_text(recordings + CONFIGURATION, encoding="utf-8")
    configuration = load(folder)
    answers = _answers(configuration, cases)
    if recorded:
        write_recordings(folder / "answers.jsonl", answers)
        return
    with closing(DiskStore(configuration.cache_path, print)) as store:
        for answer in answers:
            store.put(Request.from_content(answer.request).key(), answer)


def _write(folder: Path, tests: str) -> None:
    folder.mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "test_workload.py").write_text(tests, encoding="utf-8")


def _answers(configuration: Configuration, cases: int) -> Iterator[Answer]:
    for number in range(FUNCTIONS):
        for case in range(cases):
            for name in RUNTIMES:
                runtime = configuration.runtime(name)
                prompt = f"{case} of {number}: {PROMPT}"
                messages = [{"role": "user", "content": prompt}]
                request = Request(model=runtime.model, messages=messages, params=runtime.key_params)
                yield _answer(request, f"{ANSWER}{case}")


def _answer(request: Request, text: str) -> Answer:
    return Answer(
        request=request.content(),
        response={
            "id": "chatcmpl-0123456789",
            "created": 1767225600,
            "model": request.model.removeprefix("openai/"),
            "object": "chat.completion",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 80, "completion_tokens": 20, "total_tokens": 100},
        },
        latency_s=0.5,
        made_at="2026-01-01T00:00:00Z",
        concurrency=1,
    )
