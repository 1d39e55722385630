"""What a JUnit file says of a run, in properties of its tests and of its suite: names and figures, no texts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_proofmap.plugin.finish import RESULT
from pytest_proofmap.plugin.reports import view_of_run
from pytest_proofmap.plugin.session import RECORD
from pytest_proofmap.text import visible

if TYPE_CHECKING:
    from pytest_proofmap.calls.sample import SampleRecord
    from pytest_proofmap.plugin.session import QualificationSession
    from pytest_proofmap.report.view import View

__all__ = ["add_suite_properties", "add_test_properties", "describes_tests", "is_wanted", "suite_properties"]

FAMILY = "junit_family"
Property = tuple[str, object]
PROPERTIES = pytest.StashKey[list[Property]]()
"""What the file says of an item, on ``item.stash``."""

_NO_CHARACTERS = re.compile("[\ufffe\uffff]")


def is_wanted(config: pytest.Config) -> bool:
    """Return whether a JUnit file is written."""
    return bool(getattr(config.option, "xmlpath", None))


def describes_tests(config: pytest.Config) -> bool:
    """Return whether tests have properties.

    Nearly all readers take them, and Jenkins' xUnit plugin refuses the file. Who states the family ``xunit2``,
    which pytest also takes where nobody states one, wants what is in its schema and no more.
    """
    if not is_wanted(config):
        return False
    return config.getini(FAMILY) != "xunit2" or FAMILY not in _stated(config)


def _stated(config: pytest.Config) -> set[str]:
    """Return the names of pytest's settings that somebody set; nothing public tells them from defaults."""
    # Before pytest 9.1 under a public name, and without those of the command line. Since then that name warns:
    # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/config/__init__.py#L1277
    known = getattr(config, "_inicfg", None)
    overrides = (text.partition("=")[0].strip() for text in config.option.override_ini or ())
    return {*(config.inicfg if known is None else known), *overrides}


def add_test_properties(run: QualificationSession, item: pytest.Item, report: pytest.TestReport) -> None:
    """Add a sample's properties to a report, once it has an outcome."""
    record = item.stash.get(RECORD, None)
    if record is None or record.running:
        return
    # At the teardown the calls are gone: the answers of thousands of tests would not be kept.
    if report.when != "teardown" and record.outcome is not None:
        objective = run.registry.criteria[record.id.criterion].objective
        item.stash[PROPERTIES] = list(_of_sample(record, objective, repeated=_is_repeated(run, record)))
    known = item.stash.get(PROPERTIES, None)
    report.user_properties.extend(known or ())


def add_suite_properties(config: pytest.Config) -> None:
    """Add what was decided to the file's suite, before pytest writes it."""
    result = config.stash.get(RESULT, None)
    if result is None or not is_wanted(config):
        return
    # The fixture record_testsuite_property writes the same, but is of a session's tests:
    # https://github.com/pytest-dev/pytest/blob/9.2.0/src/_pytest/junitxml.py#L415
    from _pytest.junitxml import xml_key

    file = config.stash.get(xml_key, None)
    if file is not None:
        for name, value in suite_properties(view_of_run(result)):
            file.add_global_property(_in_xml(name), value)


def _is_repeated(run: QualificationSession, record: SampleRecord) -> bool:
    return run.registry.plan_of(record.id).bar.samples > 1


def _of_sample(record: SampleRecord, objective: str, *, repeated: bool) -> Iterator[Property]:
    sample = record.id
    yield "proofmap.objective", objective
    yield "proofmap.criterion", sample.criterion
    yield "proofmap.case", sample.case
    if sample.slice is not None:
        yield "proofmap.slice", sample.slice
    yield "proofmap.runtime", sample.runtime
    yield "proofmap.role", sample.role
    if repeated:
        yield "proofmap.sample", str(sample.sample)
    yield "proofmap.outcome", record.outcome or "error"
    if record.error_kind is not None:
        yield "proofmap.error_kind", record.error_kind
    costs = [call.cost_usd for call in record.calls if call.auxiliary is None]
    known = [cost for cost in costs if cost is not None]
    # A sum of what is known would pass for all of it.
    if costs and len(known) == len(costs):
        yield "proofmap.cost_usd", _plain(math.fsum(known))


def suite_properties(view: View) -> Iterator[Property]:
    """Yield what the file says of a run."""
    money = view.money
    yield "proofmap.run", view.run.id
    yield "proofmap.complete", _yes(view.run.complete)
    if view.run.shard:
        yield "proofmap.shard", _yes(view.run.shard)
    yield "proofmap.findings", str(len(view.findings))
    yield "proofmap.calls", str(money.calls)
    # What is unknown is not 0.
    if money.spent.known_usd is not None:
        yield "proofmap.spent_usd", _plain(money.spent.known_usd)
    if money.listed.known_usd is not None:
        yield "proofmap.list_usd", _plain(money.listed.known_usd)
    if money.unpriced:
        yield "proofmap.unpriced_answers", str(money.unpriced)
    for objective in view.objectives:
        if objective.decision_error is not None:
            yield f"proofmap.decision_error[{objective.name}]", objective.decision_error
        for (slice_name, runtime), standing in objective.standings.items():
            yield f"proofmap.verdict[{_route(objective.name, slice_name)}][{runtime}]", standing.status
        for route in objective.routes:
            where = _route(route.objective, route.slice)
            yield f"proofmap.chain[{where}]", ", ".join(route.chain)
            if route.cost.ratio is not None:
                yield f"proofmap.cost_ratio[{where}]", f"{route.cost.ratio:.4g}"
            if route.latency.ratio is not None:
                yield f"proofmap.latency_ratio[{where}]", f"{route.latency.ratio:.4g}"


def _route(objective: str, slice_name: str | None) -> str:
    return objective if slice_name is None else f"{objective}/{slice_name}"


def _plain(usd: float) -> str:
    """Return an amount without an exponent, which not every reader knows."""
    return f"{usd:.9f}".rstrip("0").rstrip(".")


def _yes(value: bool) -> str:
    return "true" if value else "false"


def _in_xml(name: str) -> str:
    """Return a name that XML can hold; pytest sees to the values alone."""
    return _NO_CHARACTERS.sub("\ufffd", visible(name))
