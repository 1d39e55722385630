"""The pytest plugin: hooks that delegate.

Without ``--proofmap`` only the marker, the options, the fixtures and a skip are there, and nothing beyond
pytest and the standard library is imported.
"""

from __future__ import annotations

import pytest

from pytest_proofmap import hookspecs
from pytest_proofmap.plugin.fixtures import NEEDS_OPTION, runtime, runtimes
from pytest_proofmap.plugin.options import MARK, MARK_HELP, add_options

__all__ = ["runtime", "runtimes"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that projects may implement."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and start a run when one is asked for."""
    config.addinivalue_line("markers", MARK_HELP)
    if config.option.proofmap:
        _start(config)
    elif config.option.proofmap_plan:
        raise pytest.UsageError("--proofmap-plan plans a run with --proofmap. Add --proofmap.")
    else:
        config.pluginmanager.register(SkipMarked(), "proofmap-skip")


def _start(config: pytest.Config) -> None:
    from pytest_proofmap.errors import ProofmapError
    from pytest_proofmap.plugin.hooks import start

    try:
        start(config)
    except ProofmapError as error:
        raise pytest.UsageError(str(error)) from error


class SkipMarked:
    """Skips marked tests in a run without ``--proofmap``."""

    # First, so that plugins that look at marks find the skip there.
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Skip what is marked."""
        skip = pytest.mark.skip(reason=NEEDS_OPTION)
        # Thousands of items share few parents, and asking each one's whole chain takes longer than all else here.
        parents: dict[int, bool] = {}
        for item in items:
            parent = item.parent
            marked = parents.get(id(parent))
            if marked is None:
                marked = parent is not None and parent.get_closest_marker(MARK) is not None
                parents[id(parent)] = marked
            if marked or MARK in [mark.name for mark in item.own_markers]:
                item.add_marker(skip)
