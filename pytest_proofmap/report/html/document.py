"""The report put together: one HTML page that holds all that it needs and asks no network for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from pytest_proofmap.decide.economics import CASES_FOR_P95
from pytest_proofmap.decide.wording import count
from pytest_proofmap.evidence.models import Evidence, Price, PromptVariant, Status
from pytest_proofmap.report.difference import Compared, evidence_notes, sections, summary_of
from pytest_proofmap.report.figures import SIGNS, WORDS
from pytest_proofmap.report.html.cases import EmbeddedCases, Place, changed_cells, embed_cases, shortened, to_json
from pytest_proofmap.report.view import CellView, View
from pytest_proofmap.text import visible

__all__ = ["LIMIT_BYTES", "cell_link", "html_report"]

LIMIT_BYTES = 15_000_000
"""A page stays below this size."""

_ROWS_SHOWN = 12
"""Rows of a long table that are not folded away."""

_LIBRARIES = ("d3.min.js", "preact.min.js", "preact-hooks.min.js", "htm.min.js", "diff.min.js")
_SCRIPTS = ("visible.js", "store.js", "filters.js", "rows.js", "cases.js", "charts.js", "page.js")


@dataclass(frozen=True, slots=True)
class Before:
    """What the run that this one is compared with says of the cells."""

    statuses: Mapping[Place, Status | None]
    objectives: Mapping[tuple[str, str], Status]
    """Verdicts on objectives as a whole, by objective and runtime."""
    flipped: Collection[Place]
    """Cells with a case that passes in one run and fails in the other."""

    def was(self, cell: CellView) -> str | None:
        """Return the verdict of the cell before, where it was another."""
        status = self.statuses.get((cell.criterion, cell.slice, cell.runtime))
        return WORDS[status] if status is not None and cell.status not in (None, status) else None

    def objective_was(self, objective: str, runtime: str, status: Status) -> str | None:
        """Return the verdict on an objective before, where it was another."""
        before = self.objectives.get((objective, runtime))
        return WORDS[before] if before is not None and before != status else None


def html_report(
    evidence: Evidence,
    view: View,
    *,
    compared: Compared | None = None,
    artifact_sha256: str | None = None,
) -> Iterator[str]:
    """Yield the page, part by part.

    Args:
        evidence: The decided artifact, for the texts that the page holds.
        view: The same as it is shown.
        compared: The comparison that the page shows, ``evidence`` being its new side.
        artifact_sha256: SHA-256 of the artifact's file.
    """
    old = compared.old if compared else None
    style = _read("report.css")
    scripts = [*(_read("vendor", name) for name in _LIBRARIES), _own_script()]
    charts = view.charts()
    page: dict[str, Any] = {
        "style": Markup(style),
        "policy": _policy(style, scripts),
        "words": WORDS,
        "signs": SIGNS,
        "view": view,
        "run": view.run,
        "headline": _headline(view, compared),
        "before": _before(evidence, old) if old else None,
        "notices": _notices(view, compared),
        "compared": compared,
        "difference": sections(compared) if compared else (),
        "slices": sorted({row.slice for criterion in view.criteria for row in criterion.slices}),
        "charts": charts,
        "provenance": list(_provenance(evidence, view, artifact_sha256)),
        "configured": evidence.runtimes,
        "prompts": list(_prompts(evidence)),
        "rows_shown": _ROWS_SHOWN,
        "cases_for_p95": CASES_FOR_P95,
    }
    licences = Markup('<script type="text/plain" id="licences">') + _inert(_read("vendor", "LICENSES.txt"))
    # The cases get the room that all else leaves, so all else is made first.
    template = _environment().get_template("page.html.j2")
    facts = _facts(view, charts, is_comparison=compared is not None)
    fixed = len(template.render(page, truncated="").encode("utf-8", "replace"))
    fixed += sum(map(len, scripts)) + len(licences) + len(facts) + 20_000
    cases = embed_cases(evidence, view.kinds, old, LIMIT_BYTES - fixed)
    yield template.render(page, truncated=_truncated(cases))
    yield facts
    yield from _elements("index", cases.indexes)
    yield from _elements("block", cases.blocks)
    yield f"{licences}</script>\n"
    for script in scripts:
        yield f"<script>{script}</script>\n"
    yield "</body>\n</html>\n"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["lines"] = _lines
    environment.filters["raw_text"] = _raw_text
    environment.filters["price"] = _price
    environment.filters["params"] = _params
    environment.globals["cell_link"] = cell_link
    return environment


def _shown(value: Any) -> Any:
    """Return what the page prints: a text with its control characters and marks of direction as escapes."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _lines(text: str) -> Markup:
    return Markup("\n").join(escape(visible(line)) for line in text.split("\n"))


def _raw_text(text: str) -> Markup:
    """Return a value that scripts compare with others, in characters that a page can hold."""
    return Markup(escape(text.encode("utf-8", "replace").decode("utf-8")))


def cell_link(criterion: str, runtime: str, slice_name: str | None) -> str:
    """Return the address of a cell's cases: what the page shows stands behind the ``#``, to survive a reload."""
    parts = {"criterion": criterion, "runtime": runtime}
    if slice_name is not None:
        parts["slice"] = slice_name
    # A half of a surrogate pair has no form in an address.
    return "#" + "&".join(f"{name}={quote(value, safe='', errors='replace')}" for name, value in parts.items())


def _read(*place: str) -> str:
    return files(__package__).joinpath(*place).read_text(encoding="utf-8")


def _own_script() -> str:
    """Return the page's own scripts in one scope of their own."""
    return "(() => {\n'use strict';\n" + "\n".join(_read("scripts", name) for name in _SCRIPTS) + "})();\n"


def _policy(style: str, scripts: Sequence[str]) -> str:
    """Return the Content-Security-Policy: exactly these scripts and styles, and nothing from elsewhere."""
    allowed = " ".join(map(_source, scripts))
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _facts(view: View, charts: Sequence[dict[str, Any]], *, is_comparison: bool) -> str:
    facts = {
        "criteria": [{"id": criterion.id, "label": criterion.label} for criterion in view.criteria],
        "comparison": is_comparison,
        "words": WORDS,
        "charts": charts,
    }
    return f'<script type="application/json" id="facts">{_inert(to_json(facts).decode())}</script>\n'


def _elements(name: str, contents: Sequence[str]) -> Iterator[str]:
    for number, content in enumerate(contents):
        yield f'<script type="text/plain" id="{name}-{number}">{content}</script>\n'


def _inert(text: str) -> str:
    """Return a text that cannot end the element that holds it, nor start another."""
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _headline(view: View, compared: Compared | None) -> str:
    if compared is not None:
        text = "; ".join(summary_of(compared.drift)) or "no change for the worse and no drift"
        return text[0].upper() + text[1:]
    line = view.headline
    text = line.text[0].upper() + line.text[1:]
    return f"{line.sign} {text}" if line.sign else text


def _notices(view: View, compared: Compared | None) -> list[str]:
    note = view.incomplete_note
    notices = [] if note is None else [note[0].upper() + note[1:]]
    return [*notices, *view.notes, *(evidence_notes(compared) if compared else ())]


def _truncated(cases: EmbeddedCases) -> str:
    if not cases.truncated:
        return ""
    what = f"Prompts and answers of {count(cases.truncated, 'case')}"
    if cases.passing_truncated == cases.truncated:
        what += ", which every runtime passes,"
    return f"{what} are left out to keep this page below {LIMIT_BYTES // 1_000_000} MB. The artifact has them."


def _before(evidence: Evidence, old: Evidence) -> Before:
    return Before(
        statuses={
            (criterion.id, cell.slice, cell.runtime): cell.status
            for criterion in old.criteria
            for cell in criterion.cells
        },
        objectives={
            (objective.name, verdict.runtime): verdict.status
            for objective in old.objectives
            for verdict in objective.verdicts
            if verdict.slice is None
        },
        flipped=changed_cells(evidence, old),
    )


def _provenance(evidence: Evidence, view: View, artifact_sha256: str | None) -> Iterator[tuple[str, str]]:
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
    yield "Evidence", "complete" if view.incomplete is None else f"incomplete: {view.incomplete}"
    if artifact_sha256 is not None:
        yield "SHA-256 of the artifact", artifact_sha256
    criteria = count(len(evidence.criteria), "criterion", "criteria")
    yield "Observed", f"{count(len(evidence.samples), 'sample')} of {criteria}"


def _price(price: Price | None) -> str:
    if price is None:
        return "unknown"
    cached = f", cached {price.cached_input_per_mtok:g}" if price.cached_input_per_mtok is not None else ""
    return f"${price.input_per_mtok:g} in, ${price.output_per_mtok:g} out{cached}"


def _params(params: Mapping[str, Any]) -> str:
    return json.dumps(params, ensure_ascii=False) if params else ""


def _prompts(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """Yield the prompt packages that rendered requests."""
    for name, variants in evidence.prompts.items():
        for variant, content in variants.items():
            yield {"name": name, "variant": variant, "content": content, "messages": list(_messages(content))}


def _messages(content: PromptVariant) -> Iterator[tuple[str, str]]:
    for message in content.messages:
        text = message.get("content")
        short = shortened(text if isinstance(text, str) else json.dumps(text, ensure_ascii=False, indent=1))
        if not isinstance(short, str):
            short = f"{short['text']}\n[{short['more']:,} more characters]"
        yield str(message.get("role", "")), short
