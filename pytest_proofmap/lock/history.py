"""Reading and writing ``proofmap.history``: what the looks at verdicts have seen, from run to run.

The file stands beside the lock and is committed like it. It is JSON with sorted keys, one digest a line, each
state with a digest of its own, so that what was edited by hand is found, and with those of what it was before.
Where two branches both looked, the conflict that git leaves is read as it stands: their looks add up.

An older file in place of a newer one would forget looks. The project's own folder keeps a copy of what was seen
there, whose looks count whether or not the file holds them; and an approved route names the states that it was
approved on, which the file must hold or descend from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_proofmap.decide.adaptive import Wealth
from pytest_proofmap.decide.decision import Decision, decide
from pytest_proofmap.decide.looks import LookKey, LookState, join_states
from pytest_proofmap.decide.observation import Observation
from pytest_proofmap.decide.reasons import Block
from pytest_proofmap.decide.stats.paired import Memo
from pytest_proofmap.errors import HistoryError, LockError
from pytest_proofmap.evidence.models import Cell, Criterion, Objective, RuntimeInfo
from pytest_proofmap.files import (
    FOLDER_NAME,
    FileTooLargeError,
    check_depth,
    create_folder,
    read_limited,
    write_whole,
)
from pytest_proofmap.lock.file import parse_lock, read_text, sides
from pytest_proofmap.lock.models import Lock, route_parts

__all__ = [
    "DriftState",
    "LookBook",
    "StoredHistory",
    "forgotten",
    "history_path",
    "join_drift",
    "read_copy",
    "read_history",
    "write_copy",
    "write_history",
]

HISTORY_NAME = "proofmap.history"
HISTORY_COPY = "history.json"
"""Name of the copy in the project's own folder."""

HISTORY_SCHEMA = "proofmap.history/1"
LARGEST_BYTES = 256 * 2**20
_REMEDY = "Take it from version control; without it, earlier looks would not count and false promotions would."

LogWealth = Annotated[float, Field(allow_inf_nan=False)] | None
"""Logarithm of a bet's wealth; null: all of it was lost."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", protected_namespaces=())


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
    before: list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = []
    """Digests of what was kept before, the oldest first."""
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


_S = TypeVar("_S", _State, DriftState)


@dataclass(slots=True)
class StoredHistory:
    """What the file holds."""

    looks: dict[LookKey, LookState] = field(default_factory=dict)
    drift: dict[str, DriftState] = field(default_factory=dict)
    chains: dict[LookKey, tuple[str, ...]] = field(default_factory=dict)
    """Digests of all that was kept of looks, the present state's last."""

    @property
    def digests(self) -> set[str]:
        """All states that it holds, or that came before them."""
        return {digest for chain in self.chains.values() for digest in chain}


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
        stored = _stored(state, history.chains.get(key, ()))
        by_slice[key.challenger] = stored.model_dump(mode="json", exclude=_unset(stored))
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
    stored = {
        LookKey(criterion, slice_name or None, challenger): state
        for criterion, by_slice in file.looks.items()
        for slice_name, by_challenger in by_slice.items()
        for challenger, state in by_challenger.items()
    }
    return StoredHistory(
        {key: _state(state) for key, state in stored.items()},
        file.drift,
        {key: (*state.before, state.digest) for key, state in stored.items()},
    )


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
    chains = {key: _chained(ours.chains.get(key, ()), theirs.chains.get(key, ())) for key in looks}
    return StoredHistory(looks, join_drift(ours.drift, theirs.drift), chains)


def join_drift(ours: Mapping[str, DriftState], theirs: Mapping[str, DriftState]) -> dict[str, DriftState]:
    """Return how often references were compared, on both sides together."""
    drift = {**ours, **theirs}
    for name in ours.keys() & theirs:
        runs = list(dict.fromkeys((*ours[name].runs, *theirs[name].runs)))
        counted = max(len(runs), ours[name].looks, theirs[name].looks)
        drift[name] = DriftState(looks=counted, runs=runs)
    return drift


def _chained(ours: Sequence[str], theirs: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*ours, *theirs)))


def _signed(state: _S) -> _S:
    return state.model_copy(update={"digest": _digest(state)})


def _digest(state: _State | DriftState) -> str:
    text = json.dumps(state.model_dump(mode="json", exclude={"digest", *_unset(state)}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _unset(state: _State | DriftState) -> set[str]:
    """Return the later fields that are unset: they are left out, so that older digests stay what they are."""
    return {"before"} if isinstance(state, _State) and not state.before else set()


def _stored(state: LookState, chain: Sequence[str]) -> _State:
    """Return a state as the file holds it, after what was kept before; unchanged, it stays what it was."""
    stored = _unsigned(state)
    unchanged = _signed(stored.model_copy(update={"before": list(chain[:-1])}))
    if chain and unchanged.digest == chain[-1]:
        return unchanged
    return _signed(stored.model_copy(update={"before": list(chain)}))


def _unsigned(state: LookState) -> _State:
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
            acceptable=[None if math.isinf(bet) else bet for bet in wealth.acceptable],
            worse=[None if math.isinf(bet) else bet for bet in wealth.worse],
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
            tuple(-math.inf if bet is None else bet for bet in wealth.acceptable),
            tuple(-math.inf if bet is None else bet for bet in wealth.worse),
            wealth.most_acceptable,
            wealth.most_worse,
        ),
    )


def read_copy(rootdir: Path) -> StoredHistory:
    """Read what was seen in this folder; a copy that cannot be read holds nothing."""
    try:
        return read_history(rootdir / FOLDER_NAME / HISTORY_COPY)
    except HistoryError:
        return StoredHistory()


def write_copy(rootdir: Path, history: StoredHistory) -> None:
    """Keep what was seen in this folder; where it cannot be written, the committed file alone tells.

    Args:
        rootdir: The project's root.
        history: What was seen last, beside what the copy holds of other looks.
    """
    present = read_copy(rootdir)
    kept = StoredHistory(
        {**present.looks, **history.looks},
        join_drift(present.drift, history.drift),
        {**present.chains, **history.chains},
    )
    if kept == present:
        return
    with contextlib.suppress(OSError, HistoryError):
        create_folder(rootdir / FOLDER_NAME)
        write_history(rootdir / FOLDER_NAME / HISTORY_COPY, kept)


def forgotten(lock: Lock, history: StoredHistory) -> dict[str, str]:
    """Return, by route, why a history is older than what the route was approved on."""
    known = history.digests
    return {
        name: (
            f"{HISTORY_NAME} does not hold the looks that {name!r} was approved on, so it is an older one or lost "
            "some in a merge"
        )
        for name, route in lock.routes.items()
        if not known.issuperset(route.looks)
    }


class LookBook:
    """The history of one decision: what it is decided by, and what is kept of it afterwards.

    The file is read only where an objective has several looks, and written only where it lacks what was seen.

    Args:
        lock: Where the lock is, or would be.
        rootdir: The project's root, whose own folder remembers what was seen there.
    """

    def __init__(self, lock: Path, rootdir: Path) -> None:
        self.path = history_path(lock)
        self._lock = lock
        self._rootdir = rootdir
        self._before = StoredHistory()
        self._after = StoredHistory()

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

        Where the history cannot be read, or is older than the lock, the objectives that need it say so in place of
        their verdicts.
        """
        several = [objective.name for objective in objectives if objective.looks not in (None, 1)]
        problems: dict[str, str] = {}
        copy = StoredHistory()
        if several:
            copy = read_copy(self._rootdir)
            try:
                self._before = read_history(self.path)
                problems = self._older_than_lock(copy)
            except HistoryError as error:
                problems = dict.fromkeys(several, str(error))
        chains = self._before.chains
        decision = decide(
            criteria,
            objectives,
            runtimes,
            observations,
            memo=memo,
            blocks=blocks,
            history=self._before.looks,
            # What the file holds, or held before, it has counted.
            seen={key: one for key, one in copy.looks.items() if copy.chains[key][-1] not in chains.get(key, ())},
        )
        decided = {
            objective.name
            for objective in objectives
            if objective.name in several and objective.name not in problems
        }
        of_decided = {criterion.id for criterion in criteria if criterion.objective in decided}
        after = {key: state for key, state in decision.history.items() if key.criterion in of_decided}
        self._after = StoredHistory(
            after,
            chains={
                key: chains[key]
                if state == self._before.looks.get(key)
                else _chained(chains.get(key, ()), copy.chains.get(key, ()))
                for key, state in after.items()
            },
        )
        undecided = {name for name in several if name in problems}
        return Decision(
            [
                criterion.model_copy(update={"cells": [], "attribution": []})
                if criterion.objective in undecided
                else criterion.model_copy(
                    update={"cells": [self._told(criterion.id, cell) for cell in criterion.cells]}
                )
                for criterion in decision.criteria
            ],
            [
                objective.model_copy(
                    update={"verdicts": [], "recommendations": [], "decision_error": problems[objective.name]}
                )
                if objective.name in undecided
                else objective
                for objective in decision.objectives
            ],
            after,
        )

    def keep(self) -> None:
        """Write what this look has seen, if it is one, and what the file lacks of earlier ones.

        Raises:
            HistoryError: It cannot be written.
        """
        before, after = self._before, self._after
        if not after.looks:
            return
        kept = replace(before, looks={**before.looks, **after.looks}, chains={**before.chains, **after.chains})
        write_copy(self._rootdir, kept)
        if kept.looks != before.looks:
            write_history(self.path, kept)

    def _older_than_lock(self, copy: StoredHistory) -> dict[str, str]:
        """Return by objective why the history cannot be decided by."""
        try:
            lock = parse_lock(read_text(self._lock), str(self._lock))
        except LockError:
            return {}  # There is none, or the run says elsewhere what is the matter with it.
        known = replace(self._before, chains={**self._before.chains, **_further(self._before, copy)})
        return {route_parts(name)[0]: f"{why}. {_REMEDY}" for name, why in forgotten(lock, known).items()}

    def _told(self, criterion: str, cell: Cell) -> Cell:
        """Return a cell whose look names the state that is kept of it."""
        state = self._after.looks.get(key := LookKey(criterion, cell.slice, cell.runtime))
        if state is None or cell.look is None:
            return cell
        digest = _stored(state, self._after.chains[key]).digest
        return cell.model_copy(update={"look": cell.look.model_copy(update={"state": digest})})


def _further(history: StoredHistory, copy: StoredHistory) -> dict[LookKey, tuple[str, ...]]:
    return {key: _chained(history.chains.get(key, ()), chain) for key, chain in copy.chains.items()}
