"""The protocol of a store of answers.

The cache on disk, the answers kept in memory for one run and a team's shared cache all look like this.

Where the response cache of a project is: a folder, or a server that a team shares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.calls.cache.disk import DiskStore
from pytest_proofmap.calls.cache.redis import RedisStore, rescue_folder
from pytest_proofmap.config import Configuration

__all__ = ["AnswerStore", "MemoryStore", "SharedStore", "open_cache", "service_store"]


class AnswerStore(Protocol):
    """Where answers are kept, by key."""

    def get(self, key: str) -> Answer | None:
        """Return the answer of a key, or None; an unreadable entry is a miss and warns once."""

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; it is on disk when this returns.

        Raises:
            StoreError: The answer could not be kept; it was paid, so this must be loud.
        """

    def close(self) -> None:
        """Release files and connections; closing twice is fine."""


@runtime_checkable
class SharedStore(AnswerStore, Protocol):
    """A store that several processes or machines use at once: a lease on a key says who makes its call."""

    def claim(self, key: str, seconds: float) -> bool:
        """Take or extend the lease on a key; False: another process holds it.

        It ends with its holder or after ``seconds``, so that a death holds nobody up for good.

        Raises:
            StoreError: The store cannot be asked.
        """

    def give_back(self, key: str) -> None:
        """End the lease on a key that gets no answer here.

        Raises:
            StoreError: The store cannot be asked.
        """


class MemoryStore:
    """Keeps answers for as long as the process runs."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}

    def get(self, key: str) -> Answer | None:
        """Return the answer of a key, or None."""
        return self._answers.get(key)

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer."""
        self._answers[key] = answer

    def close(self) -> None:
        """Do nothing: what is in memory ends with the process."""


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
