"""Widely used plugins change nothing about the evidence, and ProofMap changes nothing about ordinary runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from everyday_project import (
    PLAIN_SUMMARY,
    REQUESTS,
    SKIPPED_SUMMARY,
    EverydayProject,
    answer,
    decisions,
    needs,
)
from fake_provider import FakeProvider
from small_project import echo_hook

DJANGO_SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""


@dataclass(frozen=True)
class Tool:
    """A plugin and how it is used."""

    distribution: str
    plugins: tuple[str, ...] = ()
    """Entry points."""
    arguments: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    own_words: bool = False
    """Whether it words failed assertions in its own way."""


TOOLS = {
    "allure-pytest": Tool("allure-pytest", ("allure_pytest",), ("--alluredir=allure",)),
    "anyio": Tool("anyio", ("anyio",)),
    "hypothesis": Tool("hypothesis", ("hypothesispytest",)),
    "pyfakefs": Tool("pyfakefs", ("fakefs",)),
    "pytest-aiohttp": Tool("pytest-aiohttp", ("asyncio", "aiohttp")),
    "pytest-asyncio": Tool("pytest-asyncio", ("asyncio",), ("--asyncio-mode=strict",)),
    "pytest-asyncio auto": Tool("pytest-asyncio", ("asyncio",), ("--asyncio-mode=auto",)),
    "pytest-bdd": Tool("pytest-bdd", ("pytest-bdd",)),
    "pytest-benchmark": Tool("pytest-benchmark", ("benchmark",)),
    "pytest-check": Tool("pytest-check", ("check",)),
    "pytest-cov": Tool("pytest-cov", ("pytest_cov",), ("--cov=tests", "--cov-branch")),
    "pytest-cov contexts": Tool("pytest-cov", ("pytest_cov",), ("--cov=tests", "--cov-context=test")),
    "pytest-dependency": Tool("pytest-dependency", ("dependency",)),
    "pytest-django": Tool(
        "pytest-django", ("django",), ("--ds=shop.settings",), {"shop/settings.py": DJANGO_SETTINGS}
    ),
    "pytest-env": Tool("pytest-env", ("env",), (), {"pytest.ini": "[pytest]\nenv =\n  STAGE=test\n"}),
    "pytest-html": Tool("pytest-html", ("html", "metadata"), ("--html=out.html", "--self-contained-html")),
    "pytest-httpx": Tool("pytest-httpx", ("pytest_httpx",)),
    "pytest-icdiff": Tool("pytest-icdiff", ("icdiff",), own_words=True),
    "pytest-instafail": Tool("pytest-instafail", ("instafail",), ("--instafail",)),
    "pytest-json-report": Tool("pytest-json-report", ("pytest_jsonreport", "metadata"), ("--json-report",)),
    "pytest-memray": Tool("pytest-memray", ("memray",), ("--memray",)),
    "pytest-mock": Tool("pytest-mock", ("pytest_mock",)),
    "pytest-order": Tool("pytest-order", ("pytest_order",)),
    "pytest-playwright": Tool("pytest-playwright", ("playwright",)),
    "pytest-random-order": Tool("pytest-random-order", ("random_order",), ("--random-order",)),
    "pytest-randomly": Tool("pytest-randomly", ("randomly",), ("-p", "randomly")),
    "pytest-recording": Tool("pytest-recording", ("recording",), ("--block-network",)),
    "pytest-repeat idle": Tool("pytest-repeat", ("repeat",)),
    "pytest-reportlog": Tool("pytest-reportlog", ("pytest_reportlog",), ("--report-log=log.json",)),
    "pytest-rerunfailures idle": Tool("pytest-rerunfailures", ("rerunfailures",)),
    "pytest-retry idle": Tool("pytest-retry", ("pytest-retry",)),
    "pytest-run-parallel": Tool("pytest-run-parallel", ("run-parallel",), ("--parallel-threads=2",)),
    "pytest-socket": Tool("pytest-socket", ("socket",), ("--disable-socket",)),
    "pytest-split": Tool("pytest-split", ("pytest-split",), ("--splits=1", "--group=1")),
    "pytest-subtests": Tool("pytest-subtests", ("subtests",)),
    "pytest-sugar": Tool("pytest-sugar", ("sugar",)),
    "pytest-timeout": Tool("pytest-timeout", ("timeout",), ("--timeout=60",)),
    "pytest-timeout thread": Tool("pytest-timeout", ("timeout",), ("--timeout=60", "--timeout-method=thread")),
    "pytest-trio": Tool("pytest-trio", ("trio",)),
    "pytest-xdist": Tool("pytest-xdist", ("xdist",), ("-n2",)),
    "pytest-xdist loadfile": Tool("pytest-xdist", ("xdist",), ("-n2", "--dist=loadfile")),
    "pytest-xdist worksteal": Tool("pytest-xdist", ("xdist",), ("-n2", "--dist=worksteal")),
    "pytest-xdist and pytest-cov": Tool("pytest-xdist", ("xdist", "pytest_cov"), ("-n2", "--cov=tests")),
    "pytest-xdist and pytest-randomly": Tool("pytest-randomly", ("xdist", "randomly"), ("-n2",)),
    "respx": Tool("respx", ("respx",)),
    "syrupy": Tool("syrupy", ("syrupy",)),
    "time-machine": Tool("time-machine", ("time_machine",)),
    "typeguard": Tool("typeguard", ("typeguard",), ("--typeguard-packages=tests,pytest_proofmap",)),
}


def prepare(project: EverydayProject, name: str) -> Tool:
    """Put a tool into a project, or skip the test where it is not installed."""
    tool = TOOLS[name]
    needs(tool.distribution)
    if "pytest_cov" in tool.plugins:
        needs("pytest-cov")
    project.plugins = ["proofmap", *tool.plugins]
    for file, text in tool.files.items():
        project.write(file, text)
    return tool


@pytest.mark.parametrize("name", TOOLS)
def test_the_evidence_is_the_same(everyday: EverydayProject, plain_facts: dict[str, Any], name: str) -> None:
    """A run beside the tool gives the evidence of the run without it, and an ordinary run skips marked tests."""
    tool = prepare(everyday, name)
    ordinary = everyday.run_apart(*tool.arguments, proofmap=False)
    ordinary.assert_outcomes(**SKIPPED_SUMMARY)
    assert ordinary.ret == pytest.ExitCode.OK
    assert not everyday.artifact.exists()
    result = everyday.run_apart(*tool.arguments)
    result.assert_outcomes(**PLAIN_SUMMARY)
    assert result.ret == pytest.ExitCode.OK
    facts = everyday.facts()
    assert decisions(facts) == decisions(plain_facts)
    assert tool.own_words or facts == plain_facts


@pytest.mark.parametrize(
    "name",
    [
        "anyio",
        "pytest-check",
        "pytest-cov",
        "pytest-django",
        "pytest-randomly",
        "pytest-recording",
        "pytest-run-parallel",
        "pytest-socket",
        "pytest-timeout",
        "pytest-xdist",
    ],
)
def test_calls_made_ahead(everyday: EverydayProject, plain_facts: dict[str, Any], name: str) -> None:
    """Where tests are explored ahead beside the tool, each request is made once and decides the same."""
    tool = prepare(everyday, name)
    everyday.hook()
    result = everyday.run_apart(*tool.arguments)
    result.assert_outcomes(**PLAIN_SUMMARY)
    assert decisions(everyday.facts()) == decisions(plain_facts)
    assert len(everyday.calls()) == len(set(everyday.calls())) == REQUESTS


@pytest.mark.parametrize("name", ["pytest-recording", "pytest-socket"])
def test_blocked_sockets(
    everyday: EverydayProject, plain_facts: dict[str, Any], fake_provider: FakeProvider, name: str
) -> None:
    """Tools that keep tests off the network do not cut the run off the models that it is there to ask."""
    tool = prepare(everyday, name)
    for model in ("gpt", "mini", "judge"):
        fake_provider.script(model, text=answer)
    everyday.serve(fake_provider.url)
    result = everyday.run_apart(*tool.arguments, OPENAI_API_KEY="none")
    result.assert_outcomes(**PLAIN_SUMMARY)
    assert decisions(everyday.facts()) == decisions(plain_facts)
    assert fake_provider.count == REQUESTS


def test_all_at_once(everyday: EverydayProject, plain_facts: dict[str, Any]) -> None:
    """Every plugin that is installed can be there at once, as where nothing keeps pytest from loading them."""
    needs("pytest-django")
    everyday.plugins = []
    result = everyday.run_apart("-p", "no:randomly", "-p", "no:testmon", PYTEST_DISABLE_PLUGIN_AUTOLOAD="")
    result.assert_outcomes(**PLAIN_SUMMARY)
    assert decisions(everyday.facts()) == decisions(plain_facts)


def test_coverage_counts_each_line_once(everyday: EverydayProject) -> None:
    """Tests that are explored ahead and then run are covered like those that only run."""
    needs("pytest-cov")
    everyday.plugins.append("pytest_cov")
    everyday.hook()
    ahead = everyday.run_apart("--cov=tests", "--cov-report=term-missing", "--proofmap-cache=off")
    one_by_one = everyday.run_apart(
        "--cov=tests", "--cov-report=term-missing", "--proofmap-cache=off", "--proofmap-concurrency=0"
    )
    tables = [[line for line in run.outlines if line.startswith("tests/")] for run in (ahead, one_by_one)]
    assert tables[0] == tables[1]
    assert "100%" in tables[0][0]


def test_a_part_of_the_tests(everyday: EverydayProject) -> None:
    """The parts that pytest-split makes can be joined, and the whole is complete."""
    needs("pytest-split")
    everyday.plugins.append("pytest-split")
    for part in ("1", "2"):
        everyday.run_apart("--splits=2", f"--group={part}", "--proofmap-shard", f"--proofmap-json=part{part}.json")
    merged = everyday.python("-m", "pytest_proofmap.cli", "merge", "part1.json", "part2.json", "-o", "all.json")
    assert merged.ret == 0, merged.stderr.str()


def test_the_database_of_django(everyday: EverydayProject) -> None:
    """Tests with django_db start from an empty database, also when they were explored before."""
    prepare(everyday, "pytest-django")
    everyday.hook()
    everyday.write(
        "tests/test_everyday.py",
        """
import pytest


@pytest.mark.django_db
@pytest.mark.qualify(objective="names")
@pytest.mark.parametrize("name", ["Ann", "Bob"])
def test_name(runtime, name, client):
    from django.contrib.auth.models import User

    assert User.objects.count() == 0
    User.objects.create(username=name)
    assert runtime.complete(f"Greet {name}").text == f"Hello {User.objects.get().username}"
""",
    )
    result = everyday.run_apart("--ds=shop.settings")
    result.assert_outcomes(passed=3, xfailed=1)
    assert everyday.outcomes() == {
        ("Ann", "gpt"): "passed",
        ("Ann", "mini"): "passed",
        ("Bob", "gpt"): "passed",
        ("Bob", "mini"): "failed",
    }


@pytest.mark.parametrize("arguments", [(), ("-p", "xdist", "-n2")], ids=["alone", "workers"])
def test_random_numbers(everyday: EverydayProject, arguments: tuple[str, ...]) -> None:
    """Numbers that pytest-randomly seeds for each test are those of a plain run, and nothing is asked in vain."""
    prepare(everyday, "pytest-randomly")
    everyday.write("tests/test_everyday.py", "")
    everyday.write("conftest.py", echo_hook())
    for module in ("one", "two"):
        everyday.write(
            f"tests/test_{module}.py",
            f"""
import random

import pytest

pytestmark = pytest.mark.qualify(objective="{module}")


@pytest.fixture
def drawn():
    return random.random()


@pytest.mark.parametrize("case", range(3))
def test_draws(runtime, case, drawn):
    text = runtime.complete(f"{module} {{case}} {{drawn}}").text
    assert runtime.complete(f"{{text}} {{random.random()}}").text.startswith(text)


class TestDraws:
    def test_draws(self, runtime):
        assert runtime.complete(f"{module} {{random.random()}}").text
""",
        )
    keys = []
    for more in (("--proofmap-concurrency=0",), arguments):
        (everyday.folder / "calls.txt").unlink(missing_ok=True)
        everyday.run_apart("--randomly-seed=7", "--proofmap-cache=off", *more).assert_outcomes(passed=16)
        samples = everyday.evidence().samples
        keys.append(
            {(each.criterion, each.case, each.runtime): [call.key for call in each.calls] for each in samples}
        )
        # Nothing was asked that no test needed.
        assert len(everyday.calls()) == sum(map(len, keys[-1].values())) == 28
    assert keys[0] == keys[1]


@pytest.mark.parametrize("arguments", [("--disable-socket",), ("--allow-hosts=127.0.0.1",)], ids=["none", "hosts"])
def test_dry_runs_are_off_the_network(
    everyday: EverydayProject, fake_provider: FakeProvider, arguments: tuple[str, ...]
) -> None:
    """What a test may not reach it does not reach in its dry runs either, and the models are still asked."""
    prepare(everyday, "pytest-socket")
    fake_provider.script("gpt", text="fine")
    fake_provider.script("mini", text="fine")
    everyday.serve(fake_provider.url)
    everyday.write(
        "tests/test_everyday.py",
        """
import socket
from pathlib import Path

import pytest


@pytest.mark.qualify(objective="names")
@pytest.mark.parametrize("name", ["Ann", "Bob"])
def test_name(runtime, name):
    try:
        socket.create_connection(("192.0.2.1", 80), timeout=0.01)
        reached = "reached"
    except Exception as error:
        reached = type(error).__name__
    with Path("reached.txt").open("a") as file:
        file.write(reached + chr(10))
    assert runtime.complete(f"Greet {name}").text == "fine"
""",
    )
    everyday.run_apart(*arguments, OPENAI_API_KEY="none").assert_outcomes(passed=4)
    reached = (everyday.folder / "reached.txt").read_text(encoding="utf-8").split()
    assert len(reached) > 4
    assert set(reached) <= {"SocketBlockedError", "SocketConnectBlockedError"}
    assert fake_provider.count == 4


def test_the_database_that_django_blocks(everyday: EverydayProject) -> None:
    """A test without django_db reaches no database, in its dry runs as little as for real."""
    prepare(everyday, "pytest-django")
    everyday.hook()
    everyday.write("shop/settings.py", DJANGO_SETTINGS.replace(":memory:", "shop.sqlite3"))
    everyday.write(
        "tests/test_everyday.py",
        """
from pathlib import Path

import pytest


@pytest.mark.qualify(objective="names")
@pytest.mark.parametrize("name", ["Ann", "Bob"])
def test_name(runtime, name):
    from django.contrib.auth.models import User

    try:
        User.objects.create(username=name)
    except BaseException as error:
        with Path("touched.txt").open("a") as file:
            file.write(type(error).__name__ + chr(10))
        raise
    runtime.complete(f"Greet {name}")
""",
    )
    everyday.run_apart("--ds=shop.settings").assert_outcomes(failed=4)
    assert set(everyday.outcomes().values()) == {"error"}
    touched = (everyday.folder / "touched.txt").read_text(encoding="utf-8").split()
    assert len(touched) > 4
    assert set(touched) == {"RuntimeError"}
    assert not (everyday.folder / "shop.sqlite3").exists()
    assert everyday.calls() == []


@pytest.mark.parametrize("mode", ["auto", "replay"])
def test_files_that_are_not_there(everyday: EverydayProject, fake_provider: FakeProvider, mode: str) -> None:
    """On the files of pyfakefs a test finds its prompts and cached answers, and its own files are not touched."""
    prepare(everyday, "pyfakefs")
    for model in ("gpt", "mini", "judge"):
        fake_provider.script(model, text=answer)
    everyday.serve(fake_provider.url)
    everyday.write("prompts/greet.prompt", "Greet {{ name }}\n")
    everyday.write(
        "tests/test_everyday.py",
        """
import os
from pathlib import Path

import pytest


@pytest.mark.qualify(objective="names")
@pytest.mark.parametrize("name", ["Ann", "Bob"])
def test_name(fs, runtime, runtimes, name):
    Path("/made").mkdir()
    Path("/made/name.txt").write_text(name)
    text = runtime.run("greet", name=Path("/made/name.txt").read_text()).text
    Path("/made/text.txt").write_text(text)
    runtimes["judge"].complete(f"Polite? {text}")
    assert sorted(os.listdir("/made")) == ["name.txt", "text.txt"]
    assert not Path(__file__).exists()
    assert text == f"Hello {name}"
""",
    )
    everyday.run_apart(OPENAI_API_KEY="none").assert_outcomes(passed=3, xfailed=1)
    asked, outcomes = fake_provider.count, everyday.outcomes()
    assert asked == 7
    everyday.run_apart(f"--proofmap-cache={mode}", OPENAI_API_KEY="none").assert_outcomes(passed=3, xfailed=1)
    assert fake_provider.count == asked
    assert everyday.outcomes() == outcomes
    assert not Path("/made").exists()


@pytest.mark.parametrize(
    ("name", "mark"),
    [("anyio", "anyio"), ("pytest-asyncio", "asyncio")],
)
def test_async_tests(everyday: EverydayProject, name: str, mark: str) -> None:
    """Async tests are qualified by whichever plugin runs them."""
    prepare(everyday, name)
    everyday.hook()
    everyday.write(
        "tests/test_everyday.py",
        f"""
import pytest


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.{mark}
@pytest.mark.qualify(objective="names")
@pytest.mark.parametrize("name", ["Ann", "Bob"])
async def test_name(runtime, name):
    text = (await runtime.acomplete(f"Greet {{name}}")).text
    assert text == f"Hello {{name}}"
""",
    )
    everyday.run_apart().assert_outcomes(passed=3, xfailed=1)
    assert everyday.outcomes()["Bob", "mini"] == "failed"
    assert len(everyday.calls()) == 4


def test_async_tests_without_asyncio(everyday: EverydayProject) -> None:
    """Under trio asynchronous calls say that they need asyncio, and others work."""
    needs("pytest-trio")
    everyday.plugins.append("trio")
    everyday.write(
        "tests/test_everyday.py",
        """
import pytest


@pytest.mark.trio
@pytest.mark.qualify(objective="names")
async def test_synchronous_call(runtime):
    assert runtime.complete("Greet Ann").text == "Hello Ann"


@pytest.mark.trio
@pytest.mark.qualify(objective="names")
async def test_asynchronous_call(runtime):
    await runtime.acomplete("Greet Ann")
""",
    )
    result = everyday.run_apart()
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*RequestError: acomplete and arun need a running asyncio event loop*"])


def test_soft_assertions(everyday: EverydayProject) -> None:
    """What pytest-check notes while a test is explored does not fail the test that runs next."""
    needs("pytest-check")
    everyday.plugins.append("check")
    everyday.write(
        "tests/test_everyday.py",
        """
import pytest
from pytest_check import check


@pytest.mark.qualify(objective="names")
@pytest.mark.parametrize("name", ["Bob", "Ann"])
def test_name(runtime, name):
    text = runtime.complete(f"Greet {name}").text
    check.equal(text, f"Hello {name}")
    with check:
        assert name in text
""",
    )
    everyday.run_apart().assert_outcomes(passed=3, xfailed=1)
    assert everyday.outcomes() == {
        ("Ann", "gpt"): "passed",
        ("Ann", "mini"): "passed",
        ("Bob", "gpt"): "passed",
        ("Bob", "mini"): "failed",
    }


def test_time_that_stands_still(everyday: EverydayProject) -> None:
    """Tests under a frozen clock are qualified, and the run is dated by the real one."""
    prepare(everyday, "time-machine")
    everyday.write(
        "tests/test_everyday.py",
        """
import datetime

import pytest


@pytest.mark.time_machine("2031-02-03", tick=False)
@pytest.mark.qualify(objective="names")
def test_name(runtime):
    assert datetime.date.today().year == 2031
    assert runtime.complete("Greet Ann").text == "Hello Ann"
""",
    )
    everyday.run_apart().assert_outcomes(passed=2)
    assert not everyday.evidence().run.finished_at.startswith("2031")
