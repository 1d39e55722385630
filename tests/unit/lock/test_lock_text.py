"""The lock as text: what git and people may make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_lock import lock_of, route_to

from pytest_proofmap.errors import LockError, PromptError
from pytest_proofmap.lock.file import broken_digests, join, parse_lock, read_lock, sides, signed
from pytest_proofmap.lock.models import Approval, Lock, LockedPrompt, LockedRuntime, Route, RouteEvidence
from pytest_proofmap.lock.serve import compile_prompts


def lock(*names: str, by: str = "Ada") -> Lock:
    """Return a signed lock with some routes."""
    runtime = LockedRuntime(
        name="m", model="p/m", provider="p", params={"n": 1.5}, variant=None, api_base=None, price=None
    )
    prompt = LockedPrompt(
        name="x", variant="default", file="x.prompt", messages=[{"role": "user", "content": "é"}]
    )
    route = Route(
        chain=["m@f"],
        prompts=["x.default@0"],
        decision="promoted",
        reason="",
        criteria={"t": "source:1/bar:2/cases:3"},
        evidence=RouteEvidence(run="r", sha256="", cases=1, pass_rates={"m": 1.0}),
        approval=Approval(by=by, at="2026-01-01T00:00:00Z", reason="", expires_at="2027-01-01T00:00:00Z"),
        digest="",
    )
    whole = Lock(runtimes={"m@f": runtime}, prompts={"x.default@0": prompt}, routes=dict.fromkeys(names, route))
    return signed(whole, names)


def text_of(lock: Lock) -> str:
    """Return a lock as it is written."""
    return json.dumps(lock.model_dump(mode="json", by_alias=True), sort_keys=True, indent=2, ensure_ascii=False)


TEXT = text_of(lock("a", "a/language=fr"))


def test_what_is_written_is_read_back() -> None:
    """Nothing gets lost, and the digests match."""
    again = parse_lock(TEXT, "lock")
    assert again == lock("a", "a/language=fr")
    assert list(broken_digests(again)) == []


@pytest.mark.parametrize("field", ["chain", "decision", "reason", "criteria", "evidence", "approval"])
def test_every_part_of_a_route_is_signed(field: str) -> None:
    """Whatever of a route is edited breaks its digest, and no other's."""
    content = json.loads(text_of(lock("a", "b")))
    values = {
        "chain": ["m@f", "m@f"],
        "decision": "partial",
        "reason": "because",
        "criteria": {},
        "evidence": content["routes"]["a"]["evidence"] | {"cases": 2},
        "approval": content["routes"]["a"]["approval"] | {"by": "Eve"},
    }
    content["routes"]["a"][field] = values[field]
    assert list(broken_digests(parse_lock(json.dumps(content), "lock"))) == ["a"]


def test_what_a_route_names_is_signed_with_it() -> None:
    """A prompt or a parameter that is edited breaks every route that names it; routes cannot trade places."""
    content = json.loads(text_of(lock("a", "b")))
    content["prompts"]["x.default@0"]["messages"][0]["content"] = "e"
    assert list(broken_digests(parse_lock(json.dumps(content), "lock"))) == ["a", "b"]
    content = json.loads(text_of(lock("a", "b")))
    content["runtimes"]["m@f"]["params"]["n"] = 2
    assert list(broken_digests(parse_lock(json.dumps(content), "lock"))) == ["a", "b"]
    content = json.loads(text_of(lock("a", "b")))
    content["routes"]["a"], content["routes"]["b"] = content["routes"]["b"], content["routes"]["a"]
    assert list(broken_digests(parse_lock(json.dumps(content), "lock"))) == ["a", "b"]


@given(at=st.integers(0, len(TEXT)), length=st.integers(0, 40), put=st.text(max_size=20))
@settings(max_examples=400)
def test_no_edit_crashes_or_goes_unseen(at: int, length: int, put: str) -> None:
    """An edited text is refused with our own error, or its digests tell, or it says the same."""
    try:
        found = parse_lock(TEXT[:at] + put + TEXT[at + length :], "lock")
    except LockError:
        return
    if not list(broken_digests(found)):
        untouched = lock("a", "a/language=fr")
        assert {name: untouched.routes[name] for name in found.routes} == found.routes


@pytest.mark.parametrize("base", ["", "||||||| base\nold\n"])
def test_both_sides_of_a_conflict(base: str) -> None:
    """Also with the common ancestor that git shows on demand."""
    text = f"1\n<<<<<<< HEAD\n2\n{base}=======\n3\n>>>>>>> other\n4\n"
    assert sides(text) == ("1\n2\n4\n", "1\n3\n4\n")


@pytest.mark.parametrize(
    "text", ["", "plain\n", "<<<<<<< a\n", ">>>>>>> a\n", "<<<<<<< a\n=======\n=======\n>>>>>>> b\n"]
)
def test_broken_conflicts(text: str) -> None:
    """Markers that git did not write, or none, are an error."""
    with pytest.raises(LockError):
        sides(text)


def test_joining() -> None:
    """Routes of both sides get in; one that both approved differently is a person's to decide."""
    assert join(lock("a", "b"), lock("b", "c")) == lock("a", "b", "c")
    with pytest.raises(LockError, match="both sides approved the route 'b'"):
        join(lock("a", "b"), lock("b", by="Eve"))


def test_joining_with_what_both_sides_come_from() -> None:
    """A route is as the side has it that changed or dropped it; where both did, a person decides."""
    base, changed = lock("a", "b"), lock("b", by="Eve")
    assert join(lock("a", "b", "c"), changed, base).routes == {**changed.routes, "c": lock("c").routes["c"]}
    assert join(changed, lock("a", "b", "c"), base).routes == {**changed.routes, "c": lock("c").routes["c"]}
    assert join(lock("a"), lock("a"), base) == lock("a")
    for ours, theirs in ((changed, lock("b", by="Bob")), (lock("a"), changed), (changed, lock("a"))):
        with pytest.raises(LockError, match="both sides approved the route 'b'"):
            join(ours, theirs, base)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema": "proofmap.lock/1", "schema": "proofmap.lock/1"}', "the key 'schema' comes twice"),
        ('{"schema": 1e999}', "the number '1e999' is too large"),
        ('{"schema": NaN}', "NaN is no number in JSON"),
        (f'{{"schema": {"9" * 5000}}}', "is not JSON"),
        ("[" * 150 + "]" * 150, "nested more than 100 deep"),
        ("[" * 10**6, "is not JSON"),
    ],
)
def test_json_that_readers_take_differently(text: str, words: str) -> None:
    """What one reader shows and another loads is refused: repeated keys, numbers that are none, endless depth."""
    with pytest.raises(LockError) as caught:
        parse_lock(text, "the lock")
    assert words in str(caught.value)


def test_a_lock_of_any_size(tmp_path: Path) -> None:
    """A larger file than any lock is refused by its size."""
    with (tmp_path / "proofmap.lock").open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(LockError, match="has more than 64 MB"):
        read_lock(tmp_path / "proofmap.lock")


@pytest.mark.parametrize("messages", [[{}], [{"role": "user"}], [{"role": "tool", "content": "x"}], [{"role": 5}]])
def test_prompts_that_are_none(messages: list[dict[str, Any]]) -> None:
    """A locked prompt whose messages are none is an error of ours when it is compiled."""
    with pytest.raises(PromptError, match="message 1 is none of a prompt"):
        compile_prompts(lock_of({"t": route_to("mini", prompts=["p.default"])}, prompts={"p.default": messages}))
