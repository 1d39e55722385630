"""Fuzzing that follows the branches of the code: ``python tests/fuzz/coverage_guided.py --runs 10000``.

Needs atheris (``pip install atheris``), which has wheels for some versions of Python on Linux. The corpus starts
with the valid documents. An input that raises anything but ProofMap's own errors ends the run and is printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

DEFAULT_RUNS = 10_000
TARGETS = ("command_line", "configuration", "evidence", "index", "lock", "prompt", "recordings", "template")


def main() -> int:
    """Fuzz one target after another, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=DEFAULT_RUNS, help="inputs for each target")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        import atheris  # noqa: F401  # to be told at once where it is missing
    except ImportError:
        print("atheris is not installed: nothing was fuzzed. Where it has a wheel: pip install atheris")
        return 0
    if arguments.corpus:
        fuzz(arguments.target[0], arguments.runs, arguments.seed, arguments.corpus)
    failed = []
    for name in arguments.target or TARGETS:
        # A process of its own, in which the package was not imported before atheris watches its imports.
        options = ["--target", name, "--runs", str(arguments.runs), "--seed", str(arguments.seed)]
        with tempfile.TemporaryDirectory(prefix="corpus-") as corpus:
            command = [sys.executable, __file__, *options, "--corpus", corpus]
            status = subprocess.run(command, check=False).returncode
        print(
            f"{name}: {arguments.runs} inputs, {'no fault' if status == 0 else 'A FAULT, see above'}", flush=True
        )
        failed += [name] if status else []
    return 1 if failed else 0


def fuzz(name: str, runs: int, seed: int, corpus: Path) -> None:
    """Fuzz one target; never returns."""
    import atheris

    with atheris.instrument_imports(include=["pytest_proofmap"]):
        import documents
        import targets

    for number, content in enumerate(documents.SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(content)
    target = targets.TARGETS[name]

    def run(content: bytes) -> None:
        target(content)

    options = [
        f"-runs={runs}",
        f"-seed={seed}",
        "-verbosity=0",
        "-rss_limit_mb=4096",
        "-timeout=60",
        "-max_len=65536",
    ]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={corpus}/", str(corpus)], run)
    atheris.Fuzz()
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
