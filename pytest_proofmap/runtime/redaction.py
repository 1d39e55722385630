"""Takes secrets out of text that a provider sent, before anything is written or shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["REDACTED", "Redactor", "is_secret_name"]

REDACTED = "[redacted]"

_MIN_LENGTH = 8
"""Shorter values are ordinary words; taking them out would destroy messages."""

_SECRET_NAME = re.compile(
    r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|AUTHORIZATION|COOKIE|PRIVATE|_PAT$|_DSN$",
    re.IGNORECASE,
)

_PATTERNS = re.compile(
    r"""
    (?P<keep>\bBearer\s+)[A-Za-z0-9._~+/=-]{8,}
    | (?P<basic>\bBasic\s+)[A-Za-z0-9+/]{15,}={0,2}
    | (?P<header>\b(?:authorization|(?:x-(?:goog-)?)?api-key)["']?\s*[:=]\s*["']?)
      (?!\s*(?:Bearer|Basic))[^\s"',}]{6,}
    | (?P<query>[?&](?:key|api_key|apikey|access_token|token|sig)=)[^&\s"']+
    | (?P<user>\b[a-z][a-z0-9+.-]*://)[^/\s:@]*:[^/\s@]+(?=@)
    | \bsk[-_][A-Za-z0-9_*.-]{8,}
    | \b(?:pk|rk|gsk|xai|pplx|hf|r8|nvapi|csk|fw|tgp)[-_][A-Za-z0-9_*.-]{20,}
    | \bAKIA[0-9A-Z]{12,}\b | \bASIA[0-9A-Z]{12,}\b
    | \bgh[pousr]_[A-Za-z0-9]{16,} | \bgithub_pat_[A-Za-z0-9_]{16,} | \bglpat-[A-Za-z0-9_-]{16,}
    | \bAIza[0-9A-Za-z_-]{20,} | \bya29\.[0-9A-Za-z_-]{16,}
    | \bxox[abposr]-[0-9A-Za-z-]{10,}
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def is_secret_name(name: str) -> bool:
    """Return whether a variable or header of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


class Redactor:
    """Replaces secret values and everything that looks like a key.

    Args:
        environment: Values of secret-looking names in it are secrets.
        secrets: More values that are secrets, such as configured keys.
    """

    def __init__(self, environment: Mapping[str, str], secrets: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add_environment(environment)
        self.add(*secrets)

    def add_environment(self, environment: Mapping[str, str]) -> None:
        """Take the values of secret-looking names out as well from now on."""
        self.add(*(value for name, value in environment.items() if is_secret_name(name)))

    def add(self, *secrets: str) -> None:
        """Take these values out as well from now on."""
        fresh = {secret.strip() for secret in secrets} - self._values
        fresh = {secret for secret in fresh if len(secret) >= _MIN_LENGTH}
        if fresh:
            self._values |= fresh
            # The longest first, so that a secret that contains another one goes whole.
            alternatives = sorted(self._values, key=lambda value: (-len(value), value))
            self._pattern = re.compile("|".join(map(re.escape, alternatives)))

    def redact(self, text: str) -> str:
        """Return the text without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(REDACTED, text)
        return _PATTERNS.sub(_replacement, text)


def _replacement(match: re.Match[str]) -> str:
    kept = next((part for part in match.groups() if part is not None), "")
    return f"{kept}{REDACTED}"
