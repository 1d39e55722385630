"""The files of a first ProofMap project, and how they are put into a folder without overwriting anything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal, NamedTuple

from pytest_proofmap.errors import ConfigurationError
from pytest_proofmap.files import write_whole

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["ScaffoldedFile", "scaffold"]

FILES = Path(__file__).parent / "files"
CONFIGURATION = "configuration.toml"
TABLE = "[tool.proofmap"


class ScaffoldedFile(NamedTuple):
    """One file of the scaffold and what became of it."""

    path: str
    """Relative to the project, with forward slashes."""
    state: Literal["created", "extended", "kept"]
    """``extended``: the configuration was added at the end; ``kept``: it was there and is untouched."""


def scaffold(directory: Path) -> list[ScaffoldedFile]:
    """Put a first test, its prompt, recorded answers and configuration into a project.

    A file that exists is kept. The configuration goes to the end of ``pyproject.toml`` when there is one
    without a ``[tool.proofmap]`` table, else into a ``proofmap.toml`` of its own.

    Args:
        directory: The project's root; created where it is missing.

    Raises:
        ConfigurationError: ``pyproject.toml`` is not valid TOML, or a file cannot be written.
    """
    try:
        done = [_configure(directory)]
        for template in sorted(FILES.glob("*/*")):
            if template.is_file() and template.suffix != ".pyc":
                name = template.relative_to(FILES).as_posix().removesuffix(".txt")
                done.append(_create(directory, name, template.read_text(encoding="utf-8")))
    except OSError as error:
        place = error.filename or directory
        raise ConfigurationError(
            f"{place}: cannot be written ({error.strerror or error}). Choose a folder that you may write to; "
            "what was created so far stays."
        ) from error
    return done


def _configure(directory: Path) -> ScaffoldedFile:
    text = (FILES / CONFIGURATION).read_text(encoding="utf-8")
    pyproject = directory / "pyproject.toml"
    if (directory / "proofmap.toml").exists():
        return ScaffoldedFile("proofmap.toml", "kept")
    if pyproject.is_file():
        try:
            present = pyproject.read_bytes().decode()
            tool = tomllib.loads(present).get("tool", {})
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{pyproject}: not valid TOML: {error}. Mend the file and run again; nothing was changed."
            ) from error
        if "proofmap" in tool:
            return ScaffoldedFile("pyproject.toml", "kept")
        newline = "\r\n" if "\r\n" in present else "\n"
        extended = present.rstrip() + newline * 2 + text.replace("\n", newline)
        if _is_toml(extended):
            with write_whole(pyproject) as file:
                file.write(extended)
            return ScaffoldedFile("pyproject.toml", "extended")
    # proofmap.toml holds the same keys at top level.
    own = text.replace(f"{TABLE}]\n", "").replace(f"{TABLE}.", "[")
    return _create(directory, "proofmap.toml", own)


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        # A pyproject.toml may write its tool table in a way that nothing can be added to.
        return False
    return True


def _create(directory: Path, name: str, text: str) -> ScaffoldedFile:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        return ScaffoldedFile(name, "kept")
    return ScaffoldedFile(name, "created")
