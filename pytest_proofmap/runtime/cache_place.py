"""Where the response cache of a project is: a folder, or a server that a team shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_proofmap.config import Configuration
from pytest_proofmap.runtime.cache import DiskStore
from pytest_proofmap.runtime.redis_store import RedisStore, rescue_folder

__all__ = ["open_cache", "service_store"]


def open_cache(
    configuration: Configuration, warn: Callable[[str], None], *, readonly: bool
) -> DiskStore | RedisStore:
    """Open the response cache that the configuration names.

    Raises:
        ConfigurationError: ``cache_url`` cannot be used.
        StoreError: Answers could not be kept, and ``readonly`` was not asked for.
    """
    if configuration.cache_url is None:
        return DiskStore(configuration.cache_path, warn, readonly=readonly)
    rescue = rescue_folder(configuration.cache_path)
    return RedisStore(configuration.cache_url, warn, rescue=rescue, readonly=readonly)


def service_store(configuration: Configuration) -> dict[str, Any]:
    """Return the response cache as the call service is told it; secrets stay in the environment."""
    if configuration.cache_url is None:
        return {"kind": "disk", "directory": str(configuration.cache_path)}
    rescue = rescue_folder(configuration.cache_path)
    return {"kind": "redis", "url": configuration.cache_url, "rescue": str(rescue)}
