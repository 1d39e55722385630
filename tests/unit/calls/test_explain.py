"""Finding the nearest stored request and saying how it differs."""

from __future__ import annotations

from typing import Any

from stored_answers import request_of

from pytest_proofmap.calls.explain import StoredRequest, compare, message_changes, nearest
from pytest_proofmap.calls.request import Request

TICKET = "Dear support, my order 17 has not arrived yet. Please send it again or refund me. Thank you."


def stored(*requests: Request) -> list[StoredRequest]:
    """Return requests as if they had stored answers."""
    return [StoredRequest(request.key(), request, "somewhere") for request in requests]


def differing(asked: Request, other: Request) -> list[str]:
    """Return the names of the ingredients that differ."""
    return [each.name for each in compare(asked, other) if not each.is_same]


def test_the_nearest_has_the_most_words_in_common() -> None:
    """A ticket with one word changed is nearer than another ticket."""
    asked = request_of(TICKET.replace("17", "18"))
    near = nearest(asked, stored(request_of("Hello"), request_of(TICKET), request_of("Dear support, hello")))
    assert near is not None
    assert near.request == request_of(TICKET)


def test_equal_messages_win_over_the_same_model() -> None:
    """After a change of the model id the same messages are the nearest."""
    asked = request_of(TICKET, model="m/new")
    near = nearest(asked, stored(request_of("Hello", model="m/new"), request_of(TICKET, model="m/old")))
    assert near is not None
    assert differing(asked, near.request) == ["model"]


def test_the_same_model_wins_among_equal_messages() -> None:
    """Parameters count less than the model, and the fewest differences win."""
    asked = request_of(TICKET, params={"temperature": 1}, sample=2)
    near = nearest(
        asked,
        stored(
            request_of(TICKET, model="m/other", params={"temperature": 1}, sample=2),
            request_of(TICKET, params={"temperature": 0}),
            request_of(TICKET, params={"temperature": 0}, sample=2),
        ),
    )
    assert near is not None
    assert differing(asked, near.request) == ["params"]
    assert near.request.sample == 2


def test_nothing_is_near_where_nothing_is_stored() -> None:
    """Without a stored request there is no nearest one."""
    assert nearest(request_of(), []) is None


def test_number_types_are_told_apart() -> None:
    """Ingredients are compared as they enter the key: 0 is not 0.0."""
    asked, other = request_of(params={"temperature": 0}), request_of(params={"temperature": 0.0})
    assert asked.key() != other.key()
    assert differing(asked, other) == ["params"]


def test_changed_words_are_shown_in_their_place() -> None:
    """A change is shown with a few words around it."""
    changes = message_changes(request_of(TICKET.replace("order 17", "parcel 18")), request_of(TICKET))
    assert changes == [
        "message 1 (user): … Dear support, my [-order 17-] {+parcel 18+} has not arrived yet. Please …"
    ]


def test_added_and_removed_words() -> None:
    """Pure additions and pure removals are marked as such."""
    assert message_changes(request_of("a b c"), request_of("a c")) == ["message 1 (user): … a {+b+} c …"]
    assert message_changes(request_of("a c"), request_of("a b c")) == ["message 1 (user): … a [-b-] c …"]


def test_white_space_alone() -> None:
    """A difference that shows in no word is shown character by character."""
    (change,) = message_changes(request_of("one two\n"), request_of("one two"))
    assert "differs from character 7 on" in change
    assert r"'one two\n'" in change


def test_missing_messages_roles_and_other_fields() -> None:
    """A message more or less, another role and other fields of a message are named."""

    def conversation(*messages: dict[str, Any]) -> Request:
        return Request("m", list(messages), {})

    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}
    assert message_changes(conversation(system, user), conversation(system)) == ["message 2 is only asked: Hi"]
    assert message_changes(conversation(system), conversation(system, user)) == ["message 2 is only stored: Hi"]
    assert message_changes(conversation(system), conversation({**system, "role": "developer"})) == [
        "message 1 (system): the role is 'developer' in the stored one"
    ]
    (change,) = message_changes(conversation({**user, "name": "Ann"}), conversation(user))
    assert "Ann" in change
    parts = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
    assert message_changes(conversation(parts), conversation(user))
    assert message_changes(conversation(user), conversation(user)) == []


def test_long_texts_are_shortened() -> None:
    """A replaced text is shown by its beginning and its end."""
    (change,) = message_changes(request_of("new " * 3000), request_of("old " * 3000))
    assert len(change) < 500
