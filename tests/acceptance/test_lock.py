"""From a run's evidence to the lock, and from the lock to the verdict on later runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from small_project import CONFIGURATION, SmallProject, isolate

from pytest_proofmap import approved as approved_routes
from pytest_proofmap.evidence.source import SourceFingerprints
from pytest_proofmap.lock.file import parse_lock, read_lock, signed, write_lock
from pytest_proofmap.lock.models import Lock

CLIENT = """
from pathlib import Path

def pytest_proofmap_call(runtime, request):
    prompt = request.messages[-1]["content"]
    bad = runtime == "mini" and (Path(__file__).with_name("regressed").exists() or "briefly" in prompt)
    return {
        "choices": [{"message": {"role": "assistant", "content": "sorry" if bad else prompt}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }
"""

LABELS = """
import pytest

@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("number", range(16))
@pytest.mark.qualify(objective="labels", slice_by="language")
def test_label(runtime, language, number):
    assert f"{language}{number}" in runtime.run("label", ticket=f"{language}{number}").text
"""

ECHO = """
@pytest.mark.parametrize("number", range(16))
@pytest.mark.qualify(objective="echo")
def test_echo(runtime, number):
    assert runtime.complete(str(number)).text == str(number)
"""

TESTS = LABELS + ECHO


def proofmap(project: SmallProject, *arguments: str, status: int = 0) -> str:
    """Run the command line in a project, and return what it printed."""
    done = project.proofmap(*arguments, COLUMNS="200")
    printed = "".join(f"{line}\n" for line in (*done.outlines, *done.errlines))
    assert done.ret == status, printed
    return printed


def locked(project: SmallProject) -> Lock:
    """Return the project's lock."""
    return read_lock(project.folder / "proofmap.lock")


@pytest.fixture
def labels(project: SmallProject) -> SmallProject:
    """Two objectives, one with slices and a prompt package; ``mini`` qualifies on both."""
    project.configure(CONFIGURATION)
    project.write("prompts/label.prompt", "User: Label {{ ticket }}\n")
    project.write("conftest.py", CLIENT)
    project.write("test_all.py", TESTS)
    project.run("-q").assert_outcomes(passed=96)
    return project


@pytest.fixture
def approved(labels: SmallProject) -> SmallProject:
    """The same with everything approved."""
    proofmap(labels, "approve", "--yes", "--by", "Ada", "--reason", "cheaper")
    return labels


def regress(project: SmallProject) -> pytest.RunResult:
    """Run again with a ``mini`` that answers nothing right any more."""
    project.write("regressed", "")
    return project.run("-q", "--proofmap-cache=refresh")


def test_what_is_qualified_gets_in(labels: SmallProject) -> None:
    """Each objective and slice has a route with what it was approved on."""
    shown = proofmap(labels, "approve", "--yes", "--by", "Ada", "--reason", "cheaper", "--expires", "90")
    assert "+ labels/language=fr: new route, mini (then gpt)" in shown
    assert "decision: promoted: 11× cheaper" in shown
    assert "labels: in evidence were language en, fr; any other value is served by mini" in shown
    assert "echo: in evidence" not in shown
    lock = locked(labels)
    assert sorted(lock.routes) == ["echo", "labels", "labels/language=en", "labels/language=fr"]
    route = lock.routes["labels/language=fr"]
    assert [lock.runtimes[key].name for key in route.chain] == ["mini", "gpt"]
    assert [lock.prompts[key].messages[0]["content"].strip() for key in route.prompts] == ["Label {{ ticket }}"]
    assert route.decision == "promoted"
    assert (route.evidence.cases, route.evidence.pass_rates) == (16, {"mini": 1.0, "gpt": 1.0})
    assert route.evidence.cost_per_1k_usd == pytest.approx({"mini": 0.12, "gpt": 1.3})
    assert list(route.criteria) == ["test_all.py::test_label"]
    assert (route.approval.by, route.approval.reason) == ("Ada", "cheaper")
    assert route.approval.expires_at is not None
    assert route.evidence.run == labels.evidence().run.id


def test_only_what_is_asked_for_is_approved(labels: SmallProject) -> None:
    """The other objective's routes stay as they are, and entries that no route names are dropped."""
    proofmap(labels, "approve", "--yes", "--by", "Ada", "--objective", "echo")
    before = locked(labels).routes["echo"]
    assert locked(labels).prompts == {}
    proofmap(labels, "approve", "--yes", "--by", "Eve", "--objective", "labels")
    assert locked(labels).routes["echo"] == before
    assert locked(labels).routes["labels"].approval.by == "Eve"


def test_dry_run_writes_nothing(labels: SmallProject) -> None:
    """It shows what would change."""
    assert "+ echo: new route" in proofmap(labels, "approve", "--yes", "--by", "Ada", "--dry-run")
    assert not (labels.folder / "proofmap.lock").exists()


def test_nobody_is_asked_without_a_terminal(labels: SmallProject) -> None:
    """What would change is shown, nothing is written, and the option for scripts is named."""
    shown = proofmap(labels, "approve", "--by", "Ada", status=2)
    assert "+ echo: new route" in shown
    assert "there is no terminal to ask on" in shown
    assert "--yes" in shown
    assert not (labels.folder / "proofmap.lock").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of one's own needs POSIX")
@pytest.mark.parametrize(("answer", "status"), [("n", 1), ("", 1), ("y", 0)])
def test_a_person_is_asked(labels: SmallProject, answer: str, status: int) -> None:
    """The difference comes first, and only a yes writes the lock."""
    import pty

    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        [Path(sys.executable).with_name("proofmap"), "approve", "--by", "Ada"],
        cwd=labels.folder,
        env={**isolate(dict(os.environ)), "PYTHONIOENCODING": "utf-8"},
        stdin=theirs,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stdout.index("+ echo: new route") < done.stdout.index("Approve this, and write proofmap.lock?")
    assert (labels.folder / "proofmap.lock").exists() is (status == 0)


def test_a_chain_of_ones_own(labels: SmallProject) -> None:
    """The baseline may be kept where a challenger is recommended; a challenger must qualify."""
    proofmap(labels, "approve", "--yes", "--by", "Ada", "--objective", "echo", "--chain", "gpt,mini")
    lock = locked(labels)
    assert [lock.runtimes[key].name for key in lock.routes["echo"].chain] == ["gpt", "mini"]
    assert lock.routes["echo"].decision == "baseline_retained"
    proofmap(labels, "approve", "--yes", "--by", "Ada", "--objective", "labels", "--chain", "mini")
    route = locked(labels).routes["labels"]
    assert [key.partition("@")[0] for key in route.chain] == ["mini", "gpt"]
    assert "nobody is no runtime of echo, which has: gpt, mini" in proofmap(
        labels, "approve", "--yes", "--by", "Ada", "--objective", "echo", "--chain", "nobody", status=1
    )
    for chain in ("mini,gpt,mini", "mini,mini"):
        assert "or a runtime twice" in proofmap(
            labels, "approve", "--yes", "--by", "Ada", "--chain", chain, status=1
        )
    assert "names no runtime" in proofmap(labels, "approve", "--yes", "--by", "Ada", "--chain", "", status=2)
    lock = locked(labels)
    assert lock.routes["echo"].reason.startswith("chosen in place of mini, gpt (11× cheaper")
    regress(labels)
    shown = proofmap(labels, "approve", "--yes", "--by", "Ada", "--objective", "echo", "--chain", "mini", status=1)
    assert "mini is not qualified on echo" in shown
    assert locked(labels) == lock


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("-k", "fr"), "it is incomplete"),
        (("--proofmap-runtimes=gpt",), "it is incomplete"),
        (("--proofmap-shard",), "it is one shard"),
    ],
)
def test_incomplete_evidence_is_refused(labels: SmallProject, arguments: tuple[str, ...], reason: str) -> None:
    """Part of a run bears no approval."""
    labels.run("-q", *arguments)
    assert reason in proofmap(labels, "approve", ".proofmap/partial.json", "--yes", "--by", "Ada", status=1)
    assert not (labels.folder / "proofmap.lock").exists()


def test_evidence_of_other_code_is_refused(labels: SmallProject) -> None:
    """What changed since the run is named: prompt, runtime and criterion."""
    labels.write("prompts/label.prompt", "User: Please label {{ ticket }}\n")
    labels.write("test_all.py", TESTS.replace("str(number)", "str(number + 1)"))
    labels.configure(CONFIGURATION.replace("openai/mini", "openai/mini-2"))
    shown = proofmap(labels, "approve", "--yes", "--by", "Ada", status=1)
    for changed in ("prompt label changed", "runtime mini changed", "test_all.py::test_echo changed (source)"):
        assert changed in shown
    assert "test_all.py::test_label changed" not in shown


def test_what_an_objective_does_not_rest_on_may_change(labels: SmallProject) -> None:
    """Another objective's prompt is nothing to it."""
    labels.write("prompts/label.prompt", "User: Please label {{ ticket }}\n")
    proofmap(labels, "approve", "--yes", "--by", "Ada", "--objective", "echo")
    assert "prompt label changed" in proofmap(
        labels, "approve", "--yes", "--by", "Ada", "--objective", "labels", status=1
    )


def test_sensitive_work_keeps_the_baseline_alone(labels: SmallProject) -> None:
    """Unless somebody allows more and says why."""
    labels.write("test_all.py", TESTS.replace('objective="echo"', 'objective="echo", sensitive=True'))
    labels.run("-q")
    proofmap(labels, "approve", "--yes", "--by", "Ada")
    lock = locked(labels)
    assert [lock.runtimes[key].name for key in lock.routes["echo"].chain] == ["gpt"]
    assert "is sensitive" in proofmap(
        labels, "approve", "--yes", "--by", "Ada", "--objective", "echo", "--chain", "mini,gpt", status=1
    )
    assert "needs --reason" in proofmap(labels, "approve", "--yes", "--by", "Ada", "--allow-sensitive", status=2)
    proofmap(labels, "approve", "--yes", "--by", "Ada", "--allow-sensitive", "--reason", "no personal data left")
    lock = locked(labels)
    assert [lock.runtimes[key].name for key in lock.routes["echo"].chain] == ["mini", "gpt"]


def test_a_dirty_working_tree_is_noted_or_refused(labels: SmallProject) -> None:
    """Fingerprints are the proof, but who wants may insist on a clean tree."""
    artifact = json.loads(labels.artifact.read_text())
    artifact["run"]["git"] = {"commit": "0" * 40, "dirty": True}
    labels.artifact.write_text(json.dumps(artifact))
    assert "was dirty" in proofmap(labels, "approve", "--yes", "--by", "Ada", "--require-clean", status=1)
    assert "note: the working tree was dirty" in proofmap(labels, "approve", "--yes", "--by", "Ada")


def test_verify_holds_and_is_silent_about_it(approved: SmallProject) -> None:
    """Nothing changed, so everything holds, with and without collection."""
    assert "4 of 4 routes hold" in proofmap(approved, "verify")
    assert "4 of 4 routes hold" in proofmap(approved, "verify", "--collect")


def test_an_edited_prompt_makes_its_routes_stale_and_nothing_else(approved: SmallProject) -> None:
    """The routes that render it are named, with the old and the new fingerprint."""
    approved.write("prompts/label.prompt", "User: Please label {{ ticket }}\n")
    content = json.loads(proofmap(approved, "verify", "--json", status=1))
    assert {each["route"] for each in content["findings"]} == {
        "labels",
        "labels/language=en",
        "labels/language=fr",
    }
    assert {each["kind"] for each in content["findings"]} == {"stale"}
    assert "prompt label changed" in content["findings"][0]["text"]
    assert "1 of 4 routes hold" in proofmap(approved, "verify", status=1)
    result = approved.run("-q")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = " ".join(result.stdout.str().split())
    assert "the routes labels, labels/language=en, labels/language=fr are stale: prompt label changed" in text
    assert "proofmap approve .proofmap/evidence.json --objective labels" in text
    assert "route echo" not in text
    proofmap(approved, "approve", "--yes", "--by", "Ada", "--objective", "labels")
    assert approved.run("-q").ret == pytest.ExitCode.OK


def test_cases_are_checked_by_collection(approved: SmallProject) -> None:
    """A lost case changes no source that is read, but the collected cases."""
    approved.write("test_all.py", LABELS + ECHO.replace("16", "15"))
    assert "4 of 4 routes hold" in proofmap(approved, "verify")
    assert "test_all.py::test_echo changed (cases)" in proofmap(approved, "verify", "--collect", status=1)
    assert "changed (cases)" in " ".join(approved.run("-q").stdout.str().split())


def test_stale_cases_are_judged_on_criteria_that_were_selected_whole(approved: SmallProject) -> None:
    """A selection says nothing of the cases that it leaves out; of a criterion that it holds whole it does."""
    approved.write("test_all.py", LABELS + ECHO.replace("range(16)", "range(17)"))
    said = " ".join(approved.run("-q", "-k", "test_echo and not 16").stdout.str().split())
    assert "changed (cases)" not in said
    assert "slice has no case" not in said
    said = " ".join(approved.run("-q", "-k", "test_echo").stdout.str().split())
    assert "test_all.py::test_echo changed (cases)" in said
    assert "run all of it and approve anew: pytest --proofmap" in said


def test_a_criterion_that_is_gone_is_found(approved: SmallProject) -> None:
    """Lost coverage is a finding, not silence: of verify, and of a run that has nothing else to do with it."""
    approved.write("test_all.py", LABELS)
    told = proofmap(approved, "verify", status=1)
    assert "criterion test_all.py::test_echo is gone" in told
    assert "next: mend or restore its tests, or approve what took its place" in told
    result = approved.run("-q")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "the route echo is not evaluated any more" in " ".join(result.stdout.str().split())


def test_what_was_not_selected_is_not_missed(approved: SmallProject) -> None:
    """A run of one test says nothing of the others' routes."""
    result = approved.run("-q", "test_all.py::test_echo")
    assert result.ret == pytest.ExitCode.OK
    assert "not evaluated" not in result.stdout.str()


def test_a_regression_of_an_approved_primary_fails_the_run(approved: SmallProject) -> None:
    """Challengers' misses are evidence elsewhere; on an approved route they break it."""
    result = regress(approved)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = " ".join(result.stdout.str().split())
    assert "the approved primary mini of the route echo has regressed" in text
    assert "the approved primary mini of the route labels/language=fr has regressed" in text


def test_a_prompt_with_which_the_primary_regressed_is_to_be_reverted(approved: SmallProject) -> None:
    """The edit is named with the regression, and taking it back is offered, not approving what is worse."""
    approved.write("prompts/label.prompt", "User: Label briefly {{ ticket }}\n")
    result = approved.run("-q")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = " ".join(result.stdout.str().split())
    assert "primary mini of the route labels has regressed since prompt label changed" in text
    assert "next: revert prompts/label.prompt (git log -p prompts/label.prompt)" in text
    assert "stale" not in text
    assert "proofmap approve .proofmap/evidence.json --objective labels" not in text
    shown = proofmap(approved, "approve", "--by", "Ada", "--objective", "labels", "--dry-run")
    assert "the challenger mini no longer serves it first" in shown
    assert "! the approved primary mini of the route labels has regressed since prompt label changed" in shown
    assert "instead: revert prompts/label.prompt" in shown
    approved.write("prompts/label.prompt", "User: Label {{ ticket }}\n")
    assert approved.run("-q").ret == pytest.ExitCode.OK


def test_a_regression_of_a_fallback_is_reported(labels: SmallProject) -> None:
    """It is no reason to stop what production runs on."""
    proofmap(labels, "approve", "--yes", "--by", "Ada", "--chain", "gpt,mini")
    result = regress(labels)
    assert result.ret == pytest.ExitCode.OK
    assert "the approved fallback mini of the route echo has regressed" in " ".join(result.stdout.str().split())


def test_thin_evidence_warns_and_fails_only_when_strict(approved: SmallProject) -> None:
    """A primary that is not refuted is not confirmed either."""
    approved.run("-q", "-k", "echo and (1 or 2)")
    warned = approved.run("-q", "-k", "test_echo and 1")
    assert warned.ret == pytest.ExitCode.OK
    assert "not enough evidence on the approved primary mini" in " ".join(warned.stdout.str().split())
    strict = approved.run("-q", "-k", "test_echo and 1", "--proofmap-strict")
    assert strict.ret == pytest.ExitCode.TESTS_FAILED


def test_stored_evidence_is_checked_against_a_lock(approved: SmallProject) -> None:
    """``decide --lock`` does to an artifact what a run does."""
    proofmap(approved, "decide", ".proofmap/evidence.json", "--lock", "proofmap.lock")
    regress(approved)
    shown = proofmap(approved, "decide", ".proofmap/evidence.json", "--lock", "proofmap.lock", status=1)
    assert "the approved primary mini of the route echo has regressed" in " ".join(shown.split())


def edit(project: SmallProject, change: Any) -> None:
    """Edit the lock by hand."""
    path = project.folder / "proofmap.lock"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, sort_keys=True, indent=2))


def test_an_edit_by_hand_is_found(approved: SmallProject) -> None:
    """By verify, by a run, and by approve unless it replaces that route."""
    edit(approved, lambda lock: lock["routes"]["echo"]["chain"].reverse())
    assert "was edited by hand" in proofmap(approved, "verify", status=1)
    assert approved.run("-q").ret == pytest.ExitCode.TESTS_FAILED
    assert "was edited by hand" in proofmap(
        approved, "approve", "--yes", "--by", "Ada", "--objective", "labels", status=2
    )
    proofmap(approved, "approve", "--yes", "--by", "Ada", "--objective", "echo")
    assert "4 of 4 routes hold" in proofmap(approved, "verify")


def forge(project: SmallProject, change: Any) -> None:
    """Edit the lock, and compute the digests anew."""
    edit(project, change)
    path = project.folder / "proofmap.lock"
    lock = parse_lock(path.read_text(), "the lock")
    write_lock(path, signed(lock, lock.routes))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lock: runtime_of(lock, "mini").update(api_base="https://elsewhere.example"), "the runtime mini@"),
        (lambda lock: prompt_of(lock).update(messages=[{"role": "user", "content": "x"}]), "the messages of the"),
        (lambda lock: lock["routes"]["labels"].update(criteria={}), "it names no criterion"),
    ],
)
def test_forged_contents_are_found_though_the_digests_match(
    approved: SmallProject, tmp_path_factory: pytest.TempPathFactory, change: Any, told: str
) -> None:
    """By verify, by the gate of a run, and by a comparison of both locks."""
    was = tmp_path_factory.mktemp("was") / "proofmap.lock"
    was.write_bytes((approved.folder / "proofmap.lock").read_bytes())
    forge(approved, change)
    assert told in proofmap(approved, "verify", status=1)
    result = approved.run("-q")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = " ".join(result.stdout.str().split())
    assert "is not what was approved" in text
    assert told in text
    shown = proofmap(approved, "diff", str(was), "proofmap.lock", "--fail-on", "drift", status=1)
    assert "under the same key" in shown or "no longer part of it" in shown


def runtime_of(lock: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a runtime's entry in a lock."""
    found: dict[str, Any] = next(each for each in lock["runtimes"].values() if each["name"] == name)
    return found


def prompt_of(lock: dict[str, Any]) -> dict[str, Any]:
    """Return the only prompt's entry in a lock."""
    (found,) = lock["prompts"].values()
    assert isinstance(found, dict)
    return found


JUDGED = """
import pytest

@pytest.mark.parametrize("number", range(16))
@pytest.mark.qualify(objective="judged")
def test_judged(runtime, runtimes, number):
    answer = runtime.complete(str(number)).text
    assert runtimes["judge"].run("grade", answer=answer).text
"""


@pytest.fixture
def judged(project: SmallProject) -> SmallProject:
    """An approved objective whose criterion asks a judge with a rubric of its own."""
    project.configure(CONFIGURATION + '\n[runtimes.judge]\nmodel = "openai/judge-1"\n')
    project.write("prompts/grade.prompt", "User: Grade {{ answer }}\n")
    project.write("conftest.py", CLIENT)
    project.write("test_judged.py", JUDGED)
    project.run("-q").assert_outcomes(passed=32)
    proofmap(project, "approve", "--yes", "--by", "Ada")
    assert "1 of 1 routes hold" in proofmap(project, "verify", "--collect")
    return project


def swap_judge(project: SmallProject) -> None:
    """Give the judge another model."""
    project.configure(CONFIGURATION + '\n[runtimes.judge]\nmodel = "openai/judge-2"\n')


def remove_judge(project: SmallProject) -> None:
    """Take the judge out of the configuration."""
    project.configure(CONFIGURATION)


def edit_rubric(project: SmallProject) -> None:
    """Change what the judge goes by."""
    project.write("prompts/grade.prompt", "User: Grade {{ answer }} strictly\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (swap_judge, "runtime judge changed"),
        (remove_judge, "runtime judge is gone"),
        (edit_rubric, "prompt grade changed"),
    ],
)
def test_a_judge_is_part_of_what_was_approved(judged: SmallProject, change: Any, told: str) -> None:
    """Another judge, or another rubric, makes stale what was approved by them, in every place."""
    (judged.folder / "before.json").write_bytes(judged.artifact.read_bytes())
    change(judged)
    assert told in proofmap(judged, "verify", status=1)
    result = judged.run("-q")
    if change is remove_judge:
        # Asked for by a test and not configured, it ends the run before the first call.
        assert result.ret == pytest.ExitCode.USAGE_ERROR
    else:
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert f"the route judged is stale: {told}" in " ".join(result.stdout.str().split())
        assert told in " ".join(proofmap(judged, "diff", "before.json", ".proofmap/evidence.json").split())
        proofmap(judged, "decide", "before.json", "--lock", "proofmap.lock")
        proofmap(judged, "decide", ".proofmap/evidence.json", "--lock", "proofmap.lock", status=1)
        proofmap(judged, "approve", "--yes", "--by", "Ada")
        assert "1 of 1 routes hold" in proofmap(judged, "verify")


HOOKED = """
def pytest_proofmap_runtimes(config):
    price = {"input_per_mtok": 1, "output_per_mtok": 1}
    return {
        "rules": {"model": "acme/rules", "params": {"version": VERSION}, "price": price},
        "scorer": {"model": "acme/scorer"},
    }
"""


def test_runtimes_of_hooks_are_approved_and_verified(project: SmallProject) -> None:
    """What only pytest can ask is told when it was not, and a change of it is found when it was."""
    project.write("conftest.py", f"VERSION = 1\n{CLIENT}{HOOKED}")
    project.write(
        "test_rules.py",
        JUDGED.replace('objective="judged"', 'challengers=["rules"], objective="rules"')
        .replace("judge", "scorer")
        .replace('run("grade", answer=answer)', "complete(answer)"),
    )
    project.run("-q").assert_outcomes(passed=32)
    proofmap(project, "approve", "--yes", "--by", "Ada")
    assert [key.partition("@")[0] for key in locked(project).routes["rules"].chain] == ["rules", "gpt"]
    static = proofmap(project, "verify")
    assert "rules, scorer: pytest_proofmap_runtimes says what it is" in static
    assert "1 of 1 routes hold" in static
    collected = proofmap(project, "verify", "--collect")
    assert "pytest_proofmap_runtimes" not in collected
    assert "1 of 1 routes hold" in collected
    assert project.run("-q").ret == pytest.ExitCode.OK
    project.write("conftest.py", f"VERSION = 2\n{CLIENT}{HOOKED}")
    assert "runtime rules changed" in proofmap(project, "verify", "--collect", status=1)
    assert "runtime rules changed" in proofmap(project, "approve", "--yes", "--by", "Ada", status=1)
    assert project.run("-q").ret == pytest.ExitCode.TESTS_FAILED
    proofmap(project, "approve", "--yes", "--by", "Ada")
    project.write("conftest.py", CLIENT)
    assert "pytest could not collect the tests" in proofmap(project, "verify", "--collect", status=2)


MIXED = """
import pytest
from shared import test_star, TestClass
from shared import test_plain as test_renamed

exec(
    '@pytest.mark.parametrize("number", range(16))\\n'
    '@pytest.mark.qualify(objective="made")\\n'
    'def test_made(runtime, number):\\n'
    '    assert runtime.complete(str(number)).text\\n'
)
"""

SHARED = """
import pytest
import rules

def cases(objective):
    return lambda test: pytest.mark.qualify(objective=objective)(
        pytest.mark.parametrize("number", range(16))(test)
    )

@cases("star")
def test_star(runtime, number):
    assert rules.holds(runtime.complete(str(number)).text)

@cases("renamed")
def test_plain(runtime, number):
    assert runtime.complete(str(number)).text

@cases("class")
class TestClass:
    def test_inside(self, runtime, number):
        assert rules.holds(runtime.complete(str(number)).text)
"""


def test_imported_and_executed_tests_are_approved_and_seen(project: SmallProject) -> None:
    """Each has a source, with code on pytest's path in it, and only those whose code changed are stale."""
    project.write("pytest.ini", "[pytest]\npythonpath = lib code\n")
    project.write("code/rules.py", "def holds(text):\n    return bool(text)\n")
    project.write("lib/shared.py", SHARED)
    project.write("conftest.py", CLIENT)
    project.write("tests/test_all.py", MIXED)
    project.run("-q").assert_outcomes(passed=128)
    proofmap(project, "approve", "--yes", "--by", "Ada")
    assert "4 of 4 routes hold" in proofmap(project, "verify")
    assert "4 of 4 routes hold" in proofmap(project, "verify", "--collect")
    project.write("code/rules.py", "def holds(text):\n    return text is not None\n")
    content = json.loads(proofmap(project, "verify", "--json", status=1))
    assert {each["route"] for each in content["findings"]} == {"star", "class"}
    project.write("tests/test_all.py", MIXED.replace("str(number)", "repr(number)"))
    content = json.loads(proofmap(project, "verify", "--json", status=1))
    assert {each["route"] for each in content["findings"]} == {"star", "class", "made"}
    assert project.run("-q").ret == pytest.ExitCode.TESTS_FAILED
    proofmap(project, "approve", "--yes", "--by", "Ada")
    assert "4 of 4 routes hold" in proofmap(project, "verify")


OUTSIDE = """
import pytest

@pytest.mark.parametrize("number", range(16))
@pytest.mark.qualify(objective="out")
def test_out(runtime, number):
    assert runtime.complete(str(number)).text
"""


def test_a_test_that_cannot_be_followed_keeps_only_its_objective_out(labels: SmallProject) -> None:
    """One outside of the root folder is named, its route stays as it was, and the others are approved."""
    outside = labels.folder.with_name(f"{labels.folder.name}-outside") / "test_out.py"
    outside.parent.mkdir()
    outside.write_text(OUTSIDE, encoding="utf-8")
    labels.run("-q", f"--rootdir={labels.folder}", "test_all.py", str(outside)).assert_outcomes(passed=96 + 32)
    assert len(labels.evidence().objectives) == 3

    before = proofmap(labels, "approve", "--dry-run", "--by", "Ada", status=1)
    assert "out: the source of" in before
    assert "::test_out cannot be followed" in before
    assert not (labels.folder / "proofmap.lock").exists()
    alone = proofmap(labels, "approve", "--yes", "--by", "Ada", "--objective", "out", status=1)
    assert "::test_out cannot be followed" in alone
    assert not (labels.folder / "proofmap.lock").exists()

    shown = proofmap(labels, "approve", "--yes", "--by", "Ada", status=1)
    assert shown.count("cannot be followed") == 1
    assert "wrote proofmap.lock" in shown
    assert sorted(locked(labels).routes) == ["echo", "labels", "labels/language=en", "labels/language=fr"]
    proofmap(labels, "approve", "--yes", "--by", "Ada", "--objective", "echo")


def test_an_older_walk_still_checks_what_it_approved(approved: SmallProject) -> None:
    """A lock of the first version holds and goes stale as before, with the advice to approve again."""
    sources = SourceFingerprints(approved.folder)

    def as_before(lock: dict[str, Any]) -> None:
        for route in lock["routes"].values():
            for name, text in route["criteria"].items():
                was = sources.now(name, "0" * 12)
                route["criteria"][name] = "/".join([f"source:{was}", *text.split("/")[1:]])

    forge(approved, as_before)
    for arguments in (["verify"], ["verify", "--collect"]):
        shown = proofmap(approved, *arguments)
        assert "4 of 4 routes hold" in shown
        assert "checked as the older version of ProofMap did" in shown
        assert "then: proofmap approve --objective echo" in shown
    result = approved.run("-q")
    assert result.ret == pytest.ExitCode.OK
    assert "an older version of ProofMap approved echo, labels" in " ".join(result.stdout.str().split())
    approved.write("test_all.py", TESTS.replace("== str(number)", "!= str(number + 1)"))
    shown = proofmap(approved, "verify", status=1)
    assert re.search(r"test_echo changed \(source\): [0-9a-f]{12} → [0-9a-f]{12}", " ".join(shown.split()))
    assert approved.run("-q").ret == pytest.ExitCode.TESTS_FAILED


def test_only_judged_cases_are_counted(labels: SmallProject) -> None:
    """Skipped cases are named apart; a route without any case is refused, and one that lost all fails the gate."""
    skipping = "    if number {}:\n        pytest.skip('later')\n    assert runtime"
    labels.write("test_all.py", LABELS + ECHO.replace("    assert runtime", skipping.format("> 12")))
    labels.run("-q").assert_outcomes(passed=90, skipped=6)
    shown = proofmap(labels, "approve", "--yes", "--by", "Ada")
    assert "mini passes 100 % of 13 cases (3 skipped)" in shown
    evidence = locked(labels).routes["echo"].evidence
    assert (evidence.cases, evidence.skipped) == (13, 3)
    labels.write("test_all.py", LABELS + ECHO.replace("    assert runtime", skipping.format("> -1")))
    result = labels.run("-q")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "the route echo is not evaluated any more: 16 cases and all are skipped" in " ".join(
        result.stdout.str().split()
    )
    refused = proofmap(labels, "approve", "--yes", "--by", "Ada", "--objective", "echo", status=2)
    assert "echo: no case was judged, all were skipped" in refused


KEYED = """
[runtimes.desk]
model = "openai/desk"
api_base = "os.environ/DESK_BASE"
params = { api_key = "os.environ/HELPDESK_KEY", extra_headers = { "X-Team" = "os.environ/TEAM", "X-A" = "b" } }
"""


def test_the_names_of_variables_are_carried(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a key is found is no secret: lock, loader and exports say it; other values stay out."""
    project.configure(CONFIGURATION.replace('"gpt"', '"desk"') + KEYED)
    project.write("conftest.py", CLIENT)
    project.write("test_all.py", "import pytest\n" + ECHO)
    monkeypatch.setenv("DESK_BASE", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("HELPDESK_KEY", "key-of-the-help-desk")
    monkeypatch.setenv("TEAM", "support-team")
    project.run("-q").assert_outcomes(passed=32)
    carried = {"api_key": "os.environ/HELPDESK_KEY", "extra_headers": {"X-Team": "os.environ/TEAM"}}
    assert project.evidence().runtimes["desk"].transport == carried
    assert "transport" not in json.loads(project.artifact.read_text())["runtimes"]["mini"]
    proofmap(project, "approve", "--yes", "--by", "Ada")
    text = (project.folder / "proofmap.lock").read_text()
    assert "key-of-the-help-desk" not in text + project.artifact.read_text()
    lock = json.loads(text)
    assert runtime_of(lock, "desk")["transport"] == carried
    assert "transport" not in runtime_of(lock, "mini")
    proxy = proofmap(project, "export", "litellm-proxy")
    assert "api_key: os.environ/HELPDESK_KEY" in proxy
    plain = json.loads(proofmap(project, "export", "json"))
    assert plain["echo"][0]["transport"] == carried
    refused = proofmap(project, "export", "litellm", status=1)
    assert "LiteLLM does not expand the environment variable inside of its parameter 'extra_headers'" in refused
    rung = approved_routes.load(project.folder / "proofmap.lock").route("echo").chain[0]
    assert rung.transport == carried


def test_a_price_is_no_part_of_what_was_approved(approved: SmallProject) -> None:
    """It may be brought up to date by hand."""
    edit(approved, lambda lock: next(iter(lock["runtimes"].values()))["price"].update(input_per_mtok=99.0))
    assert "4 of 4 routes hold" in proofmap(approved, "verify")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ("[]", "has the schema None"),
        ('{"schema": "proofmap.lock/2"}', "has the schema 'proofmap.lock/2'"),
        ('{"schema": "proofmap.lock/1", "routes": {"a": 1}}', "routes.a"),
        ("[" * 100_000, "is not JSON"),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_broken_locks(labels: SmallProject, text: str, problem: str) -> None:
    """Each has a clear error, and nothing is written over it."""
    path = labels.folder / "proofmap.lock"
    path.write_bytes(text.encode(errors="surrogateescape"))
    for command in (("verify",), ("approve", "--yes", "--by", "Ada")):
        assert problem in proofmap(labels, *command, status=2)
    assert path.read_bytes() == text.encode(errors="surrogateescape")


def test_expiry(approved: SmallProject) -> None:
    """An approval that has ended is a finding, one that ends soon a warning."""
    proofmap(approved, "approve", "--yes", "--by", "Ada", "--expires", "7")
    shown = json.loads(proofmap(approved, "verify", "--json"))
    assert {each["kind"] for each in shown["warnings"]} == {"expires"}
    proofmap(approved, "approve", "--yes", "--by", "Ada", "--expires", "30")
    assert json.loads(proofmap(approved, "verify", "--json"))["warnings"] == []
    assert "no calendar goes that far" in proofmap(approved, "approve", "--expires", "99999999", status=2)


def test_a_runtime_that_is_no_longer_configured(approved: SmallProject) -> None:
    """The lock routes to something that the project does not know any more."""
    approved.configure(CONFIGURATION.split("[runtimes.mini]")[0].replace('"mini"', '"openai/mini"'))
    assert "runtime mini is gone" in proofmap(approved, "verify", status=1)


def git(project: SmallProject, *arguments: str) -> int:
    """Run git in a project, and return its exit status."""
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=project.folder, capture_output=True, check=False, timeout=60
    ).returncode


def branch_by_branch(project: SmallProject, file: str) -> None:
    """Commit a file on ``main``, and approve ``echo`` on the branch ``one`` and ``labels`` on ``two``."""
    git(project, "init", "-b", "main")
    git(project, "add", file)
    git(project, "commit", "-m", "start")
    for branch, objective in (("one", "echo"), ("two", "labels")):
        git(project, "checkout", "-b", branch, "main")
        proofmap(project, "approve", "--yes", "--by", branch, "--objective", objective)
        git(project, "add", "proofmap.lock")
        git(project, "commit", "-m", branch)


def test_two_branches_that_add_routes_are_joined(labels: SmallProject) -> None:
    """Routes that two branches add side by side conflict in git; ``--resolve`` takes both."""
    branch_by_branch(labels, "test_all.py")
    assert git(labels, "merge", "one") != 0
    assert "merge conflicts" in proofmap(labels, "verify", status=2)
    assert "4 routes" in proofmap(labels, "approve", "--resolve")
    assert {name: route.approval.by for name, route in locked(labels).routes.items()} == {
        "echo": "one",
        "labels": "two",
        "labels/language=en": "two",
        "labels/language=fr": "two",
    }
    assert "4 of 4 routes hold" in proofmap(labels, "verify")
    assert "nothing to resolve" in proofmap(labels, "approve", "--resolve", status=2)


def test_two_branches_that_approve_existing_routes_merge(approved: SmallProject) -> None:
    """Git joins them by itself, and what it made of them holds."""
    branch_by_branch(approved, "proofmap.lock")
    assert git(approved, "merge", "one") == 0
    by = {name: route.approval.by for name, route in locked(approved).routes.items()}
    assert (by["echo"], by["labels"]) == ("one", "two")
    assert "4 of 4 routes hold" in proofmap(approved, "verify")


def test_a_run_ends_with_the_command_that_approves(labels: SmallProject) -> None:
    """As long as something would move; afterwards there is nothing to approve."""
    command = "next: proofmap approve .proofmap/evidence.json"
    labels.run("-v").stdout.fnmatch_lines([command])
    proofmap(labels, "approve", "--yes", "--by", "Ada")
    labels.run("-v").stdout.no_fnmatch_line(command)
    labels.run("-v", "-k", "echo").stdout.no_fnmatch_line(command)


def test_a_renamed_objective_is_found(approved: SmallProject) -> None:
    """Its criteria are there, but the route that production asks for is evaluated no more."""
    approved.write("test_all.py", TESTS.replace('objective="echo"', 'objective="parrot"'))
    result = approved.run("-q")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = " ".join(result.stdout.str().split())
    assert "the route echo is not evaluated any more: its criteria moved to another objective" in text
    assert "approve what took its place and delete the route echo from the lock" in text

    proofmap(approved, "approve", "--yes", "--by", "Ada")
    path = approved.folder / "proofmap.lock"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["routes"]["echo"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert "4 of 4 routes hold" in proofmap(approved, "verify")
    assert approved.run("-q").ret == pytest.ExitCode.OK


def test_a_slice_without_cases_is_found(approved: SmallProject) -> None:
    """Production still routes by it."""
    approved.write("test_all.py", TESTS.replace('["en", "fr"]', '["en", "de"]'))
    text = " ".join(approved.run("-q").stdout.str().split())
    assert "the route labels/language=fr is not evaluated any more: the slice has no case" in text


def test_a_challenger_that_is_no_longer_evaluated(approved: SmallProject) -> None:
    """A primary that nobody checks any more is a finding."""
    approved.configure(
        CONFIGURATION.replace("[runtimes.mini]", "[runtimes.other]")
        + """
[runtimes.mini]
model = "openai/mini"
"""
    )
    approved.write("test_all.py", TESTS.replace("qualify(", 'qualify(challengers=["other"], '))
    result = approved.run("-q")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "holds mini, which is not evaluated on echo any more" in " ".join(result.stdout.str().split())


def test_shards_are_checked_when_they_are_joined(approved: SmallProject) -> None:
    """A shard decides nothing, so it has no gate; ``merge --lock`` is the gate of all of them."""
    approved.write("regressed", "")
    for name in ("label", "echo"):
        shard = approved.run(
            "-q", "-k", name, "--proofmap-shard", f"--proofmap-json={name}.json", "--proofmap-cache=refresh"
        )
        assert shard.ret == pytest.ExitCode.OK
    shown = proofmap(
        approved, "merge", "label.json", "echo.json", "-o", "all.json", "--lock", "proofmap.lock", status=1
    )
    assert "the approved primary mini of the route echo has regressed" in " ".join(shown.split())


def test_the_lock_meets_its_schema(approved: SmallProject) -> None:
    """``proofmap schema --lock`` describes what ``approve`` writes."""
    schema = json.loads(proofmap(approved, "schema", "--lock"))
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads((approved.folder / "proofmap.lock").read_text()))


def test_a_run_with_workers_has_the_gate(approved: SmallProject) -> None:
    """Under pytest-xdist the controller checks the lock, once."""
    approved.plugins.append("xdist.plugin")
    approved.write("prompts/label.prompt", "User: Please label {{ ticket }}\n")
    result = approved.run_apart("-q", "-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert " ".join(result.stdout.str().split()).count("are stale: prompt label changed") == 1
