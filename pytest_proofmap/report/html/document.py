"""The report put together: one HTML page that carries all that it needs and asks no network for anything."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup, escape

from pytest_proofmap.decide.ratios import CASES_FOR_P95
from pytest_proofmap.decide.wording import assumptions
from pytest_proofmap.evidence.models import Evidence
from pytest_proofmap.report.difference import Compared, evidence_notes, sections, summary_of
from pytest_proofmap.report.html.carried import to_json
from pytest_proofmap.report.html.cases import CarriedCases, carry_cases
from pytest_proofmap.report.html.charts import chart_data
from pytest_proofmap.report.html.decisions import missing_evidence, routes, saving
from pytest_proofmap.report.html.facts import (
    attribution,
    configured_runtimes,
    figure_rows,
    prompts,
    provenance,
)
from pytest_proofmap.report.html.matrix import matrix, runtimes_shown
from pytest_proofmap.report.labels import short_labels
from pytest_proofmap.report.summary import Summary
from pytest_proofmap.report.totals_line import totals_line
from pytest_proofmap.report.verdict_line import verdict_line
from pytest_proofmap.report.wording import SIGNS, WORDS, plural
from pytest_proofmap.visible import visible

__all__ = ["LIMIT_BYTES", "html_report"]

LIMIT_BYTES = 15_000_000
"""A page stays below this size."""

_ROWS_SHOWN = 12
"""Rows of a long table that are not folded away."""

_LIBRARIES = ("d3.min.js", "preact.min.js", "preact-hooks.min.js", "htm.min.js", "diff.min.js")
_SCRIPTS = ("visible.js", "store.js", "filters.js", "rows.js", "cases.js", "charts.js", "page.js")


def html_report(
    evidence: Evidence,
    summary: Summary,
    *,
    compared: Compared | None = None,
    artifact_sha256: str | None = None,
) -> Iterator[str]:
    """Yield the page, part by part.

    Args:
        evidence: The decided artifact.
        summary: The same in figures, with what fails the run and the commands to go on with.
        compared: The comparison that the page shows, ``evidence`` being its new side.
        artifact_sha256: SHA-256 of the artifact's file.
    """
    before = compared.old if compared else None
    style = _read("report.css")
    scripts = [*(_read("vendor", name) for name in _LIBRARIES), _own_script()]
    groups, charts = matrix(evidence, before), chart_data(evidence)
    page: dict[str, Any] = {
        "style": Markup(style),
        "policy": _policy(style, scripts),
        "words": WORDS,
        "signs": SIGNS,
        "run": evidence.run,
        "headline": _headline(summary, compared),
        "calls": totals_line(summary),
        "saving": saving(evidence, estimated=summary.estimated),
        "findings": summary.findings,
        "notices": _notices(summary, compared),
        "difference": _difference(compared),
        "routes": routes(evidence),
        "undecided": _undecided(evidence),
        "runtimes": runtimes_shown(evidence.objectives),
        "baselines": {objective.baseline for objective in evidence.objectives},
        "slices": _slices(evidence),
        "groups": groups,
        "charts": charts,
        "figures": list(figure_rows(summary)),
        "missing": missing_evidence(evidence),
        "attribution": list(attribution(evidence)),
        "provenance": list(provenance(evidence, artifact_sha256)),
        "configured": list(configured_runtimes(evidence)),
        "prompts": list(prompts(evidence)),
        "next_steps": summary.next_steps,
        "rows_shown": _ROWS_SHOWN,
        "cases_for_p95": CASES_FOR_P95,
        "footer": " ".join(assumptions(evidence.objectives, evidence.criteria, everything=True)),
    }
    licences = Markup('<script type="text/plain" id="licences">') + _inert(_read("vendor", "LICENSES.txt"))
    # The cases get the room that all else leaves, so all else is made first.
    template = _environment().get_template("page.html.j2")
    facts = _facts(evidence, charts, is_comparison=compared is not None)
    fixed = len(template.render(page, left_out="").encode("utf-8", "replace"))
    fixed += sum(map(len, scripts)) + len(licences) + len(facts) + 20_000
    cases = carry_cases(evidence, before, LIMIT_BYTES - fixed)
    yield template.render(page, left_out=_left_out(cases))
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
    return environment


def _shown(value: Any) -> Any:
    """Return what the page prints: a text with its control characters and marks of direction as escapes."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _lines(text: str) -> Markup:
    return Markup("\n").join(escape(visible(line)) for line in text.split("\n"))


def _raw_text(text: str) -> Markup:
    """Return a value that scripts compare with others, in characters that a page can hold."""
    return Markup(escape(text.encode("utf-8", "replace").decode("utf-8")))


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


def _facts(evidence: Evidence, charts: Sequence[dict[str, Any]], *, is_comparison: bool) -> str:
    labels = short_labels(criterion.id for criterion in evidence.criteria)
    facts = {
        "criteria": [
            {"id": criterion.id, "label": labels[criterion.id], "objective": criterion.objective}
            for criterion in evidence.criteria
        ],
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


def _undecided(evidence: Evidence) -> str:
    """Return why nothing is decided, where nothing is."""
    if evidence.run.shard:
        return "it is one shard of a run"
    failed = any(objective.decision_error is not None for objective in evidence.objectives)
    return "deciding failed" if failed else "no criterion ran"


def _slices(evidence: Evidence) -> list[str]:
    return sorted({cell.slice for each in evidence.criteria for cell in each.cells if cell.slice is not None})


def _headline(summary: Summary, compared: Compared | None) -> str:
    if compared is not None:
        return "; ".join(summary_of(compared.drift)) or "No regression and no drift"
    line = verdict_line(summary)
    text = line.text[0].upper() + line.text[1:]
    return f"{line.sign} {text}" if line.sign else text


def _notices(summary: Summary, compared: Compared | None) -> list[str]:
    notices = [] if summary.run.complete else [f"Incomplete evidence: {'; '.join(summary.run.incomplete_reasons)}"]
    return [*notices, *summary.notes, *(evidence_notes(compared) if compared else ())]


def _difference(compared: Compared | None) -> dict[str, Any] | None:
    if compared is None:
        return None
    return {
        "sections": sections(compared),
        "old_started": compared.old.run.started_at,
        "new_started": compared.new.run.started_at,
    }


def _left_out(cases: CarriedCases) -> str:
    if not cases.left_out:
        return ""
    what = f"Prompts and answers of {plural(cases.left_out, 'case')}"
    if cases.passing_left_out == cases.left_out:
        what += ", which every runtime passes,"
    return f"{what} are left out to keep this page below {LIMIT_BYTES // 1_000_000} MB. The artifact has them."
