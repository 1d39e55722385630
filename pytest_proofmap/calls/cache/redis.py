"""A team's shared response cache on a Redis or Valkey server (``cache_url``, extra ``redis``).

Answers are JSON texts without an expiry. A write has been acknowledged by the server before it returns; one
that the server does not take is kept in a folder of this machine, the *rescue*, and sent at the next opening,
so that no paid answer is lost. What makes the server unusable is found when it is opened, before anything is
paid.

What is wrong with a Redis or Valkey server, in words that hold no secret.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pytest_proofmap.calls.answer import Answer
from pytest_proofmap.environment import expand_environment
from pytest_proofmap.errors import ConfigurationError, StoreError
from pytest_proofmap.redaction import _passwords

if TYPE_CHECKING:
    from pytest_proofmap.calls.cache.disk import DiskStore

__all__ = ["RedisStore", "rescue_folder"]


@dataclass(frozen=True, slots=True)
class ServerName:
    """A server as messages may name it."""

    shown: str
    """The URL without user and password."""
    secrets: tuple[str, ...] = ()
    """What must not be shown, longest first."""

    @classmethod
    def of(cls, url: str) -> ServerName:
        """Return the name of the server of a URL, or of the environment variable that holds it."""
        if "://" not in url:
            return cls(f"the Redis server of {url!r}")
        scheme, _, rest = url.partition("://")
        place = rest.rpartition("@")[2].partition("?")[0]
        secrets = {*_passwords(url)}
        secrets |= {unquote(secret) for secret in secrets}
        return cls(f"the Redis server {scheme}://{place}", tuple(sorted(secrets, key=len, reverse=True)))

    def redact(self, text: str) -> str:
        """Return a text without the server's secrets."""
        for secret in self.secrets:
            text = text.replace(secret, "[redacted]")
        return text


def explain_fault(error: Exception, server: ServerName) -> str:
    """Return what an error of redis-py or of the socket means, and what to do about it."""
    from redis import exceptions

    said = server.redact(str(error)) or type(error).__name__
    text = said.upper()
    if isinstance(error, exceptions.AuthenticationError) or text.startswith(("NOAUTH", "WRONGPASS")):
        what, then = f"refuses the user name or the password ({said})", "Mend them in cache_url's variable"
    elif isinstance(error, exceptions.NoPermissionError):
        what = f"does not allow this user what ProofMap needs ({said})"
        then = "Allow GET, SET, DEL, EVAL and INFO on the keys 'proofmap:*'"
    elif isinstance(error, exceptions.OutOfMemoryError) or text.startswith("OOM"):
        what, then = f"is out of memory ({said})", "Raise its maxmemory, or set cache_url to another server"
    elif isinstance(error, exceptions.ReadOnlyError):
        what, then = f"is a read-only replica ({said})", "Set cache_url to the primary"
    elif isinstance(error, exceptions.BusyLoadingError):
        what, then = f"is still loading its data ({said})", "Wait until it has, and run again"
    elif isinstance(error, exceptions.TimeoutError | TimeoutError):
        what, then = f"does not answer in time ({said})", "Find out what keeps it busy, and run again"
    elif isinstance(error, exceptions.ConnectionError | OSError):
        what, then = f"cannot be reached ({said})", "Start it, or mend cache_url"
    else:
        what, then = f"refuses what it was asked ({said})", "Mend what it says"
    return (
        f"{server.shown} {what}. {then}. Without it: remove cache_url (answers stay on this machine), or run "
        "with --proofmap-cache=replay (reads only, calls nothing)."
    )


NAMESPACE = "proofmap:1"
"""What all keys start with; the number changes with the format of what is stored."""

CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 5.0
PATIENT_RETRIES = 5
"""How often a command is repeated once the server was seen working: a restart must not end a long run."""

RECENT_BYTES = 32 * 1024 * 1024
"""A test reads its answers when it is run dry and when it runs for real: so much stays here in between."""

_CLAIM = """
local owner = redis.call('get', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_GIVE_BACK = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""


def rescue_folder(cache_dir: Path) -> Path:
    """Return the folder of the answers that a server did not take."""
    return cache_dir / "unsent"


class RedisStore:
    """The answers on a server, shared by any number of machines; safe to use from several threads.

    Args:
        url: The server, as written in the configuration; ``os.environ/NAME`` is expanded.
        warn: Told what cannot be read and what endangers the answers, once for each kind of trouble.
        rescue: Folder of the answers that the server did not take.
        readonly: Only read. The server is first asked for an answer that is wanted, and without a server
            every answer is missing.

    Raises:
        ConfigurationError: The URL or the environment variable that it names cannot be used.
        StoreError: The server cannot be used, and ``readonly`` was not asked for.
    """

    def __init__(self, url: str, warn: Callable[[str], None], *, rescue: Path, readonly: bool = False) -> None:
        self._url = url
        self._warn = warn
        self._warned: set[str] = set()
        self._rescue_folder = rescue
        self._rescue: DiskStore | None = None
        self._readonly = readonly
        self._recent = _Recent(RECENT_BYTES)
        self._token = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._client: Any = None
        self._name = ServerName.of(url)
        self._broken: StoreError | None = None
        if not readonly:
            self._client = self._open()

    @property
    def name(self) -> str:
        """The server without any secret."""
        return self._name.shown

    def get(self, key: str) -> Answer | None:
        """Return the answer of a key, or None; an unreadable entry is a miss and warns once.

        Raises:
            StoreError: The server does not answer; only with ``readonly`` that is a miss and warns once.
        """
        text = self._recent.get(key)
        if text is None:
            try:
                with self._asking("An answer could not be looked up"):
                    text = self._connected().get(_answer_key(key))
            except (StoreError, ConfigurationError) as error:
                if not self._readonly:
                    raise
                self._warn_once("unread", f"{error} Its answers count as missing.")
        if text is not None:
            try:
                answer = Answer.from_json(text)
            except (ValueError, RecursionError):
                self._warn_once(
                    "entry",
                    f"The entry {key[:12]!r} of {self.name} is not an answer that ProofMap wrote and counts as a "
                    "miss, as do others like it. A new answer replaces it.",
                )
                return None
            self._recent.add(key, text)
            return answer
        return self._rescued(key)

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; the server has it when this returns.

        Raises:
            StoreError: The server did not take it; it was put into the rescue.
        """
        text = answer.to_json()
        try:
            with self._asking("A paid answer could not be sent"):
                self._connected().set(_answer_key(key), text)
        except StoreError as error:
            raise StoreError(f"{error} {self._keep_here(key, answer)}") from error
        self._recent.add(key, text)

    def claim(self, key: str, seconds: float) -> bool:
        """Take or extend the lease on the call of a key, so that no other machine makes it meanwhile.

        Returns:
            Whether this store holds the lease now; else another one does.

        Raises:
            StoreError: The server does not answer.
        """
        with self._asking("A call could not be announced to the other machines"):
            granted = self._connected().eval(_CLAIM, 1, _lease_key(key), self._token, int(seconds * 1000))
        return bool(granted)

    def give_back(self, key: str) -> None:
        """End the lease on a call that gave no answer; after an answer it simply expires.

        Raises:
            StoreError: The server does not answer.
        """
        with self._asking("A call could not be given back"):
            self._connected().eval(_GIVE_BACK, 1, _lease_key(key), self._token)

    def close(self) -> None:
        """Close the connections; closing twice is fine."""
        with self._lock:
            client, self._client = self._client, None
            rescue, self._rescue = self._rescue, None
        if client is not None:
            client.close()
        if rescue is not None:
            rescue.close()

    def _open(self) -> Any:
        """Connect, and see to it that answers can be kept.

        Raises:
            ConfigurationError: The URL cannot be used.
            StoreError: The server cannot be used.
        """
        from redis.exceptions import RedisError

        client = self._make_client(retries=0)
        try:
            client.ping()
            probe = f"{NAMESPACE}:probe:{self._token}"
            client.set(probe, "x" * 1024, px=60_000)
            kept = client.get(probe)
            client.delete(probe)
            if kept is None:
                raise StoreError(
                    f"No call was made: {self.name} took a value and lost it at once. Give it more memory."
                )
            self._warn_of_eviction(client)
        except RedisError as error:
            raise StoreError(f"No call was made: {explain_fault(error, self._name)}") from error
        finally:
            client.close()
        patient = self._make_client(retries=PATIENT_RETRIES)
        self._send_rescued(patient)
        return patient

    def _make_client(self, retries: int) -> Any:
        try:
            import redis
            from redis.backoff import ExponentialBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise ConfigurationError(
                f"cache_url names the server {self.name}, but the package 'redis' is not installed. "
                "Install it with: pip install 'pytest-proofmap[redis]'"
            ) from error
        url = str(expand_environment(self._url, "cache_url"))
        self._name = ServerName.of(url)
        try:
            return redis.Redis.from_url(
                url,
                socket_connect_timeout=CONNECT_TIMEOUT_S,
                socket_timeout=ANSWER_TIMEOUT_S,
                retry=Retry(ExponentialBackoff(cap=2.0, base=0.1), retries),
                retry_on_error=[redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError],
                decode_responses=False,
            )
        except ValueError:
            # What redis-py says repeats parts of the URL, which may be those of the password.
            raise ConfigurationError(
                f"cache_url = {self._url!r} is not the URL of a server. Allowed: redis://HOST:PORT/DATABASE, "
                "rediss:// (TLS) and unix://PATH; a '#', '/' or '@' in a password is written %23, %2F or %40."
            ) from None

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._make_client(retries=0 if self._readonly else PATIENT_RETRIES)
            return self._client

    @contextmanager
    def _asking(self, consequence: str) -> Iterator[None]:
        """Turn what goes wrong with the server into a :class:`StoreError`; from then on it is not asked."""
        if self._broken is not None:
            raise self._broken
        try:
            yield
        except (ConfigurationError, StoreError):
            raise
        except Exception as error:
            from redis.exceptions import RedisError

            if not isinstance(error, RedisError | OSError):
                raise
            self._broken = StoreError(f"{consequence}: {explain_fault(error, self._name)}")
            raise self._broken from error

    def _warn_of_eviction(self, client: Any) -> None:
        from redis.exceptions import RedisError

        try:
            memory = client.info("memory")
        except RedisError:
            # Managed servers and access rules may forbid INFO; nothing else depends on it.
            return
        policy = str(memory.get("maxmemory_policy", ""))
        if policy.startswith("allkeys"):
            self._warn_once(
                "eviction",
                f"{self.name} has the maxmemory-policy {policy!r}: when its memory is full it deletes paid "
                "answers. Set the policy to 'noeviction' (or 'volatile-lru'), and give it enough memory.",
            )

    def _rescued(self, key: str) -> Answer | None:
        return self._open_rescue().get(key) if self._rescue_folder.exists() else None

    def _keep_here(self, key: str, answer: Answer) -> str:
        """Keep an answer on this machine and return where that is, in words."""
        try:
            self._open_rescue().put(key, answer)
        except StoreError as error:
            return f"Nor could it be kept here: {error}"
        return (
            f"It is kept in {str(self._rescue_folder)!r}: the next run that reaches the server sends it from "
            "there, and pays nothing twice."
        )

    def _send_rescued(self, client: Any) -> None:
        """Send what the server did not take before, unless it has another answer by now."""
        if not self._rescue_folder.exists():
            return
        rescue = self._open_rescue()
        try:
            for entry in rescue.entries():
                with self._asking("Answers kept on this machine could not be sent"):
                    client.set(_answer_key(entry.key), entry.answer.to_json(), nx=True)
                rescue.delete([entry.key])
        except StoreError:
            self.close()
            raise

    def _open_rescue(self) -> DiskStore:
        with self._lock:
            if self._rescue is None:
                from pytest_proofmap.calls.cache.disk import DiskStore

                self._rescue = DiskStore(self._rescue_folder, self._warn, readonly=self._readonly)
            return self._rescue

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(text)


class _Recent:
    """The texts that were read or written last, as many as fit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._texts: OrderedDict[str, str | bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> str | bytes | None:
        return self._texts.get(key)

    def add(self, key: str, text: str | bytes) -> None:
        with self._lock:
            self._size += len(text) - len(self._texts.pop(key, ""))
            self._texts[key] = text
            while self._size > self._limit:
                self._size -= len(self._texts.popitem(last=False)[1])


def _answer_key(key: str) -> str:
    return f"{NAMESPACE}:answer:{key}"


def _lease_key(key: str) -> str:
    return f"{NAMESPACE}:lease:{key}"
