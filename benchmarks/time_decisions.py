"""How long p-values and whole decisions take.

    python benchmarks/time_decisions.py

Prints the mean and the longest time of a p-value at 100 and 400 pairs, and the time of deciding 2,500 cells of up
to 400 pairs, first with nothing kept and then with the p-values of the first time: CPU time, so that other work on
the machine counts little. Standard library only.
"""

from __future__ import annotations

import random
import time

from pytest_proofmap.decide.decision import decide
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.stats.paired import p_unsafe_paired, p_worse_paired
from pytest_proofmap.evidence.models import Bar, Criterion, Objective, Outcome, RuntimeInfo

CRITERIA, CHALLENGERS = 500, 5


def time_p_values(pairs: int, tables: int, rng: random.Random) -> tuple[float, float]:
    """Return the mean and the longest time of a p-value at so many pairs, in milliseconds."""
    times = []
    for _ in range(tables):
        discordant = rng.randint(0, pairs)
        regressions = rng.randint(0, discordant)
        margin = rng.choice([0.02, 0.05, 0.1, 0.2])
        for p_value in (p_unsafe_paired, p_worse_paired):
            started = time.process_time()
            p_value(regressions, discordant - regressions, pairs, margin)
            times.append(1000.0 * (time.process_time() - started))
    return sum(times) / len(times), max(times)


def draw_evidence(rng: random.Random) -> tuple[list[Criterion], list[Objective], list[Observation]]:
    """Draw 500 criteria of 20 to 400 cases with five challengers of different quality."""
    bar = Bar(kind="margin", min_pass_rate=None, max_failure_rate=0.25, margin=0.05, confidence=0.95, samples=1)
    names = [f"challenger{i}" for i in range(CHALLENGERS)]
    criteria, objectives, rows = [], [], []
    for number in range(CRITERIA):
        name = f"criterion{number}"
        cases = [str(i) for i in range(rng.randint(20, 400))]
        criteria.append(Criterion(id=name, objective=name, fingerprint="", collected=cases, bar=bar))
        objectives.append(Objective(name=name, baseline="base", challengers=names, criteria=[name]))
        passed = [rng.random() < 0.85 for _ in cases]
        for runtime in ("base", *names):
            noise = 0.0 if runtime == "base" else 0.2 * rng.random()
            for case, good in zip(cases, passed, strict=True):
                right = good if rng.random() >= noise else rng.random() < 0.6
                outcome: Outcome = "passed" if right else "failed"
                rows.append(
                    Observation(name, case, None, runtime, 0, outcome, 0.001, 0.5, f"{runtime}/{name}/{case}")
                )
    return criteria, objectives, rows


def main() -> None:
    """Measure and print."""
    rng = random.Random(1)
    for pairs in (100, 400):
        mean, longest = time_p_values(pairs, 300, rng)
        print(f"p-value at {pairs} pairs: {mean:.2f} ms on average, {longest:.2f} ms at most")
    criteria, objectives, rows = draw_evidence(rng)
    names = ["base", *objectives[0].challengers]
    runtimes = {name: RuntimeInfo(model=name, provider=name, params={}, fingerprint=name) for name in names}
    memo: dict[str, float] = {}
    for state in ("nothing kept", "p-values kept"):
        started = time.process_time()
        decide(criteria, objectives, runtimes, rows, memo=memo)
        seconds = time.process_time() - started
        print(f"{CRITERIA * CHALLENGERS} cells from {len(rows)} samples, {state}: {seconds:.2f} s")
    print(f"{len(memo)} different p-values")


if __name__ == "__main__":
    main()
