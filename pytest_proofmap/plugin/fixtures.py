"""The fixtures ``runtime`` and ``runtimes``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_proofmap.plugin.handles import Runtime, Runtimes

__all__ = ["NEEDS_OPTION", "runtime", "runtimes"]

NEEDS_OPTION = "needs --proofmap"


@pytest.fixture
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """The runtime under test: a model with its prompt variant and parameters (needs --proofmap)."""
    if not request.config.option.proofmap:
        pytest.skip(NEEDS_OPTION)
    from pytest_proofmap.plugin.session import SESSION

    param = getattr(request, "param", None)
    if param is None:
        pytest.fail(
            f"{request.node.nodeid}: pytest does not parametrize this test, so it has no runtime. Name 'runtime' "
            "among the arguments of a test function that is marked 'qualify'; tests of unittest classes and "
            "request.getfixturevalue('runtime') cannot have it.",
            pytrace=False,
        )
    return request.config.stash[SESSION].runtime(request.node, param.name)


@pytest.fixture
def runtimes(request: pytest.FixtureRequest) -> Runtimes:
    """Any configured runtime by name, for auxiliary calls such as a judge's (needs --proofmap)."""
    if not request.config.option.proofmap:
        pytest.skip(NEEDS_OPTION)
    from pytest_proofmap.errors import MarkerError
    from pytest_proofmap.plugin.session import SESSION

    try:
        return request.config.stash[SESSION].runtimes(request.node)
    except MarkerError as error:
        pytest.fail(str(error), pytrace=False)
