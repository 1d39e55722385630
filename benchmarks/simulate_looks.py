"""Do forecasts keep their promise, how often are slices and looks wrong, and what does a year of watching find?

    python benchmarks/simulate_looks.py --repeats 1000 --write benchmarks/decisions.md

Draws from known truths and counts. Standard library only.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pytest_proofmap.decide.adaptive import Bets
from pytest_proofmap.decide.looks import level_of_look
from pytest_proofmap.decide.stats.binomial import binomial_at_least
from pytest_proofmap.decide.stats.forecasts import more_margin
from pytest_proofmap.decide.stats.multiplicity import correct, holm
from pytest_proofmap.decide.stats.paired import gamma_of, p_unsafe_paired, p_worse_paired

ALPHA = 0.05
START, END = "<!-- looks -->", "<!-- /looks -->"

Table = list[str]


def draw(rng: random.Random, cases: int, regress: float, improve: float) -> tuple[int, int]:
    """Draw regressions and improvements of so many cases."""
    b = c = 0
    for _ in range(cases):
        value = rng.random()
        b += value < regress
        c += regress <= value < regress + improve
    return b, c


def forecasts(rng: random.Random, repeats: int) -> Table:
    """How often do the promised further cases reach the verdict?"""
    lines = [
        "| δ | true regressions, improvements | cases | open verdicts | with a forecast | median N | "
        "reached at the rates seen | reached at the true rates |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for margin, regress, improve, cases in (
        (0.05, 0.0, 0.0, 30),
        (0.05, 0.02, 0.02, 60),
        (0.05, 0.04, 0.02, 100),
        (0.10, 0.03, 0.03, 40),
        (0.10, 0.06, 0.03, 60),
        (0.10, 0.05, 0.05, 60),
        (0.20, 0.08, 0.03, 30),
    ):
        memo: dict[str, float] = {}
        numbers: list[int] = []
        waiting = seen = true = drawn = 0
        for _ in range(repeats):
            b, c = draw(rng, cases, regress, improve)
            if p_unsafe_paired(b, c, cases, margin, memo) <= ALPHA or p_worse_paired(b, c, cases, margin) <= ALPHA:
                continue
            waiting += 1
            more = more_margin(b, c, cases, margin, ALPHA, memo)
            if more is None:
                continue
            numbers.append(more)
            if more > 2_000:
                continue
            drawn += 1
            difference, discordant = (c - b) / (cases + 2), (b + c + 1) / (cases + 2)
            for rates, at_seen in (
                (((discordant - difference) / 2, (discordant + difference) / 2), True),
                ((regress, improve), False),
            ):
                further = draw(rng, more, *rates)
                reached = p_unsafe_paired(b + further[0], c + further[1], cases + more, margin, memo) <= ALPHA
                seen += reached and at_seen
                true += reached and not at_seen
        if not drawn:
            continue
        lines.append(
            f"| {margin:.2f} | {regress:.0%}, {improve:.0%} | {cases} | {waiting / repeats:.0%} | "
            f"{len(numbers) / max(1, waiting):.0%} | {statistics.median(numbers):.0f} | {seen / drawn:.0%} | "
            f"{true / drawn:.0%} |"
        )
    return lines


def slices(rng: random.Random, repeats: int) -> Table:
    """How many of the slices promoted are wrong, by rule and number of slices?"""
    lines = [
        "| rule | slices | sets with an error | share of promoted slices that are wrong | good slices promoted |",
        "|---|---:|---:|---:|---:|",
    ]
    margin, cases, challengers = 0.10, 60, 3
    memo: dict[str, float] = {}
    for number in (6, 12):
        counts = {rule: [0, 0.0, 0] for rule in ("fdr", "all", "each")}
        good = 0
        for _ in range(repeats):
            tables = []
            for index in range(number):
                bad = index % 2 == 0
                good += not bad
                rates = (0.12, 0.02) if bad else (0.01, 0.01)
                tables.append([draw(rng, cases, *rates) for _ in range(challengers)])
            for rule, found in counts.items():
                gamma = gamma_of(ALPHA, challengers, 1 if rule == "each" else number)
                p_values = [[p_unsafe_paired(b, c, cases, margin, memo, gamma) for b, c in row] for row in tables]
                corrected = correct(p_values, ALPHA, rule)  # type: ignore[arg-type]  # a literal
                promoted = [any(p <= corrected.level for p in row) for row in corrected.adjusted]
                wrong = sum(promoted[0::2])
                found[0] += wrong > 0
                found[1] += wrong / max(1, sum(promoted))
                found[2] += sum(promoted[1::2])
        for rule, (sets, share, kept) in counts.items():
            lines.append(
                f"| `{rule}` | {number} | {sets / repeats:.1%} | {share / repeats:.1%} | {kept / good:.0%} |"
            )
    return lines


def looks(rng: random.Random, repeats: int) -> Table:
    """How often does growing evidence promote a challenger at the border, and one that agrees?"""
    lines = [
        "| looks at 60, 120, 180, … cases, δ = .10 | at the border | 2 % regressions and improvements |",
        "|---|---:|---:|",
    ]
    margin, step = 0.10, 60
    memo: dict[str, float] = {}

    def promoted(rule: str, count: int, rates: tuple[float, float]) -> bool:
        b = c = 0
        bets = Bets(margin)
        for number in range(1, count + 1):
            further = draw(rng, step, *rates)
            b, c = b + further[0], c + further[1]
            if rule == "open":
                order = [-1.0] * further[0] + [1.0] * further[1] + [0.0] * (step - sum(further))
                rng.shuffle(order)
                for difference in order:
                    bets.add(difference, difference)
                if math.exp(-bets.most_acceptable) <= ALPHA:
                    return True
                continue
            p = p_unsafe_paired(b, c, number * step, margin, memo)
            if holm([p * (2**number if rule == "planned" else 1)])[0] <= ALPHA:
                return True
        return False

    for name, rule, count in (
        ("one look", "plain", 1),
        ("a plain top-up, 3 looks", "plain", 3),
        ("a plain top-up, 8 looks", "plain", 8),
        ("`looks = 2`", "planned", 2),
        ("`looks = 3`", "planned", 3),
        ('`looks = "open"`, 3 looks', "open", 3),
        ('`looks = "open"`, 8 looks', "open", 8),
    ):
        shares = [
            sum(promoted(rule, count, rates) for _ in range(repeats)) / repeats
            for rates in ((0.12, 0.02), (0.02, 0.02))
        ]
        lines.append(f"| {name} | {shares[0]:.1%} | {shares[1]:.0%} |")
    return lines


def drift(rng: random.Random, repeats: int) -> Table:
    """What do weekly looks at 200 cases find within a year?"""
    lines = [
        "| loss from the first week on | years with an alarm | weeks until found, median |",
        "|---:|---:|---:|",
    ]
    cases, weeks = 200, 52
    steady = [0.98 if index % 5 else 0.6 for index in range(cases)]
    for loss in (0.0, 0.05, 0.10, 0.20):
        rates = [max(0.0, rate - loss) for rate in steady]
        found: list[int] = []
        for _ in range(repeats):
            reference = [rng.random() < rate for rate in steady]
            for week in range(1, weeks + 1):
                b = c = 0
                for before, rate in zip(reference, rates, strict=True):
                    after = rng.random() < rate
                    b += before and not after
                    c += after and not before
                level = level_of_look(week, ALPHA) / 2
                if min(binomial_at_least(b, b + c, 0.5), binomial_at_least(c, b + c, 0.5)) <= level:
                    found.append(week)
                    break
        weeks_text = f"{statistics.median(found):.0f}" if len(found) > repeats / 2 else "–"
        lines.append(f"| {loss:.0%} | {len(found) / repeats:.1%} | {weeks_text} |")
    return lines


SECTIONS: tuple[tuple[str, Callable[[random.Random, int], Table]], ...] = (
    (
        '**Forecasts** promise that "~N more cases", added to those at hand, reach the verdict in 80 % of draws '
        "at the rates seen. Where N is above 2,000 the draw is left out of the last two columns.",
        forecasts,
    ),
    (
        "**Slices**: 60 cases each, three challengers, δ = .10; half of the slices at the border, half with 1 % "
        "regressions and 1 % improvements.",
        slices,
    ),
    ("**Looks** at growing evidence:", looks),
    (
        "**A year of weekly looks** with `proofmap drift --history`: 200 cases, four fifths of which pass with "
        "98 %, one fifth with 60 %, compared each week with one draw of the first day.",
        drift,
    ),
)


def main() -> int:
    """Run the simulations."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="Markdown file whose section is replaced")
    options = parser.parse_args()
    parts = [START]
    for title, simulate in SECTIONS:
        started = time.process_time()
        repeats = max(1, options.repeats // 4) if simulate in (forecasts, slices) else options.repeats
        lines = simulate(random.Random(f"{options.seed}/{simulate.__name__}"), repeats)
        print("\n".join(lines), f"{time.process_time() - started:.0f} s", flush=True)
        parts += [title + f" {repeats} draws, seed {options.seed}.", "", *lines, ""]
    text = "\n".join([*parts[:-1], END])
    if options.write:
        page = options.write.read_text(encoding="utf-8")
        page = re.sub(f"{START}.*{END}", lambda _: text, page, flags=re.DOTALL)
        options.write.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
