"""Prompt packages: a ``.prompt`` file with its variants, in one folder.

``triage.prompt`` is the default prompt of the package ``triage``; ``triage.mini.prompt`` is its variant
``mini``. Jinja and YAML are imported when a package is first used.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_proofmap.errors import PromptError, did_you_mean

if TYPE_CHECKING:
    from pytest_proofmap.evidence.models import PromptRef, PromptVariant
    from pytest_proofmap.prompts.file import InputField
    from pytest_proofmap.prompts.template import MessageTemplate

__all__ = ["DEFAULT_VARIANT", "Message", "PromptLibrary", "PromptVariantTemplate", "RenderedMessages"]


Message = dict[str, Any]


class RenderedMessages(list[Message]):
    """The messages of a rendered prompt package; they remember which one."""

    __slots__ = ("prompt",)

    def __init__(self, messages: list[Message], prompt: PromptRef) -> None:
        super().__init__(messages)
        self.prompt = prompt


DEFAULT_VARIANT = "default"
"""Name of the variant that ``name.prompt`` is."""

FILE_NAME = re.compile(r"^([A-Za-z0-9_-]+)(?:\.([A-Za-z0-9_-]+))?\.prompt$")


class PromptVariantTemplate:
    """One variant of a prompt package, ready to render.

    Attributes:
        name: Name of the package.
        variant: Name of the variant, ``"default"`` for the default prompt.
        file: Path of the file as the evidence shows it.
        sha256: Content hash of the file's text.
        ignored_settings: Front matter that has no effect because the runtime decides; warn once.
        variables: Names of the variables that the variant reads or declares.
    """

    def __init__(
        self,
        name: str,
        variant: str,
        file: str,
        sha256: str,
        template: MessageTemplate,
        *,
        ignored_settings: tuple[str, ...] = (),
        schema: Mapping[str, InputField] | None = None,
        library: PromptLibrary | None = None,
    ) -> None:
        self.name = name
        self.variant = variant
        self.file = file
        self.sha256 = sha256
        self.ignored_settings = ignored_settings
        self._template = template
        self._schema = schema or {}
        self._library = library
        self.variables = frozenset(template.variables | self._schema.keys())
        self._known = frozenset(template.names | self._schema.keys())

    @classmethod
    def from_messages(
        cls, messages: Sequence[Mapping[str, Any]], *, name: str, variant: str, file: str, sha256: str = ""
    ) -> PromptVariantTemplate:
        """Rebuild a variant from its unrendered messages; it renders as the file did.

        Raises:
            PromptError: The messages are not those of a prompt.
        """
        from pytest_proofmap.prompts.template import MessageTemplate

        return cls(name, variant, file, sha256, MessageTemplate.of_messages(messages, file))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The unrendered messages, ``[{"role", "content"}]``."""
        return [dict(message) for message in self._template.messages]

    def render(self, variables: Mapping[str, object]) -> list[dict[str, Any]]:
        """Return the messages with the variables filled in.

        Raises:
            PromptError: A variable is missing, has the wrong type, or is one that no variant of the package
                uses; or the prompt does what the sandbox refuses.
        """
        if not variables.keys() <= self._known:
            self._refuse_unknown(variables)
        for name, field in self._schema.items():
            if name in variables:
                problem = field.problem(variables[name])
                if problem:
                    value = variables[name]
                    raise PromptError(
                        f"{self.file}: the variable {name!r} {problem}, not {reprlib.repr(value)} "
                        f"({type(value).__name__})."
                    )
            elif field.required:
                raise PromptError(
                    f"{self.file}: the variable {name!r} is missing; the prompt uses "
                    f"{_listed(self.variables)}; given: {_listed(variables)}. Pass it, or declare it as "
                    f"'{name}?' when it is optional."
                )
        return self._template.render(variables)

    def _refuse_unknown(self, variables: Mapping[str, object]) -> None:
        """Raise unless another variant of the package uses what this one does not."""
        variants = self._library.variants(self.name) if self._library else [self]
        known = frozenset[str]().union(*(variant._known for variant in variants))
        expected = frozenset[str]().union(*(variant.variables for variant in variants))
        for name in variables:
            if name not in known:
                raise PromptError(
                    f"No variant of the prompt package {self.name!r} uses the variable {name!r}."
                    f"{did_you_mean(name, sorted(expected))} It uses {_listed(expected)} ({self.file})."
                )
        self._known = known


class PromptLibrary:
    """The prompt packages of a folder.

    Args:
        directory: The folder with the ``.prompt`` files; subfolders are not read.
        rootdir: The folder that the files' paths in messages and evidence are relative to; by default the
            one that holds ``directory``.
    """

    def __init__(self, directory: Path, rootdir: Path | None = None) -> None:
        self.directory = directory
        self._rootdir = rootdir or directory.parent
        self._files: dict[str, dict[str, Path]] | None = None
        self._variants: dict[tuple[str, str], PromptVariantTemplate] = {}
        self._used: set[tuple[str, str]] = set()

    def packages(self) -> dict[str, list[str]]:
        """Return the names of the packages with those of their variants.

        Raises:
            PromptError: A file in the folder has a name that fits no package.
        """
        return {name: list(variants) for name, variants in self._scan().items()}

    def get(self, name: str, variant: str | None = None) -> PromptVariantTemplate:
        """Return a variant of a package and remember that it was used.

        A package without any variant of its own has one prompt for all runtimes: asked for a variant that
        other packages have, it gives its default prompt. Every other variant without a file is an error.

        Args:
            name: Name of the package.
            variant: The runtime's variant; None for the default prompt.

        Raises:
            PromptError: There is no such package or variant, or its file is broken.
        """
        template = self._load(name, self._choose(name, variant))
        self._used.add((name, template.variant))
        return template

    def variants(self, name: str) -> list[PromptVariantTemplate]:
        """Return all variants of a package.

        Raises:
            PromptError: There is no such package, or a file of it is broken.
        """
        return [self._load(name, variant) for variant in self._package(name)]

    def used(self) -> dict[str, dict[str, PromptVariant]]:
        """Return the variants that were asked for, as the evidence stores them."""
        from pytest_proofmap.evidence.models import PromptVariant

        prompts: dict[str, dict[str, PromptVariant]] = {}
        for name, variant in sorted(self._used):
            template = self._variants[name, variant]
            prompts.setdefault(name, {})[variant] = PromptVariant(
                file=template.file, sha256=template.sha256, messages=template.messages
            )
        return prompts

    def _label(self, path: Path) -> str:
        try:
            return path.relative_to(self._rootdir).as_posix()
        except ValueError:
            return path.as_posix()

    def _scan(self) -> dict[str, dict[str, Path]]:
        """Find the files of every package, once."""
        if self._files is not None:
            return self._files
        if not self.directory.is_dir():
            raise PromptError(
                f"The prompt folder {self._label(self.directory)!r} does not exist. Create it, or set "
                "'prompts' in the configuration to the folder with the .prompt files."
            )
        files: dict[str, dict[str, Path]] = {}
        seen: dict[str, str] = {}
        own = (self.directory.resolve(), self._rootdir.resolve())
        for path in sorted(self.directory.glob("*.prompt")):
            if path.name.startswith("."):
                continue
            match = FILE_NAME.match(path.name)
            if match is None or match.group(2) == DEFAULT_VARIANT:
                raise PromptError(
                    f"{self._label(path)}: a prompt file is called 'name.prompt' (the default prompt) or "
                    "'name.variant.prompt', with letters, digits, '_' and '-' in the names. Rename it."
                )
            if path.is_symlink() and not any(path.resolve().is_relative_to(folder) for folder in own):
                # What it leads to would be sent to the model and written into the evidence.
                raise PromptError(
                    f"{self._label(path)}: a link to a file outside of the project. Put the prompt itself there."
                )
            twin = seen.setdefault(path.name.lower(), path.name)
            if twin != path.name:
                raise PromptError(
                    f"{self._label(path)}: differs from {twin!r} by upper and lower case alone. Rename one."
                )
            files.setdefault(match.group(1), {})[match.group(2) or DEFAULT_VARIANT] = path
        self._files = files
        return files

    def _package(self, name: str) -> dict[str, Path]:
        packages = self._scan()
        if name not in packages:
            raise PromptError(
                f"There is no prompt package {name!r}.{did_you_mean(name, list(packages))} "
                f"Available: {_listed(packages)}. Create {self._label(self.directory)}/{name}.prompt."
            )
        return packages[name]

    def _choose(self, name: str, variant: str | None) -> str:
        """Return the variant to use for a runtime's variant."""
        package = self._package(name)
        chosen = variant or DEFAULT_VARIANT
        if chosen in package:
            return chosen
        folder = self._label(self.directory)
        if chosen == DEFAULT_VARIANT:
            raise PromptError(
                f"The prompt package {name!r} has no default prompt, only the variants {_listed(package)}. "
                f"Create {folder}/{name}.prompt, or give the runtime one of these as its 'variant'."
            )
        others = {other for variants in self._scan().values() for other in variants}
        if package.keys() == {DEFAULT_VARIANT} and chosen in others:
            return DEFAULT_VARIANT
        raise PromptError(
            f"The prompt package {name!r} has no variant {chosen!r}."
            f"{did_you_mean(chosen, sorted(others - {DEFAULT_VARIANT, chosen}))} Available: {_listed(package)}. "
            f"Create {folder}/{name}.{chosen}.prompt, or change the runtime's 'variant'."
        )

    def _load(self, name: str, variant: str) -> PromptVariantTemplate:
        """Read and compile a file, once."""
        template = self._variants.get((name, variant))
        if template is None:
            from pytest_proofmap.prompts.file import read_prompt_file
            from pytest_proofmap.prompts.template import MessageTemplate

            path = self._package(name)[variant]
            file = read_prompt_file(path, self._label(path))
            template = self._variants[name, variant] = PromptVariantTemplate(
                name,
                variant,
                file.label,
                file.sha256,
                MessageTemplate(file.body, file.label, file.body_line),
                ignored_settings=file.ignored_settings,
                schema=file.schema,
                library=self,
            )
        return template


def _listed(names: Mapping[str, object] | frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"
