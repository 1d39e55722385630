"""The cases that the page carries: how each went on each runtime, and as many texts as there is room for.

A criterion has one *index*: its cases with their outcomes and messages, on which lists, filters and searches work.
Prompts and answers are in *blocks* of some cases each, which are unpacked when one of their cases is opened. What
did not pass comes first, and every criterion gets a block before one gets its second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pytest_proofmap.evidence.models import Criterion, Evidence, Sample
from pytest_proofmap.report.html.carried import pack
from pytest_proofmap.report.html.texts import BlockTexts, Requests

__all__ = ["CarriedCases", "carry_cases"]

BLOCK_CHARACTERS = 300_000
"""From this much JSON on a block is full."""

MESSAGE_CHARACTERS = 300
"""As much of a message as an index has."""

_LETTERS = {"passed": "p", "failed": "f", "error": "e", "skipped": "s"}

_BROKEN = "b"
"""The letter of an error that is the test's own."""

_MISSES = {"f", "e", _BROKEN}

_PASSED = 2
"""The tier of the cases that every runtime passes."""

Element = str
"""The compressed content of an element of the page."""


class CarriedCases(NamedTuple):
    """What the page carries of the cases."""

    indexes: list[Element]
    """One for each criterion."""
    blocks: list[Element]
    left_out: int
    """Cases whose texts are only in the artifact."""
    passing_left_out: int
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
        return len({bool(_MISSES & set(letters)) for each in self.columns if (letters := case.letters(each))}) > 1

    def is_missed(self, case: _Case) -> bool:
        """Return whether any runtime misses the case."""
        return any(_MISSES & set(case.letters(each)) for each in self.columns)

    def tiers(self) -> tuple[list[_Case], ...]:
        """Return the cases by how much they tell: flipped, missed by all, passed by all."""
        tiers: tuple[list[_Case], ...] = ([], [], [])
        for case in self.cases.values():
            tiers[0 if self.is_flipped(case) else 1 if self.is_missed(case) else _PASSED].append(case)
        return tiers


class _Block(NamedTuple):
    """Some cases of a criterion with their texts, not yet compressed."""

    tier: int
    cases: list[_Case]
    data: dict[str, Any]


def carry_cases(evidence: Evidence, before: Evidence | None, room: int) -> CarriedCases:
    """Return what the page carries of the cases.

    Args:
        evidence: The run to show.
        before: The run that it is compared with.
        room: Characters that the whole may take.
    """
    criteria = _criteria(evidence, before)
    requests = (evidence.requests, before.requests if before else {})
    # The numbers of the blocks come into the indexes at the end.
    reserved = sum(len(pack(_index(each))) * 11 // 10 + 200 for each in criteria)
    blocks: list[Element] = []
    used, left_out, passing = reserved, 0, 0
    full = False
    for block in _by_interest(criteria, requests):
        element = "" if full else pack(block.data)
        # A smaller block behind a large one would fit: but then less telling cases would displace others.
        full = full or used + len(element) > room
        if full:
            left_out += len(block.cases)
            passing += len(block.cases) if block.tier == _PASSED else 0
            continue
        used += len(element)
        for case in block.cases:
            case.block = len(blocks)
        blocks.append(element)
    return CarriedCases([pack(_index(each)) for each in criteria], blocks, left_out, passing)


def _criteria(evidence: Evidence, before: Evidence | None) -> list[_CriterionCases]:
    baselines = {objective.name: objective.baseline for objective in evidence.objectives}
    found: dict[str, _CriterionCases] = {}
    for criterion in evidence.criteria:
        runtimes = dict.fromkeys(cell.runtime for cell in criterion.cells)
        columns = [_Column(name, False) for name in runtimes]
        if before is not None:
            columns += [_Column(name, True) for name in runtimes]
        baseline = baselines.get(criterion.objective, "")
        found[criterion.id] = _CriterionCases(criterion, columns, baseline)
    for samples, is_before in ((evidence.samples, False), (before.samples if before else (), True)):
        for sample in samples:
            known = found.get(sample.criterion)
            if known is None or (is_before and sample.case not in known.cases):
                continue
            case = known.cases.get(sample.case)
            if case is None:
                case = known.cases[sample.case] = _Case(sample.case, sample.slice)
            case.samples.setdefault(_Column(sample.runtime, is_before), []).append(sample)
    return list(found.values())


def _index(known: _CriterionCases) -> dict[str, Any]:
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


def _message(case: _Case, column: _Column) -> str:
    for sample in case.samples.get(column, ()):
        if sample.message and sample.outcome in ("failed", "error"):
            return sample.message[:MESSAGE_CHARACTERS]
    return ""


def _by_interest(criteria: Sequence[_CriterionCases], requests: Requests) -> Iterator[_Block]:
    """Yield the blocks, the most telling first; each is made when it is its turn, so that few are in memory."""
    tiers = [known.tiers() for known in criteria]
    for tier in range(_PASSED + 1):
        waiting = deque(
            _blocks(known, tier, own[tier], requests) for known, own in zip(criteria, tiers, strict=True)
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
    texts = BlockTexts(requests, telling=tier != _PASSED)
    for case in cases:
        columns = [
            [(column.is_before, sample) for sample in case.samples.get(column, ())] for column in known.columns
        ]
        texts.add(numbers[case.id], columns)
        current.append(case)
        if texts.size > BLOCK_CHARACTERS:
            yield _Block(tier, current, texts.data())
            current, texts = [], BlockTexts(requests, telling=tier != _PASSED)
    if current:
        yield _Block(tier, current, texts.data())
