"""One cache folder for several processes, and folders in which a cache cannot work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import campaigns
import pytest
from disk_faults import build
from fake_provider import FakeProvider, echoing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign needs Linux")


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """A provider that answers everything and counts."""
    with echoing(0.05) as provider:
        yield provider


def test_a_request_of_several_processes_is_paid_once(tmp_path: Path, provider: FakeProvider) -> None:
    """Processes that start on a cold cache at once share the work: none asks what another is asking."""
    shared = campaigns.load("sharing_campaign").share(tmp_path / "project", provider, 80, processes=3)
    assert shared.broken() == 0
    assert (shared.paid, shared.most) == (80, 1)


@pytest.mark.parametrize(
    "name",
    [
        "every lock fails with ENOLCK",
        pytest.param("every lock fails with EACCES", marks=pytest.mark.nightly),
        pytest.param("no shared memory", marks=pytest.mark.nightly),
    ],
)
def test_a_folder_without_locks_is_refused_at_once(tmp_path: Path, provider: FakeProvider, name: str) -> None:
    """Where SQLite cannot work no call is made, and the message says what to do."""
    library = build(tmp_path)
    if library is None:
        pytest.skip("needs a C compiler")
    sharing = campaigns.load("sharing_campaign")
    place = next(each for each in sharing.places(library) if each.name == name)
    placed = sharing.try_place(tmp_path / "project", provider, place, 40)
    assert (placed.status != 0, placed.paid) == (True, 0)
    assert "SQLite cannot work" in placed.told
    assert "cache_dir" in placed.told


def test_what_a_full_disk_cannot_keep_is_in_the_evidence(tmp_path: Path, provider: FakeProvider) -> None:
    """What was under way when the disk of the cache was full counts in the run that paid for it."""
    library = build(tmp_path)
    if library is None:
        pytest.skip("needs a C compiler")
    sharing = campaigns.load("sharing_campaign")
    place = next(each for each in sharing.places(library) if each.name == "disk of the cache is full")
    placed = sharing.try_place(tmp_path / "project", provider, place, 400)
    assert placed.broken() == 0
    assert placed.unkept > 0
    assert placed.lost == 0


@pytest.mark.nightly
def test_a_full_disk_is_told(tmp_path: Path, provider: FakeProvider) -> None:
    """When no more can be written, the run stops asking, fails, says why and loses only what was under way."""
    sharing = campaigns.load("sharing_campaign")
    place = next(each for each in sharing.places(None) if each.name == "files end at 256 KiB")
    placed = sharing.try_place(tmp_path / "project", provider, place, 400)
    assert placed.broken() == 0
    assert 0 < placed.paid < 400
