"""Compares cold and cached runs with other ways to make the same calls: ``python benchmarks/wire.py``.

A server on loopback answers after a fixed latency. Each contender is a whole process, started anew for each
round, its time counted from start to exit; what one asks, all ask, and each checks every answer. Contenders take
turns, and a ratio is the median of the rounds' ratios. Needs Linux, for the memory of a tree of processes.

Exit status: 0 every target is reached (or ``--quick``, which judges nothing), 1 one is not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import TracebackType

from measure import Usage, run
from wire_contenders import CONTENDERS, install_peers, prepare
from wire_memory import TreeMemory

SERVER = Path(__file__).with_name("wire_server.py")
SETTINGS = {
    "OPENAI_API_KEY": "none",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "DEEPEVAL_TELEMETRY_OPT_OUT": "1",
    "DEEPEVAL_DISABLE_DOTENV": "1",
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    "PROMPTFOO_CONFIG_DIR": "promptfoo",
    "INSPECT_CACHE_DIR": "cache",
}
"""No contender waits for a network that is not part of the comparison."""


@dataclass(frozen=True)
class Load:
    """What the contenders are asked to do."""

    cases: int
    latency_s: float
    concurrency: int
    fault_every: int = 0
    """One in so many requests is answered with 429 and ``Retry-After: 1``."""

    @property
    def calls(self) -> int:
        """Calls in all."""
        return 2 * self.cases

    @property
    def ideal_s(self) -> float:
        """How long the server alone needs."""
        return math.ceil(self.calls / self.concurrency) * self.latency_s

    def __str__(self) -> str:
        faults = f", one request in {self.fault_every} refused with 429" if self.fault_every else ""
        return (
            f"{self.cases:,} cases × 2 runtimes, {self.latency_s * 1000:g} ms, concurrency {self.concurrency}"
            f"{faults} (ideal {self.ideal_s:.1f} s)"
        )


@dataclass
class Runs:
    """What the runs of one contender took, round by round."""

    usages: list[Usage] = field(default_factory=list)
    memories: list[TreeMemory] = field(default_factory=list)

    def typical(self, of: Callable[[Usage], float]) -> float:
        """Return the median of a usage figure."""
        return statistics.median(map(of, self.usages))

    def typical_memory(self, of: Callable[[TreeMemory], float]) -> float:
        """Return the median of a memory figure."""
        return statistics.median(map(of, self.memories))

    def ratio(self, base: Runs) -> float:
        """Return the median over the rounds of this contender's time / another's."""
        pairs = zip(self.usages, base.usages, strict=False)
        return statistics.median(each.wall_s / other.wall_s for each, other in pairs)


@dataclass(frozen=True)
class Target:
    """A figure and what it has to reach."""

    name: str
    value: float
    limit: float
    unit: str = "×"
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether it is reached."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return (
            f"| {self.name} | {self.value:.2f} {self.unit} | {sign} {self.limit:g} {self.unit} "
            f"| {'yes' if self.reached else '**no**'} |"
        )


class Bench:
    """Runs contenders.

    Args:
        folder: Where their folders are laid out.
        peers: Programs of the peers.
        rounds: How often each one runs.
    """

    def __init__(self, folder: Path, peers: Mapping[str, Path], rounds: int) -> None:
        self._folder = folder
        self._peers = peers
        self._rounds = rounds
        self._count = 0
        self.failures: dict[str, str] = {}
        """Why peers did not do their work."""

    def warm_up(self, names: Sequence[str]) -> None:
        """Run contenders once on next to nothing, so that none has to compile its modules when it counts."""
        self.measure(Load(10, 0.0, 2), names, rounds=1)

    def measure(
        self, load: Load, names: Sequence[str], *, once: Sequence[str] = (), rounds: int | None = None
    ) -> dict[str, Runs]:
        """Run contenders in turn under a load; which goes first changes from round to round.

        Args:
            load: What they are to do.
            names: Which contenders.
            once: Those that take part in the first round only.
            rounds: How many rounds, if not the usual number.
        """
        known = [name for name in names if CONTENDERS[name].peer in (None, *self._peers)]
        results: dict[str, Runs] = {name: Runs() for name in known}
        filled: dict[str, Path] = {}
        with Server(load) as server:
            for number in range(rounds or self._rounds):
                shift = number % len(known)
                for name in known[shift:] + known[:shift]:
                    if number > 0 and (name in once or name not in results):
                        continue
                    try:
                        if CONTENDERS[name].reads_cache and name not in filled:
                            filled[name] = self._new_folder(name)
                            self._run(load, name, server, Runs(), filled[name])
                        self._run(load, name, server, results[name], filled.get(name))
                    except RuntimeError as error:
                        if CONTENDERS[name].peer is None:
                            raise
                        del results[name]
                        self.failures[name] = str(error)
        print(f"    the server: {server.figures}", file=sys.stderr, flush=True)
        return results

    def _new_folder(self, name: str) -> Path:
        self._count += 1
        return self._folder / f"{self._count:03}-{name}"

    def _run(self, load: Load, name: str, server: Server, runs: Runs, folder: Path | None) -> None:
        contender = CONTENDERS[name]
        command = prepare(
            contender,
            folder or self._new_folder(name),
            cases=load.cases,
            concurrency=load.concurrency,
            peer=self._peers.get(contender.peer or ""),
        )
        settings = {
            **SETTINGS,
            "WIRE_URL": server.url,
            "WIRE_CASES": str(load.cases),
            "WIRE_CONCURRENCY": str(load.concurrency),
            "WIRE_CACHE": "1" if contender.reads_cache else "",
            "WIRE_RETRIES": "5" if load.fault_every else "0",
        }
        os.environ.update(settings)
        with TreeMemory({server.pid}) as memory:
            usage = run(command)
        runs.usages.append(usage)
        runs.memories.append(memory)
        print(f"  {name:<16} {usage.wall_s:7.2f} s {usage.cpu_s:7.2f} s CPU", file=sys.stderr, flush=True)


class Server:
    """The server, running while it is entered.

    Args:
        load: What it is to behave like.
    """

    def __init__(self, load: Load) -> None:
        arguments = ["--latency", str(load.latency_s), "--fault-every", str(load.fault_every)]
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        self.url = ""
        self.figures: dict[str, float] = {}
        """What it did, once it has ended."""

    def __enter__(self) -> Server:
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.figures = json.loads(self._process.communicate()[0])


def cold(bench: Bench, load: Load, limit: float, *, slow: bool = True) -> Iterator[Target]:
    """Cold runs against every other way to make the calls."""
    others = ["xdist", "deepeval", "pydantic-evals", "inspect-ai", "promptfoo"] if slow else []
    results = bench.measure(load, ["bare", "proofmap", "proofmap-n2", *others], once=["xdist"])
    _print_table(f"Cold: {load}", results, results["bare"], "bare loop")
    ratio = results["proofmap"].ratio(results["bare"])
    yield Target(f"cold, {load.cases:,} × 2: ProofMap / bare loop", ratio, limit)


def wide(bench: Bench, load: Load) -> Iterator[Target]:
    """Many slow calls at once."""
    results = bench.measure(load, ["bare", "proofmap"])
    _print_table(f"Wide: {load}", results, results["bare"], "bare loop")
    pairs = zip(results["proofmap"].usages, results["bare"].usages, strict=True)
    share = statistics.median(max(load.ideal_s, bare.wall_s) / proofmap.wall_s for proofmap, bare in pairs)
    name = f"cold, {load.calls:,} calls of {load.latency_s:g} s, {load.concurrency} at once"
    yield Target(f"{name}: slower of ideal and bare loop / ProofMap", 100 * share, 90, "%", at_least=True)


def sequential(bench: Bench, load: Load) -> Iterator[Target]:
    """One call at a time: measured on a part of the calls, and drawn out from there."""
    few = Load(5, load.latency_s, 1)
    short = bench.measure(few, ["sequential"], rounds=1)["sequential"].usages[0].wall_s
    long = bench.measure(load, ["sequential"], rounds=1)["sequential"].usages[0].wall_s
    per_call_s = (long - short) / (load.calls - few.calls)
    print(
        f"\n### One call at a time\n\npytest + litellm took {short:.1f} s for {few.calls} calls and {long:.1f} s "
        f"for {load.calls}: {1000 * per_call_s:.0f} ms a call. Not measured but drawn out from there: "
        + ", ".join(f"{calls:,} calls {short + (calls - few.calls) * per_call_s:,.0f} s" for calls in (500, 2_000))
        + ".",
        flush=True,
    )
    return iter(())


def cached(bench: Bench, load: Load, *, slow: bool = True) -> Iterator[Target]:
    """Reruns, all answers cached, against as many trivial tests."""
    peers = ["inspect-ai-cached", "promptfoo-cached"]
    results = bench.measure(load, ["plain", "proofmap-cached", *(peers if slow else [])], once=peers, rounds=5)
    _print_table(f"Cached: {load.cases:,} cases × 2 runtimes", results, results["plain"], "trivial tests")
    ratio = results["proofmap-cached"].ratio(results["plain"])
    yield Target(f"cached, {load.cases:,} × 2: ProofMap / trivial tests", ratio, 1.3)


def memory(bench: Bench, load: Load) -> Iterator[Target]:
    """Memory of cold and cached runs against as many trivial tests."""
    results = bench.measure(load, ["plain", "proofmap-cached", "proofmap", "bare"], rounds=2)
    print(f"\n### Memory: {load}\n\n| | process tree, MB | its first process, MB | processes |\n|---|--:|--:|--:|")
    for name, runs in results.items():
        figures = [runs.typical_memory(lambda each: each.tree_mb), runs.typical_memory(lambda each: each.first_mb)]
        processes = max(each.processes for each in runs.memories)
        print(f"| {CONTENDERS[name].title} | {figures[0]:.0f} | {figures[1]:.0f} | {processes} |", flush=True)
    plain_mb = results["plain"].typical_memory(lambda each: each.tree_mb)
    for name, limit_mb in (("proofmap", 230), ("proofmap-cached", 60)):
        above_mb = results[name].typical_memory(lambda each: each.tree_mb) - plain_mb
        title = CONTENDERS[name].title.strip("*")
        yield Target(f"memory, {load.calls:,} samples: {title}, above trivial tests", above_mb, limit_mb, "MB")


def faults(bench: Bench, load: Load) -> Iterator[Target]:
    """A provider that refuses some calls; whoever retries takes part."""
    results = bench.measure(load, ["bare", "proofmap"])
    _print_table(f"Faults: {load}", results, results["bare"], "bare loop")
    return iter(())


def _print_table(title: str, results: Mapping[str, Runs], base: Runs, base_name: str) -> None:
    print(f"\n### {title}\n\n| | whole process, s | × {base_name} | CPU, s | peak of the tree, MB |")
    print("|---|--:|--:|--:|--:|")
    for name, runs in sorted(results.items(), key=lambda each: each[1].ratio(base)):
        print(
            f"| {CONTENDERS[name].title} "
            f"| {runs.typical(lambda usage: usage.wall_s):.1f} | {runs.ratio(base):.2f} "
            f"| {runs.typical(lambda usage: usage.cpu_s):.1f} "
            f"| {runs.typical_memory(lambda each: each.tree_mb):.0f} |"
        )
    sys.stdout.flush()


Scenario = Callable[[Bench], Iterator[Target]]

FULL: Mapping[str, Scenario] = {
    "cached": lambda bench: cached(bench, Load(2_500, 0.0, 32)),
    "memory": lambda bench: memory(bench, Load(2_500, 0.05, 32)),
    "cold": lambda bench: cold(bench, Load(250, 0.2, 32), 1.0),
    "large": lambda bench: cold(bench, Load(1_000, 0.2, 32), 0.75),
    "wide": lambda bench: wide(bench, Load(2_500, 1.0, 256)),
    "faults": lambda bench: faults(bench, Load(250, 0.2, 32, fault_every=20)),
    "sequential": lambda bench: sequential(bench, Load(125, 0.2, 1)),
}
QUICK: Mapping[str, Scenario] = {
    "cached": lambda bench: cached(bench, Load(250, 0.0, 32), slow=False),
    "memory": lambda bench: memory(bench, Load(250, 0.05, 32)),
    "cold": lambda bench: cold(bench, Load(100, 0.1, 32), 1.0, slow=False),
    "large": lambda bench: cold(bench, Load(250, 0.1, 32), 1.0, slow=False),
    "wide": lambda bench: wide(bench, Load(250, 0.5, 128)),
    "faults": lambda bench: faults(bench, Load(100, 0.1, 32, fault_every=20)),
    "sequential": lambda bench: sequential(bench, Load(25, 0.1, 1)),
}


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, nothing is judged")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison (default: 3, with --quick 1)")
    parser.add_argument(
        "--peers", type=Path, metavar="FOLDER", help="install the peers there, unless they are, and compare them"
    )
    parser.add_argument("only", nargs="*", choices=[[], *FULL], help="default: all")
    arguments = parser.parse_args()
    peers, missing = install_peers(arguments.peers.resolve()) if arguments.peers else ({}, {})
    chosen = arguments.only or list(FULL)
    scenarios = QUICK if arguments.quick else FULL
    print(
        f"{os.cpu_count()} processors, Python {platform.python_version()}, "
        + ", ".join(f"{name} {metadata.version(name)}" for name in ("pytest", "litellm", "pytest-proofmap")),
        flush=True,
    )
    targets: list[Target] = []
    with tempfile.TemporaryDirectory(prefix="proofmap-wire-") as folder:
        bench = Bench(Path(folder), peers, arguments.rounds or (1 if arguments.quick else 3))
        bench.warm_up(["bare", "proofmap", *peers])
        for name in chosen:
            targets += scenarios[name](bench)
    for name, reason in {**missing, **bench.failures}.items():
        print(f"\n{name}: {reason}")
    print("\n### Targets\n\n| | measured | target | reached |\n|---|--:|--:|---|")
    for target in targets:
        print(target)
    return 0 if arguments.quick or all(target.reached for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
