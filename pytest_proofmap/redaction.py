"""Takes secrets out of what would be written or shown.

Two strengths, because two kinds of text pass by. What a provider or an exception *said* loses every known value
and whatever looks like a key: such a message decides nothing. What was *asked and answered* is the project's
data, which tests compare, so there only values go that cannot be anything else: declared by the project, or long
and mixed as no ordinary word is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote

from pytest_proofmap.environment import is_environment_reference

__all__ = [
    "MIN_SECRET_LENGTH",
    "REDACTED",
    "Redactor",
    "has_password",
    "hide_patterns",
    "is_secret_name",
    "looks_like_key",
    "secrets_of_transport",
    "secrets_of_url",
]


def has_password(url: str) -> bool:
    """Return whether a URL holds a password."""
    return bool(_passwords(url))


def _passwords(url: str) -> list[str]:
    # Not by urllib: a password with an unescaped '/' or '#' must be recognised as well.
    user, _, place = url.partition("://")[2].rpartition("@")
    query = parse_qs(place.partition("?")[2])
    return [password for password in (user.partition(":")[2], *query.get("password", ())) if password]


REDACTED = "[redacted]"

MIN_SECRET_LENGTH = 8
"""Shorter values are ordinary words; taking them out would destroy messages."""

_CERTAIN_LENGTH = 16
"""From here on a value of letters and digits is no word that a prompt or an answer holds by chance."""

_SECRET_NAME = re.compile(
    # Keyboards, keymaps, keywords, monkeys and tokenizers are no keys and no tokens, nor are two products' names.
    r"(?<!MON)(?<!(?<![A-Z])PORT)KEY(?!BOARD|MAP|WORD|CLOAK)|^PORTKEY$|TOKEN(?!I[SZ])|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|AUTHORIZATION|COOKIE|PRIVATE|WEBHOOK"
    r"|(?:^|[_-])AUTH(?:$|[_-])|[_-]PASS$|[_-]PWD$|[_-]PAT$|[_-]DSN$|^PGPASS",
    re.IGNORECASE,
)

# No pattern may go twice through the same text: who answers in a provider's place chooses it. So nothing unbounded
# is followed by what may be missing, but where what ends it ends every other attempt as well.
_KEYS = r"""
    \bsk[-_][A-Za-z0-9_*.-]{8,}
    | \b(?:pk|rk|gsk|xai|pplx|hf|r8|nvapi|csk|fw|tgp)[-_][A-Za-z0-9_*.-]{20,}
    | \bA(?:KIA|SIA)[0-9A-Z]{12,}\b
    | \bgh[pousr]_[A-Za-z0-9]{16,} | \bgithub_pat_[A-Za-z0-9_]{16,} | \bglpat-[A-Za-z0-9_-]{16,}
    | \bAIza[0-9A-Za-z_-]{20,} | \bya29\.[0-9A-Za-z_-]{16,}
    | \bxox[abposr]-[0-9A-Za-z-]{10,}
    | \b(?:npm|dop_v1|shpat|whsec|lin_api)_[A-Za-z0-9]{20,} | \bpypi-[A-Za-z0-9_-]{30,}
    | \bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
"""

_PATTERNS = re.compile(
    r"""
    (?P<keep>\bBearer\s{1,8})[A-Za-z0-9._~+/=-]{8,}
    | (?P<basic>\bBasic\s{1,8})[A-Za-z0-9+/]{15,}={0,2}
    | (?P<header>\b(?:authorization|(?:x-(?:goog-)?)?api-key)["']?\s{0,8}[:=]\s{0,8}["']?)
      (?!\s{0,8}(?:Bearer|Basic))[^\s"',}]{6,}
    | (?P<field>\b(?:api_?key|password|passwd|secret|client_secret|(?:access|refresh|auth)_token|AccountKey)
      ["']?\s{0,8}[:=]\s{0,8}["']?)(?=[^\s"',;}]{0,256}\d)[^\s"',;}]{6,}
    | (?P<query>[?&](?:key|api_key|apikey|access_token|token|sig|signature|password|secret|client_secret
      |X-Amz-Signature|subscription-key)=)[^&\s"']+
    | (?P<user>\b[a-z][a-z0-9+.-]{0,30}://)(?:[^/\s:@]*:[^/\s@]+|[A-Za-z0-9_.~%-]{16,})(?=@)
    | """
    + _KEYS,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_KEY = re.compile(_KEYS, re.VERBOSE | re.IGNORECASE | re.DOTALL)
_THREE_PARTS = re.compile(r"(?<![A-Za-z0-9_-])([A-Za-z0-9_-]{11,})(\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)")
_TOKEN_START = re.compile(r"\beyJ[A-Za-z0-9_-]{8}", re.IGNORECASE)
"""A JSON Web Token; what may stand before it in its first part is looked at only once that part has its end."""

MOST_SAID = 8192
"""Characters of what somebody else said that are looked through; of a message far less is shown."""

_PLACE = re.compile(r"[/~]|\.{1,2}[/\\]|[A-Za-z]:[/\\]")
_AWS_SECRET_LENGTH = 40
_BASE_64 = re.compile(r"[A-Za-z0-9+/_-]{32,}={0,2}")
_LONGEST_KEY = 1024
"""Characters at the end of a text that was cut which may be part of a key."""
_USER_INFO = re.compile(r"://([^/?#\s]*)@")


def is_secret_name(name: str) -> bool:
    """Return whether a variable or header of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def looks_like_key(text: str) -> bool:
    """Return whether a text holds what no other text looks like but a key of a known kind."""
    return _KEY.search(text) is not None or _without_tokens(text) != text


def hide_patterns(text: str) -> str:
    """Return the text without what looks like a key."""
    return _PATTERNS.sub(_replacement, _without_tokens(text))


def _without_tokens(text: str) -> str:
    """Return the text without JSON Web Tokens."""

    def replacement(match: re.Match[str]) -> str:
        start = _TOKEN_START.search(match[1])
        return match[0] if start is None else f"{match[1][: start.start()]}{REDACTED}"

    return _THREE_PARTS.sub(replacement, text)


def secrets_of_url(url: str) -> set[str]:
    """Return the user, the password and the secret query values of a URL, as written and decoded."""
    user_info = _USER_INFO.search(url)
    found = set(user_info[1].split(":", 1)) if user_info else set()
    query = url.partition("?")[2].partition("#")[0]
    found |= {value for name, value in parse_qsl(query) if is_secret_name(name) or name.lower() in ("sig", "code")}
    found |= {unquote(secret) for secret in found}
    return found - {""}


def secrets_of_transport(transport: Mapping[str, Any]) -> set[str]:
    """Return the secrets in how a runtime is reached: its key, its headers, its address and secret parameters."""
    found: set[str] = set()
    if isinstance(transport.get("api_key"), str):
        found.add(transport["api_key"])
    if isinstance(transport.get("api_base"), str):
        found |= secrets_of_url(transport["api_base"])
    for name in ("headers", "extra_headers"):
        headers = transport.get(name)
        if isinstance(headers, Mapping):
            # Whatever a header is called: it is sent to one server, and nobody else need know it.
            found |= {part for value in headers.values() if isinstance(value, str) for part in _parts(value)}
    found |= set(_named_secrets(transport.get("params")))
    # Where a secret comes from is none.
    return {secret for secret in found if not is_environment_reference(secret)}


def _parts(header: str) -> tuple[str, str]:
    """Return a header's value, and what follows its scheme (``Bearer …``)."""
    return header, header.rpartition(" ")[2]


def _named_secrets(value: object, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner, item in value.items():
            yield from _named_secrets(item, str(inner))
    elif isinstance(value, list):
        for item in value:
            yield from _named_secrets(item, name)
    elif isinstance(value, str) and is_secret_name(name):
        yield value


class Redactor:
    """Replaces secret values and everything that looks like a key.

    Args:
        environment: Values of secret-looking names in it are secrets.
        secrets: More values that are secrets, such as configured keys.
    """

    def __init__(self, environment: Mapping[str, str], secrets: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        self._variables: dict[str, str] = {}
        self._certain: tuple[tuple[str, str], ...] = ()
        """What can only be a secret: as it may stand in a text, and the value itself."""
        self._pattern: re.Pattern[str] | None = None
        self.declared: set[str] = set()
        """What the project itself called a secret."""
        self.add_environment(environment)
        self.add(*secrets)

    @property
    def values(self) -> frozenset[str]:
        """The values that are secrets."""
        return frozenset(self._values)

    def add_environment(self, environment: Mapping[str, str]) -> None:
        """Take the values of secret-looking names out as well from now on."""
        secrets = {value.strip(): name for name, value in environment.items() if is_secret_name(name)}
        self._variables.update(secrets)
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Take these values out as well from now on."""
        fresh = {secret.strip() for secret in secrets} - self._values
        fresh = {secret for secret in fresh if len(secret) >= MIN_SECRET_LENGTH}
        if fresh:
            self._values |= fresh
            # The longest first, so that a secret that contains another one goes whole.
            forms = {form for value in self._values for form in _forms(value)}
            ordered = sorted(forms, key=lambda value: (-len(value), value))
            self._pattern = re.compile("|".join(map(re.escape, ordered)))
            certain = {form: value for value in self._values if self._is_certain(value) for form in _forms(value)}
            self._certain = tuple((form, certain[form]) for form in ordered if form in certain)

    def declare(self, *secrets: str) -> None:
        """Take these values out of requests and answers too, whatever they look like."""
        self.declared |= {secret.strip() for secret in secrets}
        self._values -= self.declared
        self.add(*self.declared)

    def redact(self, text: str) -> str:
        """Return what somebody said without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(REDACTED, text)
        return hide_patterns(text)

    def redact_start(self, text: str) -> str:
        """Return the start of what somebody else said without secrets, in a time that no text can stretch."""
        if len(text) <= MOST_SAID:
            return self.redact(text)
        longest = max(map(len, self._values), default=0)
        said = self.redact(text[: MOST_SAID + longest])
        # The cut may have left a part of a secret that nothing recognises: it goes with the last words.
        kept = said[: max(0, len(said) - longest - _LONGEST_KEY)]
        return kept[: max(kept.rfind(" "), kept.rfind("\n"), 0)] or kept[: MOST_SAID // 8] or REDACTED

    def secret_in(self, text: str) -> str | None:
        """Return where a secret is from whose value a text holds, when it can only be a secret; else None."""
        for form, value in self._certain:
            if form in text:
                variable = self._variables.get(value)
                return f"the environment variable {variable}" if variable else "the configuration or a hook"
        return None

    def clean(self, value: Any) -> Any:
        """Return JSON data that was answered without values that can only be secrets; the same object if none."""
        if not self._certain:
            return value
        if isinstance(value, str):
            for form, _ in self._certain:
                if form in value:
                    value = value.replace(form, REDACTED)
            return value
        if isinstance(value, dict):
            cleaned = {self.clean(name): self.clean(item) for name, item in value.items()}
            unchanged = all(cleaned.get(name, self) is item for name, item in value.items())
            return value if unchanged else cleaned
        if isinstance(value, list):
            items = [self.clean(item) for item in value]
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        return value

    def _is_certain(self, value: str) -> bool:
        if value in self.declared:
            return True
        is_mixed = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
        # A path or an address may well be what a prompt is about.
        is_place = "://" in value or (_PLACE.match(value) is not None and not _is_random(value))
        return len(value) >= _CERTAIN_LENGTH and is_mixed and not is_place


def _is_random(value: str) -> bool:
    """Return whether a value that begins like a path is a key in base 64, as one in sixty of these does.

    Words change seldom between capitals, small letters and digits; in a key two neighbours of three differ. What
    is just as long as a key of AWS needs no more than all three kinds.
    """
    if not _BASE_64.fullmatch(value):
        return False
    kinds = [character.isupper() + 2 * character.isdigit() for character in value if character.isalnum()]
    changes = sum(before != after for before, after in pairwise(kinds))
    least = 0.2 if len(value) == _AWS_SECRET_LENGTH else 0.4
    return len(set(kinds)) == 3 and changes > least * len(kinds)


def _forms(value: str) -> set[str]:
    """Return a value as it may stand in a text: as it is, in JSON, in a URL, on a line of its own."""
    lines = {line.strip() for line in value.splitlines() if len(line.strip()) >= _CERTAIN_LENGTH}
    in_json = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    return {value, quote(value, safe=""), quote(value), *in_json, *lines}


def _replacement(match: re.Match[str]) -> str:
    kept = next((part for part in match.groups() if part is not None), "")
    return f"{kept}{REDACTED}"
