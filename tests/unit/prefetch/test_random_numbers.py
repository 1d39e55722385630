"""Random numbers around dry runs: what wider fixtures draw is drawn once more, and nothing else is disturbed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from _pytest.fixtures import FixtureDef
from _pytest.scope import Scope

from pytest_proofmap.prefetch.random_numbers import RandomNumbers, same_random_numbers


@pytest.fixture
def numbers() -> Iterator[RandomNumbers]:
    """Generators in a known state, which are afterwards as before."""
    state = random.getstate()
    random.seed(7)
    followed = RandomNumbers()
    followed.follow(lambda item, definition: (id(definition), "test_owner"))
    yield followed
    followed.close()
    random.setstate(state)


class Wide:
    """A fixture of wider scope that draws a number.

    Args:
        numbers: Follow it.
        value: What it draws.
    """

    def __init__(self, numbers: RandomNumbers, value: Any = random.random, scope: Scope = Scope.Module) -> None:
        self.numbers = numbers
        self.value = value
        self.definition: Any = SimpleNamespace(_scope=scope, cached_result=None, argnames=())

    def set_up(self, test: str) -> Any:
        """Set it up for a test."""
        with self.numbers.around_set_up(self.definition, request(test)):
            return self.value()

    def reuse(self, test: str) -> None:
        """Let a test get it as it is set up."""
        self.numbers._reuse(self.definition, request(test))


def request(test: str) -> Any:
    """Return a request of a test."""
    return SimpleNamespace(_pyfuncitem=SimpleNamespace(nodeid=test))


def test_the_real_run_draws_what_the_dry_run_drew(numbers: RandomNumbers) -> None:
    """A second set-up, real, draws the numbers of the first, dry, whatever was drawn between."""
    wide = Wide(numbers)
    with numbers.around_dry_run():
        drawn = wide.set_up("test_owner")
    random.seed(99)
    assert wide.set_up("test_owner") == drawn
    # What it had drawn is used up: a third set-up, in a plain run as here, draws anew.
    assert wide.set_up("test_owner") != drawn


def test_a_second_dry_set_up_draws_the_same(numbers: RandomNumbers) -> None:
    """Requests of another dry run are those of the first, and so are those of the real run."""
    wide = Wide(numbers)
    drawn = []
    for _ in range(2):
        with numbers.around_dry_run():
            random.random()
            drawn.append(wide.set_up("test_owner"))
    assert drawn[0] == drawn[1] == wide.set_up("test_owner")


def test_a_reused_fixture_leaves_the_generators_where_its_set_up_would(numbers: RandomNumbers) -> None:
    """A real run that gets what a dry run has set up draws next what follows the fixture's own numbers."""
    state = random.getstate()
    expected = [random.random() for _ in range(2)]
    random.setstate(state)
    wide = Wide(numbers)
    with numbers.around_dry_run():
        assert wide.set_up("test_owner") == expected[0]
    assert random.getstate() == state
    wide.reuse("test_owner")
    assert random.random() == expected[1]
    # It was set up for the first test alone: for the next one a plain run has it there.
    after = random.getstate()
    wide.reuse("test_next")
    assert random.getstate() == after


def test_whichever_real_test_comes_first_draws_for_the_fixture(numbers: RandomNumbers) -> None:
    """In an order that nobody foresaw, the first test that gets it draws what its set-up would have drawn."""
    wide = Wide(numbers)
    with numbers.around_dry_run():
        wide.set_up("test_owner")
    state = random.getstate()
    wide.reuse("test_other")
    after = random.getstate()
    assert after != state
    wide.reuse("test_owner")
    assert random.getstate() == after


def test_a_test_that_would_find_a_fixture_there_draws_nothing_for_it(numbers: RandomNumbers) -> None:
    """In a dry run of another test than the one that sets it up in a plain run, its numbers are not counted."""
    wide = Wide(numbers)
    with numbers.around_dry_run():
        state = random.getstate()
        wide.set_up("test_other")
        assert random.getstate() == state
        wide.reuse("test_other")
        assert random.getstate() == state
        wide.reuse("test_owner")
        assert random.getstate() != state


def test_a_fixture_that_draws_nothing_changes_nothing(numbers: RandomNumbers) -> None:
    """A reused fixture without numbers of its own leaves the generators of the real run alone."""
    wide = Wide(numbers, lambda: None)
    with numbers.around_dry_run():
        wide.set_up("test_owner")
    random.seed(3)
    state = random.getstate()
    wide.reuse("test_owner")
    assert random.getstate() == state


def test_function_scoped_fixtures_are_not_followed(numbers: RandomNumbers) -> None:
    """They are set up for each run, and draw whatever comes next."""
    wide = Wide(numbers, scope=Scope.Function)
    with numbers.around_dry_run():
        drawn = wide.set_up("test_owner")
    random.seed(99)
    assert wide.set_up("test_owner") != drawn


def test_dry_runs_go_on_after_each_other_and_leave_the_state(numbers: RandomNumbers) -> None:
    """Two dry runs draw different numbers, so that a test that draws is found unstable; real runs see none."""
    state = random.getstate()
    drawn = []
    for _ in range(2):
        with numbers.around_dry_run():
            drawn.append(random.random())
        assert random.getstate() == state
    assert drawn[0] != drawn[1]


def test_numbers_of_numpy_are_followed(numbers: RandomNumbers) -> None:
    """Both generators, and a set-up that draws from numpy alone, are noted and drawn again."""
    numpy = pytest.importorskip("numpy")
    with same_random_numbers():
        numpy.random.seed(7)
        wide = Wide(numbers, lambda: float(numpy.random.random()))
        with numbers.around_dry_run():
            drawn = wide.set_up("test_owner")
        numpy.random.seed(99)
        assert wide.set_up("test_owner") == drawn


def test_teardowns_leave_the_numbers() -> None:
    """What is drawn while something is torn down is drawn again."""
    state = random.getstate()
    with pytest.raises(ZeroDivisionError), same_random_numbers():
        random.random() / 0
    assert random.getstate() == state


def test_pytest_is_as_before_afterwards() -> None:
    """Fixtures are executed by pytest's own function once nothing is followed."""
    execute = FixtureDef.execute
    followed = RandomNumbers()
    followed.follow(lambda item, definition: None)
    assert FixtureDef.execute is not execute
    followed.close()
    assert FixtureDef.execute is execute
