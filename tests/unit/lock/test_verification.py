"""What time does to an approval."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_proofmap.calls.prices import PRICE_LIST, retired_on
from pytest_proofmap.evidence.fingerprints import runtime_fingerprint, runtime_key
from pytest_proofmap.lock.file import signed
from pytest_proofmap.lock.models import Approval, Lock, LockedRuntime, Route, RouteEvidence
from pytest_proofmap.lock.staleness import Change, verify

NOW = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)


class Unchanged:
    """Fingerprints that are what the lock says."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint

    def runtime(self, name: str) -> str:
        """Return the fingerprint of the only runtime, as the lock's key has it."""
        return self.fingerprint

    def prompt(self, name: str, variant: str) -> None:
        """Return nothing: there are no prompts."""

    knows_all = True
    knows_hooks = True

    def messages(self, name: str, variant: str) -> None:
        """Return nothing: there are no prompts."""

    def criterion(self, name: str, was: str) -> str:
        """Return the fingerprint of the only criterion."""
        return "source:2.1/bar:2/cases:3"


def lock(model: str = "openai/m-2026-01-01", expires_at: str | None = None) -> Lock:
    """Return a lock with one route."""
    runtime = LockedRuntime(
        name="m", model=model, provider="openai", params={}, variant=None, api_base=None, price=None
    )
    fingerprint = runtime_fingerprint(model=model, provider="openai", params={}, variant=None, api_base=None)
    key = runtime_key("m", fingerprint)
    route = Route(
        chain=[key],
        prompts=[],
        decision="baseline_retained",
        reason="",
        criteria={"t": "source:2.1/bar:2/cases:3"},
        evidence=RouteEvidence(run="r", sha256="", cases=1, pass_rates={"m": 1.0}),
        approval=Approval(by="Ada", at="2026-01-01T00:00:00Z", reason="", expires_at=expires_at),
        digest="",
    )
    return signed(Lock(runtimes={key: runtime}, routes={"job": route}), ["job"])


def kinds(lock: Lock, retired: date | None = None) -> list[tuple[str, bool]]:
    """Return the kinds of problems, and whether each is a finding."""
    (key,) = lock.routes["job"].chain
    present = Unchanged(key.rpartition("@")[2])
    return [(each.kind, each.is_finding) for each in verify(lock, present, NOW, lambda model: retired)]


@pytest.mark.parametrize(
    ("expires_at", "expected"),
    [
        (None, []),
        ("2026-06-01T11:59:59Z", [("expired", True)]),
        ("2026-06-01T12:00:00Z", [("expired", True)]),
        ("2026-06-15T12:00:00Z", [("expires", False)]),
        ("2026-06-15T12:00:01Z", []),
        ("2026-06-01T13:00:00+02:00", [("expired", True)]),
    ],
)
def test_expiry(expires_at: str | None, expected: list[tuple[str, bool]]) -> None:
    """An approval holds until its end, which is announced two weeks ahead."""
    assert kinds(lock(expires_at=expires_at)) == expected


def test_old_answers_are_named() -> None:
    """Answers get older after an approval; those that a former model gave were known to be so."""
    approved = lock()
    route = approved.routes["job"]
    evidence = route.evidence.model_copy(
        update={"oldest_answers": {"m": "2026-03-01T00:00:00Z"}, "superseded": {"m": 3}}
    )
    dated = signed(
        approved.model_copy(update={"routes": {"job": route.model_copy(update={"evidence": evidence})}}), ["job"]
    )
    present = Unchanged(route.chain[0].rpartition("@")[2])
    for days, expected in ((90, ["old", "superseded"]), (93, ["superseded"]), (0, [])):
        found = list(verify(dated, present, NOW, lambda model: None, days))
        assert [each.kind for each in found] == expected
        assert not any(each.is_finding for each in found)
    assert "oldest_answers" not in approved.routes["job"].model_dump_json()


@pytest.mark.parametrize(("days", "expected"), [(-1, ["retired"]), (0, ["retired"]), (14, ["retires"]), (15, [])])
def test_retired_models(days: int, expected: list[str]) -> None:
    """A model that its provider retires is warned of before and after."""
    found = kinds(lock(), NOW.date() + timedelta(days=days))
    assert found == [(kind, False) for kind in expected]


@pytest.mark.parametrize("model", ["anthropic/claude-x-latest", "ollama/llama:latest"])
def test_aliases_are_not_pinned(model: str) -> None:
    """What the name means may change without anybody's doing."""
    assert kinds(lock(model)) == [("unpinned", False)]


def test_a_broken_digest_is_a_finding() -> None:
    """Whatever else is wrong is said too."""
    present = lock("m-latest")
    route = present.routes["job"].model_copy(update={"reason": "edited"})
    assert kinds(present.model_copy(update={"routes": {"job": route}})) == [("digest", True), ("unpinned", False)]


def signed_again(present: Lock, **changes: Any) -> Lock:
    """Return a lock whose route or runtime somebody changed, with the digest computed anew."""
    route = present.routes["job"]
    (key,) = route.chain
    fields = {name: value for name, value in changes.items() if name in LockedRuntime.model_fields}
    runtime = present.runtimes[key].model_copy(update=fields)
    route = route.model_copy(update={name: value for name, value in changes.items() if name not in fields})
    return signed(Lock(runtimes={key: runtime}, routes={"job": route}), ["job"])


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "openai/other"},
        {"api_base": "https://elsewhere.example/v1"},
        {"params": {"temperature": 1}},
        {"name": "n"},
        {"criteria": {}},
    ],
)
def test_replaced_contents_are_found_under_a_digest_that_matches(changes: dict[str, Any]) -> None:
    """An entry's key is made from its content, and a route without criteria was evaluated on nothing."""
    assert ("content", True) in kinds(signed_again(lock(), **changes))


def test_a_route_without_a_judged_case_is_a_finding() -> None:
    """Nothing was seen of it, whatever its digest says."""
    empty = RouteEvidence(run="r", sha256="", cases=0, skipped=40, pass_rates={"m": None})
    assert kinds(signed_again(lock(), evidence=empty)) == [("no_cases", True)]


def test_an_older_walk_is_told() -> None:
    """What was approved by it holds, with the advice to approve again."""
    older = signed_again(lock(), criteria={"t": "source:0123456789ab/bar:2/cases:3"})
    assert kinds(older) == [("older", False)]


def test_litellms_price_list_says_when_models_retire() -> None:
    """The dates are read without importing LiteLLM; a model without one has none."""
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    listed = json.loads(Path(spec.origin).with_name(PRICE_LIST).read_text(encoding="utf-8"))
    dated = {name: entry["deprecation_date"] for name, entry in listed.items() if entry.get("deprecation_date")}
    model, ends = next((name, ends) for name, ends in dated.items() if re.fullmatch(r"\d{4}-\d\d-\d\d", ends))
    assert retired_on(model) == date.fromisoformat(ends)
    assert retired_on("openai/no-such-model") is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (Change("prompt", "label.mini", "1", "2"), "prompt label.mini changed: 1 → 2"),
        (Change("runtime", "mini", "1", None), "runtime mini is gone (was 1)"),
        (Change("criterion", "t", "1", "2", "cases"), "criterion t changed (cases): 1 → 2"),
    ],
)
def test_changes_in_words(change: Change, text: str) -> None:
    """They name what changed, and both fingerprints."""
    assert change.text == text
