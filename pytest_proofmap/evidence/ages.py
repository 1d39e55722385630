"""How old the answers are that evidence rests on, and which were made before their model changed.

An alias (``gpt-4o``) is served by one model today and another tomorrow; what is kept is from the day it was asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from pytest_proofmap.evidence.models import Evidence, RunInfo

__all__ = ["AnswerAge", "ages", "answers_of", "is_older", "told", "told_of_run"]


class AnswerAge(NamedTuple):
    """When an answer was made, and by whom."""

    runtime: str
    model: str
    """The model that served it."""
    made_at: str
    """UTC ISO 8601."""


class RuntimeAges(NamedTuple):
    """The answers of one runtime."""

    runtime: str
    made_at: list[str]
    """When each answer was made, the oldest first."""
    superseded: int
    """How many were made by another model before the present one served."""
    models: tuple[str, str] | None
    """The model before and the one that serves now, where it changed."""


def answers_of(
    evidence: Evidence, criteria: Collection[str] | None = None, runtimes: Collection[str] | None = None
) -> Iterator[AnswerAge]:
    """Yield when answers were made, each answer once.

    Args:
        evidence: Where they are.
        criteria: Those of these criteria alone.
        runtimes: Those of these runtimes alone.
    """
    seen = set()
    for sample in evidence.samples:
        if criteria is not None and sample.criterion not in criteria:
            continue
        for call in sample.calls:
            name = call.runtime or sample.runtime
            if (runtimes is None or name in runtimes) and call.made_at and call.key not in seen:
                seen.add(call.key)
                yield AnswerAge(name, call.model or "", call.made_at)


def ages(answers: Iterable[AnswerAge]) -> list[RuntimeAges]:
    """Return the ages of answers by runtime, sorted by name."""
    by_runtime: defaultdict[str, list[tuple[datetime, AnswerAge]]] = defaultdict(list)
    for answer in answers:
        made_at = _time(answer.made_at)
        if made_at is not None:
            by_runtime[answer.runtime].append((made_at, answer))
    found = []
    for runtime, timed in sorted(by_runtime.items()):
        timed.sort(key=lambda each: each[0])
        present = timed[-1][1].model
        since = min(made_at for made_at, answer in timed if answer.model == present)
        before = [answer for made_at, answer in timed if answer.model != present and made_at < since]
        models = (before[-1].model, present) if before else None
        found.append(RuntimeAges(runtime, [answer.made_at for _, answer in timed], len(before), models))
    return found


def is_older(made_at: str, days: int, now: datetime) -> bool:
    """Return whether something is older than a number of days; 0: nothing is."""
    made = _time(made_at)
    return days > 0 and made is not None and now - made > timedelta(days=days)


def told(runtime_ageses: Iterable[RuntimeAges], max_age_days: int, now: datetime) -> Iterator[str]:
    """Yield which answers are older than allowed, and which a model gave that serves no more, by runtime."""
    if not max_age_days:
        return
    for ages in runtime_ageses:
        old = sum(is_older(made_at, max_age_days, now) for made_at in ages.made_at)
        if old:
            yield (
                f"{_answers(old)} of {ages.runtime} {'is' if old == 1 else 'are'} older than {max_age_days} days "
                f"(max_age_days), the oldest from {ages.made_at[0][:10]}: ask again with --proofmap-cache=refresh"
            )
        if ages.models is not None:
            before, present = ages.models
            were = "was" if ages.superseded == 1 else "were"
            yield (
                f"{_answers(ages.superseded)} of {ages.runtime} {were} made by {before}, before its model changed "
                f"to {present}: ask again with --proofmap-cache=refresh"
            )


def told_of_run(answers: Iterable[AnswerAge], run: RunInfo) -> Iterator[str]:
    """Yield the same of the answers of a run as they were when it began: at its end, and of stored evidence."""
    began_at = _time(run.started_at)
    if began_at is not None:
        yield from told(ages(answers), run.max_age_days or 0, began_at)


def _answers(number: int) -> str:
    return f"{number:,} answer{'' if number == 1 else 's'}"


def _time(text: str) -> datetime | None:
    try:
        made_at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return made_at if made_at.tzinfo is not None else made_at.replace(tzinfo=timezone.utc)
