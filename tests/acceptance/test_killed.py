"""Signal 9 in the middle of a write (benchmarks/faults kills at random, a hundred times).

Each change runs the kills that could cost a paid answer; each night those inside evidence and lock too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import campaigns
import pytest
from disk_faults import build
from fake_provider import echoing


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """What kills a process inside a write."""
    built = build(tmp_path)
    if built is None:
        pytest.skip("needs Linux and a C compiler")
    return built


@pytest.fixture
def kills(tmp_path: Path) -> Iterator[Any]:
    """A campaign of kills that has killed nothing yet."""
    with echoing(0.01) as provider:
        yield campaigns.load("kill_campaign").Campaign(tmp_path, provider)


def test_killed_inside_a_cache_write(kills: Any, library: Path) -> None:
    """What was on disk is not paid again, the database is whole, and the next run completes."""
    kills.kill_in_cache_writes(library, 40, 1, random.Random(5), total=200)
    assert kills.broken == []
    (figures,) = kills.figures.values()
    assert (figures.trials, figures.broken()) == (1, 0)


@pytest.mark.nightly
def test_killed_inside_the_writes_of_a_run(kills: Any, library: Path) -> None:
    """The evidence is the old one or the new one, and the next run completes from the cache."""
    kills.kill_in_artifact_writes(library, 40, 2)
    assert kills.broken == []
    (figures,) = kills.figures.values()
    assert figures.trials >= 2
    assert figures.broken() == 0


@pytest.mark.nightly
def test_killed_inside_every_write_of_approve(kills: Any, library: Path) -> None:
    """The lock is the old one or the new one, and approving again works."""
    kills.kill_approve(library, 40)
    assert kills.broken == []
    (figures,) = kills.figures.values()
    assert figures.trials >= 4
    assert figures.broken() == 0
