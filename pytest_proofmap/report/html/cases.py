"""The cases that the page holds: how each went on each runtime, and as many texts as there is room for.

A criterion has one *index*: its cases with their outcomes and messages, on which lists, filters and searches work.
Prompts and answers are in *blocks* of some cases each, which are unpacked when one of their cases is opened. What
did not pass comes first, and every criterion gets a block before one gets its second. All of it is embedded
compressed.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pydantic_core

from pytest_proofmap.evidence.models import Call, Criterion, Evidence, RecordedRequest, Sample
from pytest_proofmap.report.nonpasses import CaseKinds

__all__ = [
    "INFORMATIVE_CHARACTERS",
    "TEXT_CHARACTERS",
    "BlockTexts",
    "EmbeddedCases",
    "Place",
    "Requests",
    "changed_cells",
    "embed_cases",
    "pack",
    "shortened",
    "to_json",
]

INFORMATIVE_CHARACTERS = 200_000
"""As much of one text as the page holds of a case that failed or flipped: more of it no page can show."""

TEXT_CHARACTERS = 20_000
"""As much of one text as the page holds where nothing asks for more."""

BLOCK_CHARACTERS = 300_000
"""From this much JSON on a block is full."""

MESSAGE_CHARACTERS = 300
"""As much of a message as an index has."""

_LETTERS = {"passed": "p", "failed": "f", "error": "e", "skipped": "s"}

_BROKEN = "b"
"""The letter of an error that is the test's own."""

_NONPASSES = {"f", "e", _BROKEN}

_PASSED = 2
"""The tier of the cases that every runtime passes."""

Requests = tuple[Mapping[str, RecordedRequest], Mapping[str, RecordedRequest]]
"""The requests of the run, and of the one that it is compared with."""

Element = str
"""The compressed content of an element of the page."""

Place = tuple[str, str | None, str]
"""Criterion, slice and runtime of a cell; no slice: all cases."""


class EmbeddedCases(NamedTuple):
    """What the page holds of the cases."""

    indexes: list[Element]
    """One for each criterion."""
    blocks: list[Element]
    truncated: int
    """Cases whose texts are only in the artifact."""
    passing_truncated: int
    """Those of them that every runtime passes."""


class _Column(NamedTuple):
    """The samples of one runtime in one run."""

    runtime: str
    is_before: bool
    """Whether they are of the run that this one is compared with."""


@dataclass(slots=True)
class _Case:
    """A case with its samples."""

    id: str
    slice: str | None
    samples: dict[_Column, list[Sample]] = field(default_factory=dict)
    block: int = -1
    """The block with its texts; -1: there was no room."""

    def letters(self, column: _Column) -> str:
        return "".join(
            _BROKEN if sample.error_kind == "test" else _LETTERS[sample.outcome]
            for sample in self.samples.get(column, ())
            if not sample.spared
        )


@dataclass(slots=True)
class _CriterionCases:
    """The cases of a criterion."""

    criterion: Criterion
    columns: list[_Column]
    baseline: str
    cases: dict[str, _Case] = field(default_factory=dict)

    def is_flipped(self, case: _Case) -> bool:
        """Return whether runtimes, or the two runs, differ."""
        letters = filter(None, map(case.letters, self.columns))
        return len({bool(_NONPASSES & set(outcomes)) for outcomes in letters}) > 1

    def is_failed(self, case: _Case) -> bool:
        """Return whether any runtime does not pass the case."""
        return any(_NONPASSES & set(case.letters(column)) for column in self.columns)

    def tiers(self) -> tuple[list[_Case], ...]:
        """Return the cases by how informative they are: flipped, failed by all, passed by all."""
        tiers: tuple[list[_Case], ...] = ([], [], [])
        for case in self.cases.values():
            tiers[0 if self.is_flipped(case) else 1 if self.is_failed(case) else _PASSED].append(case)
        return tiers


class _Block(NamedTuple):
    """Some cases of a criterion with their texts, not yet compressed."""

    tier: int
    cases: list[_Case]
    data: dict[str, Any]


def embed_cases(evidence: Evidence, kinds: CaseKinds, before: Evidence | None, room: int) -> EmbeddedCases:
    """Return what the page holds of the cases.

    Args:
        evidence: The run to show.
        kinds: How its cases compare with the baseline.
        before: The run that it is compared with.
        room: Characters that the whole may take.
    """
    criteria = _criteria(evidence, before)
    requests = (evidence.requests, before.requests if before else {})
    # The numbers of the blocks come into the indexes at the end.
    reserved = sum(len(pack(_index(known, kinds))) * 11 // 10 + 200 for known in criteria)
    blocks: list[Element] = []
    used, truncated, passing = reserved, 0, 0
    full = False
    for block in _by_interest(criteria, requests):
        element = "" if full else pack(block.data)
        # A smaller block behind a large one would fit: but then less informative cases would displace others.
        full = full or used + len(element) > room
        if full:
            truncated += len(block.cases)
            passing += len(block.cases) if block.tier == _PASSED else 0
            continue
        used += len(element)
        for case in block.cases:
            case.block = len(blocks)
        blocks.append(element)
    return EmbeddedCases([pack(_index(known, kinds)) for known in criteria], blocks, truncated, passing)


def changed_cells(evidence: Evidence, before: Evidence) -> set[Place]:
    """Return the cells with a case that passes in one of two runs and fails in the other."""
    return {
        (known.criterion.id, slice_name, column.runtime)
        for known in _criteria(evidence, before)
        for column in known.columns
        for case in known.cases.values()
        if _kind(known, case, column, {}) in ("worse", "better")
        for slice_name in (None, case.slice)
    }


def _criteria(evidence: Evidence, before: Evidence | None) -> list[_CriterionCases]:
    baselines = {objective.name: objective.baseline for objective in evidence.objectives}
    criteria: dict[str, _CriterionCases] = {}
    for criterion in evidence.criteria:
        runtimes = dict.fromkeys(cell.runtime for cell in criterion.cells)
        columns = [_Column(name, False) for name in runtimes]
        if before is not None:
            columns += [_Column(name, True) for name in runtimes]
        baseline = baselines.get(criterion.objective, "")
        criteria[criterion.id] = _CriterionCases(criterion, columns, baseline)
    for samples, is_before in ((evidence.samples, False), (before.samples if before else (), True)):
        for sample in samples:
            known = criteria.get(sample.criterion)
            if known is None or (is_before and sample.case not in known.cases):
                continue
            case = known.cases.get(sample.case)
            if case is None:
                case = known.cases[sample.case] = _Case(sample.case, sample.slice)
            case.samples.setdefault(_Column(sample.runtime, is_before), []).append(sample)
    return list(criteria.values())


def _index(known: _CriterionCases, kinds: CaseKinds) -> dict[str, Any]:
    cases = list(known.cases.values())
    places: dict[_Column | None, int] = {column: number for number, column in enumerate(known.columns)}
    return {
        "criterion": known.criterion.id,
        "columns": [
            {
                "runtime": column.runtime,
                "before": column.is_before,
                "baseline": column.runtime == known.baseline,
                "reference": places.get(_reference(known, column)),
            }
            for column in known.columns
        ],
        "cases": [case.id for case in cases],
        "slices": [case.slice for case in cases],
        "blocks": [case.block for case in cases],
        "outcomes": [[case.letters(column) for case in cases] for column in known.columns],
        "kinds": [[_kind(known, case, column, kinds) for case in cases] for column in known.columns],
        "messages": [
            {number: text for number, case in enumerate(cases) if (text := _message(case, column))}
            for column in known.columns
        ],
        "cells": [
            {"runtime": cell.runtime, "slice": cell.slice, "status": cell.status, "reason": cell.reason}
            for cell in known.criterion.cells
        ],
    }


def _reference(known: _CriterionCases, column: _Column) -> _Column | None:
    """Return what a runtime's answers are shown beside: the baseline's, or its own of the run before."""
    if column.is_before:
        return None
    before = _Column(column.runtime, True)
    if before in known.columns:
        return before
    return None if column.runtime == known.baseline else _Column(known.baseline, False)


def _kind(known: _CriterionCases, case: _Case, column: _Column, kinds: CaseKinds) -> str | None:
    """Return how a case went on a runtime beside what it is compared with; None where it was not asked."""
    letters = case.letters(column)
    if not letters or column.is_before:
        return None
    reference = _reference(known, column)
    if reference is not None and reference.is_before:
        return _changed(letters, case.letters(reference))
    kind = kinds.get((known.criterion.id, case.id, column.runtime))
    return kind or ("passed" if "p" in letters else "skipped")


def _changed(letters: str, before: str) -> str:
    """Return how a case went beside the same runtime's answers of the run before."""
    if "f" not in letters:
        if _BROKEN in letters:
            return "broken"
        if "e" in letters:
            return "unavailable"
        return "skipped" if "p" not in letters else "better" if "f" in before else "passed"
    if "f" in before:
        return "both"
    return "worse" if "p" in before and not _NONPASSES & set(before) else "alone"


def _message(case: _Case, column: _Column) -> str:
    for sample in case.samples.get(column, ()):
        if sample.message and sample.outcome in ("failed", "error"):
            return sample.message[:MESSAGE_CHARACTERS]
    return ""


def _by_interest(criteria: Sequence[_CriterionCases], requests: Requests) -> Iterator[_Block]:
    """Yield the blocks, the most informative first; each is made in its turn, so that few are in memory."""
    tiers = [known.tiers() for known in criteria]
    for tier in range(_PASSED + 1):
        waiting = deque(
            _blocks(known, tier, cases[tier], requests) for known, cases in zip(criteria, tiers, strict=True)
        )
        while waiting:
            blocks = waiting.popleft()
            block = next(blocks, None)
            if block is not None:
                yield block
                waiting.append(blocks)


def _blocks(known: _CriterionCases, tier: int, cases: Sequence[_Case], requests: Requests) -> Iterator[_Block]:
    numbers = {case: number for number, case in enumerate(known.cases)}
    current: list[_Case] = []
    texts = BlockTexts(requests, informative=tier != _PASSED)
    for case in cases:
        columns = [
            [(column.is_before, sample) for sample in case.samples.get(column, ())] for column in known.columns
        ]
        texts.add(numbers[case.id], columns)
        current.append(case)
        if texts.size > BLOCK_CHARACTERS:
            yield _Block(tier, current, texts.data())
            current, texts = [], BlockTexts(requests, informative=tier != _PASSED)
    if current:
        yield _Block(tier, current, texts.data())


class BlockTexts:
    """The texts of a block, each request once.

    Args:
        requests: What was asked, by key.
        informative: Whether the cases failed or flipped, so that their texts are held at length.
    """

    def __init__(self, requests: Requests, *, informative: bool) -> None:
        self.size = 0
        """Bytes of JSON so far."""
        self._requests = requests
        self._limit = INFORMATIVE_CHARACTERS if informative else TEXT_CHARACTERS
        self._cases: dict[int, Any] = {}
        self._prompts: list[Any] = []
        self._numbers: dict[bytes, int] = {}

    def add(self, number: int, columns: Sequence[Sequence[tuple[bool, Sample]]]) -> None:
        """Add a case.

        Args:
            number: Where the case stands in its criterion's index.
            columns: Its samples by runtime, each with whether it is of the run that this one is compared with.
        """
        content = [[self._sample(sample, is_before) for is_before, sample in column] for column in columns]
        self._cases[number] = content
        self.size += len(to_json(content))

    def data(self) -> dict[str, Any]:
        """Return what the page unpacks."""
        return {"prompts": self._prompts, "cases": self._cases}

    def _sample(self, sample: Sample, is_before: bool) -> dict[str, Any]:
        return {
            "outcome": "spared" if sample.spared else "broken" if sample.error_kind == "test" else sample.outcome,
            "message": shortened(sample.message, self._limit),
            "latency": sample.latency_s,
            "calls": [self._call(call, is_before) for call in sample.calls],
        }

    def _call(self, call: Call, is_before: bool) -> dict[str, Any]:
        facts = {
            "prompt": self._prompt(self._requests[is_before].get(call.key)),
            "package": f"{call.prompt.name} ({call.prompt.variant or 'default'})" if call.prompt else None,
            "runtime": call.runtime,
            "model": call.model,
            "source": call.source,
            "attempts": call.attempts,
            "error": f"{call.error.class_}: {call.error.message}" if call.error else None,
            "input": call.input_tokens,
            "output": call.output_tokens,
            "cached": call.cached_input_tokens,
            "estimated": call.usage_estimated,
            "cost": call.cost_usd,
            "latency": call.latency_s,
            "finish": call.finish_reason,
            "text": shortened(call.text, self._limit),
            "tools": shortened(call.tool_calls, self._limit),
        }
        # Not a matter of equality: the first prompt is number 0.
        said = ((name, value) for name, value in facts.items() if value is not None and value is not False)
        return {name: value for name, value in said if value != ""}

    def _prompt(self, request: RecordedRequest | None) -> int | None:
        """Return where a request stands among those of the block, and take it up when it is new."""
        if request is None:
            return None
        parts = {
            "messages": request.messages,
            "tools": request.tools,
            "response_format": request.response_format,
            "params": request.params,
        }
        content = {name: shortened(value, self._limit) for name, value in parts.items() if value}
        text = to_json(content)
        known = self._numbers.get(text)
        if known is None:
            known = self._numbers[text] = len(self._prompts)
            self._prompts.append(content)
            self.size += len(text)
        return known


def pack(data: Any) -> str:
    """Return data as JSON, compressed with gzip, in base64: nothing in it can end the element that holds it."""
    # Level 6 takes a third of the time of 9 and the result is 1 % larger. No time of making: the same data is
    # the same text.
    return base64.b64encode(gzip.compress(to_json(data), 6, mtime=0)).decode("ascii")


def to_json(data: Any) -> bytes:
    """Return data as JSON in UTF-8; halves of surrogate pairs, which have no form there, are escaped."""
    try:
        return pydantic_core.to_json(data, inf_nan_mode="null")
    except pydantic_core.PydanticSerializationError:
        return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def shortened(value: Any, limit: int = TEXT_CHARACTERS) -> Any:
    """Return data with each long text cut, as ``{"text": ..., "more": characters truncated}``."""
    if isinstance(value, str):
        more = len(value) - limit
        return {"text": value[:limit], "more": more} if more > 0 else value
    if isinstance(value, dict):
        return {name: shortened(part, limit) for name, part in value.items()}
    if isinstance(value, list):
        return [shortened(part, limit) for part in value]
    return value
