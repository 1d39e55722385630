"""Criteria as pytest collects them: cases, slices and samples."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import pytest

from pytest_proofmap.config import parse
from pytest_proofmap.errors import MarkerError
from pytest_proofmap.plugin.criteria import CriteriaRegistry

SETTINGS: dict[str, Any] = {
    "baseline": "gpt",
    "challengers": ["mini"],
    "runtimes": {"gpt": {"model": "openai/gpt"}, "mini": {"model": "openai/mini"}},
}


class Tier(enum.Enum):
    """A customer's tier."""

    GOLD = "gold"


class Collecting:
    """A plugin that registers what an inner pytest collects."""

    def __init__(self, registry: CriteriaRegistry) -> None:
        self.registry = registry
        self.errors: list[str] = []
        self.identities: list[tuple[str, str | None, str, str, int]] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> Any:
        """Parametrize after everything else."""
        yield
        try:
            self.registry.parametrize(metafunc)
        except MarkerError as error:
            self.errors.append(str(error))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Identify what was collected."""
        found = [self.registry.identify(item) for item in session.items]
        self.identities = [
            (each.case, each.slice, each.runtime, each.role, each.sample) for each in found if each is not None
        ]


def collect(
    pytester: pytest.Pytester,
    source: str,
    *,
    runtimes: tuple[str, ...] | None = None,
    samples: int | None = None,
) -> Collecting:
    """Collect a module and return what was registered."""
    configuration = parse(SETTINGS, Path(), source="proofmap.toml", prefix="")
    plugin = Collecting(CriteriaRegistry(configuration, runtimes=runtimes, samples=samples))
    pytester.makepyfile(test_module="import pytest\nfrom test_criteria import Tier\n" + source)
    pytester.inline_run("--collect-only", "-p", "proofmap", plugins=[plugin])
    return plugin


ONE = """
@pytest.mark.parametrize("language", ["fr", "de"])
@pytest.mark.qualify(ARGUMENTS)
def test_one(runtime, language):
    pass
"""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep third-party plugins out of the inner runs."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def test_cases_and_identities(pytester: pytest.Pytester) -> None:
    """A criterion knows its cases, and each item its sample."""
    plugin = collect(pytester, ONE.replace("ARGUMENTS", "slice_by='language', samples=2"))
    criterion = plugin.registry.criteria["test_module.py::test_one"]
    assert (criterion.objective, criterion.module) == ("module", "test_module.py")
    assert criterion.cases == {"fr": {"language": "fr"}, "de": {"language": "de"}}
    assert criterion.slices == {"fr": "language=fr", "de": "language=de"}
    assert plugin.identities[:4] == [
        ("fr", "language=fr", "gpt", "baseline", 0),
        ("fr", "language=fr", "gpt", "baseline", 1),
        ("fr", "language=fr", "mini", "challenger", 0),
        ("fr", "language=fr", "mini", "challenger", 1),
    ]
    assert len(list(plugin.registry.expected())) == len(plugin.identities) == 8


def test_a_restriction_leaves_the_plan_whole(pytester: pytest.Pytester) -> None:
    """Restricted runtimes are not run, and are expected all the same."""
    plugin = collect(pytester, ONE.replace("ARGUMENTS", ""), runtimes=("mini",), samples=3)
    assert {each[2] for each in plugin.identities} == {"mini"}
    assert len(plugin.identities) == 6
    assert len(list(plugin.registry.expected())) == 12


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("'fr'", "language=fr"),
        ("3", "language=3"),
        ("True", "language=true"),
        ("Tier.GOLD", "language=gold"),
        ("'a=b,c d'", "language=a%3Db%2Cc%20d"),
        ("''", "language="),
    ],
)
def test_values_that_name_a_slice(pytester: pytest.Pytester, value: str, name: str) -> None:
    """Strings, whole numbers, truth values and enum members name slices, percent-encoded."""
    source = ONE.replace("ARGUMENTS", "slice_by='language'").replace('"fr"', value)
    plugin = collect(pytester, source)
    assert plugin.errors == []
    assert next(iter(plugin.registry.criteria["test_module.py::test_one"].slices.values())) == name


@pytest.mark.parametrize("value", ["1.5", "None", "('fr',)", "b'fr'", "object()"])
def test_values_that_name_no_slice(pytester: pytest.Pytester, value: str) -> None:
    """Other values are refused, and shown."""
    plugin = collect(pytester, ONE.replace("ARGUMENTS", "slice_by='language'").replace('"fr"', value))
    assert len(plugin.errors) == 1
    assert "slice_by='language' has the value" in plugin.errors[0]


def test_a_slice_argument_of_a_fixture(pytester: pytest.Pytester) -> None:
    """A parametrized fixture may name the slices too."""
    plugin = collect(
        pytester,
        """
@pytest.fixture(params=["fr", "de"])
def language(request):
    return request.param

@pytest.mark.qualify(slice_by="language")
def test_one(runtime, language):
    pass
""",
    )
    assert plugin.errors == []
    assert set(plugin.registry.criteria["test_module.py::test_one"].slices.values()) == {
        "language=fr",
        "language=de",
    }


def test_items_that_are_not_marked(pytester: pytest.Pytester) -> None:
    """Other items are no samples, whatever their parameters."""
    plugin = collect(
        pytester,
        '@pytest.mark.parametrize("runtime", [1])\ndef test_own(runtime):\n    pass\n\n'
        "def test_plain():\n    pass\n",
    )
    assert plugin.identities == []


def test_methods_and_names_with_brackets(pytester: pytest.Pytester) -> None:
    """A case id may hold brackets, dashes and the runtime's own name."""
    plugin = collect(
        pytester,
        """
class TestAll:
    @pytest.mark.parametrize("case", ["x[1]", "a-mini", "gpt"])
    @pytest.mark.qualify
    def test_one(self, runtime, case):
        pass
""",
    )
    assert list(plugin.registry.criteria["test_module.py::TestAll::test_one"].cases) == ["x[1]", "a-mini", "gpt"]
    assert {each[0] for each in plugin.identities} == {"x[1]", "a-mini", "gpt"}
