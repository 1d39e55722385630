"""What of a project's tests a run collected, and what its command line left out.

A test that a node id leaves out is deselected, whether pytest gets to see it or not: the evidence must know of it,
or a run of one class would pass for a run of the whole file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator

import pytest

from pytest_proofmap.decide.wording import count

__all__ = ["Selection"]


class Selection:
    """The test files that were collected; on the controller of pytest-xdist, those that its workers collected."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        """Node ids of the files that were collected whole."""
        self.failed: set[str] = set()
        """Node ids of what could not be collected."""
        self.passed_over: set[str] = set()
        """Node ids of the files that ``--lf`` did not look into."""
        self._offered: dict[str, pytest.Collector] = {}
        """Classes that their file holds and that pytest has not looked into."""

    def take(self, report: pytest.CollectReport, config: pytest.Config) -> None:
        """Take in what one collector found."""
        if report.failed:
            self.failed.add(report.nodeid)
            return
        self._offered.pop(report.nodeid, None)
        found = report.result or ()
        self._offered |= {node.nodeid: node for node in found if isinstance(node, pytest.Class)}
        if not _is_file(report.nodeid):
            return
        if not found and _skips_files(config):
            self.passed_over.add(report.nodeid)
        else:
            self.files.add(report.nodeid)

    def collect_left_out(self) -> None:
        """Let pytest generate the tests of the classes that a node id left out, so that their cases are known.

        Functions of a file are generated together, whichever of them is selected; classes one by one
        (``Session.collect``). Nothing that is found here runs. The hook leads back to :meth:`take`.
        """
        while self._offered:
            _, node = self._offered.popitem()
            with warnings.catch_warnings():
                # Of a class that cannot be collected nobody asked.
                warnings.simplefilter("ignore")
                node.ihook.pytest_make_collect_report(collector=node)

    def reasons(self) -> Iterator[str]:
        """Yield why the run does not hold all of the tests, as far as collecting shows."""
        if self.failed:
            yield f"{_listed(self.failed)} could not be collected"
        if self.passed_over:
            yield f"--lf left out {_listed(self.passed_over)}"

    def to_json(self) -> list[list[str]]:
        """Return what the controller must know of it, in plain values."""
        return [sorted(names) for names in (self.files, self.failed, self.passed_over)]

    def add(self, found: Iterable[Iterable[str]]) -> None:
        """Add what a worker collected, as :meth:`to_json` says it."""
        for known, names in zip((self.files, self.failed, self.passed_over), found, strict=False):
            known.update(names)


def _is_file(nodeid: str) -> bool:
    return "::" not in nodeid and nodeid.endswith(".py")


def _skips_files(config: pytest.Config) -> bool:
    """Return whether ``--lf`` keeps pytest from looking into files without a failure.

    Such a file is reported as empty (``LFPluginCollSkipfiles`` of pytest's cacheprovider).
    """
    last_failed = config.pluginmanager.get_plugin("lfplugin")
    return bool(config.getoption("lf", False)) and bool(getattr(last_failed, "lastfailed", None))


def _listed(names: Iterable[str]) -> str:
    first, *others = sorted(names)
    return first if not others else f"{count(len(others) + 1, 'file')} such as {first}"
