"""A provider that fails in every way: what is lost, paid twice or decided otherwise.

One project asks every challenger the same cases under three bars. For each fault there is an objective with
a sound, a bad (one answer in five is wrong) and an almost sound challenger (one answer is wrong) at each rate of
faults, each with a provider of its own, so that no limit and no circuit breaker is shared. The project runs
first without faults, then with them, then without them on the same cache: the last run must ask again for nothing
but what had failed.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layout import environment, pytest_command, table

from fake_provider import CAMPAIGN, CHARGED, HARMLESS, FakeProvider, Fault, Key, Ledger, Script, chance  # isort: skip
from pytest_proofmap.calls.cache.disk import DiskStore  # isort: skip

__all__ = ["Figures", "campaign"]

KINDS = ("sound", "bad", "almost")
RATES = (1, 10, 50)
TIMEOUTS_S = {"hang": 3.0, "endless_drip": 3.0}
"""Timeouts of the runtimes that meet them; the others wait as long as by default."""

MODULE = """
import pytest
from answers import right

FAULT = {fault!r}
pytestmark = pytest.mark.qualify(baseline="today", challengers={challengers!r}, objective=FAULT)
CASES = pytest.mark.parametrize("case", range({cases}))


def check(runtime, case):
    prompt = f"case {{case}} of {{FAULT}}"
    assert runtime.complete(prompt).text == right(prompt)


@CASES
def test_all_pass(runtime, case):
    check(runtime, case)


@CASES
@pytest.mark.qualify(min_pass_rate=0.8)
def test_most_pass(runtime, case):
    check(runtime, case)


@CASES
@pytest.mark.qualify(margin=0.1)
def test_no_worse(runtime, case):
    check(runtime, case)
"""

ANSWERS = """
def right(prompt):
    return f"Grüße, 答案: {prompt} ✓"
"""

RUNTIME = """
[runtimes.{name}]
model = "openai/{name}"
provider = "{name}"
api_base = "{url}"
timeout_s = {timeout_s}
price = {{ input_per_mtok = 1.0, output_per_mtok = 2.0 }}
"""


@dataclass
class Figures:
    """What a campaign saw of one fault at one rate."""

    calls: int = 0
    attempts: int = 0
    injected: int = 0
    lost: int = 0
    """Answers that arrived whole and are neither in the cache nor in the evidence."""
    twice: int = 0
    """Answers that arrived whole a second time."""
    charged: int = 0
    """Answers that did not arrive whole, which a provider charges for all the same."""
    wrong: int = 0
    """Answers in the evidence that are not what the provider said, and outcomes that do not follow from them."""
    hidden: int = 0
    """Requests that were sent more often than the evidence says."""
    errors: int = 0
    """Calls that ended as errors."""
    verdicts: int = 0
    held_back: int = 0
    """Verdicts that were made without faults and are ``insufficient`` with them, where calls ended as errors."""
    changed: int = 0
    """Verdicts that differ in any other way."""
    wrongly_qualified: int = 0
    again: int = 0
    """Requests of the run after the faults, for what had not ended as an error."""

    def broken(self) -> int:
        """Return how many promises were broken."""
        return (
            self.lost + self.twice + self.wrong + self.hidden + self.changed + self.wrongly_qualified + self.again
        )


@dataclass
class Campaign:
    """A project, a provider and what was seen."""

    folder: Path
    cases: int
    faults: tuple[Fault, ...]
    rates: tuple[int, ...]
    seed: int
    figures: dict[tuple[str, int], Figures] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    """What broke a promise, in words."""

    def run(self) -> None:
        """Run without faults, with them, and without them again, and compare."""
        script = Script(text=lambda request: self._text(*request.key), latency_s=0.002)
        with FakeProvider(default=script, keep_requests=False) as provider:
            self._write(provider.url)
            calm = self._pytest("calm")
            provider.follow(self._plan)
            faulty = self._pytest("faulty")
            ledger = provider.ledger
            answers = dict(self._kept("faulty"))
            provider.follow(None)
            after = self._pytest("faulty", "after")
            self._compare(calm, faulty, after, ledger, provider.ledger, answers)

    def _write(self, url: str) -> None:
        runtimes = ["today"]
        (self.folder / "answers.py").write_text(ANSWERS, encoding="utf-8")
        (self.folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n", encoding="utf-8")
        for fault in self.faults:
            challengers = [f"{kind}-{rate}-{fault}" for kind in KINDS for rate in self.rates]
            runtimes += challengers
            module = MODULE.format(fault=fault, challengers=challengers, cases=self.cases)
            (self.folder / f"test_{fault}.py").write_text(module, encoding="utf-8")
        tables = [RUNTIME.format(name=name, url=url, timeout_s=_timeout_s(name)) for name in runtimes]
        head = 'concurrency = 128\nbaseline = "today"\n'
        for name in ("calm", "faulty"):
            text = f'cache_dir = "{name}-cache"\n{head}{"".join(tables)}'
            (self.folder / f"{name}.toml").write_text(text, encoding="utf-8")

    def _pytest(self, name: str, evidence: str | None = None) -> dict[str, Any]:
        evidence = evidence or name
        (self.folder / "proofmap.toml").write_bytes((self.folder / f"{name}.toml").read_bytes())
        started = time.monotonic()
        done = subprocess.run(
            pytest_command(f"--proofmap-json={evidence}.json", "--tb=no", "-r", "fE"),
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        self.seconds[evidence] = time.monotonic() - started
        if done.returncode not in (0, 1):
            raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
        content: dict[str, Any] = json.loads((self.folder / f"{evidence}.json").read_bytes())
        return content

    def _kept(self, name: str) -> Iterator[tuple[Key, str]]:
        warnings: list[str] = []
        with contextlib.closing(DiskStore(self.folder / f"{name}-cache", warnings.append, readonly=True)) as store:
            for entry in store.entries():
                request, response = entry.answer.request, entry.answer.response
                key = (request["model"].removeprefix("openai/"), request["messages"][-1]["content"])
                yield key, response["choices"][0]["message"]["content"] if response else ""
        if warnings:
            raise RuntimeError(f"the cache warns: {warnings}")

    def _plan(self, model: str, prompt: str, attempt: int) -> Fault | None:
        if model == "today":
            return None
        _, rate, fault = model.split("-", 2)
        injected = chance(self.seed, model, prompt, attempt) < int(rate) / 100
        return fault if injected else None  # type: ignore[return-value]  # the name was one

    def _text(self, model: str, prompt: str) -> str:
        kind = model.partition("-")[0]
        case = int(prompt.split(" ")[1])
        is_wrong = (kind == "bad" and case % 5 == 2) or (kind == "almost" and case == 7)
        return f"nothing like {prompt}" if is_wrong else right(prompt)

    def _compare(
        self,
        calm: dict[str, Any],
        faulty: dict[str, Any],
        after: dict[str, Any],
        ledger: Ledger,
        healed: Ledger,
        kept: dict[Key, str],
    ) -> None:
        failed = self._check_samples(faulty, ledger)
        for key, count in ledger.paid.items():
            figures = self._of(key[0])
            figures.calls += 1
            if kept.get(key) != self._text(*key):
                figures.lost += 1
                self.changes.append(f"lost: {key}")
            if count > 1:
                figures.twice += count - 1
                self.changes.append(f"paid {count} times: {key}, attempts {ledger.attempts[key]}")
        for key, count in ledger.attempts.items():
            figures = self._of(key[0])
            figures.attempts += count
            figures.calls += key not in ledger.paid
            figures.charged += ledger.charged[key]
            if key[0] != "today":
                figures.injected += sum(self._plan(*key, attempt) is not None for attempt in range(count))
        for key in healed.attempts:
            if key not in failed:
                self._of(key[0]).again += 1
                self.changes.append(f"asked again: {key}")
        self._check_verdicts(calm, faulty, {model for model, _ in failed})
        if verdicts(after) != verdicts(calm):
            self.changes.append("the run after the faults has other verdicts than the one without")
            self._of("today").changed += 1

    def _check_samples(self, evidence: dict[str, Any], ledger: Ledger) -> set[Key]:
        """Compare every sample with what the provider said; return the requests that ended as errors."""
        failed: set[Key] = set()
        seen: set[tuple[Key, str]] = set()
        for sample in evidence["samples"]:
            name, fault = sample["runtime"], sample["criterion"].partition("::")[0][5:-3]
            key = (name, f"case {sample['case']} of {fault}")
            (call,) = sample["calls"]
            expected = self._text(*key)
            figures = self._of(name)
            if call["error"] is not None:
                ok = sample["outcome"] == "error" and not ledger.paid[key]
                figures.errors += key not in failed
                failed.add(key)
            else:
                outcome = "passed" if expected == right(key[1]) else "failed"
                ok = call["text"] == expected and sample["outcome"] == outcome
            if not ok:
                figures.wrong += 1
                self.changes.append(f"wrong: {key} {sample['outcome']} {call['text']!r} {call['error']}")
            # Where a runtime was given up, the evidence cannot say how often.
            given_up = call["error"] is not None and call["attempts"] == 0
            if call["attempts"] != ledger.attempts[key] and not given_up and (key, "hidden") not in seen:
                seen.add((key, "hidden"))
                figures.hidden += 1
                self.changes.append(f"sent {ledger.attempts[key]} times, evidence says {call['attempts']}: {key}")
        return failed

    def _check_verdicts(self, calm: dict[str, Any], faulty: dict[str, Any], failed: set[str]) -> None:
        before = verdicts(calm)
        for where, status in verdicts(faulty).items():
            name = where[-1]
            figures = self._of(name)
            figures.verdicts += 1
            if status == before[where]:
                continue
            if status == "qualified":
                figures.wrongly_qualified += 1
            elif status == "insufficient" and name in failed:
                figures.held_back += 1
                continue
            else:
                figures.changed += 1
            self.changes.append(f"verdict: {where}: {before[where]} without faults, {status} with them")

    def _of(self, runtime: str) -> Figures:
        if runtime == "today":
            return self.figures.setdefault(("none (baseline)", 0), Figures())
        _, rate, fault = runtime.split("-", 2)
        return self.figures.setdefault((fault, int(rate)), Figures())


def verdicts(evidence: dict[str, Any]) -> dict[tuple[str, ...], str]:
    """Return the verdicts on every challenger, by criterion or objective."""
    found = {
        (criterion["id"], cell["runtime"]): cell["status"]
        for criterion in evidence["criteria"]
        for cell in criterion["cells"]
        if cell["status"] is not None
    }
    for objective in evidence["objectives"]:
        for verdict in objective["verdicts"]:
            found[objective["name"], verdict["runtime"]] = verdict["status"]
    return found


def _timeout_s(runtime: str) -> float:
    return TIMEOUTS_S.get(runtime.rpartition("-")[2], 60.0)


def right(prompt: str) -> str:
    """Return the right answer to a prompt, with characters that a wrong decoding changes."""
    return f"Grüße, 答案: {prompt} ✓"


def campaign(cases: int, seed: int = 1) -> int:
    """Run the campaign, print its table, and return how many promises were broken."""
    with tempfile.TemporaryDirectory(prefix="proofmap-faults-") as name:
        each = Campaign(Path(name), cases, CAMPAIGN, RATES, seed)
        each.run()
    titles = ["fault", "rate", "calls", "attempts", "injected", "lost", "paid twice", "wrong"]
    titles += [
        "charged, not arrived",
        "errors",
        "verdicts",
        "insufficient instead",
        "other verdict",
        "wrongly qualified",
        "asked again",
    ]
    total: Counter[str] = Counter()
    rows = []
    for (fault, rate), figures in sorted(each.figures.items(), key=lambda item: _order(*item[0])):
        rows.append(_row(_described(fault), f"{rate} %" if rate else "", vars(figures)))
        total.update(vars(figures))
    rows.append(_row("**all**", "", total))
    print(table(titles, rows))
    print()
    took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in each.seconds.items())
    print(f"Runs: {took}. Requests sent more often than the evidence says: {total['hidden']}.")
    for change in each.changes:
        print(f"BROKEN {change}")
    return sum(figures.broken() for figures in each.figures.values())


def _row(fault: str, rate: str, figures: Any) -> list[object]:
    names = ("calls", "attempts", "injected", "lost", "twice", "wrong", "charged", "errors")
    more = ("verdicts", "held_back", "changed", "wrongly_qualified", "again")
    return [fault, rate, *(f"{figures[name]:,}" for name in (*names, *more))]


def _order(fault: str, rate: int) -> tuple[int, int]:
    return (CAMPAIGN.index(fault) if fault in CAMPAIGN else -1, rate)  # type: ignore[arg-type]  # the name was one


def _described(fault: str) -> str:
    note = " (harmless)" if fault in HARMLESS else " (charged)" if fault in CHARGED else ""
    return fault.replace("_", " ") + note
