"""Secrets in text that a provider sent."""

from __future__ import annotations

import json
import re
from random import Random
from string import ascii_letters, digits
from urllib.parse import quote

import pytest
from regex_steps import StepCounter

from pytest_proofmap import redaction
from pytest_proofmap import text as visible
from pytest_proofmap.calls.lanes import failures
from pytest_proofmap.redaction import (
    REDACTED,
    Redactor,
    hide_patterns,
    secrets_of_transport,
    secrets_of_url,
)


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


@pytest.mark.parametrize(
    "name",
    [
        *("KEYBOARD", "XKB_KEYMAP", "MONKEY", "MODEL_TOKENIZER", "PATH", "AUTHOR", "KEYWORDS", "KEYCLOAK_URL"),
        *("x-portkey-provider", "PORTKEY_GATEWAY_URL"),
    ],
)
def test_names_that_only_contain_such_a_word(name: str) -> None:
    """Such a variable holds no secret, and what it holds may be asked and answered."""
    redactor = Redactor({name: "de-latin1-nodeadkeys"})
    assert redactor.secret_in("de-latin1-nodeadkeys") is None
    assert redactor.redact("de-latin1-nodeadkeys") == "de-latin1-nodeadkeys"


@pytest.mark.parametrize(
    "name",
    [
        *("KEYBOARD_API_KEY", "TOKENIZER_TOKEN", "MONKEY_LEARN_KEY", "APIKEY", "KEY_1", "EXPORTKEY"),
        *("x-portkey-api-key", "x-portkey-virtual-key", "PORTKEY", "KEYCLOAK_CLIENT_SECRET"),
    ],
)
def test_names_that_contain_one_and_are_secret(name: str) -> None:
    """What makes a name secret is not hidden by what looks like it."""
    assert Redactor({name: "hunter2hunter2"}).redact("hunter2hunter2") == REDACTED


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clone https://abcdefghij0123456789@host/x", f"clone https://{REDACTED}@host/x"),
        ("password=hunter22 failed", f"password={REDACTED} failed"),
        ('{"access_token": "abc1234567"}', f'{{"access_token": "{REDACTED}"}}'),
        ("GET /v1?a=1&X-Amz-Signature=0a1b2c", f"GET /v1?a=1&X-Amz-Signature={REDACTED}"),
        ("npm_abcdefghijklmnopqrstuvwx0123", REDACTED),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- rest", f"{REDACTED} rest"),
        ("ASIAABCDEFGHIJKLMNOP", REDACTED),
    ],
)
def test_more_patterns(text: str, expected: str) -> None:
    """Tokens in addresses, fields and queries go as well."""
    assert Redactor({}).redact(text) == expected


@pytest.mark.parametrize(
    "text", ["password: required", "the secret= of taste", "http://localhost:8080/v1@x", "a@b.c"]
)
def test_words_about_secrets_stay(text: str) -> None:
    """Talk of secrets is none."""
    assert Redactor({}).redact(text) == text


SECRET = 'ab"c\\d/ 0123456789'


@pytest.mark.parametrize("form", [SECRET, json.dumps(SECRET)[1:-1], quote(SECRET), quote(SECRET, safe="")])
def test_a_value_in_its_other_forms(form: str) -> None:
    """A value goes as it stands in JSON and in addresses too, from messages, answers and requests."""
    redactor = Redactor({"A_KEY": SECRET})
    assert redactor.redact(f"<{form}>") == f"<{REDACTED}>"
    assert redactor.clean({"a": [f"<{form}>"], form: 1}) == {"a": [f"<{REDACTED}>"], REDACTED: 1}
    assert redactor.secret_in(f"<{form}>") == "the environment variable A_KEY"


@pytest.mark.parametrize(
    "value",
    [
        "password",
        "development-mode",
        "/home/me/key-file-1234",
        "../keys/id_ed25519_main",
        "/Users/AdaLovelace/Projects2026/SecretKeys/Production",
        "/etc/kubernetes/pki/apiserver/kubelet/client/key1",
        "C:\\Users\\me\\keys-2024",
        "https://host/hook/12345",
        "1234567890123456",
    ],
)
def test_what_may_be_data(value: str) -> None:
    """A value that a prompt may hold by chance goes from messages, and stays in requests and answers."""
    redactor = Redactor({"A_KEY": value})
    assert redactor.redact(f"<{value}>") == f"<{REDACTED}>"
    assert redactor.secret_in(value) is None
    assert redactor.clean([value]) == [value]


def test_what_a_project_declares() -> None:
    """A declared value goes from everything, whatever it looks like."""
    redactor = Redactor({"A_KEY": "development"})
    redactor.declare("development")
    assert redactor.clean("in development") == f"in {REDACTED}"


def test_an_answer_without_secrets_is_the_same_object() -> None:
    """Nothing is copied where nothing is taken out."""
    answer = {"choices": [{"message": {"content": "hi", "n": None}}], "usage": {"a": 1}}
    assert Redactor({"A_KEY": "abcdefgh12345678"}).clean(answer) is answer


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("http://127.0.0.1:8000/v1", set()),
        ("https://x.openai.azure.com/openai?api-version=2024-02-01", set()),
        ("https://user:p%40ss@host/v1", {"user", "p%40ss", "p@ss"}),
        ("https://token123@host", {"token123"}),
        ("https://host/v1?key=abc&sig=def&x=1#y", {"abc", "def"}),
    ],
)
def test_secrets_of_an_address(url: str, secrets: set[str]) -> None:
    """User, password and secret query values are those of an address."""
    assert secrets_of_url(url) == secrets


def test_secrets_of_a_transport() -> None:
    """Keys, whole headers and what follows their scheme, and parameters of secret names, however deep."""
    transport = {
        "api_key": "k1",
        "api_base": "http://u:p@h",
        "headers": {"X": "Bearer abc", "n": 5},
        "params": {"a": {"my_token": "t"}, "b": [{"secret": "s"}], "max_tokens": 5, "user": "me"},
    }
    assert secrets_of_transport(transport) == {"k1", "u", "p", "Bearer abc", "abc", "t", "s"}


def test_keys_that_begin_like_a_path() -> None:
    """One AWS secret key in sixty begins with a slash: it is no path, and goes from requests and answers too."""
    random = Random(7)
    alphabet = ascii_letters + digits + "+/"
    keys = ["/" + "".join(random.choices(alphabet, k=39)) for _ in range(500)]
    missed = [key for key in keys if Redactor({"AWS_SECRET_ACCESS_KEY": key}).secret_in(f"use {key}") is None]
    assert len(missed) <= 5
    key = "/wJalrXUtnFEMI/K7MDENGbPxRfiCYEXAMPLEKEY"
    redactor = Redactor({"AWS_SECRET_ACCESS_KEY": key})
    assert redactor.secret_in(f"use {key}") == "the environment variable AWS_SECRET_ACCESS_KEY"
    assert redactor.clean([f"use {key}"]) == [f"use {REDACTED}"]


PATTERNS = {
    name: value
    for module in (redaction, failures, visible)
    for name, value in vars(module).items()
    if isinstance(value, re.Pattern) and name not in ("_COLOURED",)
}
PIECES = (
    *("a-", "a.", "ab", " ", "=", "Error", "Error: ", "a@", "eyJ-", "eyJabcdefgh.", "sk-", "SG.", "AKIA_"),
    *("secret=", "authorization: ", "Bearer ", "?key=", "a://b:", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----"),
)


@pytest.mark.parametrize("name", PATTERNS)
def test_no_text_takes_more_than_its_length(name: str) -> None:
    """Twice as much of any text costs a pattern at most twice the steps."""

    def steps(text: str) -> int:
        counter = StepCounter(PATTERNS[name])
        counter.sub(text)
        return counter.steps

    for piece in PIECES:
        for start in ("", "api-key:"):
            short, long = (start + piece * (size // len(piece)) for size in (300, 600))
            if steps(long) > 2.2 * steps(short):
                # What is bounded shows only in a text that is longer than the bound.
                longer = start + piece * (1200 // len(piece))
                assert steps(longer) <= 2.2 * steps(long), (start, piece)


@pytest.mark.parametrize(
    "text",
    ["key sk-abcdefgh12345678 end", "x a-a- https://user:pass@host/p?key=1", "eyJhbGciOi.eyJzdWIiOi.sig", "none"],
)
def test_the_counter_matches_as_python_does(text: str) -> None:
    """What counts steps finds what the patterns themselves find."""
    for pattern in PATTERNS.values():
        found = [match.span() for match in pattern.finditer(text) if match.end() > match.start()]
        assert StepCounter(pattern).sub(text) == found, pattern


def test_a_long_message_is_cut_before_it_is_looked_through() -> None:
    """However much a provider says, what is redacted is bounded, and no part of a secret is left at the cut."""
    secret = "s3cr3t-" + "x" * 40
    redactor = Redactor({"MY_KEY": secret})
    looked_at: list[int] = []
    whole = redactor.redact

    def redact(text: str) -> str:
        looked_at.append(len(text))
        return whole(text)

    redactor.redact = redact  # type: ignore[method-assign]
    for offset in range(0, 60):
        said = redactor.redact_start("word " * 1634 + " " * offset + secret + " a-" * 100_000)
        assert "s3cr3t" not in said
        assert said.startswith("word word")
    assert max(looked_at) <= redaction.MOST_SAID + len(secret)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("token eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2lnbmF0dXJl end", "token [redacted] end"),
        ("x-eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.", "x-[redacted]"),
        (
            "a.b-c.d1 version-1.2.3 www.example-host.example.org",
            "a.b-c.d1 version-1.2.3 www.example-host.example.org",
        ),
        ("ftp://someone:" + "p" * 300 + "@host", "ftp://[redacted]@host"),
    ],
)
def test_what_is_hidden_by_linear_patterns(text: str, hidden: str) -> None:
    """Tokens of three parts, also within a word, and addresses with a password."""
    assert hide_patterns(text) == hidden
