"""Fixtures of wider scope are set up by dry runs as often as was promised, in whatever order tests run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Any

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
        config.pluginmanager.register(self)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, Any, Any]:
        """Follow set-ups, as the plugin does."""
        if fixturedef.scope == "function":
            return (yield)
        with self.scopes.around_set_up(fixturedef, request):
            return (yield)

    def dry(self, item: pytest.Function, *, is_its_turn: bool = False) -> bool:
        """Run an item dry if it may be, or runs next; return whether it was."""
        if not is_its_turn and not self.scopes.allows(item):
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


SAVES = """
import pytest

def changed(state, name):
    before = state.value
    state.value = name
    yield before
    state.value = before

@pytest.fixture(scope="module")
def wide(request):
    request.config.up.append("wide " + request.module.__name__)
    yield from changed(request.config.state, request.module.__name__)
    request.config.down.append("wide " + request.module.__name__)

@pytest.fixture(scope="module")
def second(request):
    yield from changed(request.config.state, "second " + request.module.__name__)

@pytest.fixture(scope="session")
def of_session(request):
    return request.config.state.value
"""

SAVING = {
    "test_a": """
def test_a(wide):
    pass

def test_more(wide, SECOND):
    pass

def test_gets(wide, request):
    assert request.getfixturevalue("of_session") == "test_a"
""",
    "test_b": "def test_b(wide):\n    pass\n\ndef test_last(wide):\n    pass\n",
    "test_c": "def test_bare():\n    pass\n\ndef test_shared(of_session):\n    pass\n",
}


class State:
    """What all modules share, and no look at the project's modules shows."""

    value = "nothing"


def saving(pytester: pytest.Pytester, *named: str) -> tuple[Session, State]:
    """Return modules whose fixtures change a state and put back what they have found."""
    texts = {
        name: text.replace(", SECOND", "".join(f", {more}" for more in named)) for name, text in SAVING.items()
    }
    session = Session(pytester, {"conftest": SAVES, **texts})
    session.session.config.state = State()  # type: ignore[attr-defined]  # for the fixtures
    return session, session.session.config.state  # type: ignore[attr-defined]  # as above


def test_no_real_run_gets_what_was_up_beside_anything_else(pytester: pytest.Pytester) -> None:
    """What dry runs have set up side by side is torn down, the latest first, before the first of them runs."""
    session, state = saving(pytester)
    first, other = session.items["test_a"], session.items["test_b"]
    session.scopes.reach(first)
    assert session.dry(first)
    assert session.dry(other)
    assert session.dry(first)
    assert session.up == ["wide test_a", "wide test_b"]
    session.scopes.leave_for(first)
    assert session.down == ["wide test_b", "wide test_a"]
    assert state.value == "nothing"


def test_what_was_up_alone_serves_the_real_run(pytester: pytest.Pytester) -> None:
    """Where nothing else was set up beside it, a fixture is set up once in all."""
    session, state = saving(pytester)
    first, bare = session.items["test_a"], session.items["test_bare"]
    session.scopes.reach(first)
    assert session.dry(first)
    assert session.dry(bare)
    session.scopes.leave_for(first)
    assert session.up == ["wide test_a"]
    assert session.down == []
    assert state.value == "test_a"


def test_a_set_up_for_the_real_run_is_alone(pytester: pytest.Pytester) -> None:
    """What a dry run sets up a second time is for the real run: whatever is kept is torn down before."""
    session, state = saving(pytester)
    first, other, bare = session.items["test_a"], session.items["test_b"], session.items["test_bare"]
    session.scopes.reach(bare)
    assert session.dry(first)
    session.scopes.leave_for(bare)
    session.scopes.reach(first)
    assert session.dry(other)
    assert state.value == "test_b"
    assert session.dry(first)
    assert session.down == ["wide test_a", "wide test_b"]
    session.scopes.leave_for(first)
    assert session.up == ["wide test_a", "wide test_b", "wide test_a"]
    assert state.value == "test_a"


def test_a_later_fixture_of_a_module_is_set_up_on_top(pytester: pytest.Pytester) -> None:
    """One that is added to a module that was kept is not up beneath others, which would put back what it sets."""
    session, state = saving(pytester, "second")
    first, more, other, bare = (session.items[name] for name in ("test_a", "test_more", "test_b", "test_bare"))
    session.scopes.reach(bare)
    assert session.dry(first)
    assert session.dry(other)
    assert session.dry(more)
    assert session.down == ["wide test_b"]
    assert state.value == "second test_a"
    session.scopes.leave_for(bare)
    assert state.value == "nothing"


def test_a_fixture_of_the_session_sees_no_module_s(pytester: pytest.Pytester) -> None:
    """It is the one that all tests get, so that nothing is kept while it is set up."""
    session, state = saving(pytester)
    first, other, shared, bare = (session.items[name] for name in ("test_a", "test_b", "test_shared", "test_bare"))
    session.scopes.reach(bare)
    assert session.dry(first)
    assert session.dry(other)
    assert session.dry(shared)
    definition = shared._fixtureinfo.name2fixturedefs["of_session"][0]
    assert definition.cached_result is not None
    assert definition.cached_result[0] == "nothing"
    assert state.value == "nothing"


def test_a_fixture_of_the_session_is_not_set_up_across_others(pytester: pytest.Pytester) -> None:
    """An item that needs it while its module's fixtures are up beside older ones waits for its turn."""
    session, state = saving(pytester, "of_session")
    first, more, other = (session.items[name] for name in ("test_a", "test_more", "test_b"))
    session.scopes.reach(more)
    assert session.dry(other)
    assert session.dry(first)
    assert not session.dry(more)
    # The turn of the item itself is never refused: all is torn down for it.
    assert session.dry(more, is_its_turn=True)
    session.scopes.leave_for(more)
    definition = more._fixtureinfo.name2fixturedefs["of_session"][0]
    assert definition.cached_result is not None
    assert definition.cached_result[0] == "nothing"
    assert state.value == "test_a"
    assert session.up == ["wide test_b", "wide test_a", "wide test_a"]


def test_a_fixture_of_the_session_that_nobody_names_ends_the_keeping(pytester: pytest.Pytester) -> None:
    """Where one turns up in the middle of a dry run, the dry run ends, and no real run gets what it would see."""
    session, state = saving(pytester)
    gets = session.items["test_gets"]
    session.scopes.reach(session.items["test_bare"])
    assert session.dry(session.items["test_b"])
    assert session.dry(session.items["test_a"])
    assert session.dry(gets)
    assert sorted(session.down) == ["wide test_a", "wide test_b"]
    assert state.value == "nothing"
    session.real(gets, None)  # It asserts what the fixture sees.


def test_a_run_that_ends_while_it_waits_leaves_nothing_up(pytester: pytest.Pytester) -> None:
    """What is kept when the user stops the run is torn down with it."""
    session, state = saving(pytester)
    session.scopes.reach(session.items["test_bare"])
    assert session.dry(session.items["test_a"])
    assert session.dry(session.items["test_b"])
    session.scopes.close()
    assert sorted(session.down) == sorted(session.up)
    assert state.value == "nothing"


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
