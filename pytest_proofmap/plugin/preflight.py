"""What would fail in every test alike, or make no evidence, is said once, before the first call.

Plugins that run a failed test again leave the best of several attempts, those that repeat every test make several
cases of one, and those that fork for each test lose what it found out. Where ``assert`` does nothing, every
runtime passes.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from pytest_proofmap.calls.request import owners
from pytest_proofmap.config import RuntimeConfig
from pytest_proofmap.environment import ENVIRONMENT_PREFIX, expand_environment, is_environment_reference
from pytest_proofmap.errors import ConfigurationError, PromptError
from pytest_proofmap.evidence.source import SourceFingerprints
from pytest_proofmap.prompts.library import PromptLibrary

if TYPE_CHECKING:
    from pytest_proofmap.plugin.session import QualificationSession

__all__ = ["check_before_spending", "preflight"]


KEYS = {
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks_ai": ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "mistral": ("MISTRAL_API_KEY", "MISTRAL_AZURE_API_KEY"),
    "openai": ("OPENAI_API_KEY", "OPENAI_WORKLOAD_IDENTITY", "OPENAI_BASE_URL", "OPENAI_API_BASE"),
    "openrouter": ("OPENROUTER_API_KEY", "OR_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "together_ai": ("TOGETHER_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"),
    "xai": ("XAI_API_KEY",),
}
"""Variables of which one must be set, by the prefix of a LiteLLM model id; other providers are not checked."""

HOW_TO_SET = "Set it (.env files are not read; where a fixture sets it, name it in the fixture)"

NO_ADDRESS = "is no address to call: write one with scheme and host, such as http://localhost:8000/v1"

PACKAGE = Path(__file__).parents[1]

LOADS_ENV_FILE = "dotenv"
"""In a test or a fixture this may set any variable; it is a part of ``load_dotenv`` too."""

INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders whose modules are not the project's, wherever its virtual environment is."""

ANSWERS_LOOKED_AT = 20_000
"""How many stored answers are searched for one of a runtime that cannot be called."""


def check_before_spending(run: QualificationSession, session: pytest.Session) -> None:
    """Check, before the first test runs, what would waste what is spent, and make the run ready.

    Raises:
        ConfigurationError: A plugin would run marked tests again, assert statements do nothing, or a budget or a
            plan cannot be kept.
        MarkerError: A marked test would not be qualified.
        RecordingsError: A recordings file cannot be read.
        StoreError: Answers could not be kept.
    """
    run.selection.collect_left_out()
    run.registry.refuse_unqualified(session.items)
    marked = [item for item in session.items if run.registry.identify(item) is not None]
    if not marked or run.config.option.collectonly:
        return
    refuse_without_asserts()
    refuse_reruns(run.config, marked)
    _check_plan(run)
    _check_budget(run)
    preflight(run, session.items)
    run.prepare(session.items)


def preflight(run: QualificationSession, items: Iterable[pytest.Item]) -> None:
    """Check what the collected criteria need: runtimes, prompt variants, endpoints and keys.

    Args:
        run: The run, whose criteria are collected.
        items: The collected tests, whose fixtures may set what the environment lacks.

    Raises:
        ConfigurationError: Something is missing; all of it is named, each once.
    """
    problems = [*_named_in_tests(run), *_unreachable(run, _Environment(run.config, items))]
    if not problems:
        return
    listed = "".join(f"\n  - {problem}" for problem in problems)
    many = "1 thing is missing" if len(problems) == 1 else f"{len(problems)} things are missing"
    raise ConfigurationError(f"{many}, and nothing was called:{listed}")


class _Environment:
    """The variables that calls will see: those that are set, and those that the project sets while its tests run.

    Keys and references are looked up when a call is made, so a fixture may set them. Which it does set only a run
    would show: here it is enough that the tests' side of the project names a variable, or loads a ``.env`` file.
    """

    def __init__(self, config: pytest.Config, items: Iterable[pytest.Item]) -> None:
        self._config = config
        self._items = items

    def has(self, name: str) -> bool:
        """Return whether a variable is set, or may be when it is asked for."""
        return bool(os.environ.get(name)) or self._loads_env_file or name in self._words

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(word for path in self._files() for word in re.findall(r"\w+", _text(path)))

    @cached_property
    def _loads_env_file(self) -> bool:
        return any(LOADS_ENV_FILE in word for word in self._words)

    def _files(self) -> set[Path]:
        """Return the files of the project's tests, loaded conftest.py, plugins, and fixtures."""
        files = {str(item.path) for item in self._items}
        modules = {
            getattr(definition.func, "__module__", "")
            for item in self._items
            if isinstance(item, pytest.Function)
            for definitions in item._fixtureinfo.name2fixturedefs.values()
            for definition in definitions
        }
        for plugin in (*self._config.pluginmanager.get_plugins(), *map(sys.modules.get, modules)):
            module = plugin if isinstance(plugin, ModuleType) else sys.modules.get(type(plugin).__module__)
            files.add(getattr(module, "__file__", None) or "")
        return {path for path in map(Path, files) if self._is_own(path)}

    def _is_own(self, path: Path) -> bool:
        """Return whether a file is the project's, and neither ProofMap's nor installed."""
        inside = path.is_relative_to(self._config.rootpath) and INSTALLED.isdisjoint(path.parts)
        return inside and not path.is_relative_to(PACKAGE)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _named_in_tests(run: QualificationSession) -> Iterator[str]:
    """Yield the runtimes and prompt variants that tests name and that are not there."""
    configuration = run.configuration
    sources = SourceFingerprints(configuration.rootdir)
    library = PromptLibrary(configuration.prompts_path, rootdir=configuration.rootdir)
    told: dict[str, list[str]] = {}
    for criterion in run.registry.criteria.values():
        asked = sources.names_asked(criterion.id)
        for name in sorted(asked.runtimes):
            try:
                configuration.runtime(name)
            except ConfigurationError as error:
                told.setdefault(str(error), []).append(criterion.id)
        for auxiliary, package in sorted(asked.packages, key=lambda each: (each[0] or "", each[1])):
            for name in run.registry.runtimes_of(criterion.plan) if auxiliary is None else (auxiliary,):
                problem = _prompt_problem(run, library, name, package)
                if problem is not None and criterion.id not in told.setdefault(problem, []):
                    told[problem].append(criterion.id)
    for problem, criteria in told.items():
        where = criteria[0] if len(criteria) == 1 else f"{criteria[0]} and {len(criteria) - 1} more"
        yield f"{problem} (asked for by {where})"


def _prompt_problem(run: QualificationSession, library: PromptLibrary, name: str, package: str) -> str | None:
    try:
        variant = run.configuration.runtime(name).variant
    except ConfigurationError:
        # That is a problem of its own.
        return None
    try:
        library.get(package, variant)
    except PromptError as error:
        return str(error)
    return None


def _unreachable(run: QualificationSession, environment: _Environment) -> Iterator[str]:
    """Yield the runtimes that cannot be called, where no stored answer may stand in for all of their calls."""
    if run.mode == "replay" or run.config.option.proofmap_plan:
        return
    names = dict.fromkeys(
        name for criterion in run.registry.criteria.values() for name in run.registry.runtimes_of(criterion.plan)
    )
    has_client = bool(run.config.hook.pytest_proofmap_call.get_hookimpls())
    told: dict[str, list[str]] = {}
    for name in names:
        runtime = run.configuration.runtime(name)
        problem = _unset(runtime, environment)
        if problem is None and not has_client:
            problem = _no_address(runtime) or _without_key(runtime, environment)
        if problem is not None and not _may_be_stored(run, runtime):
            told.setdefault(problem, []).append(name)
    for problem, runtimes in told.items():
        yield f"{', '.join(runtimes)}: {problem}, or give recorded answers"


def _unset(runtime: RuntimeConfig, environment: _Environment) -> str | None:
    for place, value in (("api_base", runtime.api_base), *runtime.params.items()):
        for name in _variables(value):
            if not environment.has(name):
                missing = f"the environment variable {name} is not set"
                return f"{place} is {ENVIRONMENT_PREFIX}{name}, and {missing}. {HOW_TO_SET}"
    return None


def _no_address(runtime: RuntimeConfig) -> str | None:
    """Return what is wrong with an endpoint that no request can be sent to."""
    if any(not os.environ.get(name) for name in _variables(runtime.api_base)):
        # A fixture sets it.
        return None
    base = expand_environment(runtime.api_base, "api_base")
    if not isinstance(base, str):
        return None
    try:
        where = urlsplit(base)
        # Asked for the port, it raises where that is no number.
        if where.scheme in ("http", "https") and where.hostname and not re.search(r"\s", base) and where.port != 0:
            return None
    except ValueError:
        pass
    # What a variable holds may be a secret.
    written = f"{base!r}, which" if base == runtime.api_base else f"{runtime.api_base}, whose value"
    return f"api_base is {written} {NO_ADDRESS}"


def _variables(value: object) -> Iterator[str]:
    """Yield the environment variables that a value names."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _variables(item)
    elif is_environment_reference(value):
        yield str(value)[len(ENVIRONMENT_PREFIX) :]


def _without_key(runtime: RuntimeConfig, environment: _Environment) -> str | None:
    prefix = runtime.model.split("/", 1)[0] if "/" in runtime.model else "openai"
    variables = KEYS.get(prefix, ())
    if runtime.api_base or "api_key" in runtime.params or any(map(environment.has, variables)):
        return None
    return f"no API key: the environment variable {variables[0]} is not set. {HOW_TO_SET}" if variables else None


def _may_be_stored(run: QualificationSession, runtime: RuntimeConfig) -> bool:
    """Return whether answers of a runtime are stored, so that a run may need no call to it."""
    if run.mode != "auto":
        return False
    alone = {runtime.name: runtime}
    try:
        return any(owners(request, alone) for request in islice(run.stored_requests(), ANSWERS_LOOKED_AT))
    except NotImplementedError:
        return True


RERUN_OPTIONS = {"reruns": "--reruns", "retries": "--retries", "force_flaky": "--force-flaky"}
RERUN_INI = ("reruns", "retries")
RERUN_MARKS = ("flaky", "retry")
RERUN_ATTRIBUTE = "_flaky_max_runs"
"""What the decorator of the plugin ``flaky`` leaves on a test function or class."""
REPEAT_PLUGINS = ("repeat", "pytest_repeat")
"""Names under which pytest-repeat is loaded: projects have options and marks of its common names too."""
FORK_PLUGIN = "pytest_forked"


def refuse_reruns(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    """Check that no plugin would run marked items again, repeat them or fork for them.

    Raises:
        ConfigurationError: One would.
    """
    active = [flag for name, flag in RERUN_OPTIONS.items() if config.getoption(name, None)]
    active += [f"{name} in the ini file" for name in RERUN_INI if _ini(config, name)]
    if active:
        raise ConfigurationError(
            f"{active[0]} would run qualified tests again until they pass, and the best of several attempts "
            "is no evidence. Leave it out with --proofmap; to measure repeats use "
            "qualify(samples=N) or --proofmap-samples=N."
        )
    has = config.pluginmanager.hasplugin
    repeats, forks = any(map(has, REPEAT_PLUGINS)), has(FORK_PLUGIN)
    repeating = ["--count"] if repeats and config.getoption("count") > 1 else []
    repeating += ["--flake-finder"] if config.getoption("flake_finder_enable", False) else []
    if repeating:
        raise ConfigurationError(
            f"{repeating[0]} would make several cases of each one, all with the same answer. Leave it out with "
            "--proofmap; to measure repeats use qualify(samples=N) or --proofmap-samples=N."
        )
    if forks and config.getoption("forked"):
        raise ConfigurationError(
            "--forked would run each qualified test in a process that takes its evidence with it. Leave it out "
            "with --proofmap; pytest-xdist (-n 2) runs tests in processes of their own."
        )
    decorates = has("flaky")
    for item in items:
        _refuse_marks(item, repeats=repeats, forks=forks)
        if decorates and isinstance(item, pytest.Function) and hasattr(item.obj, RERUN_ATTRIBUTE):
            raise ConfigurationError(_again(item, "the decorator 'flaky'"))


def _refuse_marks(item: pytest.Item, *, repeats: bool, forks: bool) -> None:
    for mark in item.iter_markers():
        if mark.name in RERUN_MARKS:
            raise ConfigurationError(_again(item, f"the mark {mark.name!r}"))
        if repeats and mark.name == "repeat":
            raise ConfigurationError(
                f"{item.nodeid}: the mark 'repeat' would make several cases of each one, all with the same "
                "answer. Remove it; to measure repeats use qualify(samples=N)."
            )
        if forks and mark.name == "forked":
            raise ConfigurationError(
                f"{item.nodeid}: the mark 'forked' would run this qualified test in a process that takes its "
                "evidence with it. Remove it; pytest-xdist (-n 2) runs tests in processes of their own."
            )


def _again(item: pytest.Item, what: str) -> str:
    return (
        f"{item.nodeid}: {what} would run this qualified test again until it passes, and the best of several "
        "attempts is no evidence. Remove it; to measure repeats use qualify(samples=N)."
    )


def _ini(config: pytest.Config, name: str) -> object:
    try:
        value = config.getini(name)
    except (KeyError, ValueError):
        return None
    return value not in ("", "0", 0, None, []) and value


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


def _check_plan(run: QualificationSession) -> None:
    if run.config.option.proofmap_plan and run.is_worker:
        raise ConfigurationError(
            "--proofmap-plan runs all tests dry in one process, which workers of pytest-xdist are not. Add -n 0."
        )


def _check_budget(run: QualificationSession) -> None:
    if run.budget_usd is None or run.mode == "replay":
        return
    names = {
        name for criterion in run.registry.criteria.values() for name in run.registry.runtimes_of(criterion.plan)
    }
    prices = {name: run.lookup.price(run.configuration.runtime(name)) for name in sorted(names)}
    unpriced = [name for name, price in prices.items() if price is None]
    if unpriced:
        raise ConfigurationError(
            f"a budget of ${run.budget_usd:g} cannot be kept: the price of {', '.join(unpriced)} is unknown. "
            "Declare it: price = { input_per_mtok = ..., output_per_mtok = ... } in the runtime's table, or "
            "leave the budget out."
        )
