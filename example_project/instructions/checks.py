"""What can be found in an answer: small pure functions over its text, for the criteria to assert on.

None of them calls a model and none of them decides: a function counts or finds, and the test that uses it
says what was asked. Where an instruction leaves room they read it as IFEval's strict mode does.
"""

from __future__ import annotations

import json
import re
from typing import Any

from language import language_of

_ABBREVIATION = re.compile(r"\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|Mt)\.$")


def words(text: str) -> list[str]:
    """Return the runs of letters, digits and underscores; "don't" counts as two."""
    return re.findall(r"\w+", text)


def capital_words(text: str) -> list[str]:
    """Return the words without a lowercase letter; "I" is one, and so is "HIGH-QUALITY"."""
    return [word for word in re.findall(r"[^\s\"“”(){}\[\]<>,;:!?&@#$%]+", text) if word.isupper()]


def sentences(text: str) -> list[str]:
    """Return the sentences: each ends with ".", "?" or "!" before a space, and an open end counts too."""
    found: list[str] = []
    start = 0
    for mark in re.finditer(r"[.!?]+[\"')\]*_]*(?=\s|$)", text):
        sentence = text[start : mark.end()]
        if not _ABBREVIATION.search(sentence):
            found.append(sentence.strip())
            start = mark.end()
    rest = text[start:].strip()
    return [*found, rest] if rest else found


def parts(text: str, divider: str) -> list[str]:
    """Return what stands between the dividers; one at either end adds no part, two in a row an empty one."""
    found = [part.strip() for part in text.split(divider)]
    return found[0 if found[0] else 1 : len(found) if found[-1] else -1]


def blocks(text: str) -> list[str]:
    """Return the paragraphs between blank lines."""
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def first_word(text: str) -> str:
    """Return the first word in lower case, without a quotation mark before it; "" when there is none."""
    match = re.match(r"[\"'\s]*([^\s.,?!'\"]+)", text)
    return match.group(1).lower() if match else ""


def bullets(text: str) -> list[str]:
    """Return the markdown bullets: the lines that begin with one ``*`` or with ``-``."""
    return re.findall(r"^\s*(?:\*(?!\*)|-).*$", text, flags=re.MULTILINE)


def highlights(text: str) -> list[str]:
    """Return what stands on one line between single or double asterisks."""
    single = re.findall(r"\*([^\n*]*)\*", text)
    double = re.findall(r"\*\*([^\n*]*)\*\*", text)
    return [part for part in [*single, *double] if part.strip()]


def sections(text: str, label: str) -> list[str]:
    """Return the numbered headings with this label, such as "SECTION 2"."""
    return re.findall(rf"{re.escape(label)}\s?\d+", text)


def placeholders(text: str) -> list[str]:
    """Return the fields in square brackets, such as "[name]"."""
    return re.findall(r"\[.*?\]", text)


def titles(text: str) -> list[str]:
    """Return the titles in double angular brackets, without the brackets."""
    return [title.strip() for title in re.findall(r"<<([^\n]+?)>>", text) if title.strip("<> ")]


def has_postscript(text: str, marker: str) -> bool:
    """Tell whether a postscript begins with the marker ("P.S." or "P.P.S"), in either case."""
    letters = [letter for letter in marker.lower() if letter.isalpha()]
    final_stop = r"\." if marker.endswith(".") else ""
    return re.search(r"\.\s?".join(letters) + final_stop, text.lower()) is not None


def occurrences(text: str, phrase: str) -> int:
    """Count a phrase in either case, also inside longer words."""
    return text.lower().count(phrase.lower())


def has_word(text: str, word: str) -> bool:
    """Tell whether the text holds the word on its own, in either case."""
    return re.search(rf"\b{re.escape(word)}\b", text, flags=re.IGNORECASE) is not None


def read_json(text: str) -> Any:
    """Return the JSON value that the whole text is, in a markdown fence or without; else ValueError."""
    body = re.sub(r"^```(?:json)?", "", text.strip(), flags=re.IGNORECASE)
    return json.loads(body.removesuffix("```").strip())


def is_english(text: str) -> bool:
    """Tell whether the text reads as English; a name or a single word does, as nothing speaks against it."""
    return language_of(text) in ("en", None)


def within(number: int, least: int | None, most: int | None) -> bool:
    """Tell whether a number lies in a range whose ends may be open (None)."""
    return (least is None or least <= number) and (most is None or number <= most)


def limits(least: int | None, most: int | None) -> str:
    """Say a range in words: "at least 3", "at most 9", "3 to 9"."""
    if least is None:
        return f"at most {most}"
    return f"at least {least}" if most is None else f"{least} to {most}"
