"""A comparison of two runs of which the second has one more case, in front of cases that pytest numbers."""

from __future__ import annotations

import json

from small_project import SmallProject, echo_hook

TESTS = """
import pytest

TICKETS = [{tickets}]

@pytest.mark.parametrize("ticket", TICKETS)
@pytest.mark.qualify(margin=0.5)
def test_echo(runtime, ticket):
    assert runtime.complete(ticket["text"]).text == ticket["text"]
"""


def test_no_regression_by_renaming(project: SmallProject) -> None:
    """Dict cases are known by their content: what failed before fails still, and nothing regressed."""
    project.write("conftest.py", echo_hook('return "no" if runtime == "mini" and int(prompt) < 6 else prompt'))
    tickets = [f'{{"text": "{number}"}}' for number in range(20)]
    project.write("test_triage.py", TESTS.replace("{tickets}", ", ".join(tickets)))
    project.run("-q")
    (project.folder / "old.json").write_bytes(project.whole.read_bytes())
    project.write("test_triage.py", TESTS.replace("{tickets}", ", ".join(['{"text": "99"}', *tickets])))
    project.run("-q")
    assert project.evidence().run.complete
    done = project.proofmap("diff", "old.json", "--json", "--fail-on", "regression")
    assert done.ret == 0, done.outlines + done.errlines
    found = json.loads(done.stdout.str())
    mini = next(rate for rate in found["rates"] if rate["runtime"] == "mini")
    assert (mini["cases"], mini["regressed"], mini["improved"]) == (20, [], [])
    assert [gap["cases"] for gap in found["added"]] == [["ticket0"]]
    assert found["lost"] == []
