"""Several looks at a verdict, with more cases each time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_proofmap.decide.decision import Decision, decide
from pytest_proofmap.decide.looks import LookKey, LookState, join_states
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.errors import HistoryError
from pytest_proofmap.evidence.models import Bar, Cell, Criterion, Objective, Outcome, RuntimeInfo
from pytest_proofmap.lock.history import StoredHistory, read_history, write_history

KEY = LookKey("t", None, "mini")
RUNTIMES = {
    name: RuntimeInfo(model=name, provider=name, params={}, fingerprint=name) for name in ("base", "mini", "other")
}


def look(
    outcomes: str,
    looks: Any,
    history: Mapping[LookKey, LookState],
    *,
    prompt: str = "",
    margin: float = 0.05,
    first: int = 0,
    seen: Mapping[LookKey, LookState] = MappingProxyType({}),
) -> Decision:
    """Decide on a run: one letter a case, ``P`` where the challenger agrees with a baseline that passes."""
    bar = Bar(kind="margin", min_pass_rate=None, max_failure_rate=0.25, margin=margin, confidence=0.95, samples=1)
    rows = []
    for index, letter in enumerate(outcomes, start=first):
        outcome: Outcome = "passed" if letter == "P" else "failed"
        both: list[tuple[str, Outcome]] = [("base", "passed"), ("mini", outcome)]
        for name, found in both:
            rows.append(
                Observation(
                    "t",
                    f"c{index}",
                    None,
                    name,
                    0,
                    found,
                    request_digest=f"{name}/{prompt}/{index}",
                )
            )
    return decide(
        [Criterion(id="t", objective="job", fingerprint="source:a/bar:b/cases:c", collected=[], bar=bar)],
        [Objective(name="job", baseline="base", challengers=["mini"], criteria=["t"], looks=looks)],
        RUNTIMES,
        rows,
        history=history,
        seen=seen,
    )


def cell(decision: Decision) -> Cell:
    """Return the challenger's cell."""
    return decision.criteria[0].cells[1]


@pytest.mark.parametrize(("margin", "needed"), [(0.05, 73), (0.10, 36), (0.20, 17)])
def test_the_first_planned_look(margin: float, needed: int) -> None:
    """The first of several looks has half of the error: so many agreeing cases qualify, and one fewer does not."""
    for cases, status in ((needed, "qualified"), (needed - 1, "insufficient")):
        found = cell(look("P" * cases, 2, {}, margin=margin))
        assert found.status == status
        assert found.p_unsafe is not None
        assert found.p_adjusted == pytest.approx(2 * found.p_unsafe)


def test_looks_are_counted() -> None:
    """Further cases are another look, the same cases again are none, and the second look counts p four times."""
    first = look("P" * 60, 2, {})
    again = look("P" * 60, 2, first.history)
    second = look("P" * 90, 2, again.history)
    numbers = [one.look.number for one in map(cell, (first, again, second)) if one.look is not None]
    assert numbers == [1, 1, 2]
    assert first.history == again.history
    found = cell(second)
    assert found.p_unsafe is not None
    assert found.p_adjusted == pytest.approx(4 * found.p_unsafe)
    assert found.status == "qualified"
    assert "look 2 of 2 planned looks, 90 cases" in found.reason


def test_after_the_last_look_new_cases_are_refused() -> None:
    """The verdict of the last look stands, whatever further cases would say, until the looks begin anew."""
    history = look("P" * 50, 2, look("P" * 30, 2, {}).history).history
    found = cell(look("P" * 400, 2, history))
    assert (found.status, found.reason_code) == ("insufficient", "looks_used_up")
    assert found.look is not None
    assert (found.look.number, len(found.look.refused)) == (2, 350)
    assert "350 new cases refused" in found.reason
    assert look("P" * 400, 2, history).history == history
    anew = cell(look("P" * 400, 2, history, margin=0.04))
    assert anew.look is not None
    assert (anew.status, anew.look.number, anew.look.restarts) == ("qualified", 1, 1)
    assert "restarted once" in anew.reason


@pytest.mark.parametrize("changed", [{"margin": 0.1}, {"prompt": "other"}, {"looks": 3}, {"looks": "open"}])
def test_another_question_begins_anew(changed: dict[str, Any]) -> None:
    """A changed bar, prompt or number of looks is a new question, and is counted."""
    history = look("P" * 50, 2, {}).history
    state = look("P" * 50, **{"looks": 2, "history": history, **changed}).history[KEY]
    assert (len(state.looks), state.restarts) == (1, 1)


def test_one_changed_request_is_a_new_case() -> None:
    """Where only some cases ask something else, they are new cases of the same question."""
    history = look("P" * 50, 3, {}).history
    more = look("P" * 10, 3, history, first=50).history[KEY]
    assert (len(more.looks), len(more.cases), more.restarts) == (2, 60, 0)


def test_open_looks_carry_the_bets() -> None:
    """However cases are divided into runs, the wealth after all of them is the same; 77 agreeing ones suffice."""
    whole = cell(look("P" * 77, "open", {}))
    assert whole.look is not None
    assert whole.look.most_acceptable is not None
    assert math.exp(whole.look.most_acceptable) == pytest.approx(20.8206, abs=1e-4)
    assert whole.p_unsafe == pytest.approx(1 / 20.8206, rel=1e-5)
    assert whole.status == "qualified"
    parts = look("P" * 30, "open", {})
    assert cell(parts).status == "insufficient"
    parts = look("P" * 47, "open", parts.history, first=30)
    assert cell(parts).look == whole.look.model_copy(update={"number": 2})
    assert cell(parts).status == "qualified"


def test_open_looks_find_what_is_worse() -> None:
    """A challenger that fails is found out by the mirrored bets, and stays so."""
    found = look("FP" * 10, "open", {})
    assert cell(found).status == "not_qualified"
    assert cell(look("P" * 10, "open", found.history, first=20)).status == "not_qualified"


@settings(max_examples=30, deadline=None)
@given(st.text("PF", min_size=1, max_size=60), st.integers(1, 59))
def test_looking_again_never_helps(outcomes: str, cut: int) -> None:
    """The second of planned looks never has a smaller p-value than a first look at all of its cases."""
    once = cell(look(outcomes, 2, {}))
    twice = cell(look(outcomes, 2, look(outcomes[:cut], 2, {}).history))
    assert once.p_adjusted is not None
    assert twice.p_adjusted is not None
    assert twice.p_adjusted >= once.p_adjusted


def test_stored_looks_decide_alike() -> None:
    """Deciding again on stored evidence goes by the looks that its cells hold, and takes none."""
    second = look("P" * 90, 2, look("P" * 60, 2, {}).history)
    rows = [
        Observation("t", f"c{index}", None, name, 0, "passed", request_digest=f"{name}//{index}")
        for index in range(90)
        for name in ("base", "mini")
    ]
    again = decide(second.criteria, second.objectives, RUNTIMES, rows)
    assert cell(again) == cell(second)
    assert again.history == {}


def test_two_branches_that_both_looked() -> None:
    """Their looks add up: with the common one, one more on each side makes three, and all cases are consumed."""
    base = look("P" * 30, 3, {}).history
    ours = look("P" * 20, 3, base, first=30).history[KEY]
    theirs = look("P" * 25, 3, base, first=50).history[KEY]
    for joined in (join_states(ours, theirs), join_states(theirs, ours)):
        assert (len(joined.looks), len(joined.cases), joined.restarts) == (3, 75, 0)
        assert joined.looks[0] == 30
    assert join_states(ours, ours) == ours
    assert join_states(ours, base[KEY]) == ours


def test_the_file(tmp_path: Path) -> None:
    """What is written is read again, sorted, and every change by hand is found."""
    path = tmp_path / "proofmap.history"
    history = dict(look("PF" * 30 + "P" * 300, "open", {}).history)
    history[LookKey("t", "language=fr", "mini")] = history[KEY]._replace(mode=2, wealth=None)
    write_history(path, StoredHistory(looks=history))
    assert read_history(path).looks == history
    text = path.read_text(encoding="utf-8")
    for old, new in (
        ('"restarts": 0', '"restarts": 1'),
        ('"most_worse": ', '"most_worse": 1'),
        ('"mode": 2', '"mode": 3'),
    ):
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(HistoryError, match="edited by hand"):
            read_history(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ('{"schema": "proofmap.history/9"}', "has the schema 'proofmap.history/9'"),
        ("[]", "has the schema None"),
        ('{"schema": "proofmap.history/1", "looks": {"t": {"": {"m": {}}}}}', "looks.t..m.mode"),
        ("<<<<<<< ours\n{\n", "cut off"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, says: str) -> None:
    """A file that is no history says what is wrong and where a right one is."""
    path = tmp_path / "proofmap.history"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HistoryError, match=says):
        read_history(path)


def test_a_conflict_is_read_as_both_sides(tmp_path: Path) -> None:
    """What git leaves of two branches that both looked is read, and the looks add up."""
    base = look("P" * 30, 3, {}).history
    texts = []
    for first in (30, 60):
        path = tmp_path / f"{first}.history"
        write_history(path, StoredHistory(looks=dict(look("P" * 30, 3, base, first=first).history)))
        texts.append(path.read_text(encoding="utf-8"))
    merged = tmp_path / "proofmap.history"
    merged.write_text(f"<<<<<<< ours\n{texts[0]}=======\n{texts[1]}>>>>>>> theirs\n", encoding="utf-8")
    state = read_history(merged).looks[KEY]
    assert (len(state.looks), len(state.cases)) == (3, 90)


def test_looks_that_only_a_copy_knows_count() -> None:
    """Of the same question they add up with those of the history; of another one they are a restart at most."""
    first = look("P" * 30, 3, {}).history
    second = look("P" * 20, 3, first, first=30).history
    for history in ({}, first):
        again = look("P" * 10, 3, history, first=50, seen=second)
        assert len(again.history[KEY].looks) == 3
        told = cell(again).look
        assert told is not None
        assert told.put_back == 2 - len(history)
        assert "missing from the history" in str(cell(again).reason)
    kept = look("P" * 10, 3, second, first=50, seen=first)
    assert (kept.history, cell(kept)) == (
        look("P" * 10, 3, second, first=50).history,
        cell(look("P" * 10, 3, second, first=50)),
    )
    changed = look("P" * 60, 3, {}, seen=second, margin=0.1).history[KEY]
    assert (len(changed.looks), changed.restarts) == (1, 1)


def test_a_history_names_what_it_was_before(tmp_path: Path) -> None:
    """Each state names the digests before it, of both sides of a merge too; an unchanged one stays as it is."""
    path = tmp_path / "proofmap.history"
    first = look("P" * 30, 3, {}).history
    write_history(path, StoredHistory(looks=dict(first)))
    old = read_history(path)
    assert "before" not in path.read_text(encoding="utf-8")
    texts = []
    for start in (30, 60):
        after = look("P" * 30, 3, first, first=start).history
        write_history(path, replace(old, looks=dict(after)))
        assert read_history(path).digests > old.digests
        texts.append(path.read_text(encoding="utf-8"))
    newer = read_history(path)
    write_history(path, newer)
    assert path.read_text(encoding="utf-8") == texts[1]
    path.write_text(f"<<<<<<< ours\n{texts[0]}=======\n{texts[1]}>>>>>>> theirs\n", encoding="utf-8")
    merged = read_history(path)
    assert merged.digests > newer.digests
    write_history(path, merged)
    assert read_history(path).digests > merged.digests
    path.write_text(texts[1].replace(next(iter(old.digests)), "0" * 64), encoding="utf-8")
    with pytest.raises(HistoryError, match="edited by hand"):
        read_history(path)
