"""What is shown before money is spent, and what stops it from being spent."""

from __future__ import annotations

import fnmatch
import io
import re
from concurrent.futures import Future
from typing import Any

import pytest
from fake_provider import FakeProvider
from small_project import CONFIGURATION, SmallProject, echo_hook

from pytest_proofmap.plugin.terminal import Progress, describe

CASES = """
import pytest

@pytest.mark.parametrize("case", [f"case-{number}" for number in range(10)])
@pytest.mark.qualify
def test_echo(runtime, case):
    assert runtime.complete(case, max_tokens=100).text
"""


UNBOUNDED = """
baseline = "big"
challengers = ["small"]

[runtimes.big]
model = "openai/gpt-4o"

[runtimes.small]
model = "openai/gpt-4o-mini"
"""


JUDGED = """
import pytest

@pytest.mark.parametrize("case", ["a", "b", "c"])
@pytest.mark.qualify
def test_echo(runtime, runtimes, case):
    reply = runtime.complete(case)
    assert runtimes["gpt"].complete(f"Is this right? {reply.text}").text
"""


def served(provider: FakeProvider, extra: str = "") -> str:
    """Return a configuration whose runtimes are served by the provider."""
    base = f'api_base = "{provider.url}"\nparams = {{ api_key = "os.environ/FAKE_KEY" }}\nprovider = "fake"\n'
    return extra + CONFIGURATION.replace('model = "openai/gpt"', 'model = "openai/gpt"\n' + base).replace(
        'model = "openai/mini"', 'model = "openai/mini"\n' + base
    )


def test_a_plan_needs_the_option_that_it_plans(project: SmallProject) -> None:
    """``--proofmap-plan`` alone is refused, where an ordinary run would skip everything without a word."""
    project.write("test_triage.py", CASES)
    result = project.run("--proofmap-plan", proofmap=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Add --proofmap." in result.stderr.str()


def test_a_plan_calls_nothing(project: SmallProject) -> None:
    """The plan counts what is there and what would be called, with tokens and cost, and runs no test."""
    project.write("conftest.py", echo_hook())
    project.write("test_it.py", CASES)
    project.record("mini", {"case-0": "x"}, params={"max_tokens": 100})
    result = project.run("--proofmap-plan")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "runtime *recorded *cached *to call *input tokens *cost*",
            "gpt *0 *0 *10 *$*",
            "mini *1 *0 *9 *$*",
            "19 calls would be made; none was.*$*",
            "19 tests wait for an answer*",
        ]
    )
    assert project.calls() == []
    assert not project.artifact.exists()


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ("5", "The budget is $5.00, which covers them at worst."),
        ("0.02", "The budget is $0.020: at worst the calls cost $*"),
        ("0.001", "*cannot carry one call of each runtime: one worst-case call to gpt reserves*"),
    ],
)
def test_a_plan_compares_itself_with_the_budget(project: SmallProject, budget: str, told: str) -> None:
    """Whether the budget covers the calls is known before any is made."""
    project.write("conftest.py", echo_hook())
    project.write("test_it.py", CASES)
    result = project.run("--proofmap-plan", f"--proofmap-budget={budget}")
    assert fnmatch.fnmatchcase(" ".join(result.stdout.str().split()), f"*{told}*")


def test_a_plan_counts_the_judges_calls(project: SmallProject) -> None:
    """What the tests ask of a judge after their answers is counted, although no answer is there."""
    project.write("conftest.py", echo_hook())
    project.write("test_it.py", JUDGED)
    result = project.run("--proofmap-plan")
    assert "are in no sum yet: gpt 6." in " ".join(result.stdout.str().split())


def test_a_plan_after_a_run_has_nothing_to_call(project: SmallProject) -> None:
    """What the cache holds is not called again, and the plan says so."""
    project.write("conftest.py", echo_hook())
    project.write("test_it.py", CASES)
    project.run().assert_outcomes(passed=20)
    result = project.run("--proofmap-plan")
    result.stdout.fnmatch_lines(["gpt *0 *10 *0*", "mini *0 *10 *0*", "0 calls would be made*"])
    assert len(project.calls()) == 20


def test_a_budget_needs_prices(project: SmallProject) -> None:
    """A budget with a runtime of unknown price is refused before anything is called."""
    project.configure(CONFIGURATION.replace("price = { input_per_mtok = 1.0, output_per_mtok = 2.0 }", ""))
    project.write("conftest.py", echo_hook())
    project.write("test_it.py", CASES)
    result = project.run("--proofmap-budget=1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*budget of $1 cannot be kept: the price of mini is unknown*"])
    assert project.calls() == []


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_a_budget_is_never_exceeded(
    project: SmallProject, fake_provider: FakeProvider, workers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the budget is used up the rest is skipped, what was paid is kept, and the run fails as incomplete."""
    if workers:
        pytest.importorskip("xdist")
        project.plugins.append("xdist")
    monkeypatch.setenv("FAKE_KEY", "local")
    for model in ("gpt", "mini"):
        fake_provider.script(model, usage={"prompt_tokens": 10, "completion_tokens": 100, "total_tokens": 110})
    project.configure(served(fake_provider))
    project.write("test_it.py", CASES)
    # An answer of gpt costs $0.0031; at most $0.0033 or so is reserved for one.
    result = project.run("--proofmap-budget=0.014", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    evidence = project.evidence()
    assert 0 < evidence.totals.spent_usd <= 0.014
    assert not evidence.run.complete
    assert any("budget" in reason for reason in evidence.run.incomplete_reasons)
    skipped = [sample for sample in evidence.samples if sample.outcome == "skipped"]
    assert skipped
    assert all("budget of $0.014 is used up" in sample.message for sample in skipped)
    assert len(skipped) + evidence.totals.live == 20
    result.stdout.fnmatch_lines(["*the budget of $0.014 was used up: * samples were*"])
    paid = fake_provider.count
    assert paid == evidence.totals.live

    project.run().assert_outcomes(passed=20)
    assert fake_provider.count == 20
    assert project.evidence().totals.live == 20 - paid


def test_a_budget_needs_prices_of_the_runtimes_that_run(project: SmallProject) -> None:
    """A runtime that the command line leaves out needs no price."""
    project.configure(CONFIGURATION.replace("price = { input_per_mtok = 1.0, output_per_mtok = 2.0 }", ""))
    project.write("conftest.py", echo_hook())
    project.write("test_it.py", CASES)
    result = project.run("--proofmap-budget=1", "--proofmap-runtimes=gpt")
    result.assert_outcomes(passed=10)


@pytest.mark.parametrize("options", [(), ("--proofmap-concurrency=0",)], ids=["ahead", "one at a time"])
def test_a_budget_below_one_call_of_each_runtime_calls_none(
    project: SmallProject, fake_provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """Before any call it is said what one call of each runtime reserves."""
    monkeypatch.setenv("FAKE_KEY", "local")
    project.configure(served(fake_provider))
    project.write("test_it.py", CASES)
    result = project.run("--proofmap-budget=0.001", *options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert fake_provider.count == 0
    result.stdout.fnmatch_lines(["*the budget of $0.001 cannot carry one call of each runtime*"])
    text = " ".join(result.stdout.str().split())
    assert "one worst-case call to gpt reserves $0.00" in text


@pytest.mark.parametrize(
    "options", [(), ("--proofmap-concurrency=0",), ("-n", "2")], ids=["ahead", "one at a time", "xdist"]
)
@pytest.mark.parametrize(("budget", "named"), [("0.000001", ["big", "small"]), ("0.005", ["big"])])
def test_a_budget_that_carries_no_call_is_one_finding(
    project: SmallProject, options: tuple[str, ...], budget: str, named: list[str]
) -> None:
    """One sentence for the run names each runtime that does not fit and what would; samples repeat it as it is."""
    if "-n" in options:
        pytest.importorskip("xdist")
        project.plugins.append("xdist")
    project.configure(UNBOUNDED)
    project.write("conftest.py", echo_hook())
    # Requests of other lengths reserve other amounts.
    project.write(
        "test_it.py", CASES.replace('f"case-{number}"', '"case " * (1 + number)').replace(", max_tokens=100", "")
    )
    result = project.run(f"--proofmap-budget={budget}", *options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.calls() == []
    evidence = project.evidence()
    (message,) = {sample.message for sample in evidence.samples}
    told = re.findall(r"one worst-case call to (\w+) reserves \$(0\.\d{4})\b", message)
    assert [name for name, _ in told] == named
    assert all(float(usd) > float(budget) for _, usd in told)
    assert f"the budget of ${budget} cannot carry one call of each runtime" in message
    assert "or bound the answers with max_tokens" in message
    text = " ".join(result.stdout.str().split())
    assert text.count("one worst-case call to big reserves") == 1
    assert "20 samples were skipped; nothing was called" in text
    assert "used up" not in text
    assert evidence.run.incomplete_reasons == [
        "20 samples were skipped because the budget cannot carry one call of each runtime"
    ]
    enough = re.search(r"budget_usd to \$(\S+) or more", message)
    assert enough is not None
    project.run(f"--proofmap-budget={enough[1]}", *options)
    assert project.calls() != []


@pytest.mark.parametrize("options", [(), ("--proofmap-concurrency=0",)], ids=["ahead", "one at a time"])
def test_a_budget_is_spent_on_pairs(
    project: SmallProject, fake_provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """A case is paid on every runtime or on none."""
    monkeypatch.setenv("FAKE_KEY", "local")
    for model in ("gpt", "mini"):
        fake_provider.script(model, usage={"prompt_tokens": 10, "completion_tokens": 100, "total_tokens": 110})
    project.configure(served(fake_provider))
    project.write("test_it.py", CASES)
    project.run("--proofmap-budget=0.0155", *options)
    asked: dict[str, set[str]] = {}
    for sample in project.evidence().samples:
        if sample.outcome != "skipped":
            asked.setdefault(sample.case, set()).add(sample.runtime)
    assert 0 < len(asked) < 10
    assert all(runtimes == {"gpt", "mini"} for runtimes in asked.values())


def test_what_is_cached_needs_no_money(
    project: SmallProject, fake_provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the baseline's answers there, the budget is for the challenger alone."""
    monkeypatch.setenv("FAKE_KEY", "local")
    project.configure(served(fake_provider))
    project.write("test_it.py", CASES)
    project.run("--proofmap-runtimes=gpt")
    before = fake_provider.count
    result = project.run("--proofmap-budget=0.004")
    result.assert_outcomes(passed=20)
    assert fake_provider.count == before + 10


def test_progress_in_words() -> None:
    """One line says what is done, under way and spent, and for each provider how fast and how long."""
    status = {
        "done": 120,
        "in_flight": 32,
        "waiting": 348,
        "spent_usd": 0.0421,
        "providers": {"openai": {"in_flight": 32, "waiting": 348, "rate_per_s": 4.0}},
    }
    assert describe(status, cached=7) == (
        "120/500 called · 7 cached · 32 in flight · $0.0421 spent · openai 4.0/s, 1 min 35 s left"
    )


class Terminal:
    """As much of pytest's terminal as progress needs."""

    def __init__(self, *, isatty: bool) -> None:
        self.isatty = isatty
        self._tw = self
        self._file = io.StringIO()

    def ensure_newline(self) -> None:
        """Start a new line."""

    def write_line(self, line: str) -> None:
        """Write a line."""
        self._file.write(line + "\n")


class QuietConfig:
    """A configuration with a terminal, at a verbosity."""

    def __init__(self, terminal: Terminal, verbosity: int) -> None:
        self.pluginmanager = self
        self._terminal = terminal
        self._verbosity = verbosity

    def get_plugin(self, name: str) -> Terminal:
        """Return the terminal."""
        return self._terminal

    def get_verbosity(self) -> int:
        """Return the verbosity."""
        return self._verbosity


@pytest.mark.parametrize(
    ("isatty", "term", "verbosity", "lines"),
    [
        (True, "xterm", 0, "many"),
        (True, "dumb", 0, "few"),
        (False, "xterm", 0, "few"),
        (True, "xterm", -1, "none"),
        (False, "xterm", -1, "none"),
    ],
)
def test_progress_is_shown_as_the_place_allows(
    isatty: bool, term: str, verbosity: int, lines: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal's line is rewritten twice a second, elsewhere a line comes now and then, with -q none."""
    monkeypatch.setenv("TERM", term)
    terminal = Terminal(isatty=isatty)
    now = [0.0]
    status: Future[dict[str, Any]] = Future()
    status.set_result({"done": 1, "in_flight": 1, "waiting": 0, "spent_usd": 0.0, "providers": {}})
    config: Any = QuietConfig(terminal, verbosity)
    progress = Progress(config, lambda: status, lambda: 0, clock=lambda: now[0])
    for _ in range(200):
        progress.wait()
        now[0] += 0.2
    progress.resume()
    shown = terminal._file.getvalue().count("1/2 called")
    assert {"many": shown > 20, "few": 2 <= shown <= 4, "none": shown == 0}[lines]
    assert lines != "many" or terminal._file.getvalue().endswith("\r")
