"""What is wrong with a Redis or Valkey server, in words that hold no secret."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from pytest_proofmap.runtime.redaction import _passwords

__all__ = ["ServerName", "explain_fault"]


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
