"""Refuses to qualify where ``assert`` does nothing: a test that checks nothing passes on every runtime."""

from __future__ import annotations

from pytest_proofmap.errors import ConfigurationError

__all__ = ["refuse_without_asserts"]


def refuse_without_asserts(*, enabled: bool = __debug__) -> None:
    """Check that Python executes ``assert`` statements.

    pytest's own rewriting keeps those of test modules alive, but neither those of other modules that tests
    call nor any under ``--assert=plain``.

    Args:
        enabled: Whether it does.

    Raises:
        ConfigurationError: It does not.
    """
    if not enabled:
        raise ConfigurationError(
            "Python runs with -O or PYTHONOPTIMIZE, which removes assert statements: what checks nothing passes "
            "on every runtime, and would be taken for evidence. Run pytest --proofmap without it."
        )
