"""From a run's evidence to the lock, and from the lock to the verdict on later runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from small_project import CONFIGURATION, SmallProject, isolate

from pytest_proofmap.approve.lock import read_lock
from pytest_proofmap.approve.models import Lock

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
    done = subprocess.run(
        [Path(sys.executable).with_name("proofmap"), *arguments],
        cwd=project.folder,
        env={**isolate(dict(os.environ)), "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


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
