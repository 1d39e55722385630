"""The project that is run beside each everyday tool, and what its evidence must be whatever runs beside it."""

from __future__ import annotations

import json
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from fake_provider import ReceivedRequest
from small_project import SmallProject

__all__ = ["PLAIN_SUMMARY", "REQUESTS", "SKIPPED_SUMMARY", "EverydayProject", "answer", "decisions", "needs"]

TESTS = '''
import pytest

TICKETS = [
    ("en", "money back", "refund"),
    ("en", "where is it", "delivery"),
    ("fr", "remboursement", "refund"),
    ("fr", "colis", "delivery"),
]


@pytest.fixture
def ticket_text(ticket):
    return f"Ticket: {ticket}"


@pytest.mark.parametrize("language, ticket, label", TICKETS)
@pytest.mark.qualify(objective="triage", slice_by="language", min_pass_rate=0.5)
def test_label(runtime, language, ticket_text, label):
    """The label of a ticket."""
    assert runtime.complete(ticket_text).text == label


class TestTone:
    """The tone of the answers."""

    @pytest.mark.qualify(objective="tone")
    @pytest.mark.parametrize("name", ["Ann", "Bob"])
    def test_greets(self, runtime, runtimes, name):
        """The answer greets, and a judge agrees."""
        text = runtime.complete(f"Greet {name}").text
        assert runtimes["judge"].complete(f"Polite? {text}").text == "yes"


def test_unmarked():
    """A test of the project that has nothing to do with models."""
    assert True
'''

ANSWERS = {
    "gpt": {
        "Ticket: money back": "refund",
        "Ticket: where is it": "delivery",
        "Ticket: remboursement": "refund",
        "Ticket: colis": "delivery",
        "Greet Ann": "Hello Ann",
        "Greet Bob": "Hello Bob",
    },
    "mini": {
        "Ticket: money back": "refund",
        "Ticket: where is it": "delivery",
        "Ticket: remboursement": "delivery",
        "Ticket: colis": "delivery",
        "Greet Ann": "Hello Ann",
        "Greet Bob": "What, Bob",
    },
    "judge": {
        "Polite? Hello Ann": "yes",
        "Polite? Hello Bob": "yes",
        "Polite? What, Bob": "no",
    },
}

CONFIGURATION = """
baseline = "gpt"
challengers = ["mini"]
recordings = ["recordings/*.jsonl"]

[runtimes.gpt]
model = "openai/gpt"
price = { input_per_mtok = 10.0, output_per_mtok = 30.0 }

[runtimes.mini]
model = "openai/mini"
price = { input_per_mtok = 1.0, output_per_mtok = 2.0 }

[runtimes.judge]
model = "openai/judge"
price = { input_per_mtok = 3.0, output_per_mtok = 6.0 }
"""

PLAIN_SUMMARY = {"passed": 11, "xfailed": 2}
"""What pytest counts in a run with ``--proofmap``: the challenger misses two samples."""

SKIPPED_SUMMARY = {"passed": 1, "skipped": 6}
"""What pytest counts in a run without ``--proofmap``."""

REQUESTS = sum(len(answers) for answers in ANSWERS.values())
"""How many different requests a whole run makes."""

MOVING = {"id", "started_at", "finished_at", "git"}
"""Fields of the run that differ from run to run."""

HOOK = """
import json
from pathlib import Path

ANSWERS = json.loads((Path(__file__).parent / "answers.json").read_text(encoding="utf-8"))


def pytest_proofmap_call(runtime, request):
    prompt = request.messages[-1]["content"]
    with (Path(__file__).parent / "calls.txt").open("a", encoding="utf-8") as file:
        file.write(f"{runtime} {request.sample} {prompt}\\n")
    return ANSWERS[runtime][prompt]
"""
"""A ``conftest.py`` that answers as the recordings do, and notes each call."""


class EverydayProject(SmallProject):
    """A project of two objectives whose answers are all recorded; the challenger misses one of each."""

    def __post_init__(self) -> None:
        """Write the project."""
        super().__post_init__()
        self.write("tests/test_everyday.py", TESTS)
        self.configure(CONFIGURATION)
        for runtime, answers in ANSWERS.items():
            self.record(runtime, answers)

    def serve(self, url: str) -> None:
        """Let a server answer in place of the recordings."""
        shutil.rmtree(self.folder / "recordings")
        self.configure(CONFIGURATION.replace("price", f'api_base = "{url}"\nprice'))

    def hook(self) -> None:
        """Let a hook of the project answer in place of the recordings."""
        shutil.rmtree(self.folder / "recordings")
        self.write("answers.json", json.dumps(ANSWERS))
        self.write("conftest.py", HOOK)

    def facts(self) -> dict[str, Any]:
        """Return the evidence of the last run, less what differs from run to run and the order of the tests."""
        facts: dict[str, Any] = self.evidence().model_dump(mode="json")
        facts["run"] = {name: value for name, value in facts["run"].items() if name not in MOVING}
        # The last bit of a sum depends on the order.
        facts["totals"]["list_usd"] = round(facts["totals"]["list_usd"], 12)
        for each in ("criteria", "objectives"):
            facts[each].sort(key=lambda one: one.get("id") or one["name"])
        facts["samples"].sort(key=lambda one: (one["criterion"], one["case"], one["runtime"], one["sample"]))
        for criterion in facts["criteria"]:
            criterion["collected"].sort()
        return facts


def decisions(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what depends neither on who answers nor on how fast: outcomes, verdicts and fingerprints."""
    return {
        "outcomes": {
            (sample["criterion"], sample["case"], sample["runtime"]): sample["outcome"]
            for sample in facts["samples"]
        },
        "requests": len(facts["requests"]),
        "calls": facts["totals"]["calls"],
        "verdicts": [
            (objective["name"], verdict["runtime"], verdict["slice"], verdict["status"])
            for objective in facts["objectives"]
            for verdict in objective["verdicts"]
        ],
        "criteria": {criterion["id"]: criterion["fingerprint"] for criterion in facts["criteria"]},
        "complete": facts["run"]["complete"],
    }


def answer(request: ReceivedRequest) -> str:
    """Answer a request as the recordings do."""
    return ANSWERS[request.model][request.prompt]


def needs(name: str) -> None:
    """Skip a test whose tool is not installed."""
    try:
        distribution(name)
    except PackageNotFoundError:
        pytest.skip("needs a tool of the dependency group 'everyday'")


@pytest.fixture
def everyday(project: SmallProject) -> EverydayProject:
    """A project to run beside an everyday tool."""
    return EverydayProject(project.folder, project.pytester)


@pytest.fixture(scope="session")
def plain_facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What :meth:`EverydayProject.facts` are when nothing but ProofMap runs beside pytest."""
    project = EverydayProject(tmp_path_factory.mktemp("plain"))
    result = project.run_apart()
    result.assert_outcomes(**PLAIN_SUMMARY)
    return project.facts()


def main() -> None:
    """Print what a plain run decides, to compare one Python or pytest with another."""
    with tempfile.TemporaryDirectory() as folder:
        project = EverydayProject(Path(folder))
        project.run_apart().assert_outcomes(**PLAIN_SUMMARY)
        facts = project.facts()
    decided = decisions(facts)
    decided["outcomes"] = [[*sample, outcome] for sample, outcome in decided["outcomes"].items()]
    print(json.dumps({**decided, "keys": sorted(facts["requests"]), "cells": facts["criteria"]}, indent=1))


if __name__ == "__main__":
    main()
