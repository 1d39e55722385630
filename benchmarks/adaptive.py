"""How many calls does adaptive sampling save, how often does it change a verdict, and how often is it wrong?

Replays real answers and draws synthetic ones, with fixed and with adaptive sampling side by side:

    python benchmarks/adaptive.py --gsm8k responses.jsonl.gz --ifeval en_responses.jsonl.gz \
        --write benchmarks/adaptive.md

A line of the data files names its prompt's outcomes as ``{"models": {NAME: {"passed": bool}}}`` (IFEval: strict
verdicts of its instructions, all of which must hold). Exit status 1: a false-promotion rate is above its limit
beyond chance. Standard library only.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytest_proofmap.decide.adaptive import CaseOrder, stop_of, wave_ends
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.stats.binomial import binomial_at_least
from pytest_proofmap.decide.tally import CriterionTally
from pytest_proofmap.decide.verdict import judge
from pytest_proofmap.evidence.models import Bar

ALPHA = 0.05
START, END = "<!-- figures -->", "<!-- /figures -->"
Outcomes = Mapping[str, Sequence[bool]]
"""Whether each case passed, by runtime; the baseline first."""


class Run(NamedTuple):
    """What one way of sampling came to."""

    verdicts: list[str]
    """One per challenger."""
    calls: int
    """Calls of the challengers."""


class Comparison(NamedTuple):
    """Fixed and adaptive sampling over many repeats."""

    name: str
    fixed_calls: float
    adaptive_calls: float
    changes: Counter[tuple[str, str]]
    """How often which verdict of fixed sampling became which."""


def bar(margin: float | None) -> Bar:
    """Return a margin bar, or the bar that every case must pass."""
    return Bar(
        kind="all_pass" if margin is None else "margin",
        min_pass_rate=1.0 if margin is None else None,
        max_failure_rate=0.25 if margin is None else None,
        margin=margin,
        confidence=1.0 - ALPHA,
        samples=1,
    )


def observation(case: int, runtime: str, passed: bool) -> Observation:
    """Return the outcome of one case on one runtime."""
    return Observation("c", str(case), None, runtime, 0, "passed" if passed else "failed")


def count(outcomes: Outcomes, rows: Iterable[Observation]) -> CriterionTally:
    """Return outcomes as the decision takes them."""
    cases = [str(case) for case in range(len(next(iter(outcomes.values()))))]
    counted = CriterionTally("c", cases)
    for row in rows:
        counted.add(row)
    return counted


def verdicts(
    rule: Bar, outcomes: Outcomes, counted: CriterionTally, memo: dict[str, float], **more: CaseOrder
) -> list[str]:
    """Return the verdicts on all challengers."""
    baseline, *challengers = outcomes
    found = judge(rule, {None: counted.view(None)}, baseline, challengers, memo=memo, **more)
    return [found.judged[None, name].cell.status or "" for name in challengers]


def fixed(rule: Bar, outcomes: Outcomes, memo: dict[str, float]) -> Run:
    """Ask every challenger every case."""
    rows = [observation(case, name, ok) for name, found in outcomes.items() for case, ok in enumerate(found)]
    calls = (len(outcomes) - 1) * len(next(iter(outcomes.values())))
    return Run(verdicts(rule, outcomes, count(outcomes, rows), memo), calls)


def adaptive(rule: Bar, outcomes: Outcomes, memo: dict[str, float], *, one_by_one: bool = False) -> Run:
    """Ask in waves, in the order in which the cases come (they are drawn at random already)."""
    baseline, *challengers = outcomes
    total = len(outcomes[baseline])
    order = [str(case) for case in range(total)]
    counted = count(outcomes, [observation(case, baseline, ok) for case, ok in enumerate(outcomes[baseline])])
    calls = 0
    for challenger in challengers:
        start = 0
        for end in range(1, total + 1) if one_by_one else wave_ends(rule, len(challengers), total):
            for case in range(start, end):
                counted.add(observation(case, challenger, outcomes[challenger][case]))
            calls += end - start
            start = end
            if stop_of(rule, counted, order, baseline, challenger, len(challengers), memo=memo) is not None:
                break
        for case in range(start, total):
            counted.add(Observation("c", str(case), None, challenger, 0, "skipped", spared=True))
    return Run(verdicts(rule, outcomes, counted, memo, order=CaseOrder(order, True)), calls)


def compare(name: str, rule: Bar, draws: Iterable[Outcomes], memo: dict[str, float]) -> Comparison:
    """Sample both ways, many times."""
    calls = Counter[str]()
    changes: Counter[tuple[str, str]] = Counter()
    repeats = 0
    for outcomes in draws:
        repeats += 1
        before, after = fixed(rule, outcomes, memo), adaptive(rule, outcomes, memo)
        assert after.calls <= before.calls
        calls["fixed"] += before.calls
        calls["adaptive"] += after.calls
        changes.update(zip(before.verdicts, after.verdicts, strict=True))
    print(f"{name:<70} {calls['adaptive'] / calls['fixed']:6.1%}  {dict(changes)}", flush=True)
    return Comparison(name, calls["fixed"] / repeats, calls["adaptive"] / repeats, changes)


def read_gsm8k(path: Path) -> dict[str, list[bool]]:
    """Return GSM8K's outcomes by model."""
    return _by_model({model: found["passed"] for model, found in line["models"].items()} for line in _lines(path))


def read_ifeval(path: Path) -> dict[str, list[bool]]:
    """Return IFEval's strict outcomes by model."""
    return _by_model(
        {model: all(found["strict"]) for model, found in line["models"].items()} for line in _lines(path)
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _by_model(lines: Iterable[Mapping[str, object]]) -> dict[str, list[bool]]:
    found: dict[str, list[bool]] = {}
    for line in lines:
        for model, passed in line.items():
            found.setdefault(model.rpartition("/")[2], []).append(bool(passed))
    return found


def subsets(found: Mapping[str, list[bool]], names: Sequence[str], size: int, repeats: int) -> Iterator[Outcomes]:
    """Draw cases of real data at random, in random order."""
    total = len(found[names[0]])
    rng = random.Random(f"{names}/{size}")
    for _ in range(repeats if size < total else max(20, repeats // 5)):
        cases = rng.sample(range(total), min(size, total))
        yield {name: [found[name][case] for case in cases] for name in names}


def drawn(
    rate: float, truths: Sequence[tuple[float, float]], size: int, repeats: int, key: str
) -> Iterator[Outcomes]:
    """Draw outcomes from known rates of regression and improvement, shares of all cases."""
    rng = random.Random(key)
    for _ in range(repeats):
        base = [rng.random() < rate for _ in range(size)]
        outcomes = {"base": base}
        for number, (regress, improve) in enumerate(truths):
            outcomes[f"challenger{number}"] = [
                rng.random() >= regress / rate if ok else rng.random() < improve / (1.0 - rate) for ok in base
            ]
        yield outcomes


def real_comparisons(
    gsm8k: Path | None, ifeval: Path | None, repeats: int, memo: dict[str, float]
) -> list[Comparison]:
    """Compare on real answers."""
    found = []
    if gsm8k is not None:
        data = read_gsm8k(gsm8k)
        gpt, mixtral = "gpt-4-1106-preview", "Mixtral-8x7B-Instruct-v0.1"
        for size in (100, 200, 400, 1319):
            for margin in (0.05, 0.1):
                draws = subsets(data, (gpt, mixtral), size, repeats)
                found.append(
                    compare(f"GSM8K, {gpt} → {mixtral}, δ = {margin}, n = {size}", bar(margin), draws, memo)
                )
        for size in (200, 1319):
            draws = subsets(data, (mixtral, gpt), size, repeats)
            found.append(compare(f"GSM8K, {mixtral} → {gpt}, δ = 0.05, n = {size}", bar(0.05), draws, memo))
    if ifeval is not None:
        data = read_ifeval(ifeval)
        order = sorted(data, key=lambda name: -sum(data[name]))
        for size in (100, 200, 541):
            for margin in (0.05, 0.1):
                draws = subsets(data, order, size, repeats)
                name = f"IFEval, {order[0]} → its three challengers, δ = {margin}, n = {size}"
                found.append(compare(name, bar(margin), draws, memo))
        worst = [order[-1], *order[:-1]]
        draws = subsets(data, worst, 200, repeats)
        found.append(
            compare(f"IFEval, {worst[0]} → the three better ones, δ = 0.1, n = 200", bar(0.1), draws, memo)
        )
        draws = subsets(data, order, 20, repeats)
        found.append(
            compare(f"IFEval, {order[0]} → its three challengers, all must pass, n = 20", bar(None), draws, memo)
        )
    return found


def synthetic_comparisons(repeats: int, memo: dict[str, float]) -> list[Comparison]:
    """Compare on drawn outcomes."""
    truths = {
        "identical to the baseline": (0.0, 0.0),
        "1 % regressions and 1 % improvements": (0.01, 0.01),
        "5 % regressions and 5 % improvements": (0.05, 0.05),
        "10 points worse": (0.11, 0.01),
        "40 points worse": (0.40, 0.0),
    }
    found = []
    for name, truth in truths.items():
        for size in (100, 200, 1000):
            draws = drawn(0.85, [truth], size, repeats, f"{name}/{size}")
            found.append(compare(f"{name}, δ = 0.05, n = {size}", bar(0.05), draws, memo))
    return found


class FalsePromotions(NamedTuple):
    """How often a challenger at the border of the hypothesis was qualified."""

    name: str
    fixed: int
    adaptive: int
    repeats: int
    limit: float


def border(repeats: int, memo: dict[str, float]) -> list[FalsePromotions]:
    """Count false promotions at the border, and with one top-up."""
    found = []
    for margin, improve, size, challengers in (
        (0.05, 0.0, 200, 1),
        (0.05, 0.02, 200, 1),
        (0.05, 0.05, 200, 1),
        (0.05, 0.02, 100, 1),
        (0.1, 0.02, 200, 1),
        (0.1, 0.02, 600, 1),
        (0.05, 0.02, 200, 3),
    ):
        name = f"δ = {margin}, {improve:.0%} improvements, n = {size}, {challengers} challenger(s)"
        rule = bar(margin)
        both = [0, 0]
        for outcomes in drawn(0.85, [(improve + margin, improve)] * challengers, size, repeats, name):
            both[0] += "qualified" in fixed(rule, outcomes, memo).verdicts
            both[1] += "qualified" in adaptive(rule, outcomes, memo).verdicts
        found.append(FalsePromotions(name, *both, repeats, ALPHA))
        print(f"{name:<70} fixed {both[0] / repeats:.1%}, adaptive {both[1] / repeats:.1%}", flush=True)
    return found


def top_up(repeats: int, memo: dict[str, float]) -> list[FalsePromotions]:
    """Count false promotions when cases are added once after a look that promoted nobody."""
    found = []
    for margin, improve, first, added in (
        (0.05, 0.02, 200, 100),
        (0.05, 0.02, 200, 200),
        (0.1, 0.02, 200, 200),
        (0.05, 0.02, 100, 100),
    ):
        name = f"δ = {margin}, {improve:.0%} improvements, n = {first}, then {added} more"
        rule = bar(margin)
        both = [0, 0]
        rng = random.Random(name)
        for outcomes in drawn(0.85, [(improve + margin, improve)], first + added, repeats, name):
            small = {key: values[:first] for key, values in outcomes.items()}
            for way, run in enumerate((fixed, adaptive)):
                promoted = "qualified" in run(rule, small, memo).verdicts
                if not promoted:
                    # The order is by name, so that what is added comes in between what was there.
                    mixed = rng.sample(range(first + added), first + added)
                    whole = {key: [values[case] for case in mixed] for key, values in outcomes.items()}
                    promoted = "qualified" in run(rule, whole, memo).verdicts
                both[way] += promoted
        found.append(FalsePromotions(name, *both, repeats, 1.0))
        print(f"{name:<70} fixed {both[0] / repeats:.1%}, adaptive {both[1] / repeats:.1%}", flush=True)
    return found


class Expectation(NamedTuple):
    """A number of calls that a rule looking after every case needs."""

    name: str
    looking_always: float
    in_waves: float


def expectations(repeats: int, memo: dict[str, float]) -> list[Expectation]:
    """Count the calls of challengers that are easy to judge, looking after every case and after each wave."""
    found = []
    for name, truth, times in (("identical", (0.0, 0.0), 3), ("failing 40 %", (0.4, 0.0), repeats)):
        always = waves = 0
        for outcomes in drawn(0.9999, [truth], 200, times, name):
            always += adaptive(bar(0.05), outcomes, memo, one_by_one=True).calls
            waves += adaptive(bar(0.05), outcomes, memo).calls
        found.append(Expectation(name, always / times, waves / times))
        print(f"{name:<70} {always / times:.1f} looking always, {waves / times:.1f} in waves", flush=True)
    return found


def changes_in_words(one: Comparison) -> str:
    """Return which verdicts changed, as shares of all."""
    total = sum(one.changes.values())
    changed = {pair: number for pair, number in one.changes.items() if pair[0] != pair[1]}
    if not changed:
        return "none"
    parts = [
        f"{before.replace('_', ' ')} → {after.replace('_', ' ')} {number / total:.1%}"
        for (before, after), number in sorted(changed.items(), key=lambda each: -each[1])
    ]
    return ", ".join(parts)


def comparison_table(rows: Sequence[Comparison]) -> list[str]:
    """Return comparisons as a Markdown table."""
    lines = [
        "| what | calls, fixed | calls, adaptive | saved | verdicts changed (of all) |",
        "|---|---:|---:|---:|---|",
    ]
    for one in rows:
        saved = 1.0 - one.adaptive_calls / one.fixed_calls
        lines.append(
            f"| {one.name} | {one.fixed_calls:.0f} | {one.adaptive_calls:.0f} | {saved:.0%} "
            f"| {changes_in_words(one)} |"
        )
    return lines


def promotion_table(title: str, rows: Sequence[FalsePromotions]) -> list[str]:
    """Return rates of false promotions as a Markdown table."""
    lines = [f"| {title} | fixed | adaptive |", "|---|---:|---:|"]
    lines += [f"| {one.name} | {one.fixed / one.repeats:.1%} | {one.adaptive / one.repeats:.1%} |" for one in rows]
    return lines


def main() -> int:
    """Measure; return 1 when a false-promotion rate is above its limit beyond chance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gsm8k", type=Path, help="responses.jsonl.gz of GSM8K")
    parser.add_argument("--ifeval", type=Path, help="en_responses.jsonl.gz of IFEval")
    parser.add_argument("--repeats", type=int, default=200, help="repeats of each comparison")
    parser.add_argument(
        "--border-repeats", type=int, default=2000, help="repeats of each rate of false promotions"
    )
    parser.add_argument("--write", type=Path, help="Markdown file whose figures are replaced")
    options = parser.parse_args()
    started = time.perf_counter()
    memo: dict[str, float] = {}
    expected = expectations(options.repeats, memo)
    real = real_comparisons(options.gsm8k, options.ifeval, options.repeats, memo)
    synthetic = synthetic_comparisons(options.repeats, memo)
    wrong = border(options.border_repeats, memo)
    topped = top_up(options.border_repeats, memo)
    text = "\n".join(
        [
            START,
            f"Measured with `--repeats {options.repeats} --border-repeats {options.border_repeats}` in "
            f"{time.perf_counter() - started:.0f} s; α = {ALPHA:.0%}. Calls are those of the challengers, "
            "on average over the repeats.",
            "",
            *comparison_table([*real, *synthetic]),
            "",
            "| calls of a challenger at n = 200, δ = 0.05 | looking after every case | in waves |",
            "|---|---:|---:|",
            *(f"| {one.name} | {one.looking_always:.1f} | {one.in_waves:.1f} |" for one in expected),
            "",
            *promotion_table("false promotions, challengers worse by exactly δ", wrong),
            "",
            *promotion_table("false promotions with one top-up", topped),
            END,
        ]
    )
    if options.write:
        page = options.write.read_text(encoding="utf-8")
        page = re.sub(f"{START}.*{END}", lambda _: text, page, flags=re.DOTALL)
        options.write.write_text(page, encoding="utf-8")
    failures = [
        one for one in wrong if binomial_at_least(one.adaptive, one.repeats, one.limit) < 0.01 / len(wrong)
    ]
    for one in failures:
        print(f"above {one.limit:.0%}: {one.name}: {one.adaptive} of {one.repeats}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
