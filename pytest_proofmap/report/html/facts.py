"""What the page says of the run itself: provenance, runtimes, prompts, figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from pytest_proofmap.evidence.models import Evidence, Price, PromptVariant
from pytest_proofmap.report.figures import RuntimeFigures
from pytest_proofmap.report.html.carried import shortened
from pytest_proofmap.report.labels import short_labels
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.wording import cheaper, money, plural, seconds, signed_points

__all__ = ["attribution", "configured_runtimes", "figure_rows", "prompts", "provenance"]


class ConfiguredRuntime(NamedTuple):
    """A runtime as it was configured."""

    name: str
    model: str
    provider: str
    variant: str
    params: str
    price: str
    fingerprint: str


class FigureRow(NamedTuple):
    """What a runtime costs and how long it takes."""

    runtime: str
    cost: str
    per_1k: str
    ratio: str
    p50: str
    slow_end: str
    samples: str


class Message(NamedTuple):
    """A message template of a prompt package."""

    role: str
    text: str


class Prompt(NamedTuple):
    """A variant of a prompt package."""

    name: str
    variant: str
    file: str
    sha256: str
    messages: list[Message]


class Attributed(NamedTuple):
    """A difference between two runtimes that differ in one thing."""

    label: str
    slice: str | None
    axis: str
    from_runtime: str
    to_runtime: str
    points: str
    pairs: int


def provenance(evidence: Evidence, artifact_sha256: str | None) -> Iterator[tuple[str, str]]:
    """Yield what identifies the run, name by name."""
    run = evidence.run
    yield "Run", run.id
    yield "Started", run.started_at
    yield "Finished", run.finished_at
    if run.git is not None:
        yield "Commit", run.git.commit + (" with uncommitted changes" if run.git.dirty else "")
    versions = run.versions
    yield (
        "Versions",
        (
            f"ProofMap {versions.proofmap}, pytest {versions.pytest}, Python {versions.python}, "
            f"LiteLLM {versions.litellm or 'not called'}"
        ),
    )
    yield "Evidence", "complete" if run.complete else f"incomplete: {'; '.join(run.incomplete_reasons)}"
    if artifact_sha256 is not None:
        yield "SHA-256 of the artifact", artifact_sha256
    samples = (
        f"{plural(len(evidence.samples), 'sample')} of {plural(len(evidence.criteria), 'criterion', 'criteria')}"
    )
    yield "Observed", samples


def configured_runtimes(evidence: Evidence) -> Iterator[ConfiguredRuntime]:
    """Yield the runtimes as they were configured."""
    for name, runtime in evidence.runtimes.items():
        yield ConfiguredRuntime(
            name,
            runtime.model,
            runtime.provider,
            runtime.variant or "default",
            json.dumps(runtime.params, ensure_ascii=False) if runtime.params else "",
            _price(runtime.price),
            runtime.fingerprint,
        )


def _price(price: Price | None) -> str:
    if price is None:
        return "unknown"
    cached = f", cached {price.cached_input_per_mtok:g}" if price.cached_input_per_mtok is not None else ""
    return f"${price.input_per_mtok:g} in, ${price.output_per_mtok:g} out{cached}"


def figure_rows(summary: Summary) -> Iterator[FigureRow]:
    """Yield what the runtimes cost and how long they take."""
    for one in summary.figures:
        yield FigureRow(
            one.runtime,
            money(one.cost_usd, estimated=one.estimated),
            money(one.cost_per_1k_usd, estimated=one.estimated),
            "(baseline)" if one.is_baseline and one.cost_ratio is None else cheaper(one.cost_ratio),
            seconds(one.latency.p50),
            _slow_end(one),
            f"{one.samples:,}",
        )


def _slow_end(one: RuntimeFigures) -> str:
    latency = one.latency
    if latency.p95 is not None:
        return f"p95 {seconds(latency.p95)} (n {latency.n})"
    return f"max {seconds(latency.max)} (n {latency.n})" if latency.n else ""


def prompts(evidence: Evidence) -> Iterator[Prompt]:
    """Yield the prompt packages that rendered requests."""
    for name, variants in evidence.prompts.items():
        for variant, content in variants.items():
            yield Prompt(name, variant, content.file, content.sha256, list(_messages(content)))


def _messages(content: PromptVariant) -> Iterator[Message]:
    for message in content.messages:
        yield Message(str(message.get("role", "")), _text(message.get("content")))


def _text(content: Any) -> str:
    short = shortened(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1))
    return short if isinstance(short, str) else f"{short['text']}\n[{short['more']:,} more characters]"


def attribution(evidence: Evidence) -> Iterator[Attributed]:
    """Yield what the prompt and what the model changed."""
    labels = short_labels(criterion.id for criterion in evidence.criteria)
    for criterion in evidence.criteria:
        for each in criterion.attribution:
            low, high = each.interval
            yield Attributed(
                labels[criterion.id],
                each.slice,
                each.axis,
                each.from_runtime,
                each.to_runtime,
                f"{signed_points(each.difference)} ({signed_points(low)} to {signed_points(high)})",
                each.pairs,
            )
