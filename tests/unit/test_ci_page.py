"""The workflows of the page on continuous integration: who may do what, and one comment for each pull request."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import blocks

from pytest_proofmap.report.markdown import MARKER

PAGE = Path(__file__).parents[2] / "docs" / "continuous-integration.md"
WORKFLOWS: list[dict[str, Any]] = [yaml.safe_load(each.text) for each in blocks(PAGE) if each.language == "yaml"]

GH = """#!/bin/sh
printf '%s\\n' "$*" >> calls.txt
case "$*" in *--paginate*) cat comments.txt ;; esac
"""


def jobs() -> list[tuple[str, dict[str, Any]]]:
    """Return the jobs of all workflows of the page."""
    return [job for workflow in WORKFLOWS for job in workflow["jobs"].items()]


def commands(job: dict[str, Any]) -> str:
    """Return what a job runs."""
    return "\n".join(step.get("run", "") for step in job["steps"])


@pytest.mark.parametrize("job", [job for _, job in jobs()], ids=[name for name, _ in jobs()])
def test_a_job_that_may_write_runs_no_code_of_the_project(job: dict[str, Any]) -> None:
    """Permission to write and the project's code, or a secret, never meet in one job."""
    may_write = "write" in job.get("permissions", {}).values()
    text = json.dumps(job)
    assert not (may_write and any(word in text for word in ("checkout", "pytest", "pip ", "secrets.")))
    if "checkout" in text:
        assert '"persist-credentials": false' in text


def test_permissions_are_stated() -> None:
    """The whole workflow may read the repository and no more, but for the job that comments."""
    workflow = WORKFLOWS[0]
    assert workflow["permissions"] == {"contents": "read"}
    granted = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert granted == {"comment": {"pull-requests": "write"}}


def test_forks_replay() -> None:
    """A fork's pull request calls nobody and is not commented on."""
    workflow = WORKFLOWS[0]["jobs"]
    assert "fork && 'replay' || 'auto'" in json.dumps(workflow["qualify"])
    assert "!github.event.pull_request.head.repo.fork" in workflow["comment"]["if"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=["one job", "shards"])
def test_answers_are_kept_whatever_fails(workflow: dict[str, Any]) -> None:
    """The cache is saved under a new key each time, found by its beginning, also after a failure."""
    steps = workflow["jobs"]["qualify"]["steps"]
    restore, save = (
        next(step for step in steps if step.get("uses", "").startswith(f"actions/cache/{what}@"))
        for what in ("restore", "save")
    )
    assert save["if"] == "${{ !cancelled() }}"
    assert save["with"]["key"] == restore["with"]["key"]
    assert save["with"]["path"] == restore["with"]["path"] == ".proofmap/cache"
    assert restore["with"]["key"].startswith(restore["with"]["restore-keys"])
    assert "github.run_attempt" in save["with"]["key"]


@pytest.mark.parametrize(
    ("comments", "request_line"),
    [
        ("", "--method POST repos/acme/app/issues/7/comments --field body=@proofmap.md"),
        ("41\n42\n", "--method PATCH repos/acme/app/issues/comments/41 --field body=@proofmap.md"),
    ],
)
def test_a_pull_request_has_one_comment(tmp_path: Path, comments: str, request_line: str) -> None:
    """The comment of an earlier run is replaced; without one a comment is made."""
    script = commands(WORKFLOWS[0]["jobs"]["comment"])
    assert f'startswith("{MARKER}")' in script
    (tmp_path / "comments.txt").write_text(comments)
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(GH)
    gh.chmod(0o755)
    environment = {
        "PATH": f"{gh.parent}{os.pathsep}{os.environ['PATH']}",
        "GH_REPO": "acme/app",
        "NUMBER": "7",
    }
    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=environment, check=True)
    asked = (tmp_path / "calls.txt").read_text()
    assert asked.startswith("api --paginate repos/acme/app/issues/7/comments --jq ")
    assert f"api --silent {request_line}\n" in asked
    assert asked.count("api --silent") == 1
