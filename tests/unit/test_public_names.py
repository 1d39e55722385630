"""The names that projects may use, frozen here so that none is lost by accident."""

from __future__ import annotations

import pytest

import pytest_proofmap

PUBLIC = [
    "CallError",
    "Evidence",
    "ProofmapError",
    "RefusalError",
    "Reply",
    "Runtime",
    "Runtimes",
    "__version__",
    "approved",
    "read_evidence",
]


def test_the_public_names() -> None:
    """Every public name of the first version is there; new ones are added to this list."""
    assert set(PUBLIC) <= set(pytest_proofmap.__all__)
    assert sorted(pytest_proofmap.__all__) == list(pytest_proofmap.__all__)
    assert dir(pytest_proofmap) == sorted(pytest_proofmap.__all__)


def test_each_name_can_be_loaded() -> None:
    """A name is loaded from where it lives when it is first used."""
    for name in pytest_proofmap.__all__:
        assert getattr(pytest_proofmap, name) is not None


def test_an_unknown_name() -> None:
    """A name that is not public is an attribute error that names it."""
    with pytest.raises(AttributeError, match="'pytest_proofmap' has no attribute 'Nothing'"):
        _ = pytest_proofmap.Nothing
