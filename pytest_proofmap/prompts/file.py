"""A ``.prompt`` file: optional YAML front matter, then a Jinja body with role markers.

The form is the one that LiteLLM's dotprompt integration reads. Where LiteLLM would quietly take a damaged
file for plain text or leave it out, reading it here is an error that names the file and the line.
"""

from __future__ import annotations

import hashlib
import re
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_proofmap.errors import PromptError, did_you_mean
from pytest_proofmap.files import read_limited

__all__ = ["InputField", "read_prompt_file"]

FRONT_MATTER = re.compile(r"^---\s*\n(.*?)\n---\s*\n(.*)$", re.DOTALL)
"""What LiteLLM takes for front matter."""

DESCRIPTIVE_KEYS = frozenset({"author", "description", "input", "name", "tags", "title", "variant", "version"})
"""Front matter that does not claim to change what the model answers."""

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "str": (str,),
    "number": (int, float),
    "integer": (int,),
    "int": (int,),
    "float": (float,),
    "boolean": (bool,),
    "bool": (bool,),
    "array": (list,),
    "list": (list,),
    "object": (dict,),
    "dict": (dict,),
    "any": (object,),
}
"""Python types of the type names in ``input.schema``."""

LARGEST_BYTES = 2**20
"""Of a prompt file: some 250,000 tokens."""

PICOSCHEMA_NAME = re.compile(r"^(\w+)(\?)?(?:\((array|object|enum)\b[^)]*\))?$")


@dataclass(frozen=True, slots=True)
class InputField:
    """One variable as ``input.schema`` declares it."""

    type_name: str
    required: bool = True
    choices: tuple[Any, ...] | None = None
    """The allowed values of an enum; None for any value of the type."""

    def problem(self, value: object) -> str | None:
        """Say what is wrong with a value, or return None when it fits."""
        if value is None and not self.required:
            return None
        if self.choices is not None:
            return None if value in self.choices else f"must be one of {_brief(list(self.choices))}"
        types = TYPES[self.type_name]
        if isinstance(value, types) and (not isinstance(value, bool) or bool in types or object in types):
            return None
        return f"must be of type {self.type_name}"


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The content of one ``.prompt`` file."""

    label: str
    """Path as messages and the evidence show it, with forward slashes."""
    sha256: str
    """Content hash of the text, the same for every style of line ending."""
    body: str
    """The Jinja source without white space at its ends."""
    body_line: int
    """Line of the file on which the body starts, from 1."""
    ignored_settings: tuple[str, ...]
    """Front matter that LiteLLM would apply and that has no effect here: the runtime decides."""
    schema: Mapping[str, InputField]
    """The declared variables; empty when the file declares none."""


def read_prompt_file(path: Path, label: str) -> PromptFile:
    """Read a ``.prompt`` file.

    Args:
        path: Where the file is.
        label: The path to show in messages.

    Raises:
        PromptError: The file cannot be read or its front matter is broken.
    """
    try:
        content = read_limited(path, LARGEST_BYTES, regular=True).decode("utf-8")
        text = content.replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        problem = f"{error.reason} at byte {error.start}"
        raise PromptError(f"{label}: not UTF-8 ({problem}). Save it as UTF-8.") from error
    except OSError as error:
        raise PromptError(f"{label}: cannot be read: {error.strerror or error}.") from error
    if text.startswith("\ufeff"):
        raise PromptError(f"{label}: starts with a byte-order mark. Save it as UTF-8 without one.")
    match = FRONT_MATTER.match(text)
    if match:
        metadata = _parse_front_matter(match.group(1), 1 + text.count("\n", 0, match.start(1)), label)
        source, start = match.group(2), match.start(2)
    elif text.startswith("---") and not text.split("\n", 1)[0].strip("- \t"):
        raise PromptError(
            f"{label}:1: the file starts with '---', but no front matter follows: it needs at least one line "
            "of YAML, then a line with '---' alone, then the prompt."
        )
    else:
        metadata, source, start = {}, text, 0
    body = source.strip()
    if not body:
        raise PromptError(f"{label}: the prompt is empty. Write the text to send below the front matter.")
    start += source.index(body)
    return PromptFile(
        label=label,
        sha256=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        body=body,
        body_line=1 + text.count("\n", 0, start),
        ignored_settings=tuple(sorted(str(key) for key in metadata if key not in DESCRIPTIVE_KEYS)),
        schema=_read_schema(metadata.get("input"), label),
    )


_BRIEFLY = reprlib.Repr()
# What YAML's references make of few lines would fill pages at the usual depth.
_BRIEFLY.maxlevel = 2


def _brief(value: object) -> str:
    return _BRIEFLY.repr(value)


def _parse_front_matter(source: str, line: int, label: str) -> dict[Any, Any]:
    """Parse the YAML between the delimiters; ``line`` is the file's line on which it starts."""
    import yaml

    try:
        metadata = yaml.safe_load(source)
    except Exception as error:
        # PyYAML lets through whatever Python makes of a date without such a day, of 5,000 digits, of no date.
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or f"{type(error).__name__}: {_brief(str(error))}"
        at = line + (min(mark.line, source.count("\n")) if mark is not None else 0)
        raise PromptError(f"{label}:{at}: the front matter is not valid YAML: {problem}.") from error
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise PromptError(
            f"{label}:{line}: the front matter is {_brief(metadata)}, but must be settings such as "
            "'input:' with a 'schema:' below it."
        )
    return metadata


def _read_schema(declared: object, label: str) -> dict[str, InputField]:
    """Read ``input.schema``: names with types, picoschema marks allowed, or a JSON Schema object."""
    if declared is None:
        return {}
    schema = declared.get("schema") if isinstance(declared, dict) else declared
    if schema is None:
        return {}
    if not isinstance(declared, dict) or not isinstance(schema, dict):
        raise PromptError(
            f"{label}: 'input' must hold a 'schema' that names the variables with their types, such as "
            f"'ticket: string', not {_brief(declared)}."
        )
    properties = schema.get("properties")
    if schema.get("type") == "object" and isinstance(properties, dict):
        required = schema.get("required") or []
        if isinstance(required, str) or not isinstance(required, Collection):
            raise PromptError(f"{label}: 'required' in input.schema must list names, not {_brief(required)}.")
        return {
            str(name): InputField(_type_name(spec.get("type", "any"), name, label), name in required)
            for name, spec in properties.items()
            if isinstance(spec, dict)
        }
    return dict(_read_picoschema_field(name, spec, label) for name, spec in schema.items())


def _read_picoschema_field(name: object, spec: object, label: str) -> tuple[str, InputField]:
    """Read ``name``, ``name?`` or ``name(array|object|enum, description)`` with its type."""
    match = PICOSCHEMA_NAME.match(str(name))
    if match is None:
        raise PromptError(f"{label}: input.schema names the variable {_brief(name)}, which is no variable name.")
    variable, optional, kind = match.groups()
    if kind == "enum":
        if not isinstance(spec, list):
            raise PromptError(
                f"{label}: the enum {variable!r} in input.schema must list its values, not {_brief(spec)}."
            )
        return variable, InputField("any", not optional, tuple(spec))
    return variable, InputField(kind or _type_name(spec, variable, label), not optional)


def _type_name(spec: object, variable: object, label: str) -> str:
    """Return the type in ``type`` or ``type, description``."""
    name = str(spec).split(",", 1)[0].strip().lower() if isinstance(spec, str) else ""
    if name not in TYPES:
        raise PromptError(
            f"{label}: the variable {variable!r} in input.schema has the type {_brief(spec)}; allowed are "
            f"{', '.join(TYPES)}.{did_you_mean(name, list(TYPES))}"
        )
    return name
