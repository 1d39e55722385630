"""Secrets in text that a provider sent."""

from __future__ import annotations

import pytest

from pytest_proofmap.runtime.redaction import REDACTED, Redactor


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Incorrect API key provided: sk-proj-abcDEF123456.", f"Incorrect API key provided: {REDACTED}"),
        ("Authorization: Bearer abcdefgh12345678", f"Authorization: Bearer {REDACTED}"),
        ("Basic dXNlcjpwYXNzd29yZA==", f"Basic {REDACTED}"),
        ('{"x-api-key": "abc123def"}', f'{{"x-api-key": "{REDACTED}"}}'),
        ("GET /v1?key=abc123&alt=json", f"GET /v1?key={REDACTED}&alt=json"),
        ("redis://user:pass@host:1", f"redis://{REDACTED}@host:1"),
        ("id AKIAABCDEFGHIJKLMNOP", f"id {REDACTED}"),
        ("ghp_abcdefghijklmnopqrst", REDACTED),
        ("AIzaSyA1234567890abcdefghijk", REDACTED),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", REDACTED),
        ("hf_abcdefghijklmnopqrstuvwx", REDACTED),
    ],
)
def test_key_patterns(text: str, expected: str) -> None:
    """What looks like a key goes, the words around it stay."""
    assert Redactor({}).redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "This model's maximum context length is 100 tokens.",
        "token limit exceeded for gpt-4o-mini-2024-07-18",
        "Basic authentication is not supported",
        "model pplx-70b-online at http://127.0.0.1:8080/v1 was not found",
    ],
)
def test_ordinary_messages_stay(text: str) -> None:
    """A message without secrets is not touched."""
    assert Redactor({"HOME": "/home/somebody"}).redact(text) == text


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "db_password", "MY_TOKEN", "AWS_SECRET_ACCESS", "SENTRY_DSN"])
def test_values_of_secret_looking_names(name: str) -> None:
    """An environment value goes wherever it stands if its name says that it is secret."""
    assert Redactor({name: "hunter2hunter2"}).redact("it was hunter2hunter2!") == f"it was {REDACTED}!"


def test_short_values_are_words() -> None:
    """A short value would take ordinary words out of messages."""
    assert Redactor({"KEY": "error"}, ["model"]).redact("error in model") == "error in model"


def test_longer_secret_goes_whole() -> None:
    """A secret that contains another one leaves no rest."""
    redactor = Redactor({"A_KEY": "abcdefgh"}, ["abcdefgh-and-more"])
    assert redactor.redact("abcdefgh-and-more abcdefgh") == f"{REDACTED} {REDACTED}"


def test_added_secrets() -> None:
    """Configured keys and later environment values are secrets as well."""
    redactor = Redactor({})
    redactor.add("configured-key")
    redactor.add_environment({"NEW_TOKEN": "later-value", "NAME": "not-secret"})
    assert redactor.redact("configured-key later-value not-secret") == f"{REDACTED} {REDACTED} not-secret"
