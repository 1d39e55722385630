"""LiteLLM in production: its Router, and the prompt manager by which each deployment renders its own prompt.

Beside ``runtime/client.py`` the only file that imports LiteLLM. That one runs in a process of its own; this one is
a guest in the application's, so that it leaves alone what LiteLLM holds for the whole process.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pytest_proofmap.errors import PromptError
from pytest_proofmap.runtime.messagetemplate import MessageTemplate

__all__ = ["LockedTemplates", "new_router", "register_prompts"]

_AT_IMPORT = {
    # At import LiteLLM fetches a price map from the network, and loads .env into the environment.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
}

_REGISTERING = threading.Lock()


class LockedTemplates:
    """Prompt templates by their keys in the lock, which are made of their content: equal keys, equal prompts."""

    def __init__(self) -> None:
        self._templates: dict[str, MessageTemplate] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._templates

    def add(self, templates: Mapping[str, MessageTemplate]) -> None:
        """Know some more templates."""
        self._templates = {**self._templates, **templates}

    def messages(
        self, key: str, variables: Mapping[str, object] | None, follow: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return a prompt's messages with the caller's own after them.

        LiteLLM asks twice for an asynchronous call, the second time with what it was given the first time.

        Args:
            key: Key of a template.
            variables: Of the prompt; those that it does not use are for other rungs of the chain.
            follow: The messages of the call.

        Raises:
            PromptError: A variable is missing, or an expression fails.
        """
        template = self._templates[key]
        given = {name: value for name, value in (variables or {}).items() if name in template.names}
        rendered = template.render(given)
        if follow[: len(rendered)] == rendered:
            return follow
        return rendered + follow


def new_router(arguments: Mapping[str, Any]) -> Any:
    """Return a new ``litellm.Router``."""
    return _litellm().Router(**arguments)


def register_prompts(templates: Mapping[str, MessageTemplate]) -> Any:
    """Have LiteLLM render some prompts in this process, and return the prompt manager that does it.

    There is one for the process: LiteLLM asks each of ``litellm.callbacks`` for each call.
    """
    litellm = _litellm()
    kind = _prompt_manager_class()
    with _REGISTERING:
        manager = next((each for each in litellm.callbacks if isinstance(each, kind)), None)
        if manager is None:
            manager = kind()
            litellm.callbacks.append(manager)
        manager.templates.add(templates)
    return manager


def _litellm() -> Any:
    if "litellm" in sys.modules:
        import litellm

        return litellm
    with _environment(_AT_IMPORT):
        import litellm
    # Else it prints advertisements for its issue tracker to standard output when a call fails.
    litellm.suppress_debug_info = True
    return litellm


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that are not set, for a while."""
    missing = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


@functools.cache
def _prompt_manager_class() -> type[Any]:
    import litellm
    from litellm.exceptions import BadRequestError
    from litellm.integrations.custom_prompt_management import CustomPromptManagement

    class ProofmapPrompts(CustomPromptManagement):
        """Renders the prompts of ProofMap's locks; of no other id."""

        def __init__(self) -> None:
            super().__init__()
            self.templates = LockedTemplates()

        def has_secret_manager(self) -> bool:
            """Return whether LiteLLM looks up ``os.environ/NAME`` elsewhere than in the environment."""
            return getattr(litellm, "secret_manager_client", None) is not None

        def should_run_prompt_management(self, prompt_id: str | None, *_: Any, **__: Any) -> bool:
            return prompt_id in self.templates

        def get_chat_completion_prompt(  # type: ignore[override]  # its arguments grow from version to version
            self,
            model: str,
            messages: list[dict[str, Any]],
            non_default_params: dict[str, Any],
            prompt_id: str | None = None,
            prompt_variables: dict[str, Any] | None = None,
            *_: Any,
            **__: Any,
        ) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
            if prompt_id is None:
                return model, messages, non_default_params
            if prompt_id not in self.templates:
                raise BadRequestError(
                    f"ProofMap: the prompt {prompt_id!r} is not in the lock that this process has read. Export "
                    "the configuration anew from this lock, or have PROOFMAP_LOCK name the one it was made from.",
                    model=model,
                    llm_provider="",
                )
            try:
                rendered = self.templates.messages(prompt_id, prompt_variables, messages)
            except PromptError as error:
                raise BadRequestError(f"ProofMap: {error}", model=model, llm_provider="") from error
            return model, rendered, non_default_params

        async def async_get_chat_completion_prompt(  # type: ignore[override]  # as above
            self, *arguments: Any, **named: Any
        ) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
            named.pop("litellm_logging_obj", None)
            return self.get_chat_completion_prompt(*arguments, **named)

    return ProofmapPrompts
