"""Old answers are named alike at the end of a run and wherever its evidence is shown."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from html import unescape

import pytest
from click.testing import CliRunner
from small_project import CONFIGURATION, THREE_CASES, SmallProject

from pytest_proofmap.calls.cache.disk import DiskStore
from pytest_proofmap.calls.recordings import read_recordings
from pytest_proofmap.cli import main

AGO = (datetime.now(timezone.utc) - timedelta(days=100)).isoformat(timespec="seconds").replace("+00:00", "Z")
LINE = (
    "1 answer of mini is older than 90 days (max_age_days), the oldest from {}: ask again with "
    "--proofmap-cache=refresh"
)


def remembered(project: SmallProject, origin: str, settings: str = "") -> None:
    """Make a project of recorded answers, of which one of ``mini`` is 100 days old."""
    project.configure(settings + CONFIGURATION)
    project.write("test_it.py", THREE_CASES)
    project.record("gpt", {case: case for case in "abc"})
    project.record("mini", {case: case for case in "ab"})
    project.record("mini", {"c": "c"}, made_at=AGO)
    if origin == "cached":
        store = DiskStore(project.folder / ".proofmap" / "cache", pytest.fail)
        for entry in list(read_recordings(project.folder / "recordings" / "mini.jsonl")):
            store.put(entry.key, entry.answer)
        store.close()
        (project.folder / "recordings" / "mini.jsonl").unlink()


def shown(project: SmallProject, *arguments: str) -> str:
    """Return what a command prints, its lines joined."""
    done = CliRunner().invoke(main, [*arguments, str(project.artifact)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return flat(done.output)


def flat(text: str) -> str:
    """Return a text in one line, without the escapes of pages and the marks of Markdown."""
    return " ".join(unescape(re.sub("</?code>", "", text)).split())


@pytest.mark.parametrize("origin", ["recorded", "cached"])
@pytest.mark.parametrize(
    ("settings", "is_told"),
    [("", True), ("max_age_days = 0\n", False), ("max_age_days = 200\n", False)],
    ids=["default", "off", "200 days"],
)
def test_an_old_answer_is_named_everywhere_alike(
    project: SmallProject, origin: str, settings: str, is_told: bool
) -> None:
    """Summary, reports and pages say it of the run as it was, also where the configuration is gone since."""
    remembered(project, origin, settings)
    result = project.run("--proofmap-html=run.html", "--proofmap-md=run.md")
    result.assert_outcomes(passed=6)
    (project.folder / "proofmap.toml").unlink()
    line = LINE.format(AGO[:10])
    pages = {
        "summary": flat(result.stdout.str()),
        "html of the run": flat((project.folder / "run.html").read_text("utf-8")),
        "markdown of the run": flat((project.folder / "run.md").read_text("utf-8")),
        "report": shown(project, "report"),
        "short report": shown(project, "report", "-q"),
        "markdown": shown(project, "report", "--md"),
        "html": shown(project, "report", "--html", "-o", "-"),
    }
    assert [name for name, text in pages.items() if (line in text) is not is_told] == []
    assert [name for name, text in pages.items() if ("max_age_days)" in text) is not is_told] == []


def test_shards_name_old_answers_together(project: SmallProject) -> None:
    """The joined evidence says it as one run would, and so does its report."""
    remembered(project, "recorded")
    project.run("--proofmap-shard", "--proofmap-json=one.json", "-k", "a or b")
    project.run("--proofmap-shard", "--proofmap-json=two.json", "-k", "c")
    files = [str(project.folder / name) for name in ("one.json", "two.json", "all.json")]
    for arguments in (["merge", *files[:2], "-o", files[2]], ["report", files[2]]):
        done = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert LINE.format(AGO[:10]) in flat(done.output), done.output
