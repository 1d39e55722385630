"""A small project of a user, whose runtimes are answered by recordings, a hook or a server on loopback."""

from __future__ import annotations

import importlib
import os
import pkgutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from command_line import proofmap

import pytest_proofmap
from pytest_proofmap.calls.answer import Answer, Refusal
from pytest_proofmap.calls.request import Request
from pytest_proofmap.config import load
from pytest_proofmap.evidence.artifact import read_evidence
from pytest_proofmap.evidence.models import Cell, Criterion, Evidence, Sample

__all__ = ["CONFIGURATION", "THREE_CASES", "Answers", "SmallProject", "echo_hook", "isolate"]

SECONDS = 120

# Runs in this process drop the modules that they import, and would compile and import them anew: what is imported
# here stays.
for _module in pkgutil.walk_packages(pytest_proofmap.__path__, "pytest_proofmap."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)

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
"""
"""A baseline ``gpt`` and a challenger ``mini``; the trailing newline lets tests append tables."""

THREE_CASES = """
import pytest

@pytest.mark.parametrize("case", ["a", "b", "c"])
@pytest.mark.qualify
def test_echo(runtime, case):
    assert runtime.complete(case).text == case
"""
"""One criterion that is passed by answering with the prompt."""

Answers = Mapping[str, "str | Refusal"]


def echo_hook(body: str = "return prompt") -> str:
    """Return a ``conftest.py`` that answers requests in place of LiteLLM and writes each to ``calls.txt``."""
    return f"""
from pathlib import Path

def pytest_proofmap_call(runtime, request):
    prompt = request.messages[-1]["content"]
    with (Path(__file__).parent / "calls.txt").open("a") as file:
        file.write(f"{{runtime}} {{request.sample}} {{prompt}}\\n")
    {body}
"""


def isolate(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment without the outer run's options, endpoints, keys and third-party plugins."""
    hidden = ("ANTHROPIC_", "COV_", "GITHUB_", "LITELLM_", "OPENAI_", "PYTEST_")
    # In a CI job pytest shortens nothing.
    jobs = ("CI", "BUILD_NUMBER")
    kept = {name: value for name, value in environment.items() if not name.startswith(hidden) and name not in jobs}
    # Whatever would leave the machine ends at a port that nobody listens on.
    dead = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    return {
        **kept,
        **dead,
        "NO_PROXY": "127.0.0.1,localhost",
        "COLUMNS": "100",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }


@dataclass
class SmallProject:
    """The folder of a small project, and ways to run pytest in it.

    Attributes:
        folder: The project's root.
        plugins: Entry points of the plugins that its runs load.
    """

    folder: Path
    pytester: pytest.Pytester | None = None
    plugins: list[str] = field(default_factory=lambda: ["proofmap"])

    def __post_init__(self) -> None:
        """Write the least that makes the folder a project."""
        self.write("pytest.ini", "[pytest]\n")
        self.configure(CONFIGURATION)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written_at = path.stat().st_mtime if path.exists() else None
        path.write_text(text, encoding="utf-8")
        if written_at is not None:
            # A compiled module is stale only by its size and the second of its source's time.
            later = max(path.stat().st_mtime, written_at + 1)
            os.utime(path, (later, later))
        return path

    def configure(self, text: str) -> None:
        """Write ``proofmap.toml``."""
        self.write("proofmap.toml", text)

    def record(self, runtime: str, answers: Answers, **request: Any) -> None:
        """Commit recorded answers of a runtime by the prompt that they answer.

        Args:
            runtime: Name of the runtime, as configured.
            answers: Answers by prompt, without anything else in the conversation.
            **request: More of the request, such as ``sample`` or ``params``.
        """
        for prompt, answer in answers.items():
            self.record_answer(runtime, [{"role": "user", "content": prompt}], answer, **request)

    def record_answer(
        self,
        runtime: str,
        messages: list[dict[str, Any]],
        answer: str | dict[str, Any] | Refusal,
        *,
        latency_s: float | None = 0.5,
        usage: Mapping[str, Any] | None = None,
        made_at: str | None = None,
        **request: Any,
    ) -> None:
        """Commit one recorded answer: its text, the whole assistant message, or a refusal."""
        runtime_config = load(self.folder).runtime(runtime)
        content = Request(
            model=runtime_config.model,
            messages=messages,
            **{"params": runtime_config.key_params, "api_base": runtime_config.api_base, **request},
        ).content()
        response: dict[str, Any] | None = None
        if not isinstance(answer, Refusal):
            message = {"role": "assistant", **(answer if isinstance(answer, dict) else {"content": answer})}
            response = {
                "model": f"{runtime}-served",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": dict(usage or {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}),
            }
        line = Answer(
            request=content,
            response=response,
            refusal=answer if isinstance(answer, Refusal) else None,
            latency_s=latency_s,
            made_at=made_at,
        ).to_json()
        folder = self.folder / "recordings"
        folder.mkdir(exist_ok=True)
        with (folder / f"{runtime}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def run(self, *arguments: str, proofmap: bool = True) -> pytest.RunResult:
        """Run pytest in this process."""
        assert self.pytester is not None
        result = self.pytester.runpytest_inprocess(*self._arguments(arguments, proofmap), no_reraise_ctrlc=True)
        assert isinstance(result, pytest.RunResult)
        return result

    def run_apart(self, *arguments: str, proofmap: bool = True, **environment: str) -> pytest.RunResult:
        """Run pytest in a process of its own, with more environment variables."""
        return self.python("-m", "pytest", *self._arguments(arguments, proofmap), **environment)

    def python(self, *arguments: str, **environment: str) -> pytest.RunResult:
        """Run Python in the project's folder."""
        done = subprocess.run(
            (sys.executable, *arguments),
            cwd=self.folder,
            env=isolate(dict(os.environ)) | environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return pytest.RunResult(done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), 0.0)

    def proofmap(self, *arguments: str, **environment: str) -> pytest.RunResult:
        """Run the command ``proofmap`` in the project's folder, in this process, with more in its environment."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            done = proofmap(*arguments, **{"COLUMNS": os.environ.get("COLUMNS", "100"), **environment})
        return pytest.RunResult(done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), 0.0)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start pytest in a process of its own, and do not wait for it."""
        return subprocess.Popen(
            (sys.executable, "-m", "pytest", *self._arguments(arguments, True)),
            cwd=self.folder,
            env=isolate(dict(os.environ)) | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _arguments(self, arguments: tuple[str, ...], proofmap: bool) -> list[str]:
        plugins = [part for name in self.plugins for part in ("-p", name)]
        return [*plugins, *(["--proofmap"] if proofmap else []), *arguments]

    @property
    def artifact(self) -> Path:
        """The evidence that the last run wrote when no option says otherwise: whole or partial."""
        written = [path for path in (self.whole, self.partial) if path.exists()]
        return max(written, key=lambda path: path.stat().st_mtime_ns, default=self.whole)

    @property
    def whole(self) -> Path:
        """Where the evidence of a whole run is written."""
        return self.folder / ".proofmap" / "evidence.json"

    @property
    def partial(self) -> Path:
        """Where the evidence of a partial run is written."""
        return self.folder / ".proofmap" / "partial.json"

    def evidence(self) -> Evidence:
        """Return the evidence that the last run wrote, checked by the models."""
        return read_evidence(self.artifact)

    def outcomes(self) -> dict[tuple[str, str], str]:
        """Return the outcome of each sample by case and runtime (``NAME#1`` for the second sample)."""
        return {(sample.case, _named(sample)): sample.outcome for sample in self.evidence().samples}

    def sample(self, case: str, runtime: str) -> Sample:
        """Return one sample of the last run."""
        return next(each for each in self.evidence().samples if (each.case, _named(each)) == (case, runtime))

    def criterion(self, name: str) -> Criterion:
        """Return the criterion of a test function."""
        return next(each for each in self.evidence().criteria if each.id.endswith(f"::{name}"))

    def cell(self, name: str, runtime: str, slice_name: str | None = None) -> Cell:
        """Return a cell of the criterion of a test function."""
        cells = self.criterion(name).cells
        return next(each for each in cells if (each.runtime, each.slice) == (runtime, slice_name))

    def calls(self) -> list[str]:
        """Return what the hook of :func:`echo_hook` was asked: runtime, sample and prompt."""
        file = self.folder / "calls.txt"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _named(sample: Sample) -> str:
    return sample.runtime if sample.sample == 0 else f"{sample.runtime}#{sample.sample}"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    """A small project whose runs share this process and load no plugin but ProofMap."""
    isolated = isolate(dict(os.environ))
    for name in set(os.environ) - set(isolated):
        monkeypatch.delenv(name)
    for name, value in isolated.items():
        monkeypatch.setenv(name, value)
    return SmallProject(pytester.path, pytester)


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process connect to nothing but this machine."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
