"""Fixtures of wider scope are set up by dry runs as often as was promised, in whatever order tests run."""

from __future__ import annotations

from collections import Counter

import pytest

from pytest_proofmap.prefetch.item_copy import DryRunner
from pytest_proofmap.prefetch.scopes import Scopes, outermost_scope
from pytest_proofmap.prefetch.suspension import DryRun

MODULE = """
import pytest

@pytest.fixture(scope="SCOPE", params=PARAMS)
def wide(request):
    request.config.up.append(f"{request.node.name} {request.param}")
    yield
    request.config.down.append(f"{request.node.name} {request.param}")

@pytest.mark.parametrize("case", [1, 2])
def test_wide(wide, case):
    pass

def test_plain():
    pass
"""


class Session:
    """Modules of a session, and what their fixtures did.

    Args:
        pytester: Collects them.
        modules: Their texts by name.
    """

    def __init__(self, pytester: pytest.Pytester, modules: dict[str, str]) -> None:
        pytester.makepyfile(**modules)
        config = pytester.parseconfigure("-p", "no:cacheprovider", "-p", "no:asyncio")
        self.up: list[str] = []
        self.down: list[str] = []
        config.up, config.down = self.up, self.down  # type: ignore[attr-defined]  # for the fixtures
        self.session = pytest.Session.from_config(config)
        config.hook.pytest_sessionstart(session=self.session)
        self.session.perform_collect()
        self.items = {item.name: item for item in self.session.items if isinstance(item, pytest.Function)}
        self.order = [item for item in self.session.items if isinstance(item, pytest.Function)]
        self.runner = DryRunner(self.session)
        config.add_cleanup(self.runner.quiet.close)
        self.warnings: list[str] = []
        self.scopes = Scopes(self.session, self.runner.quiet, self.warnings.append)

    def dry(self, item: pytest.Function) -> bool:
        """Run an item dry if it may be; return whether it was."""
        if not self.scopes.allows(item):
            return False
        self.scopes.enter(item)
        ended = self.runner.run(item, DryRun())
        self.scopes.note(item, ended.copy)
        return True

    def real(self, item: pytest.Function, following: pytest.Function | None) -> None:
        """Run an item for real."""
        self.scopes.leave_for(item)
        from _pytest.runner import runtestprotocol

        reports = runtestprotocol(item, log=False, nextitem=following)
        assert all(report.outcome == "passed" for report in reports), [str(each.longrepr) for each in reports]


def write(scope: str, params: str) -> str:
    """Return a module whose fixture has a scope and parameters."""
    return MODULE.replace("SCOPE", scope).replace("PARAMS", params)


@pytest.mark.parametrize("scope", ["module", "session"])
def test_dry_runs_before_each_real_run_keep_the_promise(pytester: pytest.Pytester, scope: str) -> None:
    """Whatever is tried before each real run, nothing is set up more often than once more, or not at all."""
    texts = {name: write(scope, "['p', 'q']") for name in ("test_a", "test_b")}
    session = Session(pytester, texts)
    order = session.order
    for number, item in enumerate(order):
        following = order[number + 1] if number + 1 < len(order) else None
        session.scopes.reach(item)
        for other in order[number:]:
            session.dry(other)
            session.dry(other)
        session.real(item, following)
    session.session._setupstate.teardown_exact(None)
    # One for each module, parameter, and both modules have a definition of their own.
    most = 1 if scope == "session" else 2
    counts = Counter(session.up)
    assert set(counts.values()) <= ({2 * most} if scope == "session" else {most}), counts
    assert Counter(session.down) == counts


def test_what_the_next_test_uses_is_never_torn_down(pytester: pytest.Pytester) -> None:
    """While a module's fixture is set up for a test to come, no test of another module is run dry."""
    session = Session(pytester, {"test_a": write("module", "['p']"), "test_b": write("module", "['p']")})
    first, second, *rest = session.order
    session.scopes.reach(first)
    assert session.dry(first)
    elsewhere = next(item for item in rest if item.module is not first.module and "wide" in item.name)
    assert session.dry(elsewhere)  # What a dry run has set up may be left.
    session.real(first, second)
    session.scopes.reach(second)
    assert session.dry(second)
    assert not session.dry(elsewhere)
    assert not session.down[2:]


def test_scopes_without_fixtures_are_no_obstacle(pytester: pytest.Pytester) -> None:
    """Tests of other modules that use no wider fixture may be run dry again and again."""
    text = "def test_one():\n    pass\n\nclass TestIt:\n    def test_two(self):\n        pass\n"
    session = Session(pytester, {"test_a": text, "test_b": text})
    for item in session.order:
        session.scopes.reach(item)
        assert all(session.dry(other) for other in session.order for _ in range(3))
        session.scopes.leave_for(item)
        assert all(node in item.listchain() for node in session.session._setupstate.stack)


def test_a_fixture_that_nobody_names_is_learnt(pytester: pytest.Pytester) -> None:
    """One that a test gets by request is counted from its first dry run on."""
    text = """
import pytest

@pytest.fixture(scope="module")
def wide(request):
    request.config.up.append("wide")

def test_one():
    pass

def test_it(request):
    request.getfixturevalue("wide")
"""
    session = Session(pytester, {"test_a": text, "test_b": "def test_other():\n    pass\n"})
    one, it, other = session.order
    session.scopes.reach(other)
    assert session.dry(it)
    assert session.dry(other)
    assert session.dry(it)  # It is kept for that.
    assert session.up == ["wide"]
    session.scopes.leave_for(other)
    assert not session.dry(it)
    assert session.up == ["wide"]
    session.scopes.reach(it)
    assert session.dry(it)
    del one


def test_a_failing_teardown_is_a_warning(pytester: pytest.Pytester) -> None:
    """Whatever a fixture raises while a dry run's scope is left, the rest is left, too."""
    text = """
import pytest

@pytest.fixture(scope="module")
def wide():
    yield
    pytest.fail("while torn down")

def test_it(wide):
    pass
"""
    session = Session(pytester, {"test_a": text, "test_b": "def test_other():\n    pass\n"})
    it, other = session.order
    session.scopes.reach(other)
    assert session.dry(it)
    session.scopes.leave_for(other)
    assert all(node in other.listchain() for node in session.session._setupstate.stack)
    assert "while torn down" in session.warnings[0]


def test_the_outermost_scope(pytester: pytest.Pytester) -> None:
    """It is the module or class whose fixtures a test uses, or none."""
    text = write("class", "['p']") + "\nclass TestIt:\n    def test_in_class(self, wide):\n        pass\n"
    session = Session(pytester, {"test_a": text})
    assert outermost_scope(session.items["test_plain"]) is None
    assert outermost_scope(session.items["test_in_class[p]"]) is session.items["test_in_class[p]"].parent
    assert outermost_scope(session.items["test_wide[p-1]"]) is session.items["test_wide[p-1]"].parent
