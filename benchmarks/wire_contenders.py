"""What is compared on the wire: how each contender is started, and how the peers are installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from measure import Command
from workloads import write_plain_project

__all__ = ["CONTENDERS", "PEERS", "Contender", "install_peers", "prepare"]

SOURCES = Path(__file__).parent / "contenders"
PYTEST = (sys.executable, "-m", "pytest", "-q")
PROOFMAP = (*PYTEST, "-p", "pytest_proofmap.plugin", "--proofmap", "test_proofmap.py")


@dataclass(frozen=True)
class Contender:
    """One way to make the calls."""

    title: str
    arguments: tuple[str, ...]
    """``{concurrency}`` is filled in, and ``{peer}`` is the program of the peer."""
    ending: str = "{calls} passed"
    """What its last line of output holds."""
    peer: str | None = None
    """The peer that has to be installed."""
    reads_cache: bool = False
    """Whether it keeps its answers, and runs in a folder in which it has made the same calls before."""
    plain: bool = False
    """Whether it makes no calls at all, but runs as many trivial tests."""


ENDING = "{calls} as expected"
INSPECT = ("{peer}", "inspect_eval.py")
PROMPTFOO = (sys.executable, "promptfoo_eval.py", "{peer}")
WIDTH = "--proofmap-concurrency={concurrency}"

CONTENDERS: Mapping[str, Contender] = {
    "bare": Contender("asyncio loop over `litellm.acompletion`", (sys.executable, "bare_loop.py"), ENDING),
    "sequential": Contender("pytest + litellm, one call at a time", (*PYTEST, "test_litellm.py")),
    "xdist": Contender("pytest-xdist `-n 8` + litellm", (*PYTEST, "-p", "xdist", "-n", "8", "test_litellm.py")),
    "proofmap": Contender("**ProofMap, cold**", (*PROOFMAP, WIDTH)),
    "proofmap-n2": Contender("**ProofMap, cold, `-n 2`**", (*PROOFMAP, WIDTH, "-p", "xdist", "-n", "2")),
    "proofmap-cached": Contender("**ProofMap, cached**", (*PROOFMAP, WIDTH), reads_cache=True),
    "plain": Contender("pytest, as many trivial tests", (*PYTEST, "test_workload.py"), plain=True),
    "deepeval": Contender("deepeval", ("{peer}", "deepeval_evaluate.py"), ENDING, "deepeval"),
    "pydantic-evals": Contender(
        "pydantic-evals", ("{peer}", "pydantic_evals_dataset.py"), ENDING, "pydantic-evals"
    ),
    "inspect-ai": Contender("inspect-ai", INSPECT, ENDING, "inspect-ai"),
    "promptfoo": Contender("promptfoo", PROMPTFOO, ENDING, "promptfoo"),
    "inspect-ai-cached": Contender("inspect-ai, cached", INSPECT, ENDING, "inspect-ai", reads_cache=True),
    "promptfoo-cached": Contender("promptfoo, cached", PROMPTFOO, ENDING, "promptfoo", reads_cache=True),
}

PEERS: Mapping[str, tuple[str, ...]] = {
    "deepeval": ("deepeval", "openai"),
    "pydantic-evals": ("pydantic-evals", "openai"),
    "inspect-ai": ("inspect-ai", "openai"),
    "promptfoo": ("promptfoo",),
}
"""The packages of each peer; promptfoo's come from npm."""


def prepare(contender: Contender, folder: Path, *, cases: int, concurrency: int, peer: Path | None) -> Command:
    """Lay out a contender's folder and return the command that runs it there.

    A folder that exists is used as it is.

    Args:
        contender: What to run.
        folder: Where to run it.
        cases: How many cases each of two runtimes is asked about.
        concurrency: Calls that may be under way at once.
        peer: The peer's program.
    """
    if not folder.exists():
        if contender.plain:
            write_plain_project(folder, 2 * cases)
        else:
            shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("__pycache__"))
            (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    arguments = [each.format(concurrency=concurrency, peer=peer) for each in contender.arguments]
    return Command(arguments, folder, contender.ending.format(calls=2 * cases))


def install_peers(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Install the peers that are not there yet, each into an environment of its own.

    Returns:
        The program of each peer that is there, and why the others are not.
    """
    programs: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for name, packages in PEERS.items():
        home = folder / name
        program = home / ("node_modules/.bin/promptfoo" if name == "promptfoo" else "bin/python")
        try:
            if not (home / "installed").exists():
                _install(home, name, packages)
                (home / "installed").touch()
            programs[name] = program
        except (OSError, subprocess.CalledProcessError) as error:
            output = getattr(error, "stderr", None) or str(error)
            missing[name] = "does not install: " + (output.strip().splitlines() or ["no message"])[-1]
    return programs, missing


def _install(home: Path, name: str, packages: tuple[str, ...]) -> None:
    print(f"installing {name} into {home}", file=sys.stderr, flush=True)
    home.mkdir(parents=True, exist_ok=True)
    if name == "promptfoo":
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent", *packages]
    else:
        venv.create(home, with_pip=True)
        command = [str(home / "bin/python"), "-m", "pip", "install", "--quiet", *packages]
    subprocess.run(command, cwd=home, stdin=subprocess.DEVNULL, check=True, capture_output=True, text=True)
