"""How large the HTML report of 50,000 samples is, how long it takes to make, and how soon a browser paints it.

    python benchmarks/report_page.py

Needs playwright and Chromium, which the tests of the page need too. Times in the browser are medians of several
loads of the file, each in a fresh context; beside them stands a report of 50 samples in the same run.
"""

from __future__ import annotations

import random
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, sync_playwright

from pytest_proofmap.decide.decision import decide_evidence
from pytest_proofmap.evidence.models import Evidence
from pytest_proofmap.report.html.document import html_report
from pytest_proofmap.report.view import view_of_evidence

PASS_RATES = {"base": 0.97, "mini": 0.96, "haiku": 0.9, "qwen": 0.8, "flash": 0.7}
WORDS_IN_ANSWER = 120
LOADS = 7
SYLLABLES = ("ro", "ta", "mi", "len", "sor", "ka", "ve", "bur", "dil", "an", "ep", "os", "ti", "gra", "nu")


class Loaded(NamedTuple):
    """Times in seconds from the start of a load."""

    painted: float
    """Until something of the page is seen."""
    listed: float
    """Until the cases are listed."""
    opened: float
    """From a click on a cell, then on a case, until both answers are seen."""


def draw_evidence(objectives: int, cases: int) -> Evidence:
    """Draw objectives of two criteria each on five runtimes, with prompts of 60 and answers of 120 words."""
    rng = random.Random(7)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(4_000)]

    def text(number: int) -> str:
        return " ".join(rng.choices(words, k=number))

    content: dict[str, Any] = {
        "schema": "proofmap.evidence/1",
        "run": {
            **{"id": "drawn", "started_at": "2025-01-01T00:00:00Z", "finished_at": "2025-01-01T00:10:00Z"},
            **{"versions": {"proofmap": "0", "pytest": "9", "python": "3", "litellm": None}, "complete": True},
        },
        "runtimes": {
            name: {"model": f"openai/{name}", "provider": "openai", "params": {}, "fingerprint": "0" * 12}
            for name in PASS_RATES
        },
        **{"requests": {}, "objectives": [], "criteria": [], "samples": []},
        "totals": {"calls": 0, "live": 0, "cached": 0, "recorded": 0, "spent_usd": 0.0, "list_usd": 0.0},
    }
    bar = {"kind": "margin", "min_pass_rate": None, "max_failure_rate": None, "margin": 0.05}
    for number in range(2 * objectives):
        criterion, objective = f"tests/test_{number // 2}.py::test_{number % 2}", f"objective-{number // 2}"
        ids = [f"case-{index}" for index in range(cases)]
        content["criteria"].append(
            {
                **{"id": criterion, "objective": objective, "fingerprint": "", "collected": ids},
                "bar": {**bar, "confidence": 0.95, "samples": 1},
            }
        )
        for index, case in enumerate(ids):
            prompt = text(60)
            for runtime, rate in PASS_RATES.items():
                passed = rng.random() < rate
                key = f"{criterion}/{case}/{runtime}"
                content["requests"][key] = {"messages": [{"role": "user", "content": prompt}], "params": {}}
                call = {
                    **{"key": key, "source": "cache", "attempts": 1, "model": runtime, "input_tokens": 90},
                    **{"output_tokens": 160, "cached_input_tokens": None, "cost_usd": rng.uniform(0.001, 0.002)},
                    **{"latency_s": 1.0, "finish_reason": "stop", "text": text(WORDS_IN_ANSWER)},
                }
                content["samples"].append(
                    {
                        **{"criterion": criterion, "case": case, "runtime": runtime, "sample": 0},
                        "slice": f"language={('fr', 'en', 'de')[index % 3]}",
                        "role": "baseline" if runtime == "base" else "challenger",
                        "outcome": "passed" if passed else "failed",
                        "message": "" if passed else f"assert {text(6)!r}",
                        **{"calls": [call], "latency_s": rng.lognormvariate(0.0, 0.5)},
                    }
                )
        if number % 2:
            content["objectives"].append(
                {
                    **{"name": objective, "baseline": "base", "challengers": list(PASS_RATES)[1:]},
                    "criteria": [each["id"] for each in content["criteria"][-2:]],
                }
            )
    return decide_evidence(Evidence.model_validate(content))


def make_page(path: Path, evidence: Evidence) -> float:
    """Write the page of some evidence, and return the seconds that it took."""
    started = time.perf_counter()
    path.write_text("".join(html_report(evidence, view_of_evidence(evidence))), encoding="utf-8")
    return time.perf_counter() - started


def load(browser: Browser, path: Path) -> Loaded:
    """Open a page, then a red cell and its first case."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    started = time.perf_counter()
    page.goto(path.as_uri())
    page.locator(".cases > li").first.wait_for()
    listed = time.perf_counter() - started
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000")
    started = time.perf_counter()
    page.locator("td[data-runtime=flash] a").first.click()
    page.locator(".cell-facts").wait_for()
    page.locator(".cases button.case").first.click()
    page.locator(".detail .side").last.wait_for()
    opened = time.perf_counter() - started
    context.close()
    return Loaded(painted, listed, opened)


def main() -> None:
    """Measure both pages and print a table."""
    executable = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for objectives, cases in ((1, 5), (10, 500)):
            evidence = draw_evidence(objectives, cases)
            path = Path(folder) / f"{cases}.html"
            made = make_page(path, evidence)
            loads = [load(browser, path) for _ in range(LOADS)]
            middle = Loaded(*map(statistics.median, zip(*loads, strict=True)))
            size = path.stat().st_size
            print(
                f"{len(evidence.samples):>6,} samples: {size / 1e6:.1f} MB, made in "
                f"{made:.1f} s; first paint {middle.painted:.2f} s, cases listed {middle.listed:.2f} s, "
                f"cell and case opened {middle.opened:.2f} s"
            )
        browser.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process with the evidence and the page: {peak:.0f} MB")


if __name__ == "__main__":
    main()
