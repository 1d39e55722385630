"""Hooks that a ``conftest.py`` or another plugin may implement.

A ``conftest.py`` that must also work where ProofMap is switched off (``-p no:proofmap``) marks its
implementations with ``@pytest.hookimpl(optionalhook=True)``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_proofmap.calls.request import Request


@pytest.hookspec
def pytest_proofmap_runtimes(config: pytest.Config) -> Mapping[str, Mapping[str, Any]] | None:
    """Return more runtimes, as tables with the keys of ``[tool.proofmap.runtimes.NAME]``.

    Called once on each process, when ``--proofmap`` is given, after the configuration was read. The results
    of all implementations are joined; a name that is configured already is an error. The result must not
    depend on the clock, randomness or the network: xdist workers must see the same.

    Example::

        def pytest_proofmap_runtimes(config):
            return {"rules-v2": {"model": "acme/rules", "params": {"version": "2.1"}}}
    """


@pytest.hookspec(firstresult=True)
def pytest_proofmap_call(
    runtime: str, request: Request
) -> str | dict[str, Any] | Awaitable[str | dict[str, Any]] | None:
    """Answer a request with another client than LiteLLM: an agent, an HTTP service, a rule.

    Called for a request whose answer is neither recorded nor cached, in the process of the test, possibly
    from another thread. ``runtime`` is the runtime's name; ``request.messages`` is a list of dicts,
    ``request.params`` a dict and ``request.sample`` the index of the sample.

    Return the answer's text, or an OpenAI-format chat completion as a dict (with ``usage`` when the cost
    matters), or an awaitable of either; return None to leave the request to the next implementation and
    finally to LiteLLM. An exception is an ``error`` outcome. Put your service's version into the runtime's
    ``params``: they are part of the cache key, so that a new version is asked anew.

    Example::

        def pytest_proofmap_call(runtime, request):
            if runtime == "rules-v2":
                return "refund" if "money back" in request.messages[-1]["content"] else "other"
    """


@pytest.hookspec(firstresult=True)
def pytest_proofmap_key(request: Request) -> Request | None:
    """Return what enters the key of a request: all of it but what differs each time and asks for nothing else.

    Called for each request before its answer is looked up, in the process of the test, possibly from another
    thread, and for each recorded request when recordings are read. ``request`` is a copy: what is sent stays as
    it is. Return the copy, changed, or another one (``request._replace(messages=...)``); return None to leave it
    to the next implementation. The result must depend on the request alone. Two requests with one key share one
    answer, so take out only what no answer depends on.

    Example::

        import re

        def pytest_proofmap_key(request):
            for message in request.messages:
                message["content"] = re.sub(r"ticket-[0-9a-f]{32}", "ticket", message["content"])
            return request
    """


@pytest.hookspec
def pytest_proofmap_evidence(config: pytest.Config, evidence: dict[str, Any]) -> None:
    """Annotate or redact the evidence before it is written.

    Called once at the end of a run, on the process that writes the artifact. ``evidence`` is the whole
    artifact as plain dicts and lists; change it in place. Verdicts are not computed again.

    Example::

        def pytest_proofmap_evidence(config, evidence):
            for sample in evidence["samples"]:
                for call in sample["calls"]:
                    call["text"] = call["text"].replace("Jane Roe", "[name]")
    """


@pytest.hookspec
def pytest_proofmap_secrets(config: pytest.Config) -> Iterable[str] | None:
    """Return values that must not be written or shown, beside those that ProofMap finds by itself.

    Called once on each process, when ``--proofmap`` is given, after the configuration was read. The results of
    all implementations are joined. Each value has at least 8 characters. It is taken out of messages and
    answers before they are kept, also in the process that makes the calls, and a request that holds it is
    refused.

    Example::

        def pytest_proofmap_secrets(config):
            return ["correct-horse-battery-staple"]
    """
