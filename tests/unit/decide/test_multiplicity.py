"""Holm's correction."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_proofmap.decide.multiplicity import holm, holm_level

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
