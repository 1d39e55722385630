"""What would fail in every test alike is said once, before the first call."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from pytest_proofmap.config import RuntimeConfig
from pytest_proofmap.environment import ENVIRONMENT_PREFIX, is_environment_reference
from pytest_proofmap.errors import ConfigurationError, PromptError
from pytest_proofmap.evidence.source import SourceFingerprints
from pytest_proofmap.runtime.ownership import owners
from pytest_proofmap.runtime.prompts import PromptLibrary

if TYPE_CHECKING:
    from pytest_proofmap.run.session import QualificationSession

__all__ = ["preflight"]

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

ANSWERS_LOOKED_AT = 20_000
"""How many stored answers are searched for one of a runtime that cannot be called."""


def preflight(run: QualificationSession) -> None:
    """Check what the collected criteria need: runtimes, prompt variants, endpoints and keys.

    Raises:
        ConfigurationError: Something is missing; all of it is named, each once.
    """
    problems = [*_named_in_tests(run), *_unreachable(run)]
    if not problems:
        return
    listed = "".join(f"\n  - {problem}" for problem in problems)
    many = "1 thing is missing" if len(problems) == 1 else f"{len(problems)} things are missing"
    raise ConfigurationError(f"{many}, and nothing was called:{listed}")


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


def _unreachable(run: QualificationSession) -> Iterator[str]:
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
        problem = _unset(runtime) or (None if has_client else _without_key(runtime))
        if problem is not None and not _may_be_stored(run, runtime):
            told.setdefault(problem, []).append(name)
    for problem, runtimes in told.items():
        yield f"{', '.join(runtimes)}: {problem}. Set it (.env files are not read), or give recorded answers"


def _unset(runtime: RuntimeConfig) -> str | None:
    for place, value in (("api_base", runtime.api_base), *runtime.params.items()):
        for name in _variables(value):
            if not os.environ.get(name):
                return f"{place} is {ENVIRONMENT_PREFIX}{name}, and the environment variable {name} is not set"
    return None


def _variables(value: object) -> Iterator[str]:
    """Yield the environment variables that a value names."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _variables(item)
    elif is_environment_reference(value):
        yield str(value)[len(ENVIRONMENT_PREFIX) :]


def _without_key(runtime: RuntimeConfig) -> str | None:
    prefix = runtime.model.split("/", 1)[0] if "/" in runtime.model else "openai"
    variables = KEYS.get(prefix, ())
    if runtime.api_base or "api_key" in runtime.params or any(os.environ.get(name) for name in variables):
        return None
    return f"no API key: the environment variable {variables[0]} is not set" if variables else None


def _may_be_stored(run: QualificationSession, runtime: RuntimeConfig) -> bool:
    """Return whether answers of a runtime are stored, so that a run may need no call to it."""
    if run.mode != "auto":
        return False
    own = {runtime.name: runtime}
    try:
        return any(owners(request, own) for request in islice(run.stored_requests(), ANSWERS_LOOKED_AT))
    except NotImplementedError:
        return True
