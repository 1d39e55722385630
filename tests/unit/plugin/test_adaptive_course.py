"""How far adaptive sampling asks where cases lie in slices."""

from __future__ import annotations

from typing import Literal

import pytest

from pytest_proofmap.plugin.adaptive import Course

Stop = Literal["qualified", "not_qualified", "insufficient"]


@pytest.mark.parametrize(
    ("whole", "own", "other", "decided"),
    [
        (None, "qualified", None, False),
        ("qualified", "qualified", None, True),
        ("qualified", "insufficient", None, False),
        ("qualified", "insufficient", "not_qualified", True),
        ("insufficient", "insufficient", None, True),
        ("not_qualified", None, None, False),
    ],
)
def test_the_veto_keeps_a_slice(whole: Stop | None, own: Stop | None, other: Stop | None, decided: bool) -> None:
    """Where all cases qualify, no slice is given up as insufficient unless another one has settled the whole."""
    slices: dict[str, str | None] = {"a": "s=1", "b": "s=2"}
    course = Course("t", None, ["a", "b"], slices, ordered=True)  # type: ignore[arg-type]  # the plan is not asked
    for name, stop in ((None, whole), ("s=1", own), ("s=2", other)):
        if stop is not None:
            course.stops[name, "mini"] = stop
    assert course.decided("a", "mini") is decided
