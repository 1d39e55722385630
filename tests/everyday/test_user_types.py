"""What users write against ProofMap is type-checked strictly, against the package as it is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

MODULE = '''
"""A user's test module with every fixture and method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pytest_proofmap import (
    CallError,
    Evidence,
    ProofmapError,
    RefusalError,
    Reply,
    Runtime,
    Runtimes,
    __version__,
    approved,
    read_evidence,
)

pytestmark = pytest.mark.qualify(baseline="gpt", challengers=["mini"], objective="triage")


class Triage(BaseModel):
    """An answer with a form."""

    label: str


@pytest.mark.parametrize("ticket", ["a", "b"])
@pytest.mark.qualify(slice_by="ticket", min_pass_rate=0.9, margin=None)
def test_runtime(runtime: Runtime, runtimes: Runtimes, ticket: str) -> None:
    """The synchronous methods and all that they give."""
    names: tuple[str, str, str, int] = (runtime.name, runtime.role, runtime.model, runtime.sample)
    reply: Reply = runtime.complete(ticket, temperature=0, seed=names[3])
    conversation = [*runtime.render("triage", ticket=ticket), reply.message, {"role": "user", "content": "?"}]
    again = runtime.complete(conversation, response_format=Triage)
    triage: Triage = again.parsed
    text: str = runtime.run("triage", params={"temperature": 0}, ticket=ticket).text
    cost: float | None = reply.cost_usd
    latency: float | None = reply.latency_s
    finish: str | None = reply.finish_reason
    tokens: list[int | None] = [
        reply.usage.input_tokens,
        reply.usage.output_tokens,
        reply.usage.cached_input_tokens,
        reply.usage.reasoning_tokens,
    ]
    cached: bool = reply.cached
    served: str | None = reply.model
    raw: Mapping[str, Any] = reply.raw
    judge: Runtime = runtimes["judge"]
    assert list(runtimes)
    assert judge.complete(text).text == triage.label
    print(cost, latency, finish, tokens, cached, served, raw, reply.tool_calls)


async def test_asynchronous(runtime: Runtime) -> None:
    """The asynchronous methods."""
    reply = await runtime.acomplete([{"role": "user", "content": "hello"}])
    assert reply.text == (await runtime.arun("triage", ticket="a")).text


def test_errors(runtime: Runtime) -> None:
    """The errors are a tree."""
    with pytest.raises(RefusalError):
        runtime.complete("x")
    kinds: list[type[ProofmapError]] = [CallError, RefusalError]
    assert kinds


def production() -> str:
    """What production uses."""
    route = approved.load("proofmap.lock").route("triage", language="fr")
    evidence: Evidence = read_evidence(Path(".proofmap/evidence.json"))
    return f"{route}{evidence.run.id}{__version__}"
'''

WRONG = {
    "complete(1)": "arg-type",
    "complete('x').txt": "attr-defined",
    "run()": "call-arg",
    "run(package='triage')": "call-arg",
    "sample.upper()": "attr-defined",
    "complete('x').text + 1": "operator",
    "ask('x')": "attr-defined",
}


def check_types(folder: Path, text: str) -> str:
    """Check a module in a folder that is no part of this project, and return what mypy says."""
    module = folder / "test_user.py"
    module.write_text(text, encoding="utf-8")
    done = subprocess.run(
        (sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=.cache", module.name),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_every_fixture_and_method(tmp_path: Path) -> None:
    """A module that uses everything is clean under --strict, without any configuration."""
    assert check_types(tmp_path, MODULE).startswith("Success: no issues found")


def test_wrong_uses(tmp_path: Path) -> None:
    """Wrong uses are reported, each in its line: the types are there, and none is Any."""
    lines = ["from pytest_proofmap import Runtime", "", "def test_wrong(runtime: Runtime) -> None:"]
    said = check_types(tmp_path, "\n".join([*lines, *(f"    runtime.{use}" for use in WRONG)]) + "\n")
    for number, (use, code) in enumerate(WRONG.items(), len(lines) + 1):
        found = [line for line in said.splitlines() if line.startswith(f"test_user.py:{number}: error:")]
        assert any(line.endswith(f"[{code}]") for line in found), (use, said)
