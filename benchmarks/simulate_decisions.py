"""How often does ProofMap promote a runtime that it should not, and how often one that it should?

Draws outcomes of a baseline and three challengers from known truths, lets the whole decision run on them (bars,
missing outcomes, correction for several challengers, choice of the cheapest, chain) and counts the promotions:

    python benchmarks/simulate_decisions.py --repeats 1000 --write benchmarks/decisions.md

A promotion is false when the recommended primary is truly not acceptable. Standard library only.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_proofmap.decide.decision import decide
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.stats.binomial import binomial_at_least, clopper_pearson
from pytest_proofmap.evidence.models import Bar, Criterion, Objective, Outcome, RuntimeInfo

ALPHA = 0.05
SIZES = (10, 30, 59, 100, 200, 400, 1000)
BASELINE_RATE = 0.85
CHALLENGERS = ("cheapest", "cheaper", "cheap")
COSTS = {"base": 1.0, "cheapest": 0.05, "cheaper": 0.1, "cheap": 0.2}
RUNTIMES = {name: RuntimeInfo(model=name, provider=name, params={}, fingerprint=name) for name in COSTS}
START, END = "<!-- simulation -->", "<!-- /simulation -->"


@dataclass(frozen=True)
class Truth:
    """How a challenger behaves: its true rates of regression and improvement, and its errors."""

    regress: float = 0.0
    improve: float = 0.0
    error_of_failure: float = 0.0
    """The share of its failures that end as errors instead."""
    error_of_pass: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """A bar, the truth about each challenger, and which of them are truly not acceptable."""

    name: str
    bar: Bar
    truths: tuple[Truth, Truth, Truth]
    bad: frozenset[str]
    baseline_rate: float = BASELINE_RATE
    criteria: int = 1
    looks: int = 1
    """With two looks as many cases again are added when the first look promotes nobody."""


def bar(**settings: object) -> Bar:
    """Return a bar; a margin of 5 points unless told."""
    values: dict[str, object] = {
        "kind": "margin",
        "min_pass_rate": None,
        "max_failure_rate": 0.25,
        "margin": 0.05,
        "confidence": 1.0 - ALPHA,
        "samples": 1,
    }
    return Bar.model_validate(values | settings)


def border(margin: float, improve: float, **errors: float) -> Truth:
    """Return a challenger that is worse by exactly the margin: the hardest one to refuse."""
    return Truth(improve + margin, improve, **errors)


ALL = frozenset(CHALLENGERS)
SAME = Truth()
SCENARIOS = (
    Scenario("three at the border, δ = .05, much disagreement", bar(), (border(0.05, 0.05),) * 3, ALL),
    Scenario("three at the border, δ = .05, no improvements", bar(), (border(0.05, 0.0),) * 3, ALL),
    Scenario("three at the border, δ = .10", bar(margin=0.1), (border(0.1, 0.02),) * 3, ALL),
    Scenario(
        "the cheapest at the border, two identical to the baseline, δ = .05",
        bar(),
        (border(0.05, 0.02), SAME, SAME),
        frozenset({"cheapest"}),
    ),
    Scenario(
        "three at the border, half of their failures are errors, δ = .10",
        bar(margin=0.1),
        (border(0.1, 0.02, error_of_failure=0.5),) * 3,
        ALL,
    ),
    Scenario(
        "three at the border on one of two criteria, δ = .10",
        bar(margin=0.1),
        (border(0.1, 0.02),) * 3,
        ALL,
        criteria=2,
    ),
    Scenario(
        "three samples a case, three at the border, δ = .10",
        bar(margin=0.1, samples=3),
        (border(0.1, 0.02),) * 3,
        ALL,
    ),
    Scenario(
        "min_pass_rate .9, three that pass .9",
        bar(kind="min_pass_rate", min_pass_rate=0.9, margin=None),
        (Truth(regress=0.1),) * 3,
        ALL,
        baseline_rate=1.0,
    ),
    Scenario(
        "all must pass, three that fail .25",
        bar(kind="all_pass", min_pass_rate=1.0, margin=None),
        (Truth(regress=0.25),) * 3,
        ALL,
        baseline_rate=1.0,
    ),
    Scenario("identical to the baseline, δ = .05 (power)", bar(), (SAME,) * 3, frozenset()),
    Scenario(
        "2 % regressions and 2 % improvements, δ = .05 (power)", bar(), (border(0.0, 0.02),) * 3, frozenset()
    ),
    Scenario(
        "5 % regressions and 5 % improvements, δ = .10 (power)",
        bar(margin=0.1),
        (border(0.0, 0.05),) * 3,
        frozenset(),
    ),
    Scenario(
        "three at the border, δ = .10, a second look after doubling the cases",
        bar(margin=0.1),
        (border(0.1, 0.02),) * 3,
        ALL,
        looks=2,
    ),
)


def draw(truth: Truth, baseline_passes: bool, baseline_rate: float, rng: random.Random) -> Outcome:
    """Draw what a challenger does on a case that the baseline passed or failed."""
    if baseline_passes:
        passes = rng.random() >= truth.regress / baseline_rate
    else:
        passes = rng.random() < truth.improve / (1.0 - baseline_rate)
    if rng.random() < (truth.error_of_pass if passes else truth.error_of_failure):
        return "error"
    return "passed" if passes else "failed"


def observations(scenario: Scenario, first: int, stop: int, rng: random.Random) -> Iterator[Observation]:
    """Draw all outcomes of the cases from first to stop."""
    for number in range(scenario.criteria):
        criterion = f"criterion{number}"
        for index in range(first, stop):
            case = str(index)
            for sample in range(scenario.bar.samples):
                passes = rng.random() < scenario.baseline_rate
                outcomes: list[tuple[str, Outcome]] = [("base", "passed" if passes else "failed")]
                for name, truth in zip(CHALLENGERS, scenario.truths, strict=True):
                    # Only one criterion is at the border: on the others the challengers agree.
                    own = truth if number == 0 else SAME
                    outcomes.append((name, draw(own, passes, scenario.baseline_rate, rng)))
                for name, outcome in outcomes:
                    yield Observation(criterion, case, None, name, sample, outcome, COSTS[name])


def primary(scenario: Scenario, rows: list[Observation], memo: dict[str, float]) -> str:
    """Return the runtime that is recommended."""
    names = [f"criterion{number}" for number in range(scenario.criteria)]
    criteria = [
        Criterion(id=name, objective="job", fingerprint="", collected=[], bar=scenario.bar) for name in names
    ]
    objective = Objective(name="job", baseline="base", challengers=list(CHALLENGERS), criteria=names)
    decision = decide(criteria, [objective], RUNTIMES, rows, memo=memo)
    return decision.objectives[0].recommendations[0].chain[0]


def simulate(scenario: Scenario, size: int, repeats: int, seed: int, memo: dict[str, float]) -> tuple[int, int]:
    """Return how many of the repeats promoted a bad challenger, and how many promoted any."""
    rng = random.Random(f"{seed}/{scenario.name}/{size}")
    false = promoted = 0
    for _ in range(repeats):
        rows: list[Observation] = []
        for look in range(scenario.looks):
            rows += observations(scenario, look * size, (look + 1) * size, rng)
            chosen = primary(scenario, rows, memo)
            if chosen != "base":
                break
        promoted += chosen != "base"
        false += chosen in scenario.bad
    return false, promoted


def table(title: str, scenarios: list[Scenario], cell: Callable[[Scenario, int], str]) -> list[str]:
    """Return a Markdown table of scenarios by number of cases."""
    lines = [f"| {title} | " + " | ".join(f"n = {size}" for size in SIZES) + " |"]
    lines.append("|---|" + "---:|" * len(SIZES))
    lines += [f"| {one.name} | " + " | ".join(cell(one, size) for size in SIZES) + " |" for one in scenarios]
    return lines


def report(counts: dict[tuple[str, int], tuple[int, int]], repeats: int, seed: int, seconds: float) -> str:
    """Return the results as Markdown."""

    def false(scenario: Scenario, size: int) -> str:
        return f"{counts[scenario.name, size][0] / repeats:.1%}"

    def power(scenario: Scenario, size: int) -> str:
        bad, promoted = counts[scenario.name, size]
        return f"{(promoted - bad) / repeats:.0%}"

    single = [one for one in SCENARIOS if one.bad and one.looks == 1]
    double = [one for one in SCENARIOS if one.looks > 1]
    good = [one for one in SCENARIOS if len(one.bad) < len(CHALLENGERS)]
    low, high = clopper_pearson(round(ALPHA * repeats), repeats)
    return "\n".join(
        [
            START,
            f"Measured with `--repeats {repeats} --seed {seed}` in {seconds:.0f} s. Three challengers, "
            f"α = {ALPHA:.0%}; with {repeats} repeats a true rate of {ALPHA:.0%} shows as {low:.1%} to "
            f"{high:.1%}.",
            "",
            *table("false promotions", single, false),
            "",
            *table("promotions of an acceptable challenger (power)", good, power),
            "",
            "A second look is a second chance to be wrong; what one costs:",
            "",
            *table("false promotions", double, false),
            END,
        ]
    )


def exceeds(false: int, repeats: int, cells: int) -> bool:
    """Return whether a count of false promotions is too many for chance, looking at so many cells."""
    return binomial_at_least(false, repeats, ALPHA) < 0.01 / cells


def main() -> int:
    """Run the simulation; return 1 when a false-promotion rate is above alpha beyond chance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="Markdown file whose simulation section is replaced")
    options = parser.parse_args()
    started = time.perf_counter()
    memo: dict[str, float] = {}
    counts = {}
    failures = []
    single = [one for one in SCENARIOS if one.looks == 1 and one.bad]
    for scenario in SCENARIOS:
        for size in SIZES:
            false, promoted = simulate(scenario, size, options.repeats, options.seed, memo)
            counts[scenario.name, size] = (false, promoted)
            share = f"{false / options.repeats:6.1%} false, {promoted / options.repeats:6.1%} promoted"
            print(f"{scenario.name:<72} n = {size:<5} {share}", flush=True)
            if scenario in single and exceeds(false, options.repeats, len(single) * len(SIZES)):
                failures.append(f"{scenario.name}, n = {size}: {false} of {options.repeats}")
    text = report(counts, options.repeats, options.seed, time.perf_counter() - started)
    if options.write:
        page = options.write.read_text(encoding="utf-8")
        page = re.sub(f"{START}.*{END}", lambda _: text, page, flags=re.DOTALL)
        options.write.write_text(page, encoding="utf-8")
    for failure in failures:
        print(f"above alpha: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
