"""How old answers are, and which were made before their model changed."""

from __future__ import annotations

from datetime import datetime, timezone

from pytest_proofmap.evidence.ages import AnswerAge, ages, is_older, told
from pytest_proofmap.evidence.models import Call

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
ANSWERS = [
    AnswerAge("gpt", "gpt-4o-2024-08-06", "2026-05-20T00:00:00Z"),
    AnswerAge("gpt", "gpt-4o-2024-05-13", "2026-01-01T00:00:00.000Z"),
    AnswerAge("gpt", "gpt-4o-2024-05-13", "2026-05-10T00:00:00Z"),
    AnswerAge("mini", "mini", "2026-05-31T00:00:00+00:00"),
    AnswerAge("mini", "mini", "a while ago"),
]


def test_old_answers_and_those_of_a_former_model_are_named() -> None:
    """One line each, by runtime; what has no readable time is passed over."""
    assert list(told(ages(ANSWERS), 90, NOW)) == [
        "1 answer of gpt is older than 90 days (max_age_days), the oldest from 2026-01-01: ask again with "
        "--proofmap-cache=refresh",
        "2 answers of gpt were made by gpt-4o-2024-05-13, before its model changed to gpt-4o-2024-08-06: ask "
        "again with --proofmap-cache=refresh",
    ]


def test_zero_days_name_nothing() -> None:
    """The names are off, for projects whose recordings are kept for good."""
    assert list(told(ages(ANSWERS), 0, NOW)) == []
    assert not is_older("2020-01-01T00:00:00Z", 0, NOW)


def test_models_that_take_turns_are_no_change() -> None:
    """Where the one that answered last answered first as well, nothing is superseded."""
    mixed = [
        AnswerAge("r", "a", "2026-05-01T00:00:00Z"),
        AnswerAge("r", "b", "2026-05-02T00:00:00Z"),
        AnswerAge("r", "a", "2026-05-03T00:00:00Z"),
    ]
    assert ages(mixed)[0].superseded == 0


def test_an_unset_time_is_left_out() -> None:
    """Calls of older artifacts are written as they were."""
    call = Call.model_validate(
        {
            **{"key": "k", "source": "cache", "attempts": 1, "model": "m", "input_tokens": 1, "output_tokens": 1},
            **{"cached_input_tokens": 0, "cost_usd": 0.0, "latency_s": 0.1, "finish_reason": "stop", "text": ""},
        }
    )
    assert not {"made_at", "billed"} & set(call.model_dump(mode="json"))
    dated = call.model_copy(update={"made_at": "2026-05-01T00:00:00Z"})
    assert dated.model_dump(mode="json")["made_at"] == "2026-05-01T00:00:00Z"
