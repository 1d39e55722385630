"""Reading and writing ``proofmap.history``: what the looks at verdicts have seen, from run to run.

The file stands beside the lock and is committed like it. It is JSON with sorted keys, one digest a line, each
state with a digest of its own, so that what was edited by hand is found. Where two branches both looked, the
conflict that git leaves is read as it stands: their looks add up.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_proofmap.approve.lock import sides
from pytest_proofmap.decide.adaptive import Wealth
from pytest_proofmap.decide.decision import Decision, decide
from pytest_proofmap.decide.looks import History, LookKey, LookState, join_states
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.paired import Memo
from pytest_proofmap.decide.reasons import Block
from pytest_proofmap.errors import HistoryError, LockError
from pytest_proofmap.evidence.models import Criterion, Objective, RuntimeInfo
from pytest_proofmap.limited_file import FileTooLargeError, check_depth, read_limited
from pytest_proofmap.whole_file import write_whole

__all__ = [
    "HISTORY_NAME",
    "DriftState",
    "LookBook",
    "StoredHistory",
    "history_path",
    "read_history",
    "write_history",
]

HISTORY_NAME = "proofmap.history"
HISTORY_SCHEMA = "proofmap.history/1"
LARGEST_BYTES = 256 * 2**20
_REMEDY = "Take it from version control; without it, earlier looks would not count and false promotions would."

LogWealth = Annotated[float, Field(allow_inf_nan=False)] | None
"""Logarithm of a bet's wealth; null: all of it was lost."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class _Wealth(_Model):
    acceptable: Annotated[list[LogWealth], Field(min_length=21, max_length=21)]
    worse: Annotated[list[LogWealth], Field(min_length=20, max_length=20)]
    most_acceptable: Annotated[float, Field(allow_inf_nan=False)]
    most_worse: Annotated[float, Field(allow_inf_nan=False)]


class _State(_Model):
    mode: Literal[2, 3, "open"]
    hypothesis: str
    looks: list[Annotated[int, Field(ge=0)]]
    cases: list[Annotated[str, Field(pattern=r"^[0-9a-f]{16}\.[0-9a-f]{16}$")]]
    restarts: Annotated[int, Field(ge=0)]
    wealth: _Wealth | None = None
    digest: str = ""


class DriftState(_Model):
    """How often a reference was compared with new answers."""

    looks: Annotated[int, Field(ge=0)]
    runs: list[str]
    """Ids of the runs that were compared with it."""
    digest: str = ""


class _File(_Model):
    schema_: Literal["proofmap.history/1"] = Field(alias="schema")
    looks: dict[str, dict[str, dict[str, _State]]] = {}
    """By criterion, slice (empty: all cases) and challenger."""
    drift: dict[str, DriftState] = {}
    """By the reference's run."""


@dataclass(slots=True)
class StoredHistory:
    """What the file holds."""

    looks: dict[LookKey, LookState] = field(default_factory=dict)
    drift: dict[str, DriftState] = field(default_factory=dict)


def history_path(lock: Path) -> Path:
    """Return where the history of a lock is."""
    return lock.parent / HISTORY_NAME


def read_history(path: Path) -> StoredHistory:
    """Read a history, both sides of a merge together; no file is an empty one.

    Raises:
        HistoryError: It cannot be read, is of another schema, or was edited by hand.
    """
    try:
        text = read_limited(path, LARGEST_BYTES).decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError:
        return StoredHistory()
    except FileTooLargeError:
        raise HistoryError(f"{path} has more than {LARGEST_BYTES // 2**20} MB: that is no history.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise HistoryError(f"cannot read {path}: {error}. {_REMEDY}") from None
    if "<<<<<<<" not in text:
        return _parse(text, path)
    try:
        ours, theirs = (_parse(side, path) for side in sides(text))
    except LockError as error:
        raise HistoryError(f"{path}: {error} {_REMEDY}") from None
    return _join(ours, theirs)


def write_history(path: Path, history: StoredHistory) -> None:
    """Write a history whole.

    Raises:
        HistoryError: It cannot be written.
    """
    looks: dict[str, dict[str, dict[str, object]]] = {}
    for key, state in history.looks.items():
        by_slice = looks.setdefault(key.criterion, {}).setdefault(key.slice or "", {})
        by_slice[key.challenger] = _signed(_stored(state)).model_dump(mode="json", exclude_none=False)
    content = {
        "schema": HISTORY_SCHEMA,
        "looks": looks,
        "drift": {name: _signed(state).model_dump(mode="json") for name, state in history.drift.items()},
    }
    try:
        with write_whole(path) as file:
            file.write(json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise HistoryError(f"cannot write {path}: {error.strerror or error}.") from None


def _parse(text: str, path: Path) -> StoredHistory:
    try:
        content = json.loads(text)
        check_depth(content)
    except (ValueError, RecursionError) as error:
        raise HistoryError(f"{path} is not JSON: {error}. {_REMEDY}") from None
    found = content.get("schema") if isinstance(content, dict) else None
    if found != HISTORY_SCHEMA:
        raise HistoryError(
            f"{path} has the schema {found!r}; this version of ProofMap reads {HISTORY_SCHEMA!r}. Use the version "
            "that wrote it."
        )
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise HistoryError(f"{path}: {place}: {problem['msg']}. {_REMEDY}") from None
    for place, state in _states(file):
        if state.digest != _digest(state):
            raise HistoryError(f"{path}: {place} was edited by hand: its digest does not match. {_REMEDY}")
    looks = {
        LookKey(criterion, slice_name or None, challenger): _state(state)
        for criterion, by_slice in file.looks.items()
        for slice_name, by_challenger in by_slice.items()
        for challenger, state in by_challenger.items()
    }
    return StoredHistory(looks=looks, drift=file.drift)


def _states(file: _File) -> Iterator[tuple[str, _State | DriftState]]:
    for criterion, by_slice in file.looks.items():
        for slice_name, by_challenger in by_slice.items():
            for challenger, state in by_challenger.items():
                yield f"{challenger} on {criterion} {slice_name}".strip(), state
    yield from ((f"the drift of {name}", state) for name, state in file.drift.items())


def _join(ours: StoredHistory, theirs: StoredHistory) -> StoredHistory:
    """Return what both sides of a merge have seen."""
    looks = {**ours.looks, **theirs.looks}
    looks.update(
        {key: join_states(ours.looks[key], theirs.looks[key]) for key in ours.looks.keys() & theirs.looks}
    )
    drift = {**ours.drift, **theirs.drift}
    for name in ours.drift.keys() & theirs.drift:
        runs = list(dict.fromkeys((*ours.drift[name].runs, *theirs.drift[name].runs)))
        counted = max(len(runs), ours.drift[name].looks, theirs.drift[name].looks)
        drift[name] = DriftState(looks=counted, runs=runs)
    return StoredHistory(looks=looks, drift=drift)


def _signed(state: _State | DriftState) -> _State | DriftState:
    return state.model_copy(update={"digest": _digest(state)})


def _digest(state: _State | DriftState) -> str:
    text = json.dumps(state.model_dump(mode="json", exclude={"digest"}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _stored(state: LookState) -> _State:
    wealth = state.wealth
    return _State(
        mode=state.mode,
        hypothesis=state.hypothesis,
        looks=list(state.looks),
        cases=list(state.cases),
        restarts=state.restarts,
        wealth=None
        if wealth is None
        else _Wealth(
            acceptable=[None if math.isinf(one) else one for one in wealth.acceptable],
            worse=[None if math.isinf(one) else one for one in wealth.worse],
            most_acceptable=wealth.most_acceptable,
            most_worse=wealth.most_worse,
        ),
    )


def _state(stored: _State) -> LookState:
    wealth = stored.wealth
    return LookState(
        stored.mode,
        stored.hypothesis,
        tuple(stored.looks),
        tuple(stored.cases),
        stored.restarts,
        None
        if wealth is None
        else Wealth(
            tuple(-math.inf if one is None else one for one in wealth.acceptable),
            tuple(-math.inf if one is None else one for one in wealth.worse),
            wealth.most_acceptable,
            wealth.most_worse,
        ),
    )


class LookBook:
    """The history of one decision: what it is decided by, and what is kept of it afterwards.

    The file is read only where an objective has several looks, and written only where new cases were consumed.

    Args:
        lock: Where the lock is, or would be.
    """

    def __init__(self, lock: Path) -> None:
        self.path = history_path(lock)
        self._before = StoredHistory()
        self._after: History = {}

    def decide(
        self,
        criteria: Sequence[Criterion],
        objectives: Sequence[Objective],
        runtimes: Mapping[str, RuntimeInfo],
        observations: Iterable[Observation],
        *,
        memo: Memo | None = None,
        blocks: Sequence[Block] = (),
    ) -> Decision:
        """Decide by what earlier looks have seen.

        Where the history cannot be read, the objectives that need it say so in place of their verdicts.
        """
        problem = None
        if any(objective.looks not in (None, 1) for objective in objectives):
            try:
                self._before = read_history(self.path)
            except HistoryError as error:
                problem = str(error)
        decision = decide(
            criteria,
            objectives,
            runtimes,
            observations,
            memo=memo,
            blocks=blocks,
            history=self._before.looks,
        )
        if problem is None:
            self._after = decision.history
            return decision
        undecided = {objective.name for objective in objectives if objective.looks not in (None, 1)}
        empty: dict[str, object] = {"verdicts": [], "recommendations": [], "decision_error": problem}
        return Decision(
            [
                one.model_copy(update={"cells": [], "attribution": []}) if one.objective in undecided else one
                for one in decision.criteria
            ],
            [one.model_copy(update=empty) if one.name in undecided else one for one in decision.objectives],
        )

    def keep(self) -> None:
        """Write what this look has seen, if it is one.

        Raises:
            HistoryError: It cannot be written.
        """
        before = self._before.looks
        if any(before.get(key) != state for key, state in self._after.items()):
            looks = {**before, **self._after}
            write_history(self.path, replace(self._before, looks=looks))
