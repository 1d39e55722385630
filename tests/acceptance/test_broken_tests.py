"""An error in a test is no verdict on a model: who fails by it, what the evidence says, and what is shown."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from small_project import CONFIGURATION, SmallProject, echo_hook

HEAD = """
import functools
import json
import pytest

CASES = ["a", "b", "c"]
"""

MARK = '@pytest.mark.parametrize("case", CASES)\n@pytest.mark.qualify({})\n'
DOWN = "if runtime == '{}':\n        raise OSError('down')\n    return prompt"
JUDGE = '\n[runtimes.judge]\nmodel = "openai/judge"\n'
MODES = pytest.mark.parametrize("arguments", [[], ["--proofmap-concurrency=0"], ["-n", "2"]], ids=" ".join)


def run(project: SmallProject, body: str, *arguments: str, mark: str = "margin=0.2") -> pytest.RunResult:
    """Run one criterion of three cases on models that echo, and check that nothing else went wrong."""
    project.write("test_it.py", HEAD + MARK.format(mark) + body)
    if not (project.folder / "conftest.py").exists():
        project.write("conftest.py", echo_hook())
    if "-n" in arguments:
        project.plugins.append("xdist")
    # Other plugins have settings of their own, which they would warn of in this process.
    start = project.run if project.plugins == ["proofmap"] else project.run_apart
    result = start("-p", "no:cacheprovider", *arguments)
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    return result


def kinds(project: SmallProject) -> set[tuple[str, str | None, str | None]]:
    """Return outcome, kind and class of all samples of the last run."""
    return {(each.outcome, each.error_kind, each.exception) for each in project.evidence().samples}


def status(project: SmallProject) -> str:
    """Return the verdict on the challenger."""
    [objective] = project.evidence().objectives
    return next(verdict.status for verdict in objective.verdicts if verdict.slice is None)


BREAKS = {
    "an unknown name before": ("undefined_name", "NameError", None),
    "an assertion before": ("assert len(CASES) == 4\n    runtime.complete(case)", "AssertionError", None),
    "a data error before": ("CASES[7]\n    runtime.complete(case)", "IndexError", None),
    "an unknown name after": ("runtime.complete(case)\n    undefined_name", "NameError", None),
    "an import after": ("runtime.complete(case)\n    import no_such_module", "ModuleNotFoundError", None),
    "a file after": ("runtime.complete(case)\n    open('no such file')", "FileNotFoundError", None),
    "an unconfigured judge": (
        "runtime.complete(case)\n    judge = 'juge'\n    runtimes[judge].complete('?')",
        "ConfigurationError",
        "unknown runtime 'juge'",
    ),
    "a missing prompt": (
        "package = 'nothing'\n    runtime.run(package, case=case)",
        "PromptError",
        "The prompt folder 'prompts' does not exist",
    ),
    "a request that cannot be sent": (
        "runtime.complete(case)\n    runtime.complete(case, stream=True)",
        "RequestError",
        "stream=True cannot be qualified",
    ),
    "a wrong request made into a miss": (
        "runtime.complete(case)\n    try:\n        runtime.complete(case, stream=True)\n"
        "    except Exception as error:\n        raise AssertionError('no answer') from error",
        "RequestError",
        "stream=True cannot be qualified",
    ),
    "parsed without a class": ("runtime.complete(case).parsed", "ReplyError", "needs a pydantic class"),
    "a fixture that is not there": (
        "runtime.complete(case)\n    request.getfixturevalue('nothing')",
        "FixtureLookupError",
        None,
    ),
    "a call without a prompt": ("runtime.complete('x')\n    runtime.complete()", "TypeError", None),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_test_fails_for_every_role_and_disqualifies_nobody(project: SmallProject, name: str) -> None:
    """Whatever breaks a test fails it on each runtime, and the verdict is no word about the challenger."""
    body, exception, words = BREAKS[name]
    result = run(project, f"def test_it(runtime, runtimes, case, request):\n    {body}\n")
    assert result.parseoutcomes()["failed"] == 6
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert kinds(project) == {("error", "test", exception)}
    assert status(project) == "insufficient"
    page = " ".join(result.stdout.str().split())
    assert page.count("6 tests broke by ") == 1
    assert (words or exception) in page.partition("6 tests broke by ")[2]


@MODES
def test_it_does_not_matter_how_it_runs(project: SmallProject, arguments: list[str]) -> None:
    """With and without prefetch, and on workers, a broken test is the same."""
    result = run(project, "def test_it(runtime, case):\n    runtime.complete(case)\n    nothing\n", *arguments)
    assert result.parseoutcomes()["failed"] == 6
    assert kinds(project) == {("error", "test", "NameError")}
    assert {sample.raised_at for sample in project.evidence().samples} == {"test_it.py:11"}
    result.stdout.fnmatch_lines(["*6 tests broke by NameError: name 'nothing' is not defined (test_it.py:11)*"])


@pytest.mark.parametrize(
    ("before", "body", "exception"),
    [
        ("@pytest.fixture\ndef broken():\n    1 / 0\n", "def test_it(runtime, case, broken):\n    pass", "Zero"),
        (
            "@pytest.fixture\ndef broken(runtime):\n    runtime.complete('x')\n    assert 0\n",
            "def test_it(runtime, case, broken):\n    pass",
            "Assertion",
        ),
        (
            "@pytest.fixture\ndef broken(runtime):\n    package = 'nothing'\n    runtime.run(package)\n",
            "def test_it(runtime, case, broken):\n    pass",
            "Prompt",
        ),
    ],
)
def test_a_failing_fixture_stays_an_error(project: SmallProject, before: str, body: str, exception: str) -> None:
    """What breaks a fixture is pytest's ordinary error for every role, and in the evidence the test's."""
    project.write("conftest.py", echo_hook() + "\nimport pytest\n" + before)
    result = run(project, body + "\n")
    assert result.parseoutcomes()["errors"] == 6
    [(outcome, kind, name)] = kinds(project)
    assert (outcome, kind, str(name).startswith(exception)) == ("error", "test", True)
    assert status(project) == "insufficient"


def test_subtests_break_like_tests(project: SmallProject) -> None:
    """A subtest that broke fails for every role; one that missed is a challenger's miss."""
    body = """def test_it(runtime, case, subtests):
    reply = runtime.complete(case)
    with subtests.test("misses"):
        assert reply.text == "?"
    with subtests.test("breaks"):
        nothing
"""
    run(project, body)
    assert kinds(project) == {("error", "test", "NameError")}


@pytest.mark.parametrize("plugin", ["anyio", "asyncio"])
def test_asynchronous_tests_break_alike(project: SmallProject, plugin: str) -> None:
    """In an async test, and in a group of tasks, the same rules hold."""
    pytest.importorskip(f"pytest_{plugin}" if plugin == "asyncio" else plugin)
    project.plugins.append(plugin)
    mark = "@pytest.mark.anyio\n" if plugin == "anyio" else "@pytest.mark.asyncio\n"
    group = sys.version_info >= (3, 11)
    ask = "async with asyncio.TaskGroup() as tasks:\n        tasks.create_task(ask())" if group else "await ask()"
    body = f"""{mark}async def test_it(runtime, case):
    import asyncio
    async def ask():
        reply = await runtime.acomplete(case)
        if case == "a":
            raise ValueError(reply.text)
        if case == "b":
            assert reply.text == "?"
        raise OSError
    {ask}
"""
    run(project, body, *(["-p", "anyio", "-k", "asyncio or not trio"] if plugin == "anyio" else []))
    found = {(sample.case.split("-")[-1], sample.outcome) for sample in project.evidence().samples}
    assert {outcome for case, outcome in found if case == "c"} == {"error"}
    assert {outcome for case, outcome in found if case in "ab"} == {"failed"}


def test_a_failing_teardown_changes_no_outcome(project: SmallProject) -> None:
    """A fixture that breaks afterwards is pytest's error, and the outcome stands."""
    project.write(
        "conftest.py",
        echo_hook() + "\nimport pytest\n@pytest.fixture\ndef after():\n    yield\n    raise NameError('late')\n",
    )
    run(project, "def test_it(runtime, case, after):\n    assert runtime.complete(case).text == case\n")
    assert {sample.outcome for sample in project.evidence().samples} == {"passed"}


def test_xfail_and_skip_keep_their_meaning(project: SmallProject) -> None:
    """What the project expects or skips fails no run, whatever the exception."""
    body = """@pytest.mark.xfail(reason="known")
def test_it(runtime, case):
    if case == "a":
        pytest.skip("not today")
    if case == "b":
        nothing
    assert runtime.complete(case).text == "?"
"""
    result = run(project, body, mark="")
    result.assert_outcomes(skipped=2, xfailed=4)
    assert result.ret == pytest.ExitCode.OK
    assert kinds(project) == {
        ("skipped", None, None),
        ("error", "test", "NameError"),
        ("failed", None, "AssertionError"),
    }
    assert proofmap(project, "decide", ".proofmap/evidence.json")[0] == 0


@pytest.mark.parametrize(
    ("mark", "outcome"),
    [
        ("margin=0.2", ("error", "test")),
        ("margin=0.2, miss=[OSError]", ("failed", None)),
        ("margin=0.2, miss=FileNotFoundError", ("failed", None)),
        ("margin=0.2, miss=(KeyError,)", ("error", "test")),
    ],
)
def test_the_mark_names_misses(project: SmallProject, mark: str, outcome: tuple[str, str | None]) -> None:
    """A class in ``miss`` makes an exception after the answer a miss of the model."""
    body = "def test_it(runtime, case):\n    open(runtime.complete(case).text)\n"
    result = run(project, body, mark=mark)
    assert {found[:2] for found in kinds(project)} == {outcome}
    assert (result.ret == 0) == (outcome[0] == "failed")


NEVER = {
    "an early return": (
        "if runtime.name == 'mini':\n        return\n    assert runtime.complete(case).text == case"
    ),
    "a judge alone": (
        "if runtime.name == 'mini':\n        runtimes['judge'].complete(case)\n        return\n"
        "    assert runtime.complete(case).text == case"
    ),
    "itself as auxiliary": (
        "if runtime.name == 'mini':\n        runtimes['mini'].complete(case)\n        return\n"
        "    assert runtime.complete(case).text == case"
    ),
    "a memo of all runtimes": "assert ask(runtime, case) == case",
}
MEMO = """
ANSWERS = {}

def ask(runtime, case):
    if case not in ANSWERS:
        ANSWERS[case] = runtime.complete(case).text
    return ANSWERS[case]

"""


@pytest.mark.parametrize("concurrency", ["0", "32"])
@pytest.mark.parametrize("name", NEVER)
def test_a_sample_that_never_asked_is_no_pass(project: SmallProject, name: str, concurrency: str) -> None:
    """A pass without an answer of its own fails its test and says nothing of the challenger."""
    project.configure(CONFIGURATION + JUDGE)
    # The challenger is down, which nobody notices who does not ask it.
    project.write("conftest.py", echo_hook("return prompt"))
    project.write(
        "test_it.py",
        HEAD
        + MEMO
        + MARK.format("max_failure_rate=0.9")
        + f"def test_it(runtime, runtimes, case):\n    {NEVER[name]}\n",
    )
    result = project.run_apart("-p", "no:cacheprovider", f"--proofmap-concurrency={concurrency}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = {
        (sample.runtime, sample.outcome, sample.error_kind)
        for sample in project.evidence().samples
        if sample.runtime == "mini"
    }
    assert found == {("mini", "error", "test")}
    assert status(project) == "insufficient"
    assert "never asked" in result.stdout.str()


def test_where_a_dry_run_asked_and_the_real_run_did_not(project: SmallProject) -> None:
    """A memo that the dry run filled is named as what it is, once for all tests."""
    project.write(
        "test_it.py", HEAD + MEMO + MARK.format("") + "def test_it(runtime, case):\n    ask(runtime, case)\n"
    )
    project.write("conftest.py", echo_hook())
    result = project.run_apart("-p", "no:cacheprovider")
    messages = {sample.message for sample in project.evidence().samples if sample.outcome == "error"}
    assert messages
    assert all(
        each.startswith("never asked: the dry run asked its runtime, the real run did not") for each in messages
    )
    page = " ".join(result.stdout.str().split())
    assert "keep no answer from one run of a test to the next" in page
    assert page.count("tests never asked: the dry run asked") == 1


@pytest.mark.parametrize("where", ["mark", "configuration"])
def test_calls_may_be_optional(project: SmallProject, where: str) -> None:
    """``calls="optional"`` lets samples pass without asking."""
    if where == "configuration":
        project.configure('calls = "optional"\n' + CONFIGURATION)
    mark = 'calls="optional"' if where == "mark" else ""
    result = run(project, "def test_it(runtime, case):\n    assert case\n", mark=mark)
    result.assert_outcomes(passed=6)
    assert result.ret == 0


def test_a_judge_that_is_down_is_no_word_about_the_model(project: SmallProject) -> None:
    """An auxiliary runtime that fails breaks the test for every role; the runtime itself stays green."""
    project.configure(CONFIGURATION + JUDGE)
    project.write(
        "conftest.py", echo_hook("if runtime == 'judge':\n        raise OSError('down')\n    return prompt")
    )
    body = (
        "def test_it(runtime, runtimes, case):\n    runtime.complete(case)\n    runtimes['judge'].complete(case)\n"
    )
    result = run(project, body)
    result.assert_outcomes(failed=6)
    assert kinds(project) == {("error", "test", "OSError")}


def test_a_challenger_that_is_down_stays_green(project: SmallProject) -> None:
    """A challenger's unavailable provider fails no run, and is not the test's error."""
    project.write(
        "conftest.py", echo_hook("if runtime == 'mini':\n        raise OSError('down')\n    return prompt")
    )
    result = run(project, "def test_it(runtime, case):\n    assert runtime.complete(case).text == case\n")
    result.assert_outcomes(passed=3, skipped=3)
    assert result.ret == 0
    assert kinds(project) == {("passed", None, None), ("error", "unavailable", "OSError")}


PAGES = {
    "all well": ("assert runtime.complete(case).text == case", "margin=0.2", ""),
    "the baseline is down": (
        "assert runtime.complete(case).text == case",
        "margin=0.2",
        "if runtime == 'gpt' and prompt == 'a':\n        raise OSError('down')\n    ",
    ),
    "the challenger is down": (
        "assert runtime.complete(case).text == case",
        "margin=0.2",
        "if runtime == 'mini' and prompt == 'a':\n        raise OSError('down')\n    ",
    ),
    "the baseline misses": (
        "assert runtime.complete(case).text == case",
        "",
        "if runtime == 'gpt' and prompt == 'a':\n        return '?'\n    ",
    ),
    "the baseline may miss": (
        "assert runtime.complete(case).text == case",
        "min_pass_rate=0.5",
        "if runtime == 'gpt' and prompt == 'a':\n        return '?'\n    ",
    ),
    "the baseline's miss is expected": (
        "if case == 'a' and runtime.name == 'gpt': request.applymarker(pytest.mark.xfail)\n"
        "    assert runtime.complete(case).text == case",
        "",
        "if runtime == 'gpt' and prompt == 'a':\n        return '?'\n    ",
    ),
    "a test breaks": (
        "assert runtime.complete(case).text == case\n    assert case != 'a' or nothing",
        "margin=0.2",
        "",
    ),
    "a test breaks on one model": (
        "text = runtime.complete(case).text\n    assert text != '?' or nothing",
        "margin=0.2",
        "if runtime == 'mini' and prompt == 'a':\n        return '?'\n    ",
    ),
    "a sample never asks": ("if case != 'a': assert runtime.complete(case).text == case", "margin=0.2", ""),
    "the test seems broken": ("json.loads(runtime.complete(case).text)['x']", "margin=0.2", ""),
    "the baseline misses its own bar": (
        "assert runtime.complete(case).text == case",
        "min_pass_rate=0.99",
        "if runtime == 'gpt':\n        return '?'\n    ",
    ),
}
GREEN = {"all well", "the challenger is down", "the baseline may miss", "the baseline's miss is expected"}


def proofmap(project: SmallProject, *arguments: str) -> tuple[int, str]:
    """Return exit status and output of a command."""
    done = project.proofmap(*arguments)
    return int(done.ret), done.stdout.str() + done.stderr.str()


@pytest.mark.parametrize("name", PAGES)
def test_every_page_says_the_same(project: SmallProject, name: str) -> None:
    """Headline, findings and exit status agree: in the run, its files, ``report``, ``decide`` and ``merge``."""
    body, mark, hook = PAGES[name]
    project.write("conftest.py", echo_hook(f"{hook}return prompt"))
    files = ["--proofmap-html=report.html", "--proofmap-md=report.md", "--junitxml=junit.xml"]
    result = run(project, f"def test_it(runtime, case, request):\n    {body}\n", *files, mark=mark)
    fails = name not in GREEN
    assert result.ret == (1 if fails else 0)
    exit_status, text = proofmap(project, "decide", ".proofmap/evidence.json", "--json")
    findings = [finding["text"] for finding in json.loads(text)["findings"]]
    assert (exit_status, bool(findings)) == (int(fails), fails)
    shown = " ".join(result.stdout.str().split())
    headline = f"{len(findings)} finding{'s fail' if len(findings) != 1 else ' fails'} the run"
    assert (f"This does not hold ({len(findings)} finding" in shown) == fails
    for file in ("report.html", "report.md"):
        page = (project.folder / file).read_text()
        assert (headline in page) == fails, file
        assert "fails the run" in page or "fail the run" in page or not fails
    tree = ElementTree.parse(project.folder / "junit.xml")
    counted = next(each.get("value") for each in tree.iter("property") if each.get("name") == "proofmap.findings")
    assert counted == str(len(findings))
    assert "This does not hold" in proofmap(project, "report", ".proofmap/evidence.json", "--text")[1] or not fails
    shard = ["--proofmap-shard", "--proofmap-json=shard.json"]
    run(project, f"def test_it(runtime, case, request):\n    {body}\n", *shard, mark=mark)
    merged, text = proofmap(project, "merge", "shard.json", "-o", "merged.json")
    assert merged == int(fails), text
    assert (f"This does not hold ({len(findings)} finding" in " ".join(text.split())) == fails
