"""What a project says of its run: its configuration, its secrets, and the runtimes that are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import pytest

from pytest_proofmap.config import Configuration, load, parse_runtime
from pytest_proofmap.environment import with_known_references
from pytest_proofmap.errors import ConfigurationError
from pytest_proofmap.runtime.parameters import part_key_headers
from pytest_proofmap.runtime.redaction import MIN_SECRET_LENGTH, Redactor, secrets_of_transport

__all__ = ["configuration_of", "redactor_of", "restriction_of"]


def configuration_of(config: pytest.Config) -> Configuration:
    """Return the configuration, with the runtimes that the project's hooks add.

    Raises:
        ConfigurationError: It is not allowed, or a hook returned what is no runtime.
    """
    configuration = load(config.rootpath)
    for runtimes in config.hook.pytest_proofmap_runtimes(config=config):
        if runtimes is not None and not isinstance(runtimes, Mapping):
            raise ConfigurationError(
                f"pytest_proofmap_runtimes returned {runtimes!r}; allowed: runtimes by name, such as "
                '{"rules-v2": {"model": "acme/rules"}}, or None.'
            )
        for name, table in (runtimes or {}).items():
            if name in configuration.runtimes:
                raise ConfigurationError(
                    f"pytest_proofmap_runtimes: the runtime {name!r} is configured in {configuration.source} "
                    "too. Remove one of the two."
                )
            source = "pytest_proofmap_runtimes"
            runtime = parse_runtime(name, table, source)
            configuration.add_runtime(configuration.with_key_headers(runtime, f"{source}: {name}"))
    return configuration


def redactor_of(config: pytest.Config, configuration: Configuration) -> Redactor:
    """Return what knows the secrets of the environment, of the configuration and of the project's hooks.

    Raises:
        ConfigurationError: A hook returned something that is no secret.
    """
    redactor = Redactor(os.environ)
    for runtime in configuration.runtimes.values():
        hidden, _ = part_key_headers(runtime.params, runtime.key_headers)
        written = {**hidden, "params": runtime.params, "api_base": runtime.api_base}
        redactor.add(*secrets_of_transport(with_known_references(written)))
    for secrets in config.hook.pytest_proofmap_secrets(config=config):
        if isinstance(secrets, str) or not isinstance(secrets, Iterable):
            raise ConfigurationError(
                f"pytest_proofmap_secrets returned a {type(secrets).__name__}; allowed: a list of strings."
            )
        for secret in secrets:
            if not isinstance(secret, str) or len(secret.strip()) < MIN_SECRET_LENGTH:
                raise ConfigurationError(
                    "pytest_proofmap_secrets returned something that is no secret; allowed: strings of at least "
                    f"{MIN_SECRET_LENGTH} characters, since a shorter one is part of ordinary words."
                )
            redactor.declare(secret)
    return redactor


def restriction_of(config: pytest.Config, configuration: Configuration) -> tuple[str, ...] | None:
    """Return the runtimes that ``--proofmap-runtimes`` leaves, or None when it leaves all.

    Raises:
        ConfigurationError: There is no such runtime.
    """
    names: tuple[str, ...] | None = config.option.proofmap_runtimes
    for name in names or ():
        try:
            configuration.runtime(name)
        except ConfigurationError as error:
            raise ConfigurationError(f"--proofmap-runtimes: {error}") from None
    return names
