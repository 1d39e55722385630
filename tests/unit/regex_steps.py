"""A backtracking matcher that counts its steps: it tries what Python's own does, in the same order."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

_module = "re._{}" if sys.version_info >= (3, 11) else "sre_{}"
op: Any = import_module(_module.format("constants"))
parser: Any = import_module(_module.format("parser" if sys.version_info >= (3, 11) else "parse"))


class StepCounter:
    """Searches a text for a pattern, and counts.

    Args:
        pattern: A compiled pattern made of what those of this project are made of.
    """

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._tree: list[Any] = list(parser.parse(pattern.pattern, pattern.flags))
        self._folds = bool(pattern.flags & re.IGNORECASE)
        self._text = ""
        self.steps = 0

    def sub(self, text: str) -> list[tuple[int, int]]:
        """Return the places of all matches, as ``re.sub`` would replace them."""
        self._text = text.lower() if self._folds else text
        found, position = [], 0
        while position <= len(text):
            end = next(self._sequence(self._tree, 0, position), None)
            if end is not None and end > position:
                found.append((position, end))
                position = end
            else:
                position += 1
        return found

    def _sequence(self, items: list[Any], index: int, position: int) -> Iterator[int]:
        """Yield the ends of all ways to match the items from an index on."""
        while index < len(items) and (single := self._single(items[index], position)) is not None:
            if not single:
                return
            position += 1
            index += 1
        if index == len(items):
            yield position
            return
        for middle in self._item(items[index], position):
            yield from self._sequence(items, index + 1, middle)

    def _single(self, item: Any, position: int) -> bool | None:
        """Return whether an item of one character matches; None: it is no such item."""
        kind, value = item
        if kind not in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            return None
        self.steps += 1
        if position >= len(self._text):
            return False
        character = self._text[position]
        if kind is op.ANY:
            return True
        if kind is op.IN:
            return self._is_in(value, character)
        return bool((self._fold(value) == character) == (kind is op.LITERAL))

    def _fold(self, value: int) -> str:
        return chr(value).lower() if self._folds else chr(value)

    def _is_in(self, choices: list[Any], character: str) -> bool:
        negated = choices[0][0] is op.NEGATE
        forms = {character, character.upper()} if self._folds else {character}
        found = any(self._is_of(choice, form) for choice in choices for form in forms)
        return found is not negated

    @staticmethod
    def _is_of(choice: Any, character: str) -> bool:
        kind, value = choice
        if kind is op.LITERAL:
            return bool(ord(character) == value)
        if kind is op.RANGE:
            return bool(value[0] <= ord(character) <= value[1])
        if kind is op.CATEGORY:
            tests = {
                op.CATEGORY_SPACE: character.isspace(),
                op.CATEGORY_NOT_SPACE: not character.isspace(),
                op.CATEGORY_DIGIT: character.isdigit(),
                op.CATEGORY_WORD: character.isalnum() or character == "_",
            }
            return tests[value]
        return False

    def _item(self, item: Any, position: int) -> Iterator[int]:
        self.steps += 1
        kind, value = item
        if kind is op.BRANCH:
            for branch in value[1]:
                yield from self._sequence(list(branch), 0, position)
        elif kind is op.SUBPATTERN:
            yield from self._sequence(list(value[3]), 0, position)
        elif kind in (op.ASSERT, op.ASSERT_NOT):
            direction, inner = value
            start = position if direction > 0 else position - 1
            holds = start >= 0 and next(self._sequence(list(inner), 0, start), None) is not None
            if holds is (kind is op.ASSERT):
                yield position
        elif kind is op.AT:
            if self._is_at(value, position):
                yield position
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, inner = value
            yield from self._repeat(least, most, inner, position, lazy=kind is op.MIN_REPEAT)
        else:
            raise NotImplementedError(kind)

    def _is_at(self, where: Any, position: int) -> bool:
        text = self._text
        if where in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
            return position == 0
        if where in (op.AT_END, op.AT_END_STRING):
            return position == len(text)
        sides = [
            0 <= at < len(text) and (text[at].isalnum() or text[at] == "_") for at in (position - 1, position)
        ]
        return bool((sides[0] != sides[1]) == (where is op.AT_BOUNDARY))

    def _repeat(self, least: int, most: Any, inner: Any, position: int, *, lazy: bool) -> Iterator[int]:
        items = list(inner)
        if len(items) == 1 and items[0][0] in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            count = 0
            if lazy:
                while True:
                    if count >= least:
                        yield position + count
                    if count == most or not self._single(items[0], position + count):
                        return
                    count += 1
            while count != most and self._single(items[0], position + count):
                count += 1
            for kept in range(count, least - 1, -1):
                self.steps += 1
                yield position + kept
            return
        if most == 1:
            if lazy and least == 0:
                yield position
            yield from self._sequence(items, 0, position)
            if not lazy and least == 0:
                yield position
            return
        raise NotImplementedError("a repeated group")
