"""The corrections for several challengers and slices."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_proofmap.decide.stats.multiplicity import correct, holm, holm_level

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_published() -> None:
    """The known example comes out in the order of its input."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@given(p_values)
def test_adjusted_values(raw: list[float]) -> None:
    """Adjusted values are no smaller than raw ones, at most 1, and keep their order."""
    adjusted = holm(raw)
    assert all(p <= q <= 1 for p, q in zip(raw, adjusted, strict=True))
    order = sorted(range(len(raw)), key=raw.__getitem__)
    assert all(adjusted[i] <= adjusted[j] for i, j in pairwise(order))


@given(p_values)
def test_dropping_out_never_helps(raw: list[float]) -> None:
    """A member counted with p = 1 leaves the others exactly as strict as any other member that fails."""
    with_dropout = holm([*raw, 1.0])
    assert all(q >= p for p, q in zip(holm(raw), with_dropout, strict=False))


@given(p_values, st.sampled_from([0.01, 0.05, 0.2]))
def test_level_is_where_the_next_member_is_accepted(raw: list[float], alpha: float) -> None:
    """Lowering an unaccepted p-value to just below the level makes it accepted."""
    adjusted = holm(raw)
    rejected = [i for i, p in enumerate(adjusted) if p > alpha]
    if rejected:
        lowered = list(raw)
        lowered[rejected[0]] = min(raw[rejected[0]], holm_level(adjusted, alpha) * (1 - 1e-9))
        assert holm(lowered)[rejected[0]] <= alpha


SLICES = [[0.001, 0.9], [0.012, 0.02], [0.03, 0.6], [0.04, 1.0], [1.0, 1.0], [0.2, 0.3]]
"""P-values of two challengers on six slices; smallest by Holm: .002, .024, .06, .08, 1, .4."""


def test_fdr() -> None:
    """Slices are selected by Benjamini and Hochberg, and within them the level is the selected share of alpha."""
    found = correct(SLICES, 0.12, "fdr")
    # .002 <= .02, .024 <= .04, .06 <= .06, .08 <= .08; .4 > .1.
    assert found.level == pytest.approx(0.12 * 4 / 6)
    assert found.adjusted == [holm(row) for row in SLICES]
    none = correct(SLICES[2:], 0.05, "fdr")
    assert none.level == 0.0
    assert none.next_level == pytest.approx([0.05 / 4 / 2] * 4)


def test_all() -> None:
    """Holm over every challenger on every slice."""
    found = correct(SLICES, 0.05, "all")
    assert [p for row in found.adjusted for p in row] == holm([p for row in SLICES for p in row])
    assert found.level == 0.05


def test_each() -> None:
    """Every slice by itself is Holm over its challengers."""
    found = correct(SLICES, 0.05, "each")
    assert (found.adjusted, found.level) == ([holm(row) for row in SLICES], 0.05)
    assert found.next_level == [0.05, 0.05, 0.025, 0.025, 0.025, 0.025]


@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), min_size=1, max_size=8))
def test_rules_are_nested(p_values: list[list[float]]) -> None:
    """What no error anywhere lets pass, the expected share of errors does, and what that does, each by itself."""
    passed = []
    for rule in ("all", "fdr", "each"):
        found = correct(p_values, 0.05, rule)
        passed.append(
            {(s, j) for s, row in enumerate(found.adjusted) for j, p in enumerate(row) if p <= found.level}
        )
    assert passed[0] <= passed[1] <= passed[2]


def test_one_slice_is_no_correction() -> None:
    """On a single slice all rules are Holm."""
    for rule in ("all", "fdr", "each"):
        found = correct([[0.01, 0.03]], 0.05, rule)
        assert (found.adjusted, found.level) == ([[0.02, 0.03]], 0.05)
