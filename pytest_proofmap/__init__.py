"""ProofMap decides with evidence, in pytest, which model and prompt each AI task should run on.

The names below are loaded when they are first used: importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_proofmap._version import __version__

if TYPE_CHECKING:
    from pytest_proofmap.calls.answer import Reply
    from pytest_proofmap.errors import CallError, ProofmapError, RefusalError
    from pytest_proofmap.evidence.artifact import read_evidence
    from pytest_proofmap.evidence.models import Evidence
    from pytest_proofmap.plugin.handles import Runtime, Runtimes

__all__ = [
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

_HOMES = {
    "CallError": "pytest_proofmap.errors",
    "Evidence": "pytest_proofmap.evidence.models",
    "ProofmapError": "pytest_proofmap.errors",
    "RefusalError": "pytest_proofmap.errors",
    "Reply": "pytest_proofmap.calls.answer",
    "Runtime": "pytest_proofmap.plugin.handles",
    "Runtimes": "pytest_proofmap.plugin.handles",
    "read_evidence": "pytest_proofmap.evidence.artifact",
}


def __getattr__(name: str) -> object:
    """Load a public name from where it lives."""
    from importlib import import_module

    if name == "approved":
        return import_module("pytest_proofmap.approved")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
