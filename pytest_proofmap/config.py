"""The configuration: ``[tool.proofmap]`` in ``pyproject.toml``, or ``proofmap.toml`` in its place.

Values are checked when they are read; every wrong one is a :class:`ConfigurationError` that names the file,
the key, what was found and what is allowed. Environment references (``os.environ/NAME``) are kept as written
and expanded at the moment of a live call, so that a replay needs no environment at all.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StrictBool, ValidationError, field_validator

from pytest_proofmap.environment import ENVIRONMENT_PREFIX, is_environment_reference, only_references
from pytest_proofmap.errors import ConfigurationError, ProofmapError, did_you_mean
from pytest_proofmap.parameters import (
    TRANSPORT_PARAMS,
    part_key_headers,
    problem_with_api_base,
    problem_with_params,
)
from pytest_proofmap.redaction import has_password, hide_patterns, is_secret_name
from pytest_proofmap.text import canonical_json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "Configuration",
    "CriterionSettings",
    "DeclaredPrice",
    "ObjectiveConfig",
    "ProviderLimits",
    "RuntimeConfig",
    "explain_validation",
    "find_rootdir",
    "load",
    "parse_runtime",
]

CACHE_SCHEMES = ("redis://", "rediss://", "unix://")
RUNTIME_NAME = re.compile(r"[A-Za-z0-9_.-]+")

Rate = Annotated[float, Field(gt=0.0, le=1.0, strict=True)]
Positive = Annotated[float, Field(gt=0.0, strict=True, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, strict=True)]


class Table(BaseModel):
    """Base of the configuration's tables: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", protected_namespaces=())


class DeclaredPrice(Table):
    """Price of a runtime in USD per million tokens."""

    input_per_mtok: NotNegative
    output_per_mtok: NotNegative
    cached_input_per_mtok: NotNegative | None = None
    """Input from the provider's prompt cache; None: as other input."""
    cache_write_per_mtok: NotNegative | None = None
    """Input written to the prompt cache; what is not declared from here on is as LiteLLM's map has it."""
    cache_write_1h_per_mtok: NotNegative | None = None
    audio_input_per_mtok: NotNegative | None = None
    audio_output_per_mtok: NotNegative | None = None
    image_input_per_mtok: NotNegative | None = None
    image_output_per_mtok: NotNegative | None = None
    search_usd: NotNegative | None = None
    """Fee for one search on the web, in USD."""


class RuntimeConfig(Table):
    """One named way to run a task."""

    name: Annotated[str, Field(exclude=True)]
    model: Annotated[str, Field(min_length=1)]
    """LiteLLM model id."""
    params: dict[str, Any] = {}
    """Default parameters of each call."""
    variant: str | None = None
    """Prompt variant; None: the default prompt."""
    api_base: str | None = None
    """Endpoint, as written."""
    provider: str = ""
    """Who serves the model; default: the prefix of the model id."""
    price: DeclaredPrice | None = None
    timeout_s: Positive = 60.0
    """Limit of one attempt, in seconds."""
    served: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None
    """Models that may answer for it, beside its own, as responses name them."""

    _key_headers: frozenset[str] = PrivateAttr(default=frozenset())

    @field_validator("params")
    @classmethod
    def _check_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        problem = problem_with_params(params)
        if problem is not None:
            raise ValueError(problem)
        return params

    def model_post_init(self, context: object) -> None:
        """Derive the provider from the model id."""
        if not self.provider:
            prefix = self.model.split("/", 1)[0] if "/" in self.model else "openai"
            object.__setattr__(self, "provider", prefix)

    @property
    def key_params(self) -> dict[str, Any]:
        """The parameters that may change an answer, without the transport's own."""
        params = {name: value for name, value in self.params.items() if name not in TRANSPORT_PARAMS}
        return {**params, **part_key_headers(self.params, self.key_headers)[1]}

    @property
    def key_headers(self) -> frozenset[str]:
        """Names of the headers that are part of each request, in lower case."""
        return self._key_headers

    @property
    def request_identity(self) -> str:
        """What its requests have of it: two runtimes that share it can only be given the same answers."""
        return canonical_json([self.model, self.api_base, self.key_params, self.variant])

    @property
    def transport_references(self) -> dict[str, Any]:
        """What of the transport's parameters names environment variables; names are no secrets, values may be."""
        references = {name: only_references(self.params.get(name)) for name in sorted(TRANSPORT_PARAMS)}
        return {name: value for name, value in references.items() if value}


class ProviderLimits(Table):
    """Limits of one provider."""

    rpm: Count | None = None
    """Requests a minute."""
    tpm: Count | None = None
    """Tokens a minute."""
    concurrency: Count | None = None
    """Calls under way at once."""


class ObjectiveConfig(Table):
    """What to optimise for on an objective, and its service ceilings."""

    optimize: Literal["cost", "latency"] = "cost"
    p95_latency_s: Positive | None = None
    max_cost_per_1k_usd: Positive | None = None


class CriterionSettings(Table):
    """What a ``qualify`` mark may set, and the configuration for all criteria; None: not set here."""

    baseline: str | None = None
    challengers: list[str] | None = None
    objective: str | None = None
    slice_by: str | list[str] | None = None
    samples: Count | None = None
    min_pass_rate: Rate | None = None
    max_failure_rate: Rate | None = None
    margin: Annotated[float, Field(strict=True)] | None = None
    """Tolerated loss of pass rate: 0.05 is 5 points."""
    confidence: Annotated[float, Field(ge=0.0, lt=1.0, strict=True)] | None = None
    slices: Literal["fdr", "all", "each"] | None = None
    """How the verdicts on several slices are corrected for each other."""
    looks: Literal[1, 2, 3, "open"] | None = None
    """How often a verdict may be looked for, with more cases each time."""
    sensitive: StrictBool | None = None
    baseline_must_pass: StrictBool | None = None
    prefetch: StrictBool | None = None
    miss: tuple[Any, ...] | None = None
    """Exceptions that are a miss of the model: classes in a mark, their dotted names in the configuration."""
    calls: Literal["optional", "required"] | None = None
    """Whether a sample may pass without asking its runtime."""

    @field_validator("miss", mode="before")
    @classmethod
    def _check_miss(cls, given: Any) -> tuple[Any, ...] | None:
        if given is None:
            return None
        classes = tuple(given) if isinstance(given, list | tuple) else (given,)
        for class_ in classes:
            problem = _problem_with_miss(class_)
            if problem is not None:
                raise ValueError(problem)
        return classes

    @field_validator("margin")
    @classmethod
    def _check_margin(cls, margin: float | None) -> float | None:
        if margin is not None and not 0.0 < margin < 1.0:
            raise ValueError("must be greater than 0 and less than 1; 0.05 is 5 points")
        return margin

    @field_validator("looks", mode="before")
    @classmethod
    def _check_looks(cls, looks: object) -> object:
        if isinstance(looks, bool | float):
            raise ValueError('must be 1, 2, 3 or "open"')
        return looks

    @field_validator("confidence")
    @classmethod
    def _check_confidence(cls, confidence: float | None) -> float | None:
        if confidence is not None and confidence != 0 and confidence < 0.5:
            raise ValueError("must be 0 (decide on the observed rate) or in [0.5, 1)")
        return confidence


def _problem_with_miss(given: object) -> str | None:
    """Return why something cannot be what a mark or the configuration names as a miss, or None when it can."""
    if isinstance(given, str) and given:
        return None
    if not isinstance(given, type) or not issubclass(given, Exception):
        instance = isinstance(given, Exception)
        hint = f" Did you mean {type(given).__name__}, the class?" if instance else ""
        return f"{given!r} is no class of exceptions, such as TimeoutError or json.JSONDecodeError.{hint}"
    if issubclass(given, ProofmapError):
        return (
            f"it names {given.__name__}, one of ProofMap's own errors, which say nothing of the model: no usable "
            "answer is an error, and a refusal is a miss already"
        )
    return None


class Configuration(CriterionSettings):
    """All of ``[tool.proofmap]``."""

    prompts: str = "prompts"
    recordings: list[str] = []
    cache_dir: str = ".proofmap/cache"
    cache_url: str | None = None
    """A Redis server in place of ``cache_dir``, as written."""
    lock: str = "proofmap.lock"
    store_texts: StrictBool = True
    """Whether the evidence holds prompts and answers."""
    concurrency: Annotated[int, Field(ge=0, strict=True)] = 32
    budget_usd: Positive | None = None
    max_age_days: Annotated[int, Field(ge=0, strict=True)] = 90
    """Answers older than so many days are named; 0: none is."""
    max_response_mb: Count = 64
    """The longest response of a model that is read, in MB."""
    runtimes: dict[str, RuntimeConfig] = {}
    key_headers: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]] = []
    """Names of headers that choose the model: they are part of each request, and of its key."""
    limits: dict[str, ProviderLimits] = {}
    objectives: dict[str, ObjectiveConfig] = {}

    _rootdir: Path = PrivateAttr(default_factory=Path)
    _source: str = PrivateAttr(default="defaults")
    _from_hooks: set[str] = PrivateAttr(default_factory=set)

    @property
    def rootdir(self) -> Path:
        """The folder that relative paths start from."""
        return self._rootdir

    @property
    def source(self) -> str:
        """Where the configuration was read from, for messages."""
        return self._source

    @property
    def cache_path(self) -> Path:
        """The folder of the response cache."""
        return self._rootdir / self.cache_dir

    @property
    def prompts_path(self) -> Path:
        """The folder of the prompt packages."""
        return self._rootdir / self.prompts

    @property
    def lock_path(self) -> Path:
        """The file of approved routes."""
        return self._rootdir / self.lock

    def with_key_headers(self, runtime: RuntimeConfig, where: str) -> RuntimeConfig:
        """Let a runtime know which of its headers are part of its requests.

        Raises:
            ConfigurationError: Such a header is not written out.
        """
        runtime._key_headers = frozenset(name.lower() for name in self.key_headers)
        for name, value in (
            part_key_headers(runtime.params, runtime.key_headers)[1].get("extra_headers", {}).items()
        ):
            if not isinstance(value, str) or is_environment_reference(value) or is_secret_name(name):
                raise ConfigurationError(
                    f"{where}: the header {name!r} is one of key_headers, so that its value is kept with each "
                    "answer: write it out as a string, or take a secret out of key_headers."
                )
        return runtime

    def add_runtime(self, runtime: RuntimeConfig) -> None:
        """Take in a runtime that a hook of the project gives."""
        self.runtimes[runtime.name] = runtime
        self._from_hooks.add(runtime.name)

    @property
    def from_hooks(self) -> frozenset[str]:
        """Names of the runtimes that hooks gave, which reading files does not find."""
        return frozenset(self._from_hooks)

    def runtime(self, name: str) -> RuntimeConfig:
        """Return a runtime by name; an unconfigured name with a ``/`` is taken as a LiteLLM model id.

        Raises:
            ConfigurationError: The name is neither configured nor a LiteLLM model id.
        """
        if name in self.runtimes:
            return self.runtimes[name]
        if "/" in name:
            return RuntimeConfig(name=name, model=name)
        known = sorted(self.runtimes)
        listed = ", ".join(known) if known else "none"
        raise ConfigurationError(
            f"unknown runtime {name!r}.{did_you_mean(name, known)} Configured in {self.source}: {listed}. "
            f"Add [tool.proofmap.runtimes.{name}] with a model, or give a LiteLLM model id such as "
            "'openai/gpt-4o-mini'."
        )


def find_rootdir(start: Path) -> Path:
    """Return the nearest folder, upward from ``start``, that holds a ProofMap configuration.

    Falls back to ``start`` when there is none.
    """
    for folder in (start, *start.parents):
        if (folder / "proofmap.toml").is_file():
            return folder
        pyproject = folder / "pyproject.toml"
        if pyproject.is_file() and _tool_table(_read_toml(pyproject)) is not None:
            return folder
    return start


def load(rootdir: Path) -> Configuration:
    """Read and check the configuration at ``rootdir``; without one, the defaults hold.

    Raises:
        ConfigurationError: A file is not TOML, or a key or value is not allowed.
    """
    own, pyproject = rootdir / "proofmap.toml", rootdir / "pyproject.toml"
    if own.is_file():
        return parse(_read_toml(own), rootdir, source="proofmap.toml", prefix="")
    table = _tool_table(_read_toml(pyproject)) if pyproject.is_file() else None
    if table is None:
        return parse({}, rootdir, source="the defaults (no [tool.proofmap] found)", prefix="tool.proofmap")
    return parse(table, rootdir, source="pyproject.toml", prefix="tool.proofmap")


def parse(table: dict[str, Any], rootdir: Path, *, source: str, prefix: str) -> Configuration:
    """Check a configuration table.

    Raises:
        ConfigurationError: A key or value is not allowed.
    """
    data = dict(table)
    runtimes = data.get("runtimes")
    if isinstance(runtimes, dict):
        data["runtimes"] = {name: _named(name, runtime, source, prefix) for name, runtime in runtimes.items()}
    try:
        configuration = Configuration.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError(explain_validation(error, Configuration, source, prefix)) from None
    _check_cache_url(configuration.cache_url, f"{source}: [{prefix}]" if prefix else source)
    _check_paths(configuration, f"{source}: [{prefix}]" if prefix else source)
    for runtime in configuration.runtimes.values():
        where = f"{source}: [{prefix}.runtimes.{runtime.name}]".replace("[.", "[")
        _check_api_base(runtime, where)
        configuration.with_key_headers(runtime, where)
    configuration._rootdir = rootdir
    configuration._source = source
    return configuration


def parse_runtime(name: str, table: object, source: str) -> RuntimeConfig:
    """Check one runtime given as a table, such as one that a hook returned.

    Raises:
        ConfigurationError: A key or value is not allowed.
    """
    if not isinstance(table, Mapping):
        raise ConfigurationError(
            f"{source}: the runtime {name!r} is {table!r}; allowed: a table with its keys, such as "
            '{"model": "openai/gpt-4o-mini"}.'
        )
    data = _named(name, dict(table), source, "")
    where = f"runtimes.{name}"
    try:
        runtime = RuntimeConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError(explain_validation(error, RuntimeConfig, source, where)) from None
    _check_api_base(runtime, f"{source}: [{where}]")
    return runtime


def _check_api_base(runtime: RuntimeConfig, where: str) -> None:
    """Check what a validator must not, because its error repeats the value.

    Raises:
        ConfigurationError: The endpoint holds credentials.
    """
    problem = problem_with_api_base(runtime.api_base or "")
    if problem is not None:
        raise ConfigurationError(f"{where}: {problem}.")


def _check_cache_url(url: str | None, where: str) -> None:
    """Check what a validator must not, because its error repeats the value.

    Raises:
        ConfigurationError: The URL holds a password or names no Redis server.
    """
    if url is None or is_environment_reference(url):
        return
    if has_password(url):
        raise ConfigurationError(
            f"{where}: cache_url holds a password: secrets never live in the file. Put the URL into an "
            f'environment variable, and write cache_url = "{ENVIRONMENT_PREFIX}NAME".'
        )
    if not url.startswith(CACHE_SCHEMES):
        raise ConfigurationError(
            f"{where}: cache_url = {url!r} is not allowed: it starts with {', '.join(CACHE_SCHEMES)} or "
            f"{ENVIRONMENT_PREFIX}."
        )


def _named(name: str, table: object, source: str, prefix: str) -> Any:
    if not isinstance(name, str) or not RUNTIME_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{source}: the runtime name {name!r} is not allowed. "
            "A name is made of letters, digits, '_', '.' and '-'; pytest shows it in test ids."
        )
    if not isinstance(table, dict):
        return table
    if "name" in table:
        where = f"[{prefix}.runtimes.{name}]".replace("[.", "[")
        raise ConfigurationError(f"{source}: {where} has an unknown key 'name': the table's own name is it.")
    return {"name": name, **table}


def _check_paths(configuration: Configuration, where: str) -> None:
    """Check that paths written on Windows name the same files here."""
    if os.sep == "\\":
        return
    paths = [(name, getattr(configuration, name)) for name in ("prompts", "cache_dir", "lock")]
    paths += [("recordings", pattern) for pattern in configuration.recordings]
    for name, path in paths:
        if "\\" in path:
            raise ConfigurationError(
                f"{where}: {name} has {path!r}, whose backslash separates folders on Windows only. Write "
                f"{path.replace(chr(92), '/')!r}, which every system takes."
            )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        # Editors on Windows may start a file with a byte-order mark, which TOML does not know.
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        # Not of tomllib's own kind: a number of thousands of digits, and tables within tables without end.
        raise ConfigurationError(f"{path}: not valid TOML: {error}. Mend the file and run again.") from None


def _tool_table(data: dict[str, Any]) -> dict[str, Any] | None:
    tool = data.get("tool")
    table = tool.get("proofmap") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigurationError(f"pyproject.toml: tool.proofmap = {table!r} is not allowed: it is a table.")
    return table


def explain_validation(error: ValidationError, model: type[BaseModel], source: str, prefix: str = "") -> str:
    """Return a validation error in words: where, the wrong value, what is allowed.

    Tables are named, not printed: they may hold what must not be shown.
    """
    lines = [_explain_one(dict(problem), model, source, prefix) for problem in error.errors()]
    return "\n".join(dict.fromkeys(lines))


def _explain_one(problem: dict[str, Any], model: type[BaseModel], source: str, prefix: str) -> str:
    location = [part for part in problem["loc"] if isinstance(part, int) or not _is_union_branch(part)]
    *parents, last = location
    table = ".".join(part for part in (prefix, *(str(parent) for parent in parents)) if part)
    where = f"{source}: [{table}]" if table else source
    if problem["type"] == "extra_forbidden":
        table_model = _model_at(model, parents)
        allowed = sorted(set(table_model.model_fields) - {"name"})
        hint = did_you_mean(str(last), allowed)
        if table_model is RuntimeConfig and last in TRANSPORT_PARAMS:
            example = f"{ENVIRONMENT_PREFIX}NAME" if str(last).endswith("key") else "..."
            hint = f' It is one of LiteLLM\'s parameters: params = {{ {last} = "{example}" }}.'
        return f"{where} has an unknown key {last!r}.{hint} Allowed: {', '.join(allowed)}."
    if problem["type"] == "missing":
        return f"{where} lacks the key {last!r}, which is required."
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        allowed = re.findall(r"'([^']*)'", str(problem.get("ctx", {}).get("expected", "")))
        message += f".{did_you_mean(problem['input'], allowed)}".removesuffix(".")
    if problem["type"] in {"dict_type", "model_type"}:
        message = "it is a table"
    value = "" if isinstance(problem["input"], dict) else f" = {hide_patterns(repr(problem['input']))}"
    end = "" if message.endswith("?") else "."
    return f"{where}: {last}{value} is not allowed: {message[:1].lower()}{message[1:]}{end}"


def _is_union_branch(part: str) -> bool:
    return part in {"str", "list[str]"}


def _model_at(model: type[BaseModel], path: list[Any]) -> type[BaseModel]:
    """Return the table that a path of keys leads to, going through mappings and optional values."""
    for part in path:
        if part not in model.model_fields:
            continue
        found = _nested_model(model.model_fields[part].annotation)
        model = found or model
    return model


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    # On Python 3.10 list[str] is a type too, and no class.
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _nested_model(argument)
        if found is not None:
            return found
    return None
