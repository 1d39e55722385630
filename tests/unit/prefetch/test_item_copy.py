"""A dry run leaves the item, its nodes and other plugins alone, and says how it ended."""

from __future__ import annotations

import sys
from concurrent.futures import Future

import pytest

from pytest_proofmap.prefetch.item_copy import DRY_RUN, DryRunner, Ending
from pytest_proofmap.prefetch.suspension import DryRun, wait


def items_of(pytester: pytest.Pytester, source: str) -> list[pytest.Function]:
    """Return the test functions of a module."""
    # Its older versions warn of an unset option of theirs.
    pytester.makeini("[pytest]\naddopts = -p no:asyncio\n")
    return [item for item in pytester.getitems(source) if isinstance(item, pytest.Function)]


def run(item: pytest.Function, dry_run: DryRun) -> Ending:
    """Run a copy of an item dry."""
    return DryRunner(item.session).run(item, dry_run).ending


@pytest.mark.parametrize(
    ("body", "ending"),
    [
        ("pass", "finished"),
        ("assert False", "finished"),
        ("pytest.fail('no')", "finished"),
        ("pytest.skip('no')", "finished"),
        ("raise KeyError('x')", "unfinished"),
        ("raise SystemExit", "unfinished"),
        ("breakpoint()", "unfinished"),
        ("fixture_fails", "unfinished"),
    ],
)
def test_how_it_ended(pytester: pytest.Pytester, body: str, ending: Ending) -> None:
    """Only the test's own end says something of the test."""
    fixture = "broken" if body == "fixture_fails" else ""
    text = "pass" if body == "fixture_fails" else body
    (item,) = items_of(
        pytester,
        f"""
import pytest

@pytest.fixture
def broken():
    raise RuntimeError

def test_it({fixture}):
    {text}
""",
    )
    assert run(item, DryRun()) == ending


def test_a_suspension_counts_however_the_test_goes_on(pytester: pytest.Pytester) -> None:
    """A test that swallows everything was suspended all the same."""
    (item,) = items_of(
        pytester,
        """
def test_it(request):
    try:
        request.getfixturevalue("asking")()
    except BaseException:
        pass

import pytest

@pytest.fixture
def asking(request):
    return lambda: request.config.ask(request.node)
""",
    )

    def ask(node: pytest.Item) -> None:
        dry_run = node.stash[DRY_RUN]
        dry_run.admit("a", 0)
        pending: Future[str] = Future()
        dry_run.pending.append(pending)
        wait(pending, dry_run)

    item.config.ask = ask  # type: ignore[attr-defined]  # for the test above
    dry_run = DryRun()
    assert run(item, dry_run) == "suspended"
    assert len(dry_run.pending) == 1


def test_the_item_is_not_touched(pytester: pytest.Pytester) -> None:
    """Markers, properties, sections, stash and the instance are the copy's own; the nodes above stay set up."""
    (item,) = items_of(
        pytester,
        """
import pytest

class TestIt:
    def test_it(self, request, record_property, tmp_path):
        request.node.add_marker(pytest.mark.added)
        record_property("a", 1)
        print("said")
        self.left = tmp_path
        request.node.keywords["more"] = True
""",
    )
    before = dict(item.__dict__)
    ended = DryRunner(item.session).run(item, DryRun())
    assert ended.copy.get_closest_marker("added") is not None
    assert item.get_closest_marker("added") is None
    assert "more" not in item.keywords
    assert item.user_properties == []
    assert item._report_sections == []
    assert item.__dict__ == before
    stack = list(item.session._setupstate.stack)
    assert stack == item.listchain()[:-1]


def test_what_observes_sees_nothing(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin of a package that reports or measures is left out with all of it; one that guards takes part."""
    folder = pytester.mkdir("site-packages")
    hook = "def pytest_runtest_setup(item):\n    item.config.seen.append(__name__)\n"
    reports = "\nclass Reporter:\n    def pytest_runtest_logreport(self, report):\n        pass\n"
    (folder / "guards_each.py").write_text(hook, encoding="utf-8")
    (folder / "reports_each.py").write_text(hook + reports, encoding="utf-8")
    (folder / "pytest_durations.py").write_text(hook, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    (item,) = items_of(pytester, "def test_it():\n    pass\n")
    seen = item.config.seen = []  # type: ignore[attr-defined]  # for the plugins
    manager = item.config.pluginmanager
    for name in ("guards_each", "reports_each", "pytest_durations"):
        manager.import_plugin(name)
    manager.register(sys.modules["reports_each"].Reporter())
    assert run(item, DryRun()) == "finished"
    assert seen == ["guards_each"]
